"""One running level of Freedoom in ViZDoom: start it, step it, and read pictures, pose and labels."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from datamodules.freedoom.levels import wad_path
from datamodules.freedoom.walks import Move, Pose

if TYPE_CHECKING:
    import vizdoom

# Marine colours by the game's colorset (checked by eye).
COLOURS: dict[str, int] = {"green": 0, "grey": 1, "red": 3, "blue": 7}
_RESOLUTIONS = (120, 240, 480, 600, 768, 960, 1200)  # heights of ViZDoom's 4:3 pictures
# Source: our choice. The game samples textures without filtering, which sparkles from frame to frame when pictures are
# small; twice as many pixels, averaged, cost little.
_SUPERSAMPLING = 2
_SETTLING_TICS = 24  # the game ignores keys for a while after a teleport
# Source: our choice. Most levels are dark; a gamma of 1.35 shows what is in them, and their order of brightness stays.
_BRIGHTER: NDArray[np.uint8] = np.round(255.0 * (np.arange(256) / 255.0) ** (1.0 / 1.35)).astype(np.uint8)


class Sight(NamedTuple):
    """What one frame shows.

    picture: s s 3, red green blue in [0, 255], square; objects: names of the things in it.
    """

    picture: NDArray[np.uint8]
    pose: Pose
    objects: tuple[str, ...]


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
            seed: of the game's own chance.
            size: height of the square picture wanted; at least twice as much is rendered and averaged down.
            colour: of the marine, a key of `COLOURS`.
            third_person: look at the marine from behind.
            monsters: whether monsters live in the level.
            tics_per_frame: tics (1/35 s) from one frame to the next.
            config_path: where the game may write its settings.
        """
        self._size = size
        self._tics_per_frame = tics_per_frame
        self._game = _new_game(level=level, seed=seed, size=size, config_path=config_path)
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
        off = (angle - self._pose().angle + 180.0) % 360.0 - 180.0
        self._game.make_action([0.0, -off, 0.0], 1)
        self._wait(tics=2)

    def advance(self, *, move: Move) -> bool:
        """Play one frame; False when the level has ended (an exit) or the marine died."""
        self._game.make_action([move.forward, -move.turn, float(move.use)], self._tics_per_frame)
        return not (self._game.is_episode_finished() or self._game.is_player_dead())

    def look(self) -> Sight:
        """Read what the present frame shows."""
        import cv2

        state = self._game.get_state()
        frame, labels = state.screen_buffer, state.labels
        assert frame is not None
        assert labels is not None
        height, width = frame.shape[:2]
        left = (width - height) // 2
        picture = cv2.resize(frame[:, left : left + height], (self._size, self._size), interpolation=cv2.INTER_AREA)
        names = {label.object_name for label in labels if _is_in_view(label=label, left=left, height=height)}
        return Sight(
            picture=_BRIGHTER[picture],
            pose=self._pose(),
            objects=tuple(sorted(names - {"DoomPlayer"})),
        )

    def _pose(self) -> Pose:
        variables = self._game.get_state().game_variables
        assert variables is not None
        x, y, z, angle, pitch = (float(value) for value in variables)
        return Pose(x=x, y=y, z=z, angle=angle, pitch=pitch)

    def _wait(self, *, tics: int) -> None:
        self._game.make_action([0.0, 0.0, 0.0], tics)


def _is_in_view(*, label: "vizdoom.Label", left: int, height: int) -> bool:
    shown = min(label.x + label.width, left + height) - max(label.x, left)
    return bool(shown > 0 and shown * label.height > 0.003 * height * height)


def _new_game(*, level: str, seed: int, size: int, config_path: Path) -> "vizdoom.DoomGame":
    import vizdoom

    height = next((height for height in _RESOLUTIONS if height >= _SUPERSAMPLING * size), _RESOLUTIONS[-1])
    if size > height:
        msg = f"size is {size}; Freedoom is rendered up to {height} pixels, so use that or less."
        raise ValueError(msg)
    variables = ("POSITION_X", "POSITION_Y", "POSITION_Z", "ANGLE", "PITCH")
    buttons = ("MOVE_FORWARD_BACKWARD_DELTA", "TURN_LEFT_RIGHT_DELTA", "USE")
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(wad_path(level=level)))
    game.set_doom_config_path(str(config_path))
    game.set_doom_map(level)
    game.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{height * 4 // 3}X{height}"))
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_render_hud(False)
    game.set_render_weapon(False)
    game.set_render_crosshair(False)
    game.set_render_messages(False)
    game.set_render_screen_flashes(False)
    game.set_labels_buffer_enabled(True)
    game.set_available_buttons([getattr(vizdoom.Button, name) for name in buttons])
    game.set_available_game_variables([getattr(vizdoom.GameVariable, name) for name in variables])
    game.set_episode_timeout(0)
    game.set_seed(seed)
    return game
