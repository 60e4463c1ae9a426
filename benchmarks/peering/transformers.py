"""Transformers of one width, depth, heads, feed-forward, tokens and text, with fresh weights.

Each side is a function of `Sizes` that gives a network and one call of it. Axes: b batch, n tokens, l text tokens, d
width, k heads.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peering.sizes import CHANNELS, FEATURES, FRAMES, PATCH, Sizes
from benchmarks.peering.token_dit import TokenDiT
from networks.dit import VideoDiT
from networks.interfaces import Condition

OURS, FLOOR = "longtake", "products alone"
Call = Callable[[nn.Module], Tensor]
"""One call of a network."""


class Products(nn.Module):
    """The matrix products of a DiT and its attention, and nothing between them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        d, wide = sizes.width, sizes.mlp_ratio * sizes.width
        shapes = {"qkv": (3 * d, d), "out": (d, d), "q": (d, d), "kv": (2 * d, d), "told": (d, d), "up": (wide, d)}
        shapes["down"] = (d, wide)
        self.blocks = nn.ModuleList(
            nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(shape)) for name, shape in shapes.items()})
            for _ in range(sizes.depth)
        )
        self.heads = sizes.heads

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """x: b n d; text: b l d."""
        for number in range(len(self.blocks)):
            x = self.self_attention(x, number)
            x = self.text_attention(x, text, number)
            x = self.feed_forward(x, number)
        return x

    def self_attention(self, x: Tensor, number: int = 0) -> Tensor:
        """Of block `number`; x: b n d."""
        block = self.blocks[number]
        query, key, value = self._split(F.linear(x, block["qkv"]), 3)
        return F.linear(self._attend(query, key, value), block["out"])

    def text_attention(self, x: Tensor, text: Tensor, number: int = 0) -> Tensor:
        """Of block `number`; x: b n d; text: b l d."""
        block = self.blocks[number]
        key, value = self._split(F.linear(text, block["kv"]), 2)
        (query,) = self._split(F.linear(x, block["q"]), 1)
        return F.linear(self._attend(query, key, value), block["told"])

    def feed_forward(self, x: Tensor, number: int = 0) -> Tensor:
        """Of block `number`; x: b n d."""
        return F.linear(F.linear(x, self.blocks[number]["up"]), self.blocks[number]["down"])

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """B n (parts d) as heads, b k n d/k each."""
        return tuple(each.transpose(1, 2) for each in x.unflatten(-1, (parts, self.heads, -1)).unbind(2))

    @staticmethod
    def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def longtake(sizes: Sizes) -> tuple[nn.Module, Call]:
    """Our DiT, and one call of it."""
    network = VideoDiT(
        channels=CHANNELS,
        width=sizes.width,
        depth=sizes.depth,
        num_heads=sizes.heads,
        mlp_ratio=sizes.mlp_ratio,
        text_features=FEATURES,
        latent_fps=4.0,
        rope_theta=100.0,
        checkpoint_activations=False,
    )
    noisy = sizes.empty(1, CHANNELS, FRAMES, PATCH * sizes.side, PATCH * sizes.side)
    index = torch.arange(FRAMES, device=sizes.device, dtype=torch.float32).unsqueeze(0)
    condition = Condition(index, sizes.empty(1, sizes.text_tokens - 1, FEATURES), None)  # and the null token
    time = torch.full((1, 1), 0.7, device=sizes.device)

    def call(network: nn.Module) -> Tensor:
        told = network.encode_text(condition) if not torch.is_grad_enabled() else condition  # type: ignore[operator]
        made: Tensor = network(noisy, time, told)
        return made

    return network, call


def wan(sizes: Sizes) -> tuple[nn.Module, Call]:
    """Wan's transformer of diffusers, and one call of it."""
    from diffusers import WanTransformer3DModel

    network = WanTransformer3DModel(
        patch_size=(1, PATCH, PATCH),
        num_attention_heads=sizes.heads,
        attention_head_dim=sizes.width // sizes.heads,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=FEATURES,
        ffn_dim=sizes.mlp_ratio * sizes.width,
        num_layers=sizes.depth,
    )
    noisy = sizes.empty(1, CHANNELS, FRAMES, PATCH * sizes.side, PATCH * sizes.side)
    text, time = sizes.empty(1, sizes.text_tokens, FEATURES), torch.full((1,), 700.0, device=sizes.device)
    return network, lambda network: network(noisy, time, text, return_dict=False)[0]


def ltx(sizes: Sizes) -> tuple[nn.Module, Call]:
    """LTX-Video's transformer of diffusers, and one call of it; its feed-forward is four times its width."""
    from diffusers import LTXVideoTransformer3DModel

    channels = CHANNELS * PATCH**2
    network = LTXVideoTransformer3DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=sizes.heads,
        attention_head_dim=sizes.width // sizes.heads,
        cross_attention_dim=sizes.width,
        num_layers=sizes.depth,
        caption_channels=FEATURES,
    )
    noisy, text = sizes.empty(1, sizes.tokens, channels), sizes.empty(1, sizes.text_tokens, FEATURES)
    time, side = torch.full((1,), 700.0, device=sizes.device), sizes.side
    grid = {"num_frames": FRAMES, "height": side, "width": side}

    def call(network: nn.Module) -> Tensor:
        made: Tensor = network(noisy, text, time, None, **grid, return_dict=False)[0]
        return made

    return network, call


def products(sizes: Sizes) -> tuple[nn.Module, Call]:
    """The floor, and one call of it."""
    x, text = sizes.empty(1, sizes.tokens, sizes.width), sizes.empty(1, sizes.text_tokens, sizes.width)
    return Products(sizes), lambda network: network(x.requires_grad_(torch.is_grad_enabled()), text)


def token_dit(sizes: Sizes, *, rotated: bool, normalised: bool) -> tuple[nn.Module, Call]:
    """The arithmetic of DFoT's DiT (rotated) or MilliVid's (normalised), whose every token has a condition of its own.

    They read no text, and multiply every token's condition by each block's modulation instead.
    """
    network = TokenDiT(sizes, rotated=rotated, normalised=normalised)
    x, condition = sizes.empty(1, sizes.tokens, sizes.width), sizes.empty(1, sizes.tokens, sizes.width)
    return network, lambda network: network(x.requires_grad_(torch.is_grad_enabled()), condition)


SIDES: dict[str, Callable[[Sizes], tuple[nn.Module, Call]]] = {
    OURS: longtake,
    "diffusers Wan": wan,
    "diffusers LTX-Video": ltx,
    "DFoT's blocks, restated": partial(token_dit, rotated=True, normalised=False),
    "MilliVid's blocks, restated": partial(token_dit, rotated=False, normalised=True),
    FLOOR: products,
}
