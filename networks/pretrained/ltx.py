"""LtxBackbone: a pretrained LTX-Video transformer where VideoDiT stands, trained whole or through LoRA.

Axes: b batch, n tokens, k heads, d width, l text tokens, e text features.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from networks.control import FrameControl
from networks.interfaces import TokenGrid
from networks.pretrained.backbone import ContextAttention
from networks.pretrained.cross import Clock, CrossAttentionBackbone
from networks.pretrained.loading import Family
from networks.pretrained.quantized import BaseDtype
from networks.pretrained.steps import Parts
from networks.ranges import Count, Positive, Size, Text
from networks.reading import WrongFileError
from networks.rope import Rotation
from networks.sequence import positions_of

THETA = 10000.0
"""Base of RoPE's frequencies that LTX-Video was trained with. Source: diffusers' LTXVideoTransformer3DModel."""
SECONDS, PIXELS = 20.0, 2048.0
"""What places are counted in. Source: base_num_frames, base_height and base_width of the same."""


class LtxRope(nn.Module):
    """LTX-Video's rotary embedding from float positions, which are counted in seconds and pixels."""

    frequencies: Tensor
    axis: Tensor
    unit: Tensor
    base: Tensor

    def __init__(self, *, width: int, num_heads: int, latent_fps: float, space_factor: int) -> None:
        """Source: diffusers' LTXVideoRotaryPosEmbed. Its angles go over the width of all heads, axis after axis."""
        super().__init__()
        self.num_heads = num_heads
        count = width // 6
        frequencies = THETA ** torch.linspace(0.0, 1.0, count) * math.pi / 2
        still = (width % 6) // 2  # the first pairs are not turned
        self.register_buffer("frequencies", torch.cat([torch.zeros(still), frequencies.repeat_interleave(3)]), False)
        self.register_buffer("axis", torch.cat([torch.zeros(still).long(), torch.arange(3).repeat(count)]), False)
        self.register_buffer("unit", torch.tensor([1 / latent_fps, space_factor, space_factor]), False)
        self.register_buffer("base", torch.tensor([SECONDS, PIXELS, PIXELS]), False)

    def forward(self, positions: Tensor) -> Rotation:
        """positions: b n 3 as (frame, row, column), any real; tables b k n d/k/2."""
        places = positions.float() * self.unit.float() / self.base.float()
        angles = self.frequencies.float() * (2 * places - 1)[..., self.axis]
        angles = rearrange(angles, "b n (k d) -> b k n d", k=self.num_heads)
        return Rotation(angles.cos(), angles.sin())


def _facts(place: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder's model is."""
    sides = (config["patch_size_t"], config["patch_size"])
    if sides[0] != 1:
        raise WrongFileError(
            f"backbone: '{place}' has patches of {sides[0]} latent frames, but must have patches of one: take "
            "a model such as Lightricks/LTX-Video"
        )
    return {
        "channels": config["in_channels"] // sides[1] ** 2,
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "num_heads": config["num_attention_heads"],
        "text_features": config["caption_channels"],
        "rope_theta": THETA,
        "patch": sides[1],
        "frame_patch": 1,
    }


FAMILY = Family(
    "LTXVideoTransformer3DModel",
    _facts,
    "Lightricks/LTX-Video",
    known={"Lightricks/LTX-Video": {}},  # the class's own defaults: diffusers' scripts/convert_ltx_to_diffusers.py
)


class LtxBackbone(CrossAttentionBackbone):
    """Predicts noise minus video for a window of frames, each at its own time, as LTX-Video was trained to.

    Take objective=rectified_flow, whose target is LTX-Video's own. See PretrainedBackbone for what stands beside the
    model. Source: LTX-Video (arXiv 2501.00103); a time for every token is how it is conditioned on images there.
    """

    family = FAMILY
    frame_times = True

    def __init__(
        self,
        *,
        pretrained: Text,
        subfolder: str,
        dtype: BaseDtype,
        channels: Size,
        width: Size,
        num_heads: Size,
        text_features: Size,
        latent_fps: Positive,
        space_factor: Size,
        rope_theta: Positive,
        lora_rank: Count,
        lora_alpha: Size,
        checkpoint_activations: bool,
        control: FrameControl | None,
        context_attention: ContextAttention,
        patch: Size,
    ) -> None:
        """Loads an LTXVideoTransformer3DModel in the format of diffusers.

        Args:
            pretrained: this and what is not named here as PretrainedBackbone's.
            subfolder: so.
            dtype: so.
            channels: so.
            width: so.
            num_heads: so.
            text_features: so.
            latent_fps: latent frames a second, by which places are counted, in RoPE too.
            space_factor: pixels along a side of a latent, by which RoPE counts places.
            rope_theta: base of RoPE's frequencies.
            lora_rank: as PretrainedBackbone's.
            lora_alpha: so.
            checkpoint_activations: so.
            control: so.
            context_attention: so.
            patch: side of a token, in latents.

        Raises:
            ValueError: if nothing can be loaded from there, it is another kind of model, or a setting does not fit it.
        """
        self.space_factor = space_factor  # before there is a module: make_rope asks for it
        super().__init__(
            pretrained=pretrained,
            subfolder=subfolder,
            dtype=dtype,
            channels=channels,
            width=width,
            num_heads=num_heads,
            text_features=text_features,
            latent_fps=latent_fps,
            rope_theta=rope_theta,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            checkpoint_activations=checkpoint_activations,
            control=control,
            context_attention=context_attention,
            patch=patch,
        )

    def make_rope(self, head_width: int) -> LtxRope:
        """LTX-Video's, over the width of all heads."""
        side = self.space_factor * self.patch
        return LtxRope(width=self.width, num_heads=self.num_heads, latent_fps=self.latent_fps, space_factor=side)

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The model's blocks, in order."""
        blocks: nn.ModuleList = self.model.transformer_blocks
        return blocks

    @staticmethod
    def parts(block: Any) -> Parts:
        """Where a block keeps what. It asks the text without a norm before."""
        return Parts(block.attn1, block.attn2, block.norm1, None, block.norm2, block.ff, block.scale_shift_table)

    @property
    def flowing_weight(self) -> Tensor:
        """The patches'."""
        weight: Tensor = self.model.proj_in.weight
        return weight

    @property
    def clock(self) -> Clock:
        """How the model embeds diffusion time."""
        embedder = self.model.time_embed
        return Clock(embedder.emb.time_proj, embedder.emb.timestep_embedder, embedder.linear)

    def patches(self, patches: Tensor) -> Tensor:
        """Flattened patches `... (c p q)` to tokens `... d`, float32."""
        made: Tensor = self.model.proj_in(patches.to(self.flowing_weight.dtype))
        return made.float()

    def _rotation(self, frame_index: Tensor, grid: TokenGrid, relative: bool) -> Rotation:
        # Angles are thousands of turns, which float32 rounds the more the later a frame is: where distances alone
        # matter, a window begins at 0, as in the videos of LTX-Video's own training.
        first = frame_index[:, :1] if relative else 0.0
        made: Rotation = self.rope(positions_of(frame_index - first, grid.rows, grid.columns))
        return made

    def _text(self, text: Tensor, text_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Text features b l e to b l d, of which the video asks the real ones.

        A row without text asks its places all the same, which then are features of zero: attention cannot ask nothing.
        LTX-Video itself always has an end token (text.reads_empty).
        """
        if text_mask is not None:
            text = torch.where(text_mask.unsqueeze(-1), text, 0.0)
            text_mask = text_mask | ~text_mask.any(dim=1, keepdim=True)
        projection = self.model.caption_projection
        return projection(text.to(projection.linear_1.weight.dtype)), text_mask
