"""What every metric must do. Axes: b batch, f frames, h height, w width."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from longtake.metrics.frechet import FrechetDistance
from longtake.metrics.per_video import Measured, PerVideoMean
from longtake.testing.inputs import battery, built, fail, require

SIZE, NUM_FRAMES = 64, 20


def picture(*, seed: int = 0, size: int = SIZE) -> Tensor:
    """A smooth random picture, 3 h w in [-1, 1]."""
    noise = torch.randn(1, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    smooth = functional.interpolate(noise, size=(size, size), mode="bicubic")[0]
    return (smooth / smooth.abs().max()).clamp(-1, 1)


def moving(pixels_a_frame: int, *, seed: int = 0, num_frames: int = NUM_FRAMES) -> Tensor:
    """A video of a picture that slides to the right, 1 3 f h w in [-1, 1]."""
    still = picture(seed=seed)
    return torch.stack([still.roll(number * pixels_a_frame, dims=2) for number in range(num_frames)], dim=1)[None]


def whole_pixels(video: Tensor) -> Tensor:
    """Converts a video from [-1, 1] to uint8 in [0, 255], the other kind of pixels that metrics take."""
    return ((video + 1) * 127.5).round().to(torch.uint8)


def beside(metric: PerVideoMean, videos: Tensor) -> dict[str, Any]:
    """What a metric needs beside videos, by its `needs`; poses go away and come back.

    Args:
        metric: metric whose `needs` are looked up.
        videos: b 3 f h w.

    Returns:
        Keywords of its `update`.

    Raises:
        AssertionError: if it needs something that nobody gives.
    """
    frames = videos.shape[2]
    away = [100.0 * (frames * 2 // 5 <= frame < frames * 3 // 5) for frame in range(frames)]
    known = {
        "fps": 8.0,
        "boundaries": [frames // 2],
        "reference": videos.flip(1),
        "poses": torch.tensor([[place, 0, 0, 90] for place in away]),
        "prompt": "a marine in red",
    }
    for need in metric.needs:
        require(need in known, f"needs names {need!r}, but reports give {', '.join(known)} alone")
    return {need: known[need] for need in metric.needs}


@battery
def check_metric(make: Callable[[], PerVideoMean]) -> None:
    """Runs a metric of `longtake.metrics.per_video.PerVideoMean` through every rule.

    Args:
        make: builds the metric anew.

    Raises:
        AssertionError: for the first rule that is broken, in one sentence.
    """
    metric = built(make, PerVideoMean)
    require(isinstance(metric, PerVideoMean), f"{type(metric).__name__} must be a PerVideoMean: reports call `measure`")
    _says_what_it_is(metric)
    videos = torch.cat([moving(2), moving(0, seed=1)])
    given = beside(metric, videos)
    _returns_measured(make(), videos, given)
    _leaves_its_input(make, videos, given)
    whole = _score(make(), videos, given)
    _counts_videos_once(make, videos, given, whole)
    _forgets(make, videos, given, whole)
    _takes_whole_pixels(make, videos, given)
    single = next(iter(videos.split(1)))
    fewer = {**given, "reference": given["reference"][:1]} if "reference" in given else given
    wrong = {"a video without its batch axis": single[0], "pixels from 0 to 255": 127.5 * (single + 1)}
    for what, video in wrong.items():
        now = {**fewer, "reference": video} if "reference" in fewer else fewer
        _refuses(make(), video, now, what)


@battery
def check_set_metric(make: Callable[[], FrechetDistance], *, num_frames: int = NUM_FRAMES) -> None:
    """Runs a distance between two sets of videos through every rule.

    Args:
        make: builds the metric anew.
        num_frames: frames of the videos that it is tried on.

    Raises:
        AssertionError: for the first rule that is broken, in one sentence.
    """
    _says_what_it_is(make())
    ours = torch.cat([moving(pixels, seed=pixels, num_frames=num_frames) for pixels in range(4)])
    others = (ours * 0.5 + 0.3).clamp(-1, 1)
    metric, parts = make(), [make(), make()]
    require(bool(metric.compute().isnan()), "the distance of two empty sets must be nan")
    for part, rows in zip(parts, (slice(0, 3), slice(3, 4)), strict=True):
        part.update(ours[rows], is_reference=False)
        part.update(others[rows], is_reference=True)
    metric.update(ours, is_reference=False)
    metric.update(others, is_reference=True)
    whole = float(metric.compute())
    require(whole > 0, f"the distance between a set and a paler one is {whole:.3g}, and must be above 0")
    parts[0].merge_state(parts[1])
    _require_same(float(parts[0].compute()), whole, "two processes together")
    twin = make()
    for is_reference in (False, True):
        twin.update(ours, is_reference=is_reference)
    nothing = float(twin.compute())
    require(abs(nothing) < 1e-3 * max(1.0, whole), f"the distance of a set to itself is {nothing:.3g}, and must be 0")


def _returns_measured(metric: PerVideoMean, videos: Tensor, given: Mapping[str, Any]) -> None:
    """`measure` returns what it must, for every video."""
    measure = metric.measure

    def measured(*args: Any, **kwargs: Any) -> Measured:
        found = measure(*args, **kwargs)
        is_measured = isinstance(found, Measured) and isinstance(found.score, int | float | Tensor | None)
        require(is_measured, f"measure returns {found!r:.80}, and must return a Measured, whose score is a number")
        return found

    metric.measure = measured  # type: ignore[method-assign]
    metric.update(videos.clone(), **given)


def _says_what_it_is(metric: Metric) -> None:
    about = getattr(metric, "about", "")
    require(len(about) > 10, f"about is {about!r}: say in half a line what the score means, for the report's table")
    better = getattr(metric, "higher_is_better", None)
    require(better in (True, False, None), f"higher_is_better is {better!r}: give True, False, or None for neither")


def _score(metric: Metric, videos: Tensor, given: Mapping[str, Any]) -> float:
    metric.update(videos, **given)
    score = metric.compute()
    require(score.numel() == 1, f"compute returns {score.numel()} numbers: one score is wanted")
    require(bool(score.isfinite()), f"the score of two ordinary videos is {float(score)}")
    return float(score)


def _counts_videos_once(make: Callable[[], Metric], videos: Tensor, given: Mapping[str, Any], whole: float) -> None:
    """A batch scores the mean of its videos, and so do two processes with one each."""
    scores, parts = [], [make() for _ in videos]
    for row, part in enumerate(parts):
        own = {**given, "reference": given["reference"][row : row + 1]} if "reference" in given else given
        scores.append(_score(make(), videos[row : row + 1], own))
        part.update(videos[row : row + 1], **own)
    _require_same(sum(scores) / len(scores), whole, "the mean over single videos")
    for part in parts[1:]:
        parts[0].merge_state(part)
    _require_same(float(parts[0].compute()), whole, "two processes together")


def _require_same(found: float, whole: float, who: str) -> None:
    same = abs(found - whole) <= 1e-6 + 1e-5 * abs(whole)
    require(same, f"{who} score {found:.6g}, and all videos at once {whole:.6g}: every video must count once")


def _forgets(make: Callable[[], Metric], videos: Tensor, given: Mapping[str, Any], whole: float) -> None:
    """After reset, nothing of earlier videos is left."""
    metric = make()
    metric.update((0.5 * videos).clamp(-1, 1), **given)
    metric.reset()
    found = _score(metric, videos, given)
    require(
        abs(found - whole) <= 1e-6 + 1e-5 * abs(whole), f"after reset() it scores {found:.6g} instead of {whole:.6g}"
    )


def _leaves_its_input(make: Callable[[], Metric], videos: Tensor, given: Mapping[str, Any]) -> None:
    kept = videos.clone()
    make().update(videos, **given)
    require(torch.equal(videos, kept), "update changes the videos in place")


def _takes_whole_pixels(make: Callable[[], Metric], videos: Tensor, given: Mapping[str, Any]) -> None:
    """Videos of uint8 score what the same videos score in [-1, 1]."""
    whole = whole_pixels(videos)
    exact = {**given, "reference": whole_pixels(given["reference"])} if "reference" in given else given
    fractions = {**given, "reference": exact["reference"] / 127.5 - 1} if "reference" in given else given
    one, other = _score(make(), whole, exact), _score(make(), whole / 127.5 - 1, fractions)
    require(
        abs(one - other) <= 1e-4 * max(1.0, abs(other)),
        f"videos of uint8 score {one:.6g}, and the same in [-1, 1] {other:.6g}: see longtake.metrics.per_video.floats",
    )


def _refuses(metric: Metric, video: Tensor, given: Mapping[str, Any], what: str) -> None:
    try:
        metric.update(video, **given)
    except ValueError as error:
        require("\n" not in str(error), f"{what} must be refused in one sentence")
        return
    except Exception as error:
        fail(f"{what} ends in {type(error).__name__}: {_BY_CHECK_VIDEO}")
    fail(f"{what} is scored: {_BY_CHECK_VIDEO}")


_BY_CHECK_VIDEO = "refuse it by ValueError, as longtake.metrics.per_video.check_video does"
