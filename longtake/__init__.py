"""Long video generation with diffusion transformers: Video Interface Networks and LoViC.

import longtake

pipe = longtake.Pipeline.from_pretrained("vin_freedoom_64")
longtake.write_video("a.mp4", pipe.stream("A marine in red walks", num_frames=257, seed=0), fps=pipe.fps)
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "KnownSegment": "longtake.rollouts.segmentwise",
    "Pipeline": "longtake.pipeline",
    "compare": "longtake.cli.evaluate",
    "interval": "longtake.reports.intervals",
    "load_network": "longtake.releases.parts",
    "open_data": "longtake.cli.data",
    "read_video": "longtake.video",
    "score": "longtake.cli.evaluate",
    "settle": "longtake.process",
    "write_video": "longtake.video",
}
__all__ = [
    "KnownSegment",
    "Pipeline",
    "compare",
    "interval",
    "load_network",
    "open_data",
    "read_video",
    "score",
    "settle",
    "write_video",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loads a name when it is asked for: `longtake --help` needs no PyTorch."""
    if name not in _NAMES:
        raise AttributeError(f"module 'longtake' has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_NAMES[name]), name)
