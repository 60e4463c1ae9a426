"""Pictures of training: predictions beside the truth, and curves of losses, as files and in every logger."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from lightning_modules.previews import HasPreview, Shown
from longtake.metrics.per_video import Curve
from longtake.reports.plots import plot_named
from longtake.reports.sheets import Picture, Row, contact_sheet, spread, write_picture
from networks.files import write_text
from networks.ranges import Size, Text
from networks.sharding import is_sharded
from networks.visits import visit

log = logging.getLogger("longtake")

LAYOUT = {
    "validation": {
        "loss": ["Multiline", [r"^val/loss$", r"^val_without_\w+/loss$"]],
        "loss at each diffusion time": ["Multiline", [r"^val/loss_time_"]],
    }
}
"""Charts of TensorBoard's tab Custom Scalars: curves that belong together, in one chart."""
STYLE = (
    "svg{font:12px sans-serif;background:#fff}.axes line{stroke:#ccc}.named polyline{fill:none;stroke-width:1.5}"
    "text{fill:#333}"
)


class Pictures(Callback):
    """Draws, at every validation, what the averaged weights make of the first batch, and how losses have gone."""

    def __init__(self, *, folder: Text, every_n_steps: Size, most_frames: Size) -> None:
        """Keeps where pictures go.

        Args:
            folder: folder of the files.
            every_n_steps: optimizer steps between two pictures, at a validation.
            most_frames: most frames of one stretch in a row of the picture.
        """
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.most_frames = most_frames
        self.losses: dict[str, list[tuple[int, float]]] = {}
        self._is_laid_out = False

    def state_dict(self) -> dict[str, Any]:
        """Curves go on where a run is resumed."""
        return {"losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        self.losses = {
            name: [(int(step), float(loss)) for step, loss in each] for name, each in state_dict["losses"].items()
        }

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws the first batch; weights are the averaged ones here."""
        due = trainer.global_step % self.every_n_steps == 0 or trainer.global_step == trainer.max_steps
        first = batch_idx == 0 and dataloader_idx == 0
        if not trainer.is_global_zero or trainer.sanity_checking or not (due and first):
            return
        if not isinstance(pl_module, HasPreview) or is_sharded(pl_module):  # pieces alone show nothing
            return
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # training draws what it would have drawn
            rows = pl_module.preview(batch)
            if not all(bool(part.video.isfinite().all()) for row in rows for part in row.parts):
                log.warning(f"the picture of step {trainer.global_step} is left out: a prediction is not finite")
                return
            data = trainer.datamodule  # type: ignore[attr-defined]
            codec = None if getattr(data, "pixels", False) else data.codec
            with visit(codec, pl_module.device):
                sheet = contact_sheet([_drawn(row, codec, self.most_frames) for row in rows])
        write_picture(self.folder / f"step_{trainer.global_step:07d}.png", sheet)
        caption = "orange: frames that the network was given"
        log_picture(trainer, "pictures/prediction", sheet, caption)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds the losses of this validation to the curves."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        step = trainer.global_step
        for name, value in trainer.callback_metrics.items():
            if name == "train/loss" or name.startswith("val"):
                curve = [point for point in self.losses.get(name, []) if point[0] < step]
                self.losses[name] = [*curve, (step, float(value))]
        self._draw_losses(trainer)

    def _draw_losses(self, trainer: Trainer) -> None:
        shown = {name: curve for name, curve in self.losses.items() if name.endswith("/loss")}
        if shown:
            curves = {name: Curve(*map(list, zip(*curve, strict=True))) for name, curve in shown.items()}
            drawn = plot_named(curves, list(curves), across="step", with_key=True)
            drawn = drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "losses.svg", drawn.replace(">", f"><style>{STYLE}</style>", 1))
        by_time = {
            float(name.rpartition("_")[2]): dict(curve)
            for name, curve in self.losses.items()
            if name.startswith("val/loss_time_")
        }
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and not self._is_laid_out:
                logger.experiment.add_custom_scalars(LAYOUT)
                self._is_laid_out = True
            elif isinstance(logger, WandbLogger) and by_time:
                log_loss_by_time(logger, by_time)


def _drawn(row: Shown, codec: Any, most: int) -> Row:
    frames: list[Picture] = []
    known: list[bool] = []
    for part in row.parts:
        pixels = (
            part.video[None].float() if codec is None else torch.cat(list(codec.decode_stream(part.video[None])), 2)
        )
        # Of a latent frame, the last of its pixel frames; the first latent frame of a causal codec is one of them.
        factor = (pixels.shape[2] - 1) // max(part.video.shape[1] - 1, 1) if part.video.shape[1] > 1 else 1
        places = spread(part.video.shape[1], most)
        frames += [as_picture(pixels[0, :, place * factor]) for place in places]
        known += [bool(part.known[place]) for place in places]
    return Row(row.name, np.stack(frames), known)


def as_picture(frame: Tensor) -> Picture:
    """A frame 3 h w in [-1, 1] as pixels h w 3."""
    pixels: Picture = rearrange(((frame.clamp(-1, 1) + 1) * 127.5).round().byte(), "c h w -> h w c").cpu().numpy()
    return pixels


def log_picture(trainer: Trainer, name: str, picture: Picture, caption: str) -> None:
    """Hands a picture h w 3 to every logger that can show it."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, trainer.global_step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [picture], trainer.global_step, caption=[caption])


def log_loss_by_time(logger: WandbLogger, by_time: dict[float, dict[int, float]], most_lines: int = 6) -> None:
    """A chart of W&B: the validation loss against diffusion time, one line a validation.

    Args:
        logger: logger of W&B.
        by_time: per diffusion time, the loss at each step.
        most_lines: validations that are shown, evenly spread, the first and the last among them.
    """
    import wandb

    times = sorted(by_time)
    steps = [step for step in by_time[times[0]] if all(step in by_time[time] for time in times)]
    chosen = [steps[place] for place in spread(len(steps), most_lines)]
    lines = [[by_time[time][step] for time in times] for step in chosen]
    chart = wandb.plot.line_series(
        xs=times, ys=lines, keys=[f"step {step}" for step in chosen], title="validation loss", xname="diffusion time"
    )
    logger.experiment.log({"pictures/loss_by_time": chart})
