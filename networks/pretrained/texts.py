"""How pretrained models are given a text.

Axes: b batch, l text tokens, e text features.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F


@contextmanager
def one_half_precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Runs modules of diffusers' own in their weights' type where autocast asks for the other half precision.

    Args:
        device: where they run.
        dtype: of their weights.

    Yields:
        Nothing.
    """
    known = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    other = known and dtype != torch.float32 and torch.get_autocast_dtype(device.type) != dtype
    with torch.autocast(device.type, enabled=False) if other else nullcontext():
        yield


def padded_text(text: Tensor, text_mask: Tensor | None, length: int, family: str) -> Tensor:
    """Text features as a model that attends to all of its places without a mask reads them.

    It was trained with something behind the caption, so that has to be there: what a mask hides is zero, and so are the
    places behind. A row without text is so many zeros. A batch may be padded to more places than the model reads: these
    are cut. A GPU does not look whether they are all masked, for which it would have to wait.

    Args:
        text: b l e.
        text_mask: b l, or None where all are real.
        length: of what the model reads.
        family: its name, for messages.

    Returns:
        b length e.

    Raises:
        ValueError: if the text is longer.
    """
    behind = None if text_mask is None else text_mask[:, length:]
    if text.shape[1] > length and (behind is None or (behind.device.type == "cpu" and bool(behind.any()))):
        raise ValueError(
            f"a caption of {text.shape[1]} text tokens is longer than the {length} that {family} reads: set "
            f"text.max_length={length}"
        )
    known = text if text_mask is None else torch.where(text_mask.unsqueeze(-1), text, 0.0)
    return F.pad(known, (0, 0, 0, length - text.shape[1]))  # a negative count cuts
