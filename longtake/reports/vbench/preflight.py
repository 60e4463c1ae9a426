"""What VBench would drop, or break on, in a folder of videos: each trap by name, in one sentence."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from longtake.reports.vbench.disk import folder_listed_first
from longtake.reports.vbench.rules import (
    CLIP_ENDING,
    MADE_BY_LONG,
    MOST_NAME_BYTES,
    SCENE_ENDING,
    Rules,
    split_name,
)

FOR_FLICKERING = 25  # Source: VBench's prompts/README.md


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


def name_faults(names: Sequence[str], rules: Rules, *, one_case: bool) -> list[Fault]:
    """Faults of single names; a name may hold a slash where it is only planned.

    Args:
        names: names of the files.
        rules: how VBench shall be run.
        one_case: whether the disk that they are meant for takes names that differ in capitals alone for one.
    """
    known = {prompt for name in rules.dimensions for prompt in rules.prompts.get(name, ())}
    first: dict[str, str] = {}
    faults: list[Fault] = []
    twins: list[tuple[str, str]] = []
    for name in names:
        faults += [*_form(name, rules), *_prompt(name, rules, known)]
        other = first.setdefault(name.casefold(), name)
        if name != other:
            twins.append((name, other))
    if one_case:
        reason = "differs from '{}' in capitals alone, and this disk keeps one of the two: take output=… on another"
        return [*faults, *(Fault("case collision", name, reason.format(other)) for name, other in twins)]
    if twins:
        names_them = f"{len(twins)} names differ from others in capitals alone, such as '{twins[0][0]}'"
        reason = f"{names_them}: keep them off disks that ignore case, where one of each pair is lost"
        faults.append(Fault("case collision", "", reason, grave=False))
    return faults


def _form(name: str, rules: Rules) -> list[Fault]:
    parts, size, found = split_name(name), len(name.encode()), []
    if parts.suffix.lower() not in rules.suffixes:
        reason = f"ends in {parts.suffix or 'nothing'}; VBench looks at {' and '.join(rules.suffixes)}"
        found.append(Fault("suffix", name, reason))
    if "/" in name or "\n" in name or "\0" in name:
        found.append(Fault("slash", name, "its prompt has a slash or a line break, which no file name can hold"))
    if size > MOST_NAME_BYTES:
        found.append(Fault("long name", name, f"has {size} bytes; file systems take {MOST_NAME_BYTES}"))
    elif rules.is_long and size + len(SCENE_ENDING) > MOST_NAME_BYTES:
        clips = size + len(CLIP_ENDING) > MOST_NAME_BYTES
        what, ending = ("clips", CLIP_ENDING) if clips else ("scenes (--use_semantic_splitting)", SCENE_ENDING)
        reason = f"has {size} bytes; the names of VBench-Long's {what} are up to {len(ending)} longer, "
        found.append(Fault("long name", name, f"{reason}and file systems take {MOST_NAME_BYTES}", grave=clips))
    if parts.number is None and rules.mode != "custom":
        found.append(Fault("no index", name, "does not end in -0, -1, … before its suffix"))
    if parts.prompt != parts.prompt.strip() or not parts.prompt:
        found.append(Fault("blank", name, "its prompt is empty, or begins or ends with a blank"))
    return found


def _prompt(name: str, rules: Rules, known: set[str]) -> list[Fault]:
    prompt, found = split_name(name).prompt, []
    if rules.mode == "long" and "_" in prompt:
        reason = "its prompt has a _, at which VBench-Long cuts names, so that nothing matches"
        found.append(Fault("underscore", name, reason))
    if rules.mode == "long_custom" and "_" in prompt:
        reason = "its prompt has a _, at which VBench-Long cuts names: its clips are not compared with each other, and"
        reason += " videos that agree up to there count as one"
        found.append(Fault("underscore", name, reason, grave=False))
    if rules.mode == "long_custom" and "-Scene" in prompt:
        reason = "its prompt has -Scene, and VBench-Long reads only what is before it"
        found.append(Fault("-Scene", name, reason, grave=False))
    if not rules.is_custom and rules.prompts and prompt not in known:
        near = next((other for other in known if _bare(other) == _bare(prompt)), None)
        meant = f" (VBench writes '{near}')" if near else "; a rewritten prompt keeps the name of the short one"
        then = "VBench-Long would stop at it" if rules.is_long else "it would be passed over"
        found.append(Fault("unknown prompt", name, f"its prompt is none of the chosen dimensions'{meant}: {then}"))
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
    faults += _flickering(rules)
    if rules.is_custom:
        return faults
    for prompt, indices in of.items():
        if sorted(indices) != list(range(rules.wanted(prompt))):
            reason = f"'{prompt}' has numbers {sorted(indices)}; wanted are 0 to {rules.wanted(prompt) - 1}"
            faults.append(Fault("count", "", reason, grave=False))
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


def _flickering(rules: Rules) -> list[Fault]:
    if "temporal_flickering" not in rules.dimensions:
        return []
    if rules.is_custom:
        reason = "temporal_flickering is meant for static videos, which nothing picks out where prompts are one's own"
    elif not rules.is_long and rules.samples < FOR_FLICKERING:
        reason = f"VBench's README asks for {FOR_FLICKERING} videos of each prompt for temporal_flickering (give"
        reason += f" vbench_samples={FOR_FLICKERING}), of which its static_filter keeps the static ones"
    else:
        return []
    return [Fault("flickering", "", reason, grave=False)]


def machine_faults(rules: Rules) -> list[Fault]:
    """What this machine lacks."""
    if rules.is_long and not torch.cuda.is_available():
        return [Fault("no CUDA", "", "VBench-Long runs on CUDA alone, which this machine has not", grave=False)]
    return []


def preflight(
    folder: Path, rules: Rules, length_of: Callable[[Path], Length], *, in_order: bool = False
) -> list[Fault]:
    """Every fault of a folder as it lies there; nothing in it is changed for good.

    Args:
        folder: folder with the videos.
        rules: how VBench shall be run.
        length_of: looks at a file, raising ValueError for one that cannot be read.
        in_order: VBench will be shown files before folders, whatever the disk's order.

    Raises:
        ValueError: there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder '{folder}': give one that holds videos")
    entries = sorted(folder.iterdir())
    looks = {".mp4", ".gif", ".mkv", ".webm", ".mov", ".avi"}
    names = [entry.name for entry in entries if entry.is_file() and entry.suffix.lower() in looks]
    # the disk holds them all, so it tells them apart
    faults = name_faults(names, rules, one_case=False)
    faults += length_faults(lengths_of(folder, names, length_of), rules)
    bad = {fault.file for fault in faults if fault.grave}
    faults += folder_faults(entries, [name for name in names if name not in bad], rules)
    return faults if in_order or not names or rules.mode != "long" else [*faults, *_order(folder)]


def _order(folder: Path) -> list[Fault]:
    try:
        first = folder_listed_first(folder)
    except OSError as error:
        reason = f"VBench-Long writes its clips into '{folder}', to which nothing can be written ({error.strerror})"
        return [Fault("no writing", "", reason)]
    if not first:
        return []
    reason = f"this disk lists '{first}', which VBench-Long makes beside the videos, before them, and it takes the"
    reason += " suffix of the first entry for that of all: give output=FOLDER, whose commands list the videos first"
    return [Fault("folder first", "", reason)]


def lengths_of(folder: Path, names: Sequence[str], length_of: Callable[[Path], Length]) -> dict[str, Length | str]:
    """The length of each file, or why it cannot be read."""
    found: dict[str, Length | str] = {}
    for name in names:
        try:
            found[name] = length_of(folder / name)
        except ValueError as error:
            found[name] = str(error)
    return found
