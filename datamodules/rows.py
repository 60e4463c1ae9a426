"""Which pieces of which clips make a row of segments: a pure function of the seed, the step and the row.

Frames are latent frames throughout.
"""

import itertools
import os
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from datamodules.clips import Clip
from datamodules.sampling import BatchPlan, Draw

CUTS = (2, 4)
"""Fewest and most cuts of a row of several shots. Source: our choice, so that a walk is left and found again."""
RESUMED_SHARE = 0.5
"""How often a shot goes on exactly where its walk was left. Source: our choice."""


class RowRule(NamedTuple):
    """What a row is: its slots, frames of each, how often it has a gap or, instead, several shots.

    short_caption_share: of slots, each drawn by itself, that get the short caption where there is one.
    """

    num_slots: int
    segment_frames: int
    gap_share: float
    multi_shot_share: float
    short_caption_share: float = 0.0


class Slot(NamedTuple):
    """One segment: number of its clip in the row, first frame there, first place on the row's timeline, and shot.

    short: whether it has the short caption.
    """

    clip: int
    start: int
    place: int
    shot: int
    short: bool = False


class Row(NamedTuple):
    """A row's clips and its slots; fewer slots than the rule asks for where the clips are too short."""

    clips: tuple[Clip, ...]
    slots: list[Slot]


def compose_row(rule: RowRule, lengths: Sequence[int], rng: random.Random) -> list[Slot]:
    """Segments of one walk, perhaps with a gap; or shots that alternate between two walks.

    lengths: frames of the row's own clip and, where there is one, of its partner; each at least one segment.
    """
    several, gap = rng.random() < rule.multi_shot_share, rng.random() < rule.gap_share
    if several and len(lengths) > 1 and rule.num_slots > 1:
        return _alternate(rule, lengths, rng)
    held = lengths[0] // rule.segment_frames
    count = min(rule.num_slots, held)
    skipped, first_late = 0, count
    if gap and held > count > 1:
        skipped, first_late = rng.randint(1, held - count), rng.randint(1, count - 1)
    offset = rng.randint(0, lengths[0] - (count + skipped) * rule.segment_frames)
    return _one_shot([number + skipped * (number >= first_late) for number in range(count)], offset, rule)


def fixed_row(rule: RowRule, length: int, share: float) -> list[Slot]:
    """Adjoining segments of one walk; share: where in the clip they begin, from 0, its start, to 1, its end."""
    count = min(rule.num_slots, length // rule.segment_frames)
    offset = round(share * (length - count * rule.segment_frames))
    return _one_shot(range(count), offset, rule)


def _one_shot(numbers: Sequence[int], offset: int, rule: RowRule) -> list[Slot]:
    """The segments of these numbers, counted from the frame `offset` of the row's own clip."""
    places = [number * rule.segment_frames for number in numbers]
    return [Slot(0, offset + place, place, 0) for place in places]


def _alternate(rule: RowRule, lengths: Sequence[int], rng: random.Random) -> list[Slot]:
    """Shots of walk 0, walk 1, walk 0 again, …; the timeline keeps counting, since no place is shared across a cut."""
    num_cuts = min(rng.randint(*CUTS), rule.num_slots - 1)
    bounds = [0, *sorted(rng.sample(range(1, rule.num_slots), num_cuts)), rule.num_slots]
    counts = [after - before for before, after in itertools.pairwise(bounds)]
    starts: dict[int, int] = {}
    for clip in (0, 1):
        left = lengths[clip] // rule.segment_frames
        shots = range(clip, len(counts), 2)
        for shot in shots:  # a walk too short for its shots gives what it holds
            counts[shot] = min(counts[shot], left)
            left -= counts[shot]
        placed = _place_shots([counts[shot] for shot in shots], lengths[clip], rule.segment_frames, rng)
        starts.update(zip(shots, placed, strict=True))
    slots: list[Slot] = []
    filled = [shot for shot, count in enumerate(counts) if count]
    for number, shot in enumerate(filled):
        for segment in range(counts[shot]):
            start = starts[shot] + segment * rule.segment_frames
            slots.append(Slot(shot % 2, start, len(slots) * rule.segment_frames, number))
    return slots


def _place_shots(counts: Sequence[int], length: int, segment_frames: int, rng: random.Random) -> list[int]:
    """First frames of shots of `counts` segments within one clip: in order, none overlapping."""
    free = length - sum(counts) * segment_frames
    passed = sorted(rng.randint(0, free) for _ in counts)
    if rng.random() < RESUMED_SHARE:
        passed = passed[:1] * len(counts)
    return [frames + sum(counts[:shot]) * segment_frames for shot, frames in enumerate(passed)]


class Partners:
    """For every clip one of another video: of the same folder where that holds another, otherwise of any."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        """clips: all that may be shown."""
        self.clips = clips
        self.numbers: dict[str, list[int]] = defaultdict(list)
        for number, clip in enumerate(clips):
            self.numbers[clip.entry.where].append(number)
        self.videos = list(self.numbers)
        self.folders: dict[str, list[str]] = defaultdict(list)
        self.place_in_all = {video: place for place, video in enumerate(self.videos)}
        self.place_in_folder: dict[str, int] = {}
        for video in self.videos:
            near = self.folders[os.path.dirname(video)]
            self.place_in_folder[video] = len(near)
            near.append(video)

    def draw(self, clip: Clip, rng: random.Random) -> Clip | None:
        """None where there is no other video at all."""
        own = clip.entry.where
        videos, place = self.folders[os.path.dirname(own)], self.place_in_folder[own]
        if len(videos) == 1:
            videos, place = self.videos, self.place_in_all[own]
        if len(videos) == 1:
            return None
        other = rng.randrange(len(videos) - 1)
        other += other >= place
        return self.clips[rng.choice(self.numbers[videos[other]])]


class RowPlan:
    """The rows of every optimizer step, over the endless order of clips of a BatchPlan; without state, as that is."""

    def __init__(
        self, *, plan: BatchPlan, clips: Sequence[Clip], frames_of: Callable[[Clip], int], rule: RowRule, seed: int
    ) -> None:
        """plan: draws numbers of clips; frames_of: how many frames a clip has."""
        self.plan, self.clips, self.frames_of = plan, clips, frames_of
        self.rule, self.seed = rule, seed
        self.partners = Partners(clips)

    def draw(self, number: int) -> Draw[Row]:
        """The rows of step `number`, over all processes and accumulated batches."""
        drawn = self.plan.draw(number)
        rows = [self._row(self.clips[clip], (self.seed, number, row)) for row, clip in enumerate(drawn.clips)]
        return Draw(drawn.num_frames, rows)

    def _row(self, clip: Clip, seeds: tuple[int, ...]) -> Row:
        rng = random.Random(repr(seeds))  # a text is hashed, so that neighbouring seeds have nothing in common
        partner = self.partners.draw(clip, rng)
        clips = (clip,) if partner is None else (clip, partner)
        slots = compose_row(self.rule, [self.frames_of(each) for each in clips], rng)
        return Row(clips, [slot._replace(short=rng.random() < self.rule.short_caption_share) for slot in slots])
