"""What a training step needs: forward and backward passes of one row of a batch, carried out on the device `meta`.

Axes: b batch, s slots of a row, c channels, f frames, h height, w width (latents); l text tokens, e text features.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from longtake.compat.torch import backward
from longtake.cost.counting import Cost, Counting, MixedPrecision
from longtake.cost.sampling import VideoSize
from networks.flexformer import ContextCompressor
from networks.interfaces import Condition, Context, SegmentBatch, VideoNetwork


class RowSize(NamedTuple):
    """The size of one training row of a network with memory: one segment is denoised, and others are remembered.

    segments: the most segments that a row remembers.
    frames: latent frames of each segment, the denoised one included.
    window_frames: clean latent frames on each side of the denoised segment.
    rate: the lowest compression ratio of the training, at which there are the most context tokens.
    reconstructed: segments of a row that the compressor reconstructs for its own loss.
    """

    segments: int
    frames: int
    window_frames: int
    rate: float
    reconstructed: int


def training_cost(network: VideoNetwork, video: VideoSize, dtype: torch.dtype) -> Cost:
    """One forward and backward pass on one clip, the network on the whole canvas.

    Args:
        network: the whole, on meta, in float32.
        video: the clip's size.
        dtype: float32, or float16 or bfloat16 for mixed precision.

    Returns:
        FLOPs of the forward pass, and bytes of what the backward pass needs at its fullest moment, without gradients
        and the optimizer's state.
    """
    network = network.train()
    condition, noisy = video.condition(video.num_latents, torch.float32), video.noise(video.num_latents)
    with torch.no_grad():
        condition = network.encode_context(condition)
    time = torch.empty(1, video.num_latents, device="meta")

    def step() -> Tensor:
        return network(noisy, time, condition).float().square().mean()

    return step_cost(network, [noisy, time, *_tensors(condition)], step, dtype)


def row_cost(network: VideoNetwork, video: VideoSize, row: RowSize, dtype: torch.dtype) -> Cost:
    """One forward and backward pass on one row of segments: making the memory, denoising, reconstructing.

    Args:
        network: a network with memory, on meta, in float32.
        video: gives channels and sides of the latents, and the size of a text.
        row: the row's sizes.
        dtype: float32, or float16 or bfloat16 for mixed precision.

    Returns:
        As `training_cost`.
    """
    network = network.train()
    frames = row.frames + 2 * row.window_frames
    segments = segments_of(video, row.segments, row.frames)
    context = Context(segments, torch.empty(1, row.segments, device="meta"), row.rate, complete=True)
    shot = torch.empty(1, dtype=torch.long, device="meta")
    condition = video.condition(frames, torch.float32)._replace(context=(context,), shot=shot)
    noisy, time = video.noise(frames), torch.empty(1, frames, device="meta")
    compressor = getattr(network, "compressor", None)

    def step() -> Tensor:
        loss = network.predict(noisy, time, condition).target.float().square().mean()
        if row.reconstructed and isinstance(compressor, ContextCompressor):
            loss = loss + _reconstruction(compressor, segments, row.reconstructed, row.rate)
        return loss

    return step_cost(network, [noisy, time, *_tensors(condition), *_tensors(segments)], step, dtype)


def compression_cost(
    compressor: ContextCompressor, video: VideoSize, *, segments: int, frames: int, rate: float, dtype: torch.dtype
) -> Cost:
    """One forward and backward pass of a compressor that reconstructs the segments of one row.

    Args:
        compressor: on meta, in float32.
        video: gives channels and sides of the latents, and the size of a text.
        segments: number of segments in a row.
        frames: latent frames of each segment.
        rate: lowest rate, at which there are most context tokens.
        dtype: float32, or float16 or bfloat16 for mixed precision.

    Returns:
        As `training_cost`.
    """
    compressor = compressor.train()
    row = segments_of(video, segments, frames)
    return step_cost(compressor, _tensors(row), lambda: _reconstruction(compressor, row, segments, rate), dtype)


def segments_of(video: VideoSize, segments: int, frames: int) -> SegmentBatch:
    """One row on meta: 1 s c f h w, with frame_index 1 s f, text 1 s l e and the rest 1 s."""

    def empty(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(1, segments, *sizes, dtype=dtype, device="meta")

    return SegmentBatch(
        video=empty(video.channels, frames, video.height, video.width),
        frame_index=empty(frames),
        text=empty(video.text_tokens, video.text_features),
        text_mask=empty(video.text_tokens, dtype=torch.bool),
        shot=empty(dtype=torch.long),
        valid=empty(dtype=torch.bool),
    )


def _reconstruction(compressor: ContextCompressor, row: SegmentBatch, segments: int, rate: float) -> Tensor:
    """Something to go back from, of what comes back of the first segments of a row."""
    folded = row.map(lambda x: x[:, :segments]).fold()._replace(text_mask=None)
    made = compressor(folded, torch.empty(segments, device="meta"), rate)
    loss: Tensor = made.video.float().square().mean() + made.text.float().square().mean()
    return loss


def step_cost(network: nn.Module, known: Iterable[Tensor], step: Callable[[], Tensor], dtype: torch.dtype) -> Cost:
    """What a training step costs beside its inputs, the weights and their gradients, which are there before.

    Args:
        network: on meta, in float32, in training.
        known: tensors of the inputs.
        step: forward pass of the network, up to the loss.
        dtype: float32, or float16 or bfloat16 for mixed precision.

    Returns:
        As `training_cost`.
    """
    there = [*network.parameters(), *network.buffers(), *known]
    for weight in network.parameters():
        weight.grad = torch.empty_like(weight)
        there.append(weight.grad)
    mixed = None if dtype == torch.float32 else MixedPrecision(network, dtype)
    with (
        nullcontext() if mixed is None else mixed,
        Counting(there if mixed is None else there + mixed.known) as counting,
    ):
        loss = step()
        forward = counting.cost
        backward(loss)
    return Cost(forward.flops, counting.cost.bytes)


def _tensors(values: Condition | SegmentBatch) -> list[Tensor]:
    return [x for x in values if isinstance(x, Tensor)]
