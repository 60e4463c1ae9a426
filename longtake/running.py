"""How a network is computed in sampling: in which precision, compiled or as written, by which attention kernels."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from longtake.process import warn_of_slow_bfloat16
from longtake.settings.kinds import AttentionKernel, Compilation, Precision
from networks.casting import cast
from networks.compiling import compile_blocks

_DTYPES = {"bf16-true": torch.bfloat16, "bf16-mixed": torch.bfloat16, "16-true": torch.float16}
_KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_BEHIND = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
"""What takes the calls with a mask, such as that of a prompt that guidance leaves out, which flash does not."""
_REFUSALS = (RuntimeError, NotImplementedError, TypeError)


class Running:
    """Everything about sampling that changes speed and memory, and the video by rounding alone.

    Precisions are called as in Lightning. "32-true" leaves weights as they were loaded: a pretrained base in its own
    type, all else float32.
    """

    def __init__(
        self,
        *,
        precision: Precision = "32-true",
        compile: Compilation = "none",
        attention: AttentionKernel = "auto",
        offload: bool = False,
    ) -> None:
        """Nothing is changed before `prepare`.

        Args:
            precision: "bf16-true" and "16-true" turn the weights into numbers of that type; "bf16-mixed" keeps them,
                and multiplies in bfloat16. Latents, samplers, guidance and fusion are float32 in each.
            compile: "blocks" compiles each kind of transformer block, once for all lengths; "max-autotune" also tries
                several kernels of each, for minutes.
            attention: kernels that attention prefers; calls with a mask, which few of them take, fall to the next.
            offload: whether the network waits in host memory while pixels are decoded, and the codec while it samples.

        Raises:
            ValueError: for an unknown word.
        """
        for name, value, words in (
            ("precision", precision, Precision),
            ("compile", compile, Compilation),
            ("attention", attention, AttentionKernel),
        ):
            if value not in get_args(words):
                raise ValueError(f"{name}={value} must be one of {', '.join(get_args(words))}")
        self.precision, self.compile, self.attention, self.offload = precision, compile, attention, offload

    @property
    def changes(self) -> dict[str, str]:
        """Settings that round otherwise than by default, by name."""
        usual = {"precision": "32-true", "compile": "none", "attention": "auto"}
        return {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}

    def check(self, device: torch.device) -> None:
        """Refuses a device that lacks the precision or the attention kernel.

        Args:
            device: device that the network is to run on.

        Raises:
            ValueError: if it lacks the precision, or the attention kernel in it.
        """
        dtype = _DTYPES.get(self.precision, torch.float32)
        if self.precision in _DTYPES and not _multiplies(device, dtype):
            raise ValueError(
                f"precision={self.precision}: {_name(device)} has no arithmetic of {_name(dtype)}: use "
                "precision=32-true, or another device"
            )
        if self.precision in ("bf16-true", "bf16-mixed") and device.type == "cpu":
            warn_of_slow_bfloat16(f"precision={self.precision}", "precision=32-true")
        if self.attention != "auto" and not _attends(device, dtype, _KERNELS[self.attention]):
            raise ValueError(
                f"attention={self.attention}: {_name(device)} has no such kernel for {_name(dtype)}: use "
                "attention=auto, or another precision"
            )

    def prepare(self, network: nn.Module) -> None:
        """Casts and compiles a network, in place."""
        if self.precision in ("bf16-true", "16-true"):
            cast(network, _DTYPES[self.precision])
        if self.compile != "none":
            tuned = self.compile == "max-autotune"
            # CUDA graphs would be recorded anew for every length, and hold the memory of each.
            mode: Literal["default", "max-autotune-no-cudagraphs"] = (
                "max-autotune-no-cudagraphs" if tuned else "default"
            )
            compile_blocks(network, backend="inductor", dynamic=True, mode=mode)

    @contextmanager
    def __call__(self, device: torch.device) -> Iterator[None]:
        """The context that each call of a network runs in, and nothing else."""
        with ExitStack() as stack:
            if self.precision == "bf16-mixed":
                from lightning.fabric.plugins.precision import MixedPrecision

                stack.enter_context(MixedPrecision("bf16-mixed", device.type).forward_context())
            if self.attention != "auto":
                chosen = _KERNELS[self.attention]
                kernels = [chosen, *(each for each in _BEHIND if each != chosen)] if chosen != _BEHIND[1] else [chosen]
                stack.enter_context(sdpa_kernel(kernels, set_priority=True))
            yield


AS_WRITTEN = Running()
"""The network as it is."""


def _multiplies(device: torch.device, dtype: torch.dtype) -> bool:
    if device.type == "cuda" and dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported(False):
        return False
    try:
        x = torch.zeros(8, 8, device=device, dtype=dtype)
        F.gelu(F.linear(F.layer_norm(x, (8,)), x))
    except _REFUSALS:
        return False
    return True


def _attends(device: torch.device, dtype: torch.dtype, kernel: SDPBackend) -> bool:
    """Whether a kernel takes plain queries: heads of 64 without a mask."""
    x = torch.zeros(1, 1, 16, 64, device=device, dtype=dtype)
    try:
        with sdpa_kernel(kernel):
            F.scaled_dot_product_attention(x, x, x)
    except _REFUSALS:
        return False
    return True


def _name(what: torch.device | torch.dtype) -> str:
    return str(what).removeprefix("torch.")
