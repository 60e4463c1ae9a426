"""Some of the hostile files of `python -m benchmarks.hostile`, opened by the programs in processes that are watched."""

import os
from pathlib import Path

import forked
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


@pytest.mark.timeout(600)
def test_a_sample_of_hostile_files_does_no_harm():
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = forked.run(["-m", "benchmarks.hostile", "7/80"], cwd=ROOT, env=own, timeout=580)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-2000:]
    assert " 0 faults" in ended.stdout


@pytest.mark.parametrize(
    "harm",
    [
        "import os; os.system('true')",
        "import subprocess; subprocess.run(['true'])",
        "open('{outside}/new', 'w').close()",
        "import os; os.remove('{outside}/old')",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))",
        "import os; open('kept.txt', 'w').write(os.environ['SECRET_TOKEN'])",
        "import sys; sys.path.insert(0, '{evil}'); import evil",
        "import time; time.sleep(60)",
        "raise KeyError('x')",
    ],
)
def test_the_watch_sees_each_harm(harm, tmp_path, monkeypatch):
    from benchmarks.hostile import watched

    outside, stranger = tmp_path / "outside", tmp_path / "stranger"
    outside.mkdir()
    (outside / "old").touch()
    stranger.mkdir()
    (stranger / "evil.py").write_text("x = 1\n")
    program = tmp_path / "program.py"
    program.write_text(harm.replace("{outside}", str(outside)).replace("{evil}", str(stranger)))
    monkeypatch.setattr(watched, "ROOT", tmp_path)
    ended = watched.run("program.py", [], stranger, timeout=2 if "sleep" in harm else 10)
    assert ended.broken or ended.kind in ("trace", "hang")


def test_the_watch_lets_ordinary_work_pass(tmp_path, monkeypatch):
    from benchmarks.hostile import watched

    (tmp_path / "stranger").mkdir()
    (tmp_path / "program.py").write_text("open('out.txt', 'w').write('x'); print('done')")
    monkeypatch.setattr(watched, "ROOT", tmp_path)
    assert watched.run("program.py", [], tmp_path / "stranger", timeout=10) == watched.Ending("passed", [], "done")
