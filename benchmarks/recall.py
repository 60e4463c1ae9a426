"""What is remembered, read off samples: the marine's colour, and places that a walk comes back to.

    python benchmarks/recall.py weights=weights/lovic_freedoom_64 weights=weights/vin_lovic_freedoom_64

- colour: only the first caption names it, later ones are the walk's short caption. After a cut to a view without the
  marine and back (the last segment adjoins the first in its shot, or a segment passes unseen), after a gap, and after
  eight segments: the share of frames in the colour that he wore at first, with memory and with the same weights, noise
  and window, but the memory withheld. Beside it real walks, and chance: the colours that other takes began with.
- revisits: earlier segments of a real test walk are known, a later one is generated (prediction; or interpolation,
  where the segment after it is known and holds the path better). Frames whose view, by the poses of the real walk, was
  seen before are compared with the real frame, by the number of frames since. Beside it: the real earlier frame (what
  perfect recall and no new motion would give), the last frame before the segment, held, and the codec alone.
Other keys: parts, split, takes, walks, seeds, steps, rate, distance (map units), angle (degrees), least_age, output;
the rest are overrides of train.py for the videos. Writes benchmarks/results/recall.json and .md.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

from hydra.utils import instantiate

from benchmarks.colour import measure_colour, real_colour
from benchmarks.report import Sheet
from benchmarks.revisits import measure_revisits
from benchmarks.scenes import Roller
from benchmarks.trained import (
    cell,
    choose_walks,
    interval,
    label,
    memory_module,
    publish,
    read_request,
    rows_of,
    segment_data,
)
from longtake.cli.user_errors import explain
from longtake.releases.building import build

OWN = {
    "parts": "colour,revisits",
    "split": "test",
    "takes": "16",
    "walks": "16",
    "seeds": "1",
    "steps": "30",
    "rate": "8",
    "distance": "32",
    "angle": "8",
    "least_age": "40",
    "output": str(Path(__file__).parent / "results"),
}
AGES = (("1–40", 1, 40), ("41–120", 41, 120), ("121 or more", 121, 10**9), ("never seen", 0, 0))
WAYS = ("memory", "window only", "earlier frame", "last frame held", "codec")
Record = dict[str, Any]


def revisit_sheet(weights: str, name: str, records: list[Record], notes: list[str]) -> Sheet:
    """One row for each span of ages."""
    rows = []
    for span, low, high in AGES:
        some = [record for record in records if low <= record["age"] <= high]
        walks = [record["walk"] for record in some]
        gain = interval([record["memory"] - record["window only"] for record in some], walks)
        means = [cell(interval([record[way] for record in some], walks), 2) for way in WAYS]
        rows.append([span, f"{len(some)} / {len(set(walks))}", *means[:2], cell(gain, 2), *means[2:]])
    heads = ["frames since seen", "frames / walks", *WAYS[:2], "gain, dB", *WAYS[2:]]
    return Sheet(f"PSNR on revisited places, dB, {name}: {weights}", notes, heads, rows)


def colour_sheet(weights: str, records: list[Record], size: str) -> Sheet:
    """One row for each case and context."""
    rows = [
        [
            r["case"],
            r["context"],
            *(cell(r[key], 2) for key in ("kept", "chance", "worn", "obeyed")),
            cell(r["gain"], 2) if r["context"] == "memory" else "-",
        ]
        for r in records
    ]
    notes = [
        f"{size}, colours in turn; 95 % intervals over takes. Kept: share of frames of the last segment's second half "
        "in the colour of most of the first segment's; chance: the same against the first segments of other takes; as "
        "asked: in the colour that the first caption named, in the last and in the first segment."
    ]
    heads = ["case", "context", "kept", "chance", "as asked, last", "as asked, first", "gain in kept"]
    return Sheet(f"The marine's colour: {weights}", notes, heads, rows)


def main() -> None:
    """Measures, shows and saves."""
    request = read_request(sys.argv[1:], OWN)
    options = request.options
    results: dict[str, Any] = {"request": request._asdict()}
    sheets = []
    for weights in request.weights:
        config, module = memory_module(weights)
        module.sampler.num_inference_steps = int(options["steps"])
        name, found = label(weights, config), results.setdefault(str(weights), {})
        data = segment_data(config, request.overrides)
        clips = choose_walks(data, options["split"], 10**6)
        rollout = instantiate(config["rollout"], compression_ratio=float(options["rate"]))
        if "colour" in options["parts"].split(","):
            roller = Roller(
                module=module, guidance=build(config["guidance"]), rollout=rollout, text_encoder=data.text_encoder
            )
            size = tuple(rows_of(data, clips[:1], 1, 0.0).video.shape[2:])
            takes, seeds = int(options["takes"]), int(options["seeds"])
            made = measure_colour(roller, data, clips, size, count=takes, seeds=seeds)
            found["colour"] = [*made, *real_colour(data, clips, size[1])]
            sheets.append(colour_sheet(name, found["colour"], f"{takes} takes, {seeds} seed(s)"))
        if "revisits" in options["parts"].split(","):
            for task, ends in (("prediction", False), ("interpolation", True)):
                records = measure_revisits(module, config, data, clips, options, ends)
                found[f"revisits, {task}"] = records
                notes = [
                    f"Views at most {options['distance']} map units and {options['angle']}° apart; rate "
                    f"{options['rate']}; {options['seeds']} seed(s); 95 % intervals over walks."
                ]
                sheets.append(revisit_sheet(name, task, records, notes))
    publish("recall", results, sheets, Path(options["output"]))


if __name__ == "__main__":
    with explain():
        main()
