"""What a setting may be, where a type alone does not say it: each is written once, in the signature that takes it.

`longtake.settings.check` reads them when a config is composed; called from Python they are plain types.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen, Predicate
from pydantic.types import AllowInfNan

LARGEST = 2**31 - 1
"""The largest whole number that every library underneath can hold."""

LARGE = 1e12
"""The largest number that is taken for one: what is computed from it has to be finite too."""

Size = Annotated[int, Ge(1), Le(LARGEST)]
"""How many of something there must be at least one of."""

Count = Annotated[int, Ge(0), Le(LARGEST)]
"""How many of something that may be absent; for `windows_per_call` and its like 0 means all."""

Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
"""Of random numbers; NumPy takes no more than 32 bits."""

Share = Annotated[float, Ge(0), Le(1)]
"""A probability, or a part of a whole."""

Time = Annotated[float, Ge(0), Le(1)]
"""Diffusion time: 0 is clean, 1 is noise."""

Positive = Annotated[float, Gt(0), Le(LARGE)]
"""A finite number above 0."""

NotNegative = Annotated[float, Ge(0), Le(LARGE)]
"""A finite number, 0 or more."""

Rate = Annotated[float, Ge(1), Le(LARGE)]
"""Video tokens a context token."""

Text = Annotated[str, MinLen(1)]
"""A text of at least one character, such as a path."""


def on_disk(path: str) -> bool:
    """on this disk, not the hub."""
    return not path.startswith("hub:")


Folder = Annotated[str, MinLen(1), Predicate(on_disk)]
"""Where something is written."""

Dtype = Literal["float32", "float16", "bfloat16"]
"""Of numbers in memory or in a file."""

Interval = Annotated[Sequence[Time], MinLen(2), MaxLen(2)]
"""Two times, the lowest first."""

MaybeInfinite = Annotated[float, Ge(0), AllowInfNan(True)]
"""0 or more, and `.inf` where there is no limit."""

Sizes = Annotated[list[Size], MinLen(1)]
"""Sizes or lengths, at least one."""

Times = Annotated[list[Time], MinLen(1)]
"""Diffusion times, at least one."""

Rates = Annotated[list[Rate], MinLen(1)]
"""Rates of compression, at least one."""

Texts = Annotated[list[Text], MinLen(1)]
"""Texts or names, at least one."""
