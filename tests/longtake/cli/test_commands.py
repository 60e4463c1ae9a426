"""What is printed can be pasted, whatever is in a name."""

import logging
import random
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from composing import composed
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tiny_runs import config

from longtake.arguments import argument
from longtake.cli import export
from longtake.cli.results import length, next_command
from longtake.cli.training import train
from networks.text import NullText

SIGNS = "ab 5.'\"\\$${}[](),=:#日é|&;<>*?!~@%^\n\t-+/_"
PLAIN = (
    "5",
    "null",
    "true",
    "NaN",
    "inf",
    "1e5",
    "1_0",
    ".5",
    "",
    "~",
    "-",
    "a,b",
    "a: b",
    "${oc.env:HOME}",
    "\\",
    "\\\n",
)


def as_pasted(typed: str) -> object:
    """What a key becomes that a shell and then Hydra and OmegaConf read."""
    (argument_,) = shlex.split(typed)
    value = OverridesParser.create().parse_override(argument_).value()
    return OmegaConf.create({"value": value}).value


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_any_name_comes_back_as_it_was(seed):
    rng = random.Random(seed)
    names = [*PLAIN, *("".join(rng.choices(SIGNS, k=rng.randint(0, 12))) for _ in range(1500))]
    for name in names:
        assert as_pasted(argument("weights", name)) == name, repr(name)


def test_plain_names_are_left_plain():
    assert argument("weights", "runs/vin/2026-01-31_12-00-00") == "weights=runs/vin/2026-01-31_12-00-00"
    assert argument("num_frames", 257) == "num_frames=257"


def pasted(program: str, line: str):
    """The config that a printed command composes to."""
    python, script, *arguments = shlex.split(line)
    assert (python, script) == ("python", f"{program}.py")
    return composed(program, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a b", "[x], 'y' \"z\"", "日本=é,1", "$(no) \\ $HOME", "#1; ls"])
def test_the_next_command_of_a_run_and_of_a_release_can_be_pasted(videos, tmp_path, caplog, name):
    run, (videos_key, run_key) = tmp_path / name, (argument("name", name), argument("paths.run_dir", tmp_path / name))
    caplog.set_level(logging.INFO, logger="longtake")
    cfg = config(
        videos,
        tmp_path,
        *(shlex.split(key)[0] for key in (videos_key, run_key)),
        "trainer.max_steps=1",
        "logger=default",
    )
    train(cfg)
    said = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in caplog.messages if "  " in line}
    assert said["checkpoint"] == str(run / "checkpoints" / "last.ckpt")
    following = pasted("generate", said["next"])
    assert (following.weights, following.output) == (str(run), f"outputs/{name}")
    assert following.num_frames == 9  # as the run's own samples, which its windows and its codec are known to take
    assert following.prompt is None  # these weights take no text
    assert shlex.split(said["curves"])[-1] == str(run)
    released = pasted("generate", export.next_command(cfg, run))
    assert released.weights == str(run)
    assert released.output == f"outputs/{name}"


@pytest.mark.parametrize(
    ("encoder", "caption", "prompt"), [(object(), "a, b", "a, b"), (object(), " ", None), (NullText(), "a", None)]
)
def test_a_prompt_is_proposed_where_there_is_one_and_it_is_read(encoder, caption, prompt):
    entry = SimpleNamespace(caption=caption, control=None)
    data = SimpleNamespace(text_encoder=encoder, clips={"validation": [SimpleNamespace(entry=entry)]})
    cfg = composed("train")
    assert pasted("generate", next_command(cfg, SimpleNamespace(datamodule=data), Path("runs/a"))).prompt == prompt


def test_a_release_proposes_the_length_that_its_run_made(tmp_path):
    (tmp_path / "config").mkdir()
    OmegaConf.save(composed("train", "experiment=vin_ltx", "datamodule.root=DIR"), tmp_path / "config" / "config.yaml")
    for run in (tmp_path, tmp_path / "checkpoints" / "last.ckpt"):
        assert export.length_of(str(run)) == 633
    assert export.length_of("weights/vin_freedoom_64") is None
    config = {"network": {}, "sampler": {}}
    assert pasted("generate", export.next_command(config, Path("weights/mine"), 633)).num_frames == 633
    assert pasted("generate", export.next_command(config, Path("weights/mine"))).num_frames == 257


@pytest.mark.parametrize(
    ("changes", "frames"),
    [
        (["experiment=vin_freedoom"], 77),
        (["experiment=vin_wan", "datamodule.root=DIR"], 157),
        (["experiment=vin_freedoom", "~callbacks.samples"], 157),
    ],
)
def test_a_run_proposes_a_length_that_suits_its_windows(changes, frames):
    assert length(composed("train", *changes)) == frames


@pytest.mark.slow
def test_a_folder_that_would_be_read_as_a_reference_is_refused_by_name(videos, tmp_path):
    key = shlex.split(argument("paths.run_dir", tmp_path / "${no}"))[0]
    with pytest.raises(ValueError, match=r"paths\.run_dir=.*\$\{no\}: what follows .* is read as a reference"):
        train(config(videos, tmp_path, key))


@pytest.mark.slow
def test_no_checkpoint_is_named_that_is_not_there(videos, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="longtake")
    run = tmp_path / "run"
    train(config(videos, run, "trainer.max_steps=2", "callbacks.checkpoint.save_last=null"))
    named = [line.split()[-1] for line in caplog.messages if line.startswith("checkpoint ")]
    assert named == [str(run / "checkpoints" / "step_0000002.ckpt")]
    assert not (run / "checkpoints" / "last.ckpt").exists()
    caplog.clear()
    nothing = ["callbacks.checkpoint.save_last=null", "callbacks.checkpoint.save_top_k=0"]
    train(config(videos, tmp_path / "other", "trainer.max_steps=2", *nothing))
    assert "none" in next(line for line in caplog.messages if line.startswith("checkpoint "))
    assert not any(line.startswith("next") for line in caplog.messages)
