"""Storyboards that several tests plan, and a maker that counts its calls."""

from pathlib import Path

import torch

from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard.schema import GivenFacts, ModelLimits

ROOT = Path(__file__).parents[3]
LIMITS = ModelLimits("weights", 10, 64, 4, MemoryPolicy(5, 8.0, 1.0, 1000.0))


def probe(path):
    return GivenFacts(100, f"content of {path.name}")


def steps_of(made):
    return {step.name: step for step in made.steps}


FORWARD = "segments: [{name: a}, {name: b}, {name: c, memory: none}, {name: d}]"

DIRECTIONS = """
segments:
  - {name: end, after: begin, gap: 80}
  - {name: begin, after: none}
  - {name: fore, before: end, latents: 8, direction: retrodict}
  - {name: middle, between: [begin, fore], latents: 12}
"""

RETURN = """
segments:
  - {name: a1, shot: A}
  - {name: b, shot: B}
  - {name: a2, shot: A, gap: 8}
"""


class Maker:
    """A MakeSegment that counts its calls; what it makes depends on everything that it is given."""

    def __init__(self, fail_at=None):
        self.calls = []
        self.fail_at = fail_at

    def __call__(self, step, context):
        if step.name == self.fail_at:
            raise KeyboardInterrupt
        assert [segment.step.name for segment in context] == [source.name for source in step.sources]
        self.calls.append(step.name)
        level = step.seed % 97 + sum(float(segment.latents.float().mean()) for segment in context)
        return torch.full((1, 2, step.latents, 3, 3), float(level))


def no_video(step):
    raise AssertionError(step.name)
