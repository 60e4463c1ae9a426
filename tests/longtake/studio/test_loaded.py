"""What the studio asks of real weights and of `longtake.score`."""

import shutil

import pytest
from composing import ROOT, composed

from longtake.cli.loaded import open_weights, score_videos

pytestmark = pytest.mark.slow


def test_a_takes_report_card_is_that_of_evaluate_py(tmp_path):
    shutil.copyfile(ROOT / "storyboards" / "walk.mp4", tmp_path / "000.mp4")
    found = {score.metric: score for score in score_videos(tmp_path, tmp_path / "report")}
    assert (tmp_path / "report" / "report.html").is_file()
    assert found["motion_smoothness"].higher_is_better is True
    assert found["mawe"].higher_is_better is False
    assert found["motion_magnitude"].higher_is_better is None


@pytest.fixture(scope="module")
def vin(tmp_path_factory):
    """VIN in a folder of its own, with the function that writes its cards."""
    output = tmp_path_factory.mktemp("vin")
    cfg = composed("studio", f"output={output}", "num_inference_steps=2", "num_frames=17")
    weights = open_weights(cfg, str(ROOT / "weights" / "vin_freedoom_64"), output)

    def cards(text):
        (output / "storyboard.yaml").write_text(text)
        return output / "storyboard.yaml"

    return weights, cards


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("segments:\n- {name: a}\n- {name: b}\n", 3, "it makes one video of one card, and b is one more"),
        ("video: x.mp4\nsegments:\n- {name: a}\n", 1, "cannot go on from a video"),
        ("segments:\n- name: a\n  num_frames: 18\n", 3, "a video has 4n [+] 1 frames: use 17 or 21"),
        ("segments:\n- name: a\n  direction: predict\n", 3, "direction is about other cards"),
    ],
)
def test_weights_without_a_memory_say_what_they_cannot_make(vin, text, line, words):
    weights, cards = vin
    with pytest.raises(ValueError, match=words) as raised:
        weights.plan(cards(text))
    assert raised.value.line == line


def test_a_card_of_vin_is_a_video_and_its_tokens_are_looked_at(vin):
    weights, cards = vin
    file = cards("segments:\n- {name: a, prompt: A cave, seed: 4}\n")
    planned = weights.plan(file)
    assert (planned.num_frames, planned.total, planned.to_make) == (17, 2, planned.segments)
    assert "num_frames=17 seed=4" in planned.command
    steps, names = [], []

    class Watch:
        step, segment = staticmethod(lambda: steps.append(1)), staticmethod(names.append)

    path = weights.work(file)(Watch)
    assert (len(steps), names) == (2, ["a"])
    assert weights.plan(file).to_make == ()
    found = weights.attention(path, "A cave", 0.5)
    tokens, frames, rows, columns = found.weights.shape
    assert (rows, columns, frames) == (4, 4, len(found.frames))
    assert found.weights.sum(dim=(1, 2, 3)).allclose(found.weights.new_ones(tokens))
