"""One running level of Freedoom in ViZDoom: start it, step it, and read pictures, pose and labels."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from datamodules.freedoom.levels import wad_path
from datamodules.freedoom.walks import Move
from datamodules.recording import COLOURS, Sight, look, new_game, read_pose

# Source: our choice. The game samples textures without filtering, which sparkles from frame to frame when pictures are
# small; twice as many pixels, averaged, cost little.
_SUPERSAMPLING = 2
_SETTLING_TICS = 24  # the game ignores keys for a while after a teleport
# Source: our choice. Most levels are dark; a gamma of 1.35 shows what is in them, and their order of brightness stays.
_BRIGHTER: NDArray[np.uint8] = np.round(255.0 * (np.arange(256) / 255.0) ** (1.0 / 1.35)).astype(np.uint8)


class Game:
    """A level with one marine in it; use as a context manager."""

    def __init__(
        self,
        *,
        level: str,
        seed: int,
        size: int,
        colour: str,
        third_person: bool,
        monsters: bool,
        tics_per_frame: int,
        config_path: Path,
    ) -> None:
        """Start the level.

        Args:
            level: such as "E1M3" or "map05".
            seed: seed of the game's own random events.
            size: height of the square picture wanted; at least twice as much is rendered and averaged down.
            colour: colour of the marine, a key of `COLOURS`.
            third_person: look at the marine from behind.
            monsters: whether monsters live in the level.
            tics_per_frame: tics (1/35 s) from one frame to the next.
            config_path: file that the game may write its settings to.
        """
        self._size = size
        self._tics_per_frame = tics_per_frame
        self._game = new_game(
            wad=wad_path(level=level),
            level=level,
            seed=seed,
            size=size,
            supersampling=_SUPERSAMPLING,
            buttons=("MOVE_FORWARD_BACKWARD_DELTA", "TURN_LEFT_RIGHT_DELTA", "USE"),
            config_path=config_path,
        )
        chance = "" if monsters else " -nomonsters"
        self._game.add_game_args(
            f"+sv_cheats 1 +movebob 0.08 +cl_showsecretmessage 0 +con_midtime 0 +colorset {COLOURS[colour]}{chance}"
        )
        self._game.init()
        self._game.send_game_command("god")
        if third_person:
            self._game.send_game_command("chase")
        self._wait(tics=2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._game.close()

    def put(self, *, place: tuple[float, float], angle: float) -> None:
        """Move the marine to a place and let it look along an angle (degrees)."""
        self._game.send_game_command(f"warp {place[0]:.0f} {place[1]:.0f}")
        self._wait(tics=_SETTLING_TICS)
        off = (angle - read_pose(self._game).angle + 180.0) % 360.0 - 180.0
        self._game.make_action([0.0, -off, 0.0], 1)
        self._wait(tics=2)

    def advance(self, *, move: Move) -> bool:
        """Play one frame; False when the level has ended (an exit) or the marine died."""
        self._game.make_action([move.forward, -move.turn, float(move.use)], self._tics_per_frame)
        return not (self._game.is_episode_finished() or self._game.is_player_dead())

    def look(self) -> Sight:
        """Read what the present frame shows."""
        sight = look(self._game, size=self._size)
        return sight._replace(picture=_BRIGHTER[sight.picture])

    def _wait(self, *, tics: int) -> None:
        self._game.make_action([0.0, 0.0, 0.0], tics)
