"""WanBackbone: a pretrained Wan text-to-video transformer where VideoDiT stands, trained whole or through LoRA.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.control import FrameControl
from networks.pretrained.backbone import Clock, ContextAttention, PretrainedBackbone
from networks.pretrained.loading import DTYPES, Family, check_words, load
from networks.pretrained.steps import Parts
from networks.ranges import Count, Dtype, Positive, Size, Text
from networks.rope import Rotation
from networks.video_network import PATCH

TEXT_TOKENS = 512
"""Every caption is so many tokens to Wan. Source: diffusers' WanPipeline, max_sequence_length."""
THETA = 10000.0
"""Base of RoPE's frequencies that Wan was trained with. Source: diffusers' WanRotaryPosEmbed."""


class WanRope(nn.Module):
    """Wan's rotary embedding from float positions, where diffusers has a table of whole ones."""

    frequencies: Tensor
    axis: Tensor

    def __init__(self, *, head_width: int) -> None:
        """Source: diffusers' WanRotaryPosEmbed: a third of a head's pairs a side, rounded down, the rest for frames."""
        super().__init__()
        side = head_width // 6
        counts = (head_width // 2 - 2 * side, side, side)
        frequencies = [THETA ** (-torch.arange(count, dtype=torch.float64) / count) for count in counts]
        self.register_buffer("frequencies", torch.cat(frequencies).float(), persistent=False)
        axis = [place for place, count in enumerate(counts) for _ in range(count)]
        self.register_buffer("axis", torch.tensor(axis), persistent=False)

    def forward(self, positions: Tensor) -> Rotation:
        """positions: b n 3 as (frame, row, column), any real."""
        angles = positions.float()[..., self.axis] * self.frequencies.float()
        return Rotation(angles.cos().unsqueeze(1), angles.sin().unsqueeze(1))


def _facts(place: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder's model is; refuses those that are given more than a text."""
    for name in ("added_kv_proj_dim", "image_dim"):
        if config.get(name) is not None:
            raise ValueError(
                f"backbone: '{place}' is conditioned on images ({name}={config[name]}), which nothing here gives: take "
                "a text-to-video model such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
            )
    if tuple(config["patch_size"]) != (1, PATCH, PATCH):
        raise ValueError(f"backbone: '{place}' has patches of {tuple(config['patch_size'])}, but must have (1, 2, 2)")
    return {
        "channels": config["in_channels"],
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "num_heads": config["num_attention_heads"],
        "text_features": config["text_dim"],
        "rope_theta": THETA,
        "patch": PATCH,
    }


_SMALL = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
_LARGE = {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
_TI2V = {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_channels": 48, "out_channels": 48}
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


class WanBackbone(PretrainedBackbone):
    """Predicts noise minus video for a window of frames, each at its own time, as Wan was trained to for one time.

    Take objective=rectified_flow, whose target is Wan's own. See PretrainedBackbone for what stands beside the model.
    Source: Wan (arXiv 2503.20314); a time for every frame enters as a time for every token does in Wan 2.2.
    """

    def __init__(
        self,
        *,
        pretrained: Text,
        subfolder: str,
        dtype: Dtype,
        channels: Size,
        width: Size,
        num_heads: Size,
        text_features: Size,
        latent_fps: Positive,
        rope_theta: Positive,
        lora_rank: Count,
        lora_alpha: Size,
        checkpoint_activations: bool,
        control: FrameControl | None = None,
        context_attention: ContextAttention = "joined",
        patch: Size = PATCH,
    ) -> None:
        """Loads a WanTransformer3DModel in the format of diffusers.

        Args:
            pretrained: a folder, or a name on the hub.
            subfolder: where the transformer lies inside; "" for the top.
            dtype: of the loaded weights; what is added to them is float32.
            channels: of the latents; this and the next three, rope_theta and patch are what the rest of the
                configuration counts on, and are checked against the model's.
            width: of its tokens.
            num_heads: of its attention.
            text_features: of the text encoder.
            latent_fps: latent frames a second, by which places are counted.
            rope_theta: base of RoPE's frequencies.
            lora_rank: 0 trains all weights; above 0 freezes the loaded ones and trains adapters of that rank.
            lora_alpha: adapters weigh lora_alpha / lora_rank.
            checkpoint_activations: computes blocks again in the backward pass.
            control: what embeds the numbers of every frame, None where there are none; it learns in float32.
            context_attention: how the video attends to global tokens and memory. "gated" is in an attention of their
                own, by the same queries, added to that of the video through a gate, one of every channel, that begins
                at zero: at the start VIN and LoViC are the base to the bit. "joined" is in one softmax with the video,
                as in our own DiT. Source: zero-initialised attention as in LLaMA-Adapter (arXiv 2303.16199); a gate a
                channel is our choice.
            patch: side of a token, in latents.

        Raises:
            ValueError: if nothing can be loaded from there, it is another kind of model than a text-to-video one with
                patches of 1 x 2 x 2, or a setting does not fit it.
        """
        check_words(dtype, lora_rank, lora_alpha)
        asked: dict[str, float] = {"channels": channels, "width": width, "num_heads": num_heads, "patch": patch}
        asked |= {"text_features": text_features, "rope_theta": rope_theta}
        super().__init__(
            model=load(FAMILY, pretrained, subfolder, DTYPES[dtype], asked),
            pretrained=pretrained,
            subfolder=subfolder,
            width=width,
            num_heads=num_heads,
            patch=patch,
            text_features=text_features,
            latent_fps=latent_fps,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            checkpoint_activations=checkpoint_activations,
            control=control,
            context_attention=context_attention,
        )
        self.rope = WanRope(head_width=width // num_heads)

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
        """Text features b l e to b 512 d.

        Wan attends to all of its 512 places without a mask: it was trained with features of zero behind the caption,
        so they have to be there, and what a mask hides is zero too. A row without text is 512 such places.
        """
        if text.shape[1] > TEXT_TOKENS:
            raise ValueError(
                f"a caption of {text.shape[1]} text tokens is longer than the {TEXT_TOKENS} that Wan reads: set "
                f"text.max_length={TEXT_TOKENS}"
            )
        known = text if text_mask is None else torch.where(text_mask.unsqueeze(-1), text, 0.0)
        embedder = self.model.condition_embedder.text_embedder
        padded = F.pad(known, (0, 0, 0, TEXT_TOKENS - text.shape[1]))
        return embedder(padded.to(embedder.linear_1.weight.dtype)), None
