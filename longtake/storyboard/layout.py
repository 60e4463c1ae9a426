"""What kind of step each segment is, how long it is, and where it lies on its shot's timeline and in the take."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from longtake.storyboard.adjacency import Link, adjoin, group_shots, order_timeline
from longtake.storyboard.given import given_segments
from longtake.storyboard.schema import ModelLimits, Probe, Segment, Storyboard, fail
from longtake.storyboard.sizes import default_latents, latents_of, ratio_of


class Place(NamedTuple):
    """A segment in its place: as in PlanStep; shot: name of the shot's first segment in the list's order; needs:
    segments that must be there before it, beside its memory.
    """

    segment: Segment
    task: str
    latents: int
    num_frames: int
    compression_ratio: float
    shot: str
    offset: int
    start: int
    needs: tuple[str, ...]


class Bond(NamedTuple):
    """Two segments of one shot, as `owner` states: second begins `gap` pixel frames after first ends.

    needs: the segment that owner continues (task `predict`) or leads to (`retrodict`).
    """

    owner: str
    needs: str
    task: str
    first: str
    second: str
    gap: int


def lay_out(storyboard: Storyboard, limits: ModelLimits, probe: Probe) -> dict[str, Place]:
    """Every segment in its place, in the order in which they are seen.

    Args:
        storyboard: storyboard as it was read.
        limits: what the weights can do.
        probe: counts frames of given videos.

    Returns:
        Places in the order of the screen.

    Raises:
        ValueError: naming file, line and reason.
    """
    file, factor = storyboard.file, limits.time_factor
    default = default_latents(storyboard, limits)
    given = given_segments(storyboard, limits, default, probe)
    links = adjoin(storyboard, given)
    segments = {segment.name: segment for segment in (*given, *storyboard.segments)}
    shots = group_shots(file, list(segments.values()), links)
    timeline = order_timeline(file, list(segments.values()), links, shots)
    _check_roles(storyboard, segments, timeline)
    latents = {
        name: latents_of(file, segment, limits, default, starts_take=name == timeline[0])
        for name, segment in segments.items()
    }
    bonds = {name: _bonds(segments[name], links, shots, timeline) for name in segments}
    tasks = {name: _task(file, segments[name], bonds[name], links, shots) for name in segments}
    offsets = _offsets(file, segments, [bond for some in bonds.values() for bond in some], latents, factor)
    places, start = {}, 0
    for name in timeline:
        needs = tuple(dict.fromkeys(end for end in (*links[name], *(b.needs for b in bonds[name])) if end is not None))
        places[name] = Place(
            segment=segments[name],
            task=tasks[name],
            latents=latents[name],
            num_frames=factor * latents[name] - (factor - 1 if start == 0 else 0),
            compression_ratio=ratio_of(storyboard, segments[name], limits, latents[name]),
            shot=shots[name],
            offset=offsets[name],
            start=start,
            needs=() if segments[name].given is not None else needs,
        )
        start += latents[name]
    return places


def _check_roles(storyboard: Storyboard, segments: Mapping[str, Segment], timeline: Sequence[str]) -> None:
    """Nothing comes before the video that comes first, nor after the one that comes last."""
    for video in storyboard.videos:
        parts = [name for name in timeline if segments[name].given is not None and segments[name].line == video.line]
        for role, at_end, part in (("first", timeline[0], parts[0]), ("last", timeline[-1], parts[-1])):
            if video.role in (role, "both") and at_end != part:
                line = segments[at_end].line_of("between", "after", "before", "direction")
                fail(
                    storyboard.file,
                    line,
                    f"{part} is a video that comes {role}, but {at_end} would come {role}: move one",
                )


def _root(name: str, links: Mapping[str, Link], shots: Mapping[str, str]) -> list[str]:
    """The segments of a shot that adjoin nothing within it, the one that begins it at the head."""
    mates = [mate for mate in links if shots[mate] == shots[name]]
    return [mate for mate in mates if not any(end is not None and shots[end] == shots[name] for end in links[mate])]


def _bonds(
    segment: Segment, links: Mapping[str, Link], shots: Mapping[str, str], timeline: Sequence[str]
) -> list[Bond]:
    """What a segment says of its place in its shot: links within the shot, or for a return, to where the shot was left.

    A return is a segment after a cut whose shot was begun by another. It continues what was seen of the shot before
    (or leads to what is seen of it next, if nothing was, or if it is to retrodict) as if no cut had been between: `gap`
    says how long the shot went on unseen. Source: our choice.
    """
    name, (after, before) = segment.name, links[segment.name]
    found: list[Bond] = []
    if after is not None and shots[after] == shots[name]:
        found.append(Bond(name, after, "predict", after, name, segment.gap))
    if before is not None and shots[before] == shots[name]:
        found.append(Bond(name, before, "retrodict", name, before, 0))
    if found or name not in _root(name, links, shots)[1:] or segment.direction == "new_shot":
        return found
    begin = end = timeline.index(name)  # of the run of segments of this shot around it
    while begin > 0 and shots[timeline[begin - 1]] == shots[name]:
        begin -= 1
    while end + 1 < len(timeline) and shots[timeline[end + 1]] == shots[name]:
        end += 1
    earlier = [mate for mate in timeline[:begin] if shots[mate] == shots[name]]
    later = [mate for mate in timeline[end + 1 :] if shots[mate] == shots[name]]
    if earlier and segment.direction != "retrodict":
        return [Bond(name, earlier[-1], "predict", earlier[-1], timeline[begin], segment.gap)]
    if later and segment.direction != "predict":
        return [Bond(name, later[0], "retrodict", timeline[end], later[0], segment.gap)]
    return []


def _task(
    file: str, segment: Segment, bonds: Sequence[Bond], links: Mapping[str, Link], shots: Mapping[str, str]
) -> str:
    """The task that follows from a segment's bonds; a direction that the file states must be the same.

    Raises:
        ValueError: if it is not, or if a new_shot names a shot that is there already.
    """
    if segment.given is not None:
        return "given"
    name, stated = segment.name, segment.direction
    task = bonds[0].task if len(bonds) == 1 else "interpolate" if bonds else "new_shot"
    begun = [mate for mate in _root(name, links, shots)[:1] if mate != name]
    if task == "new_shot" and begun and stated in (None, "new_shot"):
        reason = f"{name} is a new_shot, but {begun[0]} has begun its shot: to return to it, say direction: predict"
        fail(file, segment.line_of("direction", "shot"), reason)
    if stated is not None and stated != task:
        why = f"it adjoins {' and '.join(bond.needs for bond in bonds)} in its own shot: that is {task}"
        cut = "what it adjoins is in another shot: a new label is a cut, and direction new_shot"
        fail(file, segment.line_of("direction"), f"direction {stated} does not fit {name}: {why if bonds else cut}")
    if segment.gap and not bonds:
        fail(file, segment.line_of("gap"), f"{name} begins a shot: there is nothing that its gap could follow")
    return task


def _offsets(
    file: str, segments: Mapping[str, Segment], bonds: Sequence[Bond], latents: Mapping[str, int], factor: int
) -> dict[str, int]:
    """Where each segment begins on its shot's timeline, in latent frames from the segment that is listed first.

    Raises:
        ValueError: if a gap breaks the frame rule, or the lengths between two ends contradict each other.
    """
    for bond in bonds:
        if bond.gap % factor:
            near = f"{bond.gap // factor * factor} or {(bond.gap // factor + 1) * factor}"
            fail(file, segments[bond.owner].line_of("gap"), f"gap={bond.gap} must be a multiple of {factor}: {near}")
    offsets: dict[str, int] = {}
    for root in segments:
        reached = [] if root in offsets else [root]
        offsets.setdefault(root, 0)
        for name in reached:
            for bond in bonds:
                if name not in (bond.first, bond.second):
                    continue
                step = latents[bond.first] + bond.gap // factor
                other, sign = (bond.second, 1) if name == bond.first else (bond.first, -1)
                place = offsets[name] + sign * step
                if offsets.setdefault(other, place) != place:
                    owner = segments[bond.owner]
                    reason = f"the lengths and gaps between {bond.first} and {bond.second} contradict each other"
                    keys = ("num_frames", "latents", "between", "gap")
                    apart = (offsets[bond.second] - offsets[bond.first] - latents[bond.first]) * factor
                    others = f"overlap by {-apart} frames" if apart < 0 else f"lie {apart} frames apart"
                    found = f"by what the others say they {others}, by {owner.name} {bond.gap} frames apart"
                    fail(file, owner.line_of(*keys), f"{owner.name} does not fit: {reason}: {found}")
                if other not in reached:
                    reached.append(other)
    return offsets


def check_overlap(file: str, places: Mapping[str, Place]) -> None:
    """No two segments of a shot claim the same place on its timeline.

    Args:
        file: name of the storyboard's file, for messages.
        places: place of each segment, by its name.

    Raises:
        ValueError: if two do.
    """
    in_time = sorted(places.values(), key=lambda place: (place.shot, place.offset))
    for first, second in pairwise(in_time):
        if first.shot == second.shot and second.offset < first.offset + first.latents:
            other = f"{first.segment.name} (line {first.segment.line})"
            reason = f"{second.segment.name} and {other} claim the same place on the timeline of their shot: move one"
            fail(file, second.segment.line_of("gap", "between", "after", "before", "num_frames"), reason)
