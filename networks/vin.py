"""VIN: global tokens read from the whole noisy canvas guide a DiT that denoises all chunks in parallel.

Axes: b batch, c channels, f frames of the canvas, k windows, j frames of a window, h height, w width, n tokens.
To a sampler the canvas is one video: chunking and fusion live in here, and fusion depends on `time` alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from einops import repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from networks.chunks import Windows, cut, cut_rows, paste, plan_windows, spans_of
from networks.control import NAME, add_frames, embed_control
from networks.fusion import sampling_weights, training_weights
from networks.interfaces import Backbone, Condition, ContextTokens, Prediction, VideoNetwork
from networks.parts import Parts, shares_of
from networks.processes import ALONE, Processes
from networks.ranges import Count, Interval, Share, Size
from networks.video_interface import PlanGuide, PlanHead, VideoInterface
from networks.window_calls import sampling_calls, training_calls

Fusion = Literal["none", "early", "mid", "late", "all"]


class GlobalTokens(NamedTuple):
    """What one read of the canvas gives: tokens b n d, and the plan they hold (b c f 2 2) where it is asked for."""

    tokens: Tensor
    plan: Tensor | None


class VideoInterfaceNetwork(VideoNetwork):
    """`network=vin`: chunk-parallel denoising guided by global tokens that are read again at every step.

    Source: VIN (arXiv 2503.17539); how the tokens enter the DiT (joined to its self-attention, no position, own
    type embedding) is the reading of its bracket notation that we chose.
    """

    backbone: Backbone
    chunk_frames: int
    processes: Processes = ALONE
    """Among which windows and keyframes are shared out in sampling."""
    training_processes: Processes = ALONE
    """The same in training, where each reads the global tokens itself, so that all have gradients of all weights."""
    in_step: bool = False

    def __init__(
        self,
        *,
        backbone: Backbone,
        interface: VideoInterface,
        plan: PlanHead | None,
        chunk_frames: Size,
        train_local_frames: Count,
        local_frames: Count,
        fusion: Fusion,
        fusion_times: dict[str, Interval],
        token_dropout: Share,
        pooled_modulation: bool,
        context_loss_rate: Share,
        windows_per_call: Count,
        train_windows_per_call: Count = 0,
        plan_guidance: bool = False,
    ) -> None:
        """Puts a DiT and an interface together.

        Args:
            backbone: the DiT that denoises chunks.
            interface: reads the whole noisy video into global tokens.
            plan: predicts keyframes from the tokens in training, for an auxiliary loss; None: without that loss.
            chunk_frames: F_chunk, latent frames.
            train_local_frames: F_local in training, latent frames.
            local_frames: F_local in sampling, latent frames.
            fusion: part of sampling in which overlaps are blended; a name in fusion_times, or "none".
            fusion_times: each part as (lowest, highest) time in [0, 1].
            token_dropout: share of training videos, in [0, 1], that are trained without global tokens.
            pooled_modulation: adds the tokens' mean to the DiT's time embedding. Our choice, beyond the paper.
            context_loss_rate: share of training videos whose overlaps are scored on the following chunk's prediction;
                0 is the literal reading (own frames only).
            windows_per_call: how many windows the DiT denoises at once in sampling, which bounds memory; 0 for all.
            train_windows_per_call: how many windows the DiT denoises at once in training. Activations of one call at a
                time are held, and computed again for the backward pass; 0 for all windows, with nothing computed twice.
            plan_guidance: tells each window what the tokens plan of its frames. Our choice, beyond the paper.

        Raises:
            ValueError: if fusion names no part, context is longer than a chunk, windows_per_call is negative, or
                plan_guidance has no plan.
        """
        super().__init__()
        local = {"train_local_frames": train_local_frames, "local_frames": local_frames}
        for name, value in {"chunk_frames": chunk_frames, **local}.items():
            if not 0 <= value <= chunk_frames:
                raise ValueError(f"network.{name}={value} must lie between 0 and network.chunk_frames={chunk_frames}")
            if value % backbone.frame_patch:
                raise ValueError(
                    f"network.{name}={value} must be a multiple of {backbone.frame_patch}, the latent frames of a token"
                )
        for name, count in (("windows_per_call", windows_per_call), ("train_windows_per_call", train_windows_per_call)):
            if count < 0:
                raise ValueError(f"network.{name}={count} must be at least 1, or 0 for all at once")
        if fusion != "none" and fusion not in fusion_times:
            raise ValueError(f"fusion={fusion!r} is unknown: use none, {', '.join(fusion_times)}")
        self.ablations = ("global_tokens", *(() if backbone.control is None else (NAME,)))
        self.width, self.patch, self.frame_patch = backbone.width, backbone.patch, backbone.frame_patch
        self.joint_text = backbone.joint_text
        self.backbone = backbone
        self.interface = interface
        self.plan = plan
        self.type_embedding = nn.Parameter(torch.zeros(backbone.width))
        self.pool = nn.Linear(backbone.width, backbone.width) if pooled_modulation else None
        if self.pool is not None:
            nn.init.zeros_(self.pool.weight)
            nn.init.zeros_(self.pool.bias)
        if plan_guidance and plan is None:
            raise ValueError("network.plan_guidance=true needs a plan: take network=vin_guided")
        self.guide = PlanGuide(channels=plan.channels, width=backbone.width) if plan and plan_guidance else None
        self.chunk_frames = chunk_frames
        self.train_local_frames = train_local_frames
        self.local_frames = local_frames
        self.fusion: Fusion = fusion
        self.fusion_times = {part: (lowest, highest) for part, (lowest, highest) in fusion_times.items()}
        self.event_probs = {"global_tokens_dropped": token_dropout, "next_chunk_owns_overlap": context_loss_rate}
        self.windows_per_call = windows_per_call
        self.train_windows_per_call = train_windows_per_call

    @property
    def over_windows(self) -> VideoNetwork:
        """The DiT without the interface."""
        found: VideoNetwork = self.get_submodule("backbone")  # type: ignore[assignment]
        return found

    def encode_context(self, condition: Condition) -> Condition:
        """Embeds the control of a condition, once for all steps."""
        return embed_control(self.backbone.control, condition)

    def encode_text(self, condition: Condition) -> Condition:
        """As VideoNetwork's: for the DiT's blocks, and for the interface."""
        if condition.asked is not None:
            return condition
        encoded = self.backbone.encode_text(condition)
        if encoded.asked is None:
            return condition
        told = {"interface": self.interface.text(condition.text, condition.text_mask)}
        return encoded._replace(asked=encoded.asked._replace(tokens=told))

    def num_windows(self, num_frames: int) -> int:
        """Windows of a canvas outside of training."""
        return sum(len(part.frames) for part in self.windows(num_frames))

    def spread(self, processes: Processes) -> None:
        """From here on the windows are shared out, and the keyframes that are read into global tokens."""
        self.processes = processes

    def frame_parts(self, num_frames: int) -> Parts | None:
        """The frames of each process's windows."""
        if self.processes.size == 1:
            return None
        return shares_of(self.processes, [span for part in self.windows(num_frames) for span in spans_of(part.frames)])

    def spread_training(self, processes: Processes, *, in_step: bool = False) -> None:
        """The same in training, as VideoNetwork says."""
        self.training_processes, self.in_step = processes, in_step

    def windows(self, num_frames: int, device: torch.device | None = None) -> tuple[Windows, ...]:
        """The windows in which a canvas of so many latent frames is denoised outside of training; see plan_windows."""
        return plan_windows(num_frames, self.chunk_frames, self.local_frames, device or torch.device("cpu"))

    def read(self, noisy: Tensor, time: Tensor, condition: Condition) -> GlobalTokens:
        """One read of the whole noisy canvas b c f h w at time b f, or 1 1; of its keyframes each process reads some.

        Of a canvas that is not held whole, noisy and condition are of the frames that this process holds.
        """
        processes = ALONE if self.training else self.processes
        index, read = self._keyframes(noisy, condition, processes)
        keyframes, frame_times, clock = self._embedded(noisy, time, read, index)
        told = None if read.asked is None else read.asked.tokens["interface"]
        tokens = self.interface(
            keyframes, frame_times, clock, read.text, read.text_mask, read.frame_mask, told, processes
        )
        plan = self.plan(tokens, index) if self.plan is not None and self.training else None
        return GlobalTokens(tokens, plan)

    def _keyframes(self, noisy: Tensor, condition: Condition, processes: Processes) -> tuple[Tensor, Condition]:
        """Which of the frames that are given this process reads, f, and their condition."""
        part = condition.part
        if part is None:
            index = self.interface.keyframes(noisy.shape[2], noisy.device)
            own = processes.share(len(index))
        else:
            every = self.interface.keyframes(part.parts.num_frames, torch.device("cpu"))  # looked at on the host
            own = slice(*(int((every < place).sum()) for place in part.parts.answers_for))
            index = self.interface.keyframes(part.parts.num_frames, noisy.device) - part.parts.own.first
        if own.start < own.stop:
            return index[own], condition.frames(index[own])
        index = index.new_zeros(1)  # a process without a keyframe brings one that does not count
        read = condition.frames(index)
        return index, read._replace(frame_mask=torch.zeros_like(read.frame_index, dtype=torch.bool))

    def _embedded(self, noisy: Tensor, time: Tensor, read: Condition, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keyframes b f s d, their times b f d and the canvas's b d; read: the condition of the keyframes `index`."""
        keyframes = self.backbone.embed(noisy[:, :, index], read.frame_index)
        frame_times = self.backbone.time(cut_rows(time, index.unsqueeze(0)))
        return keyframes, add_frames(frame_times, read), self.backbone.time(time.amax(dim=1))

    @torch.no_grad()
    def attention_map(self, noisy: Tensor, time: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """What each global token reads of a noisy canvas; for looking at.

        Args:
            noisy: b c f h w.
            time: b f in [0, 1], or 1 1.
            condition: condition of the canvas.

        Returns:
            Canvas frames that are read, f; weights b heads n f s, which sum to 1 over f and the patches s of a frame.
        """
        index = self.interface.keyframes(noisy.shape[2], noisy.device)
        read = self.encode_context(condition).frames(index)
        return index, self.interface.attention_map(*self._embedded(noisy, time, read, index))

    def predict(self, noisy: Tensor, time: Tensor, condition: Condition) -> Prediction:
        """noisy: b c f h w, any f; time: b f in [0, 1], or 1 1; the loss "plan" is of the plan in the global tokens."""
        condition = self.encode_context(condition)._replace(context=())  # segments are for networks with memory
        if "global_tokens" in condition.left_out:
            return Prediction(self._denoise_chunks(noisy, time, condition, None))
        tokens, plan = self.read(noisy, time, condition)
        if self.guide is not None and self.plan is not None:
            first = 0 if condition.part is None else condition.part.parts.own.first
            places = first + torch.arange(noisy.shape[2], device=noisy.device)
            condition = self.guide(self.plan(tokens, places), condition)
        losses = {} if plan is None else {"plan": partial(self._plan_loss, plan)}
        return Prediction(self._denoise_chunks(noisy, time, condition, tokens), losses)

    def _plan_loss(self, plan: Tensor, clean: Tensor) -> Tensor:
        """Mean squared error of a plan b c f 2 2 against the clean canvas b c f h w."""
        assert self.plan is not None
        index = self.interface.keyframes(clean.shape[2], clean.device)
        return nn.functional.mse_loss(plan.float(), self.plan.target(clean[:, :, index]))

    def _denoise_chunks(self, noisy: Tensor, time: Tensor, condition: Condition, tokens: Tensor | None) -> Tensor:
        local_frames = self.train_local_frames if self.training else self.local_frames
        if condition.asked is not None:  # the interface has read: no window needs a copy of what it was told
            condition = condition._replace(asked=condition.asked.of_blocks)
        canvas = torch.zeros_like(noisy, dtype=torch.float32)
        processes = self.training_processes if self.training else self.processes
        parts = None if condition.part is None else condition.part.parts
        num_frames, first = (noisy.shape[2], 0) if parts is None else (parts.num_frames, parts.own.first)
        plan = plan_windows(num_frames, self.chunk_frames, local_frames, noisy.device)
        most = self.train_windows_per_call if self.training else self.windows_per_call
        if self.training:
            calls = training_calls(plan, processes, most, in_step=self.in_step)
            blend = partial(training_weights, next_owns=condition.events.get("next_chunk_owns_overlap"))
        else:
            calls = sampling_calls(plan, processes, most)
            blend = partial(sampling_weights, fused_times=self.fusion_times.get(self.fusion))
        for windows, has_context, counts in calls:
            weights = blend(windows, time)
            windows = windows._replace(frames=windows.frames - first)
            denoise = partial(self._denoise_windows, windows, noisy, time, condition, tokens, has_context)
            prediction = self._call(denoise, again=self.training and most > 0)
            canvas = paste(canvas, prediction.float(), windows.frames, weights if counts else 0 * weights)
        if parts is not None:
            return parts.add_up(canvas)
        return processes.sum_and_back(canvas) if self.training else processes.sum(canvas)[0]

    @staticmethod
    def _call(denoise: Callable[[], Tensor], again: bool) -> Tensor:
        if not again:
            return denoise()
        made: Tensor = checkpoint(denoise, use_reentrant=False, preserve_rng_state=False)  # nothing is drawn in there
        return made

    def _denoise_windows(
        self,
        windows: Windows,
        noisy: Tensor,
        time: Tensor,
        condition: Condition,
        tokens: Tensor | None,
        has_context: bool,
    ) -> Tensor:
        """Windows folded into the batch, one DiT call: (b k) c j h w."""
        batch, count = noisy.shape[0], windows.frames.shape[0]

        def spread(x: Tensor) -> Tensor:
            return repeat(x, "b ... -> (b k) ...", k=count)

        extra_tokens, global_embedding = None, None
        if tokens is not None:
            dropped = condition.events.get("global_tokens_dropped")
            mask = None if dropped is None else spread(~dropped[:, None].expand(-1, tokens.shape[1]))
            extra_tokens = ContextTokens(spread(tokens + self.type_embedding), mask=mask)
            if self.pool is not None:
                summary = self.pool(tokens.mean(dim=1))
                global_embedding = spread(summary if dropped is None else summary * ~dropped[:, None])
        return self.backbone(
            cut(noisy, windows.frames),
            cut_rows(time, windows.frames),
            condition.fold(windows.frames),
            extra_tokens=extra_tokens,
            global_embedding=global_embedding,
            detached_frames=repeat(~windows.own, "k j -> (b k) j", b=batch) if has_context else None,
        )
