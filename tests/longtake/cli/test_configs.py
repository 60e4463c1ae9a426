"""Every config of every group composes, resolves, and fits the signature of what it builds."""

import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from longtake.cli.changes import with_changes
from networks.interfaces import Condition

ROOT = Path(__file__).parents[3]
CONF = ROOT / "conf"
PROGRAMS = ("train", "generate", "evaluate", "export")
YOURS = ("local",)  # git-ignored: whatever lies there is nobody's test

GIVEN_BY_CODE = {
    "datamodules.segments.SegmentDataModule": {
        "codec", "text_encoder", "global_batch_size", "batch_size", "seed",
    },
    "datamodules.video_datamodule.VideoDataModule": {
        "codec", "text_encoder", "global_batch_size", "batch_size", "seed",
    },
    "lightning_modules.optimization.warmup_cosine": {"optimizer"},
    "timm.optim.Muon": {"params"},
    "torch.optim.AdamW": {"params"},
}  # fmt: skip
"""Required arguments that no config holds, since they are made while the program runs."""

ASKED_OF_THE_USER = {"root", "table", "videos", "output", "run"}
"""Keys that may be `???`."""


def groups_of(program: str) -> dict[str, list[str]]:
    """Every group in a program's defaults list, with the options that lie in its folder."""
    defaults = OmegaConf.load(CONF / f"{program}.yaml").get("defaults", [])
    names = [str(next(iter(entry))).removeprefix("optional ") for entry in defaults if not isinstance(entry, str)]
    return {
        name: sorted(path.stem for path in (CONF / name).glob("*.yaml"))
        for name in names
        if name not in YOURS and (CONF / name).is_dir()
    }


CHOICES = [
    (program, group, option)
    for program in PROGRAMS
    for group, options in groups_of(program).items()
    for option in options
]


def composed(program: str, *changes: str) -> DictConfig:
    # The folder that a program is started in is known to a running Hydra only.
    root = ["paths.root_dir=ROOT"] if "paths" in groups_of(program) else []
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose(program, overrides=[*root, *changes])


@cache
def as_used(program: str, *changes: str) -> Any:
    """A program's config as plain values: what generate.py is told goes into the config of the weights first."""
    cfg = composed(program, *changes)
    if program != "generate":
        return OmegaConf.to_container(cfg, resolve=True)
    return {"weights": with_changes(as_used("train"), cfg), "output": OmegaConf.to_container(cfg)["output"]}


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping with a `_target_`, at any depth."""
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    if isinstance(tree, dict) and "_target_" in tree:
        yield tree
    for child in children:
        yield from nodes(child)


def faults(node: dict[str, Any]) -> list[str]:
    """Keys that the target does not take, and required arguments that nobody gives."""
    target = node["_target_"]
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(get_object(target)).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    keys = {key for key in node if not (key.startswith("_") and key.endswith("_"))}
    later = GIVEN_BY_CODE.get(target, set())
    required = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    return [
        *(f"{target} takes no {key}" for key in sorted(keys - parameters.keys())),
        *(f"{target} needs {key}" for key in sorted(required - keys - later)),
        *(f"{target} gets {key} twice" for key in sorted(keys & later)),
    ]


def missing(tree: Any, key: str = "") -> Iterator[str]:
    """Names of the keys whose value is still `???`."""
    if tree == "???":
        yield key
    elif isinstance(tree, dict):
        for name, child in tree.items():
            yield from missing(child, str(name))
    elif isinstance(tree, list):
        for child in tree:
            yield from missing(child, key)


@pytest.mark.parametrize(("program", "group", "option"), CHOICES)
def test_every_config_composes_and_binds(program, group, option):
    tree = as_used(program, f"{group}={option}")
    found = list(nodes(tree))
    assert found
    assert [fault for node in found for fault in faults(node)] == []
    assert set(missing(tree)) <= ASKED_OF_THE_USER


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_composes_as_it_is(program):
    tree = as_used(program)
    assert [fault for node in nodes(tree) for fault in faults(node)] == []
    assert program != "train" or list(missing(tree)) == []


def test_no_group_is_left_out():
    folders = {path.relative_to(CONF).as_posix() for path in CONF.rglob("*") if path.is_dir()} - set(YOURS)
    assert folders == {group for _, group, _ in CHOICES}


def test_what_code_gives_is_wanted():
    for target, names in GIVEN_BY_CODE.items():
        assert names <= set(inspect.signature(get_object(target)).parameters), target


def test_our_constructors_take_what_they_name_and_nothing_else():
    targets = {node["_target_"] for program, *choice in CHOICES for node in nodes(as_used(program, "=".join(choice)))}
    ours = [name for name in targets if name.split(".")[0] in ("networks", "lightning_modules", "datamodules")]
    assert len(ours) > 30
    for name in ours:
        kinds = {parameter.kind for parameter in inspect.signature(get_object(name)).parameters.values()}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}, name


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("+backbone.widht=64", "networks.dit.VideoDiT takes no widht"),
        ("~backbone.depth", "networks.dit.VideoDiT needs depth"),
        ("+objective.times.law.men=1", "longtake.objectives.LogitNormal takes no men"),
        ("+datamodule.seed=1", "datamodules.video_datamodule.VideoDataModule gets seed twice"),
        ("~datamodule.fps", "datamodules.video_datamodule.VideoDataModule needs fps"),
        ("+optimizer.learning_rate=1", "torch.optim.AdamW takes no learning_rate"),
    ],
)
def test_a_planted_wrong_key_is_caught(change, fault):
    # `video.fps` repeats the data module's, so the plant must not break its interpolation.
    tree = as_used("train", "video.fps=8", change)
    assert fault in {fault for node in nodes(tree) for fault in faults(node)}


def readme_commands() -> list[str]:
    pages = "\n".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
    blocks = re.findall(r"^```\n(.*?)^```", pages, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("python ")]


@pytest.mark.parametrize("command", readme_commands())
def test_the_commands_of_the_readme_compose(command):
    _, program, *changes = shlex.split(command, comments=True)
    if changes[:1] == ["-m"]:  # a sweep: its first job
        changes = [change.split(",")[0] for change in changes[1:]]
    tree = as_used(program.removesuffix(".py"), *changes)
    assert [fault for node in nodes(tree) for fault in faults(node)] == []
    unneeded = {"videos", "output"} if "cost=true" in changes else set()
    assert set(missing(tree)) - unneeded == set()


def untrained_backbones() -> list[str]:
    """Those whose weights need not be fetched; test_wan_backbone.py brings its own for the other."""
    paths = sorted((CONF / "backbone").glob("*.yaml"))
    return [path.stem for path in paths if "pretrained" not in OmegaConf.load(path)]


@pytest.mark.parametrize("backbone", untrained_backbones())
def test_every_backbone_runs_with_its_interface(backbone):
    shallow = ["backbone.depth=1", "interface.depth=1", "codec=pixels", "text=null_text"]
    network = instantiate(composed("train", f"backbone={backbone}", "network=vin_plan", *shallow).network)
    condition = Condition(torch.arange(2.0).view(1, 2), torch.zeros(1, 1, 1), torch.zeros(1, 1, dtype=torch.bool))
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 2, 4, 4), torch.ones(1, 2), condition).shape == (1, 3, 2, 4, 4)
