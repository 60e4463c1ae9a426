"""Optimizers and learning-rate schedules, from partials of the config."""

import math
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from lightning import LightningModule
from timm.optim.muon import Muon
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from longtake.compat.timm import orthogonalise_in
from longtake.process import has_slow_bfloat16
from networks.ranges import Count, NotNegative, Share, Size


class OptimizerFactory(Protocol):
    """A torch or timm optimizer with its settings bound (`_partial_: true`)."""

    def __call__(self, params: Iterable[Any]) -> Optimizer:
        """params: parameters or groups of them."""
        ...


class SchedulerFactory(Protocol):
    """A schedule with its settings bound; called once a step."""

    def __call__(self, optimizer: Optimizer) -> LRScheduler:
        """Wraps the optimizer."""
        ...


def adamw_8bit(
    params: Iterable[Any], *, lr: NotNegative, betas: tuple[Share, Share], weight_decay: NotNegative
) -> Optimizer:
    """AdamW whose two moments are kept in 8 bits each, in blocks of 256 with a scale of 32 bits, by bitsandbytes.

    Args:
        params: parameters or groups of them; those of fewer than 4,096 values keep moments of 32 bits.
        lr: learning rate.
        betas: decay rates of the two moments, each in [0, 1).
        weight_decay: weight decay as in AdamW, at least 0.

    Returns:
        The optimizer, on a GPU or a CPU.

    Raises:
        ValueError: without the library.

    Source: 8-bit optimizers via block-wise quantization (arXiv 2110.02861).
    """
    if find_spec("bitsandbytes") is None:
        raise ValueError('optimizer=adamw_8bit needs the library bitsandbytes: pip install -e ".[quantized]"')
    from bitsandbytes.optim.adamw import AdamW8bit

    first, second = betas  # perhaps a list of OmegaConf's, which no checkpoint may hold
    made: Optimizer = AdamW8bit(params, lr=lr, betas=(first, second), weight_decay=weight_decay)
    return made


def warmup_cosine(optimizer: Optimizer, *, warmup_steps: Count, total_steps: Size, min_lr_ratio: Share) -> LRScheduler:
    """Linear warm-up, then half a cosine down to min_lr_ratio of the learning rate at total_steps, then flat."""

    def share(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
        return min_lr_ratio + (1 - min_lr_ratio) * (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimizer, share)


_MATRICES = (nn.Linear, nn.Conv2d, nn.Conv3d)


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Matrices decay; gains, biases, tables and learned tokens (fewer than two axes, or named so) do not.

    A shard of a matrix, which FSDP makes before it is asked for here, has one axis: it is known by what it belongs to.
    """
    decays: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            owner = module.get_submodule(name.rpartition(".")[0])
            is_matrix = name.endswith("weight") and (parameter.ndim > 1 or isinstance(owner, _MATRICES))
            (decays if is_matrix else spared).append(parameter)
    return [{"params": decays}, {"params": spared, "weight_decay": 0.0}]


def built_on(optimizer: OptimizerFactory, groups: Iterable[Any], device: torch.device) -> Optimizer:
    """An optimizer that is as fast as its device allows.

    Muon makes matrices orthogonal in bfloat16, and in float32 on a CPU that takes many times as long for bfloat16.

    Args:
        optimizer: its factory.
        groups: parameters or groups of them.
        device: device of the parameters.

    Returns:
        The optimizer.
    """
    built = optimizer(groups)
    if isinstance(built, Muon):
        slow = device.type == "cpu" and has_slow_bfloat16()
        orthogonalise_in(torch.float32 if slow else torch.bfloat16)
    return built


def configure(module: LightningModule, optimizer: OptimizerFactory, scheduler: SchedulerFactory) -> Any:
    """What `configure_optimizers` returns for one optimizer whose schedule advances every step."""
    built = built_on(optimizer, parameter_groups(module), module.device)
    return {"optimizer": built, "lr_scheduler": {"scheduler": scheduler(built), "interval": "step"}}
