"""WanBackbone: a pretrained Wan 2.1 text-to-video transformer where VideoDiT stands, trained whole or through LoRA.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from functools import partial
from typing import Any, Literal

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
from networks.pretrained.loading import DTYPES, add_lora, check_words, load
from networks.pretrained.wan_blocks import WanRope, denoise, denoise_gated, modulated, remember
from networks.ranges import Count, Dtype, Positive, Size, Text
from networks.sequence import PATCH, group_times, join, join_masks, positions_of, to_patches

TEXT_TOKENS = 512
"""Every caption is so many tokens to Wan. Source: diffusers' WanPipeline, max_sequence_length."""


class WanBackbone(UponBase, VideoNetwork):
    """Predicts noise minus video for a window of frames, each at its own time, as Wan was trained to for one time.

    The contract is that of `networks.dit.VideoDiT`; take objective=rectified_flow, whose target is Wan's own. At the
    start, with one time for all frames, it is the loaded model to the last few bits, whatever lora_rank is. With
    context_attention=gated so are the windows of VIN and LoViC: what they add is attended to apart and adds nothing at
    first. Beside the model stands an embedding of absolute place that says nothing at first: VIN's chunks are told
    apart by it, as RoPE knows distances alone (our choice, as in VideoDiT).

    Checkpoints and releases hold what was learnt, and the base's hash: building from a config.json loads `pretrained`,
    which has to be the base of the training. Only with lora_rank=0, where all is learnt, they hold every weight.
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
        context_attention: Literal["gated", "joined"] = "joined",
    ) -> None:
        """Loads a WanTransformer3DModel in the format of diffusers.

        pretrained: a folder, or a name on the hub; subfolder: where the transformer lies inside, "" for the top.
        dtype: of the loaded weights; what is added to them is float32. lora_rank: 0 trains all weights, above 0
        freezes the loaded ones and trains adapters of that rank, which weigh lora_alpha / lora_rank.
        channels, width, num_heads, text_features, rope_theta: what the rest of the configuration counts on; checked
        against the model's. latent_fps: latent frames a second, by which places are counted. control: what embeds the
        numbers of every frame, None where there are none; it learns in float32 whatever lora_rank is.
        context_attention: how the video attends to global tokens and memory. "gated" is in an attention of their own,
        by the same queries, added to that of the video through a gate, one of every channel, that begins at zero: at
        the start VIN and LoViC are the base to the bit. "joined" is in one softmax with the video, as in our own DiT.
        Source: zero-initialised attention as in LLaMA-Adapter (arXiv 2303.16199); a gate a channel is our choice.

        Raises:
            ValueError: if nothing can be loaded from there, it is another kind of model than a text-to-video one with
                patches of 1 x 2 x 2, or a setting does not fit it.
        """
        super().__init__()
        check_words(dtype, lora_rank, lora_alpha)
        asked = {"channels": channels, "width": width, "num_heads": num_heads, "text_features": text_features}
        self.model = load(pretrained, subfolder, DTYPES[dtype], {**asked, "rope_theta": rope_theta})
        self.pretrained, self.subfolder = pretrained, subfolder
        self.width = width
        self.depth = len(self.model.blocks)
        self.num_heads = num_heads
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
        self.rope = WanRope(head_width=width // num_heads)
        if lora_rank > 0:
            add_lora(self.model, lora_rank, lora_alpha)
            self.adapter_scale = lora_alpha / lora_rank
            self.freeze_base(self.model, f"{pretrained}/{subfolder}")

    @property
    def backbone(self) -> Backbone:
        """Itself."""
        return self

    def encode_context(self, condition: Condition) -> Condition:
        """Its control embedded, once for all steps."""
        return embed_control(self.control, condition)

    def patches(self, patches: Tensor) -> Tensor:
        """Flattened patches `... (c p q)` to tokens `... d`, float32: Wan's convolution as a linear map."""
        layer = self.model.patch_embedding
        return F.linear(patches.to(layer.weight.dtype), layer.weight.flatten(1), layer.bias).float()

    def time(self, time: Tensor) -> Tensor:
        """Diffusion time `...` in [0, 1] to `... d`, float32. Wan counts it in thousandths."""
        embedder = self.model.condition_embedder
        features = embedder.timesteps_proj(1000 * time.float().flatten())
        embedded = embedder.time_embedder(features.to(embedder.time_embedder.linear_1.weight.dtype))
        return embedded.float().view(*time.shape, self.width)

    def embed(self, video: Tensor, frame_index: Tensor) -> Tensor:
        """Patches with their absolute place. video: b c f h w; frame_index: b f; returns b f s d, float32.

        Raises:
            ValueError: if the latents' sides are odd.
        """
        patches = to_patches(video)
        height, width = video.shape[3] // PATCH, video.shape[4] // PATCH
        return self.patches(patches) + self.place(frame_index, height, width).float()

    def _flowing(self, device: torch.device) -> torch.dtype:
        """The type of what flows between blocks: the weights', or autocast's where that is the other half precision."""
        dtype: torch.dtype = self.model.patch_embedding.weight.dtype
        known = torch.amp.is_autocast_available(device.type)  # meta, where FLOPs are counted, has none
        if dtype != torch.float32 and known and torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return dtype

    def _modulation(self, embedded: Tensor) -> Tensor:
        embedder = self.model.condition_embedder
        projected = embedder.time_proj(F.silu(embedded).to(embedder.time_proj.weight.dtype))
        return rearrange(projected, "... (six d) -> ... six d", six=6)

    def _text(self, text: Tensor, text_mask: Tensor | None) -> Tensor:
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
        tokens: Tensor = embedder(padded.to(embedder.linear_1.weight.dtype))
        return tokens

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
        grid = TokenGrid(noisy.shape[2], noisy.shape[3] // PATCH, noisy.shape[4] // PATCH)
        frames = self.embed(noisy, condition.frame_index)
        rotation = self.rope(positions_of(condition.frame_index, grid.rows, grid.columns))
        memory, beside, seen = condition.memory, None, None
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
        text = self._text(condition.text, condition.text_mask)
        for number, block in enumerate(self.model.blocks):
            remembered = None if memory is None else memory.layers[number]
            arguments = (tokens, layout, modulation, rotation, key_mask, text, remembered, attend)
            if self.context_gate is None:
                tokens = self._run(block, *arguments)
            else:
                tokens, beside = self._run(block, *arguments, self.context_gate[number], beside, seen)
        shift, scale = (embedded.unsqueeze(2) + self.model.scale_shift_table.float()).unbind(2)
        video = tokens[:, : layout.num_frames * layout.per_frame]
        video = self.model.proj_out(modulated(self.model.norm_out, video, layout, shift, scale))
        axes = {"h": grid.rows, "w": grid.columns, "p": PATCH, "q": PATCH}
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
            return checkpoint(partial(self.step, block), *arguments, use_reentrant=False)
        return self.step(block, *arguments)

    def key_values(self, tokens: Tensor, positions: Tensor) -> tuple[KeyValue, ...]:
        """Keys and values of context tokens b n d in every block, as VideoDiT's; positions: b n 3."""
        modulation = self._modulation(self.time(torch.zeros((), device=tokens.device)))
        rotation = self.rope(positions)
        tokens = tokens.to(self._flowing(tokens.device))
        layers = []
        for block in self.model.blocks:
            tokens, key_value = remember(block, tokens, modulation, rotation)
            layers.append(key_value)
        return tuple(layers)
