"""What a pipeline is asked for from Python, refused in one sentence before anything is computed."""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

from longtake.rollouts.rollout import Rollout
from longtake.running import Running

LARGEST_SEED = 2**62
"""So that PyTorch's 64 bits also hold what is made of it."""


def check_whole(name: str, value: object, *, least: int, most: int | None = None) -> int:
    """Refuses what is no whole number of a range.

    Args:
        name: what the argument is called.
        value: its value.
        least: the smallest that is allowed.
        most: the largest; None: any.

    Returns:
        The number as Python's own: PyTorch takes no other, such as NumPy's, for a seed.

    Raises:
        ValueError: if it is none.
    """
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    if number is None or number < least or (most is not None and number > most):
        raise ValueError(
            f"{name}={value!r} must be a whole number of at least {least}{'' if most is None else f', at most {most}'}"
        )
    return number


def check_prompts(prompts: Sequence[str]) -> None:
    """Refuses anything but a list of texts; a single text is a sequence of letters.

    Args:
        prompts: one text for each video.

    Raises:
        ValueError: if it is none, or empty.
    """
    if isinstance(prompts, str) or not isinstance(prompts, Sequence) or len(prompts) == 0:
        raise ValueError(f"prompts={prompts!r} must be a list of texts, one for each video, such as ['a cave']")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise ValueError(
                f"prompt={prompt!r} must be a text: a call makes one video, and "
                "`frames(latents(prompts, num_frames=…, seed=…))` several"
            )


def check_part(name: str, value: Any) -> None:
    """Refuses a part that cannot be one, such as its name or its class.

    Args:
        name: what the pipeline calls it.
        value: the part.

    Raises:
        ValueError: saying what to give.
    """
    if name in _PARTS:
        is_one, example = _PARTS[name]
        if isinstance(value, type) or not is_one(value):
            shown = " ".join(repr(value).split())  # of a network: hundreds of lines
            raise ValueError(f"{name}={shown:.60} is no {name.replace('_', ' ')}: give {example}")


_PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "sampler": (callable, "a built one, such as longtake.samplers.Heun(num_inference_steps=20)"),
    "guidance": (callable, "a built one, such as longtake.samplers.ClassifierFreeGuidance(scale=2.0)"),
    "rollout": (
        lambda value: isinstance(value, Rollout),
        "a built one, such as longtake.rollouts.autoregressive.Autoregressive(window_frames=10, context_frames=6)",
    ),
    "codec": (lambda value: hasattr(value, "decode_stream"), "a built one, such as the codec of another pipeline"),
    "text_encoder": (lambda value: hasattr(value, "encode"), "a built one, such as that of another pipeline"),
    "module": (lambda value: hasattr(value, "network"), "a module with network, objective and sampler"),
    "running": (lambda value: isinstance(value, Running), "longtake.running.Running(…)"),
    "fps": (lambda value: isinstance(value, Real) and 0 < float(value) < float("inf"), "a number above 0"),
    "negative_prompt": (lambda value: value is None or isinstance(value, str), "a text, or None for none"),
}
"""Whether something is such a part, and what to give instead."""
