"""Pretrained transformers in which text and video share one attention: CogVideoX, HunyuanVideo.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame; t frames of
a token; e width of the clock.
"""

from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from networks.attention import KeyValue
from networks.blocks import Layout, whole_groups
from networks.condition import ContextCache
from networks.control import add_frames
from networks.interfaces import Condition, ContextTokens, TokenGrid
from networks.pretrained.backbone import PretrainedBackbone
from networks.pretrained.joint_steps import StreamsOf, denoise_joint, remember_joint
from networks.rope import Rotation, with_unplaced
from networks.sequence import group_times, join_masks, to_patches


class JointBackbone(PretrainedBackbone):
    """A family whose text goes through the blocks beside the video, in one attention with it.

    Global tokens and memory see the text and are heard by the video alone. A memory is made as the video's tokens are,
    at time 0, in blocks that never went without a text: how little that says at first is what adapters and the gate
    learn (our choice; LoViC's context tokens hold their segment's text themselves).

    A family says `streams`, `clock_of`, `_text` and `_head` beside PretrainedBackbone's.
    """

    joint_text = True

    def streams(self, number: int) -> StreamsOf:
        """What turns the block of this number into its streams."""
        raise NotImplementedError

    def clock_of(self, embedded: Tensor, condition: Condition | None) -> Tensor:
        """Embedded times b g d, and what a condition says beside its text, to what the blocks are modulated by, b g e.

        condition: None for a memory, which holds at any.
        """
        raise NotImplementedError

    def _text(self, condition: Condition, time: Tensor) -> tuple[Tensor, Tensor | None]:
        """Text as it enters the blocks, b m d, and which of it is real, b m or None; time: b, of the noisiest frame."""
        raise NotImplementedError

    def _head(self, video: Tensor, layout: Layout, clock: Tensor) -> Tensor:
        """The last block's tokens b n d to what is predicted of each, b n (c t p q)."""
        raise NotImplementedError

    def _placed(self, frames: Tensor, frame_index: Tensor, grid: TokenGrid) -> Tensor:
        """Embedded frames b f s d with places that the model itself adds to them; frame_index: b f, in tokens."""
        return frames

    @property
    def _step(self) -> Any:
        return denoise_joint

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
        """Predicts the target for every frame.

        Args:
            noisy: b c f h w.
            time: b f in [0, 1], or 1 1.
            condition: of the window.
            extra_tokens: VIN's global tokens.
            global_embedding: b d, VIN's.
            detached_frames: b f, True where no gradient may reach the frame.

        Returns:
            b c f h w in noisy's type.

        Raises:
            ValueError: if another attention is to take the place of this one, or tokens do not split the canvas.
        """
        if condition.attention_override is not None:
            raise ValueError(
                f"{self.family.class_name} has one attention for text and video, in whose place a rollout can put no "
                "other: use rollout=single_pass, full_attention or autoregressive"
            )
        deep = self.frame_patch
        tokens = self._tokens(noisy, condition.frame_index)
        grid = TokenGrid(noisy.shape[2] // deep, noisy.shape[3] // self.patch, noisy.shape[4] // self.patch)
        memory, beside, seen = condition.memory, None, None
        condition = self._by_token(self.encode_context(condition))
        time = time if time.shape == (1, 1) else time.unflatten(1, (-1, deep)).amax(dim=2)
        rotation = self._rotation(condition.frame_index / deep, grid, memory is None)
        tokens = self._placed(tokens, self._index(condition.frame_index / deep, memory is None), grid)
        if detached_frames is not None and torch.is_grad_enabled():
            detached_frames = detached_frames.unflatten(1, (-1, deep)).all(dim=2)
            tokens = torch.where(detached_frames[:, :, None, None], tokens.detach(), tokens)
        x = rearrange(self._reached(tokens, memory, extra_tokens), "b f s d -> b (f s) d")
        layout = Layout(grid.frames, grid.rows * grid.columns)
        joined = extra_tokens if self.context_gate is None else None
        if joined is not None:
            x = torch.cat([x, joined.tokens.to(x.dtype)], dim=1)
            rotation = None if rotation is None else with_unplaced(rotation, joined.tokens.shape[1])
        if self.context_gate is not None:
            beside, seen = self._apart(condition, extra_tokens)
        x = x.to(self._flowing(x.device))
        key_mask = self._keys(condition, joined, memory if self.context_gate is None else None, layout)
        embedded = add_frames(self.time(group_times(time)), condition, others=1)
        if global_embedding is not None:
            embedded = embedded + global_embedding.unsqueeze(1)
        clock = self.clock_of(embedded, condition)
        text, text_mask = self._text(condition, time.amax(dim=1).expand(len(noisy)))
        text, told = text.to(x.dtype), whole_groups(clock, layout, x.shape[1])
        for number, block in enumerate(self.blocks):
            remembered = None if memory is None else memory.layers[number]
            gate = None if self.context_gate is None else self.context_gate[number]
            arguments = (x, layout, told, rotation, key_mask, text, text_mask, remembered, None, gate, beside, seen)
            x, text, beside = self._run(self.streams(number), block, *arguments)
        made = self._head(x[:, : layout.num_frames * layout.per_frame], layout, clock)
        axes = {"h": grid.rows, "w": grid.columns, "t": deep, "p": self.patch, "q": self.patch}
        return rearrange(made, "b (f h w) (c t p q) -> b c (f t) (h p) (w q)", **axes).to(noisy.dtype)

    def _tokens(self, noisy: Tensor, frame_index: Tensor) -> Tensor:
        """A canvas as tokens with the place of their first frame.

        Args:
            noisy: b c f h w.
            frame_index: b f.

        Returns:
            b f/t s d.

        Raises:
            ValueError: if the frames are no multiple of a token's.
        """
        deep = self.frame_patch
        if deep == 1:
            return self.embed(noisy, frame_index)
        if noisy.shape[2] % deep:
            raise ValueError(
                f"{noisy.shape[2]} latent frames do not split into tokens of {deep}: use a video, chunks and context "
                f"of a multiple of {deep} latent frames"
            )
        patches = to_patches(rearrange(noisy, "b c (f t) h w -> (b t) c f h w", t=deep), self.patch)
        whole = rearrange(patches, "(b t) f s (c pq) -> b f s (c t pq)", t=deep, c=noisy.shape[1])
        height, width = noisy.shape[3] // self.patch, noisy.shape[4] // self.patch
        return self._of_patches(whole) + self.place(frame_index[:, ::deep], height, width).float()

    def _of_patches(self, patches: Tensor) -> Tensor:
        """Flattened patches `... (c t p q)` to tokens `... d`, float32."""
        raise NotImplementedError

    def patches(self, patches: Tensor) -> Tensor:
        """Flattened patches `... (c p q)` of one latent frame to tokens `... d`, float32.

        A token of several is made of that frame alone, as if it stood still: so VIN reads single keyframes.
        """
        if self.frame_patch == 1:
            return self._of_patches(patches)
        area = self.patch**2
        return self._of_patches(repeat(patches, "... (c pq) -> ... (c t pq)", t=self.frame_patch, pq=area))

    def _by_token(self, condition: Condition) -> Condition:
        """The condition of tokens, each of which is a frame where its first stands."""
        deep = self.frame_patch
        if deep == 1:
            return condition
        mask, frames = condition.frame_mask, condition.frame_embedding
        return condition._replace(
            frame_index=condition.frame_index[:, ::deep],
            frame_mask=None if mask is None else mask.unflatten(1, (-1, deep)).any(dim=2),
            frame_embedding=None if frames is None else frames.unflatten(1, (-1, deep)).mean(dim=2),
        )

    def _index(self, frame_index: Tensor, relative: bool) -> Tensor:
        """Places b f of frames, from 0 where distances alone matter: those of the model's own training."""
        return frame_index - frame_index[:, :1] if relative else frame_index

    def _keys(
        self, condition: Condition, joined: ContextTokens | None, memory: ContextCache | None, layout: Layout
    ) -> Tensor | None:
        """Which of the video, of tokens behind it and of a memory in the same softmax are attended to; None for all."""
        frames = condition.frame_mask
        video = None if frames is None else repeat(frames, "b f -> b (f s)", s=layout.per_frame)
        parts: list[tuple[int, Tensor | None]] = [(layout.num_frames * layout.per_frame, video)]
        if joined is not None:
            parts.append((joined.tokens.shape[1], joined.mask))
        if memory is not None:
            parts.append((memory.layers[0][0].shape[2], memory.mask))
        return join_masks(parts, len(condition.frame_index), condition.frame_index.device)

    def _memory_rotation(self, positions: Tensor, sides: tuple[int, int] | None) -> Rotation | None:
        """Of context tokens at b n 3, the frame counted in tokens; sides: see Backbone.key_values."""
        made: Rotation = self.rope(positions)
        return made

    def _memory_placed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Context tokens with places that the model itself adds to its tokens; arguments as `_memory_rotation`'s."""
        return tokens

    def key_values(
        self, tokens: Tensor, positions: Tensor, sides: tuple[int, int] | None = None
    ) -> tuple[KeyValue, ...]:
        """Keys and values of context tokens b n d in every block, as VideoDiT's; positions: b n 3."""
        positions = torch.cat([positions[..., :1] / self.frame_patch, positions[..., 1:]], dim=-1)
        clock = self.clock_of(self.time(torch.zeros(1, 1, device=tokens.device)), None)
        rotation = self._memory_rotation(positions, sides)
        x = self._memory_placed(tokens, positions).to(self._flowing(tokens.device))
        layers = []
        for number, block in enumerate(self.blocks):
            x, key_value = remember_joint(self.streams(number), block, x, clock, rotation)
            layers.append(key_value)
        return tuple(layers)


def activated(clock: Tensor, layer: Any) -> Tensor:
    """An adaptive norm's linear layer behind its activation: a clock b g e to b g (n d)."""
    dtype = (
        layer.weight.dtype if layer.weight.is_floating_point() else clock.dtype
    )  # weights of 4 bits cast by themselves
    made: Tensor = layer(F.silu(clock).to(dtype))
    return made
