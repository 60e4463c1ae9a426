"""Scores a folder of videos, lays it out for VBench (`vbench=…`), or predicts what a video costs (`cost=true`).

`python evaluate.py videos=FOLDER output=FOLDER`, or `videos=[FOLDER,FOLDER]` to compare several.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtake.cli.cost import predict_cost
from longtake.cli.tables import show, show_comparison, show_cost
from longtake.cli.user_errors import start
from longtake.cli.vbench import lay_out_for_vbench
from longtake.cli.videos import folders_of, read_clip

SCORES = ("features", "background_features", "video_features", "flow", "metrics")
"""Parts that score videos, whose libraries take seconds to load."""

if TYPE_CHECKING:
    from longtake.parallel import Mesh
    from longtake.reports.beside import Beside
    from longtake.reports.comparison import Comparison
    from longtake.reports.report_card import ReportCard
    from longtake.reports.scorer import Scorer


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """What a report keeps of the config: all that scoring reads."""
    keys = ("metrics", "videos", "output", "reference", "poses", "boundaries", "short_side", "device")
    values = {key: cfg[key] for key in keys}
    return {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in values.items()
    }


class _Scoring(NamedTuple):
    """What all folders of a call are scored with."""

    scorer: "Scorer"
    metrics: dict[str, Any]
    settings: dict[str, Any]
    references: list[Path]


def _scoring(cfg: DictConfig, device: str) -> _Scoring:
    from longtake.process import check_device
    from longtake.reports.beside import find_videos
    from longtake.reports.scorer import Scorer, model_names

    check_device(device)
    settings = settings_of(cfg)
    references = [] if cfg.reference is None else find_videos(Path(cfg.reference))
    metrics = {name: metric.to(device) for name, metric in instantiate(cfg.metrics).items()}
    scorer = Scorer(
        metrics=metrics,
        read_video=partial(read_clip, short_side=cfg.short_side),
        kept=Path(cfg.output, "scores"),
        settings={key: settings[key] for key in ("metrics", "short_side")},
    )
    return _Scoring(scorer, metrics, {**settings, "models": model_names(metrics)}, references)


def _beside(cfg: DictConfig, videos: Path) -> "dict[str, Beside]":
    from longtake.reports.beside import find_beside, find_videos

    reference, poses = (None if cfg[key] is None else Path(cfg[key]) for key in ("reference", "poses"))
    names = [file.relative_to(videos).as_posix() for file in find_videos(videos)]
    return find_beside(videos, names, boundaries=list(cfg.boundaries), reference=reference, poses=poses)


def score_folder_of(cfg: DictConfig) -> "ReportCard":
    """Builds the metrics, scores the folder, writes and shows the report.

    Several processes share the videos, each taking the next one when it is free; the first writes the report.
    """
    with _processes(cfg) as (mesh, device):
        return _score_folder(cfg, mesh, device)


@contextmanager
def _processes(cfg: DictConfig) -> "Iterator[tuple[Mesh, str]]":
    """The place of this process, and its device."""
    from longtake.cli.processes import several_processes

    with several_processes(cfg, __name__, on_cpu=not str(cfg.device).startswith("cuda")) as (mesh, device):
        yield mesh, cfg.device if device is None else str(device)


def _score_folder(cfg: DictConfig, mesh: "Mesh", device: str) -> "ReportCard":
    """The share of this process, and the report, which all of them know."""
    from longtake.cli.processes import alone_in
    from longtake.reports.report_card import score_folder
    from longtake.reports.report_files import write_report

    (videos,) = folders_of(cfg).values()
    files, scoring, output = _beside(cfg, videos), _scoring(cfg, device), Path(cfg.output)
    with alone_in(output, mesh):
        _share_out(mesh, scoring, [(videos, files)])
        # Of what is kept, if several have scored.
        card = score_folder(scoring.scorer, videos, files, scoring.references)
        if mesh.world.rank == 0:
            write_report(card, output, metrics=scoring.metrics, settings=scoring.settings, videos=videos)
            show(card, scoring.metrics, output)
    return card


def _share_out(mesh: "Mesh", scoring: _Scoring, folders: "Sequence[tuple[Path, dict[str, Beside]]]") -> None:
    """Scores and keeps this process's videos, one of several that each take the next when free; waits for all."""
    from longtake.parallel import shared_out

    if mesh.world.size == 1:
        return
    for videos, name, beside in shared_out(
        mesh, [(videos, *each) for videos, files in folders for each in files.items()]
    ):
        with suppress(ValueError):  # which whoever makes the report will meet again, and tell
            scoring.scorer.score(name, videos / name, beside, samples=bool(scoring.references))
    for file in shared_out(mesh, scoring.references if scoring.scorer.distances else []):
        with suppress(ValueError):
            scoring.scorer.samples(file)
    mesh.world.wait()


def compare_folders_of(cfg: DictConfig) -> "Comparison":
    """Builds the metrics, scores several folders, and writes and shows them side by side; processes share the work."""
    with _processes(cfg) as (mesh, device):
        return _compare_folders(cfg, mesh, device)


def _compare_folders(cfg: DictConfig, mesh: "Mesh", device: str) -> "Comparison":
    from longtake.cli.processes import alone_in
    from longtake.reports.comparison import compare
    from longtake.reports.comparison_page import write_comparison
    from longtake.reports.report_card import score_folder

    folders, output = folders_of(cfg), Path(cfg.output)
    files = {name: _beside(cfg, videos) for name, videos in folders.items()}
    scoring = _scoring(cfg, device)
    with alone_in(output, mesh):
        _share_out(mesh, scoring, [(videos, files[name]) for name, videos in folders.items()])
        cards = {}
        for name, videos in folders.items():
            cards[name] = score_folder(scoring.scorer, videos, files[name], scoring.references)
        found = compare(cards, files)
        if mesh.world.rank == 0:
            write_comparison(found, output, folders=folders, metrics=scoring.metrics, settings=scoring.settings)
            show_comparison(found, scoring.metrics, output)
    return found


def score(videos: str | Path, *, output: str | Path, settings: Sequence[str] = ()) -> "ReportCard":
    """Scores a folder of videos as `evaluate.py` does, and writes its report.

    Args:
        videos: the folder.
        output: folder of report.html, .json and .csv.
        settings: more of evaluate.py's, as typed, such as "reference=DIR".

    Returns:
        Every video's scores and the distances between folders, with what was left out.

    Raises:
        ValueError: if a setting or a folder is wrong.
    """
    return score_folder_of(_composed(str(videos), output, settings))


def compare(
    videos: Sequence[str | Path] | Mapping[str, str | Path], *, output: str | Path, settings: Sequence[str] = ()
) -> "Comparison":
    """Scores several folders of videos, and sets them beside each other as `evaluate.py videos=[…]` does.

    Args:
        videos: the folders, or folders by the names that the report calls them; others are compared with the first.
        output: folder of report.html, .json and .csv and of differences.csv.
        settings: more of evaluate.py's, as typed, such as "reference=DIR".

    Returns:
        Means of each folder and differences to the first, with 95 % intervals.

    Raises:
        ValueError: if a setting or a folder is wrong.
    """
    if isinstance(videos, str | Path):
        raise ValueError(f"videos={str(videos)!r} is one folder: give a list of folders, or use longtake.score")
    if isinstance(videos, Mapping):
        return compare_folders_of(_composed({name: str(each) for name, each in videos.items()}, output, settings))
    return compare_folders_of(_composed([str(each) for each in videos], output, settings))


def _composed(videos: str | list[str] | dict[str, str], output: str | Path, settings: Sequence[str]) -> DictConfig:
    from longtake.cli.composed import check_settings, compose_from_python
    from longtake.cli.schemas import EvaluateSettings

    if not isinstance(output, str | Path):
        raise ValueError(f"output={output!r} must be the folder of the report")
    cfg = compose_from_python("evaluate", settings)
    check_settings(cfg, EvaluateSettings)
    if cfg.cost or cfg.vbench is not None:
        raise ValueError(
            "cost=… and vbench=… score nothing: use `longtake cost` or `longtake vbench` on a command line"
        )
    cfg.videos, cfg.output = videos, str(output)
    return cfg


def run(cfg: DictConfig) -> None:
    """Checks, then predicts a cost, lays videos out for VBench, or scores them."""
    missing = " ".join(f"{key}=…" for key in sorted(OmegaConf.missing_keys(cfg)))
    if missing and cfg.cost is False and cfg.vbench is None:
        raise ValueError(f"{missing} is missing: python evaluate.py videos=FOLDER output=FOLDER")
    from longtake.cli.composed import check_settings
    from longtake.cli.schemas import EvaluateSettings

    check_settings(cfg, EvaluateSettings, unused=SCORES if cfg.cost is True else ())
    if cfg.cost:
        show_cost(predict_cost(cfg), None if OmegaConf.is_missing(cfg, "output") else Path(cfg.output))
    elif cfg.vbench is not None:
        lay_out_for_vbench(cfg)
    elif len(folders_of(cfg)) > 1:
        compare_folders_of(cfg)
    else:
        score_folder_of(cfg)


def main() -> None:
    """The program, as it is started from a command line."""
    start(run, "evaluate")


if __name__ == "__main__":  # how a process of `longtake evaluate devices=2` starts the others
    main()
