"""The batteries of longtake.testing: the project's own parts pass them, and each planted fault is named."""

import pytest
import torch
from builders import tiny_dit
from composing import options_of
from hydra.utils import instantiate
from parts import CODECS, METRICS, NETWORKS, ROLLOUTS, SAMPLERS, SET_METRICS, loss
from torch import nn

from longtake.metrics.per_video import Measured, PerVideoMean, check_video, floats
from longtake.rollouts.plan import CanvasPlan
from longtake.rollouts.rollout import Rollout
from longtake.samplers import Euler
from longtake.testing import (
    check_codec,
    check_metric,
    check_network,
    check_rollout,
    check_sampler,
    check_set_metric,
)
from networks.codecs.pixels import PixelCodec
from networks.interfaces import VideoNetwork


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_passes(name):
    alone = {"remembers": False} if name.endswith("window_alone") else {}  # it has nothing to remember by
    check_network(NETWORKS[name], loss=loss, **alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROLLOUTS)
def test_every_rollout_passes(name):
    check_rollout(ROLLOUTS[name])


def test_no_rollout_of_conf_is_left_out():
    assert set(options_of("rollout")) <= {name.split()[0] for name in ROLLOUTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", CODECS)
def test_every_codec_passes(name, tmp_path):
    # Hunyuan's group norms average over all frames, so that the first latents are nearly, but not quite, their own.
    check_codec(CODECS[name](tmp_path), prefix=name != "hunyuan")


@pytest.mark.slow
@pytest.mark.parametrize("name", METRICS)
def test_every_metric_passes(name):
    check_metric(METRICS[name])


@pytest.mark.parametrize("name", SET_METRICS)
def test_every_distance_between_sets_passes(name):
    check_set_metric(SET_METRICS[name])


def test_no_metric_is_left_out():
    kinds = {type(make()) for make in (*METRICS.values(), *SET_METRICS.values())}
    everywhere = {*PerVideoMean.__subclasses__()}
    while inner := {each for kind in everywhere for each in kind.__subclasses__()} - everywhere:
        everywhere |= inner
    ours = {kind for kind in everywhere if kind.__module__.startswith("longtake.") and kind.about}
    without_weights = {"VideoLPIPS"}  # AlexNet's are on no machine that tests
    assert {kind.__name__ for kind in ours - kinds} == without_weights


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_passes(name):
    check_sampler(SAMPLERS[name])


# Planted faults


class Planted(VideoNetwork):
    """A network around a DiT that does something wrong."""

    def __init__(self, fault):
        super().__init__()
        self.inner, self.fault, self.calls = tiny_dit(), fault, 0
        self.unused = nn.Linear(2, 2) if fault == "unused" else None
        self.hidden = torch.randn(1)

    def forward(self, noisy, time, condition):
        self.calls += 1
        if self.fault == "in place":
            noisy.mul_(1.0001)
        if self.fault == "text mask":
            some = condition.text_mask.any(dim=1, keepdim=True)
            condition = condition._replace(text_mask=some.expand_as(condition.text_mask))
        if self.fault == "frame mask":
            condition = condition._replace(frame_mask=None)
        if self.fault == "crash":
            assert noisy.shape[3] == 4
        made = self.inner(noisy, time, condition)
        return {
            "short": lambda: made[:, :, :-1],
            "batch": lambda: made + noisy.mean(),
            "state": lambda: made + 0.01 * self.calls,
            "hidden": lambda: made + self.hidden,
            "time": lambda: self.inner(noisy, torch.full_like(time, 0.5), condition),
            "half": lambda: made + (0.5 if torch.is_autocast_enabled("cpu") else 0.0),
        }.get(self.fault, lambda: made)()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("short", "the prediction has shape"),
        ("in place", "changes its inputs in place"),
        ("text mask", "outside of text_mask change"),
        ("frame mask", "outside of condition.frame_mask change"),
        ("crash", "end in AssertionError: refuse them by ValueError"),
        ("batch", "rows of a batch depend on one another"),
        ("state", "must keep no state"),
        ("hidden", "register everything as parameter or buffer"),
        ("time", "time makes no difference"),
        ("half", "under bfloat16 autocast the prediction is off"),
        ("unused", "no gradient reaches unused.weight"),
    ],
)
def test_a_faulty_network_is_told_what_is_wrong(fault, sentence):
    with pytest.raises(AssertionError, match=sentence) as caught:
        check_network(lambda: Planted(fault))
    assert "\n" not in str(caught.value)


class Forgetful(VideoNetwork):
    """Says that it has a memory, and has none."""

    has_memory = True

    def __init__(self):
        super().__init__()
        self.inner = tiny_dit()

    def forward(self, noisy, time, condition):
        return self.inner(noisy, time, condition)


def test_a_network_that_remembers_nothing_has_no_memory():
    with pytest.raises(AssertionError, match="the video of remembered segments makes no difference"):
        check_network(Forgetful)


def test_a_module_that_is_no_network_is_named():
    with pytest.raises(AssertionError, match=r"Linear must be a networks\.interfaces\.VideoNetwork"):
        check_network(lambda: nn.Linear(2, 2))


class Halves(Rollout):
    """Two canvases, the second of which knows the first one's last frame; wrong in a way of its own."""

    network_part = ""

    def __init__(self, fault=""):
        self.fault = fault

    def plan(self, num_latents):
        if num_latents == 1:
            return (CanvasPlan((0,)),)
        middle = num_latents // 2
        first, second = tuple(range(middle)), tuple(range(middle - 1, num_latents))
        if self.fault == "twice":
            return CanvasPlan(first), CanvasPlan(second)
        if self.fault == "early":
            return CanvasPlan((*first, middle), known=(middle,)), CanvasPlan(second, known=(0,))
        return CanvasPlan(first), CanvasPlan(second, known=(0,))

    def __call__(self, generate, canvas):
        made = super().__call__(generate, canvas)
        return made.flip(2) if self.fault == "order" else made


@pytest.mark.slow
def test_a_rollout_needs_a_plan_alone():
    check_rollout(Halves)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("twice", "makes latent frame 0 again"),
        ("early", "before a canvas has made it"),
        ("order", "is not what canvas 1 made"),
    ],
)
def test_a_faulty_rollout_is_told_what_is_wrong(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_rollout(lambda: Halves(fault))


class Codec(PixelCodec):
    """The codec of pixels, wrong in a way of its own."""

    def __init__(self, fault):
        super().__init__(channels=3)
        self.fault = fault

    def encode(self, video):
        if self.fault == "future":
            return super().encode(video) + video.mean(dim=2, keepdim=True)
        return super().encode(video)

    def decode(self, latents):
        return {"range": 2 * latents, "future": latents.clamp(-1, 1)}.get(self.fault, latents)

    def decode_stream(self, latents):
        yield from reversed(list(latents.split(1, dim=2))) if self.fault == "stream" else latents.split(1, dim=2)

    @property
    def fingerprint(self):
        return "" if self.fault == "fingerprint" else "mine"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("future", "frames must not be seen by those before them"),
        ("range", r"outside of \[-1, 1\]"),
        ("stream", "decode_stream differs from decode"),
        ("fingerprint", "fingerprint is ''"),
    ],
)
def test_a_faulty_codec_is_told_what_is_wrong(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_codec(Codec(fault))


class Brightness(PerVideoMean):
    """The mean pixel, wrong in a way of its own."""

    about = "the mean pixel of a video, from -1 to 1"
    higher_is_better = None

    def __init__(self, fault=""):
        super().__init__()
        self.fault, self.seen = fault, 0.0
        if fault == "about":
            self.about = ""

    def measure(self, video):
        if self.fault != "unchecked":
            check_video(video, where="brightness")
        if self.fault == "in place":
            video.clamp_(-0.1, 0.1)
        self.seen += 1.0
        found = float((video.float() if self.fault == "uint8" else floats(video)).mean())
        return Measured(found + (self.seen if self.fault == "state" else 0.0))


def test_a_metric_needs_a_measure_alone():
    check_metric(Brightness)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("about", "say in half a line what the score means"),
        ("unchecked", "is scored: refuse it by ValueError"),
        ("in place", "changes the videos in place"),
        ("uint8", r"see longtake\.metrics\.per_video\.floats"),
        ("state", "every video must count once"),
    ],
)
def test_a_faulty_metric_is_told_what_is_wrong(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_metric(lambda: Brightness(fault))


class Lazy(Euler):
    """A sampler that stops half way, or moves what it is given."""

    def __init__(self, fault):
        super().__init__(num_inference_steps=30, shift=1.0, last_time=0.5 if fault == "half way" else 0.0)
        self.fault = fault

    def __call__(self, denoise, noise, **settings):
        made = super().__call__(denoise, noise, **settings)
        return made + 1e-3 if self.fault == "moves" else made


@pytest.mark.parametrize(("fault", "sentence"), [("half way", "leads to pixels"), ("moves", "do not stay as they are")])
def test_a_faulty_sampler_is_told_what_is_wrong(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_sampler(lambda: Lazy(fault))


def test_parts_are_built_from_conf_as_they_are_checked():
    from composing import composed

    assert type(ROLLOUTS["single_pass"]()) is type(instantiate(composed("train", "rollout=single_pass").rollout))


class Planned(Rollout):
    """A rollout whose plan is what it is given."""

    def __init__(self, plan):
        self.given = plan

    def plan(self, num_latents):
        return self.given


@pytest.mark.parametrize(
    ("check", "part", "sentence"),
    [
        (check_rollout, lambda: Planned(None), r"plan\(1\) is None, and must be a tuple of CanvasPlan"),
        (check_rollout, lambda: Planned(CanvasPlan((0,))), "and must be a tuple of CanvasPlan"),
        (check_rollout, lambda: Planned((CanvasPlan((0.0,)),)), "must have whole numbers"),
        (check_rollout, lambda: Planned((CanvasPlan((0,), known=(9,)),)), "known or empty slots outside of its frames"),
        (check_rollout, Planned(()), r"give what builds the part, such as `lambda: Planned\(…\)`"),
        (check_rollout, Planned, r"TypeError \(.*missing 1 required positional argument: 'plan'"),
        (check_sampler, lambda: lambda *_, **__: None, "the sampler returns NoneType, and must return a tensor"),
        (check_sampler, Euler(num_inference_steps=3), "give what builds the sampler"),
        (check_codec, PixelCodec, r"give a built codec, such as PixelCodec\(…\)"),
        (check_codec, nn.Identity(), "time_factor is None, and must be a whole number"),
        (check_network, tiny_dit(), "give what builds the part"),
    ],
)
def test_what_is_no_part_at_all_is_told_so(check, part, sentence):
    with pytest.raises(AssertionError, match=sentence) as caught:
        check(part)
    assert "\n" not in str(caught.value)


class Unmeasured(PerVideoMean):
    """A metric that returns a bare number."""

    about = "a number of no meaning"
    higher_is_better = None

    def measure(self, video):
        return 1.0


def test_a_metric_returns_what_it_measured():
    with pytest.raises(AssertionError, match=r"measure returns 1\.0, and must return a Measured"):
        check_metric(Unmeasured)


def test_an_error_of_a_parts_own_keeps_its_trace():
    def broken():
        raise KeyError("width")

    with pytest.raises(AssertionError, match=r"KeyError \(test_batteries.py:\d+, in broken\): 'width'") as caught:
        check_rollout(broken)
    assert isinstance(caught.value.__cause__, KeyError)
