import csv
import json
import math
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from made_testbed import LENGTHS, MAZES
from torchmetrics.functional.image import structural_similarity_index_measure

from longtake.testbed.curves import EDGES, Curve, draw, from_seen, since_context
from longtake.testbed.measures import Truth
from longtake.testbed.page import findings, rows_of
from longtake.testbed.results import write_scores
from longtake.testbed.scoring import score_predictions
from longtake.testbed.spans import Estimate, Mazes, Row, verdict
from longtake.video import write_video

ROOT = Path(__file__).parents[3]
SIGMA = {"full_context": 8.0, "window": 32.0, "lovic": 16.0, "lovic.other_maze": 40.0, "lovic.shuffled": 24.0}
"""Noise of made-up methods, whose PSNR is 20 log10(255 / sigma)."""


def noisy(frames, sigma, seed):
    """Frames at a root mean squared error that is known: whole numbers, half of them up, half down."""
    signs = np.random.default_rng(seed).permuted(np.resize((-1, 1), frames.size)).reshape(frames.shape)
    values = frames.astype(np.int64)
    signs = np.where(values + signs * sigma > 255, -1, np.where(values + signs * sigma < 0, 1, signs))
    return (values + signs * int(sigma)).astype(np.uint8)


def write_method(testbed, predictions, method, predict):
    (predictions / method).mkdir(parents=True)
    for question in testbed.questions:
        np.savez(predictions / method / f"{question.id}.npz", predict(question, testbed.frames(question.target)))


@pytest.fixture(scope="module")
def predictions(testbed, tmp_path_factory):
    root = tmp_path_factory.mktemp("predictions")
    for method, sigma in SIGMA.items():
        write_method(testbed, root, method, lambda question, true, sigma=sigma: noisy(true, sigma, question.seed))
    return root


def scored(testbed, predictions, **changes):
    settings = {"floor": None, "ceiling": None, "controls": [], "kinds": None, "seed": 0, "progress": iter} | changes
    return score_predictions(testbed, predictions, **settings)


# Measures


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 16, 16), (50, 40, 24)])
def test_ssim_is_that_of_torchmetrics_on_values_of_0_to_255(shape):
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(2))
    second = (0.6 * first + 0.4 * second).astype(np.uint8)
    videos = (torch.from_numpy(each).permute(0, 3, 1, 2).double() for each in (second, first))
    expected = structural_similarity_index_measure(*videos, data_range=255.0, reduction="none").numpy()
    np.testing.assert_allclose(Truth(first).measure(second).ssim, expected, atol=1e-5)


def test_equal_frames_have_the_most_psnr_and_an_error_has_its_own():
    frames = np.random.default_rng(0).integers(20, 200, (5, 16, 16, 3), dtype=np.uint8)
    assert Truth(frames).measure(frames).psnr.tolist() == [100.0] * 5
    assert Truth(frames).measure(frames).ssim == pytest.approx(1.0)
    other = frames.copy()
    other[3] += 5
    psnr = Truth(frames).measure(other).psnr
    assert psnr[3] == pytest.approx(20 * math.log10(255 / 5))
    assert psnr[[0, 1, 2, 4]].tolist() == [100.0] * 4


# The table


def test_perfect_predictions_reach_the_most(testbed, tmp_path):
    write_method(testbed, tmp_path, "perfect", lambda _, true: true)
    rows = [row for row in scored(testbed, tmp_path).rows if row.method == "perfect"]
    assert {row.task for row in rows} == {f"{kind}-{n}" for kind in ("retrieval", "reasoning") for n in LENGTHS}
    assert all(row.psnr == Estimate(100.0, 100.0, 100.0) for row in rows)


def test_means_and_shares_are_those_of_known_errors(testbed, predictions):
    scores = scored(testbed, predictions)
    decibels = {method: 20 * math.log10(255 / sigma) for method, sigma in SIGMA.items()}
    span = decibels["full_context"] - decibels["window"]
    for row in scores.rows:
        if row.method in SIGMA:
            assert row.psnr.mean == pytest.approx(decibels[row.method], abs=1e-3)
            above = decibels[row.method] - decibels["window"]
            assert row.above_floor.mean == pytest.approx(above, abs=1e-3)
            assert row.share.mean == pytest.approx(above / span, abs=1e-3)
    assert (scores.floor, scores.ceiling) == ("window", "full_context")


def test_tasks_come_in_order_and_methods_from_ceiling_to_baselines(testbed, predictions):
    scores = scored(testbed, predictions)
    assert list(dict.fromkeys(row.task for row in scores.rows)) == [
        "retrieval-8", "retrieval-16", "reasoning-8", "reasoning-16",
    ]  # fmt: skip
    assert list(scores.measures) == [
        "full_context", "lovic", "window", "lovic.other_maze", "lovic.shuffled", "nearest_pose", "last_frame",
    ]  # fmt: skip


def test_the_nearest_pose_is_all_but_exact_on_the_way_back_and_not_beyond(testbed, predictions):
    scores = scored(testbed, predictions)
    for n in LENGTHS:
        assert rows_of(scores, f"retrieval-{n}")["nearest_pose"].psnr.mean > 40
        assert rows_of(scores, f"reasoning-{n}")["nearest_pose"].psnr.mean < 30
        first, last = (rows_of(scores, f"reasoning-{n}")[name].psnr for name in ("nearest_pose", "last_frame"))
        assert first == last  # going straight on, the nearest pose is the last


def test_controls_are_known_by_their_names_or_by_being_named(testbed, predictions):
    scores = scored(testbed, predictions, controls=["lovic"])
    assert list(scores.controls) == ["lovic", "lovic.other_maze", "lovic.shuffled"]
    row = rows_of(scores, "retrieval-16")
    assert verdict(row["lovic.other_maze"], tolerance=0.2).startswith(
        "does not rise above the floor by more than 0.2 dB: -1.94 dB ["
    )
    said = verdict(row["lovic.shuffled"], tolerance=0.2)
    assert said.startswith("rises above the floor, though its memory is wrong, by 2.50 dB")
    assert said.endswith(": memory does not explain a gain of this size")
    assert verdict(row["lovic.shuffled"], tolerance=3.0).startswith("does not rise")


def test_kinds_and_tasks_are_chosen(testbed, predictions, tmp_path):
    assert {row.task for row in scored(testbed, predictions, kinds=["retrieval"]).rows} == {
        "retrieval-8", "retrieval-16",
    }  # fmt: skip
    write_method(testbed, tmp_path, "some", lambda _, true: true)
    for file in (tmp_path / "some").glob("*reasoning*"):
        file.unlink()
    scores = scored(testbed, tmp_path, kinds=["retrieval-8"])
    assert len(scores.questions) == len(MAZES)
    assert "no span" in findings(scores, tolerance=0.2)[0]


# Intervals


def test_an_interval_is_over_mazes():
    values = np.asarray([10.0, 12.0, 14.0, 20.0])
    few, many = Mazes(count=4, seed=0).estimate(values), Mazes(count=64, seed=0).estimate(np.tile(values, 16))
    assert few.mean == many.mean == 14.0
    spread = values.std() / 2  # standard error of a mean of four
    assert few.high - few.low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert many.high - many.low == pytest.approx((few.high - few.low) / 4, rel=0.15)
    assert Mazes(count=1, seed=0).estimate(values[:1]) == Estimate(10.0, None, None)


def test_several_questions_of_a_maze_count_once(testbed, predictions):
    means = {row.task: row.mazes for row in scored(testbed, predictions).rows}
    assert set(means.values()) == {len(MAZES)}


def test_a_share_is_paired_by_maze_and_absent_without_a_span():
    floor = np.asarray([10.0, 15.0, 20.0])  # mazes differ far more than methods
    share = Mazes(count=3, seed=0).share(floor + 1.5, floor=floor, ceiling=floor + 2)
    assert (share.mean, share.low, share.high) == pytest.approx((0.75, 0.75, 0.75))
    assert Mazes(count=3, seed=0).share(floor, floor=floor, ceiling=floor + np.asarray([-1.0, 1.0, 0.5])) is None


def test_without_an_interval_a_verdict_is_still_given():
    one = Estimate(20.0, None, None)
    row = Row("a", "loop", 1, 1, one, one, None, None, Estimate(0.5, None, None))
    assert verdict(row, tolerance=0.2) == (
        "rises above the floor, though its memory is wrong, by 0.50 dB: memory does not explain a gain of this size"
    )


# Curves and files


def test_curves_follow_the_frames(testbed, predictions):
    scores = scored(testbed, predictions)
    own = [question for question in scores.questions if question.task == "reasoning-16"]
    curve = since_context(own, scores.measures["last_frame"])
    assert curve.at == list(range(1, 17))
    assert curve.psnr[0] > curve.psnr[-1] + 5  # the further on, the less the last frame tells
    seen = from_seen(own, scores.measures["last_frame"])
    assert [EDGES[int(place)] for place in seen.at][-1] == 8.0
    assert seen.psnr == sorted(seen.psnr, reverse=True)


def test_a_codecs_reconstruction_is_a_limit_and_closes_nothing(testbed, predictions):
    scores = scored(testbed, predictions)
    assert "lovic closes" in " ".join(findings(scores, tolerance=0.2))
    rows = [row._replace(method="codec") if row.method == "lovic" else row for row in scores.rows]
    assert "closes" not in " ".join(findings(scores._replace(rows=rows), tolerance=0.2))


def test_limits_and_baselines_may_leave_the_plot(testbed):
    curves = {"window": Curve([0, 1], [10, 20]), "codec": Curve([0, 1], [80, 90])}
    assert ">80<" in draw(curves, across="frames")
    assert ">80<" not in draw(curves, across="frames", beyond=["codec"])


@pytest.mark.slow
def test_the_page_stands_alone_and_the_files_agree(testbed, predictions, tmp_path):
    scores = scored(testbed, predictions)
    write_scores(scores, tmp_path, name=testbed.name, tolerance=0.2, settings={"seed": 0})
    page = (tmp_path / "index.html").read_text()
    assert re.search("<td class=bad>rises above the floor.*?: memory does not explain a gain of this size</td>", page)
    assert re.search("<td>does not rise above the floor", page)
    assert "<td class=bad>rises above the floor</td>" in page
    assert "<td>holds</td>" in page
    assert "A control has the wrong memory, so it must not rise above the floor, which has none" in page
    assert testbed.info["fingerprint"] in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<img") == 4 * 2 * (1 + len(scores.measures))
    content = json.loads((tmp_path / "scores.json").read_text())
    with (tmp_path / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(content["rows"]) == 4 * len(scores.measures)
    assert [float(line["psnr"]) for line in lines] == [row["psnr"] for row in content["rows"]]
    assert set(content["questions"]["lovic"]) == {question.id for question in testbed.questions}
    again = tmp_path / "again"
    write_scores(scored(testbed, predictions), again, name=testbed.name, tolerance=0.2, settings={"seed": 0})
    assert (again / "scores.json").read_bytes() == (tmp_path / "scores.json").read_bytes()


@pytest.mark.slow
def test_the_program_in_the_docs_answers_with_the_nearest_pose(folder, testbed, tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/testbed.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "answer.py").write_text(code)
    subprocess.run([sys.executable, tmp_path / "answer.py", folder, tmp_path / "answers"], check=True, timeout=120)
    scores = scored(testbed, tmp_path / "answers")
    for row in scores.rows:
        if row.method == "my_method":
            assert row.psnr == rows_of(scores, row.task)["nearest_pose"].psnr


# Predictions that are not as they should be


@pytest.fixture
def answers(testbed, tmp_path):
    write_method(testbed, tmp_path, "a", lambda _, true: true)
    return tmp_path


QUESTION = "00009-retrieval-16"


def spoil(answers, suffix, write):
    (answers / f"a/{QUESTION}.npz").unlink()
    write(answers / f"a/{QUESTION}{suffix}")


def video(path, *, frames=16, size=32):
    write_video(path, [torch.zeros(3, frames, size, size)], fps=8)


def truncated(path):
    video(path)
    path.write_bytes(path.read_bytes()[:400])


def pictures(path, count=16):
    import cv2

    path.mkdir()
    for place in range(count):
        cv2.imwrite(str(path / f"{place:03d}.png"), np.zeros((32, 32, 3), np.uint8))


def spoilt_picture(data):
    def write(path):
        pictures(path)
        (path / "003.png").write_bytes(data)

    return write


def unpadded(path):
    pictures(path)
    for file in path.iterdir():
        file.rename(path / f"frame_{int(file.stem)}.png")


def flipped(path, place):
    np.savez_compressed(path, BLACK)
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(bytes(data))


def locked(path):
    np.savez(path, BLACK)
    data = bytearray(path.read_bytes())
    data[data.rfind(b"PK\x01\x02") + 8] |= 1  # says that it is encrypted
    path.write_bytes(bytes(data))


HUGE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\2\0\0\0"
"""The head of a picture of 65,536 × 65,536 pixels."""
BLACK = np.zeros((16, 32, 32, 3))
NAN = BLACK.copy()
NAN[5, 0, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("suffix", "write", "said"),
    [
        (".mp4", lambda path: video(path, frames=15), ".mp4 has 15 frames, the question asks for 16"),
        (".mp4", lambda path: video(path, size=64), ".mp4 has frames of 64 × 64 pixels, the question asks 32 × 32"),
        (".mp4", truncated, ".mp4: "),
        (".mp4", lambda path: path.write_text("none"), ".mp4: cannot be decoded"),
        (".npz", lambda path: np.savez(path, NAN), ".npz: frame 5 holds NaN or infinity"),
        (".npz", lambda path: np.savez(path, BLACK[:3]), ".npz has 3 frames"),
        (".npz", lambda path: np.savez(path, BLACK[..., 0]), ".npz has an array of shape (16, 32, 32)"),
        (".npz", lambda path: np.savez(path, BLACK + 2), ".npz has values from 2 to 2; floats lie in [0, 1]"),
        (".npz", lambda path: np.savez(path, BLACK.astype(int)), ".npz has values of type int64"),
        (".npz", lambda path: np.savez(path, np.asarray([{}])), "has an array of shape (1,)"),
        (".npz", lambda path: path.write_bytes(b"PK"), ".npz is no .npz or .npy file"),
        (".npz", lambda path: flipped(path, 60), ".npz is no .npz or .npy file"),
        (".npz", locked, ".npz is no .npz or .npy file"),
        (".npy", lambda path: np.save(path, NAN), ".npy: frame 5 holds NaN or infinity"),
        ("", lambda path: pictures(path, 7), f"{QUESTION} has 7 frames"),
        ("", lambda path: (pictures(path), (path / "003.png").write_text("a")), "003.png is no picture"),
        ("", spoilt_picture(b""), "003.png is no picture"),
        ("", spoilt_picture(HUGE + zlib.crc32(HUGE[12:]).to_bytes(4, "big")), "003.png is no picture"),
        ("", unpadded, "its names do not sort as their numbers count; write 000.png, 001.png, …"),
        ("", Path.mkdir, "holds no .png; write a picture of each frame"),
        (".txt", lambda path: path.write_text("none"), f"{QUESTION}.mp4 is missing, and so are 0 more of 12"),
    ],
)
def test_a_prediction_that_is_not_as_asked_is_one_sentence_with_its_file(testbed, answers, suffix, write, said):
    spoil(answers, suffix, write)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        scored(testbed, answers)
    assert f"a/{QUESTION}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_pickle_is_read(testbed, answers):
    trap = np.empty((16, 32, 32, 3), dtype=object)
    spoil(answers, ".npz", lambda path: np.savez(path, trap))
    with pytest.raises(ValueError, match="values of type object"):
        scored(testbed, answers)


@pytest.mark.slow
def test_every_form_of_a_prediction_is_read(testbed, answers):
    for suffix, write in (
        (".mp4", video),
        (".npy", lambda path: np.save(path, BLACK)),
        ("", pictures),
    ):
        path = answers / f"a/{QUESTION}{suffix}"
        (answers / f"a/{QUESTION}.npz").unlink(missing_ok=True)
        write(path)
        found = scored(testbed, answers).measures["a"][QUESTION].psnr.mean()
        assert 3 < found < 12
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda root: (root / "a/00009-retrieval-17.mp4").touch(), "has no question 00009-retrieval-17; did you mean"),
        (lambda root: (root / f"a/{QUESTION}.mp4").touch(), "a second prediction beside"),
        (lambda root: (root / "nearest_pose").mkdir() or shutil.copytree(root / "a", root / "nearest_pose",
         dirs_exist_ok=True), "a baseline has this name"),
        (lambda root: (root / "b").mkdir(), "b/00009-retrieval-8.mp4 is missing, and so are 11 more of 12"),
    ],
)  # fmt: skip
def test_a_folder_of_predictions_that_cannot_be_is_told(testbed, answers, spoilt, said):
    spoilt(answers)
    with pytest.raises(ValueError, match=re.escape(said)):
        scored(testbed, answers)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"floor": "windw"}, "there is no method windw"),
        ({"floor": "a", "ceiling": "a"}, "floor and ceiling are both a: name two methods"),
        ({"controls": ["b"]}, "there is no method b; the predictions have a"),
        ({"kinds": ["retrival"]}, "kinds names 'retrival'; this test set has"),
    ],
)
def test_a_name_that_is_none_is_told(testbed, answers, changes, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        scored(testbed, answers, **changes)


def test_a_folder_without_methods_is_told(testbed, tmp_path):
    with pytest.raises(ValueError, match="holds no folder"):
        scored(testbed, tmp_path)
    with pytest.raises(ValueError, match="there is no such folder"):
        scored(testbed, tmp_path / "none")
