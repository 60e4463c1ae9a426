"""Configs as the programs compose them: the one place in which tests call Hydra."""

import pickle
import re
import shlex
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, base
from omegaconf.errors import OmegaConfBaseException

from longtake.cli import SHORT, schemas
from longtake.cli.changes import changes_of, with_changes
from longtake.cli.composed import check_settings
from longtake.cli.together import check_together

ROOT = Path(__file__).parents[1]
OF_A_FOLDER = (
    *("folder", "folder_segments", "sets", "table"),
    *("vin_wan", "vin_wan_long", "vin_wan22", "vin_ltx", "vin_cogvideox", "vin_hunyuan"),
)
"""Options that need the place of videos."""
CONF = ROOT / "conf"
LOAD = OmegaConf.load
base.parse = cache(base.parse)  # of references, the same few texts again and again: a quarter of what configs take
KEY = re.compile(r"(?!hydra\b)[a-zA-Z_]\w*(\.\w+)*=")
PROGRAMS = ("train", "generate", "evaluate", "export")
YOURS = ("local",)  # git-ignored: whatever lies there is nobody's test


@cache
def groups_of(program: str) -> dict[str, list[str]]:
    """Every group in a program's defaults list, with the options that lie in its folder."""
    defaults = OmegaConf.load(CONF / f"{program}.yaml").get("defaults", [])
    names = [str(next(iter(entry))).removeprefix("optional ") for entry in defaults if not isinstance(entry, str)]
    return {name: options_of(name) for name in names if name not in YOURS and (CONF / name).is_dir()}


def options_of(group: str) -> list[str]:
    """The names of a group's files."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


CHOICES = [
    (program, group, option)
    for program in PROGRAMS
    for group, options in groups_of(program).items()
    for option in options
]


def composed(program: str, *changes: str, **settings: Any) -> DictConfig:
    """A program's config after these changes; settings: of Hydra's compose.

    Hydra takes longer than many a test. It chooses files first and then sets values one by one: so each choice of files
    is composed once, and values are set in a copy as Hydra sets them. `test_composing.py` compares that with Hydra's.
    """
    values = [None if settings else _value(change) for change in changes]
    # A value may be one that was added before, and none is set in what is added after it.
    added = max((place for place, change in enumerate(changes) if change.startswith(("+", "~"))), default=-1)
    values = [value if place > added else None for place, value in enumerate(values)]
    chosen = [change for change, value in zip(changes, values, strict=True) if value is None]
    cfg: DictConfig = pickle.loads(_composed(program, *chosen, **settings))
    try:
        for value in filter(None, values):
            OmegaConf.update(cfg, value.key, value.value, merge=True)
    except OmegaConfBaseException:  # a key that is not there, or a value that it does not take: Hydra has words for it
        cfg = pickle.loads(_composed(program, *changes))
    return cfg


class Value(NamedTuple):
    """A change that sets a value: of a key at any depth."""

    key: str
    value: Any


@cache
def _value(change: str) -> Value | None:
    """None for what chooses a file, adds or removes, or cannot be read."""
    if not KEY.match(change) or (CONF / change.partition("=")[0]).is_dir():
        return None
    try:
        read = OverridesParser.create().parse_override(change)
        return None if read.is_sweep_override() else Value(read.key_or_group, read.value())
    except HydraException:
        return None


@cache
def _composed(program: str, *changes: str, **settings: Any) -> bytes:
    # The folder that a program is started in is known to a running Hydra only.
    root = [f"paths.root_dir={ROOT}"] if "paths" in groups_of(program) else []
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return pickle.dumps(compose(program, overrides=[*root, *changes], **settings))


@cache
def _read(path: str) -> bytes:
    return pickle.dumps(LOAD(path))


def _load(file: Any) -> Any:
    """What a file of the configuration holds: reading them is half of Hydra's time."""
    path = Path(str(getattr(file, "name", file)))
    return pickle.loads(_read(str(path))) if CONF in path.parents and path.parent.name not in YOURS else LOAD(file)


OmegaConf.load = staticmethod(_load)


@cache
def as_used(program: str, *changes: str) -> Any:
    """A program's config as plain values: what generate.py is told goes into the config of the weights first."""
    return plain(program, composed(program, *changes))


def plain(program: str, cfg: DictConfig) -> Any:
    """The same of a config that is composed."""
    if program != "generate":
        return OmegaConf.to_container(cfg, resolve=True)
    changes = changes_of(cfg)
    of_mazes = [] if changes.codec_folder is None else ["codec=mazes"]  # the one codec that another stands in for
    trained = deepcopy(as_used("train", *of_mazes))
    return {"weights": with_changes(trained, changes), "output": OmegaConf.to_container(cfg)["output"]}


NEEDED = {"generate": ["output=OUT"], "export": ["run=RUN", "output=OUT"]}
"""What the user is asked for."""

TOGETHER = {
    "lightning_module=autoencoding": ["experiment=codec_freedoom"],
    "lightning_module=compression": ["experiment=flexformer_freedoom"],
    "lightning_module=memory": ["experiment=lovic_freedoom"],
    "network=compressor": ["experiment=flexformer_freedoom"],
    "rollout=segmentwise": ["experiment=lovic_freedoom"],
}
"""Options that go with others."""


def changes_for(program, group, option):
    """An option with those that it goes with, and what the user is asked for."""
    chosen = f"{group}={option}"
    rows = option.endswith("_segments") and group == "datamodule"
    with_it = TOGETHER.get(chosen, ["experiment=lovic_freedoom"] if rows else []) if program == "train" else []
    if "_pixels" in option:
        with_it = [f"experiment=codec_{option.partition('_pixels')[0]}"]
    asked = ["datamodule.root=DIR"] if option in OF_A_FOLDER else []
    asked += ["datamodule.table=videos.csv"] if option == "table" else []
    return (*with_it, chosen, *asked)


APART = ("backbone", "callbacks", "codec", "compressor", "control", "guidance", "interface", "logger", "objective",
         "optimizer", "prompts", "rollout", "sampler", "scheduler", "text", "trainer")  # fmt: skip
"""Groups whose options say nothing of one another: one of each is composed at once, in the time of one."""


def rows_of(choices):
    """The choices, each once: first options of all groups apart in a row, their second ones, and all others alone."""
    rows = {}
    for choice in choices:
        program, group, option = choice
        lone = changes_for(*choice) == (f"{group}={option}",) and group in APART
        place = sum(group == other for row in rows.values() for _, other, _ in row) if lone else choice
        rows.setdefault((program, place), []).append(choice)
    return list(rows.values())


def check(program, *changes, needed=True):
    """Composes and checks as a program does, up to what would be built; the config.

    needed: whether what the user is asked for is given beside the changes.
    """
    cfg = composed(program, *(NEEDED.get(program, []) if needed else []), *changes)
    check_settings(cfg, getattr(schemas, f"{program.capitalize()}Settings"))
    if program == "train":
        check_together(cfg)
    return cfg


PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*.md", "weights/*/README.md", "benchmarks/README.md")
"""Pages that people type from; those of docs/extending are carried out by a test of their own."""
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:python|longtake|torchrun|srun) [^`]+)`")
STARTED_BY = re.compile(r"^(?:srun )?(?:torchrun (?:--[\w-]+(?:=| )\S+ )+|python )(?=\w+\.py|-m longtake)")
BY_PROCESSES = re.compile(r"^sbatch .*--wrap \"(.*)\"$")


class Typed(NamedTuple):
    """A command of the documentation: the program, its settings, and whether it is typed as it stands, in a block."""

    program: str
    changes: tuple[str, ...]
    is_whole: bool


def documented_pages() -> list[Path]:
    """README, docs and cards."""
    found = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    return sorted(path for path in found if "extending" not in path.parts)


@cache
def documented_commands() -> dict[str, Typed]:
    """Every command of README, docs and cards that starts a program of ours, as it is written.

    `longtake cost …` is `evaluate cost=true …`. What is left open by `…` is left out.
    """
    found: dict[str, Typed] = {}
    for line, is_whole in documented_lines():
        if (started := _started(line)) is not None and line not in found:
            found[line] = Typed(*started, is_whole and "…" not in line)
    return found


def documented_lines() -> Iterator[tuple[str, bool]]:
    """Lines of a shell on these pages, and commands in their prose, with whether each stands in a block."""
    for path in documented_pages():
        text = path.read_text()
        for language, block in BLOCK.findall(text):
            if language in ("", "bash", "sh"):
                yield from ((line.strip(), True) for line in block.replace("\\\n", " ").splitlines())
        yield from ((" ".join(command.split()), False) for command in INLINE.findall(BLOCK.sub("", text)))


def _started(line: str) -> tuple[str, tuple[str, ...]] | None:
    """The program that a line starts, with its settings; None if it is none of ours."""
    if not line.startswith(("python ", "longtake ", "torchrun ", "sbatch ", "srun ")):
        return None
    wrapped = BY_PROCESSES.match(line.partition("#")[0].strip())
    line = STARTED_BY.sub("", wrapped[1] if wrapped else line)
    line = line.partition(" #")[0]  # shlex would end a word at a # inside
    words = [word for word in shlex.split(line) if not re.search(r"(^|=|\.)…$", word)]
    words = [word.replace("…", "RUN") for word in words]  # the folder of a run, which the reader knows
    if not words:
        return None
    if words[:2] == ["-m", "longtake"]:
        words = words[1:]
    if words[0] == "longtake":
        name, rest = (words[1] if len(words) > 1 else ""), words[2:]
        if name == "testbed":
            name, rest = f"testbed_{rest[0] if rest else 'make'}", rest[1:]
        setting = SHORT.get(name)
        name, rest = (setting[0], [setting[1], *rest]) if setting else (name, rest)
    else:
        name, rest = words[0].removesuffix(".py"), words[1:]
    if not (CONF / f"{name}.yaml").is_file() or (words[0] != "longtake" and not words[0].endswith(".py")):
        return None
    if rest[:1] == ["-m"]:  # a sweep: its first job
        rest = [word.split(",")[0] for word in rest[1:]]
    return name, tuple(rest)
