"""No mask where nothing is masked, and nothing in a step that a device would have to be waited for."""

import pytest
import torch
from builders import context, example, masked_calls, tiny_dit, tiny_lovic, tiny_vin
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from networks.interfaces import Context, VideoBatch

NETWORKS = {
    "dit": lambda: tiny_dit(depth=1),
    "vin": lambda: tiny_vin(plan=True, depth=1, token_dropout=0.1, context_loss_rate=0.5),
    "lovic": lambda: tiny_lovic(tiny_dit(depth=1), low_resolution=True),
    "vin_lovic": lambda: tiny_lovic(tiny_vin(depth=1)),
}
ALL = pytest.mark.parametrize("name", NETWORKS)
GUIDED = ("memory", "global_tokens", "control")


def complete(frames: int = 8):
    """Inputs without padding: every frame, segment and token is there."""
    noisy, time, condition = example(frames)
    before = context([-8, -4])
    return (
        noisy,
        time,
        condition._replace(
            text_mask=None, shot=torch.zeros(2, dtype=torch.long), context=(before._replace(complete=True),)
        ),
    )


def on_meta(value):
    """The same on the device meta, where attention is never written out and no value can be looked at."""
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if isinstance(value, Context):
        segments = value.segments.map(on_meta)
        return value._replace(segments=segments, level=on_meta(value.level))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(on_meta(each) for each in value))
    return tuple(on_meta(each) for each in value) if isinstance(value, tuple) else value


def training_step(network, noisy, time, condition):
    made = network.predict(noisy, time, condition)
    loss = made.target.square().mean() + sum(each(noisy) for each in made.losses.values())
    loss.backward()


def sampling_step(network, noisy, time, condition):
    with torch.no_grad():
        encoded = network.encode_context(condition)
        for names in ((), *((name,) for name in GUIDED), GUIDED):
            network(noisy, time, encoded.without(*names))


@pytest.mark.slow
@ALL
def test_a_step_without_padding_has_no_mask(name):
    network = NETWORKS[name]().to("meta")
    noisy, time, condition = (on_meta(each) for each in complete())
    for mode, step in ((True, training_step), (False, sampling_step)):
        network.train(mode)
        masked, calls = masked_calls(lambda step=step: step(network, noisy, time, condition))
        assert calls >= 2
        assert masked == 0


@ALL
def test_what_pads_is_masked(name):
    network = NETWORKS[name]().to("meta")
    noisy, time, condition = complete()
    condition = condition._replace(text_mask=torch.ones(2, 3, dtype=torch.bool))
    inputs = [on_meta(each) for each in (noisy, time, condition)]
    assert masked_calls(lambda: training_step(network, *inputs))[0] > 0


def test_without_text_the_text_alone_is_masked():
    network = NETWORKS["vin"]().to("meta").eval()
    noisy, time, condition = (on_meta(each) for each in complete())
    silent = condition.without("text")
    with torch.no_grad():
        masked, _ = masked_calls(lambda: network(noisy, time, silent))
    # The text of each block, in the opening window and the others, and in the interface's processor.
    assert masked == 2 * len(network.backbone.blocks) + len(network.interface.processor)


def test_tokens_that_are_dropped_are_masked_and_others_are_not():
    network = NETWORKS["vin"]().to("meta").train()
    noisy, time, condition = (on_meta(each) for each in complete())
    dropped = condition._replace(events={"global_tokens_dropped": torch.ones(2, dtype=torch.bool, device="meta")})
    blocks = 2 * len(network.backbone.blocks)  # of the opening window, and of the others
    assert masked_calls(lambda: training_step(network, noisy, time, dropped))[0] == blocks


def test_a_compressor_restores_without_a_mask():
    compressor = tiny_lovic().compressor.to("meta")
    _, _, condition = complete()
    segment: VideoBatch = on_meta(condition.context[0].segments.fold()._replace(text_mask=None))
    level = torch.zeros(len(segment.video), device="meta")
    masked, calls = masked_calls(lambda: compressor(segment, level, 4.0).video.mean().backward())
    assert calls == 2
    assert masked == 0


@pytest.mark.slow
@ALL
def test_a_step_waits_for_no_device(name):
    with FakeTensorMode():
        network = NETWORKS[name]()
        inputs = complete()
        for mode, step in ((True, training_step), (False, sampling_step)):
            step(network.train(mode), *inputs)


def test_a_wait_is_seen():
    with FakeTensorMode():
        _, time, _ = complete()
        with pytest.raises(DataDependentOutputException):
            bool(time.any())
