"""Scores a folder of videos: `python evaluate.py videos=FOLDER output=FOLDER`."""

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # before torch loads; see README, "CPU threads"

import hydra
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from lightning_modules.metrics.report_card import Clip, ReportCard


def read_clip(path: Path, *, short_side: int) -> "Clip":
    """Read a whole video, shrunk so that its shorter side is at most `short_side` pixels.

    Raises:
        ValueError: the file holds no video, or breaks off before its end.
    """
    import torch
    from einops import rearrange

    from datamodules.clips import read_frames, shape_of
    from lightning_modules.metrics.report_card import Clip

    shape = shape_of(path)
    scale = min(1.0, short_side / min(shape.height, shape.width))
    height, width = round(shape.height * scale), round(shape.width * scale)
    frames = torch.from_numpy(read_frames(path, height=height, width=width, fps=0, crop_place=0.5))
    return Clip(rearrange(frames, "f h w c -> c f h w") / 127.5 - 1, shape.fps)


def read_boundaries(videos: Path, names: list[str], default: list[int]) -> dict[str, list[int]]:
    """Boundaries per file: those of manifest.jsonl where it names some, else the default.

    Raises:
        ValueError: a line of manifest.jsonl is not a JSON object.
    """
    boundaries = dict.fromkeys(names, default)
    manifest = videos / "manifest.jsonl"
    lines = manifest.read_text(encoding="utf-8").splitlines() if manifest.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            if "boundaries" in entry:
                boundaries[entry["file"]] = list(entry["boundaries"])
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise ValueError(f'line {number} of \'{manifest}\' is not {{"file": …, "boundaries": […]}}') from error
    return boundaries


def find_references(names: list[str], references: str | None) -> dict[str, Path]:
    """The true video of each file that has one of the same name.

    Raises:
        ValueError: no file has one.
    """
    if references is None:
        return {}
    found = {name: Path(references, name) for name in names if Path(references, name).is_file()}
    if not found:
        raise ValueError(f"no file in references={references} has the name of a video: {names[0]}, …")
    return found


def show(card: "ReportCard", output: Path) -> None:
    """Print means and spreads, then what was not scored."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("metric", "mean", "std", "videos")
    for name, figures in card.summary.items():
        table.add_row(name, *(f"{figures[key]:.4g}" if figures[key] is not None else "–" for key in figures))
    console.print(table)
    for fault in card.skipped:
        console.print(f"not scored: {fault.file} ({fault.metric}): {fault.reason}", markup=False)
    console.print(f"{len(card.rows)} videos scored, {len(card.skipped)} not wholly; see {output / 'report.json'}")


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Builds the metrics, scores the folder, writes and shows the report."""
    if missing := " ".join(f"{key}=…" for key in sorted(OmegaConf.missing_keys(cfg))):
        raise ValueError(f"{missing} is missing: python evaluate.py videos=FOLDER output=FOLDER")
    from lightning_modules.metrics.report_card import find_videos, score_folder

    settings: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    videos, output = Path(cfg.videos), Path(cfg.output)
    names = [file.relative_to(videos).as_posix() for file in find_videos(videos)]
    boundaries = read_boundaries(videos, names, settings["boundaries"])
    references = find_references(names, cfg.references)
    card = score_folder(
        videos=videos,
        output=output,
        metrics={name: metric.to(cfg.device) for name, metric in hydra.utils.instantiate(cfg.metrics).items()},
        read_video=partial(read_clip, short_side=cfg.short_side),
        boundaries=boundaries,
        references=references,
        settings=settings,
    )
    show(card, output)


if __name__ == "__main__":
    from lightning_modules.user_errors import explain

    with explain():
        main()
