"""What VBench would drop, or break on, in a folder of videos: each trap by name, in one sentence."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lightning_modules.vbench.rules import MADE_BY_LONG, MOST_NAME_BYTES, Rules, split_name


class Length(NamedTuple):
    """How long a video is."""

    frames: int
    fps: float


class Fault(NamedTuple):
    """One thing that is wrong.

    trap: its name. file: the file, or "" for the folder. reason: a sentence. grave: VBench would drop the file, or
    stop; else it is merely worth knowing.
    """

    trap: str
    file: str
    reason: str
    grave: bool = True


def name_faults(names: Sequence[str], rules: Rules) -> list[Fault]:
    """Faults of single names; a name may hold a slash where it is only planned."""
    known = {prompt for name in rules.dimensions for prompt in rules.prompts.get(name, ())}
    lower: dict[str, list[str]] = defaultdict(list)
    for name in names:
        lower[name.casefold()].append(name)
    faults = []
    for name in names:
        for trap, reason in (
            *_form(name, rules),
            *_prompt(split_name(name).prompt, rules, known),
        ):
            faults.append(Fault(trap, name, reason))
        first = lower[name.casefold()][0]
        if name != first:
            faults.append(
                Fault("case collision", name, f"differs from '{first}' in capitals alone: some disks keep one")
            )
    return faults


def _form(name: str, rules: Rules) -> list[tuple[str, str]]:
    parts, found = split_name(name), []
    if parts.suffix.lower() not in rules.suffixes:
        found.append(("suffix", f"ends in {parts.suffix or 'nothing'}; VBench looks at {' and '.join(rules.suffixes)}"))
    if "/" in name or "\n" in name or "\0" in name:
        found.append(("slash", "its prompt has a slash or a line break, which no file name can hold"))
    if len(name.encode()) > MOST_NAME_BYTES:
        found.append(("long name", f"has {len(name.encode())} bytes; file systems take {MOST_NAME_BYTES}"))
    if parts.number is None and rules.mode != "custom":
        found.append(("no index", "does not end in -0, -1, … before its suffix"))
    if parts.prompt != parts.prompt.strip() or not parts.prompt:
        found.append(("blank", "its prompt is empty, or begins or ends with a blank"))
    return found


def _prompt(prompt: str, rules: Rules, known: set[str]) -> list[tuple[str, str]]:
    found = []
    if rules.is_long and "_" in prompt:
        found.append(("underscore", "its prompt has a _, at which VBench-Long cuts names, so that nothing matches"))
    if rules.mode == "long_custom" and "-Scene" in prompt:
        found.append(("-Scene", "its prompt has -Scene, which VBench-Long cuts away"))
    if not rules.is_custom and rules.prompts and prompt not in known:
        near = next((other for other in known if _bare(other) == _bare(prompt)), None)
        meant = f" (VBench writes '{near}')" if near else "; a rewritten prompt keeps the name of the short one"
        found.append(
            ("unknown prompt", f"its prompt is none of the chosen dimensions'{meant}: it would be passed over")
        )
    return found


def _bare(prompt: str) -> str:
    return " ".join(prompt.casefold().rstrip(". ").split())


def length_faults(lengths: Mapping[str, Length | str], rules: Rules) -> list[Fault]:
    """Faults of what the files hold; a text in place of a length says why it cannot be read."""
    faults = []
    for name, length in lengths.items():
        if isinstance(length, str):
            faults.append(Fault("unreadable", name, length))
            continue
        seconds = length.frames / length.fps
        if length.frames < 2:
            faults.append(Fault("single frame", name, "has a single frame"))
        elif rules.is_long and seconds < 2 * rules.clip_seconds:
            clips = f"clips of {rules.clip_seconds:g} s"
            faults.append(Fault("one clip", name, f"lasts {seconds:.1f} s, no two {clips}: VBench-Long passes it over"))
        elif rules.is_long and seconds < 5:
            faults.append(Fault("short", name, f"lasts {seconds:.1f} s; VBench-Long is for 5 s and more", grave=False))
        elif not rules.is_long and seconds >= 5:
            mode = "vbench=long_custom" if rules.is_custom else "vbench=long"
            faults.append(
                Fault("long", name, f"lasts {seconds:.1f} s; VBench is for less than 5 s: {mode}", grave=False)
            )
    rates = Counter(f"{length.fps:.4g}" for length in lengths.values() if isinstance(length, Length))
    if len(rates) > 1:
        listed = ", ".join(f"{rate} ({count})" for rate, count in rates.most_common())
        faults.append(Fault("mixed rates", "", f"frames a second differ, and scores with them: {listed}", grave=False))
    return faults


def folder_faults(entries: Sequence[Path], names: Sequence[str], rules: Rules) -> list[Fault]:
    """Faults of the folder as a whole.

    Args:
        entries: everything in it.
        names: the files that have no fault of their own.
        rules: how VBench shall be run.
    """
    faults = []
    for entry in entries:
        if entry.is_dir() and entry.name in MADE_BY_LONG:
            reason = f"'{entry.name}' holds an earlier run's clips, which would be scored instead: delete it"
            faults.append(Fault("old clips", entry.name, reason))
        elif entry.is_dir():
            faults.append(Fault("subfolder", entry.name, "is a folder: VBench looks at one flat folder only"))
        elif entry.suffix.lower() not in (*rules.suffixes, ".gif", ".mkv", ".webm", ".mov", ".avi") and rules.is_long:
            reason = "is no video: VBench-Long takes the suffix of whatever entry it lists first for that of all"
            faults.append(Fault("foreign file", entry.name, reason))
    suffixes = Counter(Path(name).suffix for name in names)
    if len(suffixes) > 1:
        listed = ", ".join(f"{suffix} ({count})" for suffix, count in suffixes.most_common())
        faults.append(Fault("mixed suffixes", "", f"one ending is taken for that of all: {listed}", grave=False))
    return [*faults, *_counts(names, rules)]


def _counts(names: Sequence[str], rules: Rules) -> list[Fault]:
    of: dict[str, list[int]] = defaultdict(list)
    for name in names:
        parts = split_name(name)
        if parts.number is not None:
            of[parts.prompt].append(parts.number)
    faults = []
    if not names:
        faults.append(Fault("nothing left", "", "no video is left: VBench would divide by zero"))
    if rules.is_custom:
        return faults
    for prompt, indices in of.items():
        wanted = list(range(rules.samples))
        if sorted(indices) != wanted:
            reason = f"'{prompt}' has numbers {sorted(indices)}; wanted are 0 to {rules.samples - 1}"
            faults.append(Fault("count", "", reason, grave=False))
    if "temporal_flickering" in rules.dimensions and rules.samples < 25:
        reason = "VBench's README asks for 25 videos of each prompt for temporal_flickering, then keeps the static ones"
        faults.append(Fault("flickering", "", reason, grave=False))
    if not rules.prompts:
        reason = "prompts were not compared with VBench's: give vbench_info=…/VBench_full_info.json"
        return [*faults, Fault("unchecked prompts", "", reason, grave=False)]
    for dimension in rules.dimensions:
        own = rules.prompts.get(dimension, ())
        missing = [prompt for prompt in own if prompt not in of]
        if len(missing) == len(own):
            reason = f"no video has a prompt of {dimension}: its list is empty and VBench divides by zero"
            faults.append(Fault("empty dimension", "", reason))
        elif missing:
            reason = f"{dimension} lacks {len(missing)} of {len(own)} prompts, such as '{missing[0]}'"
            faults.append(Fault("count", "", reason, grave=False))
    return faults


def machine_faults(rules: Rules) -> list[Fault]:
    """What this machine lacks."""
    if rules.is_long and not torch.cuda.is_available():
        return [Fault("no CUDA", "", "VBench-Long runs on CUDA alone, which this machine has not", grave=False)]
    return []


def preflight(folder: Path, rules: Rules, length_of: Callable[[Path], Length]) -> list[Fault]:
    """Every fault of a folder as it lies there, changing nothing.

    Raises:
        ValueError: there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder '{folder}'")
    entries = sorted(folder.iterdir())
    looks = {".mp4", ".gif", ".mkv", ".webm", ".mov", ".avi"}
    names = [entry.name for entry in entries if entry.is_file() and entry.suffix.lower() in looks]
    faults = [*name_faults(names, rules), *length_faults(lengths_of(folder, names, length_of), rules)]
    bad = {fault.file for fault in faults if fault.grave}
    return [*faults, *folder_faults(entries, [name for name in names if name not in bad], rules)]


def lengths_of(folder: Path, names: Sequence[str], length_of: Callable[[Path], Length]) -> dict[str, Length | str]:
    """The length of each file, or why it cannot be read."""
    found: dict[str, Length | str] = {}
    for name in names:
        try:
            found[name] = length_of(folder / name)
        except ValueError as error:
            found[name] = str(error)
    return found
