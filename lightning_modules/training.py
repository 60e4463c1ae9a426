"""One training run, from a composed config to a printed result."""

import logging
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import Logger, WandbLogger
from omegaconf import DictConfig, OmegaConf

from lightning_modules.callbacks.provenance import Provenance
from lightning_modules.callbacks.resuming import Recount
from lightning_modules.host import set_matmul_precision
from lightning_modules.runs import CONFIG_KEY, find_resume, load_parts, load_state, read_checkpoint, read_state
from lightning_modules.take import check_lengths
from networks.interfaces import Codec

log = logging.getLogger("longtake")


def accumulation(global_batch_size: int, clips_per_device: int, num_devices: int) -> tuple[int, int]:
    """Clips a device sees at once, and how many such batches make an optimizer step.

    Raises:
        ValueError: if the global batch does not divide evenly, or a size is below 1.
    """
    for name, value in (("global_batch_size", global_batch_size), ("clips_per_device", clips_per_device)):
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    if global_batch_size % num_devices:
        lower = max(global_batch_size // num_devices * num_devices, num_devices)
        raise ValueError(
            f"global_batch_size={global_batch_size} does not divide over {num_devices} devices; {lower} would"
        )
    share = global_batch_size // num_devices
    batch = next(size for size in range(min(clips_per_device, share), 0, -1) if share % size == 0)
    return batch, share // batch


def refuse_ddp_sweep(trainer: DictConfig) -> None:
    """Under DDP every rank would start a sweep of its own.

    Raises:
        ValueError: for `-m` together with a strategy of several processes.
    """
    several = str(trainer.strategy) != "auto" or trainer.devices not in (1, "1")
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN and several:
        raise ValueError(
            f"-m (a sweep) with strategy={trainer.strategy} would start one sweep in every process; "
            "sweep with trainer=cpu or trainer=gpu, or give every job its own launcher slot"
        )


def refuse_sharded(trainer: DictConfig, callbacks: DictConfig, optimizer: DictConfig) -> None:
    """Under FSDP no process has whole weights outside a training or validation step.

    Raises:
        ValueError: for trainer=fsdp with what reads whole weights, or with Lightning's own clipping.
    """
    if "fsdp" not in str(trainer.strategy):
        return
    if str(optimizer.get("_target_")).endswith("Muon"):
        raise ValueError("trainer=fsdp shards the matrices, which optimizer=muon needs whole: use optimizer=adamw")
    counts = callbacks.get("throughput") is not None and callbacks.throughput.count_flops
    whole = [name for name in ("average", "samples") if callbacks.get(name) is not None] + ["throughput"] * counts
    if whole:
        raise ValueError(
            f"trainer=fsdp shards the weights, which the callback(s) {', '.join(whole)} read whole: add callbacks=fsdp"
        )
    if trainer.gradient_clip_val is not None:
        raise ValueError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val} cannot clip sharded gradients: set it to null; "
            "callbacks=fsdp clips them by callbacks.clipping.max_norm"
        )


def check_sizes(datamodule: DictConfig, codec: Codec) -> None:
    """Refuses sizes that no network can cut into patches, before a video is made or read.

    Raises:
        ValueError: naming the nearest sizes that fit.
    """
    if isinstance(datamodule.num_frames, int):
        raise ValueError(f"datamodule.num_frames={datamodule.num_frames} must be a list of lengths, such as [37, 77]")
    for num_frames in datamodule.num_frames:
        try:
            check_lengths(num_frames, datamodule.height, datamodule.width, codec)
        except ValueError as error:
            raise ValueError(f"datamodule.{error}") from error


def check_parts(cfg: DictConfig, codec: Codec) -> None:
    """Groups that are swapped one by one but go together.

    Raises:
        ValueError: if a network with memory would be trained without any, or weights of two types were sharded as one.
    """
    network, module = (str(node._target_).rpartition(".")[2] for node in (cfg.network, cfg.lightning_module))
    if network == "LoViCNetwork" and module != "MemoryModule":
        raise ValueError(
            "network=lovic and vin_lovic learn from rows of segments: use experiment=lovic_freedoom or "
            "vin_lovic_freedoom, or add lightning_module=remembering datamodule=freedoom_segments compressor=flexformer"
        )
    dtype = "float32" if cfg.get("backbone") is None else cfg.backbone.get("dtype", "float32")
    if "fsdp" in str(cfg.trainer.strategy) and dtype != "float32":
        raise ValueError(
            f"trainer=fsdp shards all weights as one, which backbone.dtype={dtype} beside float32 cannot be: "
            "add backbone.dtype=float32, or use trainer=ddp"
        )
    expected = cfg.datamodule.fps / codec.time_factor
    if cfg.get("backbone") is not None and abs(cfg.backbone.latent_fps / expected - 1) > 0.01:
        log.warning(
            f"backbone.latent_fps={cfg.backbone.latent_fps:g}, but datamodule.fps={cfg.datamodule.fps:g} over the "
            f"codec's time factor of {codec.time_factor} is {expected:g}: seconds are counted wrongly without "
            f"backbone.latent_fps={expected:g}"
        )


def refuse_other_batch(trained: Mapping[str, Any], global_batch_size: int) -> None:
    """Where a run is in its data follows from its step, which is counted in global batches.

    Raises:
        ValueError: if the run to resume had another global batch.
    """
    before = trained.get("global_batch_size", global_batch_size)
    if global_batch_size != before:
        raise ValueError(
            f"resume: global_batch_size={global_batch_size}, but the run was trained with {before}, and other batches "
            f"would skip or repeat clips: add global_batch_size={before}, or begin anew from its weights, pretrained=…"
        )


def build_trainer(cfg: DictConfig, callbacks: list[Callback]) -> tuple[Trainer, int]:
    """The Trainer with accumulation derived from the global batch, and the clips of one device's batch."""
    loggers = [instantiate(node) for node in (cfg.logger or {}).values()]
    probe: Trainer = instantiate(cfg.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    batch, accumulate = accumulation(cfg.global_batch_size, cfg.clips_per_device, probe.world_size)
    log.info(
        f"global batch {cfg.global_batch_size} = {probe.world_size} device(s) x {batch} clips "
        f"x {accumulate} accumulated"
    )
    trainer: Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers,
        accumulate_grad_batches=accumulate,
        val_check_interval=cfg.trainer.val_check_interval * accumulate,
    )
    return trainer, batch


def start_wandb(loggers: list[Logger]) -> None:
    """Opens a W&B run now, so that a missing key is known before videos are cached.

    Raises:
        ValueError: if it cannot be opened.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            try:
                _ = logger.experiment
            except wandb.errors.Error as error:
                raise ValueError(
                    f"logger=wandb cannot start ({str(error).rstrip('.')}): run `wandb login`, set WANDB_API_KEY, or "
                    "add logger.wandb.offline=true"
                ) from error


def train(cfg: DictConfig) -> float | None:
    """Builds everything, fits, and says where the results are. Returns the last validation loss."""
    refuse_ddp_sweep(cfg.trainer)
    refuse_sharded(cfg.trainer, cfg.callbacks, cfg.optimizer)
    set_matmul_precision(cfg.matmul_precision)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # tips, and the device list that we print
    seed_everything(cfg.seed, workers=True, verbose=False)
    run_dir = Path(cfg.paths.run_dir)
    resume = find_resume(cfg.resume, run_dir)
    codec, text_encoder = instantiate(cfg.codec), instantiate(cfg.text)
    if cfg.lightning_module.get("network") is not None:  # a codec alone cuts no patches
        check_sizes(cfg.datamodule, codec)
        check_parts(cfg, codec)
    module: LightningModule = instantiate(cfg.lightning_module)
    if isinstance(cfg.pretrained, DictConfig):
        load_parts(module, {str(name): weights for name, weights in cfg.pretrained.items()})
    if resume is not None:
        refuse_other_batch(read_checkpoint(resume)[CONFIG_KEY], cfg.global_batch_size)
    for weights in (cfg.pretrained, resume):  # resume: only to refuse what does not fit; Lightning restores the rest
        if isinstance(weights, str | Path):
            load_state(module, read_state(weights, "pretrained"))
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    trainer, batch = build_trainer(cfg, [*callbacks, Provenance(config=resolved), Recount()])
    datamodule: LightningDataModule = instantiate(
        cfg.datamodule,
        codec=codec,
        text_encoder=text_encoder,
        global_batch_size=cfg.global_batch_size,
        batch_size=batch,
        seed=cfg.seed,
    )
    millions = sum(p.numel() for p in module.parameters()) / 1e6
    log.info(f"{cfg.name}: {millions:.2f} M parameters, {trainer.max_steps} steps, run folder {run_dir}")
    if resume is not None:
        log.info(f"resuming from {resume}")
    start_wandb(trainer.loggers)
    trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    return report(cfg, trainer, run_dir)


def quoted(key: str, text: str) -> str:
    """A text as a command-line argument, quoted for Hydra and then for the shell: either trips over a comma."""
    escaped = text.replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


def is_as_shipped(cfg: DictConfig) -> bool:
    """Whether the loss to expect is known: nothing but an experiment was chosen on the command line."""
    if cfg.expected_loss is None or not HydraConfig.initialized():
        return False
    return all(text.startswith(("experiment=", "paths.")) for text in HydraConfig.get().overrides.task)


def report(cfg: DictConfig, trainer: Trainer, run_dir: Path) -> float | None:
    """Says where things are, the loss reached beside the loss to expect, and what to try next."""
    value = trainer.callback_metrics.get("val/loss")
    loss = None if value is None else float(value)
    if not trainer.is_global_zero:
        return loss
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    log.info(f"checkpoint   {checkpoint}")
    if (run_dir / "samples").is_dir():
        log.info(f"samples      {run_dir / 'samples'}")
    log.info(f"curves       tensorboard --logdir {run_dir}")
    if loss is not None:
        expected = f" (expected about {cfg.expected_loss})" if is_as_shipped(cfg) else ""
        log.info(f"val/loss     {loss:.4f}{expected}")
        if not math.isfinite(loss):
            raise ValueError(f"the validation loss is {loss}; the last good checkpoint is {checkpoint}")
    if cfg.get("rollout") is not None:  # a codec and a compressor make no videos
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        prompt = quoted("prompt", data.validation_captions()[0])
        log.info(f"next         python generate.py weights={run_dir} num_frames=257 output=outputs/{cfg.name} {prompt}")
    else:
        log.info(f"next         python export.py run={run_dir} output=weights/{cfg.name}")
    return loss
