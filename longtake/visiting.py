"""A text encoder that is on a device for as long as it reads, and otherwise in host memory.

Axes: b batch, l text tokens, e text features.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from networks.interfaces import TextEncoder

_KEPT = 64
"""Calls whose features are kept, so that the prompts of a storyboard or of several videos move the encoder once."""


class VisitingTextEncoder:
    """A text encoder whose weights are moved to a device for each new prompt, and back."""

    def __init__(self, encoder: TextEncoder, device: torch.device) -> None:
        """Keeps both.

        Args:
            encoder: encoder in host memory; one without weights is not moved.
            device: device that it reads on.
        """
        self.encoder, self.device = encoder, device
        self.features = encoder.features
        self._read: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions to features b l e and their mask b l, both in host memory; see TextEncoder."""
        key = tuple(captions)
        if key not in self._read:
            weights: Any = self.encoder if isinstance(self.encoder, nn.Module) else None
            try:
                if weights is not None:
                    weights.to(self.device)
                text, mask = self.encoder.encode(captions)
                self._read[key] = (text.cpu(), mask.cpu())
            finally:
                if weights is not None:
                    weights.to("cpu")
            if len(self._read) > _KEPT:
                del self._read[next(iter(self._read))]
        return self._read[key]

    @property
    def fingerprint(self) -> str:
        """The encoder's own."""
        return self.encoder.fingerprint
