"""Stand-ins for what writes videos, and a storyboard to write."""

BOARD = """
segments:
  - {name: one, shot: a}
  - {name: two, shot: b}
"""


def never(*_, **__):
    raise AssertionError("nothing is to be sampled, read or written")


class Writer:
    """A write_video that keeps its frames' sum, and may be killed at a file."""

    def __init__(self, kill_at=None):
        self.made, self.kill_at = {}, kill_at

    def __call__(self, path, pieces, *, fps):
        if path.name == self.kill_at:
            raise KeyboardInterrupt
        self.made[path.name] = float(sum(piece.abs().sum() for piece in pieces))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
