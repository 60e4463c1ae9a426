"""Levels of mazes as game files, and the captions of walks through them."""

import re

import cv2
import numpy as np
import pytest
from tiny_mazes import mazes

from datamodules.mazes.captions import write_caption, write_short_caption
from datamodules.mazes.layout import centre_of
from datamodules.mazes.level import build_level, pack, unpack
from datamodules.mazes.looks import FLOORS, HUES, SHAPES, SIGNS, WALLS, ceiling, floor, thing, wall
from datamodules.mazes.walks import KINDS


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the game makes a folder where it is started


# Levels


@pytest.mark.slow
def test_a_level_is_a_game_file_whose_pieces_belong_together():
    for maze in mazes(6):
        pieces = dict(unpack(build_level(maze=maze, start=centre_of((0, 0)), angle=90.0)))
        text = pieces["TEXTMAP"].decode()
        counts = {kind: len(re.findall(rf"^{kind}{{", text, re.MULTILINE)) for kind in ("vertex", "sidedef", "sector")}
        for name, kind in (("v1", "vertex"), ("v2", "vertex"), ("sidefront", "sidedef"), ("sideback", "sidedef")):
            assert max(int(number) for number in re.findall(rf"{name}=(\d+);", text)) < counts[kind]
        assert counts["sector"] == len(maze.looks)
        assert {int(number) for number in re.findall(r"sector=(\d+);", text)} <= set(range(len(maze.looks)))
        used = set(re.findall(r'texture(?:middle|top|floor|ceiling)="(\w+)"', text))
        assert used <= set(pieces)
        for name in used:
            height = 256 if name.startswith("S") else 128  # a wall with a picture is bare above it
            assert cv2.imdecode(np.frombuffer(pieces[name], np.uint8), cv2.IMREAD_COLOR).shape == (height, 128, 3)
        assert text.count("type=1;") == 1
        assert len(re.findall(r"type=2\d{4};", text)) == len(maze.things)
        assert len(pieces["PLAYPAL"]) == 14 * 768


def test_a_texture_name_that_stands_twice_or_is_long_is_refused():
    with pytest.raises(ValueError, match="the name W000 stands 2 times"):
        pack([("W000", b"a"), ("W001", b""), ("W000", b"b")])
    with pytest.raises(ValueError, match="WALL00000 has 9 letters"):
        pack([("WALL00000", b"")])


@pytest.mark.parametrize(("data", "why"), [(b"", "neither"), (b"PNG" * 8, "neither"), (None, "truncated")])
def test_what_is_no_game_file_is_refused(data, why):
    whole = pack([("W000", b"abc")])
    with pytest.raises(ValueError, match=why):
        unpack(whole[:-1] if data is None else data)
    assert unpack(whole) == [("W000", b"abc")]


@pytest.mark.slow
def test_every_look_has_patterns():
    for name in WALLS:
        drawn = wall(hue="red", accent="blue", pattern=name, light=1.0)
        lights = 1 if name == "plain" else 2
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == lights + 1  # and the skirting
        bare = wall(hue="red", accent="red", pattern=name, light=1.0)
        assert len(np.unique(bare.reshape(-1, 3), axis=0)) == lights
    for name in FLOORS:
        lights = 1 if name == "plain" else 2
        assert len(np.unique(floor(hue="red", pattern=name).reshape(-1, 3), axis=0)) == lights
    assert len(np.unique(ceiling(hue="red", pattern="lit").reshape(-1, 3), axis=0)) == 2
    for name in SHAPES:
        drawn = thing(shape=name, hue="lime")
        assert 0.2 < (drawn[..., 3] > 0).mean() <= 1.0
    assert len({build_sign(name) for name in SIGNS}) == len(SIGNS)


def build_sign(shape):
    from datamodules.mazes.looks import sign

    return sign(
        ground=wall(hue="red", accent="blue", pattern="brick", light=1.0), shape=shape, hue="green", light=1.0
    ).tobytes()


# Captions


def test_full_captions_tell_and_short_ones_are_silent():
    maze = mazes(1)[0]
    room = next(iter(maze.rooms.values()))
    common = {"kind": "loop", "third_person": True}
    texts = {
        write_caption(
            rng=np.random.default_rng(i), maze=maze, colour="blue", regions=[room], things=["OrangeBall"], **common
        )
        for i in range(40)
    }
    assert len(texts) > 15
    for text in texts:
        assert "an orange ball" in text
        assert maze.looks[room].wall in text
        assert "blue" in text
        assert text.endswith(".")
    for kind in KINDS:
        for third_person in (True, False):
            short = write_short_caption(rng=np.random.default_rng(1), kind=kind, third_person=third_person)
            assert not re.search("|".join((*HUES, *WALLS, *SHAPES)), short)
            assert ("marine" in short) == third_person
