"""CogVideoXBackbone: a pretrained CogVideoX text-to-video transformer (2B, 5B, 1.5) where VideoDiT stands.

Axes: b batch, n tokens, k heads, d width, l text tokens, e text features; g modulation groups.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.blocks import Layout
from networks.interfaces import Condition, TokenGrid
from networks.pretrained.joint import JointBackbone, activated
from networks.pretrained.joint_steps import Modulation, Stream, Streams, StreamsOf, modulated, normal
from networks.pretrained.loading import Family
from networks.pretrained.rope import PairRope
from networks.pretrained.texts import padded_text
from networks.reading import WrongFileError
from networks.sequence import positions_of

THETA = 10000.0
"""Base of RoPE's frequencies, and of the sines of the 2B model. Source: diffusers' get_3d_rotary_pos_embed."""


def _facts(place: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder's model is; refuses those that are given more than a text."""
    for name in ("ofs_embed_dim", "use_learned_positional_embeddings"):
        if config.get(name):
            raise WrongFileError(
                f"backbone: '{place}' is conditioned on images ({name}={config[name]}) and gets none here: take "
                "a text-to-video model such as THUDM/CogVideoX-5b"
            )
    if config.get("patch_size_t") not in (None, 1, 2):
        raise WrongFileError(
            f"backbone: '{place}' has tokens of {config['patch_size_t']} latent frames, but 1 or 2 are read: take a "
            "model such as THUDM/CogVideoX-5b"
        )
    return {
        "channels": config["in_channels"],
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "num_heads": config["num_attention_heads"],
        "text_features": config["text_embed_dim"],
        "rope_theta": THETA,
        "patch": config["patch_size"],
        "frame_patch": config.get("patch_size_t") or 1,
    }


_LARGE = {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
_LATER = {"patch_size_t": 2, "patch_bias": False, "sample_height": 300, "sample_width": 300, "sample_frames": 81}
FAMILY = Family(
    "CogVideoXTransformer3DModel",
    _facts,
    "THUDM/CogVideoX-5b",
    known={
        "THUDM/CogVideoX-2b": {},
        "THUDM/CogVideoX-5b": _LARGE,
        "THUDM/CogVideoX1.5-5B": {**_LARGE, **_LATER},
    },
)
"""Source of the sizes: diffusers' scripts/convert_cogvideox_to_diffusers.py; 2B's are the class's own defaults."""


def _streams(block: Any, clock: Tensor) -> Streams:
    """Both streams go through the same modules, each with a modulation of its own."""
    attention = block.attn1
    first, second = (activated(clock, norm.linear).chunk(6, dim=-1) for norm in (block.norm1, block.norm2))

    def stream(modulation: Modulation) -> Stream:
        return Stream(
            attention.to_q,
            attention.to_k,
            attention.to_v,
            attention.norm_q,
            attention.norm_k,
            attention.to_out[0],
            block.norm1.norm,
            block.norm2.norm,
            block.ff,
            modulation,
        )

    video, text = Modulation(*first[:3], *second[:3]), Modulation(*first[3:], *second[3:])
    return Streams(stream(video), stream(text), attention.heads)


class CogVideoXBackbone(JointBackbone):
    """Predicts v for a window of frames, each at its own time, as CogVideoX was trained to for one time.

    Take objective=cogvideox: its schedule has a thousand steps, of which the first is 1/1000 of our time and the last,
    noise alone, is 1. A time for every frame is ours: the model knows one of all. A token of CogVideoX 1.5 spans two
    latent frames, so videos, chunks and context are of an even number; its pipeline adds a frame in front and drops it.
    The 2B model has places of whole videos in its tokens: a window counts them from its own first frame.
    Source: CogVideoX (arXiv 2408.06072).
    """

    family = FAMILY

    def make_rope(self, head_width: int) -> PairRope:
        """CogVideoX's: a quarter of a head for frames, three eighths a side. The 2B model does not ask it."""
        return PairRope(counts=(head_width // 8, head_width // 16 * 3, head_width // 16 * 3), theta=THETA)

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The model's blocks, in order."""
        blocks: nn.ModuleList = self.model.transformer_blocks
        return blocks

    @property
    def flowing_weight(self) -> Tensor:
        """The patches'."""
        weight: Tensor = self.model.patch_embed.proj.weight
        return weight

    def streams(self, number: int) -> StreamsOf:
        """All blocks are of one kind."""
        return _streams

    def _of_patches(self, patches: Tensor) -> Tensor:
        layer = self.model.patch_embed.proj
        return F.linear(patches.to(layer.weight.dtype), layer.weight.flatten(1), layer.bias).float()

    def time(self, time: Tensor) -> Tensor:
        """Diffusion time `...` in [0, 1] to the sines that its embedding reads, `... d`; see CogVideoXPath."""
        steps = (1000 * time.float().flatten() - 1).clamp(min=0)
        made: Tensor = self.model.time_proj(steps)
        return made.float().view(*time.shape, self.width)

    def clock_of(self, embedded: Tensor, condition: Condition | None) -> Tensor:
        """Sines, and what is added to them, through the model's time embedding."""
        layers = self.model.time_embedding
        made: Tensor = layers(embedded.to(layers.linear_1.weight.dtype))
        return made

    def _text(self, condition: Condition, time: Tensor) -> tuple[Tensor, Tensor | None]:
        """Text features b l e to b 226 d; CogVideoX attends to all of its places, and so what is masked is zero."""
        length = self.model.config.max_text_seq_length
        layer = self.model.patch_embed.text_proj
        padded = padded_text(condition.text, condition.text_mask, length, "CogVideoX")
        return layer(padded.to(layer.weight.dtype)), None

    def _head(self, video: Tensor, layout: Layout, clock: Tensor) -> Tensor:
        model = self.model
        shift, scale = activated(clock, model.norm_out.linear).chunk(2, dim=-1)
        normalised = normal(model.norm_final, video).to(video.dtype)
        made: Tensor = model.proj_out(modulated(model.norm_out.norm, normalised, layout, shift, scale))
        return made

    @property
    def _has_rope(self) -> bool:
        return bool(self.model.config.use_rotary_positional_embeddings)

    def _rotation(self, frame_index: Tensor, grid: TokenGrid, relative: bool) -> Any:
        positions = positions_of(frame_index, grid.rows, grid.columns)
        return self._memory_rotation(positions, (grid.rows, grid.columns))

    def _memory_rotation(self, positions: Tensor, sides: tuple[int, int] | None) -> Any:
        if not self._has_rope:
            return None
        if sides is not None and self.frame_patch == 1:  # 1.5 counts rows and columns as they are
            positions = _stretched(positions, sides, self.model.config)
        return self.rope(positions)

    def _placed(self, frames: Tensor, frame_index: Tensor, grid: TokenGrid) -> Tensor:
        if self._has_rope:
            return frames
        device = frames.device
        sides = (torch.arange(float(count), device=device) for count in (grid.rows, grid.columns))
        frame, row, column = self._sines(frame_index, *sides)
        cells = torch.cat(torch.broadcast_tensors(column.unsqueeze(0), row.unsqueeze(1)), dim=-1).flatten(0, 1)
        parts = (frame.unsqueeze(2).expand(-1, -1, len(cells), -1), cells.expand(*frame.shape[:2], -1, -1))
        return frames + torch.cat(parts, dim=-1)

    def _memory_placed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        if self._has_rope:
            return tokens
        frame, row, column = self._sines(*positions.float().unbind(-1))
        return tokens + torch.cat([frame, column, row], dim=-1)

    def _sines(self, frames: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sines and cosines of places `...`: a quarter of the width for frames, three eighths a side.

        Source: diffusers' get_3d_sincos_pos_embed.
        """
        config, eighth = self.model.config, self.width // 8
        of_time, of_space = config.temporal_interpolation_scale, config.spatial_interpolation_scale
        return (
            _waves(frames / of_time, 2 * eighth),
            _waves(rows / of_space, 3 * eighth),
            _waves(columns / of_space, 3 * eighth),
        )


def _waves(values: Tensor, count: int) -> Tensor:
    half = count // 2
    angles = values.float().unsqueeze(-1) * THETA ** (-torch.arange(half, device=values.device) / half)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _stretched(positions: Tensor, sides: tuple[int, int], config: Any) -> Tensor:
    """Places b n 3 of pictures of other sides than the model's training, laid over its own as its pipeline does."""
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    trained = (config.sample_width // config.patch_size, config.sample_height // config.patch_size)
    first, last = get_resize_crop_region_for_grid(sides, *trained)
    frame, *places = positions.float().unbind(-1)
    for axis, count in enumerate(sides):
        step = (last[axis] * (count - 1) / count - first[axis]) / max(count - 1, 1)
        places[axis] = first[axis] + step * places[axis]
    return torch.stack([frame, *places], dim=-1)
