"""Trainings that README, docs and cards name are typed one after the other, at a size of a second each."""

import pytest
from documented import commands, run

pytestmark = pytest.mark.slow
OF_WORLDS = {"freedoom": "_freedoom", "mazes": "_mazes"}
"""Words of the experiments on a world."""


@pytest.fixture
def film_place(place, videos):
    """The place with a table of somebody's videos, where each has poses and actions."""
    rows = "".join(f"{n},{n},0,{5 * n},1,0\n" for n in range(25))
    (place / "walk.csv").write_text(f"frame,x,y,angle,forward,turn\n{rows}")
    lines = [f"{videos}/{n}.mp4,square {n},{place / 'walk.csv'}\n" for n in range(6)]
    (place / "videos.csv").write_text(f"path,caption,control\n{''.join(lines)}")
    return place


def typed(place, lines):
    """Types trainings; how many runs there are."""
    run(place, "train", *lines)
    return len(list(place.glob("runs/*/*/checkpoints/last.ckpt")))


@pytest.mark.parametrize("world", OF_WORLDS)
def test_those_of_an_experiment(film_place, world):
    lines = [line for line in commands("train") if f"_{world}" in line.partition(" pretrained")[0]]
    assert typed(film_place, lines) == len(lines) > 8


def test_those_of_no_experiment(film_place):
    lines = [line for line in commands("train") if "experiment=" not in line]
    assert typed(film_place, lines) == len(lines) - 1 + 2  # one asks for help, one trains three seeds
    assert len(lines) > 12
