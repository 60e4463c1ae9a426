"""What a compressor loses: the loss of its reconstruction, and its measures.

Axes: n segments, c channels, f frames, h height, w width (latents); l text tokens, e text features.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.randomness import step_seed
from networks.batches import mask_on_device, on_device
from networks.interfaces import Compressor, Reconstruction, VideoBatch
from networks.ranges import Rate


class RatioSampler:
    """Rates drawn log-uniformly, one for a whole batch so that nothing is padded. Source: our choice."""

    def __init__(self, *, lowest: Rate, highest: Rate) -> None:
        """Keeps the range.

        Args:
            lowest: lowest rate, in video tokens a context token, at least 1.
            highest: highest rate, at least `lowest`.

        Raises:
            ValueError: unless 1 <= lowest <= highest.
        """
        if not 1 <= lowest <= highest:
            raise ValueError(
                f"lightning_module.rates: lowest={lowest} must be at least 1, and highest={highest} at least as large"
            )
        self.lowest, self.highest = lowest, highest

    def draw(self, *seeds: int) -> float:
        """A pure function of the seeds: every process draws the same, and so does a resumed run."""
        generator = torch.Generator().manual_seed(step_seed(*seeds))
        share = torch.rand((), generator=generator).item()
        return math.exp(math.log(self.lowest) + share * math.log(self.highest / self.lowest))


class ReconstructionErrors(NamedTuple):
    """Each of n: squared error of the latents and of the text features over their variance, and the text's cosine."""

    video: Tensor
    text: Tensor
    text_cosine: Tensor


class Compressed(NamedTuple):
    """Segments that were compressed and decoded again.

    back: the decoder's reconstruction.
    tokens: context tokens of each segment.
    effective_rate: video tokens for each context token. It differs from the ratio that was asked for, because
        the number of tokens is whole and the tokens stand in a grid.
    """

    back: Reconstruction
    tokens: int
    effective_rate: float


def compress(compressor: Compressor, segment: VideoBatch, level: Tensor, rate: float) -> Compressed:
    """Encodes and decodes segments whose latents bear noise of the time `level` (n)."""
    _, _, num_frames, height, width = segment.video.shape
    device = segment.video.device
    segment = segment._replace(text_mask=mask_on_device(segment.text_mask, device))
    context = compressor.encode(segment, level, rate)
    back = compressor.decode(context, num_frames, height, width, segment.text.shape[1])
    tokens = context.tokens.shape[1]
    return Compressed(back, tokens, count_patches(segment.video, compressor.patch) / tokens)


def count_patches(video: Tensor, patch: int) -> int:
    """Video tokens of one of n segments, n c f h w, in patches of sides `patch`."""
    return video[0, 0].numel() // patch**2


def reconstruct(compressor: Compressor, segment: VideoBatch, level: Tensor, rate: float) -> Reconstruction:
    """What comes back of segments whose latents bear noise of the time `level` (n)."""
    return compress(compressor, segment, level, rate).back


def reconstruction_errors(made: Reconstruction, clean: VideoBatch) -> ReconstructionErrors:
    """Errors over variance, so that 1 is what the mean alone would reach; text that is padding does not count.

    Source: our choice, so that a score does not depend on the codec's scale.
    """
    video = (made.video.float() - clean.video).square().mean(dim=(1, 2, 3, 4)) / clean.video.var()
    device, text_mask = clean.text.device, clean.text_mask
    if text_mask is None:
        text_mask = torch.ones(clean.text.shape[:2], dtype=torch.bool)
    # Where they are is found where the mask lies: in training the host, which then waits for nothing.
    places = tuple(on_device(place, device) for place in torch.nonzero(text_mask, as_tuple=True))
    text_mask = on_device(text_mask, device)
    known = text_mask.unsqueeze(-1).float()
    count = known.sum(dim=1).clamp(min=1) * clean.text.shape[-1]
    real = clean.text[places]
    variance = real.var() if len(real) else torch.ones((), device=known.device)
    text = ((made.text.float() - clean.text).square() * known).sum(dim=(1, 2)) / count.squeeze(1) / variance
    cosine = nn.functional.cosine_similarity(made.text.float(), clean.text, dim=-1)
    cosine = (cosine * text_mask).sum(dim=1) / text_mask.sum(dim=1).clamp(min=1)
    return ReconstructionErrors(video, text, cosine)


def mean_over(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of n values where valid."""
    valid = on_device(valid, values.device)
    return (values * valid).sum() / valid.sum().clamp(min=1)
