"""Videos inside a page that stands alone: as they lie where they are small, else shrunk. Axes: c f h w."""

import base64
import html
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from longtake.video import probe, stream_frames, write_video

MOST_BYTES = 1 << 20
"""Of a file that a page holds as it lies."""
MOST_SHRUNK = 4 << 20
"""Of a file that was shrunk; a longer one is not shown."""
MOST_ALL = 64 << 20
"""Of all files of a page, which then still opens at once."""
SHORT_SIDE = 128
"""Pixels of the shorter side of a video that was shrunk."""
PLAYABLE = ("h264", "vp8", "vp9", "av1")
"""Codecs that browsers play, by FFmpeg's names."""
ENDINGS = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}

PLAY_ALL = """<script>
function playTogether(button) {
  const videos = button.closest("section").querySelectorAll("video");
  const start = [...videos].some(video => video.paused);
  videos.forEach(video => { if (start) { video.currentTime = 0; video.play(); } else { video.pause(); } });
}
</script>"""
"""What the button of `together` does; part of a page that has one."""


class Players:
    """Hands out videos for one page, until the page is full."""

    def __init__(self, most_bytes: int = MOST_ALL) -> None:
        """Begins with an empty page.

        Args:
            most_bytes: most bytes of all files that the page may hold.
        """
        self.left = most_bytes
        self.left_out: list[str] = []

    def player(self, file: Path, name: str) -> str:
        """A video that plays in the page.

        Args:
            file: path of the video.
            name: name that is noted in `left_out` if the page cannot show the video.

        Returns:
            HTML; nothing where the page is full, or the file cannot be shown.
        """
        found = self._content(file)
        if found is None or len(found[1]) > self.left:
            self.left_out.append(name)
            return ""
        kind, content = found
        self.left -= len(content)
        data = base64.b64encode(content).decode()
        label = html.escape(name, quote=True)
        return f'<video controls loop muted playsinline aria-label="{label}" src="data:{kind};base64,{data}"></video>'

    @staticmethod
    def _content(file: Path) -> tuple[str, bytes] | None:
        try:
            if file.suffix.lower() in ENDINGS and file.stat().st_size <= MOST_BYTES and _codec(file) in PLAYABLE:
                return ENDINGS[file.suffix.lower()], file.read_bytes()
            content = _shrunk(file)
        except (ValueError, OSError):
            return None
        return ("video/mp4", content) if len(content) <= MOST_SHRUNK else None


def _codec(file: Path) -> str:
    import av

    try:
        with av.open(str(file.absolute())) as container:
            return container.streams.video[0].codec_context.name
    except (av.FFmpegError, IndexError):
        return ""


def _shrunk(file: Path) -> bytes:
    film = probe(file)
    scale = min(1.0, SHORT_SIDE / min(film.height, film.width))
    height, width = (max(2, 2 * round(side * scale / 2)) for side in (film.height, film.width))

    def pieces() -> Iterator[Tensor]:
        for block in stream_frames(file, height=height, width=width):
            yield rearrange(torch.from_numpy(block), "f h w c -> c f h w").float() / 127.5 - 1

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shrunk.mp4")
        write_video(path, pieces(), fps=film.fps)
        return path.read_bytes()


def remark(players: Players) -> str:
    """A sentence on videos that the page does not hold; nothing if it holds all."""
    if not players.left_out:
        return ""
    some = ", ".join(players.left_out[:5]) + (", …" if len(players.left_out) > 5 else "")
    words = f"{len(players.left_out)} videos do not play in this page, which would be too large: {some}"
    return f"<p class=quiet>{html.escape(words)}.</p>"
