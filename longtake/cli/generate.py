"""Makes long videos: `python generate.py num_frames=257 seed=0 output=DIR`, from a video, or from a storyboard."""

import sys
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig, OmegaConf

from longtake.cli.defaults import asked_for, show_settings
from longtake.cli.user_errors import explain, start


def run(cfg: DictConfig) -> None:
    """Checks, loads weights, samples, writes mp4 files and manifest.jsonl."""
    from longtake.cli.composed import check_settings
    from longtake.cli.processes import several_processes
    from longtake.cli.schemas import GenerateSettings

    check_settings(cfg, GenerateSettings)
    if not OmegaConf.is_missing(cfg, "output"):
        with several_processes(cfg, __name__) as (mesh, device):
            make(cfg, mesh, device)
        return
    if not cfg.dry_run:
        raise ValueError("output is missing: give output=…")
    with TemporaryDirectory() as folder:  # nothing is made, and nothing was made before
        cfg.output = folder
        make(cfg)


def make(cfg: DictConfig, mesh: Any = None, device: Any = None) -> None:
    """Loads weights, samples, writes; with dry_run=true says what that would be.

    mesh, device: see `several_processes`.
    """
    from longtake.cli.request import requested
    from longtake.video import read_frames, write_video

    if mesh is not None and mesh.world.size > 1 and cfg.dry_run:
        raise ValueError(f"dry_run=true is of one process: leave devices={cfg.devices} and the launcher out")
    request = requested(cfg)
    if request.given is not None or request.given_end is not None:
        from longtake.cli.between import make_given

        make_given(request, write_video, read_frames, mesh, device)
        return
    if request.storyboard is not None:
        from longtake.cli.storyboard import make_storyboard_video

        make_storyboard_video(request, write_video, read_frames, mesh, device)
        return
    if request.dry_run:
        from longtake.cli.dry_run import print_plan

        print_plan(request)
        return
    from longtake.cli.take import make_videos

    make_videos(request, write_video, mesh, device)


def main() -> None:
    """The program, as it is started from a command line."""
    if asked_for(sys.argv[1:]):
        with explain():
            show_settings(sys.argv[1:])
        return
    start(run, "generate")


if __name__ == "__main__":  # how a process of `longtake generate devices=2` starts the others
    main()
