"""Where the files of the configuration and the released weights lie."""

from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]

CONF = _CHECKOUT / "conf" if (_CHECKOUT / "conf").is_dir() else Path(__file__).parent / "conf"
"""The repository's folder `conf`, or the copy that an installed package carries."""


def weights_folder() -> Path:
    """The repository's released weights, wherever the shell stands; of an installed package, `weights` beside it."""
    return _CHECKOUT / "weights" if (_CHECKOUT / "weights").is_dir() else Path.cwd() / "weights"
