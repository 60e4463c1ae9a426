"""A small causal video autoencoder: 4x in time, 8x in space (or more), 16 channels, frame rule 4n + 1.

Axes: b batch, c channels, f frames, h height, w width; p is the patch. Every feature map lives at the rate of the
latents: groups of four frames are folded into channels at the door, as wavelet tokenizers do, so that a video of 4n + 1
frames costs n + 1 cheap 2-D passes. Time is mixed by causal convolutions alone, which makes streaming exact.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from networks.codecs.rules import check_size
from networks.ranges import Count, Size

Stream = dict[int, Tensor]
"""Streaming state: the last frames that each causal convolution has seen, by module."""


class CausalConv(nn.Module):
    """Adds a convolution over the current and the two preceding frames to its input; the start sees frame 0 repeated.

    Source: our choice: residual and zero-initialised, so that training starts from a per-frame autoencoder.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, (3, 1, 1))
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(cast(Tensor, self.conv.bias))

    def forward(self, x: Tensor, stream: Stream | None) -> Tensor:
        """x: b c f h w; stream: state that is read and replaced, None for a whole video at once."""
        past = None if stream is None else stream.get(id(self))
        if past is None:
            past = repeat(x[:, :, 0], "b c h w -> b c f h w", f=2)
        padded = torch.cat([past, x], dim=2)
        if stream is not None:
            stream[id(self)] = padded[:, :, -2:].clone()
        return x + self.conv(F.silu(padded))


class ResBlock(nn.Module):
    """Two 3x3 convolutions on each frame, with a zero-initialised last one instead of a normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x: b c h w."""
        return x + self.second(F.silu(self.first(F.silu(x))))


class LinearPath(nn.Module):
    """The best linear autoencoder of patches, beside which the layers learn what no linear one keeps.

    Source: our choice, after the residual paths of deep-compression autoencoders (arXiv 2410.10733), whose weights are
    fixed means; ours are principal components, which thousands of steps of training from nothing did not reach.
    """

    def __init__(self, *, folded: int, channels: int) -> None:
        """folded: channels of feature maps at twice the latents' side; channels: of the latents."""
        super().__init__()
        self.down = nn.Conv2d(folded, channels, 2, stride=2)
        self.up = nn.ConvTranspose2d(channels, folded, 2, stride=2)

    @torch.no_grad()
    def fit(self, maps: Tensor) -> None:
        """Sets the weights to the principal components of patches, turned so that every latent channel says as much.

        Turned, a latent channel's scale is that of all, so an error in latents weighs what it weighs in pixels.
        Source: our choice, for diffusion in these latents.

        maps: b c f h w, folded pixels of many places.
        """
        cells = rearrange(maps.float(), "b c f (h p) (w q) -> (b f h w) (c p q)", p=2, q=2)
        _, vectors = torch.linalg.eigh(cells.T @ cells / len(cells))
        channels = self.down.out_channels
        turned = torch.linalg.qr(torch.randn(channels, channels, generator=torch.Generator().manual_seed(0)))[0]
        basis = (vectors[:, -channels:] @ turned.to(vectors)).T  # orthonormal rows: channels of the latents
        shape = (channels, maps.shape[1], 2, 2)
        self.down.weight.copy_(basis.reshape(shape))
        self.up.weight.copy_(basis.reshape(shape))
        for layer in (self.down, self.up):  # pixels lie about 0, so that no mean is taken away
            nn.init.zeros_(cast(Tensor, layer.bias))


class FrameStack(nn.Module):
    """Layers in a row: 2-D ones see frames as batch, causal ones see the video."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        """x: b c f h w to b c' f h' w'."""
        num_frames = x.shape[2]
        x = rearrange(x, "b c f h w -> (b f) c h w")
        for layer in self.layers:
            if isinstance(layer, CausalConv):
                video = rearrange(x, "(b f) c h w -> b c f h w", f=num_frames)
                x = rearrange(layer(video, stream), "b c f h w -> (b f) c h w")
            else:
                x = layer(x)
        return rearrange(x, "(b f) c h w -> b c f h w", f=num_frames)


def by_frame(layer: nn.Module, x: Tensor) -> Tensor:
    """Applies a 2-D layer to every frame: b c f h w to b c' f h' w'."""
    frames = layer(rearrange(x, "b c f h w -> (b f) c h w"))
    return rearrange(frames, "(b f) c h w -> b c f h w", f=x.shape[2])


class CausalVideoAutoencoder(nn.Module):
    """The shipped codec: pixels in [-1, 1] to latents of unit variance per channel, and back.

    Source: our choice; LoViC and VIN take a pretrained causal 3-D autoencoder of these ratios as given.
    """

    time_factor = 4

    def __init__(
        self,
        *,
        channels: Size,
        fine_width: Size,
        coarse_width: Size,
        num_fine_blocks: Count,
        num_coarse_blocks: Count,
        linear_path: bool = False,
        patch: Size = 4,
    ) -> None:
        """Builds the layers with random weights.

        Args:
            channels: channels of the latents.
            fine_width: channels of fine maps.
            coarse_width: channels of coarse maps.
            num_fine_blocks: blocks at fine maps, in encoder and in decoder.
            num_coarse_blocks: blocks at coarse maps, in encoder and in decoder.
            linear_path: whether a linear autoencoder runs beside the layers; training begins by fitting it.
            patch: pixels along a side of a place of fine maps; a place of coarse maps and latents has twice as many.
                More of them show a larger picture by as many latents.
        """
        super().__init__()
        self.channels, self.patch, self.space_factor = channels, patch, 2 * patch
        folded = 3 * self.time_factor * self.patch**2
        self.encoder = FrameStack(
            [
                nn.Conv2d(folded, fine_width, 3, padding=1),
                *[ResBlock(fine_width) for _ in range(num_fine_blocks)],
                nn.Conv2d(fine_width, coarse_width, 4, stride=2, padding=1),
                *self._coarse(coarse_width, num_coarse_blocks),
                nn.Conv2d(coarse_width, channels, 1),
            ]
        )
        self.decoder = FrameStack(
            [
                nn.Conv2d(channels, coarse_width, 3, padding=1),
                *self._coarse(coarse_width, num_coarse_blocks),
                nn.Conv2d(coarse_width, 4 * fine_width, 1),
                nn.PixelShuffle(2),
                *[ResBlock(fine_width) for _ in range(num_fine_blocks + 1)],
                nn.Conv2d(fine_width, folded, 3, padding=1),
            ]
        )
        self.linear = LinearPath(folded=folded, channels=channels) if linear_path else None
        if self.linear is not None:  # the layers begin without effect
            for last in (self.encoder.layers[-1], self.decoder.layers[-1]):
                nn.init.zeros_(cast(Tensor, last.weight))
                nn.init.zeros_(cast(Tensor, last.bias))
        self.register_buffer("latents_mean", torch.zeros(channels))
        self.register_buffer("latents_std", torch.ones(channels))

    @staticmethod
    def _coarse(width: int, num_blocks: int) -> list[nn.Module]:
        return [layer for _ in range(num_blocks) for layer in (CausalConv(width), ResBlock(width))]

    def _statistics(self) -> tuple[Tensor, Tensor]:
        mean, std = cast(Tensor, self.latents_mean), cast(Tensor, self.latents_std)
        return mean.view(-1, 1, 1, 1), std.view(-1, 1, 1, 1)

    def encode_raw(self, video: Tensor, stream: Stream | None = None, is_start: bool = True) -> Tensor:
        """B 3 f h w in [-1, 1] to latents b c n+1 h/2p w/2p before normalisation; a continuation has 4n frames."""
        folded = self.fold(video, is_start)
        latents = self.encoder(folded, stream)
        return latents if self.linear is None else latents + by_frame(self.linear.down, folded)

    def fold(self, video: Tensor, is_start: bool = True) -> Tensor:
        """Pixels b 3 f h w to maps b (c t p q) n+1 h/p w/p, four frames each; a start holds frame 0 four times."""
        frames = video.shape[2] + (not is_start)
        check_size(frames, video.shape[3], video.shape[4], self.time_factor, self.space_factor, "the codec")
        if is_start:
            first = repeat(video[:, :, :1], "b c 1 h w -> b c f h w", f=self.time_factor - 1)
            video = torch.cat([first, video], dim=2)
        return rearrange(
            video,
            "b c (f t) (h p) (w q) -> b (c t p q) f h w",
            t=self.time_factor,
            p=self.patch,
            q=self.patch,
        )

    def decode_raw(self, latents: Tensor, stream: Stream | None = None, is_start: bool = True) -> Tensor:
        """Unnormalised latents to unclamped pixels; the start yields 4n + 1 frames, a continuation 4n."""
        folded = self.decoder(latents, stream)
        if self.linear is not None:
            folded = folded + by_frame(self.linear.up, latents)
        video = rearrange(
            folded,
            "b (c t p q) f h w -> b c (f t) (h p) (w q)",
            t=self.time_factor,
            p=self.patch,
            q=self.patch,
        )
        return video[:, :, self.time_factor - 1 :] if is_start else video

    def encode(self, video: Tensor) -> Tensor:
        """Encodes a video that is held whole.

        Args:
            video: b 3 4n+1 h w in [-1, 1].

        Returns:
            Latents b c n+1 h/2p w/2p, of unit variance per channel.

        Raises:
            ValueError: if the frame rule or the multiples of twice the patch do not hold.
        """
        mean, std = self._statistics()
        return (self.encode_raw(video) - mean) / std

    def encode_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yields latents of a video piece by piece, equal to encoding all at once.

        Args:
            pieces: b 3 f h w in [-1, 1], the first of 4n + 1 frames, the others of 4n.

        Yields:
            Latents b c f h w of each piece.

        Raises:
            ValueError: if a piece has other numbers of frames, or its sides are no multiples of twice the patch.
        """
        mean, std = self._statistics()
        stream: Stream = {}
        for number, piece in enumerate(pieces):
            yield (self.encode_raw(piece, stream, is_start=number == 0) - mean) / std

    def decode(self, latents: Tensor) -> Tensor:
        """B c n+1 h w to pixels b 3 4n+1 2ph 2pw in [-1, 1]."""
        return torch.cat(list(self.decode_stream(latents)), dim=2)

    def decode_stream(self, latents: Tensor, group: int = 16) -> Iterator[Tensor]:
        """Yields pixels for `group` latent frames at a time, equal to decoding all at once; memory does not grow."""
        mean, std = self._statistics()
        stream: Stream = {}
        for start in range(0, latents.shape[2], group):
            piece = latents[:, :, start : start + group] * std + mean
            yield self.decode_raw(piece, stream, is_start=start == 0).clamp(-1, 1)

    def encoding_parts(self) -> list[nn.Module]:
        """The modules of the encoder: those whose weights decide the latents."""
        return [self.encoder] if self.linear is None else [self.encoder, self.linear.down]

    def track_statistics(self, raw: Tensor, momentum: float) -> None:
        """Moves the stored mean and std of each channel towards those of raw latents b c f h w."""
        values = rearrange(raw.detach().float(), "b c f h w -> c (b f h w)")
        cast(Tensor, self.latents_mean).lerp_(values.mean(1), momentum)
        cast(Tensor, self.latents_std).lerp_(values.std(1).clamp_min(1e-3), momentum)

    @property
    def fingerprint(self) -> str:
        """Short hash of what makes the latents, which is all but the decoder: the latent cache's key."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            if name.startswith(("decoder.", "linear.up.")):
                continue
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]
