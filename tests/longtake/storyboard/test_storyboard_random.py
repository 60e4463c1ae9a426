"""Random storyboards are planned with their invariants kept, or refused in one sentence that names the file."""

from itertools import pairwise

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as draw

from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import dependants, plan
from longtake.storyboard.schema import GivenFacts, ModelLimits

LIMITS = ModelLimits("weights", 10, 64, 4, MemoryPolicy(5, 8.0, 1.0, 1000.0))
NAMES = ("a", "b", "c", "d", "e")
PLANNED = {"plans": 0, "all": 0}

ANY_NAME = draw.sampled_from((*NAMES, "x"))
SEGMENT = draw.fixed_dictionaries(
    {},
    optional={
        "prompt": draw.text(max_size=12),
        "latents": draw.integers(0, 12),
        "seed": draw.integers(-1, 2**32),
        "compression_ratio": draw.sampled_from((0.5, 1, 4, 8.0, 1e9, True, "x")),
        "shot": draw.sampled_from(("A", "B")),
        "direction": draw.sampled_from(("predict", "retrodict", "interpolate", "cut", "sideways")),
        "after": ANY_NAME | draw.just("none"),
        "before": ANY_NAME,
        "between": draw.lists(ANY_NAME, min_size=1, max_size=3),
        "gap": draw.integers(-8, 80),
        "memory": draw.sampled_from(("none", "all")) | draw.lists(ANY_NAME, max_size=3),
    },
)
PLAIN = draw.fixed_dictionaries({}, optional={"latents": draw.integers(1, 10), "shot": draw.sampled_from(("A", "B"))})


@draw.composite
def storyboards(sample):
    kind = sample(draw.sampled_from((PLAIN, SEGMENT)))
    names = sample(draw.permutations(NAMES))[: sample(draw.integers(1, 5))]
    return {"segments": [{"name": name, **sample(kind)} for name in names]}


def check(made, file):
    """What must hold of every plan, whatever was asked for."""
    order = [step.name for step in made.steps]
    steps = {step.name: step for step in made.steps}
    assert sorted(order) == sorted(made.timeline)
    assert len(set(order)) == len(order)
    for number, step in enumerate(made.steps):
        done = set(order[:number])
        needed = {source.name for source in step.sources} | {each for each in (step.before, step.after) if each}
        assert needed <= done, f"{step.name} needs {needed - done}, which is made later"
        assert len(step.sources) <= LIMITS.memory.max_segments
        assert step.latents >= 1
    seen = 0
    for name in made.timeline:
        assert steps[name].start == seen
        seen += steps[name].latents
    for shot in {step.shot for step in made.steps}:
        spans = sorted((step.offset, step.offset + step.latents) for step in made.steps if step.shot == shot)
        assert all(one[1] <= other[0] for one, other in pairwise(spans)), "segments overlap"
    assert len({step.key for step in made.steps}) == len(order)
    for name in order:
        assert name in dependants(made, name) <= set(order)


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(storyboards())
def test_a_random_storyboard_is_planned_or_refused(tmp_path_factory, board):
    path = tmp_path_factory.getbasetemp() / "random.yaml"
    path.write_text(yaml.safe_dump(board, allow_unicode=True), encoding="utf-8")
    PLANNED["all"] += 1
    try:
        made = plan(read_storyboard(path, LIMITS), LIMITS, lambda _: GivenFacts(100, "content"))
    except ValueError as error:
        assert str(error).startswith("random.yaml, line ")  # noqa: PT017 - what is planned must not raise either
        assert "\n" not in str(error)  # noqa: PT017
        return
    PLANNED["plans"] += 1
    check(made, path)


@pytest.mark.slow
def test_enough_of_them_are_plans():
    assert PLANNED["plans"] > 0.2 * PLANNED["all"] > 0
