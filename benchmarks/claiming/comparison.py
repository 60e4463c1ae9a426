"""All methods on the same walks: made, scored and judged, with results that are whole after each."""

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.claiming.claims import CLAIMS
from benchmarks.claiming.cost import video_tflop
from benchmarks.claiming.methods import METHODS, REAL, Method, Size, config_of, overrides_of, shown, weights_of
from benchmarks.claiming.nearness import Nearness
from benchmarks.claiming.other_results import claims_of_files, curves
from benchmarks.claiming.references import references
from benchmarks.claiming.tables import claim_sheet, in_order, method_sheet
from benchmarks.claiming.verdicts import judge, rows_of
from benchmarks.claiming.videos import (
    SEED_STRIDE,
    Video,
    Walk,
    features_of,
    keep_real,
    make_once,
    make_sampler,
    make_scorer,
    protocol,
    score,
)
from benchmarks.report import save
from longtake.cli.changes import changes_of, with_changes
from longtake.releases.building import build
from longtake.releases.reading import load_run, read_run, weights_hash

log = logging.getLogger("longtake")

SAME = ("num_frames", "steps", "split", "prompts")
"""What must not differ between videos in one results file."""
MAIN = "claims"
"""Name of the results at the length, and under the captions, that all methods are compared at."""
BESIDE = "real_beside"
"""Folder of a further real walk of each level."""
Record = dict[str, Any]


def read_before(path: Path, request: Record) -> dict[str, Record]:
    """Methods of earlier runs, by name.

    Raises:
        ValueError: if these were of other prompts, lengths or steps.
    """
    if not path.is_file():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    for key in SAME:
        if before["request"][key] != request[key]:
            was = before["request"]["videos"] if key == "prompts" else before["request"][key]
            now = request["videos"] if key == "prompts" else request[key]
            name = "videos" if key == "prompts" else key
            raise ValueError(f"{path} holds results of {name}={was}, not {now}: give another output=…, or remove it")
    return {record["method"]: record for record in before["methods"]}


def added(before: Sequence[Video], new: Sequence[Video]) -> list[Video]:
    """Videos of earlier runs and of this one, which replace those of the same seed and prompt."""
    found = {(video["seed"], video["prompt"]): video for video in (*before, *new)}
    return [found[key] for key in sorted(found)]


def record_of(name: str, videos: Sequence[Video], **known: Any) -> Record:
    """A method as it stands in claims.json."""
    seconds = [video["values"]["seconds"] for video in videos if "seconds" in video["values"]]
    return {
        "method": name,
        **known,
        "rows": rows_of(videos),
        "seconds": statistics.median(seconds) if seconds else None,
        "videos": list(videos),
    }


class Comparison:
    """All methods on the same walks; results are whole after each."""

    def __init__(
        self, *, options: dict[str, str], walks: Sequence[Walk], request: Record, others: Path, name: str
    ) -> None:
        """Reads what earlier runs found; others: folder of other benchmarks' results; name: of the results' files."""
        self.options, self.walks, self.request, self.others = options, walks, request, others
        self.size = Size(int(options["num_frames"]), int(options["steps"]))
        self.seeds = [int(seed) for seed in options["seeds"].split(",")]
        self.folder = Path(options["folder"]) / options["num_frames"]
        self.output = Path(options["output"])
        self.name = name
        self.methods = read_before(self.output / f"{name}.json", request)
        self.scorer = make_scorer(self.folder / "scores")
        self.sampler = make_sampler(self.folder / "scores", self.size.num_frames)
        self.hashes: dict[str, dict[str, str]] = {}
        self.nearness: Nearness  # once the walks are read

    def hashes_of(self, method: Method) -> dict[str, str]:
        """Of the method's weights and of the codec that decodes it; those of each folder are read once."""
        if method.weights not in self.hashes:
            config, module = load_run(weights_of(method, self.options))
            codec = build(config["codec"])
            self.hashes[method.weights] = {"weights_hash": weights_hash(module), "codec_hash": weights_hash(codec)}
        return self.hashes[method.weights]

    def settings_of(self, method: Method) -> Record:
        """All that determines the method's videos beside prompts and noise, defaults of its rollout included."""
        weights = weights_of(method, self.options)
        cfg = config_of(method, self.size, weights=weights, output="", seed=0, prompts=())
        return {
            "overrides": overrides_of(method, self.size),
            "rollout": with_changes(read_run(weights)[0], changes_of(cfg))["rollout"],
            **self.hashes_of(method),
        }

    def drop_outdated(self) -> None:
        """Forgets results of weights or settings that have changed since."""
        for method in METHODS.values():
            record = self.methods.get(method.name)
            if record is None or not weights_of(method, self.options).exists():
                continue
            if any(record.get(key) != value for key, value in self.settings_of(method).items()):
                log.warning(f"{method.name}: its earlier results are of other weights or settings, and are dropped")
                del self.methods[method.name]

    def run_real(self) -> None:
        """Scores the walks themselves; how near a further walk of each level is says what nearness can be had."""
        folder, others = self.folder / REAL / "seed_0", self.folder / BESIDE / "seed_0"
        keep_real(self.walks, folder, self.size.num_frames)
        videos = score(self.scorer, folder, self.walks, 0)
        real, further = features_of(self.sampler, folder), {}
        there = [walk._replace(entry=walk.other) for walk in self.walks if walk.other is not None]
        if len(there) == len(self.walks):
            keep_real(there, others, self.size.num_frames)
            further = features_of(self.sampler, others)
        self.nearness = Nearness(real=real, others=further, groups=[walk.group for walk in self.walks])
        self.add_nearness(videos, further)
        self.keep_reference(REAL, videos)
        for name, change in references(weights_of(METHODS["vin"], self.options)).items():
            folder = self.folder / name / "seed_0"
            keep_real(self.walks, folder, self.size.num_frames, change)
            videos = score(self.scorer, folder, self.walks, 0)
            self.add_nearness(videos, features_of(self.sampler, folder))
            self.keep_reference(name, videos)

    def keep_reference(self, name: str, videos: Sequence[Video]) -> None:
        """Walks in the place of a method."""
        none = dict.fromkeys(("weights", "weights_hash", "codec_hash", "tflop"))
        self.methods[name] = record_of(name, videos, overrides=[], **none)

    def add_nearness(self, videos: Sequence[Video], features: Mapping[int, Tensor]) -> None:
        """Values of videos of one seed, whose frames have these features; they depend on all of them."""
        found = self.nearness.values(features)
        for video in videos:
            video["values"] |= found.get(video["prompt"], {})

    def run(self, method: Method) -> None:
        """Makes and scores the method's videos of every seed."""
        weights, settings = weights_of(method, self.options), self.settings_of(method)
        prompts, new, tflop = self.request["prompts"], [], None
        before = self.methods.get(method.name, {"videos": []})["videos"]
        for seed in self.seeds:
            folder = self.folder / method.name / f"seed_{seed}"
            first = SEED_STRIDE * seed
            cfg = config_of(method, self.size, weights=weights, output=folder, seed=first, prompts=prompts)
            tflop = tflop or video_tflop(cfg)  # the same for every seed
            key = {**settings, "seed": first, "prompts": prompts}
            log.info(f"{method.name}, seed {seed}: {'made' if make_once(cfg, folder, key) else 'was there'}")
            videos = score(self.scorer, folder, self.walks, seed)
            self.add_nearness(videos, features_of(self.sampler, folder))
            new += videos
        known = {"weights": shown(weights), **settings, "tflop": tflop}
        self.methods[method.name] = record_of(method.name, added(before, new), **known)

    def results(self) -> Record:
        """As the file holds them; what was not measured, and other benchmarks' claims, stand in the main file alone."""
        videos = {name: record["videos"] for name, record in self.methods.items()}
        lovic = weights_of(METHODS["lovic"], self.options).name
        judged, others = [judge(claim, videos) for claim in CLAIMS], claims_of_files(self.others, lovic)
        if self.name != MAIN:
            judged, others = [claim for claim in judged if claim["difference"] is not None], []
        papers = ("VIN", "LoViC", "ours")
        claims = sorted([*judged, *others], key=lambda claim: papers.index(claim["paper"]))
        missing = [m.name for m in METHODS.values() if not weights_of(m, self.options).exists()]
        return {
            "request": self.request,
            "nearness": protocol(self.sampler),
            "methods": in_order(self.methods, list(METHODS)),
            "skipped": [name for name in missing if name not in self.methods],
            "claims": claims,
            "curves": curves(self.others),
        }

    def save(self) -> Record:
        """Writes both files."""
        results = self.results()
        save(self.output, self.name, results, [method_sheet(results), claim_sheet(results)])
        return results
