"""A frozen base in fewer bits than it was loaded in: the matrices of its blocks, by libraries that keep such weights.

What stands outside of blocks keeps the type that was loaded, as it is little and sensitive, and so do gains and biases.
"""

import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

BaseDtype = Literal["float32", "float16", "bfloat16", "int8", "nf4"]
"""Of a base's weights; the last two are loaded in bfloat16, and turned into fewer bits block by block."""
LIBRARIES = {"int8": "torchao", "nf4": "bitsandbytes"}
"""What keeps weights of each kind."""
_NF4_BLOCK, _NF4_SCALES = 64, 256
"""Weights that share a scale of 8 bits, and scales that share one of 32. Source: QLoRA (arXiv 2305.14314)."""


def check_library(dtype: str, lora_rank: int) -> None:
    """Refuses what cannot be quantised, before anything is read.

    Args:
        dtype: BaseDtype.
        lora_rank: of the adapters; 0 would train the weights themselves.

    Raises:
        ValueError: without adapters, or without the library.
    """
    if dtype not in LIBRARIES:
        return
    if lora_rank == 0:
        raise ValueError(
            f"backbone: lora_rank=0 trains all weights, which dtype={dtype} keeps in few bits: set "
            "backbone.dtype=float32, or lora_rank=64"
        )
    if find_spec(LIBRARIES[dtype]) is None and torch.get_default_device().type != "meta":  # where it is counted alone
        raise ValueError(
            f'backbone: dtype={dtype} needs the library {LIBRARIES[dtype]}: pip install -e ".[lora,quantized]"'
        )


def quantize(blocks: Iterable[nn.Module], dtype: str) -> None:
    """Turns the matrices of blocks into few bits, in place, block by block where they lie; on meta notes their size.

    Args:
        blocks: frozen.
        dtype: "int8", whole numbers with a scale of float32 a row, by torchao; or "nf4", 4 bits with scales in 8 bits,
            by bitsandbytes. Both compute in the type that the weights had.
    """
    for block in blocks:
        matrices = [(name, part) for name, part in block.named_modules() if isinstance(part, nn.Linear)]
        for name, matrix in matrices:
            size = stored_size(matrix.weight.shape, dtype)
            made = matrix if matrix.weight.is_meta else _made(matrix, dtype)
            made.stored_bytes = size  # type: ignore[assignment]
            place, _, last = name.rpartition(".")
            setattr(block.get_submodule(place), last, made)


def _made(matrix: nn.Linear, dtype: str) -> nn.Linear:
    if dtype == "int8":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_(matrix, Int8WeightOnlyConfig(), filter_fn=lambda part, _: part is matrix)
        matrix.requires_grad_(False)
        return matrix
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    weight, bias = matrix.weight, matrix.bias
    sizes = (matrix.in_features, matrix.out_features, bias is not None)
    made = Linear4bit(*sizes, compute_dtype=weight.dtype, quant_type="nf4", device="meta")
    made.weight = Params4bit(weight.data, requires_grad=False, quant_type="nf4", module=made).to(weight.device)  # type: ignore[misc]
    made.support_avx512bf16_for_cpu = False  # would pack weights anew in place, and round their scales
    made.bias = bias
    return made.requires_grad_(False)  # type: ignore[no-any-return]


def stored_size(shape: Iterable[int], dtype: str) -> int:
    """Bytes of a matrix of rows and columns, its scales included."""
    rows, columns = shape
    if dtype == "int8":
        return rows * (columns + 4)
    scales = -(-rows * columns // _NF4_BLOCK)
    return -(-rows * columns // 2) + scales + 4 * -(-scales // _NF4_SCALES)


def weight_bytes(module: nn.Module, *, learnt: bool = False) -> int:
    """Bytes of a module's weights as they are stored; learnt: of those alone that learn."""
    total = sum(x.numel() * x.element_size() for x in module.parameters() if x.requires_grad)
    if learnt:
        return total
    counted: set[int] = set()
    for part in module.modules():
        for name, x in part.named_parameters(recurse=False):
            if x.requires_grad or id(x) in counted:
                continue
            counted.add(id(x))
            stored: Any = getattr(part, "stored_bytes", None) if name == "weight" else None
            total += x.numel() * x.element_size() if stored is None else int(stored)
    return total


def plain(matrix: nn.Linear) -> nn.Linear:
    """A quantised matrix as a plain one on meta, of the size that it was made from and marked as it is."""
    dtype: torch.dtype = getattr(matrix, "compute_dtype", None) or matrix.weight.dtype
    made = nn.Linear(matrix.in_features, matrix.out_features, matrix.bias is not None, device="meta", dtype=dtype)
    made.stored_bytes = matrix.stored_bytes
    return made.requires_grad_(False)
