"""What the rendered worlds share about one walk: a game of ViZDoom to look through, its pictures, poses and files."""

import csv
import gzip
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from networks.files import whole

if TYPE_CHECKING:
    import vizdoom

# Marine colours by the game's colorset (checked by eye).
COLOURS: dict[str, int] = {"green": 0, "grey": 1, "red": 3, "blue": 7}
TICS_PER_SECOND = 35  # of the game
_RESOLUTIONS = (120, 240, 480, 600, 768, 960, 1200)  # heights of ViZDoom's 4:3 pictures
_SMALLEST_SHARE = 0.003  # of the picture, for a thing to count as in view


class Pose(NamedTuple):
    """Where the marine stands and looks: x, y, z in map units, angle and pitch in degrees."""

    x: float
    y: float
    z: float
    angle: float
    pitch: float


class Sight(NamedTuple):
    """What one frame shows.

    picture: s s 3, red green blue in [0, 255], square; objects: names of the things in it.
    """

    picture: NDArray[np.uint8]
    pose: Pose
    objects: tuple[str, ...]


def new_game(
    *, wad: Path, level: str, seed: int, size: int, supersampling: float, buttons: Sequence[str], config_path: Path
) -> "vizdoom.DoomGame":
    """Prepare a game that shows nothing but the world; it is not started yet.

    Args:
        wad: the game file.
        level: such as "map05".
        seed: seed of the game's own random events.
        size: height of the square picture wanted.
        supersampling: factor by which the rendered picture is larger at least, before it is averaged down.
        buttons: names of ViZDoom's buttons, in the order in which actions give them.
        config_path: file that the game may write its settings to.

    Raises:
        ValueError: the size is larger than what the game renders.
    """
    import vizdoom

    height = next((height for height in _RESOLUTIONS if height >= supersampling * size), _RESOLUTIONS[-1])
    if size > height:
        msg = f"size is {size}; the game renders up to {height} pixels, so use that or less."
        raise ValueError(msg)
    variables = ("POSITION_X", "POSITION_Y", "POSITION_Z", "ANGLE", "PITCH")
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(wad))
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


def read_pose(game: "vizdoom.DoomGame") -> Pose:
    """Read where the marine is now."""
    variables = game.get_state().game_variables
    assert variables is not None
    x, y, z, angle, pitch = (float(value) for value in variables)
    return Pose(x=x, y=y, z=z, angle=angle, pitch=pitch)


def look(game: "vizdoom.DoomGame", *, size: int) -> Sight:
    """Read what the present frame shows: the middle of the screen, averaged down to size x size pixels."""
    import cv2

    state = game.get_state()
    frame, labels = state.screen_buffer, state.labels
    assert frame is not None
    assert labels is not None
    height, width = frame.shape[:2]
    left = (width - height) // 2
    picture = cv2.resize(frame[:, left : left + height], (size, size), interpolation=cv2.INTER_AREA)
    names = {label.object_name for label in labels if _is_in_view(label=label, left=left, height=height)}
    return Sight(
        picture=np.asarray(picture, dtype=np.uint8),
        pose=read_pose(game),
        objects=tuple(sorted(names - {"DoomPlayer"})),
    )


def _is_in_view(*, label: "vizdoom.Label", left: int, height: int) -> bool:
    shown = min(label.x + label.width, left + height) - max(label.x, left)
    return bool(shown > 0 and shown * label.height > _SMALLEST_SHARE * height * height)


class VideoFile:
    """An H.264 file that pictures are added to."""

    def __init__(self, *, path: Path, size: int, rate: Fraction, crf: int) -> None:
        """Open the file.

        Args:
            path: an .mp4 file.
            size: height and width in pixels, even.
            rate: frames a second.
            crf: x264's constant rate factor; lower is closer to the pictures.
        """
        import av

        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.width = self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        # Without mbtree=0 x264 encodes the same small frames differently from run to run (measured at 64 px).
        self._stream.options = {
            "crf": str(crf),
            "preset": "fast",
            "g": "16",
            "threads": "1",
            "x264-params": "mbtree=0",
        }

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Add one picture, s s 3."""
        import av

        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode())

    def close(self) -> None:
        """Close the file."""
        self._container.close()


@contextmanager
def open_video(*, path: Path, size: int, rate: Fraction, crf: int) -> Iterator[VideoFile]:
    """Give a `VideoFile`, finish it where nothing went wrong, and close it in any case."""
    video = VideoFile(path=path, size=size, rate=rate, crf=crf)
    try:
        yield video
        video.finish()
    finally:
        video.close()


def write_rows(*, path: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a side file of a walk, one row a frame, as .csv.gz; floats to a thousandth, several names with `;`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("frame", *names))
    for frame, row in enumerate(rows):
        writer.writerow((frame, *map(_cell, row)))
    write_whole(path=path, data=gzip.compress(text.getvalue().encode(), mtime=0))


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.3f}"
    return ";".join(value) if isinstance(value, tuple) else value


def write_whole(*, path: Path, data: bytes) -> None:
    """Write a file so that it is either absent or complete, even when the program is killed."""
    with whole(path) as part:
        part.write_bytes(data)


def is_chosen(*, number: int, share: float, phase: float) -> bool:
    """Whether a walk is among a share of them that is spread evenly over their numbers, offset by the phase."""
    return math.floor((number + 1) * share + phase) > math.floor(number * share + phase)
