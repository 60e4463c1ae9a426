"""Makes long videos: `python generate.py num_frames=257 seed=0 output=DIR`, from a video, or from a storyboard."""

from omegaconf import DictConfig


def main(cfg: DictConfig) -> None:
    """Checks, loads weights, samples, writes mp4 files and manifest.jsonl."""
    from lightning_modules.schemas import GenerateSettings
    from lightning_modules.settings import check_settings

    check_settings(cfg, GenerateSettings)
    from datamodules.writing import write_video

    if cfg.given is not None:
        from lightning_modules.storyboard.continuation import continuation_file

        cfg.storyboard = continuation_file(cfg.given, cfg.storyboard, cfg.output)
    if cfg.storyboard is not None:
        from datamodules.clips import read_frames
        from lightning_modules.storyboard.program import make_storyboard_video

        make_storyboard_video(cfg, write_video, read_frames)
        return
    if cfg.dry_run:
        raise ValueError(
            "dry_run=true prints the plan of a storyboard: add storyboard=FILE.yaml or given=VIDEO; for other videos "
            "`python evaluate.py cost=true` says the cost"
        )
    from lightning_modules.take import make_videos

    make_videos(cfg, write_video)


if __name__ == "__main__":
    from lightning_modules.user_errors import start

    start(main, "generate")
