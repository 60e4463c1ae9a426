"""Pretrained transformers whose video asks the text by an attention of its own: Wan, LTX-Video.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from networks.attention import KeyValue
from networks.blocks import whole_groups
from networks.control import add_frames
from networks.interfaces import Condition, ContextTokens, TextKeys, TokenGrid
from networks.pretrained.backbone import PretrainedBackbone
from networks.pretrained.steps import Parts, denoise, denoise_gated, modulated, remember, text_keys
from networks.sequence import group_times, join


class Clock(NamedTuple):
    """How a model embeds diffusion time.

    features: times n in thousandths to sines; layers: linear_1, an activation, linear_2, to n d; modulation: n (6 d).
    """

    features: Any
    layers: Any
    modulation: nn.Linear


class CrossAttentionBackbone(PretrainedBackbone):
    """A family whose model modulates all blocks alike and ends in scale_shift_table, norm_out and proj_out.

    A family says where its parts are: `parts`, `clock` and `_text` beside PretrainedBackbone's.
    """

    @property
    def clock(self) -> Clock:
        """How the model embeds diffusion time."""
        raise NotImplementedError

    @staticmethod
    def parts(block: Any) -> Parts:
        """Where a block keeps what."""
        raise NotImplementedError

    def _text(self, text: Tensor, text_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Text features b l e to b m d, and which of them the video asks, b m or None for all."""
        raise NotImplementedError

    @property
    def _step(self) -> Any:
        return denoise if self.context_gate is None else denoise_gated

    def time(self, time: Tensor) -> Tensor:
        """Diffusion time `...` in [0, 1] to `... d`, float32. Models count it in thousandths."""
        features, layers, _ = self.clock
        embedded: Tensor = layers(features(1000 * time.float().flatten()).to(layers.linear_1.weight.dtype))
        return embedded.float().view(*time.shape, self.width)

    def _modulation(self, embedded: Tensor) -> Tensor:
        """Embedded times `... d` to what all blocks are modulated by, `... 6 d`."""
        layer = self.clock.modulation
        return rearrange(layer(F.silu(embedded).to(layer.weight.dtype)), "... (six d) -> ... six d", six=6)

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        condition: Condition,
        *,
        extra_tokens: ContextTokens | None = None,
        global_embedding: Tensor | None = None,
        detached_frames: Tensor | None = None,
    ) -> Tensor:
        """Predicts the target for every frame; arguments as VideoDiT's. Returns b c f h w in noisy's type."""
        grid = TokenGrid(noisy.shape[2], noisy.shape[3] // self.patch, noisy.shape[4] // self.patch)
        frames = self.embed(noisy, condition.frame_index)
        memory, beside, seen = condition.memory, None, None
        rotation = self._rotation(condition.frame_index, grid, memory is None)
        if self.context_gate is None:
            sequence = join(frames, rotation, grid, condition, extra_tokens, detached_frames)
        else:
            beside, seen = self._apart(condition, extra_tokens)
            frames = self._reached(frames, memory, extra_tokens)
            sequence = join(frames, rotation, grid, condition._replace(memory=None), None, detached_frames)
        tokens, layout, rotation, key_mask, attend = sequence
        tokens = tokens.to(self._flowing(tokens.device))
        condition = self.encode_context(condition)
        embedded = add_frames(self.time(group_times(time)), condition, others=1)
        if global_embedding is not None:
            embedded = embedded + global_embedding.unsqueeze(1)
        modulation = whole_groups(self._modulation(embedded), layout, tokens.shape[1])
        texts, text_mask = self._texts(condition)
        for number, block in enumerate(self.blocks):
            remembered = None if memory is None else memory.layers[number]
            arguments = (tokens, layout, modulation, rotation, key_mask, texts[number], text_mask, remembered, attend)
            if self.context_gate is None:
                tokens = self._run(self.parts, block, *arguments)
            else:
                tokens, beside = self._run(self.parts, block, *arguments, self.context_gate[number], beside, seen)
        shift, scale = (embedded.unsqueeze(2) + self.model.scale_shift_table.float()).unbind(2)
        video = tokens[:, : layout.num_frames * layout.per_frame]
        video = self.model.proj_out(modulated(self.model.norm_out, video, layout, shift, scale))
        axes = {"h": grid.rows, "w": grid.columns, "p": self.patch, "q": self.patch}
        return rearrange(video, "b (f h w) (p q c) -> b c f (h p) (w q)", **axes).to(noisy.dtype)

    def encode_text(self, condition: Condition) -> Condition:
        """As VideoNetwork's."""
        if condition.asked is not None or len(condition.text) > 1 or torch.is_grad_enabled():
            return condition
        text, mask = self._text(condition.text, condition.text_mask)
        layers = tuple(self.around_block(block, text_keys, self.parts, block, text) for block in self.blocks)
        return condition._replace(asked=TextKeys(layers, mask))

    def _texts(self, condition: Condition) -> tuple[Sequence[Tensor | KeyValue], Tensor | None]:
        """What each block asks, and which of it."""
        if condition.asked is not None:
            return condition.asked.layers, condition.asked.mask
        text, mask = self._text(condition.text, condition.text_mask)
        return [text] * self.depth, mask

    def key_values(
        self, tokens: Tensor, positions: Tensor, sides: tuple[int, int] | None = None
    ) -> tuple[KeyValue, ...]:
        """Keys and values of context tokens b n d in every block, as VideoDiT's; positions: b n 3."""
        modulation = self._modulation(self.time(torch.zeros((), device=tokens.device)))
        rotation = self.rope(positions)
        tokens = tokens.to(self._flowing(tokens.device))
        layers = []
        for block in self.blocks:
            tokens, key_value = self.around_block(block, remember, self.parts, block, tokens, modulation, rotation)
            layers.append(key_value)
        return tuple(layers)
