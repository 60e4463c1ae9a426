"""Scores a folder of videos, lays it out for VBench (`vbench=…`), or predicts what a video costs (`cost=true`).

`python evaluate.py videos=FOLDER output=FOLDER`, or `videos=[FOLDER,FOLDER]` to compare several.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtake.cli.user_errors import start
from longtake.configs import CONF
from networks.files import write_text

if TYPE_CHECKING:
    from longtake.parallel import Mesh
    from longtake.reports.beside import Beside
    from longtake.reports.comparison import Comparison
    from longtake.reports.report_card import ReportCard
    from longtake.reports.scorer import Clip, Scorer
    from longtake.reports.vbench.preflight import Fault, Length


def read_clip(path: Path, *, short_side: int) -> "Clip":
    """Read a whole video, shrunk so that its shorter side is at most `short_side` pixels, as c f h w in uint8.

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

    Raises:
        ValueError: the file holds no video, or breaks off before its end.
    """
    from longtake.reports.vbench.preflight import Length
    from longtake.video import probe, stream_frames

    return Length(sum(len(block) for block in stream_frames(path, height=8, width=8)), probe(path).fps)


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

    Of several processes each scores what it is free for, and the first makes the report of what all have kept.
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
    from longtake.reports.report_card import score_folder
    from longtake.reports.report_files import write_report

    (videos,) = _folders(cfg).values()
    files, scoring, output = _beside(cfg, videos), _scoring(cfg, device), Path(cfg.output)
    _share_out(mesh, scoring, [(videos, files)])
    card = score_folder(scoring.scorer, videos, files, scoring.references)  # of what is kept, if several have scored
    if mesh.world.rank == 0:
        write_report(card, output, metrics=scoring.metrics, settings=scoring.settings, videos=videos)
        show(card, scoring.metrics, output)
    return card


def _share_out(mesh: "Mesh", scoring: _Scoring, folders: "Sequence[tuple[Path, dict[str, Beside]]]") -> None:
    """Scores, of several processes, what this one is free for, and keeps it; until all have done so."""
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
    """Builds the metrics, scores several folders, writes and shows them beside each other; processes as above."""
    with _processes(cfg) as (mesh, device):
        return _compare_folders(cfg, mesh, device)


def _compare_folders(cfg: DictConfig, mesh: "Mesh", device: str) -> "Comparison":
    from longtake.reports.comparison import compare
    from longtake.reports.comparison_page import write_comparison
    from longtake.reports.report_card import score_folder

    folders, output = _folders(cfg), Path(cfg.output)
    files = {name: _beside(cfg, videos) for name, videos in folders.items()}
    scoring = _scoring(cfg, device)
    _share_out(mesh, scoring, [(videos, files[name]) for name, videos in folders.items()])
    cards = {}
    for name, videos in folders.items():
        cards[name] = score_folder(scoring.scorer, videos, files[name], scoring.references)
    found = compare(cards, files)
    if mesh.world.rank == 0:
        write_comparison(found, output, folders=folders, metrics=scoring.metrics, settings=scoring.settings)
        show_comparison(found, scoring.metrics, output)
    return found


def _folders(cfg: DictConfig) -> dict[str, Path]:
    from longtake.reports.comparison import named_folders

    videos = cfg.videos
    return named_folders(OmegaConf.to_container(videos) if OmegaConf.is_config(videos) else videos)  # type: ignore[arg-type]


def score(videos: str | Path, *, output: str | Path, settings: Sequence[str] = ()) -> "ReportCard":
    """Scores a folder of videos as `evaluate.py` does, and writes its report.

    Args:
        videos: the folder.
        output: folder of report.html, .json and .csv.
        settings: more of evaluate.py's, as typed, such as "reference=DIR".

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
    if isinstance(videos, Mapping):
        return compare_folders_of(_composed({name: str(each) for name, each in videos.items()}, output, settings))
    return compare_folders_of(_composed([str(each) for each in videos], output, settings))


def _composed(videos: str | list[str] | dict[str, str], output: str | Path, settings: Sequence[str]) -> DictConfig:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("evaluate", overrides=list(settings))
    cfg.videos, cfg.output = videos, str(output)
    return cfg


def show(card: "ReportCard", metrics: dict[str, Any], output: Path) -> None:
    """Print means and spreads, distances with their protocols, then what was not scored."""
    from rich.console import Console
    from rich.table import Table

    from longtake.reports.report_card import group_faults
    from longtake.reports.report_page import as_table, distance_table

    console = Console()
    for head, rows in (as_table(card, metrics), distance_table(card)):
        if rows:
            table = Table()
            for name in head:
                table.add_column(name, no_wrap=name != "protocol")  # numbers are never cut, a text may break
            for row in rows:
                table.add_row(*row)
            console.print(table)
    for note in card.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for what, metric, reason in group_faults(card.skipped):
        console.print(f"not scored: {what} ({metric}): {reason}", markup=False, highlight=False)
    left_out = sum(fault.metric == "all" for fault in card.skipped)
    console.print(f"{len(card.rows)} videos scored, {left_out} left out; see {output / 'report.html'}", markup=False)


def show_comparison(found: "Comparison", metrics: dict[str, Any], output: Path) -> None:
    """Prints means and differences, then what makes them hard to compare."""
    from rich.console import Console
    from rich.table import Table

    from longtake.reports.comparison_page import as_table

    head, rows = as_table(found, metrics)
    table = Table()
    for name in head:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    width = console.measure(table, options=console.options.update(width=1000)).maximum
    Console(width=max(width, console.width)).print(table)
    for note in found.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    console.print(f"{len(found.cards)} folders are compared; see {output / 'report.html'}", markup=False)


def lay_out_for_vbench(cfg: DictConfig) -> None:
    """Copies the videos as VBench wants them; without output=… checks how they lie.

    Raises:
        ValueError: videos=… is missing, or the folder that was to be checked has a grave fault.
    """
    from rich.console import Console

    from longtake.reports.vbench.export import export
    from longtake.reports.vbench.preflight import machine_faults, preflight
    from longtake.reports.vbench.rules import make_rules

    if OmegaConf.is_missing(cfg, "videos"):
        raise ValueError("videos=… is missing: python evaluate.py videos=FOLDER output=FOLDER vbench=long_custom")
    rules = make_rules(
        mode=cfg.vbench,
        dimensions=list(cfg.vbench_dimensions),
        samples=cfg.vbench_samples,
        info=None if cfg.vbench_info is None else Path(cfg.vbench_info),
    )
    console, folders = Console(), _folders(cfg)
    if len(folders) > 1:
        raise ValueError("vbench=… lays one folder out at a time: give videos=FOLDER")
    (videos,) = folders.values()
    if OmegaConf.is_missing(cfg, "output"):
        faults = [*preflight(videos, rules, read_length), *machine_faults(rules)]
        show_faults(faults)
        if grave := [fault for fault in faults if fault.grave]:
            raise ValueError(f"{len(grave)} faults in '{videos}' would make VBench drop videos or stop")
        console.print(f"VBench can score '{videos}' as it is", markup=False)
        return
    exported = export(videos, Path(cfg.output), rules, read_length)
    show_faults([*exported.faults, *machine_faults(rules)])
    console.print(f"{len(exported.copied)} videos in {Path(cfg.output, 'videos')}; then:", markup=False)
    for line in exported.commands:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def show_faults(faults: list["Fault"]) -> None:
    """Print each fault in a line."""
    from rich.console import Console

    console = Console()
    for fault in faults:
        word = "dropped" if fault.grave and fault.file else "fails" if fault.grave else "note"
        text = f"{word} ({fault.trap}): {fault.file} {fault.reason}"
        console.print(" ".join(text.split()), markup=False, highlight=False, soft_wrap=True)


def predict_cost(cfg: DictConfig) -> dict[str, Any]:
    """FLOPs, memory and time of a video by the config: the network is built on the device meta, without its weights.

    Where no speed is given, one short step of the network is timed.
    """
    import torch

    from longtake.cli.composed import plain
    from longtake.cost.codec import codec_size
    from longtake.cost.report import Settings, check, predict
    from networks.interfaces import VideoNetwork

    parts = priced_parts(cfg)
    settings = Settings(**{key: plain(cfg[key]) for key in Settings._fields})
    check(settings)
    codec = codec_size(parts["codec"])
    with torch.device("meta"):
        network = instantiate(parts["network"])
    if not isinstance(network, VideoNetwork):
        raise ValueError("cost=true is of networks that make videos: use network=vin, vin_plan, dit, lovic, vin_lovic")
    return predict(
        settings,
        network=network,
        codec=codec,
        rollouts={name: instantiate(node) for name, node in parts["rollouts"].items()},
        text_features=int(parts["text"]["features"]),
    )


def priced_parts(cfg: DictConfig) -> dict[str, Any]:
    """Configs of the network, the codec, the text encoder and each rollout.

    Those of the groups, of which every rollout that the search path has is priced; or of weights as they were trained.

    Raises:
        ValueError: if weights=… are those of a codec or compressor alone, or none.
    """
    parts: dict[str, Any] = {
        key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("network", "codec", "text", "rollouts")
    }
    parts["rollouts"] = {**parts["rollouts"], **_other_rollouts(parts["rollouts"])}
    if cfg.weights is None:
        return parts
    from longtake.releases.reading import read_run

    trained = read_run(cfg.weights, to_sample=True)[0]
    rollout = trained.get("rollout")
    if rollout is None:
        raise ValueError(
            f"weights={cfg.weights} make no videos by themselves: give those of vin, dit, lovic, vin_lovic"
        )
    rollouts = {**parts["rollouts"], instantiate(rollout).name: rollout}
    return {**{key: trained[key] for key in ("network", "codec", "text")}, "rollouts": rollouts}


def _other_rollouts(known: Collection[str]) -> dict[str, Any]:
    """Rollouts of one's own: those on Hydra's search path that conf/evaluate.yaml does not list."""
    from hydra.core.global_hydra import GlobalHydra

    if not GlobalHydra.instance().is_initialized():
        return {}
    loader = GlobalHydra.instance().config_loader()
    names = [name for name in loader.get_group_options("rollout") if name not in known]
    nodes = {name: loader.load_configuration(f"rollout/{name}", [], RunMode.RUN).rollout for name in names}
    return {name: OmegaConf.to_container(node, resolve=True) for name, node in nodes.items()}


def show_cost(record: dict[str, Any], output: Path | None) -> None:
    """Print the table; write cost.json where there is a folder for it."""
    from rich.console import Console
    from rich.table import Table

    from longtake.cost.report import devices_table, table_of

    heads, rows, notes = table_of(record)
    console = Console()
    tables = [("Predicted cost of one video", heads, rows)]
    if record["devices"]:
        tables.append(("Predicted memory of a training", *devices_table(record)))
    for title, names, lines in tables:
        table = Table(title=title)
        table.add_column(names[0], no_wrap=True)
        for name in names[1:]:
            table.add_column(name, justify="right")
        for line in lines:
            table.add_row(*line)
        # Where the lines are too short for it, as off a terminal, the table has its full width: numbers are never cut.
        width = console.measure(table, options=console.options.update(width=1000)).maximum
        Console(width=max(width, console.width)).print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / "cost.json", json.dumps(record, indent=1) + "\n")


def run(cfg: DictConfig) -> None:
    """Checks, then predicts a cost, lays videos out for VBench, or scores them."""
    from longtake.cli.composed import check_settings
    from longtake.cli.schemas import EvaluateSettings

    check_settings(cfg, EvaluateSettings)
    if cfg.cost:
        show_cost(predict_cost(cfg), None if OmegaConf.is_missing(cfg, "output") else Path(cfg.output))
    elif cfg.vbench is not None:
        lay_out_for_vbench(cfg)
    elif missing := " ".join(f"{key}=…" for key in sorted(OmegaConf.missing_keys(cfg))):
        raise ValueError(f"{missing} is missing: python evaluate.py videos=FOLDER output=FOLDER")
    elif len(_folders(cfg)) > 1:
        compare_folders_of(cfg)
    else:
        score_folder_of(cfg)


def main() -> None:
    """The program, as it is started from a command line."""
    start(run, "evaluate")


if __name__ == "__main__":  # how a process of `longtake evaluate devices=2` starts the others
    main()
