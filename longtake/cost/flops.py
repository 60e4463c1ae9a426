"""FLOPs of one network call and of its parts; a product and a sum are two.

Matrix products alone are counted, as PyTorch's FlopCounterMode counts them: norms, rotations and activations are not.
n tokens, d width; see `networks` for what each term is.
"""

from typing import NamedTuple

import torch

from longtake.cost.sizes import (
    PATCH,
    ChunkSize,
    DiTSize,
    InterfaceSize,
    MixingSize,
    NetworkSize,
    SlidingSize,
    VideoSize,
)
from longtake.rollouts.pieces import window_starts
from networks.chunks import call_sizes, plan_windows
from networks.embeddings import PlaceEmbedding, TimeEmbedding

PLACE = 3 * PlaceEmbedding.FEATURES
TIME = TimeEmbedding.FEATURES


class Call(NamedTuple):
    """One call of the DiT.

    rows: of the batch; frames: latent frames of each; extra: tokens without a place; memory: keys beside them.
    mixing: self-attention as the rollout has it, None for full attention. shared_time: one time for all, as in sampling
    without given frames.
    """

    rows: int
    frames: int
    extra: int
    memory: int
    mixing: MixingSize | None = None
    shared_time: bool = True


def linear(rows: int, inputs: int, outputs: int) -> int:
    """A linear layer on so many tokens."""
    return 2 * rows * inputs * outputs


def attention(queries: int, keys: int, width: int) -> int:
    """Scaled dot products, and the sums of values that they weigh."""
    return 4 * queries * keys * width


def attention_layer(queries: int, keys: int, width: int) -> int:
    """`networks.blocks.Attention`: four linear layers and the attention."""
    projections = linear(queries, width, 2 * width) + linear(keys, width, 2 * width)
    return projections + attention(queries, keys, width)


def mlp(tokens: int, width: int, hidden: int) -> int:
    """Two linear layers."""
    return linear(tokens, width, hidden) + linear(tokens, hidden, width)


def time_embedding(times: int, width: int) -> int:
    """Of so many diffusion times."""
    return linear(times, TIME, width) + linear(times, width, width)


def text_embedding(tokens: int, features: int, width: int) -> int:
    """Of a caption; the null token in front costs nothing."""
    return linear(tokens, features, width) + linear(tokens, width, width)


def frame_embedding(dit: DiTSize, frames: int, video: VideoSize) -> int:
    """Patches of one row's frames, and the frames' places; those of rows and columns are `cell_places`."""
    patches = linear(frames * video.per_frame, dit.channels * PATCH**2, dit.width)
    return patches + linear(frames, PlaceEmbedding.FEATURES, dit.width)


def cell_places(dit: DiTSize, video: VideoSize) -> int:
    """Places of rows and columns of patches, once for all rows of a batch."""
    return linear((video.height + video.width) // PATCH, PlaceEmbedding.FEATURES, dit.width)


def num_times(call: Call) -> int:
    """Times that are embedded: one, or each frame's and each row's of its tokens without a place."""
    return 1 if call.shared_time else call.rows * (call.frames + 1)


def modulation(dit: DiTSize, groups: int) -> int:
    """Embedded times and the shifts, scales and gates that all blocks share."""
    return time_embedding(groups, dit.width) + linear(groups, dit.width, 6 * dit.width)


def is_mixed(call: Call) -> bool:
    """Whether self-attention is the rollout's: on canvases of at most one window it is the network's own."""
    return call.mixing is not None and call.frames > call.mixing.window_frames


def num_mixed_windows(mixing: MixingSize, frames: int) -> int:
    """Windows of self-attention on a canvas longer than one; the last is flush with the end."""
    assert mixing.stride_frames is not None
    return len(window_starts(mixing.window_frames, mixing.window_frames - mixing.stride_frames, frames))


def mixed_attention(mixing: MixingSize, frames: int, per_frame: int, width: int) -> int:
    """Self-attention of one row as the rollout has it: in windows, or in full and in a band. Filters count nothing."""
    tokens = frames * per_frame
    if mixing.stride_frames is not None:
        window = mixing.window_frames * per_frame
        return num_mixed_windows(mixing, frames) * attention(window, window, width)
    return attention(tokens, tokens, width) + attention(tokens, min(mixing.band_frames, frames) * per_frame, width)


def block(dit: DiTSize, call: Call, video: VideoSize) -> int:
    """One block of the DiT on one row; the text's null token is a key too."""
    frames, text = call.frames * video.per_frame, video.text_tokens + 1
    tokens = frames + call.extra
    if is_mixed(call):
        assert call.mixing is not None
        mixed = mixed_attention(call.mixing, call.frames, video.per_frame, dit.width)
    else:
        mixed = attention(tokens, tokens + call.memory, dit.width)
    projections = linear(tokens, dit.width, 4 * dit.width)
    return projections + mixed + attention_layer(frames, text, dit.width) + mlp(tokens, dit.width, dit.hidden)


def dit_flops(dit: DiTSize, call: Call, video: VideoSize) -> int:
    """One call: embedding, blocks and head."""
    tokens = call.frames * video.per_frame
    row = (
        frame_embedding(dit, call.frames, video)
        + text_embedding(video.text_tokens, dit.text_features, dit.width)
        + dit.depth * block(dit, call, video)
        + linear(tokens, dit.width, dit.channels * PATCH**2)
    )
    return call.rows * row + modulation(dit, num_times(call)) + cell_places(dit, video)


def num_keyframes(interface: InterfaceSize, num_frames: int) -> int:
    """Frames of a canvas that the interface reads, as `VideoInterface.keyframes` picks them."""
    return sum(round(j * interface.keyframe_step) < num_frames for j in range(num_frames))


def interface_block(interface: InterfaceSize, keys: int) -> int:
    """Modulation, attention of the global tokens to so many keys, and feed-forward."""
    tokens, width = interface.num_tokens, interface.width
    return linear(1, width, 6 * width) + attention_layer(tokens, keys, width) + mlp(tokens, width, 4 * width)


def read_flops(dit: DiTSize, interface: InterfaceSize, num_frames: int, video: VideoSize, *, shared_time: bool) -> int:
    """One read of a canvas: keyframes, encoder, processor, and the tokens that are written; without `cell_places`."""
    frames, width = num_keyframes(interface, num_frames), interface.width
    tokens = frames * video.per_frame
    times = 1 if shared_time else frames  # and the noisiest
    keyframes = frame_embedding(dit, frames, video) + time_embedding(times + 1, dit.width)
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
        sizes = call_sizes(count, 0 if training else chunks.windows_per_call)
        calls += [Call(windows, size, extra, memory) for windows in sizes]
    return calls


def sliding_groups(sliding: SlidingSize | None, num_frames: int) -> list[int]:
    """How many windows the network denoises in each call for one canvas; [1] where it sees the canvas itself."""
    if sliding is None or num_frames <= sliding.window_frames:
        return [1]
    count = len(window_starts(sliding.window_frames, sliding.overlap_frames, num_frames))
    return call_sizes(count, sliding.windows_per_call)


def seen_frames(network: NetworkSize, num_frames: int) -> int:
    """Latent frames of what the network itself is given for a canvas."""
    return num_frames if network.sliding is None else min(network.sliding.window_frames, num_frames)


def step_calls(
    network: NetworkSize, num_frames: int, memory: int, *, given: bool = False, training: bool = False
) -> list[Call]:
    """The DiT's calls for one step of a canvas.

    memory: keys beside each layer's own; given: some frames are, at a time of their own.
    """
    seen = seen_frames(network, num_frames)
    if network.chunks is None:
        calls = [Call(1, seen, 0, memory, network.mixing)]
    else:
        assert network.interface is not None
        calls = chunk_calls(network.chunks, seen, network.interface.num_tokens, memory, training=training)
    groups = sliding_groups(network.sliding, num_frames)
    shared_time = not (given or training)
    return [call._replace(rows=call.rows * windows, shared_time=shared_time) for windows in groups for call in calls]


def step_flops(
    network: NetworkSize,
    num_frames: int,
    video: VideoSize,
    *,
    memory: int = 0,
    given: bool = False,
    training: bool = False,
) -> int:
    """One step of a canvas of so many latent frames, forward; memory, given: as in `step_calls`."""
    dit, calls = network.dit, step_calls(network, num_frames, memory, given=given, training=training)
    flops = sum(dit_flops(dit, call, video) for call in calls)
    if network.interface is not None and network.chunks is not None:
        groups = sliding_groups(network.sliding, num_frames)
        read = read_flops(
            dit, network.interface, seen_frames(network, num_frames), video, shared_time=calls[0].shared_time
        )
        flops += sum(groups) * read
        flops += len(groups) * cell_places(dit, video)
        pooled = len(calls) // len(groups) * sum(groups)  # once a call and canvas that is seen
        flops += pooled * linear(1, dit.width, dit.width) if network.chunks.pooled else 0
    return flops
