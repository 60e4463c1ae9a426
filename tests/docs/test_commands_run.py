"""Commands of README, docs and cards are typed one after the other, shortened to seconds, or say why they are not.

Of those that differ in numbers and names alone one is typed.
"""

import re
import signal
import socket
import time
import urllib.error
import urllib.request
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from composing import documented_commands, documented_lines
from documented import COMPOSED, begin, commands, documented, run, shortened, why_not
from PIL import Image
from untrained import awake
from video_files import textured

from longtake.releases.writing import release

TINY = ["text=null_text", "backbone.width=32", "backbone.depth=1", "backbone.num_heads=2"]
OURS = re.compile(r"(longtake|python -m longtake|python (train|generate|evaluate|export)\.py) ")


def a_run(folder, *overrides):
    """The folder of a run that has trained nothing."""
    (folder / "checkpoints").mkdir(parents=True)
    awake(overrides, folder / "checkpoints" / "last.ckpt")
    return folder


def outputs(lines):
    return {found for line in lines if "dry_run" not in line for found in re.findall(r"output=(\S+)", line)}


def test_each_is_run_or_has_a_reason_why_not():
    found = documented_commands()
    assert {each.program for each in found.values()} == COMPOSED.keys()
    for program, reasons in COMPOSED.items():
        unneeded = [words for words in reasons if not any(re.search(words, line) for line in documented(program))]
        assert unneeded == [], program
    assert sum(why_not(each.program, line) is None for line, each in found.items()) > 110


def test_each_that_names_a_program_of_ours_is_known():
    known = documented_commands()
    assert [line for line, _ in documented_lines() if OURS.match(line) and line not in known] == []


@pytest.mark.slow
def test_what_makes_videos(place, videos):
    film, small = ["datamodule.height=32", "datamodule.width=32"], ["interface.num_tokens=4", "interface.depth=1"]
    given = ["objective.context_rate=0.2", "objective.max_context_frames=4"]
    a_run(place / "runs/vin/2026-01-31_12-00-00-000000", *TINY, *small, *film, "control=pose", *given)
    for name in ("RUN", "FOLDER"):
        (place / name).symlink_to(place / "runs/vin/2026-01-31_12-00-00-000000")
    for name, frames in {"walk.csv": 17, "POSES.csv": 41}.items():
        (place / name).write_text("frame,x,y,angle\n" + "".join(f"{n},{n},0,{5 * n}\n" for n in range(frames)))
    for name in ("picture.png", "a.png", "b.png"):
        Image.new("RGB", (48, 32), (200, 40, 40)).save(place / name)
    (place / "film.mp4").symlink_to(videos / "0.mp4")
    run(place, "generate")
    lines = commands("generate")
    typed = [" ".join(shortened("generate", line)) for line in lines]
    made = {found[-1] for line in typed if "dry_run" not in line and (found := re.findall(r"output=(\S+)", line))}
    assert [each for each in made if not (place / each / "000.mp4").is_file()] == []
    assert len(lines) > 18


@pytest.mark.slow
def test_what_judges_videos_and_says_what_they_cost(place):
    from diffusers import WanTransformer3DModel

    for folder in "abc":
        textured(place / "outputs" / folder / "000.mp4", np.linspace(50, 150, 9))
    sizes = {"num_attention_heads": 2, "attention_head_dim": 16, "ffn_dim": 48, "num_layers": 2}
    WanTransformer3DModel(**sizes).save_config(place / "wan" / "transformer")
    run(place, "evaluate")
    lines = commands("evaluate")
    assert [each for each in outputs(lines) if not any((place / each).iterdir())] == []
    assert len(lines) > 9


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "frames"), [("long", 49), ("standard", 33)])  # from 5 s on, and below
def test_what_is_laid_out_for_vbench(place, mode, frames):
    textured(place / "outputs/a/000.mp4", np.linspace(50, 150, frames))
    (place / "outputs/a/000.txt").write_text("a red square")
    lines = [line for line in documented("evaluate") if f"vbench={mode}" in line]
    assert lines
    process = begin(place, [shortened("evaluate", line) for line in lines], 2)  # 2: VBench would miss something
    _, wrong = process.communicate()
    assert process.returncode == 0, wrong[-3000:]
    made = {path.name.partition("-")[0] for path in (place / "outputs/vbench/videos").iterdir()}
    assert made == {"a red square"}


@pytest.mark.slow
def test_what_releases_a_run(place):
    for name, overrides in {
        "vin/2026-01-31_12-00-00-000000": [*TINY, "interface.num_tokens=4", "interface.depth=1"],
        "codec_freedoom/RUN": ["experiment=codec_freedoom"],
        "codec_mazes/RUN": ["experiment=codec_mazes"],
        "codec_mazes_128/RUN": ["experiment=codec_mazes_128"],
        "lovic_mazes/RUN": ["experiment=lovic_mazes", *TINY],
    }.items():
        a_run(place / "runs" / name, *overrides)
    (place / "RUN").symlink_to(place / "runs/vin/2026-01-31_12-00-00-000000")
    for each in outputs(commands("export")):
        (place / each).unlink(missing_ok=True)  # a link to the release of that name
    release(
        place / "runs/lovic_mazes/RUN", place / "weights/lovic_mazes_64", torch.float32
    )  # which one is averaged with
    run(place, "export")
    assert [each for each in outputs(commands("export")) if not list((place / each).rglob("*.safetensors"))] == []


@pytest.mark.slow
def test_a_testbed_is_made_answered_and_scored(place):
    a_run(place / "runs/lovic_mazes/RUN", "experiment=lovic_mazes", *TINY)
    for program in ("testbed_make", "testbed_answer", "testbed_score"):
        run(place, program)
    assert (place / "scores" / "index.html").is_file()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gradio") is None, reason='no Gradio: pip install "longtake[studio]"')
def test_the_studio_shows_its_page_until_it_is_stopped(place):
    typed = [[*shortened("studio", line), f"port={free_port()}"] for line in commands("studio")]
    process = begin(place, typed, 128 + signal.SIGINT)
    try:
        assert [looked_at(process, words[-1].partition("=")[2]) for words in typed] == [200] * len(typed)
        _, wrong = process.communicate(60)
    finally:
        process.kill()
    assert process.returncode == 0, wrong[-3000:]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def looked_at(process, port):
    """What the page of a studio answers with; Ctrl-C ends the studio then."""
    address = f"http://127.0.0.1:{port}"
    assert any(address in line for line in process.stdout), process.stderr.read()[-3000:]
    for _ in range(300):
        try:
            with urllib.request.urlopen(address) as answer:
                break
        except urllib.error.URLError:  # it says where before it is there
            time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    return answer.status
