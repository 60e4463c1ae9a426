"""What paired videos say of a claim."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.claiming.claims import SHOWN, Claim
from benchmarks.claiming.methods import REAL
from benchmarks.claiming.videos import Video
from benchmarks.trained import interval

LEAST_GROUPS = 4
"""Levels below which an interval says nothing, so that the verdict stays open. Source: our choice."""
HOLDS, FAILS, UNCLEAR, UNMEASURED = "holds", "does not hold", "unclear", "not measured"
Interval = tuple[float, float, float]


def paired(one: Sequence[Video], other: Sequence[Video], measure: str) -> list[tuple[float, float, str]]:
    """Both values of the videos of the same prompt and seed, and their group."""
    there = {(video["seed"], video["prompt"]): video["values"].get(measure) for video in other}
    both = ((v["values"].get(measure), there.get((v["seed"], v["prompt"])), v["group"]) for v in one)
    return [(float(a), float(b), str(group)) for a, b, group in both if a is not None and b is not None]


def verdict_of(difference: Interval, better: str, num_groups: int) -> str:
    """Does the interval of one - other exclude 0, and on which side? Too few levels leave it open."""
    _, low, high = difference if better == "higher" else (0.0, -difference[2], -difference[1])
    if num_groups < LEAST_GROUPS:
        return UNCLEAR
    return HOLDS if low > 0 else FAILS if high < 0 else UNCLEAR


def judge(claim: Claim, videos: Mapping[str, Sequence[Video]]) -> dict[str, Any]:
    """A record of claims.json; videos: of each method."""
    record: dict[str, Any] = {
        "paper": claim.paper,
        "claim": claim.text,
        "paper_figure": claim.figure,
        "measure": claim.measure,
        "methods": [claim.one, claim.other],
        "better": claim.better,
        "ours": "–",
        "real": _mean(videos.get(REAL, []), claim.measure),
        "difference": None,
        "verdict": UNMEASURED,
    }
    pairs = paired(videos.get(claim.one, []), videos.get(claim.other, []), claim.measure)
    if not pairs:
        return record
    groups = [group for _, _, group in pairs]
    difference = interval([one - other for one, other, _ in pairs], groups)
    digits = SHOWN[claim.measure].digits
    means = [statistics.fmean(values) for values in ([one for one, _, _ in pairs], [other for _, other, _ in pairs])]
    record["ours"] = f"{means[0]:.{digits}f} against {means[1]:.{digits}f}"
    record["difference"] = list(difference)
    record["verdict"] = verdict_of(difference, claim.better, len(set(groups)))
    return record


def _mean(videos: Sequence[Video], measure: str) -> float | None:
    values = [float(value) for video in videos if (value := video["values"].get(measure)) is not None]
    return statistics.fmean(values) if values else None


def rows_of(videos: Sequence[Video]) -> dict[str, list[float]]:
    """Mean and interval of every row that some video has a value in."""
    found = {}
    for name in SHOWN:
        pairs = [(v["values"][name], v["group"]) for v in videos if v["values"].get(name) is not None]
        if pairs:
            found[name] = list(interval([float(value) for value, _ in pairs], [group for _, group in pairs]))
    return found
