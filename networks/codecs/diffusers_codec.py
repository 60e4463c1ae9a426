"""Pretrained video autoencoders of the diffusers library behind the codec contract."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Literal, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from networks.codecs.rules import check_size, encode_behind_past, num_latent_frames, num_pixel_frames
from networks.fingerprint import Setting, fingerprint_of
from networks.model_folder import check_model, check_pretrained, model_folder, place_of, variant_of
from networks.ranges import Dtype, Size, Text
from networks.reading import WrongFileError, check_finite, read_json, refused

CLASS_NAMES = ("AutoencoderKLWan", "AutoencoderKLLTXVideo", "AutoencoderKLHunyuanVideo", "AutoencoderKLCogVideoX")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
POSTERIORS = ("mode", "sample")
_PAST_FRAMES = 64
"""Pixel frames that an encoder without a memory of its own sees before a piece of a stream. Source: our choice."""


class DiffusersCodec(nn.Module):
    """A frozen causal video autoencoder: normalises its latents as the pipelines of diffusers do.

    Latents are (z − latents_mean) · scaling_factor / latents_std per channel, with whichever of the three the model
    has. Parameters are frozen, and gradients flow to the input only if it asks for them.

    HunyuanVideo is causal in its convolutions only: its group norms average over all frames, so the latents of the
    first frame change a little with the frames that follow; CogVideoX's average over up to eight. Wan and LTX-Video
    encode it alike alone and in company.
    """

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(
        self,
        *,
        class_name: Text,
        pretrained: Text,
        channels: Size,
        subfolder: str = "vae",
        dtype: Dtype = "float32",
        posterior: Literal["mode", "sample"] = "mode",
        tiling: bool = False,
    ) -> None:
        """Load an autoencoder in the format of diffusers.

        Args:
            class_name: AutoencoderKLWan, AutoencoderKLLTXVideo, AutoencoderKLHunyuanVideo or AutoencoderKLCogVideoX.
            pretrained: a folder, or a name on the hub such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers.
            channels: channels of the latents that the rest of the configuration counts on; checked against the model's.
            subfolder: where the autoencoder lies inside; "" for the top.
            dtype: float32, bfloat16 or float16: what the autoencoder computes in, under any autocast. What comes out
                has the type of what went in.
            posterior: "mode" takes the most likely latents (for a Gaussian also their mean), "sample" draws them.
            tiling: work on tiles of a large picture, blended at their edges: less memory, slightly other answers.

        Raises:
            ValueError: a word is not among those named here, or nothing can be loaded from there.
        """
        super().__init__()
        for name, value, choices in (
            ("class_name", class_name, CLASS_NAMES),
            ("dtype", dtype, tuple(DTYPES)),
            ("posterior", posterior, POSTERIORS),
        ):
            if value not in choices:
                raise ValueError(f"codec: {name} is '{value}', but must be one of {', '.join(choices)}")
        self.model = _load(class_name, pretrained, subfolder, DTYPES[dtype])
        if tiling:
            self.model.enable_tiling()
        self.class_name = class_name
        self.posterior = posterior
        self.tiling = tiling
        with refused(f"codec: config.json of the {class_name} in '{pretrained}' does not fit its weights"):
            self.channels, self.time_factor, self.space_factor = _sizes(class_name, self.model)
            mean, std = _statistics(self.model, self.channels)
            _try_out(self.model, self.time_factor, self.space_factor)
        if channels != self.channels:
            raise ValueError(
                f"codec: channels is {channels}, but '{pretrained}' has {self.channels}: "
                f"set codec.channels={self.channels}"
            )
        self.register_buffer("latents_mean", mean, persistent=False)
        self.register_buffer("latents_std", std, persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever `mode` says."""
        return super().train(False)

    def encode(self, video: Tensor) -> Tensor:
        """Pixels to latents.

        Args:
            video: b 3 f h w in [-1, 1] with f = time_factor · n + 1, h and w multiples of space_factor.

        Returns:
            Latents b c n+1 h/s w/s of unit variance per channel, in the type of `video`.

        Raises:
            ValueError: the size breaks the codec's rules.
        """
        num_frames, height, width = video.shape[2:]
        check_size(num_frames, height, width, self.time_factor, self.space_factor, f"codec {self.class_name}")
        with torch.autocast(video.device.type, enabled=False):
            posterior = self.model.encode(video.to(self.model.dtype)).latent_dist
        latents = self._normal(posterior).to(video.dtype)
        num_latents = num_latent_frames(num_frames, self.time_factor)
        assert latents.shape[1:] == (
            self.channels,
            num_latents,
            height // self.space_factor,
            width // self.space_factor,
        )
        return latents

    def encode_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the latents of a long video as its pieces come, in memory that does not grow with its length.

        Wan's encoder carries what it needs of the past along, so that this equals `encode`. LTX-Video's, HunyuanVideo's
        and CogVideoX's cannot: they encode every piece behind up to 64 frames of the past, whose latents are dropped,
        and so does Wan's with tiling.

        Args:
            pieces: b 3 f h w in [-1, 1], the first of time_factor · n + 1 frames, the others of time_factor · n.
        """
        if self.class_name == "AutoencoderKLWan" and not self.tiling:
            return self._wan_stream(pieces)
        return encode_behind_past(self.encode, pieces, self.time_factor, past_frames=_PAST_FRAMES)

    def _wan_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        convolutions = sum(isinstance(layer, nn.Conv3d) for layer in self.model.encoder.modules())
        carried: list[Any] = [None] * convolutions  # one place each; this stream's own: streams may run side by side
        for number, piece in enumerate(pieces):
            num_frames, height, width = piece.shape[2] + (number > 0), *piece.shape[3:]
            check_size(num_frames, height, width, self.time_factor, self.space_factor, f"codec {self.class_name}")
            frames = self._fold(piece.to(self.model.dtype))
            groups = [*(frames[:, :, :1],) * (number == 0), *frames[:, :, number == 0 :].split(self.time_factor, dim=2)]
            with torch.autocast(piece.device.type, enabled=False):
                made = [self.model.encoder(x, feat_cache=carried, feat_idx=[0]) for x in groups if x.shape[2]]
                posterior = self._posterior(self.model.quant_conv(torch.cat(made, dim=2)))
            yield self._normal(posterior).to(piece.dtype)

    @staticmethod
    def _posterior(moments: Tensor) -> Any:
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        return DiagonalGaussianDistribution(moments)

    def _normal(self, posterior: Any) -> Tensor:
        """Latents of unit variance per channel, in float32."""
        raw = (posterior.mode() if self.posterior == "mode" else posterior.sample()).float()
        return (raw - self.latents_mean) / self.latents_std

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pixels.

        Args:
            latents: b c n+1 h w of unit variance per channel.

        Returns:
            Pixels b 3 f h·s w·s in [-1, 1] with f = time_factor · n + 1, in the type of `latents`.

        Raises:
            ValueError: the latents have another number of channels than the codec.
        """
        raw = self._raw(latents)
        # LTX-Video from 0.9.1 on has a decoder that knows a diffusion time; at 0 it only decodes, as its pipeline does
        # when nothing else is asked for
        has_time = self.model.config.get("timestep_conditioning", False)
        times = (torch.zeros(len(raw), device=raw.device, dtype=raw.dtype),) if has_time else ()
        with torch.autocast(latents.device.type, enabled=False):
            video = self.model.decode(raw, *times).sample
        if self.class_name == "AutoencoderKLCogVideoX" and latents.shape[2] % 2 == 0:
            # its decoder makes one frame of a first latent only where latents are odd in number, else four
            video = video[:, :, self.time_factor - 1 :]
        assert video.shape[2] == num_pixel_frames(latents.shape[2], self.time_factor)
        return video.to(latents.dtype).clamp(-1, 1)

    def decode_stream(self, latents: Tensor) -> Iterator[Tensor]:
        """Yields the video as it is decoded, equal to `decode`: the whole of it at once, but with Wan and no tiling.

        Wan's decoder takes one latent frame after the other and carries what it needs of the past along, so that
        memory does not grow with length.
        """
        if self.class_name != "AutoencoderKLWan" or self.tiling:
            yield self.decode(latents)
            return
        raw = self._raw(latents)
        convolutions = sum(isinstance(layer, nn.Conv3d) for layer in self.model.decoder.modules())
        carried: list[Any] = [None] * convolutions  # one place each; this stream's own: streams may run side by side
        for number, frame in enumerate(raw.split(1, dim=2)):
            with torch.autocast(latents.device.type, enabled=False):
                piece = self.model.post_quant_conv(frame)
                piece = self.model.decoder(piece, feat_cache=carried, feat_idx=[0], first_chunk=number == 0)
            yield self._unfold(piece).to(latents.dtype).clamp(-1, 1)

    def _raw(self, latents: Tensor) -> Tensor:
        """Latents as the model makes them, in its type."""
        if latents.shape[1] != self.channels:
            raise ValueError(
                f"codec {self.class_name} has {self.channels} channels, the latents {latents.shape[1]}: take the codec "
                "that made them"
            )
        return (latents.float() * self.latents_std + self.latents_mean).to(self.model.dtype)

    def _fold(self, video: Tensor) -> Tensor:
        """Pixels to channels that hold patches, as in Wan 2.2's larger autoencoder."""
        patch = self.model.config.get("patch_size")
        return video if patch is None else rearrange(video, "b c f (h p) (w q) -> b (c q p) f h w", p=patch, q=patch)

    def _unfold(self, decoded: Tensor) -> Tensor:
        """Channels that hold patches to pixels, as in Wan 2.2's larger autoencoder."""
        patch = self.model.config.get("patch_size")
        if patch is None:
            return decoded
        return rearrange(decoded, "b (c q p) f h w -> b c f (h p) (w q)", p=patch, q=patch)

    @cached_property
    def fingerprint(self) -> str:
        """Short hash of class, settings and weights; where the files lie does not matter."""
        settings: dict[str, Setting] = {
            "kind": self.class_name,
            "posterior": self.posterior,
            "tiling": self.tiling,
            "time_factor": self.time_factor,
            "space_factor": self.space_factor,
        }
        statistics = {"latents_mean": self.latents_mean, "latents_std": self.latents_std}
        return fingerprint_of(settings, {**self.model.state_dict(), **statistics})


def _load(class_name: str, pretrained: str, subfolder: str, dtype: torch.dtype) -> Any:
    import diffusers

    check_pretrained(pretrained, subfolder, "codec.pretrained")
    check_model("codec", class_name, pretrained, subfolder)
    config = model_folder(pretrained, subfolder) / "config.json"
    found = read_json(config).get("_class_name", class_name) if config.is_file() else class_name
    if found != class_name:
        raise WrongFileError(
            f"codec: {place_of(pretrained, subfolder)} holds a {found}, but must hold a {class_name}: give "
            "codec.pretrained=… a folder of that family, or take the codec and the backbone of this one"
        )
    with refused(f"codec: no {class_name} could be loaded from {place_of(pretrained, subfolder)}"):
        kind = getattr(diffusers, class_name)
        # autoencoders are small: loading them frugally would only ask for one more library
        told = {"subfolder": subfolder, "torch_dtype": dtype, "variant": variant_of(pretrained, subfolder)}
        model = kind.from_pretrained(pretrained, low_cpu_mem_usage=False, **told)
    if model.device.type != "meta":
        check_finite(model.state_dict(), f"codec: {place_of(pretrained, subfolder)}")
    return model.eval().requires_grad_(False)


def _sizes(class_name: str, model: Any) -> tuple[int, int, int]:
    """Channels, time factor and space factor, each from where the model's class keeps it."""
    if class_name == "AutoencoderKLWan":
        config = model.config
        return config.z_dim, config.scale_factor_temporal, config.scale_factor_spatial
    if class_name == "AutoencoderKLCogVideoX":
        config = model.config
        return config.latent_channels, int(config.temporal_compression_ratio), 2 ** (len(config.block_out_channels) - 1)
    return model.config.latent_channels, model.temporal_compression_ratio, model.spatial_compression_ratio


def _statistics(model: Any, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel, c 1 1 1, in float32, with the scaling factor folded into the deviation.

    Wan keeps mean and deviation in its configuration, LTX-Video among its weights beside a scaling factor, and
    HunyuanVideo and CogVideoX have the scaling factor alone.
    """
    stored = {name: value for name, value in model.config.items() if value is not None}
    stored |= dict(model.named_buffers(recurse=False))
    mean = torch.as_tensor(stored.get("latents_mean", [0.0] * channels))
    std = torch.as_tensor(stored.get("latents_std", [1.0] * channels))
    scale = stored.get("scaling_factor", 1.0)
    for name, values in (("latents_mean", mean), ("latents_std", std)):
        if values.shape != (channels,) or not values.isfinite().all():
            raise ValueError(f"{name} must be {channels} numbers, one a channel")
    if scale * std.min() <= 0:
        raise ValueError("latents_std and scaling_factor must be above 0")
    return rearrange(mean.float(), "c -> c 1 1 1"), rearrange(std.float() / scale, "c -> c 1 1 1")


@torch.no_grad()
def _try_out(model: Any, time_factor: int, space_factor: int) -> None:
    """Encodes the smallest clip: a library looks at many a setting only then."""
    if model.device.type == "meta":
        return
    clip = torch.zeros(1, 3, time_factor + 1, space_factor, space_factor, dtype=model.dtype)
    found = tuple(model.encode(clip).latent_dist.mode().shape[2:])
    if found != (2, 1, 1):
        raise ValueError(f"{tuple(clip.shape[2:])} frames, rows and columns become {found} instead of (2, 1, 1)")
