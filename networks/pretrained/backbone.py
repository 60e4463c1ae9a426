"""What pretrained transformers share behind the backbone's contract; a family is a file beside this one.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from networks.blocks import KeyValue, whole_groups
from networks.control import NAME, FrameControl, add_frames, embed_control
from networks.embeddings import PlaceEmbedding
from networks.interfaces import Backbone, Condition, ContextTokens, TokenGrid, VideoNetwork
from networks.pretrained.learnt import UponBase
from networks.pretrained.loading import add_lora
from networks.pretrained.steps import Parts, denoise, denoise_gated, modulated, remember
from networks.rope import Rotation
from networks.sequence import group_times, join, join_masks, positions_of, to_patches

ContextAttention = Literal["gated", "joined"]


class Clock(NamedTuple):
    """How a model embeds diffusion time.

    features: times n in thousandths to sines; layers: linear_1, an activation, linear_2, to n d; modulation: n (6 d).
    """

    features: Any
    layers: Any
    modulation: nn.Linear


class PretrainedBackbone(UponBase, VideoNetwork):
    """A transformer of diffusers where VideoDiT stands: its own blocks, one time a frame, float positions, memory.

    At the start, with one time for all frames, it is the loaded model to the last few bits, whatever lora_rank is. With
    context_attention=gated so are the windows of VIN and LoViC: what they add is attended to apart and adds nothing at
    first. Beside the model stands an embedding of absolute place that says nothing at first: VIN's chunks are told
    apart by it, as RoPE knows distances alone (our choice, as in VideoDiT).

    Checkpoints and releases hold what was learnt, and the base's hash: building from a config.json loads `pretrained`,
    which has to be the base of the training. Only with lora_rank=0, where all is learnt, they hold every weight.

    A family says where its parts are: `rope`, `blocks`, `parts`, `flowing_weight`, `patches`, `clock` and `_text`. Its
    model ends in scale_shift_table, norm_out and proj_out.
    """

    model: Any
    rope: nn.Module

    def __init__(
        self,
        *,
        model: nn.Module,
        pretrained: str,
        subfolder: str,
        width: int,
        num_heads: int,
        patch: int,
        text_features: int,
        latent_fps: float,
        lora_rank: int,
        lora_alpha: int,
        checkpoint_activations: bool,
        control: FrameControl | None,
        context_attention: ContextAttention,
    ) -> None:
        """model: loaded from `pretrained`; the rest as the families' arguments."""
        super().__init__()
        self.model = model
        self.pretrained, self.subfolder = pretrained, subfolder
        self.width, self.num_heads, self.patch = width, num_heads, patch
        self.depth = len(list(self.blocks))
        self.text_features = text_features
        self.checkpoint_activations = checkpoint_activations
        self.context_gate: nn.Parameter | None = None
        if context_attention == "gated":
            self.context_gate = nn.Parameter(torch.zeros(self.depth, num_heads, 1, width // num_heads))
        self.step: Any = denoise if self.context_gate is None else denoise_gated  # compiled where callbacks=compiled
        self.place = PlaceEmbedding(width=width, latent_fps=latent_fps)
        nn.init.zeros_(self.place.project.weight)
        nn.init.zeros_(self.place.project.bias)
        self.control = control
        self.ablations = () if control is None else (NAME,)
        if lora_rank > 0:
            add_lora(self.model, lora_rank, lora_alpha)
            self.adapter_scale = lora_alpha / lora_rank
            self.freeze_base(self.model, f"{pretrained}/{subfolder}")

    @property
    def backbone(self) -> Backbone:
        """Itself."""
        return self

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The model's blocks, in order."""
        raise NotImplementedError

    @staticmethod
    def parts(block: Any) -> Parts:
        """Where a block keeps what."""
        raise NotImplementedError

    @property
    def flowing_weight(self) -> Tensor:
        """A weight of the type in which tokens flow between the blocks."""
        raise NotImplementedError

    def patches(self, patches: Tensor) -> Tensor:
        """Flattened patches `... (c p q)` to tokens `... d`, float32."""
        raise NotImplementedError

    @property
    def clock(self) -> Clock:
        """How the model embeds diffusion time."""
        raise NotImplementedError

    def _text(self, text: Tensor, text_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Text features b l e to b m d, and which of them the video asks, b m or None for all."""
        raise NotImplementedError

    def time(self, time: Tensor) -> Tensor:
        """Diffusion time `...` in [0, 1] to `... d`, float32. Models count it in thousandths."""
        features, layers, _ = self.clock
        embedded: Tensor = layers(features(1000 * time.float().flatten()).to(layers.linear_1.weight.dtype))
        return embedded.float().view(*time.shape, self.width)

    def _modulation(self, embedded: Tensor) -> Tensor:
        """Embedded times `... d` to what all blocks are modulated by, `... 6 d`."""
        layer = self.clock.modulation
        return rearrange(layer(F.silu(embedded).to(layer.weight.dtype)), "... (six d) -> ... six d", six=6)

    def _rotation(self, frame_index: Tensor, grid: TokenGrid, relative: bool) -> Rotation:
        """Of the video's tokens; relative: whether nothing else that has a place is attended to."""
        made: Rotation = self.rope(positions_of(frame_index, grid.rows, grid.columns))
        return made

    def encode_context(self, condition: Condition) -> Condition:
        """Its control embedded, once for all steps."""
        return embed_control(self.control, condition)

    def embed(self, video: Tensor, frame_index: Tensor) -> Tensor:
        """Patches with their absolute place.

        Args:
            video: latents b c f h w.
            frame_index: b f.

        Returns:
            b f s d, float32.

        Raises:
            ValueError: if the latents' sides are no multiples of the patch.
        """
        patches = to_patches(video, self.patch)
        height, width = video.shape[3] // self.patch, video.shape[4] // self.patch
        return self.patches(patches) + self.place(frame_index, height, width).float()

    def _flowing(self, device: torch.device) -> torch.dtype:
        """The type of what flows between blocks: the weights', or autocast's where that is the other half precision."""
        dtype = self.flowing_weight.dtype
        known = torch.amp.is_autocast_available(device.type)  # meta, where FLOPs are counted, has none
        if dtype != torch.float32 and known and torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return dtype

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
            if beside is None and memory is None and self.training:  # DDP refuses what no gradient reaches
                frames = frames + 0 * self.context_gate.sum()
            sequence = join(frames, rotation, grid, condition._replace(memory=None), None, detached_frames)
        tokens, layout, rotation, key_mask, attend = sequence
        tokens = tokens.to(self._flowing(tokens.device))
        condition = self.encode_context(condition)
        embedded = add_frames(self.time(group_times(time)), condition, others=1)
        if global_embedding is not None:
            embedded = embedded + global_embedding.unsqueeze(1)
        modulation = whole_groups(self._modulation(embedded), layout, tokens.shape[1])
        text, text_mask = self._text(condition.text, condition.text_mask)
        for number, block in enumerate(self.blocks):
            remembered = None if memory is None else memory.layers[number]
            arguments = (tokens, layout, modulation, rotation, key_mask, text, text_mask, remembered, attend)
            if self.context_gate is None:
                tokens = self._run(block, *arguments)
            else:
                tokens, beside = self._run(block, *arguments, self.context_gate[number], beside, seen)
        shift, scale = (embedded.unsqueeze(2) + self.model.scale_shift_table.float()).unbind(2)
        video = tokens[:, : layout.num_frames * layout.per_frame]
        video = self.model.proj_out(modulated(self.model.norm_out, video, layout, shift, scale))
        axes = {"h": grid.rows, "w": grid.columns, "p": self.patch, "q": self.patch}
        return rearrange(video, "b (f h w) (p q c) -> b c f (h p) (w q)", **axes).to(noisy.dtype)

    def _apart(self, condition: Condition, extra: ContextTokens | None) -> tuple[Tensor | None, Tensor | None]:
        """Extra tokens as they flow, b n d, and which of nothing, extra tokens and memory are attended to, b 1+n+p."""
        parts: list[tuple[int, Tensor | None]] = [(1, None)]
        if extra is not None:
            parts.append((extra.tokens.shape[1], extra.mask))
        if condition.memory is not None:
            parts.append((condition.memory.layers[0][0].shape[2], condition.memory.mask))
        device = condition.frame_index.device
        tokens = None if extra is None else extra.tokens.to(self._flowing(device))
        return tokens, join_masks(parts, len(condition.frame_index), device)

    def _run(self, block: nn.Module, *arguments: Any) -> Any:
        """One block, whose activations are computed again in the backward pass where that is asked for."""
        if self.checkpoint_activations and self.training:
            return checkpoint(partial(self.step, self.parts, block), *arguments, use_reentrant=False)
        return self.step(self.parts, block, *arguments)

    def key_values(self, tokens: Tensor, positions: Tensor) -> tuple[KeyValue, ...]:
        """Keys and values of context tokens b n d in every block, as VideoDiT's; positions: b n 3."""
        modulation = self._modulation(self.time(torch.zeros((), device=tokens.device)))
        rotation = self.rope(positions)
        tokens = tokens.to(self._flowing(tokens.device))
        layers = []
        for block in self.blocks:
            tokens, key_value = remember(self.parts, block, tokens, modulation, rotation)
            layers.append(key_value)
        return tuple(layers)
