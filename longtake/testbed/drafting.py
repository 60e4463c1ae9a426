"""From walks to questions: what is given of each, and what is asked for.

Contexts have 4 k + 1 frames and targets 4 k, so that codecs that fold four frames take them whole.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from longtake.testbed.poses import Poses, nearest_poses
from longtake.testbed.questions import Question, Span, order

_LEAST_UNVISITED = 13  # frames


class Walk(NamedTuple):
    """What is known of a rendered walk.

    kind: explore, backtrack, return, loop, leave or rejoin; turn_frame: from which the way is walked back, -1 where it
    is not; home: the region that a loop, leave or rejoin is about.
    """

    video: str
    maze: str
    kind: str
    turn_frame: int
    home: int
    poses: Poses

    def __len__(self) -> int:
        return len(self.poses.track)


class _Draft(NamedTuple):
    task: str
    context: Span
    target: Span


def draft_questions(walks: Sequence[Walk], *, lengths: Sequence[int]) -> list[Question]:
    """All questions about some walks, by task, then by maze.

    Args:
        walks: rendered walks of all mazes.
        lengths: n of retrieval and reasoning, each a multiple of 4, at most half of the frames.
    """
    mazes: dict[str, list[Walk]] = defaultdict(list)
    for walk in walks:
        mazes[walk.maze].append(walk)
    drafts: dict[str, list[tuple[str, _Draft]]] = defaultdict(list)
    for maze, those in sorted(mazes.items()):
        for draft in _drafts(those, lengths):
            drafts[draft.task].append((maze, draft))
    questions = []
    for task, found in sorted(drafts.items(), key=lambda each: order(each[0])):
        for place, (maze, draft) in enumerate(found):
            other = f"{found[(place + 1) % len(found)][0]}-{task}" if len(found) > 1 else None
            questions.append(_question(maze, draft, other, mazes[maze]))
    return questions


def _drafts(walks: Sequence[Walk], lengths: Sequence[int]) -> Iterator[_Draft]:
    """Of one maze."""
    left = next((walk for walk in walks if walk.kind == "leave"), None)
    for walk in walks:
        frames, turn = len(walk), walk.turn_frame
        if walk.kind in ("backtrack", "explore"):
            middle, kind = (turn, "retrieval") if walk.kind == "backtrack" else (frames // 2, "reasoning")
            for n in lengths:
                yield _Draft(f"{kind}-{n}", *_about(walk, middle - n, middle + 1, n))
        elif walk.kind == "return":
            yield _Draft("return", *_about(walk, turn % 4, turn + 1, 4 * ((frames - turn - 1) // 4)))
        elif walk.kind in ("loop", "rejoin"):
            length = 4 * ((frames - 1) // 16)
            home = _in_view_again(walk, within=length // 2)
            if home is None or home + length > frames:
                continue
            target = Span(video=walk.video, start=home, end=home + length)
            if walk.kind == "loop":
                yield _Draft("loop", Span(video=walk.video, start=(home - 1) % 4, end=home), target)
            elif left is not None:
                yield _Draft("cut", Span(video=left.video, start=(len(left) - 1) % 4, end=len(left)), target)


def _about(walk: Walk, start: int, end: int, target: int) -> tuple[Span, Span]:
    """A context, and as target the frames that follow it."""
    return (Span(video=walk.video, start=start, end=end), Span(video=walk.video, start=end, end=end + target))


def _in_view_again(walk: Walk, *, within: int) -> int | None:
    """The frame at which home comes into view before it is entered, at most so many frames earlier; None if never."""
    is_home = [region == walk.home for region in walk.poses.region]
    if False not in is_home:
        return None
    left = is_home.index(False)
    back = next((frame for frame in range(left, len(walk)) if is_home[frame]), None)
    if back is None:
        return None
    frame = back
    while frame - 1 > left and back - frame < within and walk.home in walk.poses.in_view[frame - 1]:
        frame -= 1
    return frame


def _question(maze: str, draft: _Draft, other: str | None, walks: Sequence[Walk]) -> Question:
    context, target = draft.context, draft.target
    poses = {walk.video: walk.poses for walk in walks}
    tracks = (poses[span.video].track[span.start : span.end] for span in (target, context))
    nearest = nearest_poses(*tracks)
    gap = 1 - context.end if context.video == target.video else 1
    name = f"{maze}-{draft.task}"
    return Question(
        id=name,
        kind=draft.task.partition("-")[0],
        task=draft.task,
        maze=maze,
        context=context,
        target=target,
        seed=zlib.crc32(name.encode()),
        other=other,
        unvisited=_unvisited(walks, poses[target.video], target),
        since_context=tuple(frame + gap for frame in range(target.start, target.end)),
        nearest_frame=tuple((context.start + nearest.frame).tolist()),
        nearest_distance=tuple(nearest.distance.round(3).tolist()),
        nearest_degrees=tuple(nearest.degrees.round(3).tolist()),
    )


def _unvisited(walks: Sequence[Walk], poses: Poses, target: Span) -> Span | None:
    """The longest stretch of all walks in which no region that the target shows is in view."""
    shown = frozenset[int]().union(*poses.in_view[target.start : target.end])
    best = Span(video=target.video, start=0, end=0)
    for walk in walks:
        start = 0
        for frame in range(len(walk) + 1):
            if frame == len(walk) or walk.poses.in_view[frame] & shown:
                if frame - start > len(best):
                    best = Span(video=walk.video, start=start, end=frame)
                start = frame + 1
    if len(best) < _LEAST_UNVISITED:
        return None
    return Span(video=best.video, start=best.start, end=best.start + 4 * ((len(best) - 1) // 4) + 1)
