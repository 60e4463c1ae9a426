"""Configs that tests compose by a short way are those that Hydra composes."""

import pytest
from composing import CONF, ROOT, composed, documented_commands, groups_of
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf


def by_hydra(program, *changes):
    root = [f"paths.root_dir={ROOT}"] if "paths" in groups_of(program) else []
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose(program, overrides=[*root, *changes])


def same(program, *changes):
    whole, short = by_hydra(program, *changes), composed(program, *changes)
    assert OmegaConf.to_yaml(short) == OmegaConf.to_yaml(whole), changes
    assert OmegaConf.is_struct(short) == OmegaConf.is_struct(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ("experiment=lovic_freedoom", "backbone.width=64", "datamodule.root=/a-b/c", "datamodule.num_frames=[5,9]"),
        ("backbone.width=64", "~backbone.depth", "backbone.num_heads=2"),
        ("+my_width=384", "backbone.width=${my_width}", "trainer.max_steps=1e3", "seed=null"),
        ("backbone.depth=1", "backbone=dit_s", "backbone.depth='3'", "callbacks.samples.num_frames=9"),
        ("trainer=ddp_cpu", "+callbacks.fault._target_=a.B", "+callbacks.fault.rank=1", "callbacks.fault.rank=2"),
    ],
    ids=lambda changes: changes[0],
)
def test_values_are_set_as_hydra_sets_them(changes):
    same("train", *changes)


@pytest.mark.slow
def test_commands_of_the_documentation_are_composed_as_hydra_composes_them():
    typed = {(each.program, each.changes) for each in documented_commands().values()}
    for program, changes in sorted(typed)[::4]:
        if "--help" not in changes and "sampler=mine" not in changes:
            same(program, *changes)


@pytest.mark.parametrize("change", ["backbone.widht=1", "widht=1", "backbone=dit_xxl", "backbone.depth=[", "seed=1,2"])
def test_what_hydra_refuses_is_refused_in_its_words(change):
    said = []
    for way in (by_hydra, composed):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of several kinds
            way("train", change)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


def test_a_copy_is_nobody_elses():
    first = composed("train", "backbone.width=64")
    first.backbone.width = 32
    assert composed("train", "backbone.width=64").backbone.width == 64
