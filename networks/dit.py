"""VideoDiT, the backbone: a diffusion transformer with full attention over the frames it is given.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Gt, Le
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from networks.attention import KeyValue
from networks.blocks import DiTBlock, PlainLayerNorm, modulated, whole_groups
from networks.control import NAME, FrameControl, add_frames, add_to_tokens, embed_control
from networks.embeddings import PlaceEmbedding, TextEmbedding, TimeEmbedding
from networks.interfaces import Backbone, Condition, ContextTokens, TextKeys, TokenGrid, VideoNetwork
from networks.ranges import Positive, Size
from networks.rope import RotaryEmbedding3D
from networks.sequence import group_times, join, to_patches
from networks.video_network import PATCH


class VideoDiT(VideoNetwork):
    """Predicts the objective's target for a window of frames, each at its own time.

    As `network=dit` it sees a whole canvas with full attention; inside VIN it sees one chunk and the global tokens.
    """

    def __init__(
        self,
        *,
        channels: Size,
        width: Size,
        depth: Size,
        num_heads: Size,
        mlp_ratio: Annotated[float, Gt(0), Le(64)],
        text_features: Size,
        latent_fps: Positive,
        rope_theta: Positive,
        checkpoint_activations: bool,
        control: FrameControl | None = None,
        patch: Size = PATCH,
    ) -> None:
        """Builds the layers with random weights.

        Args:
            channels: channels of the latents.
            width: features of a token, a multiple of num_heads.
            depth: number of blocks.
            num_heads: heads of attention in each block; width / num_heads is a multiple of 8.
            mlp_ratio: hidden features of the feed-forward layers over the width.
            text_features: features that the text encoder gives each token.
            latent_fps: latent frames a second.
            rope_theta: base of the rotations' frequencies.
            checkpoint_activations: whether blocks compute activations again in the backward pass, which saves memory.
            control: embeds the numbers of every frame; None where there are none.
            patch: side of a token, in latents.
        """
        super().__init__()
        self.width = width
        self.depth = depth
        self.num_heads = num_heads
        self.text_features = text_features
        self.checkpoint_activations = checkpoint_activations
        self.patch = patch
        patch_size = channels * patch**2
        self.patches = nn.Linear(patch_size, width)
        self.place = PlaceEmbedding(width=width, latent_fps=latent_fps)
        self.rope = RotaryEmbedding3D(head_width=width // num_heads, theta=rope_theta)
        self.time = TimeEmbedding(width=width)
        self.text = TextEmbedding(features=text_features, width=width)
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(
            DiTBlock(width=width, num_heads=num_heads, mlp_ratio=mlp_ratio) for _ in range(depth)
        )
        self.control = control
        self.ablations = () if control is None else (NAME,)
        self.norm = PlainLayerNorm(width)
        self.table = nn.Parameter(torch.zeros(2, width))
        self.head = nn.Linear(width, patch_size)
        for layer in (self.modulation, self.head):  # adaLN-zero: the untrained network is the identity, then zero
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def backbone(self) -> Backbone:
        """The DiT, which is its own backbone."""
        return self

    def encode_context(self, condition: Condition) -> Condition:
        """Embeds the control of a condition, once for all steps."""
        return embed_control(self.control, condition)

    def embed(self, video: Tensor, frame_index: Tensor) -> Tensor:
        """Patches with their absolute place.

        Args:
            video: latents b c f h w.
            frame_index: b f, places of the frames in their source video.

        Returns:
            Tokens b f s d.

        Raises:
            ValueError: if the latents' sides are no multiples of the patch.
        """
        patches = to_patches(video, self.patch)
        height, width = video.shape[3] // self.patch, video.shape[4] // self.patch
        return self.patches(patches.to(self.patches.weight.dtype)) + self.place(frame_index, height, width)

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

        noisy: b c f h w; time: b f in [0, 1], or 1 1 for all; extra_tokens: of width d without a place, joined in
        self-attention. global_embedding: b d, added to the time embedding of every block. detached_frames: b f, True
        where no gradient may reach the embedded frame. Frames outside condition.frame_mask are not attended to;
        condition.memory is.
        condition.attention_override takes the place of self-attention, of the video alone. Returns b c f h w.
        """
        grid = TokenGrid(noisy.shape[2], noisy.shape[3] // self.patch, noisy.shape[4] // self.patch)
        rotation = self.rope.of_grid(condition.frame_index, grid.rows, grid.columns)
        condition = self.encode_context(condition)
        # No name for what is embedded: it would be held until the end.
        tokens, layout, rotation, key_mask, attend = join(
            add_to_tokens(self.embed(noisy, condition.frame_index), condition),
            rotation,
            grid,
            condition,
            extra_tokens,
            detached_frames,
        )
        embedded = add_frames(self.time(group_times(time)), condition, others=1)
        if global_embedding is not None:
            embedded = embedded + global_embedding.unsqueeze(1)
        modulation = rearrange(self.modulation(nn.functional.silu(embedded)), "b g (six d) -> b g six d", six=6)
        modulation = whole_groups(modulation, layout, tokens.shape[1])
        texts, text_mask = self._texts(condition)
        memory = condition.memory
        for number, block in enumerate(self.blocks):
            remembered = None if memory is None else memory.layers[number]
            arguments = (tokens, layout, modulation, rotation, key_mask, texts[number], text_mask, remembered, attend)
            if self.checkpoint_activations and self.training:
                tokens = checkpoint(block, *arguments, use_reentrant=False)
            else:
                tokens = block(*arguments)
        shift, scale = (embedded.unsqueeze(2) + self.table).unbind(2)
        video = tokens[:, : layout.num_frames * layout.per_frame]
        video = modulated(self.norm, video, layout, shift, scale)
        axes = {"h": grid.rows, "w": grid.columns, "p": self.patch, "q": self.patch}
        return rearrange(self.head(video), "b (f h w) (c p q) -> b c f (h p) (w q)", **axes)

    def encode_text(self, condition: Condition) -> Condition:
        """As VideoNetwork's."""
        if condition.asked is not None or len(condition.text) > 1 or torch.is_grad_enabled():
            return condition
        text, mask = self.text(condition.text, condition.text_mask)
        layers = tuple(block.text_keys(text) for block in self.blocks if isinstance(block, DiTBlock))
        return condition._replace(asked=TextKeys(layers, mask))

    def _texts(self, condition: Condition) -> tuple[Sequence[Tensor | KeyValue], Tensor | None]:
        """What each block asks, and which of it."""
        if condition.asked is not None:
            return condition.asked.layers, condition.asked.mask
        text, mask = self.text(condition.text, condition.text_mask)
        return [text] * self.depth, mask

    def key_values(
        self, tokens: Tensor, positions: Tensor, sides: tuple[int, int] | None = None
    ) -> tuple[KeyValue, ...]:
        """Keys and values of context tokens in every block, to be attended to at any diffusion time.

        tokens: b n d; positions: b n 3 as (frame, row, column). Each row's tokens see one another alone, modulated
        as clean. Source: LoViC; that context sees nothing but context is our choice, so that once serves all steps.
        """
        clean = torch.zeros((), device=tokens.device)
        modulation = rearrange(self.modulation(nn.functional.silu(self.time(clean))), "(six d) -> six d", six=6)
        rotation = self.rope(positions)
        layers = []
        for block in self.blocks:
            assert isinstance(block, DiTBlock)
            tokens, key_value = block.key_values(tokens, modulation, rotation)
            layers.append(key_value)
        return tuple(layers)


def full_attention(*, backbone: VideoNetwork) -> VideoNetwork:
    """`network=dit`: the backbone itself, on the whole canvas."""
    return backbone
