"""Does the marine keep his colour over a cut, a gap or eight segments? Samples of takes, and real walks beside them.

Axes: b takes, f frames.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.scenes import Roller, Scene, named_colour, with_colour, without_colour
from benchmarks.trained import decode, frames_of_latents, interval, real_pixels
from datamodules.clips import Clip
from datamodules.segments import SegmentDataModule
from longtake.metrics.subject_colour import COLOURS, marine_colours, most_frequent

LONG = 8
Record = dict[str, Any]


def casts(clips: Sequence[Clip], count: int) -> list[tuple[str, str, str]]:
    """For each take a caption with a colour, one without, and one of another view of the same level; colours in turn.

    The one without is the walk's short caption, which training shows as well, or else the same without the word.

    Raises:
        ValueError: if no caption names a colour, or every one does.
    """
    third = [clip for clip in clips if named_colour(clip.entry.caption)]
    others = [clip for clip in clips if not named_colour(clip.entry.caption)]
    if not third or not others:
        raise ValueError("colours are read off Freedoom's walks: some behind a marine, some in first person")
    found = []
    for number in range(count):
        clip = third[number * len(third) // count if count <= len(third) else number % len(third)]
        caption = clip.entry.caption
        near = [other for other in others if other.entry.path.parent == clip.entry.path.parent] or others
        named = with_colour(caption, COLOURS[number % len(COLOURS)])
        silent = clip.entry.short_caption or without_colour(caption)
        found.append((named, silent, near[number % len(near)].entry.caption))
    return found


def cases(cast: Sequence[tuple[str, str, str]], frames: int) -> dict[str, list[Scene]]:
    """The scenes of every case; only the first caption names the colour."""
    named, silent, elsewhere = ([each[part] for each in cast] for part in range(3))
    cut = [Scene(named, 0, 0), Scene(elsewhere, 0, 1)]
    return {
        "cut and return": [*cut, Scene(silent, frames, 0)],
        "cut, a segment unseen, return": [*cut, Scene(silent, 2 * frames, 0)],
        "a gap of a segment": [Scene(named, 0, 0), Scene(silent, 2 * frames, 0)],
        f"{LONG} segments": [Scene(named if n == 0 else silent, n * frames, 0) for n in range(LONG)],
    }


def spans_of(number: int, frames: int, time_factor: int) -> tuple[range, range]:
    """Pixel frames of the first segment, and of the second half of segment `number`; frames: latents of a segment.

    A causal decoder carries a few latents over, so the first half of what follows a gap is not its own alone.
    """
    begin = number * frames
    return (
        frames_of_latents(0, frames, time_factor),
        frames_of_latents(begin + frames // 2, begin + frames, time_factor),
    )


def judge(colours: Tensor, first: range, last: range, asked: Sequence[int] | None) -> dict[str, list[float]]:
    """Of each take; colours: b f, as places in COLOURS; asked: by the first caption.

    kept: share of the last frames in the colour of most of the first; chance: the same against the first frames of the
    other takes; worn, obeyed: share of the last, and of the first, frames in the colour that was asked for.
    """
    start = most_frequent(colours[:, first.start : first.stop])
    end = colours[:, last.start : last.stop]
    match = (end[:, None] == start[None, :, None]).float().mean(dim=2)  # take, whose colour
    apart = match.sum(dim=1) - match.diagonal()
    found = {"kept": match.diagonal().tolist(), "chance": (apart / max(len(match) - 1, 1)).tolist()}
    if asked is not None:
        wanted = torch.tensor(asked)[:, None]
        found["worn"] = (end == wanted).float().mean(dim=1).tolist()
        found["obeyed"] = (colours[:, first.start : first.stop] == wanted).float().mean(dim=1).tolist()
    return found


def measure_colour(
    roller: Roller, data: SegmentDataModule, clips: Sequence[Clip], size: tuple[int, ...], *, count: int, seeds: int
) -> list[Record]:
    """A record for each case with memory and without; size: c f h w of a segment's latents; clips: of one split."""
    cast = casts(clips, count)
    asked = [number % len(COLOURS) for number in range(count)]
    groups = [str(number) for number in range(count)] * seeds
    codec: Any = data.codec
    records = []
    for name, scenes in cases(cast, size[1]).items():
        first, last = spans_of(len(scenes) - 1, size[1], codec.time_factor)
        judged: dict[str, dict[str, list[float]]] = {"memory": {}, "window only": {}}
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(seed)
            noise = [torch.randn(count, *size, generator=generator) for _ in scenes]
            for context, found in judged.items():
                made = roller(scenes, noise, remembers=context == "memory")
                colours = marine_colours(decode(codec, torch.cat(made, dim=2)))
                for key, values in judge(colours, first, last, asked).items():
                    found.setdefault(key, []).extend(values)
        kept = zip(judged["memory"]["kept"], judged["window only"]["kept"], strict=True)
        gain = interval([one - other for one, other in kept], groups)
        for context, found in judged.items():
            means = {key: interval(values, groups) for key, values in found.items()}
            records.append({"case": name, "context": context, "values": found, "gain": gain, **means})
    return records


def real_colour(data: SegmentDataModule, clips: Sequence[Clip], frames: int) -> list[Record]:
    """The same measure on real walks behind a marine: of the third segment, and of the eighth where there is one."""
    third = [clip for clip in clips if named_colour(clip.entry.caption)]
    factor = data.codec.time_factor
    colours = torch.stack([marine_colours(real_pixels(data, clip).unsqueeze(0))[0] for clip in third])
    asked = [COLOURS.index(str(named_colour(clip.entry.caption))) for clip in third]
    groups = [clip.entry.path.parent.name for clip in third]
    records = []
    for name, number in (("a gap of a segment", 2), (f"{LONG} segments", LONG - 1)):
        first, last = spans_of(number, frames, factor)
        if last.stop <= colours.shape[1]:
            found = judge(colours, first, last, asked)
            means = {key: interval(values, groups) for key, values in found.items()}
            records.append({"case": name, "context": "real walks", "values": found, "gain": None, **means})
    return records
