"""The plan of a rollout as a table, canvas by canvas, before anything is sampled: `dry_run=true`."""

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from longtake.cost.sampling import CanvasCost
from longtake.rollouts.plan import CanvasPlan


def describe_plan(plan: Sequence[CanvasPlan], costs: Sequence[CanvasCost], *, calls: int) -> str:
    """A line for each canvas, and the sum.

    Args:
        plan: plan of a video.
        costs: cost of each canvas.
        calls: calls of the network for each canvas: inference steps times passes of guidance.

    Returns:
        Lines of text.
    """
    table = Table(title="Canvases in the order in which they are denoised, in latent frames")
    for column in ("", "new", "frames", "known", "remembers (ratio)", "context", "TFLOPs"):
        table.add_column(column, justify="left" if column in ("new", "remembers (ratio)") else "right")
    total = 0
    for number, (canvas, cost) in enumerate(zip(plan, costs, strict=True), 1):
        memory = ", ".join(f"{each.start} ({each.compression_ratio:g})" for each in canvas.remembered) or "-"
        flops = calls * cost.step.flops + cost.memory.flops
        total += flops
        new = canvas.new_frames
        table.add_row(
            *(str(number), f"{new[0]} to {new[-1]}", str(len(canvas.frames)), str(len(canvas.known))),
            *(memory, f"{cost.context_tokens:,}", f"{flops / 1e12:.3g}"),
        )
    text = io.StringIO()
    console = Console(file=text, width=120)
    console.print(table)
    console.print(f"{len(plan)} canvases of {calls} calls of the network, {total / 1e12:.3g} TFLOPs without the codec")
    return text.getvalue()
