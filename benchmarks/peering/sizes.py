"""What is the same for all transformers that are timed beside one another."""

import argparse

import torch
from torch import Tensor

CHANNELS, FEATURES, FRAMES, PATCH = 16, 64, 4, 2


class Sizes(argparse.Namespace):
    """What is the same for all: width, depth, heads, mlp_ratio, tokens of the video, text_tokens; device, dtype."""

    width: int
    depth: int
    heads: int
    mlp_ratio: int
    tokens: int
    text_tokens: int
    device: str
    dtype: str

    @property
    def side(self) -> int:
        """Patches along a side of a frame."""
        side = round((self.tokens / FRAMES) ** 0.5)
        if FRAMES * side**2 != self.tokens:
            fitting = FRAMES * max(side, 1) ** 2
            raise SystemExit(f"--tokens {self.tokens} are not {FRAMES} square frames: use {fitting}")
        return side

    def empty(self, *sizes: int) -> Tensor:
        """Noise of the type that is measured."""
        return torch.randn(*sizes, device=self.device, dtype=getattr(torch, self.dtype))
