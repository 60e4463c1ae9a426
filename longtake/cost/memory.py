"""Peak memory of tensors: weights, and what a network call holds beside them at its fullest moment.

Counted by following the code: which tensors of the size of all tokens are alive at once, at each of the stages that may
be the fullest. A framework's own needs come on top: its libraries, scratch space of its kernels, and what its
allocator leaves in gaps (of glibc half as much again and more; see benchmarks/README.md). Attention is
taken as fused; a CPU keeps its weights as well, in training and at matmul_precision=medium, up to PLAIN_KEYS and
PLAIN_KEYS_AT_MEDIUM keys of networks.blocks.
A unit is one tensor of a call's tokens at the DiT's width, in the type that the network computes in.
"""

from typing import NamedTuple

from longtake.cost.flops import (
    Call,
    is_mixed,
    num_keyframes,
    num_mixed_windows,
    seen_frames,
    sliding_groups,
    step_calls,
)
from longtake.cost.sizes import PATCH, DiTSize, InterfaceSize, NetworkSize, VideoSize

FULL = 4
"""Bytes of a value in float32, in which rotations, the canvas and an optimizer's state are kept."""
SAMPLER_CANVASES = 3
"""Latent canvases at hand during a call: the noisy one, and both estimates of the call before."""
VIN_CANVASES = 2
"""The sum of windows' predictions, before a window is added and after."""
ADAM_BYTES = 4 * FULL
"""Of each parameter in training: master weight, gradient and two moments, in float32."""
MODULATIONS = 14
"""Values a frame and feature: the shared modulation, its sum with a block's table, embedded times twice."""


class Peak(NamedTuple):
    """Bytes: of the weights, and of everything else at its fullest."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.weights + self.activations


def sampling_bytes(
    network: NetworkSize,
    canvas_frames: int,
    video: VideoSize,
    *,
    memory: int,
    memories: int,
    element: int,
    given: bool = False,
) -> int:
    """Activations of sampling one canvas without gradients.

    memory: keys that are remembered in each layer; memories: how many such are held, one for each pass of guidance;
    given: as in `step_calls`.
    """
    canvases = SAMPLER_CANVASES * _canvas_bytes(network.dit, canvas_frames, video)
    # The noise of the whole video, and what is finished of it where canvases follow one another.
    parts = 1 if canvas_frames == video.num_latents else 2
    canvases += parts * _canvas_bytes(network.dit, video.num_latents, video)
    kept = memories * _key_value_bytes(network.dit, memory, element)
    step = step_bytes(network, canvas_frames, video, memory=memory, element=element, given=given)
    return canvases + kept + step


def step_bytes(
    network: NetworkSize, canvas_frames: int, video: VideoSize, *, memory: int, element: int, given: bool = False
) -> int:
    """The fullest moment of one step of a canvas without gradients, beside its inputs."""
    dit, seen = network.dit, seen_frames(network, canvas_frames)
    most = max(sliding_groups(network.sliding, canvas_frames))
    merged = VIN_CANVASES * _canvas_bytes(dit, canvas_frames, video) if seen < canvas_frames else 0
    calls = step_calls(network, canvas_frames, memory, given=given)
    fullest = max(call_bytes(dit, call, video, element) for call in calls)
    if network.interface is None:
        return merged + fullest
    denoising = fullest + VIN_CANVASES * most * _canvas_bytes(dit, seen, video)
    return merged + max(denoising, most * read_bytes(dit, network.interface, seen, video, element))


def call_bytes(dit: DiTSize, call: Call, video: VideoSize, element: int) -> int:
    """The fullest moment of one call of the DiT without gradients; windows of one video share its memory."""
    video_tokens = call.rows * call.frames * video.per_frame
    tokens = video_tokens + call.rows * call.extra
    unit = tokens * dit.width * element
    # The text, and tokens without a place as they were read and for each window.
    shared = (call.rows * (video.text_tokens + 1) + (call.rows + 1) * call.extra) * dit.width * element
    shared += _rotation_bytes(dit, video_tokens) + _modulation_bytes(dit, call, video, element)
    remembered = call.rows * call.memory * dit.width * element
    mixing = _mixing(call, unit, video, element) if is_mixed(call) else 0
    stages = (_feed_forward(dit, unit), _rotating(unit, element), _joining(unit, remembered), mixing)
    return unit + shared + max(stages)  # beside the block's input


def _mixing(call: Call, unit: int, video: VideoSize, element: int) -> int:
    """The modulated norm, keys and values as made, queries, keys, and what the rollout makes of them.

    In windows: values copied, each window's output, and it again weighted in float32, beside their sum; the last
    window joins the others in a copy. In a band: both outputs, and transforming back in float32: the spectrum (half of
    the columns and the middle) as it was and filtered, the library's copy, its transform along frames and rows, and the
    result.
    """
    assert call.mixing is not None
    full = unit * FULL // element
    if call.mixing.stride_frames is not None:
        size, stride = call.mixing.window_frames, call.mixing.stride_frames
        outputs = round(unit * num_mixed_windows(call.mixing, call.frames) * size / call.frames)
        joining = outputs if (call.frames - size) % stride else 0
        return 6 * unit + outputs + max(joining, outputs * FULL // element + full)
    columns = video.width // PATCH
    spectrum = round(full * 2 * (columns // 2 + 1) / columns)
    return 7 * unit + full + 4 * spectrum


def _feed_forward(dit: DiTSize, unit: int) -> int:
    """The sum so far, its modulated norm, the hidden layer (activated in place), and the update."""
    return round(unit * (3 + dit.hidden / dit.width))


def _rotating(unit: int, element: int) -> int:
    """The modulated norm, keys and values, normalised queries and keys, rotated queries, and turning in float32."""
    return 6 * unit + (2 if element < FULL else 1) * unit * FULL // element


def _joining(unit: int, remembered: int) -> int:
    """Memory joined to keys and values: both, as they were and as they become, and the queries."""
    return 7 * unit + 2 * remembered if remembered else 0


def _rotation_bytes(dit: DiTSize, tokens: int) -> int:
    """Two tables as wide as a head."""
    return 2 * tokens * dit.width // dit.num_heads * FULL


def _groups(call: Call, video: VideoSize) -> int:
    """Modulation groups of all rows.

    One a frame, and of tokens without a place one for as many as a frame has, or one of all; a shared time makes one.
    """
    if call.shared_time:
        return 1
    filled, left = divmod(call.extra, video.per_frame)
    return call.rows * (call.frames + (max(filled, 1) if left == 0 else 1))


def _modulation_bytes(dit: DiTSize, call: Call, video: VideoSize, element: int) -> int:
    return MODULATIONS * _groups(call, video) * dit.width * element


def _canvas_bytes(dit: DiTSize, frames: int, video: VideoSize) -> int:
    return FULL * dit.channels * frames * video.height * video.width


def _key_value_bytes(dit: DiTSize, tokens: int, element: int) -> int:
    return 2 * dit.depth * tokens * dit.width * element


def read_bytes(dit: DiTSize, interface: InterfaceSize, num_frames: int, video: VideoSize, element: int) -> int:
    """The fullest moment of one read: keyframes and their tokens, keys and values, and normalising the keys."""
    tokens = num_keyframes(interface, num_frames) * video.per_frame
    embedding = max(4 * dit.width, 2 * dit.width + 2 * interface.width)
    return tokens * element * max(embedding, dit.width + 5 * interface.width)


def training_bytes(network: NetworkSize, num_frames: int, video: VideoSize, element: int) -> int:
    """Activations of one training step on one clip: what the backward pass needs, and the fullest block beside it."""
    dit, stored, fullest = network.dit, 0, 0
    for call in step_calls(network, num_frames, 1 if network.remembers else 0, training=True):
        video_tokens = call.rows * call.frames * video.per_frame
        unit = (video_tokens + call.rows * call.extra) * dit.width * element
        saved = saved_bytes(dit, call, video, element)
        stored += dit.depth * (unit if dit.checkpointed else saved)
        stored += _rotation_bytes(dit, video_tokens) + _modulation_bytes(dit, call, video, element)
        fullest = max(fullest, call_bytes(dit, call, video, element) + (saved if dit.checkpointed else 0))
    return stored + fullest


def saved_bytes(dit: DiTSize, call: Call, video: VideoSize, element: int) -> int:
    """What one block keeps for its backward pass.

    Of all tokens, self-attention: its input, the norm, the modulated norm, queries, keys and values as made, queries
    and keys normalised and rotated, the mix and the update; feed-forward: the first three and the last of these, and
    both hidden layers. Of video tokens: the text's norm and its input, queries as made, normalised and scaled, the mix.
    In mixed precision norms work in float32: their outputs are twice as large, and queries and keys are there twice.
    """
    video_tokens = call.rows * call.frames * video.per_frame
    tokens = video_tokens + call.rows * call.extra
    mixed = element < FULL
    values = tokens * ((24 if mixed else 16) * dit.width + 2 * dit.hidden)
    values += video_tokens * (10 if mixed else 6) * dit.width
    # Modulation, and the keys of the text.
    values += (_groups(call, video) * 8 + call.rows * (video.text_tokens + 1) * 6) * dit.width
    return element * values
