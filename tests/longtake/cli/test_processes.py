"""Several processes of generate.py: who makes what, one manifest, the same files, and one sentence where one fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import forked
import pytest
import torch
import torch.distributed as dist
from composing import ROOT, composed
from torch import multiprocessing

from longtake.cli import evaluate
from longtake.cli.manifests import Manifest
from longtake.cli.processes import Started, alone_in, check_launcher, processes_of
from longtake.cli.request import requested
from longtake.cli.take import make_videos
from longtake.parallel import Mesh, make_mesh
from longtake.video import write_video
from networks.files import CLAIM
from networks.processes import Processes

VIN = ROOT / "weights" / "vin_freedoom_64"
SHORT = ("num_frames=57", "num_inference_steps=1", "num_videos=3", "network.fusion=all")  # two windows


def settings(output, *changes):
    return composed("generate", f"weights={VIN}", f"output={output}", *SHORT, *changes)


def make(rank, world, folder, chunks):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    mesh = make_mesh(chunks=chunks)
    made = []

    def write(path, *arguments, **more):
        made.append(path.name)
        write_video(path, *arguments, **more)

    make_videos(requested(settings(Path(folder) / "output")), write, mesh, "cpu")
    Path(folder, f"{rank}.json").write_text(json.dumps(made))
    dist.destroy_process_group()


def start(world, folder, chunks=1):
    """What each process wrote."""
    multiprocessing.start_processes(make, args=(world, str(folder), chunks), nprocs=world, start_method="fork")
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


def lines(folder):
    return [json.loads(text) for text in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    torch.set_num_threads(1)
    make_videos(requested(settings(folder)), write_video)
    return folder


def same(line):
    return {key: value for key, value in line.items() if key not in ("seconds", "peak_gib")}


@pytest.mark.slow
def test_videos_are_shared_out_and_the_files_are_those_of_one_process(alone, tmp_path):
    made = start(2, tmp_path)
    assert sorted(made[0] + made[1]) == ["000.mp4", "001.mp4", "002.mp4"]
    assert all(made)
    for path in alone.glob("*.mp4"):
        assert (tmp_path / "output" / path.name).read_bytes() == path.read_bytes()
    assert [same(line) for line in lines(tmp_path / "output")] == [same(line) for line in lines(alone)]
    assert {path.name for path in (tmp_path / "output").iterdir()} == {path.name for path in alone.iterdir()}


@pytest.mark.slow
def test_a_team_makes_each_video_together_and_its_first_writes_it(alone, tmp_path):
    assert start(2, tmp_path, chunks=2) == [["000.mp4", "001.mp4", "002.mp4"], []]
    assert [same(line) for line in lines(tmp_path / "output")] == [same(line) for line in lines(alone)]


def test_parts_of_a_run_that_was_ended_are_joined(tmp_path):
    wanted = [("000.mp4", "a", 0), ("001.mp4", "b", 1), ("002.mp4", "c", 2)]
    of = {name: {"file": name, "prompt": prompt, "seed": seed, "settings": "x"} for name, prompt, seed in wanted}
    manifest = Manifest(tmp_path, wanted, "x")
    manifest.write({"001.mp4": of["001.mp4"]}, rank=1)
    manifest.write({"000.mp4": of["000.mp4"], "002.mp4": {**of["002.mp4"], "settings": "other"}}, rank=0)
    for name in of:
        (tmp_path / name).touch()
    assert set(manifest.join()) == {"000.mp4", "001.mp4"}
    assert [line["file"] for line in lines(tmp_path)] == ["000.mp4", "001.mp4"]
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["manifest.jsonl"]
    (tmp_path / "000.mp4").unlink()
    assert set(manifest.join()) == {"001.mp4"}
    (tmp_path / "manifest.jsonl").write_bytes(b'{"file": "caf\xe9"}\n' + (tmp_path / "manifest.jsonl").read_bytes())
    assert set(manifest.finished()) == {"001.mp4"}


def test_a_launcher_is_known_by_what_it_says(monkeypatch, tmp_path):
    assert processes_of(settings(tmp_path)) == Started(1, 1)
    assert processes_of(settings(tmp_path, "devices=4", "parallel.chunks=2", "parallel.guidance=2")) == Started(4, 1)
    with pytest.raises(ValueError, match="makes teams of 2 processes, which do not fill 3: start 2 or 4"):
        processes_of(settings(tmp_path, "devices=3", "parallel.chunks=2"))
    told = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "one", "MASTER_PORT": "29500"}
    for key, value in {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6", **told}.items():
        monkeypatch.setenv(key, value)
    assert processes_of(settings(tmp_path)) == Started(2, 3)
    with pytest.raises(ValueError, match="devices=4, but a launcher started 2 processes on this machine"):
        processes_of(settings(tmp_path, "devices=4"))


SLURM = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_JOB_ID")
LAUNCHERS = (
    "TORCHELASTIC_RUN_ID",
    "LOCAL_RANK",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            {"TORCHELASTIC_RUN_ID": "none"},
            "but RANK is not: start by torchrun or srun, or take TORCHELASTIC_RUN_ID out",
        ),
        ({"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "LOCAL_RANK": "one"}, "but LOCAL_RANK is 'one' there"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK is in the environment, .* but WORLD_SIZE is not"),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "0"}, "but WORLD_SIZE is '0' there"),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, "but MASTER_ADDR is not"),
        ({"SLURM_STEP_NUM_TASKS": "two"}, "but SLURM_STEP_NUM_TASKS is 'two' there"),
    ],
)
def test_half_a_launcher_is_refused_and_not_waited_for(told, words, monkeypatch, tmp_path):
    for name in (*SLURM, *LAUNCHERS):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=words):
        processes_of(settings(tmp_path, "devices=2"))


def test_machines_that_could_not_find_one_another_are_refused(monkeypatch):
    for name in (*SLURM, *LAUNCHERS, "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    check_launcher(1)
    with pytest.raises(ValueError, match="or set NODE_RANK, MASTER_ADDR, MASTER_PORT there"):
        check_launcher(2)
    for name, value in {"MASTER_ADDR": "one", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="or set NODE_RANK there"):
        check_launcher(2)
    monkeypatch.setenv("NODE_RANK", "0")
    check_launcher(2)


def made_in(folder):
    with alone_in(folder, Mesh()):
        pass


def test_two_calls_do_not_make_videos_in_one_folder(tmp_path):
    with alone_in(tmp_path, Mesh()), ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as second:
        with pytest.raises(ValueError, match=r" is in use by another run that is still going: wait for it, or give ou"):
            second.submit(made_in, tmp_path).result()
        with alone_in(tmp_path, Mesh(world=Processes(1, 2))):
            pass  # another process of the same call
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as second:
        second.submit(made_in, tmp_path).result()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_calls_do_not_score_lay_out_or_export_in_one_folder(videos, tmp_path):
    output = tmp_path / "scores"
    both = f"videos=[{videos},{videos.parent / 'again'}]"
    shutil.copytree(videos, videos.parent / "again", dirs_exist_ok=True)
    with alone_in(output, Mesh()):
        for program, *asked in (
            ("evaluate.py", f"videos={videos}"),
            ("evaluate.py", both),
            ("evaluate.py", f"videos={videos}", "vbench=long_custom"),
            ("export.py", f"run={ROOT / 'weights' / 'vin_freedoom_64'}"),
        ):
            second = forked.run([ROOT / program, *asked, f"output={output}"], cwd=tmp_path)
            assert second.returncode == 2
            assert second.stderr.strip() == (
                f"error: {output} is in use by another run that is still going: wait for it, or give output=… another "
                "folder"
            )
        assert [path.name for path in output.iterdir()] == [CLAIM]


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def started(output, *changes, launcher=(), fresh=False):
    words = [*launcher, "generate.py", f"weights={VIN}", f"output={output}", *([] if launcher else ["devices=2"])]
    others = 0 if fresh else 2 if launcher else 1
    return forked.Started([*words, *changes], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, others=others)


def ranks(process, launcher):
    """The processes of a call by rank."""
    children = [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    return dict(enumerate(children if launcher else [process.pid, *children]))


def alive(pid):
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("launcher", "killed", "chunks"), [((), 1, 2), ((), 0, 1), (TORCHRUN, 0, 2), (TORCHRUN, 1, 1)])
def test_where_a_process_dies_the_others_say_it_once_and_end(launcher, killed, chunks, tmp_path):
    long = ("num_frames=57", "num_videos=400", "num_inference_steps=1")
    process = started(tmp_path, f"parallel.chunks={chunks}", *long, launcher=launcher)
    try:
        until = time.monotonic() + 200
        while not list(tmp_path.glob("manifest*.jsonl")) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
        those = ranks(process, launcher)
        assert those.keys() == {0, 1}
        os.kill(those[killed], signal.SIGKILL)
        out, said = process.communicate(timeout=90)  # all of them have closed it
    finally:
        process.kill()
    assert process.returncode != 0
    assert not alive(those[1 - killed])
    if launcher:  # which ends all that are left, and reports how each ended
        assert "Signal 9 (SIGKILL)" in said
        assert said.count("another process of this run was ended from outside") <= 1
        assert said.count("Traceback") == 1
        kept = f"finished videos, windows and segments are kept in {tmp_path}" in out
        early = "nothing is half written" in said  # where the other was far ahead of the first
        assert killed == 0 or kept or early or "another process of this run was ended from outside" in said
    else:
        assert said.count("another process of this run was ended from outside") == 1
        assert "Traceback" not in said
        assert "c10" not in said


TORCH_LOADS = """
import os, runpy, sys

class Torch:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ.get("TORCH_CPP_LOG_LEVEL"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Torch())
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_what_torch_says_of_a_lost_process_is_settled_before_torch_loads(tmp_path):
    """The processes above are forked from one in which it is settled already."""
    words = ["-c", TORCH_LOADS, "generate.py", f"weights={VIN}", f"output={tmp_path}"]
    told = {name: value for name, value in os.environ.items() if name != "TORCH_CPP_LOG_LEVEL"}
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, env=told, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "ERROR\n"), ended.stderr


@pytest.mark.slow
def test_what_all_processes_would_refuse_is_said_once(tmp_path):
    process = started(tmp_path, "parallel.chunks=2", "num_frames=9")
    _, said = process.communicate(timeout=200)
    assert said.count("error:") == 1
    assert "parallel.chunks=2 leaves processes of a video without work" in said
    assert process.returncode == 2


@pytest.mark.slow
def test_torchrun_itself_starts_them_and_what_they_refuse_is_said_once(tmp_path):
    """Those that it starts in other tests are forked."""
    process = started(tmp_path, "devices=4", launcher=TORCHRUN, fresh=True)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 1
    assert said.count("error: devices=4, but a launcher started 2 processes on this machine") == 1
    assert said.count("Traceback") == 1  # torchrun's own


def scored(rank, world, folder, videos, clips):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    read, files = evaluate.read_clip, []
    evaluate.read_clip = lambda path, **size: files.append(path.name) or read(path, **size)
    evaluate._score_folder(score_settings(videos, clips, Path(folder) / "several"), make_mesh(), "cpu")
    Path(folder, f"{rank}.json").write_text(json.dumps(files))
    dist.destroy_process_group()


def score_settings(videos, reference, output):
    kept = {"temporal_flicker", "frechet_frames", "psnr"}
    cfg = composed("evaluate", f"videos={videos}", f"output={output}", f"reference={reference}")
    cfg.metrics = {name: metric for name, metric in cfg.metrics.items() if name in kept}
    assert cfg.metrics
    return cfg


@pytest.mark.slow
def test_a_folder_is_scored_by_several_processes_as_by_one(videos, tmp_path, capsys):
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(3):
        shutil.copy(videos / f"{number}.mp4", clips)
    (clips / "broken.mp4").write_bytes(b"no video")
    torch.set_num_threads(1)
    evaluate._score_folder(score_settings(clips, videos, tmp_path / "alone"), Mesh(), "cpu")
    multiprocessing.start_processes(
        scored, args=(2, str(tmp_path), str(clips), str(videos)), nprocs=2, start_method="fork"
    )
    read = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert all(read)
    for name in ("report.json", "report.csv", "report.html"):
        one, several = ((tmp_path / folder / name).read_text() for folder in ("alone", "several"))
        assert several.replace(str(tmp_path / "several"), str(tmp_path / "alone")) == one, name


@pytest.mark.slow
def test_evaluate_starts_its_processes(videos, tmp_path):
    words = ["evaluate.py", f"videos={videos}", f"output={tmp_path}", "devices=2"]
    words += [f"~metrics.{name}" for name in composed("evaluate").metrics if name != "temporal_flicker"]
    done = forked.run(words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, others=1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 videos scored") == 1
