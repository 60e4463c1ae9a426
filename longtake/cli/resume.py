"""What a resumed run takes over from the one before, what may be other now, and what is refused."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from longtake.arguments import argument
from longtake.releases.renamed import renamed_arguments

_TUNED = ("optimizer", "scheduler")
"""Groups whose values take effect in a resumed run."""


def refuse_other_batch(trained: Mapping[str, Any], global_batch_size: int) -> None:
    """Refuses to resume with another global batch: which clips a run has seen follows from its step alone.

    Args:
        trained: resolved config of the run to resume.
        global_batch_size: clips (or rows) of a step, in this run.

    Raises:
        ValueError: if the run to resume had another global batch.
    """
    before = trained.get("global_batch_size", global_batch_size)
    if global_batch_size != before:
        raise ValueError(
            f"resume: global_batch_size={global_batch_size}, but the run was trained with {before}, and other batches "
            f"would skip or repeat clips: add global_batch_size={before}, or begin anew from its weights, pretrained=…"
        )


def changed_rates(trained: Mapping[str, Any], configured: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings of the optimizer and the schedule that changed since the run before: (old value, new value) by key.

    Args:
        trained: resolved config of the run before.
        configured: resolved config of this run.

    Returns:
        Old and new value of each changed setting, by its key.

    Raises:
        ValueError: for another kind of optimizer, whose state is another.
    """
    changes: dict[str, tuple[Any, Any]] = {}
    for group in _TUNED:
        if trained.get(group) is None:  # a checkpoint that says nothing of it
            continue
        told = renamed_arguments(dict(trained[group]))
        before, now = dict(_leaves(told, group)), dict(_leaves(configured[group], group))
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                changes[key] = before.get(key), now.get(key)
    if "optimizer._target_" in changes:
        before, now = changes["optimizer._target_"]
        raise ValueError(
            f"resume: the run was trained by {before}, and {now} cannot use that optimizer's state: take the optimizer "
            "that the run had (its rates may differ), or begin anew from the run's weights, pretrained=…"
        )
    return changes


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from _leaves(child, f"{key}.{name}")
    else:
        yield key, node


def nothing_to_train(resume: Path, step: int, max_steps: int) -> str | None:
    """The sentence for a run that has come as far as it is asked to; None for one that has steps to go.

    step: of the checkpoint; max_steps: of the trainer, -1 without end.
    """
    if max_steps < 0 or step < max_steps:
        return None
    resumed = argument("resume", resume)
    return (
        f"nothing to train: {resume} is at step {step:,}, and trainer.max_steps={max_steps} asks for no more; "
        f"{resumed} trainer.max_steps={2 * step} goes on (and stretches a schedule that spans the run), export.py and "
        "generate.py take it as it is"
    )
