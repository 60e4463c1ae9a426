"""Where the files of the configuration lie."""

from pathlib import Path

_CHECKOUT = Path(__file__).parents[1] / "conf"

CONF = _CHECKOUT if _CHECKOUT.is_dir() else Path(__file__).parent / "conf"
"""The repository's folder `conf`, or the copy that an installed package carries."""
