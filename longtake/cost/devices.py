"""What each device of a training holds, by precision and strategy: row by row, host memory too.

Bytes are of tensors. A framework's own needs come on top: libraries, scratch space of kernels, gaps of the allocator.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from longtake.cost.counting import on_meta
from longtake.cost.guests import Guests
from longtake.cost.sampling import VideoSize
from longtake.cost.training import training_cost
from longtake.settings.kinds import Precision, TrainingOptimizer
from networks.compiling import BLOCKS
from networks.interfaces import VideoNetwork
from networks.pretrained.backbone import PretrainedBackbone
from networks.pretrained.quantized import weight_bytes
from networks.processes import Processes

Strategy = Literal["ddp", "fsdp2", "chunks"]
HALF = 2
"""Bytes of a number in half precision."""
MOMENTS = 2
"""Numbers that Adam keeps of each weight."""
BYTES_8BIT = MOMENTS * (1 + 4 / 256)
"""Of a weight's moments in 8 bits, with a scale of 32 bits for 256 of them."""
NOBODY = Guests()
GATHERED = 2
"""Blocks whose weights are whole at once under FSDP2: the one that runs, and the next one."""


class DeviceMemory(NamedTuple):
    """Bytes of one device, and of one process in host memory.

    weights, gradients, optimizer, average: of what the device holds between steps; exchanged: what the strategy puts
    together or copies in a step; casts: weights in half precision beside those in float32; activations: of one clip.
    codec, text: visit the device between steps, the codec while samples are decoded, the text encoder while it reads
    their captions for the first time; None where not known. Before the training they fill the caches there, alone.
    host: the network and its average while they are built, before they are moved or shared out, and codec and text
    encoder, which wait there.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    exchanged: int
    casts: int
    activations: int
    host: int
    codec: int | None = 0
    text: int | None = 0

    @property
    def device(self) -> int:
        """At the fullest moment: in a step, or while a guest is there between two."""
        between = self.weights + self.gradients + self.optimizer + self.average + self.exchanged
        return between + max(self.casts + self.activations, self.codec or 0, self.text or 0)


class _Share(Processes):
    """The largest share of several processes that are not there: what they make together has the size of a share's."""

    def __init__(self, size: int) -> None:
        super().__init__(size - 1, size)  # the last one's is never smaller than another's

    def sum_and_back(self, part: Tensor) -> Tensor:
        return part


def training_memory(
    network: VideoNetwork,
    video: VideoSize | None,
    *,
    precision: Precision,
    strategy: Strategy,
    devices: int,
    replicas: int = 1,
    average: bool = True,
    optimizer: TrainingOptimizer = "adamw",
    activations: int | None = None,
    guests: Guests = NOBODY,
) -> DeviceMemory:
    """What a training step holds on each device: one clip a device.

    Args:
        network: the whole, on meta, in the types it is loaded in; frozen weights have no gradients.
        video: the clip's size; None leaves activations out.
        precision: precision in Lightning's words, such as bf16-mixed.
        strategy: "ddp" copies the weights; "fsdp2" shares them out; "chunks" copies them, and shares out the windows
            of one clip.
        devices: number of devices in all.
        replicas: groups of devices that each hold all weights, with fsdp2.
        average: whether an average of the weights is kept.
        optimizer: name of a config of conf/optimizer.
        activations: their bytes, where they are known already; None: they are counted.
        guests: codec and text encoder, of which each device has its own.

    Returns:
        Bytes of the fullest device.

    Raises:
        ValueError: if the devices do not divide, or there are more of them than windows.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy={strategy} is unknown: use {', '.join(get_args(Strategy))}")
    if strategy == "fsdp2" and devices % replicas:
        raise ValueError(f"replicas={replicas} does not divide {devices} devices: use a divisor of them")
    mixed, half = precision.endswith("mixed"), precision in ("bf16-true", "16-true")
    if half or (activations is None and video is not None):
        network = on_meta(network)  # what is cast or counted is a copy
    if half:
        network = network.to(torch.float16 if precision == "16-true" else torch.bfloat16)
    built, learnt = _sizes(network), _sizes(network, learnt=True)
    pieces = devices // replicas if strategy == "fsdp2" else 1
    sizes = [p.numel() for p in network.parameters() if p.requires_grad]
    casts = HALF * sum(sizes) if mixed and strategy != "fsdp2" else 0
    if activations is None:
        chunks = devices if strategy == "chunks" else 1
        activations = 0 if video is None else _activations(network, video, mixed, chunks)
    exchanged = 0
    if strategy == "fsdp2" and devices > 1:
        exchanged = _gathered(network, half=mixed)
    elif devices > 1:
        exchanged = learnt  # DDP's buckets hold every gradient once more
    return DeviceMemory(
        weights=-(-built // pieces),
        gradients=-(-learnt // pieces),
        optimizer=math.ceil((MOMENTS * learnt if optimizer == "adamw" else BYTES_8BIT * sum(sizes)) / pieces),
        average=-(-learnt // pieces) if average else 0,
        exchanged=exchanged,
        casts=casts,
        activations=activations,
        host=built + (learnt if average else 0) + guests.in_host,
        codec=guests.codec,
        text=guests.text,
    )


def _sizes(module: nn.Module, *, learnt: bool = False) -> int:
    """Bytes of weights."""
    return weight_bytes(module, learnt=learnt)


def _gathered(network: nn.Module, *, half: bool) -> int:
    """Weights that are whole at once, and their gradients, which are of the weights' own type."""
    blocks: list[nn.Module] = []
    for part in network.modules():
        if isinstance(part, BLOCKS):
            blocks.append(part)
        elif isinstance(part, PretrainedBackbone):
            blocks += part.blocks
    largest = max(blocks, key=_sizes)
    outside = _sizes(network) - sum(map(_sizes, blocks))
    count = GATHERED * sum(p.numel() * (HALF if half else p.element_size()) for p in largest.parameters())
    return count + _sizes(largest, learnt=True) + 2 * outside


def _activations(network: VideoNetwork, video: VideoSize, mixed: bool, chunks: int) -> int:
    if chunks > 1:
        network.spread_training(_Share(chunks))
    return training_cost(network, video, torch.bfloat16 if mixed else torch.float32).bytes


def as_record(found: Sequence[tuple[str, DeviceMemory]]) -> list[dict[str, Any]]:
    """The figures as cost.json has them, in bytes; found: a name and the memory of each kind of training."""
    return [{"training": name, **each._asdict(), "device": each.device} for name, each in found]
