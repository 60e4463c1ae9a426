"""Lengths and rates of segments: what the storyboard says, checked against the codec and the weights."""

from lightning_modules.storyboard.schema import ModelLimits, Segment, Storyboard, fail
from networks.codecs.rules import nearest_num_frames


def default_latents(storyboard: Storyboard, limits: ModelLimits) -> int:
    """Latent frames of a segment that says nothing: segment_frames, or else the model's window.

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

    Raises:
        ValueError: if the frames break this rule, or are more than the model's window.
    """
    factor, frames = limits.time_factor, segment.num_frames
    latents = default if segment.latents is None else segment.latents
    if frames is not None and segment.given is None:
        latents = -(-frames // factor)
        if starts_take and frames != factor * (latents - 1) + 1:
            below, above = nearest_num_frames(frames, factor)
            rule = f"the segment that is seen first has {factor}n + 1 frames: use {below} or {above}"
            fail(file, segment.line_of("num_frames"), f"num_frames={frames} breaks the frame rule: {rule}")
        if not starts_take and frames != factor * latents:
            near = f"{factor * (latents - 1)} or {factor * latents}" if latents > 1 else str(factor)
            rule = f"a segment that is not seen first has {factor}n frames: use {near}"
            fail(file, segment.line_of("num_frames"), f"num_frames={frames} breaks the frame rule: {rule}")
    if latents > limits.max_latents:
        most = f"the model's window of {limits.max_latents} latents ({limits.max_latents * factor} frames)"
        reason = f"{segment.name} has {latents} latents, more than {most}: make it of several segments"
        fail(file, segment.line_of("num_frames", "latents"), reason)
    return latents


def rate_of(storyboard: Storyboard, segment: Segment, limits: ModelLimits, latents: int) -> float:
    """At how many video tokens a context token a segment is remembered.

    Raises:
        ValueError: if it is below one, or more than the segment has tokens.
    """
    rates = (segment.rate, storyboard.rate, limits.rate)
    rate = next(rate for rate in rates if rate is not None)
    tokens = latents * limits.tokens_per_latent
    if not 1 <= rate <= tokens:
        reason = "leaves no token" if rate > tokens else "is below 1"
        rule = f"{segment.name} has {tokens} video tokens, so use 1 to {tokens}"
        of_all = segment.rate is None and storyboard.rate is not None
        line = storyboard.lines["rate"] if of_all else segment.line_of("rate")
        fail(storyboard.file, line, f"rate={rate:g} {reason}: {rule}")
    return rate
