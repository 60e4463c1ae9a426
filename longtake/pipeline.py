"""Weights in, videos out.

Axes: b batch, c channels, f frames, h height, w width.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from longtake.ends import beside, check_one_canvas, given_ends
from longtake.finite import NOT_FINITE, check_finite
from longtake.generation import NegativeText, generate, part_of, told, window_generator
from longtake.parallel import Mesh, spread
from longtake.pipeline_checks import LARGEST_SEED, check_part, check_prompts, check_whole
from longtake.process import check_device
from longtake.rollouts.canvas import PastSegment, denoise, open_canvas
from longtake.rollouts.checks import unfit
from longtake.rollouts.interfaces import Generate
from longtake.rollouts.rollout import Rollout
from longtake.rollouts.segmentwise import KnownSegment, canvas_beside
from longtake.running import AS_WRITTEN, Running
from longtake.samplers.guidance import Guidance
from longtake.samplers.interfaces import OnStep
from longtake.settings.kinds import AttentionKernel, Compilation, Precision
from longtake.visiting import VisitingTextEncoder
from networks.batches import mask_of
from networks.codecs.rules import check_lengths
from networks.control import NAME as CONTROL
from networks.control import to_latent_frames
from networks.interfaces import Codec, Condition, TextEncoder


class Pipeline:
    """A trained network with all that it is sampled by: text to latents to pixels.

    Example:
        pipe = Pipeline.from_pretrained("vin_freedoom_64")
        video = pipe("A marine in red walks", num_frames=257, seed=0)
        sequential = pipe.replace(rollout=Autoregressive(window_frames=10, context_frames=6))
    """

    def __init__(
        self,
        *,
        module: Any,
        guidance: Guidance,
        rollout: Rollout,
        codec: Codec,
        text_encoder: TextEncoder,
        height: int,
        width: int,
        fps: float,
        without: Sequence[str] = (),
        negative_prompt: str | None = None,
        running: Running = AS_WRITTEN,
    ) -> None:
        """Nothing is loaded or moved; everything should be on one device, but for codec and text encoder.

        Args:
            module: trained module with `network`, `objective` and `sampler`, such as a DenoisingModule.
            guidance: how much each condition weighs.
            rollout: how the canvas is filled.
            codec: decodes latents to pixels.
            text_encoder: encodes prompts to features.
            height: height of the videos in pixels, by the codec's rule and the patch.
            width: width of the videos in pixels, by the codec's rule and the patch.
            fps: frames a second at which the videos are shown.
            without: names that every condition goes without, such as "memory"; see Condition.without.
            negative_prompt: text that guidance leads away from; None: the null text, as in training. It has no effect
                where guidance has a scale of 1.
            running: precision, compilation and attention kernels, which the network is prepared for; see `to`.
        """
        self.module = module
        self.guidance = guidance
        self.rollout = rollout
        self.codec: Any = codec
        self.text_encoder = text_encoder
        self.height, self.width, self.fps = height, width, fps
        self.without = self._names_of(without)
        self.negative_prompt = negative_prompt
        self.running = running
        self._device: torch.device | None = None

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path,
        *,
        device: str | torch.device | None = None,
        bases: Mapping[str, str] | None = None,
        num_inference_steps: int | None = None,
        precision: Precision = "32-true",
        compile: Compilation = "none",
        attention: AttentionKernel = "auto",
        offload: bool = False,
    ) -> Self:
        """Loads trained weights with the sampler, guidance, rollout and size that they were trained for.

        Args:
            weights: a release folder, a run folder, a .ckpt, hub:USER/REPO/FOLDER, or the name of released weights.
            device: device that the network runs on; None: a GPU if there is one.
            bases: folder or hub name of a pretrained model, by the part that loads it (text, codec, backbone).
            num_inference_steps: denoising steps of the sampler; None: as many as the weights' config says.
            precision: "32-true", "bf16-true", "bf16-mixed" or "16-true"; see `longtake.running.Running`, so below.
            compile: "none", "blocks" or "max-autotune".
            attention: kernels that attention prefers.
            offload: whether the network waits in host memory while pixels are decoded, and the codec while it samples.

        Returns:
            A pipeline on its device, in evaluation mode.

        Raises:
            ValueError: if they cannot be loaded, cannot be trusted, make no videos, or the device lacks the precision.
        """
        from longtake.releases.bases import rename_base
        from longtake.releases.reading import read_run

        running = Running(precision=precision, compile=compile, attention=attention, offload=offload)
        if device is not None:
            check_device(device)  # before gigabytes are read
        config, state = read_run(weights, to_sample=True)
        for part, name in (bases or {}).items():
            rename_base(config, part, name)
        if num_inference_steps is not None:
            num_inference_steps = check_whole("num_inference_steps", num_inference_steps, least=1)
        if num_inference_steps is not None and config.get("sampler") is not None:
            config = {**config, "sampler": {**config["sampler"], "num_inference_steps": num_inference_steps}}
        return cls.from_config(config, state, f"weights={weights}").to(device, running)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], state: Any, where: str) -> Self:
        """Builds the pipeline of weights that were read, in host memory; see `sampling_parts`.

        Args:
            config: checked config of the weights.
            state: tensors of the weights by name, or the folder that holds them.
            where: the setting and the weights' name, for messages.

        Returns:
            The pipeline.

        Raises:
            ValueError: if they make no videos, or do not fit their config.
        """
        from longtake.releases.parts import sampling_parts

        parts = sampling_parts(config, state, where)
        parts.module.requires_grad_(False)
        return cls(**parts._asdict(), **config["video"])

    def to(self, device: str | torch.device | None, running: Running = AS_WRITTEN) -> Self:
        """Moves the network to a device and computes it as `running` says; call it once.

        The text encoder stays in host memory and is on the device while it reads alone.

        Args:
            device: device that the network runs on; None: a GPU if there is one.
            running: precision, compilation and attention kernels.

        Returns:
            The pipeline itself.

        Raises:
            ValueError: if there is no such device, or it lacks what is asked for.
        """
        if device is not None:
            check_device(str(device))
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        running.check(found)
        running.prepare(self.module)
        self.module.to(found)
        if found.type != "cpu":
            self.text_encoder = VisitingTextEncoder(self.text_encoder, found)
        self.running, self._device = running, found
        return self

    def replace(self, **changes: Any) -> Self:
        """The same pipeline with other parts; weights are shared.

        Args:
            **changes: sampler, and all that the constructor takes.

        Returns:
            Another pipeline; this one stays as it is.

        Raises:
            TypeError: for a name that a pipeline does not have.
            ValueError: for a part of another kind, such as the name of a part in place of the part itself.
        """
        made = copy.copy(self)
        known = ["sampler", *(name for name in vars(self) if not name.startswith("_"))]
        # The module first: a sampler beside it is the new one's.
        for name, value in sorted(changes.items(), key=lambda change: change[0] != "module"):
            if name not in known:
                raise TypeError(f"a pipeline has no {name}; it has {', '.join(known)}")
            check_part(name, value)
            if name == "sampler":
                made.module = copy.copy(made.module)
                made.module.sampler = value
            else:
                setattr(made, name, made._names_of(value) if name == "without" else value)
        return made

    def _names_of(self, without: Sequence[str]) -> tuple[str, ...]:
        """The names that conditions go without, each of which the network knows."""
        known = ("text", *self.module.network.ablations)
        if isinstance(without, str) or not isinstance(without, Iterable) or any(name not in known for name in without):
            raise ValueError(
                f"without={without!r} must be a list of names: these weights can go without {', '.join(known)}"
            )
        return tuple(without)

    def spread(self, mesh: Mesh, *, num_frames: int) -> Self:
        """Shares the work of each video out over the processes of a team, all of which then make the same calls.

        Args:
            mesh: the place of this process; see `longtake.parallel.make_mesh`.
            num_frames: pixel frames of the videos.

        Returns:
            The pipeline itself.

        Raises:
            ValueError: if that leaves a process without a window or guidance pass.
        """
        spread(
            mesh,
            network=part_of(self.module.network, self.rollout),
            rollout=self.rollout,
            guidance=self.guidance,
            num_latents=(num_frames - 1) // self.codec.time_factor + 1,
        )
        return self

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self._device or next(iter(self.module.parameters())).device

    def _make_room(self, needed: Any, idle: Any) -> None:
        """Where offloading is asked for, what is idle goes to host memory before what is needed comes from there."""
        if self.running.offload:
            idle.to("cpu")
            needed.to(self.device)

    def make_room_for_codec(self) -> None:
        """Where offloading is asked for, the network goes to host memory before the codec comes from there."""
        self._make_room(self.codec, idle=self.module)

    def latents(
        self,
        prompts: Sequence[str],
        *,
        num_frames: int,
        seed: int,
        on_step: OnStep | None = None,
        keep: Callable[[Generate], Generate] | None = None,
        control: Tensor | None = None,
        rows: slice = slice(None),
    ) -> Tensor:
        """Samples one video for each prompt, as latents b c f h w; the same seed gives the same videos.

        Args:
            prompts: one text for each video; "" for none.
            num_frames: pixel frames, by the codec's rule (4n + 1 for a causal codec with a time factor of 4).
            seed: seed of the noise.
            on_step: called after every denoising step.
            keep: see WindowCache.
            control: numbers of every pixel frame, F n, for weights that take them (`longtake.control.read_control`);
                the same for all prompts.
            rows: slice of the prompts whose videos are made. Each video has the noise that it has among all prompts.

        Returns:
            Latents b c f h w of unit variance, one row a prompt that is made.

        Raises:
            ValueError: if a size does not fit, or the result holds NaN or infinity.
        """
        check_prompts(prompts)
        seed = check_whole("seed", seed, least=0, most=LARGEST_SEED)
        shape = self.latents_shape(len(prompts), num_frames)
        num_latents = shape[2]
        own = range(len(prompts))[rows]
        if len(prompts) > 1 and len(own) > 1 and not getattr(self.module.sampler, "frame_by_frame", False):
            # Such a sampler may draw noise, which is then a video's own, whoever is beside it.
            options: Any = {"num_frames": num_frames, "seed": seed, "on_step": on_step, "keep": keep}
            each = (self.latents(prompts, **options, control=control, rows=slice(row, row + 1)) for row in own)
            return torch.cat(list(each))
        noise = self._noise(shape, seed)[rows].to(self.device)
        prompts = prompts[rows]
        index = torch.arange(num_latents, device=self.device, dtype=torch.float32).expand(len(prompts), -1)
        per_frame = {} if control is None else self._per_frame(control, len(prompts), num_latents)
        condition = told(Condition(index, *self._encode(prompts), per_frame=per_frame), prompts)
        self._make_room(self.module, idle=self.codec)
        return generate(
            self.module,
            noise,
            condition,
            rollout=self.rollout,
            guidance=self.guidance,
            generator=self._fresh(seed, own[0]),
            on_step=on_step,
            keep=keep,
            without=self.without,
            negative=NegativeText.encoded(self.negative_prompt, self.text_encoder, self.device),
            running=self.running,
        )

    @torch.no_grad()
    def between(
        self,
        prompt: str = "",
        *,
        start: Tensor | None = None,
        end: Tensor | None = None,
        num_frames: int = 257,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Makes a video from an image, on from a video, or between two: given frames stand at time 0 throughout.

        A pretrained base knows times of single frames from its training where it is Wan 2.2 TI2V or LTX-Video; others
        learn what a clean frame among noisy ones means by objective.context_rate.

        Args:
            prompt: a text.
            start: first frames, pixels 3 f h w in [-1, 1] of the video's size, f as the codec's rule; one for an image.
            end: last frames, in the same way.
            num_frames: pixel frames of the whole video, given frames among them.
            seed: seed of the noise.
            on_step: called after every denoising step.

        Returns:
            Pixels 3 f h w in [-1, 1] on the CPU.

        Raises:
            ValueError: if a size does not fit, the rollout makes more than one canvas, or the result holds NaN.
        """
        num_latents = (num_frames - 1) // self.codec.time_factor + 1
        check_one_canvas(self.rollout, num_latents)
        self.make_room_for_codec()
        codec = self.codec.to(self.device)
        start, end = (None if x is None else x.unsqueeze(0).to(self.device) for x in (start, end))
        size, deep = (self.height, self.width), self.module.network.frame_patch
        given = given_ends(codec, start, end, num_latents=num_latents, size=size, frame_patch=deep)
        sampled = self.latents([prompt], num_frames=num_frames, seed=seed, on_step=on_step, keep=beside(given))
        return torch.cat([piece[0] for piece in self.frames(sampled)], dim=1)

    @torch.no_grad()
    def segment(self, prompt: str, known: Sequence[KnownSegment], *, num_latents: int, seed: int) -> Tensor:
        """Samples a new segment that remembers finished ones: the next, the one before, one between, or a new shot.

        The network sees the finished segments compressed. Of a segment that adjoins the new one without a cut, it also
        sees the nearest latent frames uncompressed.

        Args:
            prompt: text of the new segment.
            known: finished segments of one resolution. The rollout's memory says how many of them are remembered, and
                at what compression ratio.
            num_latents: latent frames of the new segment.
            seed: seed of the noise; the same seed gives the same segment.

        Returns:
            Latents 1 c f h w.

        Raises:
            ValueError: if these weights or their rollout have no memory, there is no room, or the result holds NaN.
        """
        check_prompts([prompt])
        seed = check_whole("seed", seed, least=0, most=LARGEST_SEED)
        rollout, network = self.rollout, part_of(self.module.network, self.rollout)
        if rollout.memory is None or rollout.segment_frames is None:
            raise ValueError(f"rollout={rollout.name} makes no segments: use rollout=segmentwise")
        if reason := unfit(rollout, network):
            raise ValueError(reason)
        if not known or not 1 <= num_latents <= rollout.segment_frames:
            raise ValueError(
                f"a segment of {num_latents} latent frames beside {len(known)} others: give 1 to "
                f"{rollout.segment_frames} frames, and at least one other segment"
            )
        here = [each._replace(latents=each.latents.to(self.device)) for each in known]
        found = canvas_beside(rollout, here, num_latents)
        shape = (1, here[0].latents.shape[1], num_latents, *here[0].latents.shape[3:])
        index = torch.arange(num_latents, device=self.device, dtype=torch.float32)[None]
        opened = open_canvas(
            found.plan,
            noise=self._noise(shape, seed).to(self.device),
            condition=told(Condition(index, *self._encode([prompt])), [prompt]),
            known=found.clean,
            past=[PastSegment(each.latents, *self._encode([each.prompt])) for each in found.remembered],
            noise_level=rollout.memory.noise_level,
        )
        negative = NegativeText.encoded(self.negative_prompt, self.text_encoder, self.device)
        self._make_room(self.module, idle=self.codec)
        sample = window_generator(
            self.module, network, self.guidance, self._fresh(seed), None, self.without, negative, self.running
        )
        return denoise(sample, opened, found.plan)

    def latents_shape(self, count: int, num_frames: int) -> tuple[int, int, int, int, int]:
        """Sizes b c f h w of the latents of videos.

        Args:
            count: number of videos.
            num_frames: pixel frames of each.

        Returns:
            The sizes.

        Raises:
            ValueError: if the length or the size does not fit the codec or the network.
        """
        network, side = self.module.network, self.codec.space_factor
        check_lengths(num_frames, self.height, self.width, self.codec, network.patch, network.frame_patch)
        num_latents = (num_frames - 1) // self.codec.time_factor + 1
        return count, self.codec.channels, num_latents, self.height // side, self.width // side

    @staticmethod
    def _noise(shape: Sequence[int], seed: int) -> Tensor:
        """Noise in host memory, whatever the caller made PyTorch's default type and device: one seed, one video."""
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    def _fresh(self, seed: int, row: int = 0) -> torch.Generator:
        """The generator for samplers that draw noise at every step.

        It is the same in all processes of a team, and draws other noise than a video begins from.

        Args:
            seed: of the videos, at least 0.
            row: place of the video among those of one seed, from 0.

        Returns:
            A generator on the pipeline's device.
        """
        return torch.Generator(self.device).manual_seed(2**32 * (1 + row) + seed)

    def _encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Text features b l e of prompts, and their mask b l, None where nothing is padded."""
        text, mask = self.text_encoder.encode(list(prompts))
        known = mask_of(mask)
        return text.to(self.device), None if known is None else known.to(self.device)

    def _per_frame(self, control: Tensor, batch: int, num_latents: int) -> dict[str, Tensor]:
        """Control F n of the pixel frames as the condition holds it."""
        if CONTROL not in self.module.network.ablations:
            raise ValueError("control: these weights take no control, so leave it out, or train with control=pose")
        values = to_latent_frames(control, self.module.network.backbone.control.frames_per_latent)
        if len(values) != num_latents:
            raise ValueError(f"control has {len(control)} rows: give one for each of the video's frames")
        return {CONTROL: values.to(self.device).expand(batch, -1, -1)}

    def frames(self, latents: Tensor) -> Iterator[Tensor]:
        """Decodes latents b c f h w to pixels b 3 f h w in [-1, 1], piece by piece along the frames, on the CPU.

        Args:
            latents: b c f h w, as `latents` gives them.

        Returns:
            Pieces b 3 f h w in order; together they are the video.

        Raises:
            ValueError: before the first piece, if the latents have another shape, or hold NaN or infinity.
        """
        if latents.ndim != 5 or latents.shape[1] != self.codec.channels:
            size, channels = tuple(latents.shape), self.codec.channels
            raise ValueError(f"latents of {size} cannot be decoded: give b c f h w with {channels} channels")
        check_finite(latents, "the video", NOT_FINITE)
        return self._decoded(latents)

    @torch.no_grad()
    def _decoded(self, latents: Tensor) -> Iterator[Tensor]:
        self._make_room(self.codec, idle=self.module)
        for piece in self.codec.to(self.device).decode_stream(latents.float()):
            yield piece.cpu()

    def stream(
        self,
        prompt: str = "",
        *,
        num_frames: int = 257,
        seed: int = 0,
        on_step: OnStep | None = None,
        control: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Makes one video, and yields its pixels 3 f h w in [-1, 1] piece by piece, for `longtake.write_video`.

        See `latents` for the arguments and errors.
        """
        latents = self.latents([prompt], num_frames=num_frames, seed=seed, on_step=on_step, control=control)
        return (piece[0] for piece in self.frames(latents))

    def __call__(
        self,
        prompt: str = "",
        *,
        num_frames: int = 257,
        seed: int = 0,
        on_step: OnStep | None = None,
        control: Tensor | None = None,
    ) -> Tensor:
        """Makes one video, as pixels 3 f h w in [-1, 1] on the CPU; see `latents` for the arguments and errors."""
        pieces = self.stream(prompt, num_frames=num_frames, seed=seed, on_step=on_step, control=control)
        return torch.cat(list(pieces), dim=1)
