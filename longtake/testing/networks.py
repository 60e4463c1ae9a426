"""What every video network must do, whatever is inside it.

Axes: b batch, c channels, f frames, h height, w width (latents).
"""

from collections.abc import Callable, Collection, Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from longtake.testing.inputs import (
    battery,
    built,
    close,
    context_example,
    example,
    fail,
    furthest,
    randomize_,
    require,
    require_tensor,
)
from networks.interfaces import Condition, Context, SegmentBatch, VideoNetwork

Loss = Callable[[VideoNetwork, Tensor, Tensor, Condition], Tensor]


class _Case(NamedTuple):
    """A network under test, and how it is called."""

    make: Callable[[], VideoNetwork]
    network: VideoNetwork
    inputs: Callable[..., tuple[Tensor, Tensor, Condition]]
    remembers: bool
    ignores: Collection[str]
    loss: Loss
    scale: float

    def __call__(self, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
        made: Tensor = self.network(noisy, time, condition)
        return made


def training_loss(network: VideoNetwork, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
    """What gradients are looked for by, unless a loss is given: the prediction's mean square and the own losses."""
    prediction = network.predict(noisy, time, condition)
    own = [loss_of(noisy).mean() for loss_of in prediction.losses.values()]
    return torch.stack([prediction.target.square().mean(), *own]).sum()


@battery
def check_network(
    make: Callable[[], VideoNetwork],
    *,
    channels: int = 4,
    text_features: int = 6,
    height: int = 4,
    width: int = 4,
    remembers: bool | None = None,
    per_frame: Mapping[str, int] = MappingProxyType({}),
    ignores: Collection[str] = (),
    loss: Loss = training_loss,
    scale: float = 0.2,
) -> None:
    """Runs a network of `networks.interfaces.VideoNetwork` through every rule.

    Args:
        make: builds the network anew, always of the same sizes.
        channels: channels of its latents.
        text_features: features of a text token.
        height: latent places to try; twice as many fit too, or are refused by ValueError.
        width: the same.
        remembers: whether it is given finished segments to remember; None: if it says so by `has_memory`.
        per_frame: further inputs of every frame by name, such as "control", and how many numbers a latent frame has.
        ignores: inputs that it does not use, of "text" and "frame_index".
        loss: what training would add up, of network, noisy video, time and condition; every trainable parameter must
            get a gradient from it.
        scale: noise that is added to every trainable parameter first; see `randomize_`.

    Raises:
        AssertionError: for the first rule that is broken, in one sentence.
    """
    network = built(make, nn.Module)
    require(
        isinstance(network, VideoNetwork),
        f"{type(network).__name__} must be a networks.interfaces.VideoNetwork: rollouts and training ask it what it is",
    )
    randomize_(network, scale=scale)
    remembers = network.has_memory if remembers is None else remembers
    sizes = {"channels": channels, "text_features": text_features, "height": height, "width": width}

    def inputs(frames: int, **changes: int) -> tuple[Tensor, Tensor, Condition]:
        noisy, time, condition = (context_example if remembers else example)(frames, **{**sizes, **changes})
        draw, rows = torch.Generator().manual_seed(frames), len(noisy)
        numbers = {name: torch.randn(rows, frames, count, generator=draw) for name, count in per_frame.items()}
        return noisy, time, condition._replace(per_frame=numbers)

    case = _Case(make, network, inputs, remembers, ignores, loss, scale)
    for rule in (*_IN_EVALUATION, *(_OF_MEMORY if remembers else ())):
        network.eval()
        with torch.no_grad():
            rule(case)
    for rule in _IN_TRAINING:
        network.train().zero_grad()
        rule(case)


def _keeps_shape(case: _Case) -> None:
    """A prediction for every frame, of any number of frames."""
    for frames in (1, 3, 4, 7, 12):
        noisy, time, condition = case.inputs(frames)
        made = case(noisy, time, condition)
        require_tensor(made, "the network")
        require(
            made.shape == noisy.shape,
            f"the prediction has shape {tuple(made.shape)} for a video of {tuple(noisy.shape)}: both must be alike",
        )
        require(bool(made.isfinite().all()), f"the prediction of {frames} frames holds NaN or infinity")


def _takes_or_refuses_sizes(case: _Case) -> None:
    """Sides of other sizes are taken, or refused by ValueError."""
    height, width = case.inputs(1)[0].shape[3:]
    for sides in ((2 * height, width), (height, width + 1), (height + 1, width)):
        noisy, time, condition = case.inputs(2, height=sides[0], width=sides[1])
        try:
            made = case(noisy, time, condition)
        except ValueError:
            continue
        except Exception as error:
            fail(f"latents of {sides[0]} x {sides[1]} end in {type(error).__name__}: refuse them by ValueError")
        require(made.shape == noisy.shape, f"latents of {sides[0]} x {sides[1]} come back as {tuple(made.shape)}")


def _is_a_function(case: _Case) -> None:
    """The same inputs give the same prediction, whatever was asked before, and are left as they were."""
    noisy, time, condition = case.inputs(9)
    kept = noisy.clone(), condition.text.clone(), condition.frame_index.clone()
    made = case(noisy, time, condition)
    same = (torch.equal(a, b) for a, b in zip(kept, (noisy, condition.text, condition.frame_index), strict=True))
    require(all(same), "the network changes its inputs in place")
    case(*case.inputs(5, seed=3))
    require(
        torch.equal(case(noisy, time, condition), made),
        "in evaluation mode the same inputs give another prediction after another call: it must keep no state and draw "
        "nothing",
    )


def _is_its_state_dict(case: _Case) -> None:
    """Weights make the network: a new one with the same state predicts the same."""
    inputs = case.inputs(6)
    other = case.make().eval()
    other.load_state_dict(case.network.state_dict())
    require(
        close(other(*inputs), case(*inputs)),
        "a new network with the same state_dict predicts something else: register everything as parameter or buffer",
    )


def _rows_are_strangers(case: _Case) -> None:
    """A row's prediction does not depend on the others in its batch."""
    noisy, time, condition = case.inputs(9, batch=3)
    together = case(noisy, time, condition)
    for rows in ([2, 0, 1], [1]):
        made = case(noisy[rows], time[rows], rows_of(condition, rows))
        require(
            close(made, together[rows]),
            f"rows of a batch depend on one another: rows {rows} alone differ by {furthest(made, together[rows]):.2g}",
        )


def _takes_one_time_for_all(case: _Case) -> None:
    """A time of 1 1 is that time for every frame of every row."""
    noisy, _, condition = case.inputs(9)
    shared = case(noisy, torch.full((1, 1), 0.6), condition)
    each = case(noisy, torch.full((len(noisy), 9), 0.6), condition)
    same = close(shared, each, atol=5e-5)  # what is computed once rounds otherwise than for each frame
    require(same, "time of shape 1 1 is not the same as that time for every frame")


def _uses_what_it_is_given(case: _Case) -> None:
    """Time, text, the frames' places and further inputs of them change the prediction."""
    noisy, time, condition = case.inputs(9)
    made = case(noisy, time, condition)
    silent = condition.without("text")
    apart = condition._replace(frame_index=condition.frame_index * 2)
    changes = {
        "time": (noisy, time * 0.5, condition),
        "text": (noisy, time, silent),
        "frame_index": (noisy, time, apart),
        **{f"per_frame[{name!r}]": (noisy, time, condition.without(name)) for name in condition.per_frame},
    }
    for name, inputs in changes.items():
        changed = case(*inputs)
        require(bool(changed.isfinite().all()), f"with another {name} the prediction holds NaN or infinity")
        if name not in case.ignores:
            require(
                furthest(changed, made) > 1e-4, f"{name} makes no difference: if that is meant, name it in `ignores`"
            )


def _pads_text_for_nothing(case: _Case) -> None:
    """Text tokens outside the mask change nothing."""
    noisy, time, condition = case.inputs(9)
    assert condition.text_mask is not None
    text, mask = _padded(condition.text, condition.text_mask)
    made = case(noisy, time, condition._replace(text=text, text_mask=mask))
    require(close(made, case(noisy, time, condition)), "text tokens outside of text_mask change the prediction")


def _does_not_see_masked_frames(case: _Case) -> None:
    """What lies in frames outside frame_mask changes nothing in the others."""
    noisy, time, condition = case.inputs(6)
    condition = condition._replace(frame_mask=(torch.arange(6) > 1).expand(len(noisy), -1))
    changed = noisy.clone()
    changed[:, :, :2] = 9.0
    kept = case(noisy, time, condition)[:, :, 2:]
    require(
        close(case(changed, time, condition)[:, :, 2:], kept),
        "frames outside of condition.frame_mask change the prediction of the frames inside it",
    )


def _survives_half_precision(case: _Case) -> None:
    """Under bfloat16 autocast the prediction is finite and near that of full precision."""
    inputs = case.inputs(8)
    full = case(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = case(*inputs)
    error = float((half - full).square().mean() / full.square().mean().clamp(min=1e-12))
    require(bool(half.isfinite().all()), "under bfloat16 autocast the prediction holds NaN or infinity")
    require(error < 0.01, f"under bfloat16 autocast the prediction is off by {error:.1%} of its power: 1 % is the most")


def _teaches_every_parameter(case: _Case) -> None:
    """Every trainable parameter gets a gradient, in full and in half precision."""
    case.loss(case.network, *case.inputs(8)).backward()
    for name, parameter in case.network.named_parameters():
        if parameter.requires_grad:
            found = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            require(found, f"no gradient reaches {name}: use it, freeze it, or give the `loss` that teaches it")
    case.network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = case.loss(case.network, *case.inputs(8))
    loss.backward()
    for name, parameter in case.network.named_parameters():
        found = parameter.grad is None or bool(parameter.grad.isfinite().all())
        require(found, f"under bfloat16 autocast the gradient of {name} holds NaN or infinity")


def _remembers(case: _Case) -> None:
    """Each thing about remembered segments makes a difference."""
    noisy, time, condition = case.inputs(9)
    made = case(noisy, time, condition)
    changes: dict[str, Callable[[SegmentBatch], SegmentBatch]] = {
        "video": lambda s: s._replace(video=s.video.flip(2)),
        "text": lambda s: s._replace(text=-s.text),
        "shot": lambda s: s._replace(shot=torch.zeros_like(s.shot)),
        "valid": lambda s: s._replace(valid=torch.zeros_like(s.valid)),
    }
    for name, change in changes.items():
        difference = furthest(case(noisy, time, with_segments(condition, change)), made)
        require(difference > 1e-4, f"the {name} of remembered segments makes no difference")
    levels = tuple(each._replace(level=each.level + 0.3) for each in condition.context)
    difference = furthest(case(noisy, time, condition._replace(context=levels)), made)
    require(difference > 1e-4, "the noise level of remembered segments makes no difference")


def _remembers_nothing_that_is_not_there(case: _Case) -> None:
    """Slots that hold no segment, and padding of a segment's text, change nothing."""
    noisy, time, condition = case.inputs(6)
    made = case(noisy, time, condition)

    def fill(segments: SegmentBatch) -> SegmentBatch:
        empty = ~segments.valid[..., None, None, None, None]
        return segments._replace(video=torch.where(empty, 9.0, segments.video))

    def pad(segments: SegmentBatch) -> SegmentBatch:
        text, mask = _padded(segments.text, segments.text_mask)
        return segments._replace(text=text, text_mask=mask)

    filled = case(noisy, time, with_segments(condition, fill))
    require(close(filled, made), "slots of condition.context that hold no segment (valid is False) are remembered")
    padded = case(noisy, time, with_segments(condition, pad))
    require(close(padded, made), "text tokens of remembered segments outside of text_mask change the prediction")


_IN_EVALUATION = (
    _keeps_shape,
    _takes_or_refuses_sizes,
    _is_a_function,
    _is_its_state_dict,
    _rows_are_strangers,
    _takes_one_time_for_all,
    _uses_what_it_is_given,
    _pads_text_for_nothing,
    _does_not_see_masked_frames,
    _survives_half_precision,
)
_OF_MEMORY = (_remembers, _remembers_nothing_that_is_not_there)
_IN_TRAINING = (_teaches_every_parameter,)


def rows_of(condition: Condition, rows: list[int]) -> Condition:
    """Some rows of a condition, with those of its segments."""
    some = itemgetter(rows)
    return condition._replace(
        frame_index=some(condition.frame_index),
        text=some(condition.text),
        text_mask=None if condition.text_mask is None else some(condition.text_mask),
        shot=None if condition.shot is None else some(condition.shot),
        context=tuple(Context(each.segments.map(some), some(each.level), each.rate) for each in condition.context),
        per_frame={name: some(values) for name, values in condition.per_frame.items()},
    )


def with_segments(condition: Condition, change: Callable[[SegmentBatch], SegmentBatch]) -> Condition:
    """A condition whose remembered segments are changed."""
    return condition._replace(
        context=tuple(each._replace(segments=change(each.segments)) for each in condition.context)
    )


def _padded(text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([text, torch.full_like(text, 7.0)], dim=-2), torch.cat([mask, torch.zeros_like(mask)], dim=-1)
