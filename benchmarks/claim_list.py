"""What the papers claim, one comparison of two methods each, and the verdict on it from paired videos.

The paper's figures are those of its table and, marked ~, read off its plots; they come from another model and other
videos, so only their order can be compared with ours.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.claim_methods import REAL
from benchmarks.claim_videos import Video
from benchmarks.trained import interval

LEAST_GROUPS = 4
"""Levels below which an interval says nothing, so that the verdict stays open. Source: our choice."""
HOLDS, FAILS, UNCLEAR, UNMEASURED = "holds", "does not hold", "unclear", "not measured"
Interval = tuple[float, float, float]


class Claim(NamedTuple):
    """`one` is better than `other` by a measure; better: higher or lower; figure: the paper's, as text."""

    paper: str
    text: str
    figure: str
    measure: str
    one: str
    other: str
    better: str


class Row(NamedTuple):
    """How a row of values is called in texts and shown; arrow: which way is better, if either."""

    head: str
    digits: int
    arrow: str


SHOWN = {
    "subject_consistency": Row("subject consistency", 3, "↑"),
    "background_consistency": Row("background consistency", 3, "↑"),
    "motion_smoothness": Row("motion smoothness", 3, "↑"),
    "temporal_flicker": Row("temporal flicker", 3, "↑"),
    "motion_magnitude": Row("motion", 2, ""),
    "dynamic_degree": Row("dynamic degree", 2, ""),
    "mawe": Row("MAWE", 2, "↓"),
    "scene_cuts": Row("scene cuts", 2, "↓"),
    "feature_drift": Row("feature drift", 3, "↓"),
    "colour_drift": Row("colour drift", 1, "↓"),
    "seam": Row("seam", 2, "↓"),
    "prompt_colour": Row("prompt's colour", 2, "↑"),
    "seconds": Row("seconds", 1, "↓"),
}
ORDER = "order only: VIN highest"
NOT_COMPARED = "not compared"
NOT_GIVEN = "not given"
BASELINES = {
    "autoregressive": ORDER,
    "anchored": "order only: StreamingT2V lowest (this is its idea, untrained)",
    "free_noise": ORDER,
    "gen_l_video": NOT_COMPARED,
    "spectral_blending": ORDER,
    "vin_without_tokens": NOT_GIVEN,
}
"""Chunk-based methods, and what the paper's VBench-Long says of VIN beside each."""
MAWE_PLOT = {"autoregressive": "~1.5 against ~3.5", "free_noise": "~1.5 against ~3.0", "full": "~1.5 against ~2.5"}
"""At 256 frames."""
ABLATIONS = {
    "vin_without_tokens": ("without global tokens", "1.69", "0.33"),
    "vin_fusion_none": ("without fusion", "1.13", "1.00"),
    "vin_fusion_mid": ("with mid fusion", "1.11", "0.33"),
    "vin_fusion_late": ("with late fusion", "1.22", "0.74"),
    "vin_local_4": ("with F_local at 0.4 of a chunk", "1.51", "0.24"),
    "vin_local_5": ("with F_local at 0.5 of a chunk", "1.17", "0.22"),
    "vin_local_8": ("with F_local at 0.8 of a chunk", "", ""),
    "vin_local_10": ("with F_local of a whole chunk", "", ""),
    "vin_keyframes_0.5": ("with keyframes every 0.5 s", "1.14", "0.34"),
    "vin_keyframes_0.2": ("with keyframes every 0.2 s (here every latent frame)", "1.21", "0.29"),
}
"""MAWE and scene cuts in the paper, whose full model has 1.09 and 0.21."""


def _against(measure: str, one: str, other: str, figure: str, paper: str = "VIN") -> Claim:
    better = "higher" if SHOWN[measure].arrow == "↑" else "lower"
    text = f"{one}: {SHOWN[measure].head} {better} than {other}"
    return Claim(paper, text, figure, measure, one, other, better)


def _vin() -> Iterable[Claim]:
    for other, figure in BASELINES.items():
        yield _against("subject_consistency", "vin", other, figure)
        yield _against("background_consistency", "vin", other, figure)
        yield _against("motion_smoothness", "vin", other, NOT_GIVEN)
        if other != "vin_without_tokens":  # stands among the ablations
            yield _against("mawe", "vin", other, MAWE_PLOT.get(other, NOT_GIVEN))
        yield _against("seam", "vin", other, NOT_GIVEN)
    yield _against("subject_consistency", "vin", "full", "order only: full attention falls with length")
    yield _against("mawe", "vin", "full", MAWE_PLOT["full"])
    stagnates = "order only: full attention's dynamic degree collapses"
    yield Claim("VIN", "vin: more motion than full", stagnates, "motion_magnitude", "vin", "full", "higher")
    for other, (what, mawe, cuts) in ABLATIONS.items():
        for measure, whole, figure in (("mawe", "1.09", mawe), ("scene_cuts", "0.21", cuts)):
            claim = _against(measure, "vin", other, f"{whole} against {figure}" if figure else NOT_COMPARED)
            yield claim._replace(text=f"vin: {SHOWN[measure].head} lower than {what}")
    yield _against("seconds", "vin", "full", "40–75 % faster (length not given)")


def _lovic() -> Iterable[Claim]:
    for measure in ("subject_consistency", "background_consistency", "feature_drift", "colour_drift"):
        yield _against(measure, "lovic", "lovic_window_only", "better temporal coherence; no figure known", "LoViC")


def _ours() -> Iterable[Claim]:
    for other in ("vin", "lovic"):
        for measure in ("subject_consistency", "background_consistency", "mawe", "feature_drift", "seam"):
            yield _against(measure, "hybrid", other, "–", "ours")


CLAIMS = (*_vin(), *_lovic(), *_ours())


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
