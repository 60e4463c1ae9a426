"""Control: numbers of every frame, such as where the camera stands or which keys are pressed, that steer a video.

Axes: b batch, F pixel frames, f latent frames, p pixel frames of a latent frame, n numbers of a pixel frame, d width.

In batches and conditions control is `per_frame["control"]`, b f (p n): a latent frame holds the numbers of its own
pixel frames one after another, so that it is cut, windowed and remembered with the latents, and no frame is lost. The
first latent frame of a causal codec is one pixel frame, whose numbers stand there p times (`to_latent_frames`).
"""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import MinLen
from einops import rearrange, repeat
from torch import Tensor, nn

from networks.condition import Condition
from networks.ranges import Positive, Size, Text

NAME = "control"
"""Its key in `per_frame`, and what Condition.without leaves out."""


def to_latent_frames(values: Tensor, frames_per_latent: int) -> Tensor:
    """Numbers of pixel frames to those of latent frames: `... F n` to `... f (p n)` with F = p (f-1) + 1.

    Args:
        values: ... F n, of pixel frames.
        frames_per_latent: p, pixel frames of a latent frame, the first one excepted.

    Returns:
        ... f (p n), of latent frames.

    Raises:
        ValueError: if F breaks the rule.
    """
    num_frames = values.shape[-2]
    if num_frames < 1 or (num_frames - 1) % frames_per_latent:
        raise ValueError(
            f"control has {num_frames} frames, which is not one more than a multiple of {frames_per_latent}: give a "
            "row for each frame of the video"
        )
    first = values[..., :1, :].expand(*values.shape[:-2], frames_per_latent - 1, -1)
    return rearrange(torch.cat([first, values], dim=-2), "... (f p) n -> ... f (p n)", p=frames_per_latent)


class FrameControl(nn.Module):
    """Numbers of each frame as an addition to the time embedding, which modulates every block, and to its tokens.

    The last layer begins at zero: at step 0 the network is what it was without control. Source: the per-frame adaLN of
    world models (Matrix-Game, DFoT's external conditions). That our DiT's tokens bear it too, as the remembered ones
    do, is our choice: attention finds what was seen from the same place by it. The sizes are our choice.
    """

    columns: tuple[str, ...]
    """What the n numbers are called in tables and files."""

    def __init__(self, *, columns: Sequence[str], features: int, width: int, frames_per_latent: int) -> None:
        """Builds the layers; the last one begins at zero.

        Args:
            columns: names of the numbers in tables and files.
            features: numbers that `features_of` makes of one pixel frame.
            width: features of the DiT's tokens.
            frames_per_latent: pixel frames of a latent frame, the codec's time factor.
        """
        super().__init__()
        self.columns = tuple(columns)
        self.frames_per_latent = frames_per_latent
        self.embed = nn.Sequential(
            nn.Linear(frames_per_latent * features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def features_of(self, values: Tensor, reference: Tensor) -> Tensor:
        """Numbers of pixel frames `b ... n` as features; reference: b n, those of the canvas's first pixel frame."""
        raise NotImplementedError

    def forward(self, values: Tensor, reference: Tensor) -> Tensor:
        """Numbers of latent frames as what is added to their tokens.

        Args:
            values: b f (p n).
            reference: b (p n), of the canvas's first frame, from which places are counted.

        Returns:
            b f d.

        Raises:
            ValueError: if a frame has another number of values.
        """
        expected = self.frames_per_latent * len(self.columns)
        if values.shape[-1] != expected:
            raise ValueError(
                f"control has {values.shape[-1]} values a latent frame, but these weights take {expected}: "
                f"{', '.join(self.columns)} of {self.frames_per_latent} pixel frame(s)"
            )
        frames = rearrange(values.float(), "b f (p n) -> b (f p) n", n=len(self.columns))
        features = self.features_of(frames, reference[:, : len(self.columns)].float())
        joined = rearrange(features, "b (f p) e -> b f (p e)", p=self.frames_per_latent)
        made: Tensor = self.out(self.embed(joined.to(self.out.weight.dtype)))
        return made


class PoseControl(FrameControl):
    """`control=pose`: where the camera stands and looks, seen from the canvas's first frame.

    Poses of a map mean nothing by themselves, so they are turned and moved into the view of the first frame; what is
    remembered is seen from there too. Source: our choice.
    """

    FREQUENCIES = (0.5, 1.0, 2.0, 4.0)

    def __init__(self, *, width: Size, frames_per_latent: Size, unit: Positive) -> None:
        """Builds the layers.

        Args:
            width: features of the DiT's tokens.
            frames_per_latent: pixel frames of a latent frame, the codec's time factor.
            unit: length on the map, above 0, that counts as 1.
        """
        features = 2 + 4 * len(self.FREQUENCIES) + 4
        super().__init__(
            columns=("x", "y", "angle"), features=features, width=width, frames_per_latent=frames_per_latent
        )
        self.unit = unit

    def features_of(self, values: Tensor, reference: Tensor) -> Tensor:
        """Places along and across the first view, with sines and cosines, and the angle, in degrees, turned from it."""
        turned = torch.deg2rad(reference[:, None, 2])
        x, y = ((values[..., axis] - reference[:, None, axis]) / self.unit for axis in (0, 1))
        along, across = x * turned.cos() + y * turned.sin(), y * turned.cos() - x * turned.sin()
        waves = math.pi / 4 * torch.tensor(self.FREQUENCIES, device=values.device)
        places = [wave(place.unsqueeze(-1) * waves) for place in (along, across) for wave in (torch.sin, torch.cos)]
        angle = torch.deg2rad(values[..., 2]) - turned
        turns = torch.stack([wave(k * angle) for k in (1, 2) for wave in (torch.sin, torch.cos)], dim=-1)
        return torch.cat([torch.stack([along / 4, across / 4], dim=-1), *places, turns], dim=-1)


class ActionControl(FrameControl):
    """`control=action`: what was done in each frame, as it is: pressed keys as 0 and 1, sticks and speeds near 1."""

    def __init__(self, *, width: Size, frames_per_latent: Size, columns: Annotated[Sequence[Text], MinLen(1)]) -> None:
        """Builds the layers.

        Args:
            width: features of the DiT's tokens.
            frames_per_latent: pixel frames of a latent frame, the codec's time factor.
            columns: names of the numbers in tables and files.
        """
        super().__init__(columns=columns, features=len(columns), width=width, frames_per_latent=frames_per_latent)

    def features_of(self, values: Tensor, reference: Tensor) -> Tensor:
        """The numbers themselves."""
        return values


def embed_control(control: FrameControl | None, condition: Condition) -> Condition:
    """The condition with its control embedded; as it is where there is none, or it is embedded already."""
    values = condition.per_frame.get(NAME)
    if control is None or values is None or condition.frame_embedding is not None:
        return condition
    return condition._replace(frame_embedding=control(values, values[:, 0]))


def _embedded(condition: Condition) -> Tensor | None:
    """What was embedded of the frames, b f d; zero in rows whose control is dropped in training."""
    frames, dropped = condition.frame_embedding, condition.events.get("control_dropped")
    return frames if frames is None or dropped is None else frames * ~dropped[:, None, None]


def add_to_tokens(tokens: Tensor, condition: Condition) -> Tensor:
    """Tokens of frames, b f s d, with what was embedded of their frames added; as they are where nothing was."""
    frames = _embedded(condition)
    return tokens if frames is None else tokens + frames.unsqueeze(2).to(tokens.dtype)


def add_frames(embedded: Tensor, condition: Condition, others: int = 0) -> Tensor:
    """Time embeddings with what was embedded of the frames added.

    embedded: b f+others d, or 1 1 d for all; others: groups of tokens without a place behind the frames' (see
    `group_times`), which get nothing. Returns b f+others d, or embedded as it is where nothing was embedded.
    """
    frames = _embedded(condition)
    if frames is None:
        return embedded
    return embedded + nn.functional.pad(frames, (0, 0, 0, others)).to(embedded.dtype)


def at_places(frames: Tensor, places: Tensor) -> Tensor:
    """Values b f d of frames, read between them: places b m in frames, to b m d."""
    places = places.clamp(0, frames.shape[1] - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=frames.shape[1] - 1)
    share = (places - low).unsqueeze(-1).to(frames.dtype)
    one, other = (torch.gather(frames, 1, repeat(x, "b m -> b m d", d=frames.shape[2])) for x in (low, high))
    return torch.lerp(one, other, share)
