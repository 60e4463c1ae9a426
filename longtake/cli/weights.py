"""Weights as a call of generate.py asks for them: read, changed, checked and built."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hydra.utils import instantiate
from torch import Tensor

from longtake.cli.changes import with_changes
from longtake.cli.request import Request
from longtake.control import control_for
from longtake.ends import beside
from longtake.pipeline import Pipeline
from longtake.process import set_matmul_precision
from longtake.releases.building import build
from longtake.releases.parts import refuse_no_videos
from longtake.releases.reading import Config, read_run, weights_hash
from longtake.releases.remembered import WeightFiles
from longtake.releases.renamed import hashed
from longtake.rollouts.checks import check_network, check_ratios
from longtake.rollouts.interfaces import Generate, Given
from longtake.rollouts.window_cache import WindowCache
from networks.codecs.rules import check_lengths
from networks.text import reads_text
from networks.video_network import PATCH


def pipeline_of(request: Request) -> tuple[Pipeline, Config]:
    """The weights with what the command line changes: read, changed, checked, built; and the config of all this.

    Args:
        request: names the weights, the changes and the size.

    Returns:
        A pipeline in host memory, and the weights' config with the changes.

    Raises:
        ValueError: if the weights or the sizes do not fit, before anything is sampled.
    """
    where = f"weights={request.weights}"
    trained, state = read_run(request.weights, to_sample=True)
    refuse_no_videos(trained, where)
    config = with_changes(trained, request.changes)
    own = {name: instantiate(config[name]) for name in request.changes.own}
    if config.get("codec") is not None:  # small, and says which sizes there are before gigabytes are read
        own["codec"] = build(config["codec"])
        trained_size: dict[str, Any] = config.get("video") or {}
        height = trained_size.get("height") if request.height is None else request.height
        width = trained_size.get("width") if request.width is None else request.width
        if height is not None and width is not None:
            check_lengths(request.num_frames, height, width, own["codec"], *patches_of(config["network"]))
    pipeline = Pipeline.from_config({**config, **own}, state, where)
    pipeline.height = pipeline.height if request.height is None else request.height
    pipeline.width = pipeline.width if request.width is None else request.width
    network, rollout = pipeline.module.network, pipeline.rollout
    check_network(
        rollout,
        network,
        weights=request.weights,
        fusion=request.changes.network.get("fusion"),
        trained_segments=(trained.get("rollout") or {}).get("segment_frames"),
    )
    if request.without is not None and request.without not in network.ablations:
        choices = ", ".join(network.ablations) or "nothing"
        raise ValueError(f"without={request.without}: these weights can go without {choices}")
    pipeline.without = () if request.without is None else (request.without,)
    pipeline.negative_prompt = request.negative_prompt
    check_video(pipeline, request.num_frames, is_whole=request.storyboard is None)
    return pipeline, config


def patches_of(network: Mapping[str, Any]) -> tuple[int, int]:
    """Side of a token in latents, and its latent frames, as a network's config says.

    Args:
        network: config of a backbone, or of a network around one.

    Returns:
        Both.
    """
    inner = network.get("window") or network.get("backbone")
    if isinstance(inner, Mapping):
        return patches_of(inner)
    return network.get("patch", PATCH), network.get("frame_patch", 1)


def check_video(pipeline: Pipeline, num_frames: int, *, is_whole: bool) -> None:
    """Refuses a length or size that codec, network or rollout do not take.

    Args:
        pipeline: pipeline of the wanted height and width.
        num_frames: pixel frames.
        is_whole: whether it is one video, and not segments of a storyboard, which have lengths and ratios of their own.

    Raises:
        ValueError: naming what would do.
    """
    codec, network = pipeline.codec, pipeline.module.network
    check_lengths(num_frames, pipeline.height, pipeline.width, codec, network.patch, network.frame_patch)
    if is_whole:
        side = codec.space_factor * network.patch
        tokens = (pipeline.height // side) * (pipeline.width // side)
        check_ratios(pipeline.rollout, (num_frames - 1) // codec.time_factor + 1, tokens)


class Take:
    """A pipeline with what a request says of one kind of video."""

    def __init__(self, request: Request, device: Any = None) -> None:
        """Loads network, codec and text encoder.

        Args:
            request: names the weights, what is changed of them, and the size.
            device: device to sample on; None: a GPU if there is one.

        Raises:
            ValueError: if the weights or the sizes do not fit, before anything is sampled.
        """
        set_matmul_precision(request.matmul_precision)
        self.matmul_precision = request.matmul_precision
        files = WeightFiles(request.weights)  # as they are before they are read
        self.pipeline, self.config = pipeline_of(request)
        self.rollout_config: dict[str, Any] = self.config["rollout"]
        self.hash = files.hash_of(
            self.pipeline.module, self.config
        )  # of the weights as they were loaded, whatever the precision
        self.running = request.running
        self.pipeline.to(device, self.running)
        self.module, self.codec = self.pipeline.module, self.pipeline.codec
        self.other_codec = None if request.changes.codec_folder is None else weights_hash(self.codec)
        self.network: Any = self.module.network
        self.rollout = self.pipeline.rollout
        self.guidance: Any = self.pipeline.guidance
        self.text_encoder, self.device = self.pipeline.text_encoder, self.pipeline.device
        self.height, self.width, self.fps = self.pipeline.height, self.pipeline.width, self.pipeline.fps
        self.num_frames = request.num_frames
        self.num_latents = (request.num_frames - 1) // self.codec.time_factor + 1
        self.without = request.without
        self.ends: Given | None = None
        self.ends_content = ""
        is_whole = request.storyboard is None
        self.control = control_for(self.network, request.control_file, request.num_frames) if is_whole else None

    def of_length(self, num_frames: int) -> "Take":
        """The same weights for videos of another length; they are shared.

        Args:
            num_frames: pixel frames.

        Returns:
            Another take.

        Raises:
            ValueError: if the codec or the rollout makes none of this length.
        """
        check_video(self.pipeline, num_frames, is_whole=True)
        made = copy.copy(self)
        made.num_frames, made.num_latents = num_frames, (num_frames - 1) // self.codec.time_factor + 1
        return made

    def fingerprint(self, *more: Any) -> str:
        """Short hash of the weights, of all that changes what they make but prompt and seed, and of `more`.

        Of the network's settings, those of windows a call decide about memory alone.
        """
        settings = copy.deepcopy({key: self.config[key] for key in ("network", "sampler", "guidance")})
        if self.matmul_precision != "highest":
            settings["matmul_precision"] = self.matmul_precision
        settings |= self.running.changes
        if self.config["codec"].get("tiling"):
            settings["tiling"] = True
        if self.other_codec is not None:
            settings["codec"] = self.other_codec
        for part in (settings["network"], settings["network"].get("window") or {}):
            part.pop("windows_per_call", None)
            part.pop("train_windows_per_call", None)
        if self.pipeline.negative_prompt is not None:
            settings["negative_prompt"] = self.pipeline.negative_prompt
        if self.ends is not None:
            settings["given"] = self.ends_content
        if self.control is not None:
            settings["control"] = hashlib.sha256(self.control.numpy().tobytes()).hexdigest()
        described = [self.hash, self.without, self.height, self.width, settings, *more]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def calls_per_canvas(self) -> int:
        """Calls of the network for a canvas: inference steps times passes of guidance, of the text where it is read."""
        sampler: Any = self.module.sampler
        lacking = () if reads_text(self.text_encoder) else ("text",)
        return int(sampler.num_inference_steps) * int(self.guidance.most_passes(lacking))

    @property
    def settings(self) -> str:
        """Hash of all that determines a video but its prompt and seed."""
        return self.fingerprint(hashed(self.rollout_config), self.num_latents)

    def latents(self, prompt: str, seed: int, on_step: Callable[..., None], keep: WindowCache | None = None) -> Tensor:
        """One video's latents, 1 c f h w; the same seed gives the same video whatever else is made."""
        wrap: Callable[[Generate], Generate] | None = keep
        if self.ends is not None:
            hold = beside(self.ends)
            wrap = hold if keep is None else (lambda generate: keep(hold(generate)))
        return self.pipeline.latents(
            [prompt], num_frames=self.num_frames, seed=seed, on_step=on_step, keep=wrap, control=self.control
        )

    def frames(self, latents: Tensor) -> Iterator[Tensor]:
        """Pixels 3 f h w, piece by piece; NaN and infinity raise ValueError before the first."""
        return (piece[0] for piece in self.pipeline.frames(latents))
