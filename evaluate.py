"""Scores a folder of videos: `python evaluate.py videos=FOLDER output=FOLDER`; with `cost=true` predicts their cost."""

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


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """What a report keeps of the config: all that scoring reads."""
    keys = ("metrics", "videos", "output", "references", "boundaries", "short_side", "device", "features")
    settings: dict[str, Any] = OmegaConf.to_container(OmegaConf.masked_copy(cfg, keys), resolve=True)  # type: ignore
    return settings


def predict_cost(cfg: DictConfig) -> dict[str, Any]:
    """FLOPs, memory and time of a video by the config alone: nothing is built but names and shapes of the weights."""
    import torch

    from lightning_modules.cost.report import Settings, predict
    from lightning_modules.cost.sizes import network_size

    resolved: dict[str, Any] = {
        key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("network", "codec", "rollouts")
    }
    network_size(resolved["network"])  # refuses what it does not know before anything is built
    settings = Settings(**{key: cfg[key] for key in Settings._fields})
    with torch.device("meta"):
        network = hydra.utils.instantiate(cfg.network)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return predict(settings, **resolved, parameters=parameters)


def show_cost(record: dict[str, Any], output: Path | None) -> None:
    """Print the table; write cost.json where there is a folder for it."""
    from rich.console import Console
    from rich.table import Table

    from lightning_modules.cost.report import table_of

    heads, rows, notes = table_of(record)
    console = Console()
    table = Table(title="Predicted cost of one video")
    table.add_column(heads[0], no_wrap=True)
    for head in heads[1:]:
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "cost.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Builds the metrics, scores the folder, writes and shows the report; or predicts what a video costs."""
    if cfg.cost:
        show_cost(predict_cost(cfg), None if OmegaConf.is_missing(cfg, "output") else Path(cfg.output))
        return
    if missing := " ".join(f"{key}=…" for key in sorted(OmegaConf.missing_keys(cfg))):
        raise ValueError(f"{missing} is missing: python evaluate.py videos=FOLDER output=FOLDER")
    from lightning_modules.metrics.report_card import find_videos, score_folder

    settings = settings_of(cfg)
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
