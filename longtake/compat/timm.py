"""timm, tested on 1.0.27 and 1.0.31: the type in which its Muon makes matrices orthogonal.

timm has the type as an argument of its function, and no setting of the optimizer passes it on.
"""

from functools import partial

import torch
from timm.optim import muon

_ORTHOGONAL = muon.zeropower_via_newtonschulz


def orthogonalise_in(dtype: torch.dtype) -> None:
    """Has every Muon of this process take its Newton-Schulz steps in a type.

    Args:
        dtype: torch.bfloat16, as timm has it, or torch.float32.
    """
    muon.zeropower_via_newtonschulz = partial(_ORTHOGONAL, dtype=dtype)
