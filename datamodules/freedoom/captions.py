"""Captions in varied, natural wording from what is known about a walk: place, look, subject, motion, objects."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodules.freedoom.levels import TITLES

# Names of things in the game that a person would call something else; the others are split at capitals.
_WORDS = {
    "DoomPlayer": "",
    "TorchTree": "bare trees",
    "BigTree": "large trees",
    "Stalagtite": "stalagmites",
    "TechPillar": "a technical pillar",
    "TechLamp": "tall lamps",
    "TechLamp2": "short lamps",
    "Column": "floor lamps",
    "CandleStick": "candles",
    "Candelabra": "a candelabra",
    "ExplosiveBarrel": "barrels",
    "BurningBarrel": "a burning barrel",
    "DeadMarine": "a fallen marine",
    "LiveStick": "an impaled body",
    "DeadStick": "an impaled body",
    "HeadOnAStick": "a head on a stick",
    "HeadsOnAStick": "heads on a stick",
    "HeadCandles": "skulls with candles",
    "HealthBonus": "small health bottles",
    "ArmorBonus": "armour pieces",
    "Medikit": "a medical kit",
    "Stimpack": "a small medical kit",
    "GreenArmor": "green armour",
    "BlueArmor": "blue armour",
    "Soulsphere": "a glowing blue sphere",
    "Megasphere": "a glowing sphere",
    "InvulnerabilitySphere": "a green sphere",
    "BlurSphere": "a translucent sphere",
    "Clip": "ammunition",
    "ClipBox": "boxes of ammunition",
    "Shell": "shotgun shells",
    "ShellBox": "boxes of shells",
    "RocketAmmo": "rockets",
    "RocketBox": "a crate of rockets",
    "Cell": "energy cells",
    "CellPack": "packs of energy cells",
    "BlueCard": "a blue key card",
    "RedCard": "a red key card",
    "YellowCard": "a yellow key card",
    "Shotgun": "a shotgun on the floor",
    "SuperShotgun": "a shotgun on the floor",
    "Chaingun": "a machine gun on the floor",
    "Chainsaw": "a chainsaw on the floor",
    "RocketLauncher": "a rocket launcher on the floor",
    "PlasmaRifle": "a plasma rifle on the floor",
    "ZombieMan": "zombie soldiers",
    "ShotgunGuy": "armed zombies",
    "Zombieman": "zombie soldiers",
    "ChaingunGuy": "armed zombies",
    "DoomImp": "serpent-like monsters",
    "DoomImpBall": "balls of fire",
    "CacodemonBall": "balls of fire",
    "BaronBall": "balls of fire",
    "BulletPuff": "",
    "Blood": "",
    "Demon": "a charging beast",
    "DeadZombieMan": "a fallen soldier",
    "DeadShotgunGuy": "a fallen soldier",
    "DeadDoomImp": "a dead monster",
    "DeadDemon": "a dead beast",
    "DeadCacodemon": "a dead monster",
    "DeadLostSoul": "",
    "Cacodemon": "a floating monster",
    "LostSoul": "a flying skull",
    "PainElemental": "a floating monster",
    "GibbedMarine": "remains on the floor",
    "GibbedMarineExtra": "remains on the floor",
    "SmallBloodPool": "a pool of blood",
    "HeartColumn": "a column with a beating heart",
    "BFG9000": "a huge gun on the floor",
    "SpawnShot": "",
    "SpawnFire": "",
    "Gibs": "remains on the floor",
    "ColonGibs": "remains on the floor",
    "BrainStem": "remains on the floor",
    "EvilEye": "a floating eye",
    "FloatingSkull": "floating skulls",
    "Backpack": "a backpack",
    "RadSuit": "a protective suit",
    "Berserk": "a black medical kit",
    "Infrared": "light goggles",
    "Allmap": "a computer map",
}
_HUES = ((15, "red"), (40, "brown"), (68, "yellow"), (165, "green"), (255, "blue"), (320, "purple"), (361, "red"))
_BRIEFLY = {
    "wander": ("wandering about", "exploring", "walking around", "roaming"),
    "patrol": ("on patrol", "walking out and back", "going back and forth"),
    "turn": ("looking around", "turning about"),
    "stand": ("lingering", "standing and waiting"),
}
_MOVING = {
    "wander": ("wandering through", "exploring", "walking around in", "roaming through"),
    "patrol": ("patrolling", "walking out and back through", "going back and forth through"),
    "turn": ("looking around in", "turning about in"),
    "stand": ("lingering in", "standing and waiting in"),
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """The visible look of a walk in two words: how bright, and the prevailing colour."""

    light: str
    hue: str


def describe_look(*, colour_mean: NDArray[np.float64], saturated: NDArray[np.float64]) -> Look:
    """Put the light and the prevailing colour of a walk into words.

    Args:
        colour_mean: 3, mean red, green and blue over all pixels, in [0, 255].
        saturated: 360, how many colourful pixels have each hue (degrees), as a share of all pixels.
    """
    brightness = float(colour_mean.mean())
    light = "dark" if brightness < 47 else "dim" if brightness < 58 else "lit" if brightness < 76 else "bright"
    if saturated.sum() < 0.15:
        return Look(light=light, hue="grey")
    starts = (0, *(stop for stop, _ in _HUES[:-1]))
    shares: dict[str, float] = {}
    for start, (stop, word) in zip(starts, _HUES, strict=True):
        shares[word] = shares.get(word, 0.0) + float(saturated[start:stop].sum())
    return Look(light=light, hue=max(shares, key=lambda word: shares[word]))


def name_object(name: str) -> str:
    """Return an English phrase for one of the game's names of things; empty for what is not worth a word."""
    if "Meat" in name or "Twitch" in name:
        return "hanging bodies"
    if name in _WORDS:
        return _WORDS[name]
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"\d+$", "", name)).lower()
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def write_caption(
    *,
    rng: np.random.Generator,
    level: str,
    look: Look,
    colour: str,
    third_person: bool,
    legs: Mapping[str, int],
    objects: Sequence[str],
) -> str:
    """Write one caption.

    Args:
        rng: chooses among wordings.
        level: the level's name, such as "E1M3".
        look: light and prevailing colour.
        colour: the marine's colour, named only where it can be seen.
        third_person: whether the marine is in view.
        legs: frames spent in each kind of leg.
        objects: the game's names of what was seen most, most frequent first.
    """
    place = _place(rng=rng, level=level, look=look)
    kind = _main_motion(legs=legs)
    moving = str(rng.choice(_MOVING[kind]))
    if third_person:
        text = _third_person(rng=rng, colour=colour, moving=moving, place=place)
    else:
        lead = ("First-person view of {0} {1}", "A first-person camera {0} {1}", "Seen through one's own eyes, {0} {1}")
        text = str(rng.choice(lead)).format(moving, place)
    seen = list(dict.fromkeys(phrase for phrase in map(name_object, objects) if phrase))[:3]
    if seen:
        tail = (", with {0} in view", ", passing {0}", ". One sees {0}", ". There are {0}")
        listed = " and ".join([", ".join(seen[:-1]), seen[-1]]) if len(seen) > 1 else seen[0]
        text += str(rng.choice(tail[:2] if listed.startswith(("a ", "an ")) else tail)).format(listed)
    return text + "."


def write_short_caption(*, rng: np.random.Generator, level: str, third_person: bool, legs: Mapping[str, int]) -> str:
    """Write a caption that is silent about colour, light and things, and every other time about the level.

    What a text leaves out has to come from what else of a video is known: its other chunks, or a memory.
    The arguments are those of `write_caption`.
    """
    moving = str(rng.choice(_BRIEFLY[_main_motion(legs=legs)]))
    if third_person:
        forms = ("A marine is {0}", "A marine seen from behind, {0}", "The camera follows a marine, {0}")
    else:
        forms = ("First-person view, {0}", "A first-person camera, {0}", "Seen through one's own eyes, {0}")
    text = str(rng.choice(forms)).format(moving)
    return text + str(rng.choice(("", f" in {TITLES[level]}"))) + "."


def _place(*, rng: np.random.Generator, level: str, look: Look) -> str:
    title = TITLES[level]
    light = {"lit": "evenly lit", "bright": "bright"}.get(look.light, look.light)
    article = "an" if light[0] in "aeiou" else "a"
    forms = (
        f"{article} {light}, mostly {look.hue} place called {title}",
        f"{title}, {article} {light} {look.hue} level",
        f"the {light} {look.hue} surroundings of {title} ({level})",
        f"level {level}, {title}, {light} and {look.hue}",
    )
    return str(rng.choice(forms))


def _third_person(*, rng: np.random.Generator, colour: str, moving: str, place: str) -> str:
    forms = (
        "A marine in {0} armour is {1} {2}",
        "A {0} marine seen from behind, {1} {2}",
        "The camera follows a {0}-suited marine {1} {2}",
        "Third-person view of a marine in a {0} suit {1} {2}",
    )
    return str(rng.choice(forms)).format(colour, moving, place)


def _main_motion(*, legs: Mapping[str, int]) -> str:
    shares = {
        "wander": legs.get("wander", 0),
        "patrol": legs.get("patrol out", 0) + legs.get("patrol back", 0),
        "turn": legs.get("turn", 0),
        "stand": legs.get("stand", 0),
    }
    return max(shares, key=lambda kind: shares[kind])
