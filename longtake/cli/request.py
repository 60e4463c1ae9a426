"""What a call of generate.py asks for, as one object. Its config is read here and in changes.py, and nowhere behind."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from longtake.cli.changes import Changes, changes_of
from longtake.cli.composed import plain
from longtake.cli.schemas import MatmulPrecision
from longtake.running import Running
from longtake.storyboard.continuation import continuation_file

RUNNING = ("precision", "compile", "attention", "offload")
"""Settings of `longtake.running.Running`."""
AS_TOLD = (
    *("weights", "matmul_precision", "num_frames", "height", "width", "without", "negative_prompt", "control_file"),
    *("prompt", "num_videos", "seed", "given", "given_end", "given_frames", "dry_run"),
)
"""Settings that a request holds as they were typed."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The weights with what is changed of them, and the videos that are to be made; see conf/generate.yaml.

    weights: as in `read_run`; changes: in their config; running: how the network is computed; output: the folder of the
    videos; storyboard: the file that says what to make, which given=… has written beforehand. All else is as typed.
    """

    weights: str
    changes: Changes
    running: Running
    matmul_precision: MatmulPrecision
    num_frames: int
    height: int | None
    width: int | None
    without: str | None
    negative_prompt: str | None
    control_file: str | None
    prompt: str | list[str] | None
    num_videos: int
    seed: int
    given: str | None
    given_end: str | None
    given_frames: int
    dry_run: bool
    output: Path
    storyboard: str | None


def requested(cfg: DictConfig) -> Request:
    """What a config asks for; what cannot be is refused before weights are read.

    Args:
        cfg: composed config of generate.py, whose names, types and ranges `check_settings` has checked.

    Returns:
        The request, which holds nothing of the config.

    Raises:
        ValueError: for settings that exclude each other, or without an output.
    """
    if OmegaConf.is_missing(cfg, "output"):
        raise ValueError("output is missing: give output=…")
    given = cfg.given or cfg.given_end
    storyboard = cfg.storyboard if given is None else continuation_file(given, cfg.storyboard, cfg.output)
    if cfg.control_file is not None and cfg.storyboard is not None:
        raise ValueError(
            f"control_file={cfg.control_file} goes with one video: for a storyboard, write `control: "
            f"{cfg.control_file}` into {cfg.storyboard}"
        )
    idle = {"prompt": cfg.prompt is not None, "num_videos": cfg.num_videos > 1}
    if cfg.storyboard is not None and any(idle.values()):
        key = next(key for key, said in idle.items() if said)
        raise ValueError(
            f"{key}=… does nothing beside storyboard={cfg.storyboard}, which says what to make: leave it out"
        )
    told: dict[str, Any] = {key: plain(cfg[key]) for key in AS_TOLD}
    return Request(
        **told,
        changes=changes_of(cfg),
        running=Running(**{key: cfg[key] for key in RUNNING}),
        output=Path(cfg.output),
        storyboard=storyboard,
    )
