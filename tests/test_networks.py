"""One battery over every network, and what is particular to the DiT."""

import pytest
import torch
from builders import CHANNELS, awake, example, tiny_dit, tiny_vin

from networks.blocks import Layout, by_group, scaled_dot_product
from networks.interfaces import Condition, ContextTokens
from networks.rope import RotaryEmbedding3D, rotate, with_unplaced

NETWORKS = {
    "dit": tiny_dit,
    "dit_checkpointed": lambda: tiny_dit(checkpoint_activations=True),
    "vin": tiny_vin,
    "vin_plan": lambda: tiny_vin(plan=True),
    "vin_fused": lambda: tiny_vin(fusion="early"),
}


@pytest.fixture(params=NETWORKS, scope="module")
def network(request):
    return awake(NETWORKS[request.param]())


@pytest.mark.parametrize("frames", [1, 3, 4, 7, 12])
def test_shape_is_kept_for_any_length(network, frames):
    noisy, time, condition = example(frames)
    assert network.eval()(noisy, time, condition).shape == noisy.shape


def test_gradient_reaches_every_parameter(network):
    noisy, time, condition = example(8)
    network.train().zero_grad()
    predict = getattr(network, "predict", None)
    prediction, plan = predict(noisy, time, condition) if predict else (network(noisy, time, condition), None)
    loss = prediction.square().mean() + (0 if plan is None else plan.square().mean())
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_order_of_the_batch_does_not_matter(network):
    network.eval()
    noisy, time, condition = example(9, batch=3)
    order = torch.tensor([2, 0, 1])
    shuffled = network(noisy[order], time[order], Condition(*(x[order] for x in condition[:3])))
    torch.testing.assert_close(shuffled, network(noisy, time, condition)[order], rtol=1e-4, atol=1e-5)


def test_padded_text_changes_nothing(network):
    network.eval()
    noisy, time, condition = example(9)
    padded = Condition(
        condition.frame_index,
        torch.cat([condition.text, torch.full_like(condition.text, 7.0)], dim=1),
        torch.cat([condition.text_mask, torch.zeros_like(condition.text_mask)], dim=1),
    )
    torch.testing.assert_close(network(noisy, time, padded), network(noisy, time, condition), rtol=1e-4, atol=1e-5)
    no_text = condition._replace(text_mask=torch.zeros_like(condition.text_mask))
    assert (network(noisy, time, condition) - network(noisy, time, no_text)).abs().max() > 1e-4
    assert network(noisy, time, no_text).isfinite().all()


def test_time_and_place_matter(network):
    network.eval()
    noisy, time, condition = example(9)
    there = network(noisy, time, condition)
    assert (network(noisy, time * 0.5, condition) - there).abs().max() > 1e-4
    moved = condition._replace(frame_index=condition.frame_index + 5)
    assert (network(noisy, time, moved) - there).abs().max() > 1e-4


def test_odd_latents_are_refused(network):
    noisy, time, condition = example(4)
    with pytest.raises(ValueError, match="4x3 do not split into 2x2"):
        network(noisy[..., :3], time, condition)


def test_half_precision_autocast_gives_finite_values(network):
    network.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(*example(8)).isfinite().all()


def test_untrained_network_predicts_zero():
    noisy, time, condition = example(8)
    assert tiny_dit()(noisy, time, condition).abs().max() == 0
    assert tiny_vin()(noisy, time, condition).abs().max() == 0


def test_activation_checkpointing_changes_no_gradient():
    noisy, time, condition = example(6)
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        network = awake(tiny_dit(checkpoint_activations=checkpointed)).train()
        network(noisy, time, condition).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
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
    torch.testing.assert_close(network(noisy, time, condition, extra=masked), plain, rtol=1e-4, atol=1e-5)
    assert (network(noisy, time, condition, extra=ContextTokens(tokens)) - plain).abs().max() > 1e-3


def test_masked_frames_are_not_attended_to():
    network = awake(tiny_dit()).eval()
    noisy, time, condition = example(6)
    mask = torch.tensor([[False, False, True, True, True, True]]).expand(2, -1)
    changed = noisy.clone()
    changed[:, :, :2] = 9.0
    kept = network(noisy, time, condition._replace(frame_mask=mask))[:, :, 2:]
    assert torch.equal(network(changed, time, condition._replace(frame_mask=mask))[:, :, 2:], kept)


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


@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_training_is_the_fused_one(masked):
    query, key, value = (torch.randn(2, 3, n, 8) for n in (5, 9, 9))
    mask = (torch.arange(9) < 6).expand(2, 1, 1, 9) if masked else None
    with torch.no_grad():
        fused = scaled_dot_product(query, key, value, mask)
    torch.testing.assert_close(scaled_dot_product(query, key, value, mask), fused)
    other = value.index_fill(2, torch.arange(6, 9), 7.0)  # of the keys that a mask hides
    unchanged = torch.equal(scaled_dot_product(query, key, other, mask), scaled_dot_product(query, key, value, mask))
    assert unchanged == masked


@pytest.mark.parametrize("extra", [3, 4, 8])
def test_tokens_without_a_place_share_one_value_however_they_are_grouped(extra):
    layout, seeded = Layout(num_frames=2, per_frame=4), torch.Generator().manual_seed(0)
    tokens, values = torch.randn(2, 8 + extra, 5, generator=seeded), torch.randn(2, 3, 5, generator=seeded)
    expected = tokens * torch.cat([values[:, :2].repeat_interleave(4, dim=1), values[:, 2:].expand(-1, extra, -1)], 1)
    groups = [values] if extra % 4 else [values, torch.cat([values[:, :2], *[values[:, 2:]] * (extra // 4)], dim=1)]
    for each in groups:
        assert torch.equal(by_group(layout, torch.mul, (tokens,), (each,)), expected)
    alone = by_group(layout, torch.mul, (tokens[:, :8],), (groups[-1],))
    assert torch.equal(alone, expected[:, :8])
