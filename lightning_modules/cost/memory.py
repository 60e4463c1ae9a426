"""Peak memory of tensors: weights, and what a network call holds beside them at its fullest moment.

Counted by following the code: which tensors of the size of all tokens are alive at once, at each of the stages that may
be the fullest. A framework's own needs come on top: its libraries, scratch space of its kernels, and what its
allocator leaves in gaps (with glibc's defaults up to half as much again; see benchmarks/cost_model.py). Attention is
taken as fused; training on a CPU keeps its weights as well, up to networks.blocks.PLAIN_KEYS keys.
A unit is one tensor of a call's tokens at the DiT's width, in the type that the network computes in.
"""

from typing import NamedTuple

from lightning_modules.cost.flops import Call, num_keyframes, step_calls
from lightning_modules.cost.sizes import DiTSize, InterfaceSize, NetworkSize, VideoSize

FULL = 4
"""Bytes of a value in float32, in which rotations, the canvas and an optimizer's state are kept."""
SAMPLER_CANVASES = 4
"""Latent videos at hand during a call: the noise, the noisy one, and both estimates of the call before."""
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
    network: NetworkSize, canvas_frames: int, video: VideoSize, *, memory: int, memories: int, element: int
) -> int:
    """Activations of sampling one canvas without gradients.

    memory: keys that are remembered in each layer; memories: how many such are held, one for each pass of guidance.
    """
    canvases = SAMPLER_CANVASES * _canvas_bytes(network.dit, video.num_latents, video)
    kept = memories * _key_value_bytes(network.dit, memory, element)
    return canvases + kept + step_bytes(network, canvas_frames, video, memory=memory, element=element)


def step_bytes(network: NetworkSize, canvas_frames: int, video: VideoSize, *, memory: int, element: int) -> int:
    """The fullest moment of one call of the network without gradients, beside its inputs."""
    dit = network.dit
    fullest = max(call_bytes(dit, call, video, element) for call in step_calls(network, canvas_frames, memory))
    if network.interface is None:
        return fullest
    denoising = fullest + VIN_CANVASES * _canvas_bytes(dit, canvas_frames, video)
    return max(denoising, read_bytes(dit, network.interface, canvas_frames, video, element))


def call_bytes(dit: DiTSize, call: Call, video: VideoSize, element: int) -> int:
    """The fullest moment of one call of the DiT without gradients."""
    video_tokens = call.rows * call.frames * video.per_frame
    tokens = video_tokens + call.rows * call.extra
    unit = tokens * dit.width * element
    held = video_tokens * dit.width * element + unit  # embedded frames, and the block's input
    held += _rotation_bytes(dit, video_tokens) + _modulation_bytes(dit, call, video, element)
    remembered = call.rows * call.memory * dit.width * element
    spread = _key_value_bytes(dit, call.rows * call.memory, element) if call.rows > 1 else 0
    return held + spread + max(_feed_forward(dit, unit, call), _rotating(unit, element), _joining(unit, remembered))


def _feed_forward(dit: DiTSize, unit: int, call: Call) -> int:
    """The sum so far, its modulated norm, both hidden layers; where there are extra tokens, a copy of the video's."""
    return round(unit * (2 + 2 * dit.hidden / dit.width)) + (unit if call.extra else 0)


def _rotating(unit: int, element: int) -> int:
    """The modulated norm, keys and values, normalised queries and keys, rotated queries, and turning in float32."""
    return 6 * unit + 2 * unit * FULL // element + (unit * FULL // element if element < FULL else 0)


def _joining(unit: int, remembered: int) -> int:
    """Memory joined to keys and values: both, as they were and as they become, and the queries."""
    return 7 * unit + 2 * remembered if remembered else 0


def _rotation_bytes(dit: DiTSize, tokens: int) -> int:
    return tokens * dit.width // dit.num_heads * FULL


def _groups(call: Call, video: VideoSize) -> int:
    """Modulation groups: one a frame, and of tokens without a place one for as many as a frame has, or one of all."""
    filled, left = divmod(call.extra, video.per_frame)
    return call.frames + (max(filled, 1) if left == 0 else 1)


def _modulation_bytes(dit: DiTSize, call: Call, video: VideoSize, element: int) -> int:
    return MODULATIONS * call.rows * _groups(call, video) * dit.width * element


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
    values += call.rows * (_groups(call, video) * 8 + (video.text_tokens + 1) * 6) * dit.width
    return element * values
