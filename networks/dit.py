"""VideoDiT, the backbone: a diffusion transformer with full attention over the frames it is given.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from functools import partial

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from networks.blocks import DiTBlock, KeyValue, Layout, by_group, modulate, whole_groups
from networks.embeddings import PlaceEmbedding, TextEmbedding, TimeEmbedding
from networks.interfaces import Backbone, Condition, ContextTokens, TokenGrid
from networks.rope import RotaryEmbedding3D, Rotation, with_unplaced


class VideoDiT(nn.Module):
    """Predicts the objective's target for a window of frames, each at its own time.

    As `network=dit` it sees a whole canvas with full attention; inside VIN it sees one chunk and the global tokens.
    """

    PATCH = 2
    ablations: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        text_features: int,
        latent_fps: float,
        rope_theta: float,
        checkpoint_activations: bool,
    ) -> None:
        """channels: of the latents; text_features: of the text encoder; latent_fps: latent frames a second."""
        super().__init__()
        self.width = width
        self.depth = depth
        self.num_heads = num_heads
        self.text_features = text_features
        self.checkpoint_activations = checkpoint_activations
        patch_size = channels * self.PATCH**2
        self.patches = nn.Linear(patch_size, width)
        self.place = PlaceEmbedding(width=width, latent_fps=latent_fps)
        self.rope = RotaryEmbedding3D(head_width=width // num_heads, theta=rope_theta)
        self.time = TimeEmbedding(width=width)
        self.text = TextEmbedding(features=text_features, width=width)
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(
            DiTBlock(width=width, num_heads=num_heads, mlp_ratio=mlp_ratio) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.table = nn.Parameter(torch.zeros(2, width))
        self.head = nn.Linear(width, patch_size)
        for layer in (self.modulation, self.head):  # adaLN-zero: the untrained network is the identity, then zero
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def embed(self, video: Tensor, frame_index: Tensor) -> Tensor:
        """Patches with their absolute place. video: b c f h w; frame_index: b f; returns b f s d.

        Raises:
            ValueError: if the latents' sides are odd.
        """
        height, width = video.shape[3:]
        if height % self.PATCH or width % self.PATCH:
            raise ValueError(
                f"latents of {height}x{width} do not split into {self.PATCH}x{self.PATCH} patches; use multiples of "
                f"{self.PATCH} (the codec's space factor times {self.PATCH} in pixels)"
            )
        patches = rearrange(video, "b c f (h p) (w q) -> b f (h w) (c p q)", p=self.PATCH, q=self.PATCH)
        place = self.place(frame_index, height // self.PATCH, width // self.PATCH)
        return self.patches(patches.to(self.patches.weight.dtype)) + place

    def _rotation(self, frame_index: Tensor, height: int, width: int) -> Rotation:
        rows = torch.arange(height, device=frame_index.device, dtype=torch.float32)
        columns = torch.arange(width, device=frame_index.device, dtype=torch.float32)
        axes = {"b": frame_index.shape[0], "f": frame_index.shape[1], "h": height, "w": width}
        positions = torch.stack(
            [
                repeat(frame_index.float(), "b f -> b (f h w)", h=height, w=width),
                repeat(rows, "h -> b (f h w)", **{k: axes[k] for k in "bfw"}),
                repeat(columns, "w -> b (f h w)", **{k: axes[k] for k in "bfh"}),
            ],
            dim=-1,
        )
        return self.rope(positions)

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        condition: Condition,
        *,
        extra: ContextTokens | None = None,
        pooled: Tensor | None = None,
        frozen_frames: Tensor | None = None,
    ) -> Tensor:
        """Predicts the target for every frame.

        noisy: b c f h w; time: b f in [0, 1]; extra: tokens of width d without a place, joined in self-attention.
        pooled: b d, added to the time embedding of every block. frozen_frames: b f, True where no gradient may reach
        the embedded frame. Frames outside condition.frame_mask are not attended to; condition.memory is.
        condition.mixing takes the place of self-attention, of the video alone. Returns b c f h w.
        """
        height, width = noisy.shape[3] // self.PATCH, noisy.shape[4] // self.PATCH
        layout = Layout(noisy.shape[2], height * width)
        frames = self.embed(noisy, condition.frame_index)
        if frozen_frames is not None:
            frames = torch.where(frozen_frames[:, :, None, None], frames.detach(), frames)
        tokens = rearrange(frames, "b f s d -> b (f s) d")
        if extra is not None:
            tokens = torch.cat([tokens, extra.tokens.to(tokens.dtype)], dim=1)
        memory, key_mask = condition.memory, attended_keys(condition, extra, layout)
        mixing = None
        if condition.mixing is not None:
            assert key_mask is None, "mixed self-attention knows neither masks nor memory"
            assert extra is None, "mixed self-attention knows the video's tokens alone"
            mixing = partial(condition.mixing, grid=TokenGrid(layout.num_frames, height, width))
        # One modulation group a frame and one, at the noisiest frame's time, for tokens without a place.
        times = torch.cat([time, time.amax(dim=1, keepdim=True)], dim=1)
        embedded = self.time(times)
        if pooled is not None:
            embedded = embedded + pooled.unsqueeze(1)
        modulation = rearrange(self.modulation(nn.functional.silu(embedded)), "b g (six d) -> b g six d", six=6)
        modulation = whole_groups(modulation, layout, tokens.shape[1])
        rotation = self._rotation(condition.frame_index, height, width)
        if extra is not None:
            rotation = with_unplaced(rotation, extra.tokens.shape[1])
        text, text_mask = self.text(condition.text, condition.text_mask)
        for number, block in enumerate(self.blocks):
            remembered = None if memory is None else memory.layers[number]
            arguments = (tokens, layout, modulation, rotation, key_mask, text, text_mask, remembered, mixing)
            if self.checkpoint_activations and self.training:
                tokens = checkpoint(block, *arguments, use_reentrant=False)
            else:
                tokens = block(*arguments)
        shift, scale = (embedded.unsqueeze(2) + self.table).unbind(2)
        video = tokens[:, : layout.num_frames * layout.per_frame]
        video = by_group(layout, modulate, (self.norm(video),), (shift, scale))
        return rearrange(
            self.head(video),
            "b (f h w) (c p q) -> b c f (h p) (w q)",
            h=height,
            w=width,
            p=self.PATCH,
            q=self.PATCH,
        )

    def key_values(self, tokens: Tensor, positions: Tensor) -> tuple[KeyValue, ...]:
        """Keys and values of context tokens in every block, to be attended to at any diffusion time.

        tokens: b n d; positions: b n 3 as (frame, row, column). Each row's tokens see one another alone, modulated
        as clean. Source: LoViC; "context sees only context" is our choice, so that once serves all steps.
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


def attended_keys(condition: Condition, extra: ContextTokens | None, layout: Layout) -> Tensor | None:
    """Which keys are attended to, of the video, of extra tokens and of the memory in a row; None where all are."""
    frames, memory, device = condition.frame_mask, condition.memory, condition.frame_index.device
    video = None if frames is None else repeat(frames, "b f -> b (f s)", s=layout.per_frame)
    parts = [(layout.num_frames * layout.per_frame, video)]
    if extra is not None:
        parts.append((extra.tokens.shape[1], extra.mask))
    if memory is not None:
        parts.append((memory.mask.shape[1], memory.mask))
    if all(mask is None for _, mask in parts):
        return None
    batch = len(condition.frame_index)
    masks = [torch.ones(batch, n, dtype=torch.bool, device=device) if mask is None else mask for n, mask in parts]
    return torch.cat(masks, dim=1)


def full_attention(*, backbone: Backbone) -> Backbone:
    """`network=dit`: the backbone itself, on the whole canvas."""
    return backbone
