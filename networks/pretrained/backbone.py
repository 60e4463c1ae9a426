"""What pretrained transformers share behind the backbone's contract; a family is a file beside this one.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from networks.condition import ContextCache
from networks.control import NAME, FrameControl, embed_control
from networks.embeddings import PlaceEmbedding
from networks.interfaces import Backbone, Condition, ContextTokens, TokenGrid, VideoNetwork
from networks.pretrained.learnt import UponBase, sampled
from networks.pretrained.loading import DTYPES, Family, add_lora, check_words, load
from networks.pretrained.quantized import LIBRARIES, BaseDtype, quantize
from networks.ranges import Count, Positive, Size, Text
from networks.sequence import join_masks, positions_of, to_patches
from networks.video_network import PATCH

ContextAttention = Literal["gated", "joined"]


class PretrainedBackbone(UponBase, VideoNetwork):
    """A transformer of diffusers where VideoDiT stands: its own blocks, one time a frame, float positions, memory.

    At the start, with one time for all frames, it is the loaded model to the last few bits, whatever lora_rank is. With
    context_attention=gated so are the windows of VIN and LoViC: what they add is attended to apart and adds nothing at
    first. Beside the model stands an embedding of absolute place that says nothing at first: VIN's chunks are told
    apart by it, as RoPE knows distances alone (our choice, as in VideoDiT).

    Checkpoints and releases hold what was learnt, and the base's hash: building from a config.json loads `pretrained`,
    which has to be the base of the training. Only with lora_rank=0, where all is learnt, they hold every weight.

    A family says what it is (`family`), where its parts are (`make_rope`, `blocks`, `flowing_weight`, `patches`,
    `time`), and, by one of the two kinds of attention (`networks.pretrained.cross` and `joint`), how its blocks run.
    """

    family: ClassVar[Family]
    """How it is loaded and checked."""
    model: Any
    rope: nn.Module
    step: Any
    """A block's function; compiled where callbacks=compiled."""

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
        rope_theta: Positive,
        lora_rank: Count,
        lora_alpha: Size,
        checkpoint_activations: bool,
        control: FrameControl | None = None,
        context_attention: ContextAttention = "joined",
        patch: Size = PATCH,
        frame_patch: Size = 1,
    ) -> None:
        """Loads a transformer of the family in the format of diffusers.

        Args:
            pretrained: a folder, or a name on the hub.
            subfolder: where the transformer lies inside; "" for the top.
            dtype: of the loaded weights; what is added to them is float32. "int8" and "nf4" keep the matrices of the
                blocks in few bits (see `networks.pretrained.quantized`), and the rest in bfloat16.
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
            frame_patch: latent frames of a token.

        Raises:
            ValueError: if nothing can be loaded from there, it is another kind of model than the family's text-to-video
                one, or a setting does not fit it.
        """
        super().__init__()
        check_words(dtype, lora_rank, lora_alpha)
        asked: dict[str, float] = {"channels": channels, "width": width, "num_heads": num_heads, "patch": patch}
        asked |= {"text_features": text_features, "rope_theta": rope_theta, "frame_patch": frame_patch}
        self.model = load(self.family, pretrained, subfolder, DTYPES[dtype], asked)
        named = sampled(self.model) if lora_rank > 0 else {}  # before anything is rounded
        if dtype in LIBRARIES:
            quantize(self.blocks, dtype)
        self.pretrained, self.subfolder = pretrained, subfolder
        self.width, self.num_heads, self.patch = width, num_heads, patch
        self.frame_patch = frame_patch
        self.depth = len(list(self.blocks))
        self.text_features, self.latent_fps = text_features, latent_fps
        self.checkpoint_activations = checkpoint_activations
        self.context_gate: nn.Parameter | None = None
        if context_attention == "gated":
            self.context_gate = nn.Parameter(torch.zeros(self.depth, num_heads, 1, width // num_heads))
        self.place = PlaceEmbedding(width=width, latent_fps=latent_fps)
        nn.init.zeros_(self.place.project.weight)
        nn.init.zeros_(self.place.project.bias)
        self.control = control
        self.ablations = () if control is None else (NAME,)
        if lora_rank > 0:
            add_lora(self.model, lora_rank, lora_alpha, self.family.adapted)
            self.adapter_scale = lora_alpha / lora_rank
            self.freeze_base(self.model, f"{pretrained}/{subfolder}", named)
        self.rope = self.make_rope(width // num_heads)
        self.step = self._step
        self.around_block: Callable[..., Any] = _as_it_is  # otherwise where blocks lie in pieces: networks.sharding

    @property
    def _step(self) -> Any:
        """The function that runs a block, of its parts, the block and what flows."""
        raise NotImplementedError

    @property
    def backbone(self) -> Backbone:
        """The network itself."""
        return self

    def key_values(
        self, tokens: Tensor, positions: Tensor, sides: tuple[int, int] | None = None
    ) -> tuple[tuple[Tensor, Tensor], ...]:
        """See Backbone."""
        raise NotImplementedError

    def make_rope(self, head_width: int) -> nn.Module:
        """What turns positions into rotations of heads of this width."""
        raise NotImplementedError

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The model's blocks, in order."""
        raise NotImplementedError

    @property
    def flowing_weight(self) -> Tensor:
        """A weight of the type in which tokens flow between the blocks."""
        raise NotImplementedError

    def patches(self, patches: Tensor) -> Tensor:
        """Flattened patches `... (c p q)` to tokens `... d`, float32."""
        raise NotImplementedError

    def time(self, time: Tensor) -> Tensor:
        """Diffusion time `...` in [0, 1] to `... d`, float32."""
        raise NotImplementedError

    def _rotation(self, frame_index: Tensor, grid: TokenGrid, relative: bool) -> Any:
        """Of the video's tokens, or None; relative: whether nothing else that has a place is attended to."""
        return self.rope(positions_of(frame_index, grid.rows, grid.columns))

    def encode_context(self, condition: Condition) -> Condition:
        """Embeds the control of a condition, once for all steps."""
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

    def _reached(self, frames: Tensor, memory: ContextCache | None, extra: ContextTokens | None) -> Tensor:
        """Frames to which a gate that nothing goes through adds nothing: DDP refuses what no gradient reaches."""
        if self.context_gate is None or extra is not None or memory is not None or not self.training:
            return frames
        return frames + 0 * self.context_gate.sum()

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

    def _run(self, parts: Any, block: nn.Module, *arguments: Any) -> Any:
        """One block, whose activations are computed again in the backward pass where that is asked for."""
        if self.checkpoint_activations and self.training:
            step = partial(checkpoint, partial(self.step, parts, block), use_reentrant=False)
            return self.around_block(block, step, *arguments)
        return self.around_block(block, self.step, parts, block, *arguments)


def _as_it_is(_: nn.Module, function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)
