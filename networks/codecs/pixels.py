"""The codec that does nothing: for networks that work on pixels."""

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from networks.codecs.rules import check_size
from networks.fingerprint import fingerprint_of
from networks.ranges import Size


class PixelCodec(nn.Module):
    """Hands pixels through, so that pixel and latent training are one code path.

    Its "latents" are the pixels in [-1, 1] themselves; their variance is what the videos give, not one.
    """

    time_factor: int = 1
    space_factor: int = 1

    def __init__(self, *, channels: Size) -> None:
        """Takes the number of channels, 3, that the rest of the configuration counts on."""
        super().__init__()
        if channels != 3:
            raise ValueError(f"codec pixels has 3 channels, not {channels}: set codec.channels=3")
        self.channels = channels

    def encode(self, video: Tensor) -> Tensor:
        """Return the video, b 3 f h w in [-1, 1], as it is.

        Args:
            video: b 3 f h w in [-1, 1].

        Returns:
            The same.

        Raises:
            ValueError: the video has other than three channels, or no frame at all.
        """
        if video.shape[1] != self.channels:
            raise ValueError(f"codec pixels cannot take {video.shape[1]} channels: it takes RGB, 3")
        check_size(video.shape[2], video.shape[3], video.shape[4], 1, 1, "codec pixels")
        return video

    def encode_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the pieces, b 3 f h w, as they are."""
        yield from map(self.encode, pieces)

    def decode(self, latents: Tensor) -> Tensor:
        """Return b 3 f h w clamped to [-1, 1]."""
        return latents.clamp(-1, 1)

    def decode_stream(self, latents: Tensor) -> Iterator[Tensor]:
        """Yield pixels for 64 frames at a time."""
        for piece in latents.split(64, dim=2):
            yield self.decode(piece)

    @property
    def fingerprint(self) -> str:
        """Hash of the codec's name, as there is nothing else to it."""
        return fingerprint_of({"kind": "pixels"}, {})
