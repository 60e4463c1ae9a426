"""Wrong settings by the thousand: each must be answered with a sentence, or be right after all.

    python benchmarks/settings_fuzz.py seed=0 per_key=4
    python benchmarks/settings_fuzz.py 'case=train sampler=ddim sampler.eta=nan'

For each program and each option of each of its groups, every key is given values that are wrong for most: null, numbers
out of range, texts, lists, names of nothing. The program's own way is gone up to where files would be read: composing,
the check of settings, groups that go together, and constructors, of which networks lie on the `meta` device.
Counted are sentences, values that passed, traces, hangs (20 seconds of computing, or two minutes), and nonsense that
passed: of another kind than the default, or no number. `case` runs one alone and shows its trace;
`programs=train,export` leaves the others out.
Writes settings_fuzz.json into output=benchmarks/results.

Each set of options is composed once, since that is most of the time; the value is then put in as Hydra would put it.
"""

import copy
import json
import logging
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from longtake.process import settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtake.cli import schemas
from longtake.cli.changes import changes_of, with_changes
from longtake.cli.checks import check_parts, check_sizes, refuse_sharded, refuse_shared_types
from longtake.cli.composed import check_settings, plain
from longtake.cli.cost import predict_cost
from longtake.cli.testbed import check_lengths
from longtake.cli.together import check_together
from longtake.cli.user_errors import sentence

CONF = ROOT / "conf"
SECONDS, WAITED = 20, 120
WRONG = (
    "null", "true", "-1", "0", "1.5", "nan", "inf", "-inf", "1e30", '""', "text", "[]", "[1]", "[null]", "[text,nan]",
    "{}", "{a:1}", "1" + "0" * 20, "-7", "???", "longtake.objectives.Uniform", "2", '"a b"', "[[1]]",
)  # fmt: skip
NEEDED = {
    "train": ("paths.root_dir=ROOT",),
    "generate": ("paths.root_dir=ROOT", "output=OUT", "weights=WEIGHTS"),
    "evaluate": ("cost=true", "measured_tflops=1", f"paths.weights_dir={ROOT / 'weights'}"),
    "export": ("run=RUN", "output=OUT"),
    "cache": ("paths.root_dir=ROOT",),
    "testbed_make": ("output=OUT",),
    "testbed_answer": ("weights=WEIGHTS", "testbed=TESTBED", "output=OUT"),
    "testbed_score": ("testbed=TESTBED", "predictions=PREDICTIONS", "output=OUT"),
}
SCHEMAS = {
    "train": schemas.TrainSettings,
    "generate": schemas.GenerateSettings,
    "evaluate": schemas.EvaluateSettings,
    "export": schemas.ExportSettings,
    "cache": schemas.CacheSettings,
    "testbed_make": schemas.MakeTestbedSettings,
    "testbed_answer": schemas.AnswerTestbedSettings,
    "testbed_score": schemas.ScoreTestbedSettings,
}
"""The programs, by the names of their configs."""
TRAINED = ("experiment=lovic_freedoom", "experiment=vin_freedoom")
"""Configs that stand for those of weights, in turns."""

Tree = Any


class Case(NamedTuple):
    """One command: a program, the options and the key that it sets; default: what the key would be."""

    program: str
    changes: tuple[str, ...]
    default: Any

    def __str__(self) -> str:
        """As `case=` takes it."""
        return " ".join((self.program, *self.changes))


class Rules:
    """Sizes of a codec and of a text encoder, where none is built."""

    time_factor, space_factor, channels, features = 4, 8, 16, 64
    fingerprint = "none"


class TookTooLong(Exception):
    """A case that has not ended."""


def groups_of(program: str) -> dict[str, list[str]]:
    """The groups of a program and their options."""
    defaults: Any = OmegaConf.load(CONF / f"{program}.yaml").get("defaults", [])
    names = [str(next(iter(entry))) for entry in defaults if not isinstance(entry, str)]
    return {
        name: sorted(path.stem for path in (CONF / name).glob("*.yaml")) for name in names if (CONF / name).is_dir()
    }


def keys_of(tree: Tree, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a config that is not within a list, with what stands there."""
    for key, value in tree.items():
        yield f"{place}{key}", value
        if isinstance(value, dict):
            yield from keys_of(value, f"{place}{key}.")


def cases(program: str, per_key: int, dice: random.Random) -> Iterator[Case]:
    """Every key of the program as it is, then those of each option of each group."""
    seen: set[tuple[str, str]] = set()
    options = [("", "")] + [(group, option) for group, found in groups_of(program).items() for option in found]
    for group, option in options:
        chosen = (f"{group}={option}",) if group else ()
        try:
            tree = OmegaConf.to_container(composed(program, chosen), resolve=False)
        except Exception as error:  # an option that needs others
            sys.stderr.write(f"{program} {group}={option} does not compose: {error}\n")
            continue
        for key, default in keys_of(tree):
            if (key, repr(default)) in seen or key in ("paths", "cost"):
                continue
            seen.add((key, repr(default)))
            for value in dice.sample(WRONG, min(per_key, len(WRONG))):
                yield Case(program, (*chosen, f"{key}={value}"), default)


@cache
def composed(program: str, chosen: tuple[str, ...]) -> DictConfig:
    """A program's config with some options, to be copied before it is changed."""
    return compose(program, [*NEEDED[program], *chosen])


def config_of(case: Case) -> DictConfig:
    """A case's config: the options' own, with the last change put in as Hydra does, unless that is an option too."""
    *chosen, last = case.changes
    key, _, text = last.partition("=")
    if (CONF / key).is_dir():
        return compose(case.program, [*NEEDED[case.program], *case.changes])
    cfg = copy.deepcopy(composed(case.program, tuple(chosen)))
    value = OverridesParser.create().parse_override(f"x={text}").value()
    OmegaConf.update(cfg, key, value, merge=True)
    return cfg


@cache
def trained_config(change: str) -> dict[str, Any]:
    """What the config of weights would be, resolved."""
    cfg = compose("train", ["paths.root_dir=ROOT", change])
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def go(case: Case) -> None:
    """A program's way up to where it would read files."""
    cfg = config_of(case)
    check_settings(cfg, SCHEMAS[case.program])
    if case.program == "train":
        go_to_training(cfg)
    elif case.program == "cache":
        build_data(cfg, global_batch_size=1)
    elif case.program == "testbed_make":
        check_lengths(frames=cfg.frames, lengths=cfg.lengths)
    elif case.program == "generate":
        for change in TRAINED:
            config = trained_config(change)
            merged = with_changes(copy.deepcopy(config), changes_of(cfg))
            build_network(merged, "network")
            for name in ("rollout", "guidance", "sampler"):
                instantiate(merged[name])
    elif case.program == "evaluate":
        if not case.changes[-1].startswith(("metrics", "features", "background", "video_f", "flow")):
            predict_cost(cfg)
        else:
            instantiate(cfg.metrics)


def go_to_training(cfg: DictConfig) -> None:
    """What `train` does before data and weights are read."""
    check_together(cfg)
    refuse_sharded(cfg.trainer, cfg.callbacks, cfg.optimizer)
    if cfg.lightning_module.get("network") is not None:
        check_sizes(cfg.datamodule, Rules(), 2)  # type: ignore[arg-type]
        refuse_shared_types(cfg)
        check_parts(cfg, Rules())  # type: ignore[arg-type]
    build_network(cfg, "lightning_module")
    for name, node in cfg.callbacks.items():
        if node is not None and name != "compiled_blocks":
            instantiate(node)
    instantiate(cfg.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    build_data(cfg, global_batch_size=cfg.global_batch_size)
    if cfg.text.get("pretrained") is None:
        instantiate(cfg.text)


def build_data(cfg: DictConfig, *, global_batch_size: int) -> None:
    """The data module, which reads nothing yet."""
    made = {"global_batch_size": global_batch_size, "batch_size": 1, "seed": cfg.seed}
    instantiate(cfg.datamodule, codec=Rules(), text_encoder=Rules(), **made)


def build_network(cfg: Any, key: str) -> None:
    """On `meta`; pretrained parts, which would be read, are left out."""
    text = json.dumps(plain(cfg[key]))
    if "pretrained" not in text and "load_pretrained" not in text:
        with torch.device("meta"):
            instantiate(cfg[key])


def is_nonsense(case: Case) -> bool:
    """Whether a value that passed is of another kind than the default, or no number."""
    text = case.changes[-1].partition("=")[2]
    value: Any = OverridesParser.create().parse_override(f"x={text}").value()
    default = case.default
    if isinstance(value, float) and value != value:
        return True
    if isinstance(default, str) and ("${" in default or default == "???"):
        return False
    if isinstance(default, bool):
        return not isinstance(value, bool)
    if isinstance(default, int | float):
        return isinstance(value, bool | str | list | dict)
    if isinstance(default, str):
        return value is not None and not isinstance(value, str)
    if isinstance(default, list):
        return not isinstance(value, list)
    return False


def judge(case: Case) -> tuple[str, str]:
    """How a case ends, and what is said."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TookTooLong

    sys.argv[1:] = [*NEEDED[case.program], *case.changes]
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, interrupt)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of this process, however busy the machine is
    signal.alarm(WAITED)
    try:
        go(case)
    except TookTooLong:
        return "hang", ""
    except Exception as error:
        said = sentence(error)
        if said is None:
            return "trace", traceback.format_exc()
        return "sentence", said
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    return ("nonsense" if is_nonsense(case) else "passed"), ""


def main(seed: int, per_key: int, programs: str, output: str, case: str) -> None:
    """Tries every case and writes the counts."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.chdir(ROOT)
    dice, began = random.Random(seed), time.monotonic()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        if case:
            program, *changes = case.split(" ")
            print(*judge(Case(program, tuple(changes), None)))
            return
        counts: dict[str, Counter[str]] = {}
        kept: list[dict[str, str]] = []
        said: set[str] = set()
        for program in programs.split(","):
            counts[program] = Counter()
            for one in cases(program, per_key, dice):
                how, what = judge(one)
                counts[program][how] += 1
                said.add(what)
                if how in ("trace", "hang", "nonsense"):
                    kept.append({"case": str(one), "how": how, "said": what.strip().splitlines()[-1] if what else ""})
                    print(how, one, kept[-1]["said"], flush=True)
            print(program, dict(counts[program]), flush=True)
    total = sum(map(sum, (each.values() for each in counts.values())))
    print(f"{total} cases in {time.monotonic() - began:.0f} s, seed {seed}")
    record = {"command": " ".join(sys.argv), "seed": seed, "counts": counts, "kept": kept}
    (Path(output) / "settings_fuzz.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    own = {"seed": "0", "per_key": "4", "programs": ",".join(SCHEMAS), "case": ""}
    own["output"] = str(ROOT / "benchmarks" / "results")
    own |= dict(each.partition("=")[::2] for each in sys.argv[1:])
    main(int(own["seed"]), int(own["per_key"]), own["programs"], own["output"], own["case"])
