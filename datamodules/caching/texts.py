"""Features of captions, cached in shards as films are: appended group by group, read where they are needed.

Axes: l text tokens, e text features.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from datamodules.caching.places import answering
from datamodules.caching.shards import Shards, ShardWriter

AT_ONCE = 64
"""Captions that are encoded together, and lost at most when a process is killed."""


class TextCache:
    """Features of captions under one folder, in half precision; of a caption its real tokens alone."""

    def __init__(self, folder: str | Path, features: int) -> None:
        """folder: a path or URL; features: of the text encoder."""
        self.folder = folder
        self.shards = Shards(folder, kind="float16", row=(features,))

    def missing(self, captions: Sequence[str]) -> list[str]:
        """Captions whose features are not stored yet, each once and in the order given."""
        self.shards.refresh()
        return [caption for caption in dict.fromkeys(captions) if text_key(caption) not in self.shards]

    def fill(self, captions: Sequence[str], encode: Callable[[list[str]], tuple[Tensor, Tensor]]) -> None:
        """Encodes and stores the features of captions that are not stored yet."""
        left = self.missing(captions)
        writer, begin = ShardWriter(Path(self.folder)), 0
        try:
            with answering(str(self.folder), lambda: f"{len(left) - begin:,} captions are left"):
                for begin in range(0, len(left), AT_ONCE):
                    group = left[begin : begin + AT_ONCE]
                    features, mask = encode(group)
                    for caption, row, real in zip(group, features, mask, strict=True):
                        with writer.member(text_key(caption)) as add:
                            add(_stored(row[real], caption))
        finally:
            writer.close()
        self.shards.refresh()

    def read(self, caption: str) -> Tensor:
        """Features l e of a caption.

        Args:
            caption: the caption.

        Returns:
            Features l e.

        Raises:
            ValueError: if it is not there, or holds NaN or infinity, as an earlier version may have stored it.
        """
        number = self.shards.number(text_key(caption))
        if number is None:
            raise ValueError(
                f"{self.folder} lacks the features of the caption {caption[:60]!r}: start again, and they are made"
            )
        features = self.shards.read(number)
        if not bool(features.isfinite().all()):
            raise ValueError(
                f"{self.shards.place(number)}, which holds the features of the caption {caption[:60]!r}, holds NaN or "
                "infinite values: remove it, and the next start makes it again"
            )
        return features


def _stored(features: Tensor, caption: str) -> Tensor:
    """Features l e in half precision; a ValueError if a number is too large for that."""
    half = features.half()
    if not bool(half.isfinite().all()):
        raise ValueError(f"text: features of the caption {caption[:60]!r} are beyond float16, in which they are cached")
    return half


def text_key(caption: str) -> str:
    """The name of a caption's features in the cache."""
    return hashlib.sha256(caption.encode()).hexdigest()[:32]
