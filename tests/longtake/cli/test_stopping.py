"""A signal saves and says so, at the end of a step, on all processes; before and after training it ends tidily."""

import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import torch
from bombs import bomb
from composing import ROOT
from tiny_runs import config, exit_codes, run_together

from datamodules.caching.films import FilmEncoder
from longtake.cli.training import train
from longtake.stopping import SIGNALS, asked, save_first, stopping_tidily

CODES = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGINT: 130}
SMALL = ("backbone.depth=1", "lightning_module.validation_times=[0.5]", "datamodule.num_validation_clips=2")
TWICE = ("clips_per_device=2", "network=vin_plan", *SMALL)
"""Two batches a step."""


def state(run, *more):
    """Everything that a run goes on from; more: other parts of its checkpoint."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    kept = ("global_step", "state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")
    return {key: checkpoint[key] for key in (*kept, *more)}


def assert_same(one, other, name=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key in one:
            assert_same(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, list | tuple):
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{name}.{number}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), name
    else:
        assert one == other, name


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    train(config(videos, run, *TWICE))
    return state(run)


@pytest.fixture(scope="module")
def saved():
    """What the first of the runs below saved, once it has gone on from there to what the whole one has."""
    return []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "batch"), [*((number, 2) for number in SIGNALS), (SIGNALS[0], 3)])
def test_a_signal_saves_at_the_end_of_its_step(videos, whole, saved, tmp_path, caplog, number, batch):
    run = tmp_path / "run"
    caplog.set_level(logging.INFO, logger="longtake")
    with pytest.raises(SystemExit) as caught:
        train(config(videos, run, *TWICE, *bomb(batch, number)))
    assert caught.value.code == CODES[number]
    last = run / "checkpoints" / "last.ckpt"
    assert state(run)["global_step"] == 2  # batches 2 and 3 are its second step
    assert f"stopped by {signal.Signals(number).name}; all is saved in {last}; go on with" in caplog.messages
    assert shlex.split(caplog.messages[-1])[-1] == f"resume={last}"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    found = state(run, "loops")
    if saved:
        assert_same(saved[0], found)
        return
    train(config(videos, run, *TWICE, f"resume={last}"))
    assert_same(whole, state(run))
    saved.append(found)


@pytest.mark.slow
def test_a_signal_in_validation_ends_at_once_since_its_step_is_saved(videos, whole, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as caught:
        train(config(videos, run, *TWICE, *bomb(-1, signal.SIGTERM)))
    assert caught.value.code == 143
    assert state(run)["global_step"] == 3
    assert not (run / "samples").exists()
    train(config(videos, run, *TWICE, f"resume={run}"))
    assert_same(whole, state(run))


@pytest.mark.slow
def test_a_signal_while_clips_are_cached_leaves_nothing_half_written(videos, tmp_path, monkeypatch, caplog):
    made = []

    def interrupted(self, path, key, crop_place):
        made.append(path)
        if len(made) == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return add(self, path, key, crop_place)

    add = FilmEncoder.add
    monkeypatch.setattr(FilmEncoder, "add", interrupted)
    caplog.set_level(logging.INFO, logger="longtake")
    cache = f"datamodule.cache_dir={tmp_path / 'cache'}"
    with pytest.raises(SystemExit) as caught:
        train(config(videos, tmp_path / "run", cache))
    assert caught.value.code == 143
    (index,) = (path for path in (tmp_path / "cache").rglob("*.jsonl") if (path.parent / "settings.json").is_file())
    assert len(index.read_text().splitlines()) == 1
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert "before the first checkpoint" in caplog.messages[-1]


SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {tests!r}, {tests!r} + "/longtake/cli"]
from pathlib import Path
from tiny_runs import config

from longtake.cli.training import train
if __name__ == "__main__":
    train(config(Path({videos!r}), Path({run!r}), *{overrides!r}))
"""


def script(tmp_path, videos, run, *overrides):
    """A file of a training's, to be started."""
    file = tmp_path / f"{time.monotonic_ns()}.py"
    own = {"root": str(ROOT), "tests": str(ROOT / "tests"), "videos": str(videos), "run": str(run)}
    file.write_text(SCRIPT.format(**own, overrides=overrides))
    return file


@pytest.mark.slow
def test_a_second_signal_ends_at_once(videos, tmp_path):
    run = tmp_path / "run"
    file = script(tmp_path, videos, run, *bomb(1, signal.SIGTERM, twice_after=1.5))
    started = forked.Started([file], cwd=tmp_path)
    assert "asked\n" in iter(started.stdout.readline, "")
    begun = time.monotonic()
    assert started.wait(60) == -signal.SIGTERM
    assert time.monotonic() - begun < 10


TWO = ("trainer=ddp_cpu", "trainer.max_steps=4", "trainer.val_check_interval=4", "clips_per_device=1", *SMALL)


def two_processes(tmp_path, videos, run, *overrides):
    """Trains with two batches a step on each of two processes; the exit code of the one that started the other."""
    file = script(tmp_path, videos, run, *TWO, "~callbacks.samples", *overrides)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = forked.run([file], cwd=tmp_path, env=environment)  # the other is none of the forked: Lightning starts it
    assert "Traceback" not in ended.stderr, ended.stderr[-2000:]
    return ended.returncode


@pytest.mark.slow
def test_all_processes_save_at_the_same_step_and_go_on_from_it(videos, tmp_path):
    own = [*TWO, "~callbacks.samples"]
    run_together(2, videos, tmp_path / "whole", *own)
    assert exit_codes(2, videos, tmp_path / "parts", *own, *bomb(2, signal.SIGTERM))[0] == 143  # of who was asked
    assert state(tmp_path / "parts")["global_step"] == 2
    run_together(2, videos, tmp_path / "again", *own, f"resume={tmp_path / 'parts'}")
    assert_same(state(tmp_path / "whole"), state(tmp_path / "again"))


@pytest.mark.slow
def test_under_a_launcher_each_process_ends_as_the_one_that_was_asked(videos, tmp_path, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2"}.items():  # as torchrun has it
        monkeypatch.setenv(name, value)
    assert exit_codes(2, videos, tmp_path / "run", *TWO, "~callbacks.samples", *bomb(2, signal.SIGTERM)) == [143, 143]
    assert state(tmp_path / "run")["global_step"] == 2


@pytest.mark.slow
def test_a_signal_to_any_process_ends_all(videos, tmp_path):
    assert two_processes(tmp_path, videos, tmp_path / "run", *bomb(2, signal.SIGUSR1, rank=1)) == 143
    assert state(tmp_path / "run")["global_step"] == 2


def test_only_the_first_of_repeated_signals_counts():
    with stopping_tidily():
        save_first(True)
        for _ in range(3):  # `timeout` sends its signal to the process and then to the group
            os.kill(os.getpid(), signal.SIGTERM)
        assert asked() == signal.SIGTERM
    assert asked() == 0


@pytest.mark.slow
def test_the_next_program_does_not_run_after_a_signal(tmp_path):
    """As a shell sees it: `train.py && export.py`."""
    waiting = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport time\n"
    waiting += "from longtake.stopping import stopping_tidily\n"
    waiting += "with stopping_tidily():\n    print('on', flush=True)\n    time.sleep(60)\n"
    (tmp_path / "long.py").write_text(waiting)
    line = f"{shlex.quote(sys.executable)} long.py && touch exported; echo $?"
    shell = subprocess.Popen(["bash", "-c", line], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert shell.stdout.readline() == "on\n"
    child = Path(f"/proc/{shell.pid}/task/{shell.pid}/children")
    if not child.is_file():
        shell.kill()
        pytest.skip("children of a process are listed on Linux alone")
    os.kill(int(child.read_text().split()[0]), signal.SIGTERM)
    assert shell.communicate(timeout=30)[0] == "143\n"
    assert not (tmp_path / "exported").exists()
