"""Checkpoints of runs: which one is the newest that is whole, and what it holds."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from networks.saving import WEIGHTS

log = logging.getLogger("longtake")

CONFIG_KEY = "longtake_config"
"""Where a checkpoint keeps its resolved config."""

LAST = "last.ckpt"

META = "meta.pt"
"""In a checkpoint that is a folder of pieces (longtake.releases.sharded): all but weights and optimizer."""


def size_of(checkpoint: Any) -> int:
    """The size in bytes of all tensors of a checkpoint; tensors that share a storage count once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for _, tensor in tensors_in(checkpoint)}
    return sum(storage.nbytes() for storage in storages.values())


def tensors_in(node: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor at any depth of mappings and lists, with its dotted name."""
    if isinstance(node, Tensor):
        yield name, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from tensors_in(value, f"{name}.{key}" if name else str(key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from tensors_in(value, f"{name}.{number}")


def refuse_no_numbers(state: Any, source: str) -> None:
    """Refuses weights with NaN or infinity: whatever is trained from them would be NaN too.

    Args:
        state: tensors by name, also nested.
        source: the setting that named them, such as pretrained=….

    Raises:
        ValueError: naming the first tensor with NaN or an infinite value.
    """
    for name, tensor in tensors_in(state):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"{source}: {name} holds NaN or infinite values, and what is trained from them would too: give weights "
                "from before it went wrong, such as an earlier checkpoint"
            )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A Lightning checkpoint of this project, read without running code from it.

    Args:
        path: a .ckpt file, or the folder of a checkpoint in pieces.

    Returns:
        What the checkpoint holds, with its tensors still on the disk.

    Raises:
        ValueError: if the file is not one.
    """
    try:
        checkpoint = _load(path)
    except Exception as error:  # torch raises half a dozen kinds for foreign files
        beside = _whole_beside(path)
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): expected a .ckpt of train.py"
            + (f"; {beside} beside it is whole" if beside is not None else "")
        ) from error
    if not isinstance(checkpoint, dict) or CONFIG_KEY not in checkpoint:
        raise ValueError(f"{path} is a file of another program: expected a .ckpt that train.py wrote")
    if not isinstance(checkpoint[CONFIG_KEY], dict):
        kind = type(checkpoint[CONFIG_KEY]).__name__
        raise ValueError(f"{path}: its config is no mapping but a {kind}: expected a .ckpt that train.py wrote")
    return checkpoint


def _load(path: Path) -> Any:
    """What a checkpoint holds, its tensors still on the disk; of one in pieces the part that is not in them."""
    return torch.load(path / META if path.is_dir() else path, map_location="cpu", weights_only=True, mmap=True)


RESTORED = {"global_step": int, "loops": dict, "optimizer_states": list, "lr_schedulers": list, "callbacks": dict}
"""What Lightning restores of a checkpoint, beside the weights."""


def refuse_incomplete(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuses to go on from a file that holds weights alone, or something else where the state of a run should be.

    Args:
        checkpoint: what `read_checkpoint` gives.
        path: path of the checkpoint, for the message.

    Raises:
        ValueError: naming what is not there.
    """
    for key, kind in RESTORED.items():
        if key == "optimizer_states" and path.is_dir():  # in the pieces
            continue
        if not isinstance(checkpoint.get(key), kind):
            raise ValueError(
                f"resume={path} holds no {key} of a run, which resuming needs: give a .ckpt as train.py wrote it, or "
                f"begin anew from its weights, pretrained={path}"
            )


def last_checkpoint(run_folder: Path) -> Path:
    """The newest whole checkpoint of a run; broken ones are named in a warning.

    Args:
        run_folder: folder of the run.

    Returns:
        Path of the checkpoint.

    Raises:
        ValueError: if the run has none.
    """
    whole_ones, broken = _sorted_out(run_folder)
    if not whole_ones:
        if broken:
            raise ValueError(
                f"no checkpoint of {run_folder} can be read (broken: {_names(broken)}): give another run, or begin anew"
            )
        raise ValueError(
            f"{run_folder} holds neither checkpoints/*.ckpt, as a run does, nor network/{WEIGHTS}, "
            "as a release does; give a .ckpt, a run folder or a release folder"
        )
    newest = _newest(whole_ones)
    if broken:
        log.warning(f"broken: {_names(broken)}; {newest}, the newest whole checkpoint, is taken instead")
    return newest


def newest_checkpoint(run_folder: Path) -> Path | None:
    """The newest whole checkpoint of a run, None where there is none."""
    whole_ones = _sorted_out(run_folder)[0]
    return _newest(whole_ones) if whole_ones else None


def find_resume(resume: str | None, run_folder: Path) -> Path | None:
    """The checkpoint that `resume=` names: None, a path, or `last`, the newest run of the same name that has one.

    Args:
        resume: the setting: None, a path, or `last`.
        run_folder: folder of the run that begins now.

    Returns:
        Path of the checkpoint; None where nothing is resumed.

    Raises:
        ValueError: if there is no such checkpoint.
    """
    if resume is None:
        if (there := newest_checkpoint(run_folder)) is not None:
            log.warning(
                f"{there} is of a run that is replaced by this one: Ctrl-C now, and `resume={run_folder}` goes on with "
                "it, or another folder keeps it"
            )
        return None
    if not isinstance(resume, str):
        raise ValueError(f"resume={resume!r} must be a text: a .ckpt, a run folder, or `last`")
    if resume != "last":
        path = Path(resume)
        if (path / "network" / WEIGHTS).is_file() and not (path / "checkpoints").is_dir():
            raise ValueError(
                f"resume={resume}: a release holds no optimizer to go on with: resume the run that it was made of, or "
                f"begin anew from its weights, pretrained={resume}"
            )
        if path.is_dir() and not (path / META).is_file():
            return last_checkpoint(path)
        if not path.is_file() and not (path / META).is_file():
            raise ValueError(f"resume={resume}: no such file; give a .ckpt, a run folder, or `last`")
        return path
    runs = [run for run in run_folder.parent.glob("*") if any((run / "checkpoints").glob("*.ckpt"))]
    for run in sorted(runs, key=_changed, reverse=True):
        if _sorted_out(run)[0]:
            return last_checkpoint(run)
        log.warning(f"no checkpoint of {run} can be read: the run before it is taken")
    raise ValueError(
        f"resume=last: no run with a whole checkpoint under {run_folder.parent}; start one without resume"
        if runs
        else f"resume=last: no run with a checkpoint under {run_folder.parent}; start one without resume"
    )


def _changed(run: Path) -> float:
    return max(path.stat().st_mtime for path in (run / "checkpoints").glob("*.ckpt"))


def _sorted_out(run_folder: Path) -> tuple[dict[Path, int], list[Path]]:
    """A run's whole checkpoints with the steps that they were saved at, and the broken ones."""
    steps, broken = {}, []
    for path in sorted((run_folder / "checkpoints").glob("*.ckpt")):
        step = _step(path)
        if step is None:
            broken.append(path)
        else:
            steps[path] = step
    return steps, broken


def _step(path: Path) -> int | None:
    """The step of a checkpoint that can be read, None for any other file; tensors stay on the disk."""
    try:
        checkpoint = _load(path)
    except Exception:  # as in read_checkpoint
        return None
    return int(checkpoint.get("global_step", 0)) if isinstance(checkpoint, dict) and CONFIG_KEY in checkpoint else None


def _newest(steps: Mapping[Path, int]) -> Path:
    """last.ckpt, or one that is both of a later step and written later.

    Times alone would mislead where a run was copied, steps alone where one went on from an earlier step.
    """

    def age(path: Path) -> float:
        return path.stat().st_mtime

    last = next((path for path in steps if path.name == LAST), None)
    if last is None:
        return max(steps, key=lambda path: (steps[path], age(path)))
    later = [path for path in steps if steps[path] > steps[last] and age(path) > age(last)]
    return max(later, key=age, default=last)


def _whole_beside(path: Path) -> Path | None:
    """The newest whole checkpoint in the folder of a broken one."""
    steps = {other: step for other in path.parent.glob("*.ckpt") if (step := _step(other)) is not None}
    return _newest(steps) if steps else None


def _names(paths: list[Path]) -> str:
    return ", ".join(map(str, paths))
