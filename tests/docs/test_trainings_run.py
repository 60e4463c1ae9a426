"""Trainings that README, docs and cards name are typed one after the other, at a size of a second each."""

import pytest
from documented import commands, run
from tiny_pipelines import save_tiny_pipelines

pytestmark = pytest.mark.slow
OF_WORLDS = {"freedoom": "_freedoom", "mazes": "_mazes"}
"""Words of the experiments on a world."""


def typed(place, lines):
    """Types trainings; how many runs there are."""
    run(place, "train", *lines)
    return len(list(place.glob("runs/*/*/checkpoints/last.ckpt")))


@pytest.mark.parametrize("world", OF_WORLDS)
def test_those_of_an_experiment(film_place, world):
    lines = [line for line in commands("train") if f"_{world}" in line.partition(" pretrained")[0]]
    assert typed(film_place, lines) == len(lines) > 6


def test_those_of_no_experiment(film_place):
    lines = [line for line in commands("train") if "experiment=" not in line]
    assert typed(film_place, lines) == len(lines) - 1 + 2  # one asks for help, one trains three seeds
    assert len(lines) > 12


def test_those_of_a_pretrained_base(film_place):
    save_tiny_pipelines(film_place / "bases")
    assert run(film_place, "cache").count("6 films are cached") == len(commands("cache")) == 3
    lines = [line for line in commands("train") if "experiment=vin_" in line and not any(x in line for x in OF_WORLDS)]
    assert typed(film_place, lines) == len(lines) > 9
