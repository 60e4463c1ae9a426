"""Documented commands that start several processes are typed with two, which are forked; machines stand on this one."""

import re
import socket

import forked
import pytest
from documented import environment, shortened, together

from longtake.video import read_video

pytestmark = pytest.mark.slow
LAUNCHER = ["-m", "torch.distributed.run"]


def typed(place, program, line):
    """What a command says, on all machines that it names."""
    words = shortened(program, line)
    if words[0] == "torchrun":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            host = f"localhost:{free.getsockname()[1]}"
        words = [*LAUNCHER, *(host if word == "HOST:29500" else word for word in words[1:])]
    machines = 2 if "--nnodes" in words else 1
    others = 2 // machines if words[:2] == LAUNCHER else 1
    started = [
        forked.Started(words, cwd=place, env=environment(place), others=others, leads=True) for _ in range(machines)
    ]
    try:
        said = [process.communicate(200) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * machines, "".join(map("".join, said))[-8000:]
    return "".join(out for out, _ in said)


@pytest.mark.parametrize("line", together("generate"))
def test_what_makes_videos(place, line):
    typed(place, "generate", line)
    words = dict(re.findall(r"(\w+)=(\S+)", " ".join(shortened("generate", line))))
    made = sorted((place / words["output"]).glob("*.mp4"))
    assert [read_video(path).shape[1] for path in made] == [int(words["num_frames"])] * int(words["num_videos"])


@pytest.mark.parametrize("line", together("train"))
def test_what_trains(place, line):
    if "--nnodes" in line:  # machines, which do not wait for one that makes the cache
        words = shortened("train", line)
        caching = ["-m", "longtake", "cache", *words[words.index("train.py") + 1 :]]
        assert forked.run(caching, cwd=place, env=environment(place)).returncode == 0
    assert "global batch 2 = " in (said := typed(place, "train", line))
    assert ("1 team(s) of 2 devices" if "chunks" in line else "2 device(s) x 1 clips") in said
    assert len(list(place.glob("runs/vin/*/checkpoints/last.ckpt"))) == 1


def test_what_scores_and_what_caches(place):
    (scoring,), (caching,) = together("evaluate"), together("cache")
    assert typed(place, "evaluate", scoring).count("6 videos scored") == 1
    assert (place / "outputs/shared/report.json").is_file()
    assert "6 films are cached" in typed(place, "cache", caching)
