"""What a training run says at its end: where things are, and what to type next."""

import logging
import math
import shlex
import signal
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig

from longtake.arguments import argument, command
from networks.text import reads_text

log = logging.getLogger("longtake")


def is_as_shipped(cfg: DictConfig) -> bool:
    """Whether the loss to expect is known: nothing but an experiment was chosen on the command line."""
    if cfg.expected_loss is None or not HydraConfig.initialized():
        return False
    return all(text.startswith(("experiment=", "paths.")) for text in HydraConfig.get().overrides.task)


def report(cfg: DictConfig, trainer: Trainer, run_dir: Path) -> float | None:
    """Says where things are, the loss reached beside the loss to expect, and what to try next.

    Raises:
        ValueError: if the loss is no number.
    """
    value = trainer.callback_metrics.get("val/loss")
    loss = None if value is None else float(value)
    if not trainer.is_global_zero:
        return loss
    checkpoint = saved(trainer)
    if checkpoint is None:
        log.info("checkpoint   none, as callbacks.checkpoint says")
    else:
        log.info(f"checkpoint   {checkpoint}")
    if (run_dir / "samples").is_dir():
        log.info(f"samples      {run_dir / 'samples'}")
    if (run_dir / "pictures").is_dir():
        log.info(f"pictures     {run_dir / 'pictures'}")
    if curves := where_curves_are(trainer, run_dir):
        log.info(f"curves       {curves}")
    if loss is not None:
        expected = f" (expected about {cfg.expected_loss})" if is_as_shipped(cfg) else ""
        log.info(f"val/loss     {loss:.4f}{expected}")
        for name, without in losses_without(trainer).items():
            log.info(f"             {without:.4f} without {name}")
        if not math.isfinite(loss):
            raise ValueError(
                f"the validation loss is {loss}: begin anew with a smaller optimizer.lr; the last checkpoint is "
                f"{checkpoint or 'none'}"
            )
    if checkpoint is not None:
        log.info(f"next         {next_command(cfg, trainer, run_dir)}")
    return loss


def losses_without(trainer: Trainer) -> dict[str, float]:
    """The last validation loss of the same weights without each part that the network can leave out, by its name."""
    found = {}
    for key, value in trainer.callback_metrics.items():
        name, _, last = key.removeprefix("val_without_").rpartition("/")
        if key.startswith("val_without_") and last == "loss":
            found[name.replace("_", " ")] = float(value)
    return found


def where_curves_are(trainer: Trainer, run_dir: Path) -> str:
    """The command or the place that shows a run's curves: W&B's, else TensorBoard's, else a table; "" for no logger."""
    found = {kind: logger for logger in trainer.loggers for kind in type(logger).__mro__}
    service: Any = found.get(WandbLogger)
    if service is not None:
        run = service.experiment
        return str(run.url) if run.url else f"wandb sync {shlex.quote(str(Path(run.dir).parent))}"
    if TensorBoardLogger in found:
        return f"tensorboard --logdir {shlex.quote(str(run_dir))}"
    table: Any = found.get(CSVLogger)
    return "" if table is None else str(Path(table.log_dir) / "metrics.csv")


def saved(trainer: Trainer) -> Path | None:
    """The newest checkpoint that this run wrote, if it is there."""
    callback: Any = trainer.checkpoint_callback
    named = getattr(callback, "_last_checkpoint_saved", "") or getattr(callback, "last_model_path", "")
    return Path(named) if named and Path(named).exists() else None


def next_command(cfg: DictConfig, trainer: Trainer, run_dir: Path) -> str:
    """What a run is for, as it is typed."""
    if cfg.get("rollout") is None:  # a codec and a compressor make no videos
        return command("export.py", [argument("run", run_dir), argument("output", f"weights/{cfg.name}")])
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    output = argument("output", f"outputs/{cfg.name}")
    made = [argument("weights", run_dir), argument("num_frames", length(cfg)), output]
    entry = data.clips["validation"][0].entry
    if cfg.get("control") is not None and entry.control is not None:  # steered as that video is
        made.append(argument("control_file", entry.control))
    if entry.caption.strip() and reads_text(data.text_encoder):
        made.append(argument("prompt", entry.caption))
    return command("generate.py", made)


def length(cfg: DictConfig) -> int:
    """Pixel frames of a video that suits what was trained: those of its own sample videos, or of its longest clip.

    Args:
        cfg: the config of the run.

    Returns:
        Their number, which the run's codec and windows are known to take.
    """
    samples = (cfg.get("callbacks") or {}).get("samples")
    return int(max(cfg.datamodule.num_frames) if samples is None else samples.num_frames)


def say_stopped(number: int, newest: Path | None) -> None:
    """Tells the user how to resume a run that a signal ended.

    number: of the signal; newest: the run's newest checkpoint, None where it has none yet.
    """
    name = signal.Signals(number).name
    if newest is None:
        log.info(f"stopped by {name} before the first checkpoint; what was rendered and cached is kept")
        return
    log.info(f"stopped by {name}; all is saved in {newest}; go on with")
    log.info(f"             {command('train.py', [*typed(), argument('resume', newest)])}")


def typed() -> list[str]:
    """What was typed for this run, but for what it began from, quoted for a shell once more."""
    if not HydraConfig.initialized():
        return []
    begun = ("resume", "pretrained")
    overrides = [text for text in HydraConfig.get().overrides.task if not text.lstrip("+").startswith(begun)]
    return [shlex.quote(text) for text in overrides]
