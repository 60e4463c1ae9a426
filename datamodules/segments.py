"""SegmentDataModule: rows of segments for a compressor and for a network with memory.

Axes: b batch, s slots of a row, c channels, f frames, h height, w width (latents); l text tokens, e text features.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.batches import Batch, pad_text
from datamodules.clips import Clip
from datamodules.rows import Row, RowPlan, RowRule, fixed_row
from datamodules.video_datamodule import VideoDataModule
from networks.control import FrameControl
from networks.interfaces import Codec, SegmentBatch, TextEncoder
from networks.ranges import Count, Dtype, Positive, Seed, Share, Size, Sizes, Text


class SegmentDataModule(VideoDataModule):
    """Videos as rows of consecutive segments, cut from cached latents of long clips at any latent frame.

    Every clip is one causal encoding, so no seam between segments exists in the latents and any latent frame may
    begin a segment. Source: our choice; separate encodings would give every segment a first latent of its own kind and
    a seam where it meets the next. Generated segments are decoded as one
    causal whole, too.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        text_encoder: TextEncoder,
        global_batch_size: int,
        batch_size: int,
        seed: Seed,
        make: Callable[[], object] | None,
        root: Text,
        table: Text | None,
        height: Size,
        width: Size,
        fps: Positive,
        frame_stride: Size | None,
        num_frames: Sizes,
        hop_frames: Size,
        cut_frames: Size | None,
        crop: Literal["centre", "random"],
        pixels: bool,
        cache_dir: Text,
        cache_dtype: Dtype | Literal["uint8"],
        validation_share: Share,
        num_validation_clips: Size,
        num_workers: Count,
        short_caption_share: Share,
        segments_per_row: Size,
        segment_frames: Size,
        gap_share: Share,
        multi_shot_share: Share,
        control: FrameControl | None = None,
    ) -> None:
        """As VideoDataModule, with rows of segments; every clip is used at its own full length.

        Args:
            codec: this and all arguments up to short_caption_share: see VideoDataModule.
            text_encoder: see VideoDataModule.
            global_batch_size: rows of an optimizer step, over all processes and accumulated batches.
            batch_size: rows that one process sees at once.
            seed: see VideoDataModule.
            make: see VideoDataModule.
            root: see VideoDataModule.
            table: see VideoDataModule.
            height: see VideoDataModule.
            width: see VideoDataModule.
            fps: see VideoDataModule.
            frame_stride: see VideoDataModule.
            num_frames: see VideoDataModule.
            hop_frames: see VideoDataModule.
            cut_frames: must be None: rows are cut by segment_frames.
            crop: see VideoDataModule.
            pixels: must be False: segments are cut from latents.
            cache_dir: see VideoDataModule.
            cache_dtype: see VideoDataModule.
            validation_share: see VideoDataModule.
            num_validation_clips: rows of a validation, over all processes.
            num_workers: see VideoDataModule.
            short_caption_share: share of slots, in [0, 1], that get the text of the column `short_text`, where there is
                one.
            segments_per_row: slots of a row.
            segment_frames: latent frames of a segment, at most those of the shortest clip.
            gap_share: share of rows of one walk, in [0, 1], that skip segments between two slots.
            multi_shot_share: share of rows, in [0, 1], that are cut from two videos of one folder.
            control: see VideoDataModule.

        Raises:
            ValueError: if a size breaks the codec's rules, or a segment is longer than the shortest clip.
        """
        super().__init__(
            codec=codec,
            text_encoder=text_encoder,
            global_batch_size=global_batch_size,
            batch_size=batch_size,
            seed=seed,
            make=make,
            root=root,
            table=table,
            height=height,
            width=width,
            fps=fps,
            frame_stride=frame_stride,
            num_frames=num_frames,
            hop_frames=hop_frames,
            cut_frames=cut_frames,
            crop=crop,
            pixels=pixels,
            cache_dir=cache_dir,
            cache_dtype=cache_dtype,
            validation_share=validation_share,
            num_validation_clips=num_validation_clips,
            num_workers=num_workers,
            short_caption_share=short_caption_share,
            control=control,
        )
        if pixels:
            raise ValueError("datamodule.pixels=true: segments are cut from latents; use datamodule.pixels=false")
        if cut_frames is not None:
            raise ValueError(f"datamodule.cut_frames={cut_frames}: segments are cut by datamodule.segment_frames")
        for name, size in (("segments_per_row", segments_per_row), ("segment_frames", segment_frames)):
            if size < 1:
                raise ValueError(f"datamodule.{name}={size} must be at least 1")
        for name, share in (("gap_share", gap_share), ("multi_shot_share", multi_shot_share)):
            if not 0 <= share <= 1:
                raise ValueError(f"datamodule.{name}={share} must be between 0 and 1")
        shortest = self._stored_frames(self.num_frames[0])
        if segment_frames > shortest:
            raise ValueError(
                f"datamodule.segment_frames={segment_frames} is more than the {shortest} latent frames of a clip of "
                f"datamodule.num_frames={self.num_frames[0]}; use shorter segments or longer clips"
            )
        self.rule = RowRule(segments_per_row, segment_frames, gap_share, multi_shot_share, short_caption_share)

    def frames_of(self, clip: Clip) -> int:
        """Latent frames that a row may be cut from: up to the next clip's start, or the film's end."""
        return self._stored_frames(clip.num_frames) + clip.slack

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless; begins at the step that the trainer is at."""
        clips = self.clips["train"]
        plan = RowPlan(plan=self.plan(clips), clips=clips, frames_of=self.frames_of, rule=self.rule, seed=self.seed)
        return self.endless(plan, lambda rows, _: self.segments(rows))

    def fixed_batch(self, clips: Sequence[Clip], num_frames: int) -> SegmentBatch:
        """One row a clip, of one shot without gaps; the rows of a split begin evenly spread from a clip's start on."""
        rows = []
        for clip in clips:
            share = clip.place / max(len(self.clips[clip.entry.split]) - 1, 1)
            rows.append(Row((clip,), fixed_row(self.rule, self._stored_frames(num_frames), share)))
        return self.segments(rows)

    def transfer_batch_to_device(self, batch: SegmentBatch, device: torch.device, dataloader_idx: int) -> SegmentBatch:
        """Lightning's hook: what tasks are chosen by, and masks, stay in host memory, so that no step waits."""
        return batch.to(device)

    def segments(self, rows: Sequence[Row]) -> SegmentBatch:
        """Reads rows; slots that hold nothing come last, are zero and have no text."""
        words = [(row.clips[slot.clip].entry, slot.short) for row in rows for slot in row.slots]
        latents, found = self.read_with_texts([partial(self._read, row) for row in rows], words)
        video, features = torch.stack(latents), iter(found)
        _, num_slots, _, num_frames, _, _ = video.shape
        missing = [num_slots - len(row.slots) for row in rows]
        places = [_padded([slot.place for slot in row.slots], num_slots, num_frames) for row in rows]
        shots = [_padded([slot.shot for slot in row.slots], num_slots, 0) for row in rows]
        texts: list[Tensor] = []
        for row, lacking in zip(rows, missing, strict=True):
            own = [next(features) for _ in row.slots]
            texts += [*own, *[own[0][:0]] * lacking]
        text, mask = pad_text(texts)
        return SegmentBatch(
            video=video,
            frame_index=torch.tensor(places, dtype=torch.float32).unsqueeze(-1) + torch.arange(num_frames),
            text=rearrange(text, "(b s) l e -> b s l e", s=num_slots),
            text_mask=rearrange(mask, "(b s) l -> b s l", s=num_slots),
            shot=torch.tensor(shots),
            valid=torch.tensor([[slot < len(row.slots) for slot in range(num_slots)] for row in rows]),
            per_frame=self._per_frame(rows, num_slots),
        )

    def _per_frame(self, rows: Sequence[Row], num_slots: int) -> dict[str, Tensor]:
        """As `per_frame`, of rows: b s f d; slots that hold nothing repeat the first, of which nothing is seen."""
        length = self.rule.segment_frames
        slots = [(row, slot) for row in rows for slot in (*row.slots, *row.slots[:1] * (num_slots - len(row.slots)))]
        found = self.per_frame([(row.clips[slot.clip], slot.start, length) for row, slot in slots])
        return {name: rearrange(x, "(b s) f d -> b s f d", s=num_slots) for name, x in found.items()}

    def _read(self, row: Row) -> Tensor:
        """Latents of a row: s c f h w."""
        length, latents, first = self.rule.segment_frames, {}, {}
        for place in {slot.clip for slot in row.slots}:
            starts = [slot.start for slot in row.slots if slot.clip == place]
            first[place] = min(starts)
            latents[place] = self.cache.read(row.clips[place], max(starts) + length - min(starts), min(starts))
        cuts = [(slot.clip, slot.start - first[slot.clip]) for slot in row.slots]
        pieces = [latents[place][:, start : start + length] for place, start in cuts]
        pieces += [torch.zeros_like(pieces[0])] * (self.rule.num_slots - len(pieces))
        return torch.stack(pieces).float()


def _padded(numbers: list[int], length: int, step: int) -> list[int]:
    """Numbers of the slots that hold something, counted on by `step` over those that do not."""
    return numbers + [numbers[-1] + step * (extra + 1) for extra in range(length - len(numbers))]
