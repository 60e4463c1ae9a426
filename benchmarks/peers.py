"""Our DiT beside the transformers of diffusers that make videos, and the matrix products that none can go without.

    python benchmarks/peers.py                                    two minutes on a CPU core
    python benchmarks/peers.py --device cuda --dtype bfloat16 --width 1152 --depth 28 --heads 16 --tokens 8192 --compile

Wan and LTX-Video of diffusers are built with our width, depth, heads, feed-forward, tokens and text, with fresh
weights: every transformer multiplies the same matrices. The floor multiplies these alone, on tensors of the same sizes,
with the same attention kernel, and adds nothing. A sampling step is one call without gradients; a training step is a
call and its backward pass. All are timed in turns within one run, and what is stated are ratios within a turn, so that
a busy machine widens their range and moves no side. Writes benchmarks/results/peers_DEVICE.json and .md; in bfloat16
peers_DEVICE_bfloat16.
"""

import argparse
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.clock import Seconds, in_turns
from benchmarks.report import Sheet, save, show
from longtake.compat.torch import flop_counter
from networks.compiling import compile_blocks
from networks.dit import VideoDiT
from networks.interfaces import Condition

CHANNELS, FEATURES, FRAMES, PATCH = 16, 64, 4, 2
OURS, FLOOR = "longtake", "products alone"
Record = dict[str, Any]
Steps = dict[str, Callable[[], object]]


class Sizes(argparse.Namespace):
    """What is the same for all: width, depth, heads, mlp_ratio, tokens of the video, text_tokens; device, dtype."""

    width: int
    depth: int
    heads: int
    mlp_ratio: int
    tokens: int
    text_tokens: int
    device: str
    dtype: str

    @property
    def side(self) -> int:
        """Patches along a side of a frame."""
        side = round((self.tokens / FRAMES) ** 0.5)
        if FRAMES * side**2 != self.tokens:
            fitting = FRAMES * max(side, 1) ** 2
            raise SystemExit(f"--tokens {self.tokens} are not {FRAMES} square frames: use {fitting}")
        return side

    def empty(self, *sizes: int) -> Tensor:
        """Noise of the type that is measured."""
        return torch.randn(*sizes, device=self.device, dtype=getattr(torch, self.dtype))


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
        for block in self.blocks:
            query, key, value = self._split(F.linear(x, block["qkv"]), 3)
            x = F.linear(self._attend(query, key, value), block["out"])
            key, value = self._split(F.linear(text, block["kv"]), 2)
            (query,) = self._split(F.linear(x, block["q"]), 1)
            x = F.linear(self._attend(query, key, value), block["told"])
            x = F.linear(F.linear(x, block["up"]), block["down"])
        return x

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """B n (parts d) as heads, b k n d/k each."""
        return tuple(each.transpose(1, 2) for each in x.unflatten(-1, (parts, self.heads, -1)).unbind(2))

    @staticmethod
    def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def longtake(sizes: Sizes) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
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


def wan(sizes: Sizes) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
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


def ltx(sizes: Sizes) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
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


def products(sizes: Sizes) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """The floor, and one call of it."""
    x, text = sizes.empty(1, sizes.tokens, sizes.width), sizes.empty(1, sizes.text_tokens, sizes.width)
    return Products(sizes), lambda network: network(x.requires_grad_(torch.is_grad_enabled()), text)


SIDES = {OURS: longtake, "diffusers Wan": wan, "diffusers LTX-Video": ltx, FLOOR: products}


def sample(network: nn.Module, call: Callable[[nn.Module], Tensor]) -> None:
    """One step of sampling."""
    with torch.inference_mode():
        call(network.eval())


def train(network: nn.Module, call: Callable[[nn.Module], Tensor]) -> None:
    """One step of training, without the optimizer, which is the same for all."""
    network.zero_grad(set_to_none=True)
    call(network.train()).float().square().mean().backward()


def build(sizes: Sizes, *, compiled: bool) -> dict[str, tuple[nn.Module, Callable[[nn.Module], Tensor]]]:
    """Every side, with fresh weights; compiled: by blocks, as each library does it."""
    made = {}
    for name, side in SIDES.items():
        torch.manual_seed(0)
        network, call = side(sizes)
        network = network.to(sizes.device, getattr(torch, sizes.dtype))
        if compiled and name == OURS:
            compile_blocks(network, backend="inductor", dynamic=False)
        elif compiled and name != FLOOR:
            network.compile_repeated_blocks(dynamic=False)  # type: ignore[operator]
        made[name] = network, call
    return made


def multiplied(network: nn.Module, call: Callable[[nn.Module], Tensor]) -> int:
    """FLOPs of one call's matrix products and attention."""
    with torch.compiler.set_stance("force_eager"), torch.inference_mode(), flop_counter() as counter:
        call(network.eval())
    return counter.get_total_flops()


STEPS: dict[str, Callable[[nn.Module, Callable[[nn.Module], Tensor]], None]] = {"sampling": sample, "training": train}


def measure(sizes: Sizes, kind: str, *, compiled: bool, repeats: int, most: int) -> list[Record]:
    """A record of each side in a kind of step: its time over ours and over the floor, in each turn."""
    sides = build(sizes, compiled=compiled)
    flops = {name: multiplied(*side) for name, side in sides.items()}
    steps: Steps = {name: partial(STEPS[kind], *side) for name, side in sides.items()}
    times = in_turns(steps, repeats=repeats, most=most, device=sizes.device)
    return [
        {
            "step": kind,
            "compiled": compiled,
            "side": name,
            "gflops": flops[name] / 1e9,
            "seconds": statistics.median(each.wall for each in seconds),
            "over_ours": over(seconds, times[OURS]),
            "over_floor": over(seconds, times[FLOOR]),
        }
        for name, seconds in times.items()
    ]


def over(seconds: list[Seconds], others: list[Seconds]) -> dict[str, float]:
    """The ratio in each turn: its median, and the quartiles around it."""
    ratios = sorted(one.wall / other.wall for one, other in zip(seconds, others, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]
    return {"median": statistics.median(ratios), "low": low, "high": high, "turns": len(ratios)}


def sheet_of(records: list[Record], sizes: Sizes) -> Sheet:
    """One table."""

    def ratio(found: Mapping[str, float]) -> str:
        return f"{found['median']:.2f} ({found['low']:.2f}–{found['high']:.2f})"

    rows = [
        [
            f"{record['step']}{', compiled' if record['compiled'] else ''}",
            record["side"],
            f"{record['gflops']:.1f}",
            ratio(record["over_ours"]),
            ratio(record["over_floor"]),
        ]
        for record in records
    ]
    notes = [
        f"Width {sizes.width}, depth {sizes.depth}, {sizes.heads} heads, feed-forward {sizes.mlp_ratio} x, "
        f"{sizes.tokens} tokens, {sizes.text_tokens} of text, {sizes.dtype}, {sizes.device}.",
        "Ratios of times within a turn: the median, and half of all turns between the numbers in brackets.",
    ]
    heads = ["step", "of", "GFLOPs", "time over ours", "time over products alone"]
    return Sheet("Our DiT beside diffusers' and bare products", notes, heads, rows)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=1024, help=f"of the video: {FRAMES} square frames")
    parser.add_argument("--text-tokens", type=int, default=64)
    parser.add_argument("--compile", action="store_true", help="also by torch.compile, blocks alone")
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--most", type=int, default=25, help="turns where steps are short")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder")
    sizes = parser.parse_args(namespace=Sizes(mlp_ratio=4))
    if sizes.device == "cpu":
        torch.set_num_threads(1)
    kept = ("width", "depth", "heads", "mlp_ratio", "tokens", "text_tokens", "device", "dtype")
    results = {
        "command": f"python benchmarks/peers.py {' '.join(sys.argv[1:])}".strip(),
        "machine": torch.cuda.get_device_name() if sizes.device == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "sizes": {name: getattr(sizes, name) for name in kept},
    }
    kind = sizes.device if sizes.dtype == "float32" else f"{sizes.device}_{sizes.dtype}"
    records: list[Record] = []
    for compiled in (False, True) if sizes.compile else (False,):
        for step in STEPS:
            records += measure(sizes, step, compiled=compiled, repeats=sizes.repeats, most=sizes.most)
            sheet = sheet_of(records, sizes)
            save(sizes.output, f"peers_{kind}", {**results, "records": records}, [sheet])  # each part at once
    show(sheet, Console())


if __name__ == "__main__":
    main()
