"""A rollout of one's own is two files, a class and a yaml, which may lie outside of the package."""

import json
import os
import sys

import forked
import pytest
from hydra import compose, initialize_config_dir

from longtake.cli import generate
from longtake.configs import CONF
from longtake.rollouts.plan import CanvasPlan, check_plan

ROOT = CONF.parent
CLASS = '''
from longtake.rollouts.plan import CanvasPlan
from longtake.rollouts.rollout import Rollout


class EndsFirst(Rollout):
    """The first and the last frames together, then what lies between, window by window."""

    def __init__(self, *, window_frames: int) -> None:
        """window_frames: latent frames of the first canvas; a number that the old rules would have misread."""
        self.window_frames = window_frames

    def plan(self, num_latents):
        half = self.window_frames // 2
        ends = (*range(half), *range(num_latents - half, num_latents))
        if len(set(ends)) < len(ends) or num_latents == len(ends):
            return (CanvasPlan(tuple(range(num_latents))),)
        middle = tuple(range(half - 1, num_latents - half + 1))
        return CanvasPlan(ends), CanvasPlan(middle, known=(0, len(middle) - 1))
'''
YAML = "# The ends first.\n_target_: my_rollouts.EndsFirst\nwindow_frames: 4\n"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Composes a program's config with the two files on the search path, and runs it."""
    (tmp_path / "my_rollouts.py").write_text(CLASS)
    (tmp_path / "conf" / "rollout").mkdir(parents=True)
    (tmp_path / "conf" / "rollout" / "ends_first.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda program, *overrides: _run(program, f"hydra.searchpath=[file://{tmp_path / 'conf'}]", *overrides)
    sys.modules.pop("my_rollouts", None)


def _run(program, *overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        program.run(compose("generate", overrides=[*overrides, f"paths.root_dir={ROOT}"]))


GENERATE = ("rollout=ends_first", "num_frames=37", "num_inference_steps=1", "prompt=a")


@pytest.mark.slow
def test_it_makes_a_video_whose_seams_the_manifest_names(own, tmp_path):
    own(generate, *GENERATE, f"output={tmp_path / 'out'}")
    (line,) = [json.loads(text) for text in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert line["boundaries"] == [5, 29]  # latents 2 and 8 of ten, where others were made in another canvas
    assert (tmp_path / "out" / "000.mp4").is_file()


@pytest.mark.slow
def test_a_dry_run_says_its_canvases_and_needs_no_output(own, caplog, tmp_path, monkeypatch):
    caplog.set_level("INFO", logger="longtake")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    own(generate, *GENERATE, "dry_run=true")
    assert "0 to 9" in caplog.text
    assert "2 to 7" in caplog.text
    assert "2 canvases of 2 calls of the network" in caplog.text
    assert [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in str(path)] == before


@pytest.mark.slow
def test_its_cost_is_predicted_beside_the_others_and_nothing_lists_it(own, tmp_path):
    settings = ["cost=true", "network=dit", "num_frames=37", f"output={tmp_path}", "peak_tflops=100"]
    words = [ROOT / "evaluate.py", "--config-dir", tmp_path / "conf", *settings]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    ended = forked.run(words, cwd=ROOT, env=environment)
    assert ended.returncode == 0, ended.stderr
    rows = {row["rollout"]: row for row in json.loads((tmp_path / "cost.json").read_text())["rollouts"]}
    assert rows["ends_first"]["network_calls"] == 2 * 30
    assert 0 < rows["ends_first"]["video_flops"] < 2 * rows["full_attention"]["video_flops"]


@pytest.mark.slow
def test_it_is_checked_like_the_others(own, tmp_path):
    overrides = (*GENERATE, "network.fusion=late", f"output={tmp_path / 'out'}")
    with pytest.raises(ValueError, match=r"network\.fusion=late joins VIN's chunks, and rollout=ends_first makes none"):
        own(generate, *overrides)
    with pytest.raises(ValueError, match=r"rollout\.window_frames='?much'? must be"):
        own(generate, *GENERATE, "rollout.window_frames=much", f"output={tmp_path / 'out'}")


def test_a_missing_output_is_said(own):
    with pytest.raises(ValueError, match="output is missing: give output="):
        own(generate, *GENERATE)


ALL = CanvasPlan(tuple(range(4)))


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ((), "does not make latent frames 0 to 3, each once: 0 is amiss"),
        ((CanvasPlan((0, 1, 2)),), "does not make latent frames 0 to 3, each once: 3 is amiss"),
        ((CanvasPlan(tuple(range(5))),), "each once: 4 is amiss"),
        ((CanvasPlan((0, 1, 2, 3), known=(0,)),), "canvas 1 .* knows latent frame 0 before a canvas has made it"),
        ((ALL, CanvasPlan((3,))), "canvas 2 .* makes latent frame 3 again"),
        ((CanvasPlan((1, 0, 2, 3)),), "canvas 1 .* out of order"),
    ],
)
def test_a_plan_that_makes_no_video_is_refused(plan, words):
    check_plan((ALL,), 4)
    with pytest.raises(ValueError, match=words):
        check_plan(plan, 4)
