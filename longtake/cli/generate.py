"""Makes long videos: `python generate.py num_frames=257 seed=0 output=DIR`, from a video, or from a storyboard."""

import sys

from omegaconf import DictConfig

from longtake.cli.defaults import asked_for, show_settings
from longtake.cli.user_errors import explain, start


def run(cfg: DictConfig) -> None:
    """Checks, loads weights, samples, writes mp4 files and manifest.jsonl."""
    from longtake.cli.composed import check_settings
    from longtake.cli.schemas import GenerateSettings

    check_settings(cfg, GenerateSettings)
    from longtake.video import write_video

    if cfg.given is not None:
        from longtake.storyboard.continuation import continuation_file

        cfg.storyboard = continuation_file(cfg.given, cfg.storyboard, cfg.output)
    if cfg.storyboard is not None:
        from longtake.cli.storyboard import make_storyboard_video
        from longtake.video import read_frames

        make_storyboard_video(cfg, write_video, read_frames)
        return
    if cfg.dry_run:
        raise ValueError(
            "dry_run=true prints the plan of a storyboard: add storyboard=FILE.yaml or given=VIDEO; for other videos "
            "`python evaluate.py cost=true` says the cost"
        )
    from longtake.cli.take import make_videos

    make_videos(cfg, write_video)


def main() -> None:
    """The program, as it is started from a command line."""
    if asked_for(sys.argv[1:]):
        with explain():
            show_settings(sys.argv[1:])
        return
    start(run, "generate")
