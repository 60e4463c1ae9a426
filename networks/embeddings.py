"""Embeddings of time, place and text. Axes: b batch, f frames, l text tokens, d width."""

import math

import torch
from einops import rearrange, repeat
from torch import Tensor, nn


def sinusoid(values: Tensor, width: int, max_period: float) -> Tensor:
    """Sines and cosines of real values `...` at geometric periods from 2π to 2π·max_period: `... width`, fp32."""
    half = width // 2
    exponent = torch.arange(half, device=values.device, dtype=torch.float32) / half
    angles = values.float().unsqueeze(-1) * torch.exp(-math.log(max_period) * exponent)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """Diffusion time in [0, 1], any shape, to `... d`. Scaled by 1000, the convention of DiT and diffusers."""

    FEATURES = 256

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(self.FEATURES, width)
        self.second = nn.Linear(width, width)

    def forward(self, time: Tensor) -> Tensor:
        """time: `...` in [0, 1]."""
        features = sinusoid(1000 * time, self.FEATURES, 10_000).to(self.first.weight.dtype)
        return self.second(nn.functional.silu(self.first(features)))


class PlaceEmbedding(nn.Module):
    """Absolute place of a token: seconds into the video, row and column, as sin-cos through one linear map.

    RoPE is relative, so without this two chunks would be indistinguishable to the DiT and global tokens could not
    tell them apart; sin-cos in seconds reaches beyond the trained length.
    Source: our choice; what we have of VIN does not say how a chunk knows its place.
    """

    FEATURES = 64

    def __init__(self, *, width: int, latent_fps: float) -> None:
        """latent_fps: latent frames per second of video."""
        super().__init__()
        self.latent_fps = latent_fps
        self.project = nn.Linear(3 * self.FEATURES, width)

    def forward(self, frame_index: Tensor, height: int, width: int) -> Tensor:
        """frame_index: b f; returns b f h·w d."""
        device = frame_index.device
        seconds = sinusoid(frame_index / self.latent_fps * math.pi, self.FEATURES, 1000)
        sides = sinusoid(torch.arange(max(height, width), device=device), self.FEATURES, 100)
        rows, columns = sides[:height], sides[:width]
        # The map of the joined features is the sum of its three parts, each of which takes few values.
        of_frame, of_row, of_column = (
            nn.functional.linear(features.to(weight.dtype), weight, bias)
            for features, weight, bias in zip(
                (seconds, rows, columns),
                self.project.weight.split(self.FEATURES, dim=1),
                (self.project.bias, None, None),
                strict=True,
            )
        )
        cells = of_row.unsqueeze(1) + of_column
        return rearrange(of_frame[:, :, None, None] + cells, "b f h w d -> b f (h w) d")

    def at(self, positions: Tensor) -> Tensor:
        """The same of single tokens; positions: `... 3` as (frame, row, column), fractional; returns `... d`."""
        frames, rows, columns = positions.float().unbind(-1)
        seconds = sinusoid(frames / self.latent_fps * math.pi, self.FEATURES, 1000)
        place = [seconds, sinusoid(rows, self.FEATURES, 100), sinusoid(columns, self.FEATURES, 100)]
        return self.project(torch.cat(place, dim=-1).to(self.project.weight.dtype))


class TextEmbedding(nn.Module):
    """Text features to the DiT's width, with a learned null token in front that is always attended.

    So a row without text is the null text, and attention never meets a row of masked keys.
    """

    def __init__(self, *, features: int, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(features, width), nn.GELU(approximate="tanh"), nn.Linear(width, width))
        self.null = nn.Parameter(0.02 * torch.randn(1, 1, width))

    def forward(self, text: Tensor, text_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """text: b l e; text_mask: b l, or None where all are real; returns b 1+l d and b 1+l, or None."""
        tokens = self.project(text.to(self.null.dtype))
        null = repeat(self.null, "1 1 d -> b 1 d", b=text.shape[0]).to(tokens.dtype)
        mask = None if text_mask is None else nn.functional.pad(text_mask, (1, 0), value=True)
        return torch.cat([null, tokens], dim=1), mask
