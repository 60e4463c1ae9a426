"""Every config of every group composes, resolves, and fits the signature of what it builds."""

import inspect
from collections.abc import Collection, Iterator
from typing import Any

import pytest
import torch
from composing import (
    CHOICES,
    CONF,
    PROGRAMS,
    ROOT,
    YOURS,
    as_used,
    changes_for,
    check,
    composed,
    documented_commands,
    groups_of,
    plain,
    rows_of,
)
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from longtake.cli import schemas
from longtake.cli.composed import check_settings
from networks.interfaces import Condition

GIVEN_BY_CODE = {
    "datamodules.segments.SegmentDataModule": {
        "codec", "text_encoder", "global_batch_size", "batch_size", "seed",
    },
    "datamodules.sets.SetsDataModule": {
        "codec", "text_encoder", "global_batch_size", "batch_size", "seed",
    },
    "datamodules.video_datamodule.VideoDataModule": {
        "codec", "text_encoder", "global_batch_size", "batch_size", "seed",
    },
    "lightning_modules.optimization.adamw_8bit": {"params"},
    "lightning_modules.optimization.warmup_cosine": {"optimizer"},
    "timm.optim.Muon": {"params"},
    "torch.optim.AdamW": {"params"},
}  # fmt: skip
"""Required arguments that no config holds, since they are made while the program runs."""

ASKED_OF_THE_USER = {"root", "table", "videos", "output", "run"}
"""Keys that may be `???`."""


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


def faults_of(program: str, *changes: str, given: Collection[str] = ()) -> list[str]:
    """What is wrong with a program's config after these changes: settings out of range, or keys that do not bind.

    given: keys that the changes must give, of those that a user is asked for.
    """
    try:
        tree = plain(program, check(program, *changes, needed=not given))
    except Exception as error:  # whatever it is, it is this config's
        return [f"{type(error).__name__}: {error}"]
    found = [fault for node in nodes(tree) for fault in faults(node)]
    found += [f"{key} is ???" for key in set(missing(tree)) - (ASKED_OF_THE_USER - set(given))]
    builds = program == "export" or any(True for _ in nodes(tree))  # export.py asks the run alone
    return found if builds else [*found, "builds nothing"]


def shared(program, group, _):
    """Whether evaluate.py has this group from train.py, for its forecast of costs."""
    return program == "evaluate" and group in groups_of("train")


def faults_of_row(row):
    """What is wrong with each; where they do not go together, halves are looked at."""
    program = row[0][0]
    found = faults_of(program, *(change for choice in row for change in changes_for(*choice)))
    if len(row) == 1 or not found:
        return dict.fromkeys(row, found) if found else {}
    half = len(row) // 2
    return faults_of_row(row[:half]) | faults_of_row(row[half:])


def faults_of_choices(choices):
    return {choice: each for row in rows_of(choices) for choice, each in faults_of_row(row).items()}


def test_a_row_finds_the_option_that_is_wrong():
    row = [("train", "trainer", "fsdp2"), ("train", "optimizer", "none_such"), ("train", "sampler", "euler")]
    assert {choice: "none_such" in str(found) for choice, found in faults_of_row(row).items()} == {row[1]: True}


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["once", "for costs too"])
def test_every_option_of_every_group_composes_passes_and_binds(again):
    choices = [choice for choice in CHOICES if shared(*choice) == again]
    assert faults_of_choices(choices) == {}
    assert len(choices) > 30


def test_the_first_option_of_groups_of_parts_composes_passes_and_binds():
    parts = ("backbone", "codec", "datamodule", "lightning_module", "network", "objective", "rollout", "sampler")
    first = {group: (program, group, option) for program, group, option in reversed(CHOICES) if program == "train"}
    assert faults_of_choices(first[part] for part in parts) == {}


def test_every_program_composes_as_it_is():
    found = {program: faults_of(program) for program in ("train", "generate", "evaluate")}
    assert {program: each for program, each in found.items() if each} == {}
    assert list(missing(as_used("train"))) == []


def test_no_group_is_left_out():
    others = {*YOURS, "hydra", "hydra/launcher"}  # Hydra's own: tests/longtake/cli/test_slurm_launcher.py
    folders = {path.relative_to(CONF).as_posix() for path in CONF.rglob("*") if path.is_dir()} - others
    assert folders == {group for _, group, _ in CHOICES}


def test_what_code_gives_is_wanted():
    for target, names in GIVEN_BY_CODE.items():
        assert names <= set(inspect.signature(get_object(target)).parameters), target


def test_our_constructors_take_what_they_name_and_nothing_else():
    files = [OmegaConf.to_container(OmegaConf.load(path)) for path in CONF.rglob("*.yaml")]
    targets = {node["_target_"] for tree in files for node in nodes(tree)}
    ours = [name for name in targets if name.split(".")[0] in ("networks", "lightning_modules", "datamodules")]
    assert len(ours) > 30
    for name in ours:
        kinds = {parameter.kind for parameter in inspect.signature(get_object(name)).parameters.values()}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}, name


@pytest.mark.slow
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


OWN_PARTS = ("sampler=mine",)
"""Settings of examples whose files the page has the reader write."""


@pytest.mark.slow
def test_the_commands_of_readme_docs_and_cards_compose():
    found = {}
    for command, (program, changes, is_whole) in documented_commands().items():
        if program not in PROGRAMS or set(changes) & {*OWN_PARTS, "--help"}:
            continue
        unneeded = {"videos", "output"} if "cost=true" in changes else set()
        unneeded |= {"output"} if {"dry_run=true", "vbench=long_custom"} & set(changes) else set()
        needed = ASKED_OF_THE_USER - unneeded
        found[command] = faults_of(program, *changes, given=needed if is_whole else ())
    assert {command: each for command, each in found.items() if each} == {}
    assert len(found) > 90


SETTINGS = {
    "cache": schemas.CacheSettings,
    "studio": schemas.StudioSettings,
    "testbed_make": schemas.MakeTestbedSettings,
    "testbed_answer": schemas.AnswerTestbedSettings,
    "testbed_score": schemas.ScoreTestbedSettings,
}


@pytest.mark.slow
def test_the_other_commands_of_the_docs_pass_their_checks():
    faults = {}
    commands = {line: each for line, each in documented_commands().items() if each.program not in PROGRAMS}
    for line, (program, changes, is_whole) in commands.items():
        try:
            own = [f"paths.root_dir={ROOT}"] if program in ("cache", "studio") else []
            check_settings(composed(program, *own, *changes), SETTINGS[program])
        except Exception as error:  # whatever it is, it is this command's
            if is_whole or "is missing" not in str(error):
                faults[line] = str(error)
    assert faults == {}
    assert {each.program for each in commands.values()} == SETTINGS.keys()


def untrained_backbones() -> list[str]:
    """Those whose weights need not be fetched; test_wan_backbone.py brings its own for the other."""
    paths = sorted((CONF / "backbone").glob("*.yaml"))
    return [path.stem for path in paths if "pretrained" not in OmegaConf.load(path)]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", untrained_backbones())
def test_every_backbone_runs_with_its_interface(backbone):
    shallow = ["backbone.depth=1", "interface.depth=1", "codec=pixels", "text=null_text"]
    network = instantiate(composed("train", f"backbone={backbone}", "network=vin_plan", *shallow).network)
    condition = Condition(torch.arange(2.0).view(1, 2), torch.zeros(1, 1, 1), torch.zeros(1, 1, dtype=torch.bool))
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 2, 4, 4), torch.ones(1, 2), condition).shape == (1, 3, 2, 4, 4)
