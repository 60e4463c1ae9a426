"""Lengths and ratios of segments: what the storyboard says, checked against the codec and the weights."""

import logging

from longtake.storyboard.schema import ModelLimits, Segment, Storyboard, fail

log = logging.getLogger("longtake")


def default_latents(storyboard: Storyboard, limits: ModelLimits) -> int:
    """Latent frames of a segment that says nothing: segment_frames, or else the model's window.

    Args:
        storyboard: storyboard as it was read.
        limits: what the weights can do.

    Returns:
        Latent frames.

    Raises:
        ValueError: if segment_frames is not a multiple of the codec's time factor, or more than a window.
    """
    frames, factor = storyboard.segment_frames, limits.time_factor
    if frames is None:
        return limits.max_latents
    most = limits.max_latents * factor
    if frames % factor or frames > most:
        near = min(max(round(frames / factor), 1) * factor, most)
        rule = f"must be a multiple of {factor} and at most {most}, the model's window"
        fail(storyboard.file, storyboard.lines["segment_frames"], f"segment_frames={frames} {rule}: use {near}")
    return frames // factor


def latents_of(file: str, segment: Segment, limits: ModelLimits, default: int, *, starts_take: bool) -> int:
    """Latent frames of a segment.

    The codec's first latent is one pixel frame, every other one is time_factor: so the segment that is seen first has
    time_factor · n + 1 frames, and every other one time_factor · n.

    Args:
        file: name of the storyboard's file, for messages.
        segment: segment as it was read.
        limits: what the weights can do.
        default: latent frames of a segment that states no length.
        starts_take: whether the segment is seen first.

    Returns:
        Latent frames.

    Raises:
        ValueError: if the frames break this rule, or are more than the model's window.
    """
    factor, frames = limits.time_factor, segment.num_frames
    lost = factor - 1 if starts_take else 0  # the take's first latent is one frame
    latents = default if segment.latents is None else segment.latents
    if frames is not None and segment.given is None:
        latents = -(-(frames + lost) // factor)
        if frames != factor * latents - lost:
            fitting = {min(max(count, 1), limits.max_latents) for count in (latents - 1, latents)}
            near = " or ".join(str(factor * count - lost) for count in sorted(fitting))
            which = f"is seen first has {factor}n + 1" if starts_take else f"is not seen first has {factor}n"
            rule = f"a segment that {which} frames: use {near}"
            fail(file, segment.line_of("num_frames"), f"num_frames={frames} breaks the frame rule: {rule}")
    if latents > limits.max_latents:
        frames_here = limits.max_latents * factor - lost
        most = f"the model's window of {limits.max_latents} latents ({frames_here} frames here)"
        reason = f"{segment.name} has {latents} latents, more than {most}: make it of several segments"
        fail(file, segment.line_of("num_frames", "latents"), reason)
    return latents


def ratio_of(storyboard: Storyboard, segment: Segment, limits: ModelLimits, latents: int) -> float:
    """The compression ratio at which a segment is remembered, in video tokens a context token.

    Args:
        storyboard: may state a ratio of all segments.
        segment: may state its own, which goes first.
        limits: what the weights can do, with the rollout's ratio.
        latents: latent frames of the segment.

    Returns:
        The ratio.

    Raises:
        ValueError: if it is below one, more than the segment has tokens, or more than rollout.max_compression_ratio.
    """
    ratios = (segment.compression_ratio, storyboard.compression_ratio, limits.memory.compression_ratio)
    ratio = next(ratio for ratio in ratios if ratio is not None)
    tokens = latents * limits.tokens_per_latent
    of_all = segment.compression_ratio is None and storyboard.compression_ratio is not None
    line = storyboard.lines["compression_ratio"] if of_all else segment.line_of("compression_ratio")
    if not 1 <= ratio <= tokens:
        reason = "leaves no token" if ratio > tokens else "is below 1"
        rule = f"{segment.name} has {tokens} video tokens, so use 1 to {min(tokens, limits.memory.max_ratio):g}"
        fail(storyboard.file, line, f"compression_ratio={ratio:g} {reason}: {rule}")
    if ratio > limits.memory.max_ratio:
        fail(
            storyboard.file,
            line,
            f"compression_ratio={ratio:g} is above rollout.max_compression_ratio={limits.memory.max_ratio:g}: use at "
            "most that",
        )
    return ratio


def check_given_ratio(storyboard: Storyboard, ratio: float | None) -> None:
    """Checks the command line's `compression_ratio` (None: not given) against those that the storyboard states.

    Args:
        storyboard: the file as it was read.
        ratio: compression ratio of the command line.

    Raises:
        ValueError: if it would count nowhere, because the storyboard states a ratio of all segments.
    """
    if ratio is None:
        return
    if storyboard.compression_ratio is not None:
        reason = (
            f"compression_ratio: {storyboard.compression_ratio:g} is stated here and compression_ratio={ratio:g} on "
            "the command line: drop one of the two"
        )
        fail(storyboard.file, storyboard.lines["compression_ratio"], reason)
    own = [segment.name for segment in storyboard.segments if segment.compression_ratio is not None]
    own += [video.name for video in storyboard.videos if video.compression_ratio is not None]
    if own:
        log.warning(
            f"compression_ratio={ratio:g} does not count for {', '.join(own)}: {storyboard.file} states their "
            "ratios itself"
        )
