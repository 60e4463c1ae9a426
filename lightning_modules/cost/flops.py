"""FLOPs of one network call and of its parts; a product and a sum are two.

Matrix products alone are counted, as PyTorch's FlopCounterMode counts them: norms, rotations and activations are not.
n tokens, d width; see `networks` for what each term is.
"""

from typing import NamedTuple

import torch

from lightning_modules.cost.sizes import PATCH, ChunkSize, DiTSize, InterfaceSize, NetworkSize, VideoSize
from networks.chunks import plan_windows
from networks.embeddings import PlaceEmbedding, TimeEmbedding

PLACE = 3 * PlaceEmbedding.FEATURES
TIME = TimeEmbedding.FEATURES


class Call(NamedTuple):
    """One call of the DiT.

    rows: of the batch; frames: latent frames of each; extra: tokens without a place; memory: keys beside them.
    """

    rows: int
    frames: int
    extra: int
    memory: int


def linear(rows: int, inputs: int, outputs: int) -> int:
    """A linear layer on so many tokens."""
    return 2 * rows * inputs * outputs


def attention(queries: int, keys: int, width: int) -> int:
    """Scaled dot products, and the sums of values that they weigh."""
    return 4 * queries * keys * width


def attention_layer(queries: int, keys: int, width: int, *, remembered: int = 0) -> int:
    """`networks.blocks.Attention`: four linear layers and the attention; remembered: keys that are made already."""
    projections = linear(queries, width, 2 * width) + linear(keys, width, 2 * width)
    return projections + attention(queries, keys + remembered, width)


def mlp(tokens: int, width: int, hidden: int) -> int:
    """Two linear layers."""
    return linear(tokens, width, hidden) + linear(tokens, hidden, width)


def time_embedding(times: int, width: int) -> int:
    """Of so many diffusion times."""
    return linear(times, TIME, width) + linear(times, width, width)


def text_embedding(tokens: int, features: int, width: int) -> int:
    """Of a caption; the null token in front costs nothing."""
    return linear(tokens, features, width) + linear(tokens, width, width)


def frame_embedding(dit: DiTSize, tokens: int) -> int:
    """Patches and their places."""
    return linear(tokens, dit.channels * PATCH**2, dit.width) + linear(tokens, PLACE, dit.width)


def modulation(dit: DiTSize, groups: int) -> int:
    """Embedded times and the shifts, scales and gates that all blocks share."""
    return time_embedding(groups, dit.width) + linear(groups, dit.width, 6 * dit.width)


def block(dit: DiTSize, video: int, extra: int, memory: int, text: int) -> int:
    """One block of the DiT on one row; text: keys of the text, the null token among them."""
    tokens = video + extra
    return (
        attention_layer(tokens, tokens, dit.width, remembered=memory)
        + attention_layer(video, text, dit.width)
        + mlp(tokens, dit.width, dit.hidden)
    )


def dit_flops(dit: DiTSize, call: Call, video: VideoSize) -> int:
    """One call: embedding, blocks and head."""
    tokens = call.frames * video.per_frame
    row = (
        frame_embedding(dit, tokens)
        + modulation(dit, call.frames + 1)
        + text_embedding(video.text_tokens, dit.text_features, dit.width)
        + dit.depth * block(dit, tokens, call.extra, call.memory, video.text_tokens + 1)
        + linear(tokens, dit.width, dit.channels * PATCH**2)
    )
    return call.rows * row


def num_keyframes(interface: InterfaceSize, num_frames: int) -> int:
    """Frames of a canvas that the interface reads, as `VideoInterface.keyframes` picks them."""
    return sum(round(j * interface.keyframe_step) < num_frames for j in range(num_frames))


def interface_block(interface: InterfaceSize, keys: int) -> int:
    """Modulation, attention of the global tokens to so many keys, and feed-forward."""
    tokens, width = interface.num_tokens, interface.width
    return linear(1, width, 6 * width) + attention_layer(tokens, keys, width) + mlp(tokens, width, 4 * width)


def read_flops(dit: DiTSize, interface: InterfaceSize, num_frames: int, video: VideoSize) -> int:
    """One read of a canvas: keyframes, encoder, processor, and the tokens that are written."""
    frames, width = num_keyframes(interface, num_frames), interface.width
    tokens = frames * video.per_frame
    keyframes = frame_embedding(dit, tokens) + time_embedding(frames + 1, dit.width)
    read = linear(tokens, dit.width, width) + linear(1, dit.width, width) + interface_block(interface, tokens)
    text = text_embedding(video.text_tokens, dit.text_features, width)
    keys = interface.num_tokens + video.text_tokens + 1
    processor = interface.depth * interface_block(interface, keys)
    return keyframes + read + text + processor + linear(interface.num_tokens, width, dit.width)


def chunk_calls(chunks: ChunkSize, num_frames: int, extra: int, memory: int, *, training: bool) -> list[Call]:
    """VIN's calls of the DiT for one canvas."""
    local = chunks.train_local_frames if training else chunks.local_frames
    calls = []
    for windows in plan_windows(num_frames, chunks.chunk_frames, local, torch.device("cpu")):
        count, size = windows.frames.shape
        group = count if training or chunks.windows_per_call == 0 else chunks.windows_per_call
        calls += [Call(min(group, count - start), size, extra, memory) for start in range(0, count, group)]
    return calls


def step_calls(network: NetworkSize, num_frames: int, memory: int, *, training: bool = False) -> list[Call]:
    """The DiT's calls for one call of the network on a canvas; memory: keys beside each layer's own."""
    if network.chunks is None:
        return [Call(1, num_frames, 0, memory)]
    assert network.interface is not None
    return chunk_calls(network.chunks, num_frames, network.interface.num_tokens, memory, training=training)


def step_flops(
    network: NetworkSize, num_frames: int, video: VideoSize, *, memory: int = 0, training: bool = False
) -> int:
    """One call of the network on a canvas of so many latent frames, forward."""
    dit, calls = network.dit, step_calls(network, num_frames, memory, training=training)
    flops = sum(dit_flops(dit, call, video) for call in calls)
    if network.interface is not None and network.chunks is not None:
        flops += read_flops(dit, network.interface, num_frames, video)
        flops += len(calls) * linear(1, dit.width, dit.width) if network.chunks.pooled else 0
    return flops
