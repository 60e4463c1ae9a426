"""One battery over every network, and what is particular to the DiT."""

from operator import itemgetter

import pytest
import torch
from builders import CHANNELS, awake, example, remembering_example, tiny_dit, tiny_lovic, tiny_vin

from networks.interfaces import Condition, Context, ContextTokens, VideoBatch
from networks.lovic import LoViCNetwork
from networks.rope import RotaryEmbedding3D, rotate, with_unplaced

NETWORKS = {
    "dit": tiny_dit,
    "dit_checkpointed": lambda: tiny_dit(checkpoint_activations=True),
    "vin": tiny_vin,
    "vin_plan": lambda: tiny_vin(plan=True),
    "vin_fused": lambda: tiny_vin(fusion="early"),
    "lovic": tiny_lovic,
    "lovic_low_resolution": lambda: tiny_lovic(low_resolution=True),
    "lovic_window_alone": lambda: tiny_lovic(memory=False),
    "vin_lovic": lambda: tiny_lovic(tiny_vin(plan=True), low_resolution=True),
}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=NETWORKS, scope="module")
def network(request):
    return awake(NETWORKS[request.param]())


@pytest.fixture
def inputs(network):
    """Makes what the network is called with: finished segments too, for those that remember."""
    return remembering_example if isinstance(network, LoViCNetwork) else example


def remembers(network):
    return isinstance(network, LoViCNetwork) and network.compressor is not None


def rows_of(condition, rows):
    own = [None if x is None else x[rows] for x in condition[:5]]
    context = [Context(c.segments.map(itemgetter(rows)), c.level[rows], c.rate) for c in condition.context]
    return Condition(*own, context=tuple(context))


def with_segments(condition, change):
    return condition._replace(context=tuple(c._replace(segments=change(c.segments)) for c in condition.context))


def padded(text, mask):
    return torch.cat([text, torch.full_like(text, 7.0)], dim=-2), torch.cat([mask, torch.zeros_like(mask)], dim=-1)


def loss_of(network, noisy, time, condition):
    """What training adds up: prediction, plan, and a segment compressed and restored."""
    prediction = network.predict(noisy, time, condition)
    loss = prediction.target.square().mean() + sum(each(noisy) for each in prediction.losses.values())
    if remembers(network):
        context = condition.context[0]
        restored = network.compressor(VideoBatch(*(x[:, 0] for x in context.segments[:4])), context.level[:, 0], 4.0)
        loss = loss + restored.video.square().mean() + restored.text.square().mean()
    return loss


@pytest.mark.parametrize(("frames", "side"), [(1, (4, 4)), (3, (6, 2)), (4, (4, 4)), (7, (2, 6)), (12, (4, 4))])
def test_shape_is_kept_for_any_length_and_side(network, inputs, frames, side):
    noisy, time, condition = inputs(frames, side=side)
    assert network.eval()(noisy, time, condition).shape == noisy.shape


def test_gradient_reaches_every_parameter(network, inputs):
    network.train().zero_grad()
    loss_of(network, *inputs(8)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.slow
def test_rows_of_a_batch_know_nothing_of_one_another(network, inputs):
    network.eval()
    noisy, time, condition = inputs(9, batch=3)
    together = network(noisy, time, condition)
    for rows in ([2, 0, 1], [1]):
        made = network(noisy[rows], time[rows], rows_of(condition, rows))
        torch.testing.assert_close(made, together[rows], **CLOSE)


def test_one_time_for_all_is_the_time_of_every_frame(network, inputs):
    network.eval()
    noisy, _, condition = inputs(9)
    expected = network(noisy, torch.full((2, 9), 0.6), condition)
    shared = torch.full((1, 1), 0.6)
    torch.testing.assert_close(network(noisy, shared, condition), expected, **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(network(noisy, shared, condition), expected, **CLOSE)


def test_padded_text_changes_nothing(network, inputs):
    network.eval()
    noisy, time, condition = inputs(9)
    made = network(noisy, time, condition)
    text, mask = padded(condition.text, condition.text_mask)
    longer = condition._replace(text=text, text_mask=mask)

    def pad(segments):
        text, mask = padded(segments.text, segments.text_mask)
        return segments._replace(text=text, text_mask=mask)

    torch.testing.assert_close(network(noisy, time, with_segments(longer, pad)), made, **CLOSE)
    no_text = condition._replace(text_mask=torch.zeros_like(condition.text_mask))
    assert (network(noisy, time, no_text) - made).abs().max() > 1e-4
    assert network(noisy, time, no_text).isfinite().all()


def test_masked_frames_and_segments_are_not_attended_to(network, inputs):
    network.eval()
    noisy, time, condition = inputs(6)
    condition = condition._replace(frame_mask=(torch.arange(6) > 1).expand(2, -1))
    changed = noisy.clone()
    changed[:, :, :2] = 9.0
    kept = network(noisy, time, condition)[:, :, 2:]
    assert torch.equal(network(changed, time, condition)[:, :, 2:], kept)
    everything = condition._replace(frame_mask=None)
    assert (network(changed, time, everything) - network(noisy, time, everything))[:, :, 2:].abs().max() > 1e-3

    def fill(segments):  # the slots that hold nothing
        empty = ~segments.valid[..., None, None, None, None]
        return segments._replace(video=torch.where(empty, 9.0, segments.video))

    torch.testing.assert_close(network(noisy, time, with_segments(condition, fill))[:, :, 2:], kept, **CLOSE)
    # The last row's second slot is one of these: without it, that row is the same.
    last = rows_of(condition, [1])
    fewer = with_segments(last, lambda s: s.map(lambda x: x[:, :1]))
    fewer = fewer._replace(context=tuple(each._replace(level=each.level[:, :1]) for each in fewer.context))
    torch.testing.assert_close(network(noisy[1:], time[1:], fewer)[:, :, 2:], kept[1:], **CLOSE)


def test_time_matters(network, inputs):
    network.eval()
    noisy, time, condition = inputs(9)
    assert (network(noisy, time * 0.5, condition) - network(noisy, time, condition)).abs().max() > 1e-4


def test_places_matter_and_to_lovic_their_distances_alone(network, inputs):
    network.eval()
    noisy, time, condition = inputs(9)
    there = network(noisy, time, condition)
    moved = condition._replace(frame_index=condition.frame_index + 5)
    apart = condition._replace(frame_index=condition.frame_index * 2)
    assert (network(noisy, time, apart) - there).abs().max() > 1e-4
    if not isinstance(network, LoViCNetwork):
        assert (network(noisy, time, moved) - there).abs().max() > 1e-4
        return
    along = with_segments(moved, lambda s: s._replace(frame_index=s.frame_index + 5))
    torch.testing.assert_close(network(noisy, time, along), there, **CLOSE)
    difference = (network(noisy, time, moved) - there).abs().max()
    assert difference > 1e-4 if remembers(network) else difference == 0


@pytest.mark.parametrize("name", ["lovic", "lovic_low_resolution", "vin_lovic"])
def test_what_is_remembered_matters(name):
    network = awake(NETWORKS[name]()).eval()
    noisy, time, condition = remembering_example(9)
    there = network(noisy, time, condition)
    changes = {
        "video": lambda s: s._replace(video=s.video.flip(2)),
        "text": lambda s: s._replace(text=-s.text),
        "shot": lambda s: s._replace(shot=torch.zeros_like(s.shot)),
        "valid": lambda s: s._replace(valid=torch.zeros_like(s.valid)),
    }
    for name, change in changes.items():
        assert (network(noisy, time, with_segments(condition, change)) - there).abs().max() > 1e-4, name
    levels = tuple(each._replace(level=each.level + 0.3) for each in condition.context)
    assert (network(noisy, time, condition._replace(context=levels)) - there).abs().max() > 1e-4


def test_odd_latents_are_refused(network, inputs):
    noisy, time, condition = inputs(4)
    with pytest.raises(ValueError, match="4x3 do not split into 2x2"):
        network(noisy[..., :3], time, condition)
    if remembers(network):
        narrow = with_segments(condition, lambda s: s._replace(video=s.video[..., :3]))
        with pytest.raises(ValueError, match="4x3 do not split into 2x2"):
            network(noisy, time, narrow)


def test_half_precision_autocast_is_near_full_precision(network, inputs):
    network.eval()
    arguments = inputs(8)
    full = network(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(*arguments)
    assert half.isfinite().all()
    assert (half - full).square().mean() < 0.01 * full.square().mean()


def test_half_precision_autocast_gives_finite_gradients(network, inputs):
    network.train().zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(network, *inputs(8))
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_untrained_network_predicts_zero(name):
    untrained = NETWORKS[name]()
    noisy, time, condition = (remembering_example if isinstance(untrained, LoViCNetwork) else example)(8)
    assert untrained(noisy, time, condition).abs().max() == 0


@pytest.mark.parametrize("around", [lambda dit: dit, tiny_lovic], ids=["dit", "lovic"])
def test_activation_checkpointing_changes_no_gradient(around):
    noisy, time, condition = remembering_example(6)
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        network = awake(around(tiny_dit(checkpoint_activations=checkpointed))).train()
        network(noisy, time, condition).square().mean().backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_each_frame_has_its_own_time():
    network = awake(tiny_dit(depth=1)).eval()
    noisy, time, condition = example(6)
    changed = time.clone()
    changed[:, 2] = 0.0
    difference = (network(noisy, changed, condition) - network(noisy, time, condition)).abs().amax((0, 1, 3, 4))
    assert difference[2] > 5 * difference[[0, 1, 3, 4, 5]].max()


def test_masked_extra_tokens_equal_none():
    network = awake(tiny_dit()).eval()
    noisy, time, condition = example(4)
    tokens = torch.randn(2, 5, 32)
    masked = ContextTokens(tokens, mask=torch.zeros(2, 5, dtype=torch.bool))
    plain = network(noisy, time, condition)
    torch.testing.assert_close(network(noisy, time, condition, extra_tokens=masked), plain, rtol=1e-4, atol=1e-5)
    assert (network(noisy, time, condition, extra_tokens=ContextTokens(tokens)) - plain).abs().max() > 1e-3


def test_rope_depends_on_distance_alone_and_takes_fractions():
    rope = RotaryEmbedding3D(head_width=16, theta=100.0)
    query, key = torch.randn(2, 1, 2, 6, 16).unbind(0)
    positions = 10 * torch.randn(1, 6, 3)

    def scores(shift):
        rotation = rope(positions + shift)
        return rotate(query, rotation) @ rotate(key, rotation).mT

    torch.testing.assert_close(scores(torch.tensor([-7.25, 0.5, 3.0])), scores(torch.zeros(3)), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(scores(torch.zeros(3)), query @ key.mT)


def test_tokens_without_a_place_are_left_as_they_are():
    rope = RotaryEmbedding3D(head_width=16, theta=100.0)
    x, rotation = torch.randn(1, 2, 6, 16), rope(10 * torch.randn(1, 4, 3))
    turned = rotate(x, with_unplaced(rotation, 2))
    assert torch.equal(turned[:, :, 4:], x[:, :, 4:])
    torch.testing.assert_close(turned[:, :, :4], rotate(x[:, :, :4], rotation))


def test_latent_channels_and_side_are_free():
    network = tiny_dit(channels=CHANNELS + 1)
    noisy = torch.randn(1, CHANNELS + 1, 2, 6, 8)
    _, time, condition = example(2, batch=1)
    assert network(noisy, time, condition).shape == noisy.shape
