"""A DiT whose every token has a condition of its own: the arithmetic of DFoT and of MilliVid, restated.

DFoT (arXiv 2502.06764) and MilliVid (arXiv 2606.09056) both build on the blocks of DiT (arXiv 2212.09748). Where DiT
turns one condition a video into the six vectors of a block's modulation, they turn one condition a token, since each
frame has its own noise level: six products of the width's square a token and a block. Both are released under the MIT
licence; nothing of their code is here. Axes: b batch, n tokens, d width, k heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peering.sizes import FRAMES, Sizes
from networks.rope import RotaryEmbedding3D, Rotation, rotate


class TokenBlock(nn.Module):
    """Self-attention and feed-forward, each normalised, shifted, scaled and gated by what a token's condition says."""

    def __init__(self, sizes: Sizes, *, normalised: bool) -> None:
        """normalised: whether queries and keys are, each head by its root mean square."""
        super().__init__()
        d, head = sizes.width, sizes.width // sizes.heads
        self.heads = sizes.heads
        self.modulation = nn.Linear(d, 6 * d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, sizes.mlp_ratio * d), nn.Linear(sizes.mlp_ratio * d, d)
        self.norms = nn.ModuleList(nn.RMSNorm(head) if normalised else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, condition: Tensor, rotation: Rotation | None) -> Tensor:
        """x, condition: b n d; rotation: of queries and keys, None where places are in the tokens already."""
        told = self.modulation(F.silu(condition)).chunk(6, dim=-1)
        x = x + told[2] * self._attention(self._normalised(x) * (1 + told[1]) + told[0], rotation)
        y = self._normalised(x) * (1 + told[4]) + told[3]
        return x + told[5] * self.down(F.gelu(self.up(y), approximate="tanh"))

    def _normalised(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=1e-6)

    def _attention(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        query, key, value = (each.transpose(1, 2) for each in self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2))
        query, key = (norm(each) for norm, each in zip(self.norms, (query, key), strict=True))
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class TokenDiT(nn.Module):
    """Such blocks in a row."""

    def __init__(self, sizes: Sizes, *, rotated: bool, normalised: bool) -> None:
        """rotated: whether places are rotations of queries and keys; normalised: as in `TokenBlock`."""
        super().__init__()
        self.blocks = nn.ModuleList(TokenBlock(sizes, normalised=normalised) for _ in range(sizes.depth))
        self.rope = RotaryEmbedding3D(head_width=sizes.width // sizes.heads, theta=100.0) if rotated else None
        self.side = sizes.side

    def compile_repeated_blocks(self, *, dynamic: bool) -> None:
        """By blocks, under the name that diffusers' transformers have for it."""
        for block in self.blocks:
            block.compile(dynamic=dynamic)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x, condition: b n d, the tokens of `FRAMES` square frames."""
        index = torch.arange(FRAMES, device=x.device).unsqueeze(0)
        rotation = None if self.rope is None else self.rope.of_grid(index, self.side, self.side)
        for block in self.blocks:
            x = block(x, condition, rotation)
        return x
