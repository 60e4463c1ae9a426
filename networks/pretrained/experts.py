"""WanExperts: the two transformers of Wan 2.2 A14B, which take turns by diffusion time, as one backbone.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from networks.control import FrameControl
from networks.interfaces import Backbone, Condition, ContextTokens, VideoNetwork
from networks.pretrained.backbone import ContextAttention
from networks.pretrained.quantized import BaseDtype
from networks.pretrained.wan import WanBackbone
from networks.ranges import Count, Positive, Size, Text, Time
from networks.video_network import Places


class WanExperts(VideoNetwork):
    """One expert denoises from time 1 down to a boundary, the other from there to 0; one of them learns.

    The other stays the base, and so do both where nothing was trained. VIN's global tokens are read through the one
    that learns and offered to both, and so is LoViC's memory, whose keys and values each makes of the same context
    tokens, for whichever time comes. With context_attention=gated the gates of the one that does not learn stay zero:
    it attends to neither, and in training it is not asked.
    Source: Wan 2.2 (transformer, transformer_2 and boundary_ratio of diffusers' WanPipeline).
    """

    def __init__(
        self,
        *,
        pretrained: Text,
        subfolder: str,
        low_subfolder: Text,
        boundary: Time,
        trained: Literal["high", "low"],
        dtype: BaseDtype,
        channels: Size,
        width: Size,
        num_heads: Size,
        text_features: Size,
        latent_fps: Positive,
        rope_theta: Positive,
        lora_rank: Count,
        lora_alpha: Size,
        checkpoint_activations: bool,
        context_attention: ContextAttention,
        patch: Size,
    ) -> None:
        """Loads two WanTransformer3DModel in the format of diffusers.

        Args:
            pretrained: a folder, or a name on the hub; this and what is not named here as WanBackbone's.
            subfolder: where the expert of the noisy steps lies inside.
            low_subfolder: where that of the late steps lies.
            boundary: time down to which the first denoises, inclusive.
            trained: which of them learns: "high", the noisy one, or "low". Train it on its own times alone,
                objective.times.interval=[0.875,1] or [0,0.875].
            dtype: as WanBackbone's.
            channels: so.
            width: so.
            num_heads: so.
            text_features: so.
            latent_fps: so.
            rope_theta: so.
            lora_rank: above 0: an expert is never trained whole here.
            lora_alpha: so.
            checkpoint_activations: so.
            context_attention: so.
            patch: so.

        Raises:
            ValueError: if one cannot be loaded, or a setting does not fit.
        """
        super().__init__()
        if lora_rank < 1:
            raise ValueError("backbone: lora_rank=0 would train both experts whole: set backbone.lora_rank=64")
        settings: dict[str, Any] = {
            "pretrained": pretrained,
            "dtype": dtype,
            "channels": channels,
            "width": width,
            "num_heads": num_heads,
            "text_features": text_features,
            "latent_fps": latent_fps,
            "rope_theta": rope_theta,
            "lora_rank": lora_rank,
            "lora_alpha": lora_alpha,
            "checkpoint_activations": checkpoint_activations,
            "context_attention": context_attention,
            "patch": patch,
        }
        self.high = WanBackbone(subfolder=subfolder, **settings)
        self.low = WanBackbone(subfolder=low_subfolder, **settings)
        self.trained, self.boundary = trained, boundary
        (self.low if trained == "high" else self.high).requires_grad_(False)
        self.width, self.depth, self.num_heads, self.patch = width, self.high.depth, num_heads, patch
        self.text_features = text_features
        self.control: FrameControl | None = None

    @property
    def backbone(self) -> Backbone:
        """Itself."""
        return self

    @property
    def learning(self) -> WanBackbone:
        """The expert that learns."""
        return self.high if self.trained == "high" else self.low

    @property
    def _other(self) -> WanBackbone:
        return self.low if self.trained == "high" else self.high

    def _of(self, expert: WanBackbone, condition: Condition) -> Condition:
        """The condition with the memory that an expert made."""
        memory = condition.memory
        if memory is None:
            return condition
        own = slice(0, self.depth) if expert is self.learning else slice(self.depth, None)
        return condition._replace(memory=memory._replace(layers=memory.layers[own]))

    @property
    def patches(self) -> Callable[[Tensor], Tensor]:
        """Of the expert that learns."""
        return self.learning.patches

    @property
    def time(self) -> Callable[[Tensor], Tensor]:
        """Of the expert that learns."""
        return self.learning.time

    @property
    def place(self) -> Places:
        """Of the expert that learns."""
        return self.learning.place

    def embed(self, video: Tensor, frame_index: Tensor) -> Tensor:
        """By the expert that learns; arguments as WanBackbone's."""
        return self.learning.embed(video, frame_index)

    def key_values(
        self, tokens: Tensor, positions: Tensor, sides: tuple[int, int] | None = None
    ) -> tuple[tuple[Tensor, Tensor], ...]:
        """Of the expert that learns; outside of training behind it those of the other. See Backbone."""
        made = self.learning.key_values(tokens, positions, sides)
        return made if self.training else made + self._other.key_values(tokens, positions, sides)

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        condition: Condition,
        *,
        extra_tokens: ContextTokens | None = None,
        global_embedding: Tensor | None = None,
        detached_frames: Tensor | None = None,
    ) -> Tensor:
        """Each row by the expert of its noisiest frame.

        Args:
            noisy: b c f h w.
            time: b f in [0, 1], or 1 1.
            condition: of the window.
            extra_tokens: VIN's global tokens.
            global_embedding: b d, VIN's.
            detached_frames: b f, True where no gradient may reach the frame.

        Returns:
            b c f h w in noisy's type.

        Raises:
            ValueError: if a row of training belongs to the expert that does not learn.
        """
        learnt = self._of(self.learning, condition)
        others = {"global_embedding": global_embedding, "detached_frames": detached_frames}
        if time.is_meta:  # to be counted: both cost the same
            return self.learning(noisy, time, learnt, extra_tokens=extra_tokens, **others)
        noisiest = time.amax(dim=1).expand(len(noisy))
        if self.training:
            self._check(noisiest)
            return self.learning(noisy, time, learnt, extra_tokens=extra_tokens, **others)
        early = noisiest >= self.boundary
        if bool(early.all()) or not bool(early.any()):
            expert = self.high if bool(early[0]) else self.low
            return expert(noisy, time, self._of(expert, condition), extra_tokens=extra_tokens, **others)
        made = torch.empty_like(noisy)
        for expert, rows in ((self.high, early), (self.low, ~early)):
            known = {name: None if x is None else x[rows] for name, x in others.items()}
            extra = None if extra_tokens is None else _rows_of(extra_tokens, rows)
            # rows of different experts have times of their own
            own = self._of(expert, condition).rows(rows)
            made[rows] = expert(noisy[rows], time[rows], own, extra_tokens=extra, **known)
        return made

    def _check(self, noisiest: Tensor) -> None:
        """Times of training are those of the expert that learns."""
        high = self.trained == "high"
        if bool((noisiest < self.boundary if high else noisiest > self.boundary).any()):
            interval = [self.boundary, 1.0] if high else [0.0, self.boundary]
            raise ValueError(
                f"backbone.trained={self.trained} learns at times of {interval} alone: set "
                f"+objective.times.interval={interval}"
            )


def _rows_of(tokens: ContextTokens, rows: Tensor) -> ContextTokens:
    return ContextTokens(*(None if x is None else x[rows] for x in tokens))  # type: ignore[arg-type]
