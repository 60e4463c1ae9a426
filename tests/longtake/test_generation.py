"""Guidance asks the network for nothing twice: what a condition does not hold makes no pass of its own."""

from types import SimpleNamespace

import pytest
import torch
from builders import awake, context, example, tiny_dit, tiny_lovic
from composing import ROOT, composed

from longtake.cli.request import requested
from longtake.cli.weights import Take
from longtake.generation import NegativeText, told, window_generator
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.pipeline import Pipeline
from longtake.samplers import Euler
from longtake.samplers.guidance import NestedGuidance
from longtake.testbed.answering import weighed
from networks.control import NAME

STEPS = 2


def sampled(network, condition, scales, negative=None):
    """What is sampled with guidance of these scales, and how many times a step the network was asked."""
    calls = []
    handle = network.register_forward_pre_hook(lambda *_: calls.append(1))
    objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    module = SimpleNamespace(sampler=Euler(num_inference_steps=STEPS, shift=1.0), objective=objective)
    generate = window_generator(module, network, NestedGuidance(scales=scales), None, None, negative=negative)
    with torch.inference_mode():
        video = generate(example(4, batch=1)[0], condition, None)
    handle.remove()
    return video, len(calls) / STEPS


def silent(condition):
    return told(condition, ["", " "])


def test_without_a_prompt_the_text_has_no_pass():
    network, (_, _, condition) = awake(tiny_dit()).eval(), example(4, batch=1)
    assert sampled(network, condition, {"text": 4.0})[1] == 2
    video, passes = sampled(network, silent(condition), {"text": 4.0})
    assert passes == 1
    assert torch.equal(video, sampled(network, silent(condition), {"text": 1.0})[0])


def test_a_negative_text_has_a_pass_without_a_prompt():
    network, (_, _, condition) = awake(tiny_dit()).eval(), example(4, batch=1)
    negative = NegativeText(condition.text, None)
    video, passes = sampled(network, silent(condition), {"text": 4.0}, negative)
    assert passes == 2
    assert not torch.equal(video, sampled(network, silent(condition), {"text": 4.0})[0])


@pytest.mark.parametrize(("remembers", "speaks", "passes"), [(0, 0, 1), (0, 1, 2), (1, 0, 2), (1, 1, 3)])
def test_only_what_is_there_is_guided(remembers, speaks, passes):
    network, (_, _, condition) = awake(tiny_lovic()).eval(), example(4, batch=1)
    condition = condition._replace(shot=torch.zeros(1, dtype=torch.long))
    condition = condition if speaks else silent(condition)
    if remembers:
        condition = condition._replace(context=(context([-8, -4], batch=1),))
    assert sampled(network, condition, {"memory": 1.5, "text": 4.0})[1] == passes


def test_a_condition_knows_what_it_lacks():
    _, _, condition = example(4)
    assert [condition.lacks(name) for name in ("text", "memory", NAME, "global_tokens")] == [False, True, True, False]
    assert all(condition.without(name).lacks(name) for name in ("text", "memory", NAME, "global_tokens"))
    assert silent(condition).lacks("text")
    assert not told(condition, ["", "a word"]).lacks("text")
    assert not condition._replace(per_frame={NAME: torch.zeros(2, 4, 3)}).lacks(NAME)
    assert not condition._replace(frame_embedding=torch.zeros(2, 4, 8)).lacks(NAME)
    remembering = condition._replace(context=(context([-8]),), shot=torch.zeros(2, dtype=torch.long))
    assert not remembering.lacks("memory")
    known = tiny_lovic().encode_context(remembering)
    assert not known._replace(context=()).lacks("memory")
    assert known.without("memory").lacks("memory")


@pytest.mark.slow
def test_a_plan_counts_no_pass_of_a_text_that_is_not_read(tmp_path):
    folder = ROOT / "weights" / "lovic_mazes_64"
    poses = tmp_path / "poses.csv"
    poses.write_text("x,y,angle\n" + "0,0,0\n" * 41)
    words = [f"weights={folder}", f"output={tmp_path}", f"control_file={poses}", "num_frames=41"]
    take = Take(requested(composed("generate", *words, "num_inference_steps=5")))
    assert all(scale > 1 for scale in take.guidance.scales.values())
    assert take.calls_per_canvas == 10
    once = composed("generate", *words, "num_inference_steps=5", "+guidance.scales.memory=1")
    assert Take(requested(once)).calls_per_canvas == 5


@pytest.mark.slow
def test_conditions_are_weighed_otherwise():
    pipeline = Pipeline.from_pretrained(ROOT / "weights" / "lovic_mazes_64")
    before = dict(pipeline.guidance.scales)
    assert weighed(pipeline, {"memory": 7.0}).guidance.scales == {**before, "memory": 7.0}
    assert list(weighed(pipeline, {"control": 2.0}).guidance.scales) == [*before, "control"]
    assert pipeline.guidance.scales == before
    with pytest.raises(ValueError, match="guidance_scales: these weights have no sound; they have text, memory, contr"):
        weighed(pipeline, {"sound": 2.0})
