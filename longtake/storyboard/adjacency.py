"""Which segment adjoins which, which of them share a shot, and the order in which they are seen."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from longtake.storyboard.schema import Segment, Storyboard, fail


class Link(NamedTuple):
    """What a segment follows and what it precedes."""

    after: str | None
    before: str | None


def adjoin(storyboard: Storyboard, given: Sequence[Segment]) -> dict[str, Link]:
    """The links of all segments: those that the file states, and where it states none, to the segment listed before.

    given: segments read from videos, linked already. By default a segment continues the one listed before it
    (retrodict: precedes it); the first one continues the video that comes first, or else leads to the one that comes
    last.

    Args:
        storyboard: storyboard as it was read.
        given: segments read from videos, linked already.

    Returns:
        The links of each segment, by its name.

    Raises:
        ValueError: for two segments of one name, a link to nothing, or a direction without what it needs.
    """
    file, everything = storyboard.file, {segment.name: segment for segment in given}
    for segment in storyboard.segments:
        if segment.name in everything:
            first = everything[segment.name].line
            fail(
                file,
                segment.line_of("name"),
                f"two segments are called {segment.name}, the first in line {first}: rename one",
            )
        everything[segment.name] = segment
    links = {segment.name: Link(segment.after, segment.before) for segment in given}
    opening = next((video.name for video in storyboard.videos if video.role == "first"), None)
    ending = next((video.name for video in storyboard.videos if video.role == "last"), None)
    for number, segment in enumerate(storyboard.segments):
        listed_before = storyboard.segments[number - 1].name if number else None
        link = _link(segment, listed_before or opening, listed_before or ending, is_first=number == 0)
        for key, name in (
            ("after", link.after),
            ("before", link.before),
            *(("memory", m) for m in segment.memory or ()),
        ):
            if name == segment.name:
                fail(file, segment.line_of(key, "between"), f"{name} refers to itself: name another segment")
            if name is not None and name not in everything:
                near = get_close_matches(name, everything, 1)
                meant = f"; did you mean {near[0]}?" if near else ""
                fail(file, segment.line_of(key, "between"), f"{segment.name} needs {name}, which is not there{meant}")
        _check_ends(file, segment, link)
        links[segment.name] = link
    return links


def _link(segment: Segment, previous: str | None, following: str | None, *, is_first: bool) -> Link:
    """Links of one segment; previous and following: what it adjoins by default, forwards and backwards."""
    if segment.lines.keys() & {"after", "before", "between"} or segment.direction == "interpolate":
        return Link(segment.after, segment.before)
    if segment.direction == "retrodict":
        return Link(None, following)
    if previous is None and is_first and segment.direction is None:
        return Link(None, following)
    return Link(previous, None)


def _check_ends(file: str, segment: Segment, link: Link) -> None:
    """Each direction has the ends that it needs."""
    direction, line = segment.direction, segment.line_of("direction")
    if direction == "interpolate" and (link.after is None or link.before is None):
        fail(file, line, f"{segment.name} interpolates, but has not both ends: say between: [a, b]")
    if direction == "predict" and link.after is None:
        fail(file, line, f"{segment.name} predicts, but there is nothing that it continues: say after: a, or new_shot")
    if direction == "retrodict" and link.before is None:
        fail(file, line, f"{segment.name} retrodicts, but there is nothing that it leads to: say before: b")
    if segment.gap and (link.after is None or link.before is not None or direction == "new_shot"):
        fail(file, segment.line_of("gap"), f"{segment.name} has a gap: only a segment that continues another may")


def group_shots(file: str, segments: Sequence[Segment], links: Mapping[str, Link]) -> dict[str, str]:
    """The shot of each segment, by name: the name of the first segment of that shot in the list's order.

    Segments of one label share a shot. One without a label is in the shot of what it adjoins on the side that its
    direction looks to, unless it is a new_shot.

    Args:
        file: name of the storyboard's file, for messages.
        segments: all segments, in the list's order.
        links: links of each segment, by its name.

    Returns:
        The shot of each segment, by its name.

    Raises:
        ValueError: if an interpolation would join two shots of different labels.
    """
    shot_of = {segment.name: segment.name for segment in segments}
    labels = {segment.name: segment.shot for segment in segments}

    def join(segment: Segment, other: str) -> None:
        kept, dropped = shot_of[segment.name], shot_of[other]
        if kept == dropped:
            return
        mine, its = labels[kept], labels[dropped]
        if mine is not None and its is not None and mine != its:
            reason = (
                f"{segment.name} would join shot {mine} and shot {its} of {other}: between two shots there is a cut"
            )
            fail(file, segment.line_of("between", "after", "before"), reason)
        labels[kept] = mine if mine is not None else its
        for name in shot_of:
            if shot_of[name] == dropped:
                shot_of[name] = kept

    for number, segment in enumerate(segments):
        same = [other for other in segments[:number] if segment.shot is not None and other.shot == segment.shot]
        if same:
            join(segment, same[0].name)
    for segment in segments:
        looks = {"predict": "after", "retrodict": "before", "new_shot": ""}.get(segment.direction or "", "after before")
        for side in looks.split() if segment.shot is None else ():
            other = getattr(links[segment.name], side)
            if other is not None:
                join(segment, other)
    first: dict[str, str] = {}
    return {s.name: first.setdefault(shot_of[s.name], s.name) for s in segments}


def order_timeline(
    file: str, segments: Sequence[Segment], links: Mapping[str, Link], shots: Mapping[str, str]
) -> tuple[str, ...]:
    """All names in the order in which they are seen.

    Args:
        file: name of the storyboard's file, for messages.
        segments: all segments, in the list's order.
        links: links of each segment, by its name.
        shots: shot of each segment, by its name.

    Returns:
        Names in the order of the screen.

    Raises:
        ValueError: if two segments claim one place, the order runs in a circle, or some are joined to nothing.
    """
    by_name = {segment.name: segment for segment in segments}
    follows: dict[str, str] = {}
    precedes: dict[str, str] = {}
    for segment in segments:
        after, before = links[segment.name]
        unseen = segment.gap > 0 and after is not None and shots[after] == shots[segment.name]
        pairs = [(after, segment.name)] if after is not None and not unseen else []
        pairs += [(segment.name, before)] if before is not None else []
        for first, second in pairs:
            for side, held, claimant in (
                (f"after {first}", follows.get(first, second), second),
                (f"before {second}", precedes.get(second, first), first),
            ):
                if held != claimant:
                    where = f"line {by_name[held].line}"
                    reason = f"{claimant} and {held} ({where}) claim the same place on the timeline, {side}: move one"
                    fail(file, segment.line_of("between", "after", "before", "direction"), reason)
            follows[first], precedes[second] = second, first
    heads = [segment for segment in segments if segment.name not in precedes]
    for segment in heads:
        if segment.gap > 0:
            filling = f"add a segment with between: [{links[segment.name].after}, {segment.name}]"
            fail(file, segment.line_of("gap"), f"nothing fills the gap before {segment.name}: {filling}")
    if len(heads) > 1:
        reason = f"{heads[1].name} is not joined to the rest of the take: say what it comes after or before"
        fail(file, heads[1].line, reason)
    order = [heads[0].name] if heads else []
    while order and order[-1] in follows:
        order.append(follows[order[-1]])
    if len(order) < len(segments):
        lost = next(segment for segment in segments if segment.name not in order)
        fail(file, lost.line, f"the timeline runs in a circle (cycle) through {lost.name}: change what it follows")
    return tuple(order)
