"""Scores one video at a time, and keeps what is finished. Axes: c f h w."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from longtake.metrics.frechet import FrechetDistance
from longtake.metrics.per_video import Curve, PerVideoMean
from longtake.reports.beside import Beside, read_poses
from longtake.reports.score_files import Cell, Scored, content_key, load_scored, save_scored
from longtake.reports.strips import frame_strip


class Clip(NamedTuple):
    """A video as it was read: c f h w in [-1, 1] or, in a quarter of the memory, uint8; and its frames a second."""

    video: Tensor
    fps: float


class Scorer:
    """Scores one video at a time, unless its scores are kept already."""

    def __init__(
        self,
        *,
        metrics: Mapping[str, PerVideoMean | FrechetDistance],
        read_video: Callable[[Path], Clip],
        kept: Path,
        settings: Mapping[str, Any],
    ) -> None:
        """Take the metrics.

        Args:
            metrics: metrics by the name of their column, on the device that they shall work on.
            read_video: reads one file, raising ValueError for one that cannot be read.
            kept: folder that keeps the scores of finished videos.
            settings: what scores depend on beside the video and the names of features and flows.
        """
        self.unavailable = {
            name: reason
            for name, metric in metrics.items()
            if isinstance(metric, PerVideoMean) and (reason := metric.unavailable())
        }
        self.metrics = {name: metric for name, metric in metrics.items() if isinstance(metric, PerVideoMean)}
        self.distances = {name: metric for name, metric in metrics.items() if isinstance(metric, FrechetDistance)}
        self.read_video = read_video
        self.kept = kept
        self.settings = {**settings, "models": model_names(metrics), "unavailable": list(self.unavailable)}

    def score(self, name: str, file: Path, beside: Beside, *, samples: bool) -> Scored:
        """Everything about one video, which is called `name`; `samples` for distances between sets only if wanted.

        What is kept may lack metrics that are new: they alone are scored, and kept too.

        Args:
            name: name of the video in the report.
            file: path of the video.
            beside: what is known of the video beside its frames.
            samples: whether features for distances between sets are wanted.

        Returns:
            The video's results.

        Raises:
            ValueError: the video cannot be read, or has a single frame.
        """
        key = content_key(file, beside, {**self.settings, "name": name, "samples": samples})
        before = load_scored(self.kept, key) or Scored({}, {}, {}, "", {})
        metrics = {column: metric for column, metric in self.metrics.items() if column not in before.row}
        if before.row and not metrics:
            return before
        # The key names the features of distances, so that what is kept lacks none.
        distances = self.distances if samples and not before.row else {}
        scored = _joined(before, self._measure(name, self._read(file), beside, metrics, distances))
        save_scored(self.kept, key, scored)
        return scored

    def samples(self, file: Path) -> Scored:
        """Samples of one reference, for distances between sets.

        Args:
            file: path of the reference video.

        Returns:
            Features n d, by the name of each distance.

        Raises:
            ValueError: the video cannot be read, or has a single frame.
        """
        key = content_key(file, Beside(), {**self.settings, "name": "reference"})
        if (before := load_scored(self.kept, key)) is not None and before.row:
            return before
        clip = self._read(file)
        scored = Scored(_shape(file.name, clip), {}, {}, "", {})
        _sample(clip.video, self.distances, scored)
        save_scored(self.kept, key, scored)
        return scored

    def _read(self, file: Path) -> Clip:
        clip = self.read_video(file)
        if clip.video.shape[1] < 2:
            raise ValueError("it has a single frame")
        return clip

    def _measure(
        self,
        name: str,
        clip: Clip,
        beside: Beside,
        metrics: Mapping[str, PerVideoMean],
        distances: Mapping[str, FrechetDistance],
    ) -> Scored:
        row = _shape(name, clip)
        scored = Scored(row, {}, {}, frame_strip(clip.video), {})
        given = self._given(clip, beside, scored.faults)
        for column, metric in metrics.items():
            row[column] = None
            if column in self.unavailable or any(need not in given for need in metric.needs):
                continue
            needed = {need: _to(given[need], metric) for need in metric.needs}
            try:
                score, curve = metric.measure(clip.video.to(metric.device), **needed)
            except ValueError as error:
                scored.faults[column] = str(error)
                continue
            row[column] = score if score is not None and math.isfinite(score) else None
            if curve.values:
                scored.curves[column] = Curve(curve.frames, [float(f"{value:.5g}") for value in curve.values])
        _sample(clip.video, distances, scored)
        return scored

    def _given(self, clip: Clip, beside: Beside, faults: dict[str, str]) -> dict[str, Any]:
        """What is known of a video beside its frames, by the words of `PerVideoMean.needs`."""
        given: dict[str, Any] = {"fps": clip.fps}
        if beside.boundaries:
            given["boundaries"] = beside.boundaries
        if beside.prompt:
            given["prompt"] = beside.prompt
        for word, path, read in (
            ("reference", beside.reference, lambda path: self.read_video(path).video),
            ("poses", beside.poses, read_poses),
        ):
            try:
                given |= {} if path is None else {word: read(path)}
            except ValueError as error:  # the rest is scored without it
                faults[word] = str(error)
        return given


def _shape(name: str, clip: Clip) -> dict[str, Cell]:
    _, num_frames, height, width = clip.video.shape
    return {"file": name, "frames": num_frames, "height": height, "width": width, "fps": clip.fps}


def _joined(before: Scored, new: Scored) -> Scored:
    """Results of two sets of metrics of one video."""
    return Scored(
        row={**before.row, **new.row},
        curves={**before.curves, **new.curves},
        faults={**before.faults, **new.faults},
        strip=new.strip,
        samples={**before.samples, **new.samples},
    )


def _to(value: Any, metric: PerVideoMean) -> Any:
    return value.to(metric.device) if isinstance(value, Tensor) else value


def _sample(video: Tensor, distances: Mapping[str, FrechetDistance], scored: Scored) -> None:
    for name, distance in distances.items():
        try:
            scored.samples[name] = distance.samples(video.to(distance.device)).float()
        except ValueError as error:
            scored.faults[name] = str(error)


def model_names(metrics: Mapping[str, PerVideoMean | FrechetDistance]) -> dict[str, str]:
    """Which features or flow each metric uses."""
    found = {}
    for name, metric in metrics.items():
        for kind in ("features", "flow"):
            if (model := getattr(metric, kind, None)) is not None:
                found[name] = model.name
    return found
