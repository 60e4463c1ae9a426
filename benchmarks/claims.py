"""Do the papers' claims hold here? One loop over methods, on the same prompts and noise, and a verdict for each claim.

    python benchmarks/claims.py
    python benchmarks/claims.py methods=lovic,lovic_window_only,hybrid       adds to what is there
    python benchmarks/claims.py seeds=2                                      and so does this
    python benchmarks/claims.py captions=short                               silent about colour, light, things
    python benchmarks/claims.py num_frames=1025 methods=vin,lovic,hybrid       in a file of its own

Prompts are captions of test walks, evenly spread over levels. Videos go to folder/FRAMES/METHOD/seed_S/NNN.mp4 and are
made once; scores are the report card's, with what needs no download. Each claim is one difference between two methods,
paired by prompt and noise, with a 95 % interval from drawing levels again. What other benchmarks measure is read from
their results. Keys: videos, seeds, num_frames, steps, methods, split, captions (full, or the walks' short ones),
folder, output; vin, lovic, hybrid: weights in place of the released ones; the rest are overrides of train.py for the
videos. Writes OUTPUT/claims.json and .md; other lengths and short captions have files of their own, such as
claims_1025_frames_short_captions.json.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from rich.console import Console

from benchmarks.claiming.comparison import Comparison, Record
from benchmarks.claiming.methods import choose, shown, weights_of
from benchmarks.claiming.tables import claim_sheet, method_sheet
from benchmarks.claiming.videos import Walk, choose_walks
from benchmarks.report import show
from longtake.cli.user_errors import explain

log = logging.getLogger("longtake")

RESULTS = Path(__file__).parent / "results"
OWN = {
    "videos": "8",
    "seeds": "0,1",
    "num_frames": "157",
    "steps": "20",
    "methods": "all",
    "split": "test",
    "captions": "full",
    "folder": "outputs/claims",
    "output": str(RESULTS),
    "vin": "",
    "lovic": "",
    "hybrid": "",
}


SUFFIXES = {"full": "", "short": "_short_captions"}
"""Of folder and results, by captions."""


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
    if options["captions"] not in SUFFIXES:
        raise ValueError(f"captions={options['captions']} is unknown: use {' or '.join(SUFFIXES)}")
    options["folder"] += SUFFIXES[options["captions"]]
    return options, rest


def name_of(options: dict[str, str]) -> str:
    """Of the results' files: one for each length and kind of captions."""
    length = "" if options["num_frames"] == OWN["num_frames"] else f"_{options['num_frames']}_frames"
    return f"claims{length}{SUFFIXES[options['captions']]}"


def with_short_captions(walks: Sequence[Walk]) -> list[Walk]:
    """Walks whose prompts are their second, shorter texts.

    Raises:
        ValueError: if one has none.
    """
    for walk in walks:
        if not walk.entry.short_caption:
            raise ValueError(f"captions=short: {walk.entry.path} has no text in the table's column short_text")
    return [walk._replace(entry=walk.entry._replace(caption=walk.entry.short_caption)) for walk in walks]


def main(arguments: Sequence[str]) -> None:
    """Makes, scores, judges, shows and saves."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options, overrides = read_options(arguments)
    chosen = choose(options["methods"])
    walks = choose_walks(options["split"], int(options["videos"]), overrides)
    if options["captions"] == "short":
        walks = with_short_captions(walks)
    cpu = f"CPU, {torch.get_num_threads()} thread(s)"
    request: Record = {
        **{key: int(options[key]) for key in ("videos", "num_frames", "steps")},
        **{key: options[key] for key in ("seeds", "methods", "split", "captions", "folder")},
        "folder": shown(Path(options["folder"])),
        "overrides": overrides,
        "prompts": [walk.entry.caption for walk in walks],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
    }
    comparison = Comparison(options=options, walks=walks, request=request, others=RESULTS, name=name_of(options))
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
