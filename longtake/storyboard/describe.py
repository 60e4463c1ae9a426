"""What a plan will cost, before anything is made: the table of `dry_run`."""

import io
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from longtake.storyboard.schema import Plan, PlanStep

Flops = Callable[[PlanStep, int, int], float]
"""(step, video tokens, context tokens) -> floating-point operations of the whole segment, all its steps."""


class Cost(NamedTuple):
    """A step's cost: tokens of the segment itself, context tokens of each remembered one by name, and FLOPs."""

    tokens: int
    context: Mapping[str, int]
    flops: float


def costs(plan: Plan, *, tokens_per_latent: int, flops: Flops) -> dict[str, Cost]:
    """The cost of each step; a given segment costs none of the network's work.

    A segment of n tokens is remembered in ceil(n / ratio); a compressor that arranges its tokens in a grid comes within
    a few per cent of this.
    """
    tokens = {step.name: step.latents * tokens_per_latent for step in plan.steps}
    found = {}
    for step in plan.steps:
        context = {
            source.name: max(math.ceil(tokens[source.name] / source.compression_ratio), 1) for source in step.sources
        }
        work = 0.0 if step.given is not None else flops(step, tokens[step.name], sum(context.values()))
        found[step.name] = Cost(tokens[step.name], context, work)
    return found


def describe(plan: Plan, *, tokens_per_latent: int, flops: Flops, is_there: Callable[[PlanStep], bool]) -> str:
    """A table of the steps, in the order in which they are made, then the order in which they are seen.

    is_there: whether a step's latents are in the store already; its work is not counted in the sum.
    """
    found = costs(plan, tokens_per_latent=tokens_per_latent, flops=flops)
    table = Table(title="Segments in the order in which they are made")
    for column in ("segment", "task", "shot", "remembers (ratio)"):
        table.add_column(column, overflow="fold")
    for column in ("frames", "from", "tokens", "context", "TFLOPs", "seed", ""):
        table.add_column(column, justify="right")
    for step in plan.steps:
        cost = found[step.name]
        memory = ", ".join(f"{source.name} ({source.compression_ratio:g})" for source in step.sources) or "-"
        state = "there" if is_there(step) else "to read" if step.given is not None else "to make"
        table.add_row(
            *(step.name, step.task, str(step.shot), memory, str(step.num_frames), str(step.offset)),
            *(f"{cost.tokens:,}", f"{sum(cost.context.values()):,}", f"{cost.flops / 1e12:.3g}"),
            *(str(step.seed) if step.given is None else "-", state),
        )
    todo = [step for step in plan.steps if not is_there(step)]
    frames = sum(step.num_frames for step in plan.steps)
    work = sum(found[step.name].flops for step in todo)
    text = io.StringIO()
    console = Console(file=text, width=140)
    console.print(table)
    console.print(f"seen: {' | '.join(plan.timeline)}", markup=False, highlight=False)
    to_do = f"{len(todo)} of {len(plan.steps)} segments to do, {work / 1e12:.3g} TFLOPs"
    console.print(f"{frames} frames; {to_do}", markup=False, highlight=False)
    return text.getvalue()
