"""Short hashes that name a frozen model: the keys of caches."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

Setting = str | int | float | bool


def fingerprint_of(settings: Mapping[str, Setting], state: Mapping[str, Tensor]) -> str:
    """Hash settings and weights into 16 hexadecimal digits that do not depend on where the model lies or runs.

    Args:
        settings: whatever changes the model's answers beside its weights.
        state: named tensors of any shape and type. Of a tensor with more than 4,096 values, an even sample of that
            size is hashed: training moves all values, and reading every byte of a large text encoder takes minutes.

    Returns:
        The first 16 digits of a sha256.

    Source: our choice; 64 bits make an accidental collision between caches negligible.
    """
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, flat.numel() // 4096)].contiguous().cpu()
        digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
