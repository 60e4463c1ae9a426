"""Programs that are ended, or whose processes are: one sentence, the right exit status, nothing half written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from composing import ROOT
from lightning import Callback

from longtake.cli import user_errors
from longtake.stopping import Stopped
from networks.files import remove_unfinished, scratch
from networks.saving import WEIGHTS

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def wait_for(condition, process, seconds=240):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_generation_says_what_is_kept_and_how_to_go_on(tmp_path, number, code):
    arguments = ["output=my out", "num_frames=257", "rollout=autoregressive", "num_inference_steps=2", "prompt=a cave"]
    weights = f"weights={ROOT / 'weights' / 'vin_freedoom_64'}"
    process = forked.Started([ROOT / "generate.py", weights, *arguments], cwd=tmp_path, env=ENVIRONMENT)
    wait_for(lambda: list(tmp_path.glob("my out/windows/*/*.safetensors")), process)
    process.send_signal(number)
    said, wrong = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in wrong
    lines = said.splitlines()
    assert lines[-2] == (
        f"stopped by {number.name}; finished videos, windows and segments are kept in my out; the same command goes on "
        "from there"
    )
    assert (
        lines[-1].strip() == f"python generate.py {weights} 'output=my out' {' '.join(arguments[1:-1])} 'prompt=a cave'"
    )
    assert list(tmp_path.glob("my out/windows/*/*.safetensors"))
    assert not list(tmp_path.rglob("*.part"))


EXPORT = """
import os, signal
import networks.saving
import longtake.cli.export
save = networks.saving.save_file
def asked_to_end(*arguments, **settings):
    save(*arguments, **settings)
    os.kill(os.getpid(), {number})
networks.saving.save_file = asked_to_end
longtake.cli.export.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_export_ends_with_the_old_release_whole(tmp_path, number, code):
    """The signal comes when the weights are written and have not taken their name."""
    release = tmp_path / "my release"
    old = [release / name for name in ("config.yaml", "network/config.json", f"network/{WEIGHTS}")]
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    arguments = [f"run={ROOT / 'weights' / 'vin_freedoom_64'}", "output=my release"]
    done = forked.run(["-c", EXPORT.format(number=int(number)), *arguments], cwd=tmp_path, env=ENVIRONMENT)
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert f"stopped by {number.name}; no file in my release is half written" in done.stdout
    assert [path.read_text() for path in old] == ["old"] * 3
    assert sorted(path for path in release.rglob("*") if path.is_file()) == sorted(old)


@pytest.mark.slow
def test_a_signal_before_all_is_said_too(tmp_path):
    code = (
        "import os, signal, sys; sys.argv = ['evaluate.py', 'cost=true']\n"
        "import longtake.cli.user_errors as errors\n"
        "errors.start(lambda cfg: os.kill(os.getpid(), signal.SIGTERM), 'evaluate')\n"
    )
    done = forked.run(["-c", code], cwd=tmp_path, env=ENVIRONMENT)
    assert done.returncode == 143
    assert "stopped by SIGTERM; there was nothing to keep; start again with\n" in done.stdout
    assert done.stdout.splitlines()[-1].strip() == "python evaluate.py cost=true"


def test_a_stop_is_told_once():
    assert not Stopped(signal.SIGTERM).told
    assert Stopped(signal.SIGTERM, code=0).told  # another process says it


@pytest.mark.slow
def test_a_wrong_output_makes_no_folder(tmp_path):
    ended = forked.run([ROOT / "generate.py", "output=5"], cwd=tmp_path, env=ENVIRONMENT)
    assert ended.returncode == 2
    assert "for this very text type 'output=\"5\"'" in ended.stderr
    assert not list(tmp_path.iterdir())


class Fault(Callback):
    """A user's error in one process."""

    def __init__(self, *, rank: int, kind: str) -> None:
        self.rank, self.kind = rank, kind

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank in (self.rank, -1) or self.rank < 0:
            if self.rank > 0:  # the first does not fail, and would be waited for in vain
                user_errors._SECONDS = 0.5
            raise {"user": ValueError, "ours": KeyError}[self.kind](f"rank {trainer.global_rank} refuses")


SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {tests!r}, {tests!r} + "/longtake/cli"]
from pathlib import Path
from tiny_runs import config
from longtake.cli.training import train
from longtake.cli.user_errors import explain
if __name__ == "__main__":
    with explain():
        train(config(Path({videos!r}), Path({run!r}), *{overrides!r}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "kind", "code", "speaker"), [(1, "user", 2, 1), (0, "user", 2, 0), (-1, "user", 2, 0), (1, "ours", 1, 1)]
)
def test_a_process_that_fails_speaks_alone_and_all_end_with_its_status(videos, tmp_path, rank, kind, code, speaker):
    file = tmp_path / "script.py"
    planted = [f"+callbacks.fault.rank={rank}", f"+callbacks.fault.kind={kind}"]
    overrides = ["trainer=ddp_cpu", "trainer.max_steps=4", "trainer.val_check_interval=4", "clips_per_device=1"]
    overrides += ["~callbacks.samples", "backbone.depth=1", "+callbacks.fault._target_=test_ended.Fault", *planted]
    own = {"root": str(ROOT), "tests": str(ROOT / "tests"), "videos": str(videos), "run": str(tmp_path / "run")}
    file.write_text(SCRIPT.format(**own, overrides=overrides))
    begun = time.monotonic()
    done = forked.run([file], cwd=tmp_path, env=ENVIRONMENT, timeout=400, others=1)
    assert done.returncode == code, done.stderr[-3000:]
    told = [line for line in done.stderr.splitlines() if "refuses" in line and "Error" not in line.split("refuses")[0]]
    if kind == "user":
        assert told == [f"error: rank {speaker} refuses"], done.stderr[-3000:]
        assert "Traceback" not in done.stderr
    else:
        assert "KeyError: 'rank 1 refuses'" in done.stderr
        assert done.stderr.count("Traceback") == 1 + done.stderr.count("direct cause") + done.stderr.count("During")
    assert time.monotonic() - begun < 300


@pytest.mark.slow
def test_a_scratch_folder_of_a_killed_process_is_removed_by_the_next(tmp_path):
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from networks.files import scratch\n"
        f"with scratch({str(tmp_path)!r}) as folder:\n"
        "    (folder / 'inside').mkdir(); (folder / 'inside' / 'a').write_text('a')\n"
        "    print(folder, flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    left = Path(process.stdout.readline().strip())
    assert remove_unfinished(tmp_path) == 0  # its process is alive
    process.kill()
    process.wait()
    assert left.is_dir()
    with scratch(tmp_path) as own:
        assert remove_unfinished(tmp_path) == 1
        assert own.is_dir()
    assert not list(tmp_path.iterdir())
