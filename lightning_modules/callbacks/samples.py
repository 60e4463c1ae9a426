"""Sample videos while training, as mp4 files and in TensorBoard."""

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from lightning_modules.callbacks.pictures import as_picture, log_picture
from longtake.compat.tensorboard import add_summary
from longtake.finite import NotFinite
from longtake.parallel import make_mesh
from longtake.pipeline import Pipeline
from longtake.reports.sheets import Row, contact_sheet, spread, write_picture
from longtake.rollouts.rollout import Rollout
from longtake.samplers.guidance import Guidance
from longtake.visiting import VisitingTextEncoder
from networks.files import write_text
from networks.interfaces import TextEncoder
from networks.processes import Meetings, Processes
from networks.ranges import Seed, Size, Text
from networks.sharding import is_sharded, whole_outside_blocks
from networks.visits import visit

log = logging.getLogger("longtake")

SHEET_FRAMES = 10
"""Of each sample, on the contact sheet."""


class SampleVideos(Callback):
    """Generates the same captions from the same noise at every validation, with the averaged weights.

    Captions are the first of the validation set, so that a picture can be held beside its text.
    """

    def __init__(
        self,
        *,
        write_video: Callable[..., None],
        rollout: Rollout,
        guidance: Guidance,
        folder: Text,
        every_n_steps: Size,
        num_videos: Size,
        num_frames: Size,
        seed: Seed,
    ) -> None:
        """Keeps what is made, and where.

        Args:
            write_video: function of a path, frames and fps that writes a file.
            rollout: how a video is made.
            guidance: how much each condition weighs.
            folder: folder of the files.
            every_n_steps: optimizer steps between two sets of samples, at a validation.
            num_videos: number of videos, of as many captions.
            num_frames: pixel frames of a video, by the codec's frame rule.
            seed: seed of the noise.
        """
        self.write_video = write_video
        self.rollout = rollout
        self.guidance = guidance
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.num_videos = num_videos
        self.num_frames = num_frames
        self.seed = seed
        self._reader: VisitingTextEncoder | None = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook; this callback must stand before the averaging one in the list, which swaps weights back."""
        due = trainer.global_step % self.every_n_steps == 0 or trainer.global_step == trainer.max_steps
        if trainer.sanity_checking or not due:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        captions = data.validation_captions()[: self.num_videos]
        pipeline = Pipeline(
            module=pl_module,
            guidance=self.guidance,
            rollout=self.rollout,
            codec=data.codec,
            text_encoder=self._visiting(data.text_encoder, pl_module.device),
            height=data.height,
            width=data.width,
            fps=data.fps,
        )
        everyone = make_mesh().world
        meetings = Meetings(everyone, pl_module.device)
        try:
            latents = self._sampled(pl_module, pipeline, captions, everyone, meetings)
            if trainer.is_global_zero:
                videos = torch.cat(list(self._decoded(pipeline, latents, meetings)), dim=2)
            meetings.rest()
        except NotFinite as error:  # whether training goes on is for its own loss to say
            meetings.rest()
            if trainer.is_global_zero:
                log.warning(f"samples of step {trainer.global_step} are left out: {error}")
            return
        if not trainer.is_global_zero:
            return
        folder = self.folder / f"step_{trainer.global_step:07d}"
        paths = [folder / f"{number}.mp4" for number in range(len(captions))]
        for path, video, caption in zip(paths, videos, captions, strict=True):
            self.write_video(path, [video], fps=data.fps)
            write_text(path.with_suffix(".txt"), caption + "\n")
        self.log_videos(trainer, videos, data.fps, paths, captions)
        places = spread(videos.shape[2], SHEET_FRAMES)
        rows = [
            Row(caption, np.stack([as_picture(video[:, place]) for place in places]))
            for video, caption in zip(videos, captions, strict=True)
        ]
        sheet = contact_sheet(rows)
        write_picture(folder / "sheet.png", sheet)
        log_picture(trainer, "samples/sheet", sheet, "frames evenly spread, the first and the last among them")

    def _visiting(self, encoder: TextEncoder, device: torch.device) -> VisitingTextEncoder:
        """The encoder, which reads the captions once: they are the same at every validation."""
        if self._reader is None or self._reader.encoder is not encoder or self._reader.device != device:
            self._reader = VisitingTextEncoder(encoder, device)
        return self._reader

    def _sampled(
        self,
        module: LightningModule,
        pipeline: Pipeline,
        captions: list[str],
        everyone: Processes,
        meetings: Meetings,
    ) -> Tensor:
        """Latents b c f h w of all captions, in every process.

        Where weights lie in pieces all processes make the same videos together. Otherwise they share them out, and
        those that have none, or fewer, meet the others at every step of theirs.
        """
        with whole_outside_blocks(module):
            if is_sharded(module):
                with module.trainer.precision_plugin.forward_context():  # a block's weights may be bfloat16
                    return pipeline.latents(captions, num_frames=self.num_frames, seed=self.seed)
            shape = pipeline.latents_shape(len(captions), self.num_frames)
            rows = everyone.share(len(captions))
            latents = torch.zeros(shape, device=module.device)
            try:
                if rows.stop > rows.start:
                    latents[rows] = pipeline.latents(
                        captions, num_frames=self.num_frames, seed=self.seed, on_step=meetings.step, rows=rows
                    ).float()
            except NotFinite:
                latents[rows] = torch.nan  # so that all of them hear of it
            meetings.rest()
            (found,) = everyone.sum(latents)
            return found

    @staticmethod
    def _decoded(pipeline: Pipeline, latents: Tensor, meetings: Meetings) -> Iterator[Tensor]:
        """Pieces of the pixels; the codec is on the device for them alone, and the others are met at each."""
        with visit(pipeline.codec, pipeline.device):
            for piece in pipeline.frames(latents):
                meetings.step()
                yield piece

    @staticmethod
    def log_videos(trainer: Trainer, videos: Tensor, fps: float, paths: list[Path], captions: list[str]) -> None:
        """Hands videos b 3 f h w in [-1, 1], which lie at these paths, to every logger that can show them."""
        pixels = ((videos.clamp(-1, 1) + 1) * 127.5).byte().transpose(1, 2)  # n f c h w
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for number, video in enumerate(pixels):
                    add_summary(logger.experiment, animated(f"samples/{number}", video, fps), trainer.global_step)
            elif isinstance(logger, WandbLogger):
                # The files, since of pixels it would make videos by another library.
                logger.log_video("samples", [str(path) for path in paths], trainer.global_step, caption=captions)


def animated(tag: str, video: Tensor, fps: float) -> Any:
    """A video f c h w of bytes as a summary that TensorBoard plays among its images: an animated GIF.

    SummaryWriter.add_video makes the same, but needs another library for it.
    """
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    frames = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in video]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0)
    image = Summary.Image(  # type: ignore[attr-defined]
        height=video.shape[2], width=video.shape[3], colorspace=3, encoded_image_string=buffer.getvalue()
    )
    return Summary(value=[Summary.Value(tag=tag, image=image)])  # type: ignore[attr-defined]
