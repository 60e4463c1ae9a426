"""WanBackbone: a pretrained Wan text-to-video transformer where VideoDiT stands, trained whole or through LoRA.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from networks.pretrained.cross import Clock, CrossAttentionBackbone
from networks.pretrained.loading import Family
from networks.pretrained.rope import PairRope
from networks.pretrained.steps import Parts
from networks.pretrained.texts import padded_text
from networks.reading import WrongFileError
from networks.video_network import PATCH

TEXT_TOKENS = 512
"""Every caption is so many tokens to Wan. Source: diffusers' WanPipeline, max_sequence_length."""
THETA = 10000.0
"""Base of RoPE's frequencies that Wan was trained with. Source: diffusers' WanRotaryPosEmbed."""


class WanRope(PairRope):
    """Wan's rotary embedding."""

    def __init__(self, *, head_width: int) -> None:
        """Source: diffusers' WanRotaryPosEmbed: a third of a head's pairs a side, rounded down, the rest for frames."""
        side = head_width // 6
        super().__init__(counts=(head_width // 2 - 2 * side, side, side), theta=THETA)


def _facts(place: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder's model is; refuses those that are given more than a text."""
    for name in ("added_kv_proj_dim", "image_dim"):
        if config.get(name) is not None:
            raise WrongFileError(
                f"backbone: '{place}' is conditioned on images ({name}={config[name]}) and gets none here: take "
                "a text-to-video model such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
            )
    if tuple(config["patch_size"]) != (1, PATCH, PATCH):
        raise WrongFileError(
            f"backbone: '{place}' has patches of {tuple(config['patch_size'])}, but must have (1, 2, 2): take a "
            "model such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
        )
    return {
        "channels": config["in_channels"],
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "num_heads": config["num_attention_heads"],
        "text_features": config["text_dim"],
        "rope_theta": THETA,
        "patch": PATCH,
        "frame_patch": 1,
    }


_SMALL = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
_LARGE = {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
TI2V_CHANNELS = 48
_TI2V = {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30}
_TI2V |= {"in_channels": TI2V_CHANNELS, "out_channels": TI2V_CHANNELS}
FAMILY = Family(
    "WanTransformer3DModel",
    _facts,
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    known={
        "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": _SMALL,
        "Wan-AI/Wan2.1-T2V-14B-Diffusers": _LARGE,
        "Wan-AI/Wan2.2-TI2V-5B-Diffusers": _TI2V,
        "Wan-AI/Wan2.2-T2V-A14B-Diffusers": _LARGE,
    },
)
"""Source of the sizes: diffusers' scripts/convert_wan_to_diffusers.py, and wan/configs of the Wan2.2 repository."""


class WanBackbone(CrossAttentionBackbone):
    """Predicts noise minus video for a window of frames, each at its own time, as Wan was trained to for one time.

    Take objective=rectified_flow, whose target is Wan's own. See PretrainedBackbone for what stands beside the model.
    Source: Wan (arXiv 2503.20314); a time for every frame enters as a time for every token does in Wan 2.2.
    """

    family = FAMILY

    @property
    def frame_times(self) -> bool:  # type: ignore[override]
        """Of Wan 2.2 TI2V, which its 48 channels tell: the one of the family that begins from an image by time 0."""
        return int(self.model.config.in_channels) == TI2V_CHANNELS

    def make_rope(self, head_width: int) -> WanRope:
        """Wan's."""
        return WanRope(head_width=head_width)

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The model's blocks, in order."""
        blocks: nn.ModuleList = self.model.blocks
        return blocks

    @staticmethod
    def parts(block: Any) -> Parts:
        """Where a block keeps what."""
        table = block.scale_shift_table[0]
        return Parts(block.attn1, block.attn2, block.norm1, block.norm2, block.norm3, block.ffn, table)

    @property
    def flowing_weight(self) -> Tensor:
        """The patches': others stay in float32 whatever dtype is."""
        weight: Tensor = self.model.patch_embedding.weight
        return weight

    @property
    def clock(self) -> Clock:
        """How the model embeds diffusion time."""
        embedder = self.model.condition_embedder
        return Clock(embedder.timesteps_proj, embedder.time_embedder, embedder.time_proj)

    def patches(self, patches: Tensor) -> Tensor:
        """Flattened patches `... (c p q)` to tokens `... d`, float32: Wan's convolution as a linear map."""
        layer = self.model.patch_embedding
        return F.linear(patches.to(layer.weight.dtype), layer.weight.flatten(1), layer.bias).float()

    def _text(self, text: Tensor, text_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Text features b l e to b 512 d. Wan was trained with features of zero behind the caption."""
        padded = padded_text(text, text_mask, TEXT_TOKENS, "Wan")
        embedder = self.model.condition_embedder.text_embedder
        return embedder(padded.to(embedder.linear_1.weight.dtype)), None
