"""Do the papers' claims hold here? One loop over methods, on the same prompts and noise, and a verdict for each claim.

    python benchmarks/claims.py
    python benchmarks/claims.py methods=lovic,lovic_window_only,hybrid       adds to what is there
    python benchmarks/claims.py seeds=0,1                                    and so does this

Prompts are captions of test walks, evenly spread over levels. Videos go to folder/FRAMES/METHOD/seed_S/NNN.mp4 and are
made once; scores are the report card's, with what needs no download. Each claim is one difference between two methods,
paired by prompt and noise, with a 95 % interval from drawing levels again. What other benchmarks measure is read from
their results. Keys: videos, seeds, num_frames, steps, methods, split, folder, output; vin, lovic, hybrid: weights in
place of the released ones; the rest are overrides of train.py for the videos. Writes OUTPUT/claims.json and claims.md.
"""

import json
import logging
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # before torch loads; see README, "CPU threads"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console

from benchmarks.claim_cost import video_tflop
from benchmarks.claim_files import claims_of_files, curves
from benchmarks.claim_list import CLAIMS, judge, rows_of
from benchmarks.claim_methods import METHODS, REAL, Method, Size, choose, config_of, overrides_of, shown, weights_of
from benchmarks.claim_table import claim_sheet, in_order, method_sheet
from benchmarks.claim_videos import SEED_STRIDE, Video, Walk, choose_walks, keep_real, make_once, make_scorer, score
from benchmarks.report import save, show
from lightning_modules.runs import load_run, weights_hash
from lightning_modules.user_errors import explain

log = logging.getLogger("longtake")

RESULTS = Path(__file__).parent / "results"
OWN = {
    "videos": "8",
    "seeds": "0",
    "num_frames": "157",
    "steps": "20",
    "methods": "all",
    "split": "test",
    "folder": "outputs/claims",
    "output": str(RESULTS),
    "vin": "",
    "lovic": "",
    "hybrid": "",
}
SAME = ("num_frames", "steps", "split", "prompts")
"""What must not differ between videos in one results file."""
Record = dict[str, Any]


def read_options(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Our own key=value arguments, and the rest for Hydra."""
    options, rest = dict(OWN), []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in OWN:
            options[key] = value
        else:
            rest.append(argument)
    for key in ("videos", "num_frames", "steps"):
        if not options[key].isdigit() or int(options[key]) < 1:
            raise ValueError(f"{key}={options[key]} must be a whole number above 0")
    if not all(seed.isdigit() for seed in options["seeds"].split(",")):
        raise ValueError(f"seeds={options['seeds']} must be whole numbers, such as seeds=0,1")
    return options, rest


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

    def __init__(self, *, options: dict[str, str], walks: Sequence[Walk], request: Record) -> None:
        """Reads what earlier runs found."""
        self.options, self.walks, self.request = options, walks, request
        self.size = Size(int(options["num_frames"]), int(options["steps"]))
        self.seeds = [int(seed) for seed in options["seeds"].split(",")]
        self.folder = Path(options["folder"]) / options["num_frames"]
        self.output = Path(options["output"])
        self.methods = read_before(self.output / "claims.json", request)
        self.scorer = make_scorer(self.folder / "scores")
        self.hashes: dict[str, str] = {}

    def hash_of(self, method: Method) -> str:
        """Of the method's weights; those of each folder are read once."""
        if method.weights not in self.hashes:
            self.hashes[method.weights] = weights_hash(load_run(weights_of(method, self.options))[1])
        return self.hashes[method.weights]

    def drop_outdated(self) -> None:
        """Forgets results of weights or settings that have changed since."""
        for method in METHODS.values():
            record = self.methods.get(method.name)
            if record is None or not weights_of(method, self.options).exists():
                continue
            known = {"overrides": overrides_of(method, self.size), "weights_hash": self.hash_of(method)}
            if any(record[key] != value for key, value in known.items()):
                log.warning(f"{method.name}: its earlier results are of other weights or settings, and are dropped")
                del self.methods[method.name]

    def run_real(self) -> None:
        """Scores the walks themselves."""
        folder = self.folder / REAL / "seed_0"
        keep_real(self.walks, folder, self.size.num_frames)
        videos = score(self.scorer, folder, self.walks, 0)
        self.methods[REAL] = record_of(REAL, videos, weights=None, overrides=[], weights_hash=None, tflop=None)

    def run(self, method: Method) -> None:
        """Makes and scores the method's videos of every seed."""
        weights, overrides = weights_of(method, self.options), overrides_of(method, self.size)
        prompts, new, tflop = self.request["prompts"], [], None
        before = self.methods.get(method.name, {"videos": []})["videos"]
        for seed in self.seeds:
            folder = self.folder / method.name / f"seed_{seed}"
            first = SEED_STRIDE * seed
            cfg = config_of(method, self.size, weights=weights, output=folder, seed=first, prompts=prompts)
            tflop = video_tflop(cfg)
            key = {"weights_hash": self.hash_of(method), "overrides": overrides, "seed": first, "prompts": prompts}
            log.info(f"{method.name}, seed {seed}: {'made' if make_once(cfg, folder, key) else 'was there'}")
            new += score(self.scorer, folder, self.walks, seed)
        known = {"weights": shown(weights), "overrides": overrides, "weights_hash": self.hash_of(method)}
        self.methods[method.name] = record_of(method.name, added(before, new), **known, tflop=tflop)

    def results(self) -> Record:
        """As claims.json holds them."""
        videos = {name: record["videos"] for name, record in self.methods.items()}
        lovic = weights_of(METHODS["lovic"], self.options).name
        others = claims_of_files(RESULTS, lovic)
        judged = [judge(claim, videos) for claim in CLAIMS]
        papers = ("VIN", "LoViC", "ours")
        claims = sorted([*judged, *others], key=lambda claim: papers.index(claim["paper"]))
        missing = [m.name for m in METHODS.values() if not weights_of(m, self.options).exists()]
        return {
            "request": self.request,
            "methods": in_order(self.methods, list(METHODS)),
            "skipped": [name for name in missing if name not in self.methods],
            "claims": claims,
            "curves": curves(RESULTS),
        }

    def save(self) -> Record:
        """Writes both files."""
        results = self.results()
        save(self.output, "claims", results, [method_sheet(results), claim_sheet(results)])
        return results


def main(arguments: Sequence[str]) -> None:
    """Makes, scores, judges, shows and saves."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options, overrides = read_options(arguments)
    chosen = choose(options["methods"])
    walks = choose_walks(options["split"], int(options["videos"]), overrides)
    cpu = f"CPU, {torch.get_num_threads()} thread(s)"
    request: Record = {
        **{key: int(options[key]) for key in ("videos", "num_frames", "steps")},
        **{key: options[key] for key in ("seeds", "methods", "split", "folder")},
        "folder": shown(Path(options["folder"])),
        "overrides": overrides,
        "prompts": [walk.entry.caption for walk in walks],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
    }
    comparison = Comparison(options=options, walks=walks, request=request)
    comparison.drop_outdated()
    comparison.run_real()
    for method in chosen:
        if not weights_of(method, options).exists():
            log.warning(f"{method.name} is skipped: there is no {shown(weights_of(method, options))}")
            continue
        comparison.run(method)
        comparison.save()
    results = comparison.save()
    for sheet in (method_sheet(results), claim_sheet(results)):
        show(sheet, Console(width=260 if not sys.stdout.isatty() else None))


if __name__ == "__main__":
    with explain():
        main(sys.argv[1:])
