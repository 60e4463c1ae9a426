"""Takes of several scenes, many at once: what a storyboard does for one, with memory or without.

Axes: b takes, c channels, f frames, h height, w width (latents).
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longtake.generation import window_generator
from longtake.rollouts.canvas import PastSegment, denoise, open_canvas
from longtake.rollouts.plan import RememberedSegment
from longtake.rollouts.segmentwise import Segmentwise, segment_canvas
from longtake.samplers.guidance import Guidance
from networks.interfaces import Condition, TextEncoder

_NAMED = re.compile(
    r" in (?:a )?(?P<worn>grey|blue|green|red) (?:armour|suit)\b"
    r"|\b(?P<his>grey|blue|green|red)(?:-suited)? (?=marine\b)"
)
"""How Freedoom's captions name the marine's colour; places have colours too, which stay."""


class Scene(NamedTuple):
    """One segment of every take: its captions, first latent frame on its shot's timeline, and shot."""

    captions: Sequence[str]
    start: int
    shot: int


def named_colour(caption: str) -> str | None:
    """The colour that a caption gives the marine, or None."""
    found = _NAMED.search(caption)
    return None if found is None else found["worn"] or found["his"]


def with_colour(caption: str, colour: str) -> str:
    """The same caption with another colour of the marine."""
    found = _NAMED.search(caption)
    assert found is not None
    name = "worn" if found["worn"] else "his"
    return caption[: found.start(name)] + colour + caption[found.end(name) :]


def without_colour(caption: str) -> str:
    """The same caption, silent about the colour of the marine."""
    return _NAMED.sub("", caption, count=1)


class Roller:
    """Makes takes scene by scene, everything in latents."""

    def __init__(self, *, module: Any, guidance: Guidance, rollout: Segmentwise, text_encoder: TextEncoder) -> None:
        """rollout: says how many segments are remembered, at what rate and with what noise."""
        self.module, self.guidance, self.rollout, self.text_encoder = module, guidance, rollout, text_encoder

    @torch.no_grad()
    def __call__(self, scenes: Sequence[Scene], noise: Sequence[Tensor], *, remembers: bool) -> list[Tensor]:
        """Latents of every scene; noise: of each, b c f h w.

        Clean frames that adjoin within the shot are always known; without memory nothing else is.
        """
        generate = window_generator(self.module, self.module.network, self.guidance, None, None)
        texts = [self.text_encoder.encode(scene.captions) for scene in scenes]
        made: list[Tensor] = []
        for place, scene in enumerate(scenes):
            ratio = self.rollout.memory.compression_ratio
            seen = [remembered(scenes, place, other, made[other].shape[2], ratio) for other in range(place)]
            touching = [other for other in range(place) if scenes[other].shot == scene.shot]
            before = [x for x in touching if scenes[x].start + made[x].shape[2] == scene.start]
            picked = self.rollout.memory.select([abs(each.start) for each in seen], first=0) if remembers else []
            canvas = segment_canvas(
                0,
                noise[place].shape[2],
                before=made[before[0]].shape[2] if before else 0,
                after=0,
                overlap_frames=self.rollout.overlap_frames,
            )
            canvas = canvas._replace(remembered=tuple(seen[other] for other in picked))
            index = torch.arange(noise[place].shape[2], device=noise[place].device, dtype=torch.float32)
            opened = open_canvas(
                canvas,
                noise=noise[place],
                condition=Condition(index.expand(len(noise[place]), -1), *texts[place]),
                known=made[before[0]][:, :, -len(canvas.known) :] if before else None,
                past=[PastSegment(made[other], *texts[other]) for other in picked],
                noise_level=self.rollout.memory.noise_level,
            )
            made.append(denoise(generate, opened, canvas))
        return made


def remembered(scenes: Sequence[Scene], place: int, other: int, frames: int, ratio: float) -> RememberedSegment:
    """An earlier scene as a later one sees it: along the shot where both are of one, else along the take."""
    if scenes[other].shot == scenes[place].shot:
        return RememberedSegment(scenes[other].start - scenes[place].start, frames, ratio)
    cuts = sum(a.shot != b.shot for a, b in pairwise(scenes[other : place + 1]))
    return RememberedSegment((other - place) * frames, frames, ratio, -cuts)
