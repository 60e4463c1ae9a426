"""What settings may be beyond what constructors say: groups as such, and arguments of other libraries, narrowed."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypedDict

from annotated_types import Ge, Le, MinLen

from networks.ranges import LARGEST, Count, NotNegative, Positive, Share, Size, Text

Precision = Literal["32-true", "bf16-true", "bf16-mixed", "16-true"]
"""Of sampling, in Lightning's words."""

Compilation = Literal["none", "blocks", "max-autotune"]
"""What of a network is compiled in sampling."""

AttentionKernel = Literal["auto", "flash", "cudnn", "efficient", "math"]
"""Kernels of torch.nn.attention.SDPBackend."""

TrainingOptimizer = Literal["adamw", "adamw_8bit"]
"""Configs of the group optimizer whose memory is predicted."""


class Part:
    """A mapping with `_target_`: what an option of a group is, whatever it builds."""


class Later:
    """A group that is checked together with the config of the weights that it changes, which it may refer to."""


class Video(TypedDict):
    """`video`: what weights make by default; sides in pixels, frames a second."""

    height: Size
    width: Size
    fps: Positive


class Shown(TypedDict):
    """What the config of weights that make videos says beside its parts."""

    video: Video


FOREIGN: dict[str, dict[str, Any]] = {
    "lightning.pytorch.trainer.trainer.Trainer": {
        "devices": Annotated[int, Ge(-1), Le(LARGEST)] | Annotated[Sequence[Count], MinLen(1)] | Text,
        "max_steps": Annotated[int, Ge(-1), Le(LARGEST)],
        "val_check_interval": Size,  # in optimizer steps: a share of an epoch means nothing to an endless loader
        "check_val_every_n_epoch": Size | None,
        "num_sanity_val_steps": Annotated[int, Ge(-1), Le(LARGEST)],
        "log_every_n_steps": Count,
        "gradient_clip_val": NotNegative | None,
        "limit_val_batches": Size | Share | None,
        "limit_train_batches": Size | Share | None,
        "overfit_batches": Count | Share,
        "default_root_dir": Text,
    },
    "lightning.pytorch.callbacks.progress.tqdm_progress.TQDMProgressBar": {"refresh_rate": Count},
    "torch.optim.adamw.AdamW": {
        "lr": NotNegative,
        "betas": tuple[Share, Share],
        "weight_decay": NotNegative,
        "eps": NotNegative,
    },
    "timm.optim.muon.Muon": {"lr": NotNegative, "weight_decay": NotNegative, "momentum": Share},
}
"""By a constructor's module and name: arguments of it, and what they may be here."""
