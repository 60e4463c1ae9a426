"""Names that have moved: configs of weights keep the ones that they were written with."""

from collections.abc import Sequence
from typing import Any

MOVED = {
    "lightning_modules.objectives": "longtake.objectives",
    "lightning_modules.samplers": "longtake.samplers",
    "lightning_modules.rollouts": "longtake.rollouts",
    "lightning_modules.reconstruction.RateLaw": "lightning_modules.reconstruction.RatioSampler",
    "lightning_modules.remembering": "lightning_modules.memory",
    "lightning_modules.compressing.CompressingModule": "lightning_modules.compression.CompressionModule",
    "longtake.rollouts.whole.Whole": "longtake.rollouts.single_pass.SinglePass",
}
"""Old packages, modules and classes, and what they are now, oldest first. An entry is never taken out."""

HASHED = {"longtake.rollouts.single_pass.SinglePass": "longtake.rollouts.whole.Whole"}
"""Classes by whose older name finished videos are found: a video's hash of settings holds the class of its rollout."""

ARGUMENTS = {
    "lightning_modules.tasks.TaskSampler": {
        "past_share": "past_prob",
        "future_share": "future_prob",
        "neighbour_gap_share": "neighbour_gap_prob",
    },
    "lightning_modules.memory.MemoryModule": {"compressor_lr_share": "compressor_lr_scale"},
    "longtake.rollouts.segmentwise.Segmentwise": {
        "rate": "compression_ratio",
        "rate_growth": "ratio_growth",
        "max_rate": "max_compression_ratio",
    },
    "lightning_modules.optimization.warmup_cosine": {"last_share": "min_lr_ratio"},
}
"""By today's class, old arguments and what they are called now."""

TYPED = {
    "lightning_module=remembering": "lightning_module=memory",
    "lightning_module=compressing": "lightning_module=compression",
    "lightning_module.tasks.past_share": "lightning_module.tasks.past_prob",
    "lightning_module.tasks.future_share": "lightning_module.tasks.future_prob",
    "lightning_module.tasks.neighbour_gap_share": "lightning_module.tasks.neighbour_gap_prob",
    "lightning_module.compressor_lr_share": "lightning_module.compressor_lr_scale",
    "scheduler.last_share": "scheduler.min_lr_ratio",
    "rate": "compression_ratio",
    "rollout=whole": "rollout=single_pass",
    "rollout=full": "rollout=full_attention",
    "rollouts.whole": "rollouts.single_pass",
    "rollouts.full": "rollouts.full_attention",
    **{
        f"{group}.{old}": f"{group}.{new}"
        for group in ("rollout", "rollouts.segmentwise")
        for old, new in ARGUMENTS["longtake.rollouts.segmentwise.Segmentwise"].items()
    },
}
"""Old settings, groups of settings and choices of the command line, and what they are called now."""


def renamed(target: str) -> str:
    """Today's dotted name of a class or function, which may have moved more than once."""
    for old, new in MOVED.items():
        if target == old or target.startswith(f"{old}."):
            target = new + target.removeprefix(old)
    return target


def hashed(node: dict[str, Any]) -> dict[str, Any]:
    """A part of a config as a video's hash of settings has it, so that videos made under an older name are found."""
    target = node["_target_"]
    return {**node, "_target_": HASHED.get(target, target)}


def renamed_arguments(node: dict[str, Any]) -> dict[str, Any]:
    """Gives the arguments of one part of a config their present names.

    Args:
        node: the part, whose `_target_` has its present name already.

    Returns:
        A copy with the present names.
    """
    names = ARGUMENTS.get(str(node.get("_target_")), {})
    return {names.get(key, key): value for key, value in node.items()}


def renamed_setting(typed: Sequence[str]) -> str | None:
    """The answer to the first argument of a command line that has another name now; None where there is none."""
    for argument in typed:
        plain = argument.lstrip("+~")
        key = plain.partition("=")[0]
        for old, new in TYPED.items():
            if plain == old or key == old or key.startswith(f"{old}."):
                return f"{old} is called {new} now: type {new}{plain.removeprefix(old)}"
    return None
