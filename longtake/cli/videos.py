"""The videos that evaluate.py is given: in which folders they lie, and how they are read."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

if TYPE_CHECKING:
    from longtake.reports.scorer import Clip
    from longtake.reports.vbench.preflight import Length


def folders_of(cfg: DictConfig) -> dict[str, Path]:
    """The folders of `videos=…` by the names that reports call them.

    Args:
        cfg: composed config of evaluate.py.

    Returns:
        One folder or several, in order.

    Raises:
        ValueError: if two of them have one name.
    """
    from longtake.cli.composed import plain  # which loads torch
    from longtake.reports.comparison import named_folders

    return named_folders(plain(cfg.videos))


def read_clip(path: Path, *, short_side: int) -> "Clip":
    """Reads a whole video.

    Args:
        path: path of the file.
        short_side: pixels that its shorter side is shrunk to, if it has more.

    Returns:
        Pixels c f h w in uint8, with the frames a second.

    Raises:
        ValueError: the file holds no video, or breaks off before its end.
    """
    import torch
    from einops import rearrange

    from longtake.reports.scorer import Clip
    from longtake.video import probe, read_frames

    film = probe(path)
    scale = min(1.0, short_side / min(film.height, film.width))
    height, width = round(film.height * scale), round(film.width * scale)
    frames = torch.from_numpy(read_frames(path, height=height, width=width, fps=0, crop_place=0.5))
    return Clip(rearrange(frames, "f h w c -> c f h w"), film.fps)


def read_length(path: Path) -> "Length":
    """Frames and rate of a video, which is decoded small.

    Args:
        path: path of the file.

    Returns:
        How many frames there are, and how many a second.

    Raises:
        ValueError: the file holds no video, or breaks off before its end.
    """
    from longtake.reports.vbench.preflight import Length
    from longtake.video import probe, stream_frames

    return Length(sum(len(block) for block in stream_frames(path, height=8, width=8)), probe(path).fps)
