"""Hues, patterns, signs and things: every picture of a maze, drawn from a few numbers.

Pictures are s s 3 in [0, 255]; y counts downward from the top of a wall, x to the right.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDE = 128  # texels of a wall and of a tile of floor or ceiling: one block
LIGHTS = (1.0, 0.86, 0.76, 0.65, 0.56, 0.46)  # shares of a hue's full light that pictures use
SHADED = 0.86  # light of walls along y, so that corners show
_TWO_LIGHTS = {1.0: (1.0, 0.76), SHADED: (0.86, 0.65)}
_SKIRTING = 14  # texels
# Source: our choice of sixteen hues that a stranger tells apart and has a word for.
_RGB: dict[str, tuple[int, int, int]] = {
    "red": (206, 44, 44),
    "orange": (240, 130, 30),
    "yellow": (240, 214, 60),
    "lime": (150, 210, 50),
    "green": (36, 138, 56),
    "teal": (20, 130, 126),
    "cyan": (84, 210, 226),
    "blue": (46, 82, 206),
    "navy": (36, 42, 100),
    "purple": (120, 56, 170),
    "magenta": (220, 60, 180),
    "pink": (250, 172, 190),
    "brown": (122, 76, 42),
    "cream": (236, 220, 180),
    "white": (239, 239, 239),
    "grey": (112, 116, 124),
}
HUES: tuple[str, ...] = tuple(_RGB)
# Indices of the game's palette that the marine, in any of his colours, does not use: ours to fill with the hues. Those
# that repeat another colour of the palette are missing, since the game draws the other one.
_FREE = (
    *(*range(16, 32), *range(128, 138), *range(148, 160), *range(169, 176), *range(179, 190)),
    *(*range(212, 224), *range(228, 238), *range(241, 247), *range(248, 255)),
)
_HELD = ("white",)  # hues whose shades the game's palette has


def shade(hue: str, light: float = 1.0) -> NDArray[np.float64]:
    """Return a hue at a share of its full light: 3, in [0, 255]."""
    return np.asarray(_RGB[hue], dtype=np.float64) * light


def palette(*, base: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the free colours of the game's palette, 256 3, by shades of the hues."""
    changed = base.copy()
    shades = [shade(hue, light) for light in LIGHTS for hue in HUES if hue not in _HELD]
    changed[list(_FREE[: len(shades)])] = np.round(shades).astype(np.uint8)
    return changed


def _grid(side: int = SIDE) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    y, x = np.mgrid[:side, :side]
    return y, x


def _brick() -> Mask:
    y, x = _grid()
    return (y % 32 < 6) | ((x + 32 * (y // 32 % 2)) % 64 < 6)


def _check(size: int) -> Mask:
    y, x = _grid()
    return (y // size + x // size) % 2 == 1


def _discs() -> Mask:
    y, x = _grid()
    return (y % 64 - 31.5) ** 2 + (x % 64 - 31.5) ** 2 < 20**2


def _diamonds() -> Mask:
    y, x = _grid()
    return np.abs(y % 64 - 31.5) + np.abs(x % 64 - 31.5) < 24


def _crosses() -> Mask:
    y, x = np.abs(_grid()[0] % 64 - 31.5), np.abs(_grid()[1] % 64 - 31.5)
    return ((y < 8) & (x < 24)) | ((x < 8) & (y < 24))


def _frames() -> Mask:
    y, x = np.abs(_grid()[0] - 63.5), np.abs(_grid()[1] - 63.5)
    far = np.maximum(y, x)
    return (far > 54) | ((far < 36) & (far > 22))


def _zigzag() -> Mask:
    y, x = _grid()
    return (y + np.abs(x % 64 - 32)) // 16 % 3 == 0


def _dado() -> Mask:
    y, _ = _grid()
    return (y > 80) | (y < 12)


def _none() -> Mask:
    return np.zeros((SIDE, SIDE), dtype=np.bool_)


WALLS: dict[str, Callable[[], Mask]] = {
    "plain": _none,
    "brick": _brick,
    "chequered": lambda: _check(32),
    "striped": lambda: _grid()[1] // 16 % 4 == 0,
    "banded": lambda: _grid()[0] // 32 % 2 == 1,
    "spotted": _discs,
    "diamond": _diamonds,
    "crossed": _crosses,
    "framed": _frames,
    "zigzag": _zigzag,
    "panelled": _dado,
    "diagonal": lambda: (_grid()[0] + _grid()[1]) // 32 % 2 == 0,
    "columned": lambda: _grid()[1] // 32 % 2 == 0,
    "halved": lambda: _grid()[1] // 64 % 2 == 0,
}
"""Patterns of walls: where the darker light of the hue shows."""

FLOORS: dict[str, Callable[[], Mask]] = {
    "plain": _none,
    "chequered": lambda: _check(64),
    "tiled": lambda: (_grid()[0] % 64 < 6) | (_grid()[1] % 64 < 6),
    "striped": lambda: _grid()[0] // 32 % 2 == 0,
    "planked": lambda: _grid()[1] // 32 % 2 == 0,
    "diamond": lambda: np.abs(_grid()[0] - 63.5) + np.abs(_grid()[1] - 63.5) < 48,
    "framed": lambda: np.maximum(np.abs(_grid()[0] - 63.5), np.abs(_grid()[1] - 63.5)) > 50,
}
CEILINGS: dict[str, Callable[[], Mask]] = {
    "plain": _none,
    "tiled": FLOORS["tiled"],
    "lit": lambda: np.maximum(np.abs(_grid()[0] - 63.5), np.abs(_grid()[1] - 63.5)) < 28,
    "beamed": lambda: _grid()[0] % 64 < 16,
    "chequered": FLOORS["chequered"],
}
COARSE: dict[str, tuple[str, ...]] = {
    "walls": ("plain", "panelled", "halved"),
    "floors": ("plain",),
    "ceilings": ("plain",),
}
"""The patterns of mazes without fine detail, which small pictures show and small codecs keep."""


def patterns_of(part: str, *, patterned: bool) -> tuple[str, ...]:
    """Return the names of the patterns that a maze draws from.

    Args:
        part: walls, floors or ceilings.
        patterned: whether all patterns serve, or the coarse ones alone.
    """
    fine = {"walls": WALLS, "floors": FLOORS, "ceilings": CEILINGS}[part]
    return tuple(name for name in fine if name not in ("plain", "halved")) if patterned else COARSE[part]


def _round(y: NDArray[np.float64], x: NDArray[np.float64]) -> Mask:
    return y**2 + x**2 < 1


SIGNS: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], Mask]] = {
    "disc": _round,
    "ring": lambda y, x: (y**2 + x**2 < 1) & (y**2 + x**2 > 0.36),
    "square": lambda y, x: np.maximum(np.abs(y), np.abs(x)) < 0.85,
    "cross": lambda y, x: (np.minimum(np.abs(y), np.abs(x)) < 0.3) & (np.maximum(np.abs(y), np.abs(x)) < 0.95),
    "triangle": lambda y, x: (y < 0.85) & (np.abs(x) < 0.55 * (y + 0.95)),
    "diamond": lambda y, x: np.abs(y) + np.abs(x) < 1,
    "arrow": lambda y, x: ((x > 0) & (np.abs(y) < 1 - x)) | ((x <= 0) & (x > -0.95) & (np.abs(y) < 0.35)),
    "moon": lambda y, x: (y**2 + x**2 < 1) & (y**2 + (x - 0.5) ** 2 > 0.7),
}
"""Shapes of pictures on walls, over y and x in [-1, 1]."""

SHAPES: dict[str, tuple[int, int, Callable[[NDArray[np.float64], NDArray[np.float64]], Mask]]] = {
    "ball": (44, 44, _round),
    "column": (28, 92, lambda y, x: (np.abs(x) < 0.6) | (np.abs(y) > 0.86)),
    "cone": (52, 64, lambda y, x: np.abs(x) < 0.5 * (y + 1)),
    "cube": (46, 46, lambda y, x: np.abs(x) < 1.1),
    "gem": (44, 64, lambda y, x: np.abs(y) + np.abs(x) < 1),
    "tree": (60, 88, lambda y, x: ((y < 0.45) & (np.abs(x) < 0.72 * (y + 1))) | ((y >= 0.45) & (np.abs(x) < 0.16))),
    "lamp": (40, 84, lambda y, x: (((y + 0.6) / 0.4) ** 2 + x**2 < 1) | (np.abs(x) < 0.16) | (y > 0.9)),
    "vase": (44, 60, lambda y, x: np.abs(x) < 0.62 + 0.36 * np.cos(3.6 * (y - 0.25))),
}
"""Things that stand in rooms: width and height in texels, and their outline over y and x in [-1, 1]."""


def wall(*, hue: str, accent: str, pattern: str, light: float) -> Picture:
    """Draw a wall: a pattern in two lights of one hue over a skirting of the accent, if that is another hue.

    Source: our choice: two lights, not two hues, since a room is known by its hue, and strong contrasts everywhere
    would only feed the codec.

    light: share of the full light, 1 or `SHADED`, as walls of two directions differ.
    """
    bright, dark = _TWO_LIGHTS[light]
    plain = np.where(WALLS[pattern]()[..., None], shade(hue, dark), shade(hue, bright))
    if accent == hue:
        return _rounded(plain)
    skirting = (_grid()[0] >= SIDE - _SKIRTING)[..., None]
    return _rounded(np.where(skirting, shade(accent, bright), plain))


def floor(*, hue: str, pattern: str) -> Picture:
    """Draw a tile of floor in two lights of one hue, darker than walls."""
    return _rounded(np.where(FLOORS[pattern]()[..., None], shade(hue, 0.56), shade(hue, 0.76)))


def ceiling(*, hue: str, pattern: str) -> Picture:
    """Draw a tile of ceiling in two lights of one hue."""
    return _rounded(np.where(CEILINGS[pattern]()[..., None], shade(hue, 0.86), shade(hue, 0.65)))


def sign(*, ground: Picture, shape: str, hue: str, light: float) -> Picture:
    """Draw a picture on a wall: a light or dark board with a shape of a hue, at the height of the eyes.

    Two walls high, the upper one bare, so that high rooms do not show the picture twice.
    """
    y, x = (np.mgrid[:72, :72] - 35.5) / 35.5
    board = shade("navy" if shade(hue).mean() > 140 else "white", light)
    panel = np.where(SIGNS[shape](y * 1.25, x * 1.25)[..., None], shade(hue, light), board)
    whole = ground.copy()
    whole[44:116, 28:100] = _rounded(panel)
    return np.concatenate([ground, whole])


def thing(*, shape: str, hue: str) -> NDArray[np.uint8]:
    """Draw a thing: h w 4 with its opacity, lit from the left and outlined."""
    width, height, outline = SHAPES[shape]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = (y - (height - 1) / 2) / (height / 2), (x - (width - 1) / 2) / (width / 2)
    inside = outline(y, x)
    padded = np.pad(inside, 2)
    core = inside.copy()
    for dy in range(5):
        for dx in range(5):
            core &= padded[dy : dy + height, dx : dx + width]
    lights = np.where(x < -0.1, 1.0, np.where(x < 0.35, 0.86, 0.65))[..., None]
    rgb = np.where(core[..., None], shade(hue) * lights, shade(hue, 0.46))
    return np.concatenate([_rounded(rgb), np.where(inside, 255, 0).astype(np.uint8)[..., None]], axis=2)


def _rounded(rgb: NDArray[np.float64]) -> Picture:
    return np.round(rgb.clip(0, 255)).astype(np.uint8)
