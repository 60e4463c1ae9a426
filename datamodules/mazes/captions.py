"""Captions of walks through mazes: all that is seen in varied wording, or nothing but that somebody walks."""

from collections.abc import Sequence

import numpy as np

from datamodules.mazes.layout import Look, Maze

_MOVING = {
    "explore": ("walking through", "exploring", "finding the way through"),
    "backtrack": ("walking into and backing out of", "going into and, walking backward, out of"),
    "return": ("walking into and back out of", "going forth and back through"),
    "loop": ("walking a round through", "going round in"),
    "leave": ("looking about a room and leaving it in", "setting out from a room in"),
    "rejoin": ("walking to a room in", "coming to a room in"),
}
_ROOMS_NAMED, _THINGS_NAMED = 3, 4


def write_caption(
    *,
    rng: np.random.Generator,
    maze: Maze,
    kind: str,
    colour: str,
    third_person: bool,
    regions: Sequence[int],
    things: Sequence[str],
) -> str:
    """Write one caption that tells the looks of the rooms and corridors seen longest, and the things in them.

    Args:
        rng: chooses among wordings.
        maze: the maze that is walked through.
        kind: kind of walk, one of `datamodules.mazes.walks.KINDS`.
        colour: the marine's colour, named only where it can be seen.
        third_person: whether the marine is in view.
        regions: those that were walked through, longest first.
        things: names of the things that were seen, most first.
    """
    moving = str(rng.choice(_MOVING[kind]))
    lead = f"{_lead(rng=rng, colour=colour, third_person=third_person)} {moving} a maze"
    rooms = set(maze.rooms.values())
    parts = [
        _place(rng=rng, look=maze.looks[region], noun="room" if region in rooms else "corridor")
        for region in regions[:_ROOMS_NAMED]
    ]
    text = f"{lead} with {_listed(parts)}" if parts else lead
    seen = [f"a {_spaced(name)}" for name in things[:_THINGS_NAMED]]
    if seen:
        tail = (", past {0}", ", with {0} in view", ". On the way there are {0}" if len(seen) > 1 else ". There is {0}")
        text += str(rng.choice(tail)).format(_listed(seen))
    return text.replace("a orange", "an orange") + "."


def write_short_caption(*, rng: np.random.Generator, kind: str, third_person: bool) -> str:
    """Write a caption that is silent about every look, colour and thing: these only what was seen can tell.

    The arguments are those of `write_caption`.
    """
    moving = str(rng.choice(_MOVING[kind]))
    return f"{_lead(rng=rng, colour='', third_person=third_person)} {moving} a maze."


def _lead(*, rng: np.random.Generator, colour: str, third_person: bool) -> str:
    if not third_person:
        return str(rng.choice(("First-person view of", "A first-person camera", "Seen through one's own eyes,")))
    if not colour:
        return str(rng.choice(("A marine is", "A marine seen from behind,", "The camera follows a marine")))
    forms = ("A marine in {0} armour is", "A {0} marine seen from behind,", "The camera follows a {0} marine")
    return str(rng.choice(forms)).format(colour)


def _place(*, rng: np.random.Generator, look: Look, noun: str) -> str:
    forms = (
        "a {noun} with {wall_pattern} {wall} walls and a {floor} floor",
        "a {wall} {wall_pattern} {noun} with a {floor_pattern} {floor} floor",
        "a {noun} of {wall_pattern} {wall} walls under a {ceiling} ceiling",
    )
    return str(rng.choice(forms)).format(noun=noun, **look.__dict__)


def _spaced(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
