"""Small inputs that are the same every time, and the comparisons and errors that all batteries share.

Axes: b batch, c channels, f frames, h height, w width (latents), s segments, l text tokens, e text features.
"""

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import torch
from torch import Tensor, nn

from networks.interfaces import Condition, Context, SegmentBatch

Asked = ParamSpec("Asked")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def require(holds: bool, sentence: str) -> None:
    """Fails with a sentence unless something holds; unlike `assert`, with `python -O` too."""
    if not holds:
        fail(sentence)


def fail(sentence: str) -> NoReturn:
    """Ends a battery.

    Args:
        sentence: what is wrong.

    Raises:
        AssertionError: with the sentence.
    """
    raise AssertionError(sentence)


def battery(check: Callable[Asked, None]) -> Callable[Asked, None]:
    """Ends a battery in one sentence too where the part ends in an error of its own, whose trace stays above it."""

    @functools.wraps(check)
    def tried(*args: Asked.args, **kwargs: Asked.kwargs) -> None:
        try:
            check(*args, **kwargs)
        except AssertionError:
            raise
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            where = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
            place = f"{Path(where.filename).name}:{where.lineno}, in {where.name}"
            raise AssertionError(f"{type(error).__name__} ({place}): {' '.join(str(error).split())}") from error

    return tried


def built(make: Callable[[], Any], kind: type) -> Any:
    """The part that a battery is given the builder of.

    Args:
        make: builds it.
        kind: what it must be.

    Returns:
        The part.

    Raises:
        AssertionError: if it is built already.
    """
    is_built = isinstance(make, kind) and not isinstance(make, type)
    require(not is_built, f"give what builds the part, such as `lambda: {type(make).__name__}(…)`, and not a built one")
    return make()


def require_tensor(made: object, what: str) -> None:
    """Fails unless something is a tensor; what: who made it, such as "encode"."""
    require(isinstance(made, Tensor), f"{what} returns {type(made).__name__}, and must return a tensor")


def close(one: Tensor, other: Tensor, *, rtol: float = CLOSE["rtol"], atol: float = CLOSE["atol"]) -> bool:
    """Whether two tensors of one shape hold nearly the same numbers."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=rtol, atol=atol)


def furthest(one: Tensor, other: Tensor) -> float:
    """The largest difference between two tensors of one shape."""
    return float((one - other).abs().max())


def randomize_(network: nn.Module, *, seed: int = 0, scale: float = 0.2) -> nn.Module:
    """Adds noise to every trainable parameter, in place: gates that begin at zero would hide what lies behind them.

    Args:
        network: network whose parameters are changed.
        seed: seed of the noise.
        scale: its standard deviation.

    Returns:
        The network.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return network


def example(
    frames: int,
    *,
    channels: int = 4,
    text_features: int = 6,
    batch: int = 2,
    seed: int = 0,
    height: int = 4,
    width: int = 4,
) -> tuple[Tensor, Tensor, Condition]:
    """What a network is called with: a noisy video, its times, and a condition of three text tokens a row.

    Args:
        frames: latent frames.
        channels: channels of the latents.
        text_features: features of a text token.
        batch: rows; each has a time of its own, from 0.3 to 0.9.
        seed: seed of the noise.
        height: latent places.
        width: latent places.

    Returns:
        noisy b c f h w, time b f, condition.
    """
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randn(batch, channels, frames, height, width, generator=generator)
    time = torch.linspace(0.3, 0.9, batch).unsqueeze(1).expand(-1, frames)
    text = torch.randn(batch, 3, text_features, generator=generator)
    index = torch.arange(frames, dtype=torch.float32).expand(batch, -1)
    return noisy, time, Condition(index, text, torch.ones(batch, 3, dtype=torch.bool))


def segments_at(
    starts: list[int],
    *,
    shots: list[int] | None = None,
    channels: int = 4,
    text_features: int = 6,
    batch: int = 2,
    seed: int = 1,
    height: int = 4,
    width: int = 4,
) -> SegmentBatch:
    """Segments of four frames that begin at these places, in shots of these numbers: shot 0 for all if None."""
    generator = torch.Generator().manual_seed(seed)
    count = len(starts)
    index = torch.tensor(starts, dtype=torch.float32)[:, None] + torch.arange(4)
    return SegmentBatch(
        video=torch.randn(batch, count, channels, 4, height, width, generator=generator),
        frame_index=index.expand(batch, -1, -1),
        text=torch.randn(batch, count, 3, text_features, generator=generator),
        text_mask=torch.ones(batch, count, 3, dtype=torch.bool),
        shot=torch.tensor(shots or [0] * count).expand(batch, -1),
        valid=torch.ones(batch, count, dtype=torch.bool),
    )


def context_example(
    frames: int,
    *,
    channels: int = 4,
    text_features: int = 6,
    batch: int = 2,
    seed: int = 0,
    height: int = 4,
    width: int = 4,
) -> tuple[Tensor, Tensor, Condition]:
    """A noisy video beside three finished segments: one before a cut, at ratio 8, and two of its own shot, at ratio 4.

    Of those two, one lies before the video and one behind it, from frame 16 on. Each has its own level of noise. The
    last row lacks the one behind, and its text for the one before is a word shorter: so masks are tried too.

    Args:
        frames: latent frames of the video.
        channels: of the latents.
        text_features: width of a text token's features.
        batch: rows.
        seed: of all numbers; segments take the two seeds after it.
        height: of the latents.
        width: of the latents.

    Returns:
        noisy b c f h w, time b f, condition, whose context holds the segments.
    """
    sizes: dict[str, Any] = {
        "channels": channels,
        "text_features": text_features,
        "batch": batch,
        "height": height,
        "width": width,
    }
    noisy, time, condition = example(frames, seed=seed, **sizes)
    before = Context(segments_at([-12], shots=[-1], seed=seed + 1, **sizes), torch.zeros(batch, 1), 8.0)
    beside = segments_at([-4, 16], seed=seed + 2, **sizes)
    level = torch.linspace(0.0, 0.3, 2 * batch).view(batch, 2)
    valid, known = beside.valid.clone(), beside.text_mask.clone()
    valid[-1, 1] = False
    known[-1, 0, -1] = False
    here = Context(beside._replace(valid=valid, text_mask=known), level, 4.0)
    return noisy, time, condition._replace(shot=torch.zeros(batch, dtype=torch.long), context=(before, here))
