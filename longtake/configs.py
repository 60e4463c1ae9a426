"""Where the files of the configuration and the released weights lie."""

import os
from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]

CONF = _CHECKOUT / "conf" if (_CHECKOUT / "conf").is_dir() else Path(__file__).parent / "conf"
"""The repository's folder `conf`, or the copy that an installed package carries."""


def weights_folder() -> Path:
    """Released weights: in $LONGTAKE_WEIGHTS, or of the repository, or in `weights` of the working folder."""
    if "LONGTAKE_WEIGHTS" in os.environ:
        return Path(os.environ["LONGTAKE_WEIGHTS"])
    return _CHECKOUT / "weights" if (_CHECKOUT / "weights").is_dir() else Path.cwd() / "weights"
