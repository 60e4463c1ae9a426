"""What the papers claim, and what we ask beyond them: one comparison of two methods each.

The paper's figures are those of its table and, marked ~, read off its plots; they come from another model and other
videos, so only their order can be compared with ours.
"""

from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.claiming.nearness import KID, LIKENESS


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
    "sharpness": Row("sharpness", 1, ""),
    "scene_cuts": Row("scene cuts", 2, "↓"),
    "feature_drift": Row("feature drift", 3, "↓"),
    "colour_drift": Row("colour drift", 1, "↓"),
    "seam": Row("seam", 2, "↓"),
    "prompt_colour": Row("prompt's colour", 2, "↑"),
    KID: Row("KID to real", 3, "↓"),
    LIKENESS: Row("likeness to own walk", 3, "↑"),
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
    for other in BASELINES:  # how much of VIN's lead its windows have without any token
        if other != "vin_without_tokens":
            for measure in ("motion_smoothness", "mawe"):
                yield _against(measure, "vin_without_tokens", other, "–", "ours")
    for other in ("vin", "lovic"):
        for measure in (
            "subject_consistency",
            "background_consistency",
            "motion_smoothness",
            "mawe",
            "scene_cuts",
            "feature_drift",
            "colour_drift",
            "seam",
        ):
            yield _against(measure, "hybrid", other, "–", "ours")
    for measure in ("seam", "mawe", "motion_smoothness", "subject_consistency"):
        yield _against(measure, "vin_fusion_all", "vin", "–", "ours")
    against = [("vin", other) for other in (*BASELINES, "full")]
    for one, other in (*against, ("lovic", "lovic_window_only"), ("hybrid", "lovic"), ("hybrid", "vin")):
        for measure in (KID, LIKENESS):
            yield _against(measure, one, other, "–", "ours")


CLAIMS = (*_vin(), *_lovic(), *_ours())
