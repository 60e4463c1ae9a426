"""Batteries for parts of one's own: each raises AssertionError in one sentence for the first rule that is broken.

Example:
    from longtake.testing import check_metric, check_network


    def test_my_network():
        check_network(lambda: MyNetwork(width=32, channels=4), channels=4)


    def test_my_metric():
        check_metric(MyMetric)

They need no pytest, and run on the CPU within seconds at small sizes. The project's own parts are held to the same.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "check_codec": "longtake.testing.codecs",
    "check_metric": "longtake.testing.metrics",
    "check_network": "longtake.testing.networks",
    "check_rollout": "longtake.testing.rollouts",
    "check_sampler": "longtake.testing.samplers",
    "check_set_metric": "longtake.testing.metrics",
    "context_example": "longtake.testing.inputs",
    "example": "longtake.testing.inputs",
    "randomize_": "longtake.testing.inputs",
}
__all__ = [
    "check_codec",
    "check_metric",
    "check_network",
    "check_rollout",
    "check_sampler",
    "check_set_metric",
    "context_example",
    "example",
    "randomize_",
]


def __getattr__(name: str) -> Any:
    """Loads a battery when it is asked for: that of codecs needs no rollouts."""
    if name not in _NAMES:
        raise AttributeError(f"module 'longtake.testing' has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_NAMES[name]), name)
