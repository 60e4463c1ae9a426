"""A maze in ViZDoom: the marine is led along a planned track, and what he sees is read."""

import math
from pathlib import Path
from types import TracebackType
from typing import Self

from datamodules.mazes.layout import Maze
from datamodules.mazes.level import MAP, base_wad, build_level
from datamodules.recording import COLOURS, Pose, Sight, look, new_game, read_pose

# Source: our choice. Patterns are sampled without filtering; with nine pixels and more averaged they neither sparkle
# nor stand in steps.
_SUPERSAMPLING = 3
# Of the game: how much of its speed a marine keeps from tic to tic, and speed from one unit of a button.
_FRICTION = 0.90625
_THRUST = 1.0 / 32.0
_MOST_PRESSED = 50.0
TICS_PER_FRAME = 2
_SETTLING_TICS = 8
_BUTTONS = ("MOVE_FORWARD_BACKWARD_DELTA", "MOVE_LEFT_RIGHT_DELTA", "TURN_LEFT_RIGHT_DELTA")


class Game:
    """A maze with one marine in it; use as a context manager."""

    def __init__(
        self,
        *,
        maze: Maze,
        start: tuple[float, float, float],
        size: int,
        colour: str,
        third_person: bool,
        folder: Path,
    ) -> None:
        """Start the game.

        Args:
            maze: the maze.
            start: x, y in map units and angle in degrees.
            size: height of the square picture wanted; at least three times as much is rendered and averaged down.
            colour: colour of the marine, a key of `COLOURS`.
            third_person: look at the marine from behind.
            folder: for the game's own files.

        Raises:
            ValueError: the size is larger than what the game renders.
            RuntimeError: the game does not take the maze.
        """
        self._size = size
        wad = folder / "maze.wad"
        wad.write_bytes(build_level(maze=maze, start=start[:2], angle=start[2]))
        self._game = new_game(
            wad=base_wad(),
            level=MAP,
            seed=1,
            size=size,
            supersampling=_SUPERSAMPLING,
            buttons=_BUTTONS,
            config_path=folder / "game.ini",
        )
        self._game.set_doom_scenario_path(str(wad))
        self._game.add_game_args(f"+sv_cheats 1 -nomonsters +movebob 0.0 +colorset {COLOURS[colour]}")
        self._begin(maze=maze, start=start)
        if third_person:
            self._game.send_game_command("chase")
        self._speed = (0.0, 0.0)
        self._game.make_action([0.0, 0.0, 0.0], _SETTLING_TICS)

    def _begin(self, *, maze: Maze, start: tuple[float, float, float]) -> None:
        import vizdoom

        try:
            self._game.init()
            pose = read_pose(self._game)
        except (vizdoom.ViZDoomErrorException, vizdoom.ViZDoomUnexpectedExitException, AttributeError) as error:
            self._game.close()
            msg = f"maze {maze.number} of seed {maze.seed}: the game does not take its level ({type(error).__name__})."
            raise RuntimeError(msg) from error
        if math.dist((pose.x, pose.y), start[:2]) > 1.0:
            self._game.close()
            msg = (
                f"maze {maze.number} of seed {maze.seed}: the game began at x {pose.x:.0f}, y {pose.y:.0f} instead of "
                f"{start[0]:.0f}, {start[1]:.0f}, so it does not take the level."
            )
            raise RuntimeError(msg)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._game.close()

    def look(self) -> Sight:
        """Read what the present frame shows."""
        return look(self._game, size=self._size)

    def lead(self, *, x: float, y: float, angle: float) -> Pose:
        """Play one frame, so that the marine ends where the plan says; return where he does.

        The game adds thrust to a speed that fades; the thrust that leads to a place in one tic follows from both.
        """
        for left in range(TICS_PER_FRAME, 0, -1):
            pose = read_pose(self._game)
            off = (angle - pose.angle + 180.0) % 360.0 - 180.0
            turn = off / left
            heading = math.radians(pose.angle + turn)
            wanted = ((x - pose.x) / left, (y - pose.y) / left)
            thrust = wanted[0] - self._speed[0], wanted[1] - self._speed[1]
            ahead = thrust[0] * math.cos(heading) + thrust[1] * math.sin(heading)
            aside = thrust[0] * math.sin(heading) - thrust[1] * math.cos(heading)
            pressed = [_pressed(ahead), _pressed(aside)]
            self._game.make_action([*pressed, -turn], 1)
            after = read_pose(self._game)
            self._speed = (after.x - pose.x) * _FRICTION, (after.y - pose.y) * _FRICTION
        return read_pose(self._game)


def _pressed(thrust: float) -> float:
    return min(max(thrust / _THRUST, -_MOST_PRESSED), _MOST_PRESSED)
