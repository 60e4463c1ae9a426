"""Answers from memory: each method remembers what its name says, and the codec's own loss is measured beside them."""

import numpy as np
import pytest
import torch
from builders import CHANNELS, TEXT, awake, tiny_dit, tiny_lovic, tiny_vin
from torch.nn import functional

from longtake.objectives import CleanPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.pipeline import Pipeline
from longtake.rollouts.segmentwise import Segmentwise
from longtake.rollouts.single_pass import SinglePass
from longtake.samplers import ClassifierFreeGuidance, Euler
from longtake.testbed.answering import among
from longtake.testbed.from_canvas import FromCanvas
from longtake.testbed.from_memory import FromMemory, Method, methods_of
from longtake.testbed.memory_shapes import alike, ladder, pyramid
from networks.control import PoseControl


class Thinned:
    """Every fourth frame at an eighth of the size, and nothing else."""

    channels, time_factor, space_factor = CHANNELS, 4, 8

    def to(self, device):
        return self

    def encode(self, video):
        small = functional.avg_pool3d(video[:, :, ::4], (1, 8, 8))
        return functional.pad(small, (0, 0, 0, 0, 0, 0, 0, 1))

    def decode_stream(self, latents):
        shown = latents[:, :3].repeat_interleave(8, 3).repeat_interleave(8, 4).repeat_interleave(4, 2)
        yield shown[:, :, 3:].clamp(-1, 1)


class Silence:
    features = TEXT

    def encode(self, captions):
        return torch.zeros(len(captions), 1, TEXT), torch.ones(len(captions), 1, dtype=torch.bool)


def pipeline(**changes):
    control = PoseControl(width=32, frames_per_latent=4, unit=50.0)
    network = awake(tiny_lovic(tiny_dit(control=control)), scale=0.1).eval()
    objective = Objective(path=LinearPath(), prediction=CleanPrediction(), times=Uniform(), weight=NoWeight())
    module = torch.nn.Module()
    module.network, module.objective, module.sampler = network, objective, Euler(num_inference_steps=2)
    rollout = Segmentwise(
        segment_frames=2, window_frames=1, max_context=5, compression_ratio=4.0, ratio_growth=1.0,
        max_compression_ratio=32.0, memory_level=0.0,
    )  # fmt: skip
    parts = {
        "module": module, "guidance": ClassifierFreeGuidance(scale=1.0), "rollout": rollout, "codec": Thinned(),
        "text_encoder": Silence(), "height": 32, "width": 32, "fps": 8.75,
    }  # fmt: skip
    return Pipeline(**{**parts, **changes})


@pytest.fixture(scope="module")
def answerer(testbed):
    return FromMemory(pipeline(), testbed)


def asked(testbed, task):
    return next(question for question in testbed.questions if question.task == task)


def test_some_methods_alone_can_be_asked_for():
    makers = {"window": len, "memory_8": len, "codec": len}
    assert list(among(makers, None)) == ["window", "memory_8", "codec"]
    assert list(among(makers, ["codec", "window"])) == ["window", "codec"]
    with pytest.raises(ValueError, match="there is no memory_9 among window, memory_8, codec"):
        among(makers, ["window", "memory_9"])


@pytest.mark.slow
def test_every_method_answers_with_the_frames_that_are_asked_for_and_each_with_others(answerer, testbed):
    question = asked(testbed, "retrieval-16")
    methods = {method.name: method for method in methods_of([2, 4], [4], [4])}
    answers = {name: answerer.answer(question, method) for name, method in methods.items()}
    assert list(answers) == [
        "window", "full_context", "memory_2", "memory_4", "ladder_4", "pyramid_4",
        "full_context.other_maze", "full_context.shuffled", "full_context.unvisited",
    ]  # fmt: skip
    for name, frames in answers.items():
        assert (frames.shape, frames.dtype) == ((16, 32, 32, 3), np.uint8)
        assert np.array_equal(frames, answerer.answer(question, methods[name]))
    assert question.unvisited is None  # these walks see one another's regions: nothing is left to remember
    different = [frames.tobytes() for name, frames in answers.items() if name != "full_context.unvisited"]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize("shape", [alike, ladder, pyramid])
@pytest.mark.parametrize("tokens", [[160], [160] * 4, [80, 160, 160], [160] * 25])
def test_every_memory_spends_the_tokens_of_its_ratio_over_all(shape, tokens):
    remembered = shape(tokens, 8.0)
    assert sum(tokens[k] / ratio for k, ratio in remembered) == pytest.approx(sum(tokens) / 8)
    assert {k for k, _ in remembered} == set(range(len(tokens)))
    assert [k for k, _ in shape([], 8.0)] == []


def test_a_ladder_is_twice_as_coarse_a_segment_further_back():
    method = Method("", "own", 8.0, ladder)
    assert method.remembered([160] * 4) == [(0, 30.0), (1, 15.0), (2, 7.5), (3, 3.75)]
    assert Method("", "own", 1.5, ladder).remembered([80] * 3) == [(0, 3.5), (1, 1.75), (2, 1.0)]
    assert method.remembered([4, 8, 8]) == [(0, 4), (1, 8), (2, pytest.approx(5.2))]  # one token at least of each


def test_a_pyramid_has_levels_of_equally_many_tokens_of_which_the_finest_is_the_newest_segment():
    assert pyramid([160] * 4, 8.0) == [(0, 16.0), (1, 16.0), (2, 16.0), (3, 16.0), (3, 4.0)]
    levels = pyramid([160] * 25, 8.0)
    assert [k for k, _ in levels] == [*range(25), *range(9, 25), *range(21, 25), 24]
    assert [ratio for _, ratio in levels[::-1]][:5] == pytest.approx([32 / 25, *4 * [4 * 32 / 25]])


def test_the_window_knows_the_last_frames_alone_and_a_memory_all(answerer, testbed):
    question = asked(testbed, "retrieval-16")
    own = answerer.walk(question.context)
    changed = own._replace(latents=own.latents.clone())
    changed.latents[:, :, 0] += 1  # of five; the window is one
    for memory, same in (("none", True), ("own", False)):
        method = Method("", memory, 1.0)
        made = []
        for walk in (own, changed):
            pieces = answerer.pieces(walk) if memory == "own" else []
            poses = torch.cat([walk.poses, answerer.poses(question.target)])
            made.append(answerer.continued(walk, poses, pieces, question, method)[:, :, 5:])
        assert torch.equal(*made) == same


def test_what_is_remembered_stands_before_the_target_with_its_own_poses(answerer, testbed):
    question = asked(testbed, "retrieval-16")
    own = answerer.walk(question.context)
    pieces = answerer.pieces(own)
    assert [(piece.start, piece.past.video.shape[2]) for piece in pieces] == [(-5, 1), (-4, 2), (-2, 2)]
    assert torch.equal(torch.cat([piece.past.video for piece in pieces], dim=2), own.latents)
    last = pieces[-1].past.per_frame["control"][0, -1].reshape(4, 3)
    assert torch.equal(last, answerer.poses(question.context)[-4:])
    shuffled = answerer.history(question, "shuffled", own)
    assert torch.equal(shuffled.poses, own.poses)
    assert not torch.equal(shuffled.latents, own.latents)
    torch.testing.assert_close(shuffled.latents.sum(dim=2), own.latents.sum(dim=2))
    other = answerer.history(question, "other_maze", own)
    assert not torch.equal(other.latents, own.latents)


def test_a_reconstruction_shows_the_target_s_own_frames(answerer, testbed):
    question = asked(testbed, "retrieval-16")
    frames, real = answerer.reconstruct(question), testbed.frames(question.target)
    assert frames.shape == real.shape
    small = real[3::4].reshape(4, 4, 8, 4, 8, 3).mean(axis=(2, 4))
    assert np.abs(frames[3::4, ::8, ::8].astype(float) - small).max() < 1.5


def test_weights_that_cannot_answer_are_refused(testbed):
    with pytest.raises(ValueError, match="neither a memory nor global tokens: train network=lovic, vin or vin_lovic"):
        FromCanvas(pipeline(), testbed)
    with pytest.raises(ValueError, match="make 64x64 pixels, the test set has 32x32: make one with size=64"):
        FromMemory(pipeline(height=64, width=64), testbed)
    silent = pipeline()
    silent.module.network = tiny_lovic()
    with pytest.raises(ValueError, match="these weights take none: train with control=pose"):
        FromMemory(silent, testbed)


@pytest.fixture(scope="module")
def parallel(testbed):
    """VIN, whose windows are of two frames and read one of the chunk before."""
    made = pipeline(rollout=SinglePass(network_part=""))
    control = PoseControl(width=32, frames_per_latent=4, unit=50.0)
    network = tiny_vin(backbone=tiny_dit(control=control), chunk_frames=2, train_local_frames=1, local_frames=1)
    made.module.network = awake(network, scale=0.1).eval()
    return FromCanvas(made, testbed)


def test_global_tokens_answer_from_the_whole_context_and_a_window_from_its_end(parallel, testbed):
    question = asked(testbed, "retrieval-16")
    answers = {name: make(question) for name, make in parallel.ways([8], []).items()}
    assert list(answers) == [
        "window", "full_context", "global_tokens",
        "global_tokens.other_maze", "global_tokens.shuffled", "global_tokens.unvisited",
    ]  # fmt: skip
    for frames in answers.values():
        assert (frames.shape, frames.dtype) == ((16, 32, 32, 3), np.uint8)
    assert len({frames.tobytes() for frames in answers.values()}) == len(answers)
    before = parallel.walk(question.context).latents
    control = parallel.control(torch.cat([parallel.walk(question.context).poses, parallel.poses(question.target)]))
    network = parallel.network
    for without, same in ((("global_tokens",), True), ((), False)):
        made = []
        for shift in (0.0, 1.0):  # of the first frame, which no window of the target reads
            changed = before.clone()
            changed[:, :, 0] += shift
            made.append(parallel.made(changed, control, network=network, seed=0, without=without))
        assert torch.equal(*made) == same


def test_a_wrong_history_stands_before_the_context_s_own_last_frames(parallel, testbed, monkeypatch):
    question = asked(testbed, "retrieval-16")
    own, other = parallel.walk(question.context), parallel.history(question, "other_maze", None)
    seen = []

    def kept(before, control, **_):
        seen.append((before, control))
        return before[:, :, :0]

    monkeypatch.setattr(parallel, "made", kept)
    parallel.answer(question, network=parallel.network, memory="other_maze")
    parallel.answer(question, network=parallel.network, memory="unvisited")  # there is none: the last frame alone
    (before, control), (alone, _) = seen
    assert torch.equal(before, torch.cat([other.latents[:, :, :4], own.latents[:, :, 4:]], dim=2))
    assert torch.equal(control[:, :4], parallel.control(other.poses)[:, :4])
    assert control.shape[1] == 5 + 4
    assert torch.equal(alone, own.latents[:, :, 4:])


def test_a_context_shorter_than_a_window_s_overlap_is_its_own_last_frames(parallel, testbed, monkeypatch):
    question = asked(testbed, "retrieval-16")
    seen = []
    monkeypatch.setattr(
        parallel, "made", lambda before, control, **_: seen.append((before, control)) or before[:, :, :0]
    )
    monkeypatch.setattr(parallel.network, "local_frames", 7)  # of five frames
    parallel.answer(question, network=parallel.network, memory="other_maze")
    ((before, control),) = seen
    assert torch.equal(before, parallel.walk(question.context).latents)
    assert control.shape[1] == 5 + 4
