"""A long take, from a composed config to mp4 files and their manifest."""

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from longtake.cli.changes import with_changes
from longtake.cli.making import Order, make
from longtake.cli.request import Request, told_by
from longtake.control import control_for
from longtake.parallel import Mesh
from longtake.pipeline import Pipeline
from longtake.process import set_matmul_precision
from longtake.releases.disclosure import public_name, refuse_secrets
from longtake.releases.parts import refuse_no_videos
from longtake.releases.reading import Config, read_run, weights_hash
from longtake.releases.renamed import hashed
from longtake.rollouts.checks import check_network, check_ratios
from longtake.rollouts.window_cache import WindowCache
from networks.codecs.rules import check_lengths

log = logging.getLogger("longtake")


def prompts_of(request: Request, config: Mapping[str, Any]) -> list[str]:
    """The texts to make videos of, one a video.

    Args:
        request: with its prompt, and the number of videos.
        config: of the weights, which may bring prompts.

    Returns:
        Texts, "" for none.

    Raises:
        ValueError: if there would be none.
    """
    if request.num_videos < 1:
        raise ValueError(f"num_videos={request.num_videos} must be at least 1")
    if request.prompt is None:
        own = list(config["prompts"])
        if not own:
            log.info('these weights bring no prompts: making videos of no text; prompt="…" gives one')
            own = [""]
        return [own[i % len(own)] for i in range(request.num_videos)]
    texts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    return [text for text in texts for _ in range(request.num_videos)]


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


def check_video(pipeline: Pipeline, num_frames: int, *, is_whole: bool) -> None:
    """Refuses a length or size that codec, network or rollout do not take.

    Args:
        pipeline: of the size that is wanted.
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
            device: where it samples; None: a GPU if there is one.

        Raises:
            ValueError: if the weights or the sizes do not fit, before anything is sampled.
        """
        set_matmul_precision(request.matmul_precision)
        self.matmul_precision = request.matmul_precision
        self.pipeline, self.config = pipeline_of(request)
        self.rollout_config: dict[str, Any] = self.config["rollout"]
        self.hash = weights_hash(self.pipeline.module)  # of the weights as they were loaded, whatever the precision
        self.running = request.running
        self.pipeline.to(device, self.running)
        self.module, self.codec = self.pipeline.module, self.pipeline.codec
        self.network: Any = self.module.network
        self.rollout = self.pipeline.rollout
        self.guidance: Any = self.pipeline.guidance
        self.text_encoder, self.device = self.pipeline.text_encoder, self.pipeline.device
        self.height, self.width, self.fps = self.pipeline.height, self.pipeline.width, self.pipeline.fps
        self.num_frames = request.num_frames
        self.num_latents = (request.num_frames - 1) // self.codec.time_factor + 1
        self.without = request.without
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
        for part in (settings["network"], settings["network"].get("window") or {}):
            part.pop("windows_per_call", None)
            part.pop("train_windows_per_call", None)
        if self.pipeline.negative_prompt is not None:
            settings["negative_prompt"] = self.pipeline.negative_prompt
        if self.control is not None:
            settings["control"] = hashlib.sha256(self.control.numpy().tobytes()).hexdigest()
        described = [self.hash, self.without, self.height, self.width, settings, *more]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def settings(self) -> str:
        """Hash of all that determines a video but its prompt and seed."""
        return self.fingerprint(hashed(self.rollout_config), self.num_latents)

    def latents(self, prompt: str, seed: int, on_step: Callable[..., None], keep: WindowCache | None = None) -> Tensor:
        """One video's latents, 1 c f h w; the same seed gives the same video whatever else is made."""
        return self.pipeline.latents(
            [prompt], num_frames=self.num_frames, seed=seed, on_step=on_step, keep=keep, control=self.control
        )

    def frames(self, latents: Tensor) -> Iterator[Tensor]:
        """Pixels 3 f h w, piece by piece; NaN and infinity raise ValueError before the first."""
        return (piece[0] for piece in self.pipeline.frames(latents))


def make_videos(
    cfg: DictConfig,
    write_video: Callable[..., None],
    mesh: Mesh | None = None,
    device: Any = None,
) -> list[Path]:
    """Samples every prompt and writes output/*.mp4 and output/manifest.jsonl.

    A video that the manifest there names with this prompt and seed, and these weights and settings, is not made again,
    nor are the finished windows of one that a kill cut short.

    Args:
        cfg: of generate.py.
        write_video: writes a file.
        mesh: this process's place among several, whose teams share the videos out; None: it is alone.
        device: where it samples; None: a GPU if there is one.

    Returns:
        The files, of all processes.
    """
    request = Request(**told_by(cfg))
    mesh = mesh or Mesh()
    take = Take(request, device)
    take.pipeline.spread(mesh, num_frames=request.num_frames)
    return make(take, order_of(request, take), write_video, mesh)


def order_of(request: Request, take: Take) -> Order:
    """What a request makes of a take.

    Args:
        request: with texts, seed and output.
        take: the weights that it names.

    Returns:
        Folder, videos, and what their manifest repeats.

    Raises:
        ValueError: if there would be no video, or a text holds a secret, which the manifest would name.
    """
    texts = prompts_of(request, take.config)
    refuse_secrets([*texts, request.negative_prompt or ""], "prompt")
    wanted = ((f"{number:03d}.mp4", prompt, request.seed + number) for number, prompt in enumerate(texts))
    told = {
        "without": request.without,
        **({} if request.negative_prompt is None else {"negative_prompt": request.negative_prompt}),
        **({} if request.control_file is None else {"control": Path(request.control_file).name}),
    }
    return Order(request.output, tuple(wanted), told, public_name(request.weights))
