"""Which activations of a network's blocks are kept for the backward pass, and which are computed again."""

from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from networks.compiling import BLOCKS
from networks.pretrained.backbone import PretrainedBackbone

Kept = Literal["all", "products", "half", "none"]

_PRODUCTS = (
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
)


def keep_activations(network: nn.Module, kept: Kept) -> None:
    """Sets what each transformer block keeps in training, in place; names of weights stay as they are.

    Args:
        network: a network with blocks of ours; its own `checkpoint_activations` is turned off.
        kept: "all"; "products", results of matrix products and of attention, so that what is cheap is computed again;
            "half", all of every second block and nothing of the others; "none", which costs one more forward pass.

    Raises:
        ValueError: for an unknown word, or blocks of a pretrained model, which have a switch of their own.
    """
    if kept not in get_args(Kept):
        raise ValueError(f"kept={kept} must be one of {', '.join(get_args(Kept))}")
    number = 0
    for module in network.modules():
        if isinstance(module, PretrainedBackbone) and kept != "all":
            raise ValueError(
                f"kept={kept} has no effect on a pretrained model: use backbone.checkpoint_activations=true instead"
            )
        if hasattr(module, "checkpoint_activations"):
            setattr(module, "checkpoint_activations", False)  # noqa: B010 - a Module's own type knows no such attribute
        if isinstance(module, BLOCKS):
            if kept in ("products", "none") or (kept == "half" and number % 2):
                _compute_again(module, _contexts if kept == "products" else None)
            number += 1


def _compute_again(block: nn.Module, contexts: Any) -> None:
    forward: Any = block.forward
    more = {} if contexts is None else {"context_fn": contexts}

    def called(*args: Any, **kwargs: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **more, **kwargs)

    block.forward = called  # type: ignore[method-assign]


def _policy(_: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operator in _PRODUCTS else CheckpointPolicy.PREFER_RECOMPUTE


_contexts = partial(create_selective_checkpoint_contexts, _policy)
