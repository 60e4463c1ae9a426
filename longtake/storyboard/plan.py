"""A storyboard into steps: the order in which segments are made, what each remembers, and the hash that names it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor

from longtake.rollouts.plan import RememberedSegment
from longtake.rollouts.segmentwise import segment_canvas
from longtake.storyboard.layout import Place, check_overlap, lay_out
from longtake.storyboard.schema import ModelLimits, Plan, PlanStep, Probe, Source, Storyboard, fail
from longtake.storyboard.steering import control_of

KEY_VERSION = 1


def plan(storyboard: Storyboard, limits: ModelLimits, probe: Probe) -> Plan:
    """Checks everything and orders the work; nothing is sampled before this has passed.

    A segment is made as early in the list's order as what it adjoins and remembers allows; given videos come first.

    Args:
        storyboard: as it was read.
        limits: what the weights can do.
        probe: looks at given videos.

    Returns:
        What to make, in order.

    Raises:
        ValueError: naming file, line and reason.
    """
    places = lay_out(storyboard, limits, probe)
    order = _order(storyboard, places)
    check_overlap(storyboard.file, places)
    steered = control_of(storyboard, places, limits)
    shots = {shot: number for number, shot in enumerate(dict.fromkeys(places[name].shot for name in order))}
    steps: dict[str, PlanStep] = {}
    for name in order:
        place = places[name]
        names = _remembered(storyboard, place, list(steps), places, limits)
        ratios = _ratios(place, names, places, limits)
        sources = tuple(_source(place, places[other], places, ratios[other]) for other in names)
        touching = [other for other in (places[s.name] for s in sources) if other.shot == place.shot]
        before = next((o.segment.name for o in touching if o.offset + o.latents == place.offset), None)
        after = next((o.segment.name for o in touching if o.offset == place.offset + place.latents), None)
        canvas = segment_canvas(
            0,
            place.latents,
            before=0 if before is None else places[before].latents,
            after=0 if after is None else places[after].latents,
            overlap_frames=limits.overlap_frames,
        )
        remembered = tuple(
            RememberedSegment(s.distance, places[s.name].latents, s.compression_ratio, s.cuts) for s in sources
        )
        steps[name] = PlanStep(
            name=name,
            task=place.task,
            latents=place.latents,
            num_frames=place.num_frames,
            offset=place.offset,
            start=place.start,
            shot=shots[place.shot],
            sources=sources,
            before=before,
            after=after,
            prompt=place.segment.prompt,
            seed=place.segment.seed,
            compression_ratio=place.compression_ratio,
            starts_take=place.start == 0,
            given=place.segment.given,
            line=place.segment.line,
            canvas=canvas._replace(remembered=remembered),
            key=_key(place, sources, steps, limits, steered.get(name)),
            control=steered.get(name),
        )
    return Plan(tuple(steps.values()), tuple(places))


def dependants(plan: Plan, name: str) -> set[str]:
    """Everything that is made again if a segment changes, itself included."""
    found = {name}
    for step in plan.steps:
        if any(source.name in found for source in step.sources):
            found.add(step.name)
    return found


def _order(storyboard: Storyboard, places: Mapping[str, Place]) -> list[str]:
    """Names in the order in which they are made.

    Raises:
        ValueError: if segments wait for each other.
    """
    listed = [name for name, place in places.items() if place.segment.given is not None]
    listed += [segment.name for segment in storyboard.segments]
    needs = {name: dict.fromkeys((*places[name].needs, *(places[name].segment.memory or ()))) for name in listed}
    order: list[str] = []
    while len(order) < len(listed):
        ready = next((n for n in listed if n not in order and all(need in order for need in needs[n])), None)
        if ready is None:
            # Whoever is left waits for somebody who is left: following that ends in a circle.
            waiting = [next(name for name in listed if name not in order)]
            while waiting[-1] not in waiting[:-1]:
                waiting.append(next(need for need in needs[waiting[-1]] if need not in order))
            circle = waiting[waiting.index(waiting[-1]) :]
            line = places[circle[0]].segment.line_of("between", "after", "before", "memory")
            fail(storyboard.file, line, f"a cycle: {', which needs '.join(circle)}: take one of these links away")
        order.append(ready)
    return order


def _remembered(
    storyboard: Storyboard, place: Place, finished: Sequence[str], places: Mapping[str, Place], limits: ModelLimits
) -> list[str]:
    """The names that a segment remembers, in the order of the take.

    What it adjoins is always remembered. Where there is more than the model's memory holds, what the segment continues
    or leads to is kept, then what began its shot, so that a long take does not drift from where it set out, then what
    is nearest in the take.
    Source: our choice.

    Raises:
        ValueError: if the memory cannot even hold what the segment adjoins.
    """
    segment, wanted = place.segment, place.segment.memory
    if segment.given is not None:
        return []
    within = [name for name in place.needs if places[name].shot == place.shot]
    asked = list(finished) if wanted is None else [*wanted, *within]
    most, least = limits.memory.max_segments, max(len(within), 1 if asked else 0)
    if most < least:
        line = segment.line_of("memory", "direction", "between", "after", "before")
        rule = f"{segment.name} has to remember {least}"
        fail(storyboard.file, line, f"the memory holds {most} segment(s), but {rule}: raise rollout.max_context")
    known = [name for name in finished if name in asked]
    began = next((name for name in finished if places[name].shot == place.shot), None)
    picked = limits.memory.select(
        [_distance(place, places[name]) for name in known],
        first=None if began is None or began not in known else known.index(began),
        needed={number for number, name in enumerate(known) if name in within},
    )
    return sorted((known[number] for number in picked), key=lambda name: places[name].start)


def _distance(place: Place, other: Place) -> int:
    """Latent frames of the take between two segments."""
    first, second = sorted((place, other), key=lambda p: p.start)
    return second.start - first.start - first.latents


def _ratios(
    place: Place, remembered: Sequence[str], places: Mapping[str, Place], limits: ModelLimits
) -> dict[str, float]:
    """At which ratio a segment remembers each of these: as rollout=segmentwise, more coarsely the further away.

    A ratio that a segment states itself stays. Source: our choice.
    """
    others = [places[name] for name in remembered]
    distances = [_distance(place, other) for other in others]
    grown = limits.memory.ratios(distances, [other.compression_ratio for other in others])
    return {
        other.segment.name: min(
            ratio if other.segment.compression_ratio is None else other.compression_ratio,
            other.latents * limits.tokens_per_latent,
        )
        for other, ratio in zip(others, grown, strict=True)
    }


def _source(place: Place, other: Place, places: Mapping[str, Place], ratio: float) -> Source:
    """How a segment sees one that it remembers."""
    if place.shot == other.shot:
        return Source(other.segment.name, ratio, other.offset - place.offset, 0)
    low, high = sorted((place.start, other.start))
    between = [p for p in places.values() if low <= p.start <= high]
    cuts = sum(a.shot != b.shot for a, b in pairwise(between))
    distance = other.start - place.start
    return Source(other.segment.name, ratio, distance, cuts if distance > 0 else -cuts)


def _key(
    place: Place,
    sources: Sequence[Source],
    steps: Mapping[str, PlanStep],
    limits: ModelLimits,
    control: Tensor | None,
) -> str:
    """Hash of everything that determines a segment's latents.

    Of what it remembers, the key, and ratio, distance and cuts as it sees them: its own ratio, its name and its
    absolute place are no part, so that a change of ratio re-makes those who remember the segment and not the segment.
    """
    segment, given = place.segment, place.segment.given
    own = (
        [place.task, segment.prompt, segment.seed] if given is None else [given.content, given.begin, given.num_frames]
    )
    seen = [[steps[source.name].key, source.compression_ratio, source.distance, source.cuts] for source in sources]
    described = [KEY_VERSION, limits.fingerprint, *own, place.latents, place.start == 0, seen]
    if control is not None:
        described.append(hashlib.sha256(control.numpy().tobytes()).hexdigest())
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:24]
