"""One training run, from a composed config to a printed result."""

import logging
import shlex
import signal
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, WandbLogger
from omegaconf import DictConfig, OmegaConf

from datamodules.caching.work import MissingCache
from lightning_modules.callbacks.ending import EndOthers
from lightning_modules.callbacks.provenance import Provenance
from lightning_modules.callbacks.resuming import Recount, Retune
from longtake.cli import slurm
from longtake.cli.checks import (
    check_parts,
    check_sizes,
    refuse_ddp_sweep,
    refuse_precision,
    refuse_sharded,
    refuse_shared_types,
    refuse_untrained,
)
from longtake.cli.processes import check_launcher
from longtake.cli.results import report, say_stopped
from longtake.cli.resume import changed_rates, nothing_to_train, refuse_other_batch
from longtake.compat.lightning import (
    LOST_IN_TRAINING,
    data_place,
    end_as_the_first_that_failed,
    end_processes,
    failed_process,
    quiet,
)
from longtake.cost.advice import out_of_memory
from longtake.failures import is_lost_process, is_out_of_memory
from longtake.process import set_matmul_precision, warn_of_slow_bfloat16
from longtake.releases.bases import look_at_bases
from longtake.releases.checkpoint_files import WholeCheckpoints
from longtake.releases.checkpoints import (
    CONFIG_KEY,
    find_resume,
    newest_checkpoint,
    read_checkpoint,
    refuse_incomplete,
    refuse_no_numbers,
)
from longtake.releases.pretrained import load_parts, load_start
from longtake.releases.reading import load_state, read_state, state_of
from longtake.releases.sharded import Teams, refuse_other_pieces
from longtake.stopping import Stopped, asked, stopping_tidily
from networks.files import claimed, remove_unfinished
from networks.video_network import PATCH

log = logging.getLogger("longtake")
SHOWN = ("name", "seed", "global_batch_size", "clips_per_device")
"""Settings that W&B lists beside those that a checkpoint keeps."""


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


@rank_zero_only
def keep_curves(run_dir: Path) -> None:
    """Gives the metrics of a run that is gone on with in its own folder another name: Lightning would delete them."""
    for file in run_dir.glob("*/metrics.csv"):
        number = 1 + len(list(file.parent.glob("metrics_*.csv")))
        file.rename(file.with_name(f"metrics_{number}.csv"))


def build_trainer(cfg: DictConfig, callbacks: list[Callback]) -> tuple[Trainer, int]:
    """The Trainer with accumulation derived from the global batch, and the clips of one device's batch."""
    quiet()
    keep_curves(Path(cfg.paths.run_dir))
    loggers = [instantiate(node) for node in (cfg.logger or {}).values()]
    probe: Trainer = instantiate(cfg.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    if isinstance(probe.strategy, Teams):
        probe.strategy.check()
    shares = data_place(probe)[1]
    teams = "device(s)" if shares == probe.world_size else f"team(s) of {probe.world_size // shares} devices"
    batch, accumulate = accumulation(cfg.global_batch_size, cfg.clips_per_device, shares)
    log.info(f"global batch {cfg.global_batch_size} = {shares} {teams} x {batch} clips x {accumulate} accumulated")
    plugins = [*(instantiate(node) for node in cfg.trainer.get("plugins") or []), WholeCheckpoints()]
    if (job := slurm.environment()) is not None and not any(isinstance(each, ClusterEnvironment) for each in plugins):
        plugins.append(job)
    trainer: Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        plugins=plugins,
        logger=loggers,
        accumulate_grad_batches=accumulate,
        val_check_interval=cfg.trainer.val_check_interval * accumulate,
    )
    return trainer, batch


def begin_from(
    module: LightningModule, pretrained: Any, before: Mapping[str, Any], *, start: Mapping[Any, str]
) -> None:
    """Puts the weights into a module that a run begins or goes on from.

    Args:
        module: with the new network.
        pretrained: None, weights, or weights part by part.
        before: the checkpoint to go on from, or nothing. Lightning restores that by itself: here only what does not fit
            is refused.
        start: weights of parts that are used where there is neither, and where they fit.

    Raises:
        ValueError: if they do not fit, are no weights, or hold NaN.
    """
    if isinstance(pretrained, DictConfig):
        load_parts(module, {str(name): weights for name, weights in pretrained.items()})
    elif isinstance(pretrained, str | Path):
        load_state(module, read_state(pretrained, "pretrained"))
    elif pretrained is not None:
        raise ValueError(
            f"pretrained={pretrained}: give one .ckpt, run or release folder, or parts by name, such as "
            "pretrained={backbone: …, interface: …}"
        )
    elif not before:
        load_start(module, {str(name): weights for name, weights in start.items()})
    if pretrained is not None:
        refuse_no_numbers(module.state_dict(), "pretrained")
    if before and "state_dict" in before:  # one in pieces is read by the strategy, which refuses what does not fit
        load_state(module, state_of(before, "resume"))
        refuse_no_numbers({key: before.get(key) for key in ("state_dict", "current_model_state")}, "resume")
        refuse_no_numbers(before.get("optimizer_states"), "resume: the optimizer")


def cache_command() -> str:
    """The command that makes a run's cache, with what this one was told."""
    told = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return " ".join(["longtake cache", *map(shlex.quote, told)])


def start_wandb(loggers: list[Logger], settings: Mapping[str, Any] | None = None) -> None:
    """Opens a W&B run now, so that a missing key is known before videos are cached, and shows it the run's settings.

    Args:
        loggers: of the run.
        settings: plain values, which W&B lists beside the run.

    Raises:
        ValueError: if the run cannot be opened.
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
            logger.log_hyperparams(dict(settings or {}))


def end_others(trainer: Trainer, error: BaseException) -> None:
    """Ends the processes that this one started; they wait for it, which leaves.

    Args:
        trainer: that started them.
        error: why this process leaves, which may be the echo of another one's end.

    Raises:
        SystemExit: if another process has failed, and said why.
        ValueError: if another one was killed.
    """
    failed = 0 if isinstance(error, ValueError) else failed_process(trainer)
    end_processes(trainer)
    if 0 < failed < 128:
        raise SystemExit(failed) from error
    if failed or is_lost_process(error):
        raise ValueError(LOST_IN_TRAINING) from error


def train(cfg: DictConfig) -> float | None:
    """Builds everything, fits, and says where the results are. Returns the last validation loss.

    A signal ends it as `longtake.stopping` says: saved, and with an exit code that says so.
    """
    check_launcher(cfg.trainer.get("num_nodes", 1))
    refuse_precision(cfg.trainer)
    refuse_ddp_sweep(cfg.trainer)
    refuse_sharded(cfg.trainer, cfg.callbacks, cfg.optimizer)
    refuse_shared_types(cfg)
    if cfg.trainer.max_steps == 0:
        raise ValueError("trainer.max_steps=0 trains nothing: give at least 1")
    if "${" in str(cfg.paths.run_dir):
        raise ValueError(
            f"paths.run_dir={cfg.paths.run_dir}: what follows ${{ is read as a reference; give another name"
        )
    run_dir, first = Path(cfg.paths.run_dir), getattr(rank_zero_only, "rank", 0) == 0
    with claimed(run_dir) if first else nullcontext(), stopping_tidily():
        before = slurm.run_before(run_dir)
        if first:
            slurm.note_job(run_dir)
        try:
            resume = (before and newest_checkpoint(before)) or find_resume(cfg.resume, run_dir)
            loss = fit(cfg, run_dir, resume)
            if number := asked():  # too late to change anything
                raise Stopped(number)
            return loss
        except Stopped as stopped:
            if first:
                say_stopped(stopped.number, newest_checkpoint(run_dir) or resume)
                stopped.told = True
                if stopped.number == signal.SIGUSR1:
                    slurm.queue_again()
            raise


def fit(cfg: DictConfig, run_dir: Path, resume: Path | None) -> float | None:
    """One run, from a checkpoint or from the start."""
    set_matmul_precision(cfg.matmul_precision)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # tips, and the device list that we print
    seed_everything(cfg.seed, workers=True, verbose=False)
    for folder in run_dir.parent.glob("*/checkpoints"):
        remove_unfinished(folder)
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    before = {} if resume is None else read_checkpoint(resume)
    trained = before.get(CONFIG_KEY, {})
    refuse_other_batch(trained, cfg.global_batch_size)
    changes = changed_rates(trained, resolved)
    step = before.get("global_step")
    if isinstance(step, int) and resume and (said := nothing_to_train(resume, step, cfg.trainer.max_steps)):
        log.info(said)
        return None
    look_at_bases(resolved)
    codec = instantiate(cfg.codec)
    if cfg.lightning_module.get("network") is not None:  # a codec alone cuts no patches
        refuse_untrained(codec)
        patches = (cfg.backbone.get("patch", PATCH), cfg.backbone.get("frame_patch", 1))
        check_sizes(cfg.datamodule, codec, *patches)
        check_parts(cfg, codec)
    text_encoder = instantiate(cfg.text)  # after the checks, as it may be of gigabytes
    module: LightningModule = instantiate(cfg.lightning_module)
    begin_from(module, cfg.pretrained, before, start=cfg.start or {})
    if resume is not None:  # after the weights: those of another network are the likelier mistake
        refuse_incomplete(before, resume)
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    provenance = Provenance(config=resolved)
    callbacks += [provenance, Recount(), Retune(changes=changes), EndOthers()]
    trainer, batch = build_trainer(cfg, callbacks)
    refuse_other_pieces(resume, trainer.strategy)
    if trainer.strategy.root_device.type == "cpu" and trainer.precision.startswith("bf16"):
        warn_of_slow_bfloat16(f"trainer.precision={trainer.precision}", "trainer.precision=32-true, as trainer=cpu has")
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
    start_wandb(trainer.loggers, {**{key: resolved[key] for key in SHOWN}, **provenance.config})
    end_as_the_first_that_failed()
    try:
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    except MissingCache as error:
        raise ValueError(f"{error}: make the cache first, on any number of machines, by `{cache_command()}`") from error
    except BaseException as error:
        if not isinstance(error, Stopped):
            end_others(trainer, error)
        if is_out_of_memory(error):
            raise ValueError(out_of_memory(cfg, module, codec, batch)) from error
        raise
    return report(cfg, trainer, run_dir)
