"""A small network that tells made video from real, patch by patch: needed to train a codec's decoder, not to use it."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """One score for each place of four frames in a row, which see about 26 pixels around them.

    Source: patches from pix2pix (arXiv 1611.07004), spectral normalisation from arXiv 1802.05957; frames as channels
    are our choice: flicker counts as texture does, at the cost of 2-D convolutions.
    """

    frames = 4

    def __init__(self, *, width: int) -> None:
        """width: channels after the first layer."""
        super().__init__()
        layers = [
            nn.Conv2d(3 * self.frames, width, 4, stride=2, padding=1),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        ]
        hidden = [part for layer in layers for part in (spectral_norm(layer), nn.LeakyReLU(0.2))]
        self.layers = nn.Sequential(*hidden, nn.Conv2d(2 * width, 1, 3, padding=1))

    def forward(self, video: Tensor, start: int = 0) -> Tensor:
        """Video b 3 f h w in [-1, 1] to scores n h/4 w/4, higher for real; groups of four begin at frame `start`."""
        whole = (video.shape[2] - start) // self.frames * self.frames
        groups = rearrange(video[:, :, start : start + whole], "b c (f t) h w -> (b f) (c t) h w", t=self.frames)
        scores: Tensor = self.layers(groups)
        return scores[:, 0]


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """What the discriminator minimises: scores of real patches above 1, of made ones below -1."""
    return torch.relu(1 - real).mean() + torch.relu(1 + made).mean()
