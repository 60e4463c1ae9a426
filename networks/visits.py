"""Codecs and text encoders that are on a device for as long as they work there."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def visit(part: object, device: torch.device) -> Iterator[None]:
    """While it lasts a part is on a device; then it is back where it was.

    Args:
        part: a module, such as a codec; one that has no weights stays as it is.
        device: device that the part works on.
    """
    weights = part if isinstance(part, nn.Module) else nn.Module()
    home = next((x.device for x in (*weights.parameters(), *weights.buffers())), device)
    weights.to(device)
    try:
        yield
    finally:
        weights.to(home)
