"""Weights of a network that lie in pieces on several processes, block by block: FSDP2, `fully_shard` of PyTorch.

Between uses each process holds its piece of every weight. A block's weights are whole while the block runs, those
outside of blocks while a step runs.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from networks.compiling import BLOCKS
from networks.pretrained.backbone import PretrainedBackbone

Gathered = Literal["float32", "bfloat16"]
Result = TypeVar("Result")


def shard(module: nn.Module, mesh: DeviceMesh, *, gathered: Gathered) -> None:
    """Shares a module's weights out, in place; every process of the mesh calls it with the same weights.

    Args:
        module: module that `run_whole` runs.
        mesh: a mesh of one axis, over which weights are in pieces, or of two, of which the first holds copies of the
            pieces.
        gathered: numbers as which weights are put together where a block runs. Gradients are summed in float32, and
            the pieces that the optimizer changes stay as they are.
    """
    # Blocks answer with views, which nothing changes in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    dtype = None if gathered == "float32" else torch.bfloat16
    # What goes in is not cast: angles of rotary embeddings stay float32.
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for part in list(module.modules()):
        if isinstance(part, BLOCKS):
            fully_shard(part, mesh=mesh, mp_policy=policy)
            for name in ("key_values", "text_keys"):
                if hasattr(part, name):
                    register_fsdp_forward_method(part, name)
        elif isinstance(part, PretrainedBackbone):
            for block in part.blocks:  # diffusers' own, run by functions of ours
                fully_shard(block, mesh=mesh, mp_policy=policy)
                _take_calls(block)
            part.around_block = _through
    fully_shard(module, mesh=mesh, reshard_after_forward=True)
    _take_calls(module)


def run_whole(module: nn.Module, function: Callable[[], Result]) -> Result:
    """What a function answers while the weights outside of blocks are whole, with gradients.

    Args:
        module: the module, sharded or whole.
        function: function without arguments (they would be moved to the device) that runs the module.

    Returns:
        Its answer.
    """
    if not isinstance(module, FSDPModule):
        return function()
    made: Result = module.take_call(function)  # type: ignore[operator]
    return made


@contextmanager
def whole_outside_blocks(module: nn.Module) -> Iterator[None]:
    """While it lasts the network can be called from outside of its module; nothing goes back. All processes do so."""
    if not isinstance(module, FSDPModule):
        yield
        return
    run_whole(module, lambda: None)  # the module itself has to be the first that ever runs
    module.unshard()
    try:
        yield
    finally:
        module.reshard()


def is_sharded(module: nn.Module) -> bool:
    """Whether its weights lie in pieces."""
    return isinstance(module, FSDPModule)


def local(tensor: Tensor) -> Tensor:
    """The piece of this process, in the same memory; a tensor that is whole as it is."""
    with torch.no_grad():
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def copy_pieces(source: nn.Module, target: nn.Module) -> None:
    """Gives a copy of a module that was sharded since the pieces of each weight; those that learn are copied.

    Args:
        source: sharded.
        target: module of the same structure, with whole weights.
    """
    for name, weight in source.named_parameters():
        place, _, last = name.rpartition(".")
        piece = weight.detach().clone() if weight.requires_grad else weight.detach()
        target.get_submodule(place)._parameters[last] = nn.Parameter(piece, requires_grad=weight.requires_grad)


def _take_calls(module: nn.Module) -> None:
    """Lets a module take any function as its forward pass."""
    module.take_call = MethodType(lambda _, function, *args, **kwargs: function(*args, **kwargs), module)  # type: ignore[assignment]
    register_fsdp_forward_method(module, "take_call")


def _through(block: nn.Module, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return block.take_call(function, *args, **kwargs)  # type: ignore[operator]
