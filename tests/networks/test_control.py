"""Numbers of every frame that steer a video: how they reach the network, and what they must not change."""

import math

import pytest
import torch
from builders import TEXT, WIDTH, awake, context, example, tiny_dit, tiny_lovic, tiny_vin
from torch import nn

from networks.control import ActionControl, PoseControl, at_places, to_latent_frames
from networks.interfaces import Condition

FACTOR = 4


def pose() -> PoseControl:
    return PoseControl(width=WIDTH, frames_per_latent=FACTOR, unit=2.0)


def walk(frames: int, batch: int = 2, seed: int = 0) -> torch.Tensor:
    """Poses of the pixel frames of so many latent ones: b F 3."""
    steps = torch.randn(batch, FACTOR * (frames - 1) + 1, 3, generator=torch.Generator().manual_seed(seed))
    return steps.cumsum(dim=1) * torch.tensor([0.3, 0.3, 10.0])


def controlled(frames: int, **changes):
    noisy, time, condition = example(frames, **changes)
    return noisy, time, condition._replace(per_frame={"control": to_latent_frames(walk(frames), FACTOR)})


def build(name: str):
    window = tiny_dit(control=pose())
    return {
        "dit": lambda: window,
        "vin": lambda: tiny_vin(backbone=window),
        "lovic": lambda: tiny_lovic(window),
        "vin_lovic": lambda: tiny_lovic(tiny_vin(backbone=window)),
    }[name]()


NETWORKS = pytest.mark.parametrize("name", ["dit", "vin", "lovic", "vin_lovic"])


def test_a_latent_frame_holds_its_own_pixel_frames():
    numbers = torch.arange(9.0).view(1, 9, 1)
    assert to_latent_frames(numbers, 4)[0].tolist() == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert torch.equal(to_latent_frames(numbers, 1), numbers)
    with pytest.raises(ValueError, match="control has 8 frames, which is not one more than a multiple of 4"):
        to_latent_frames(numbers[:, :8], 4)


@NETWORKS
def test_a_network_with_control_begins_as_the_one_without(name):
    network = build(name).eval()
    awake(network)
    control = network.backbone.control
    nn.init.zeros_(control.out.weight)
    nn.init.zeros_(control.out.bias)
    noisy, time, condition = controlled(8)
    assert torch.equal(network(noisy, time, condition), network(noisy, time, condition._replace(per_frame={})))


@NETWORKS
def test_control_is_seen_and_left_out_by_name(name):
    network = awake(build(name)).eval()
    assert network.ablations[-1] == "control"
    noisy, time, condition = controlled(8)
    made, without = network(noisy, time, condition), network(noisy, time, condition.without("control"))
    assert (made - without).abs().max() > 1e-3
    torch.testing.assert_close(without, network(noisy, time, condition._replace(per_frame={})))
    encoded = network.encode_context(condition)
    torch.testing.assert_close(network(noisy, time, encoded), made)
    torch.testing.assert_close(network(noisy, time, encoded.without("control")), without)


@NETWORKS
def test_a_row_whose_control_is_dropped_goes_without(name):
    network = awake(build(name)).train()
    noisy, time, condition = controlled(8)
    dropped = network(noisy, time, condition._replace(events={"control_dropped": torch.tensor([True, False])}))
    made, without = network(noisy, time, condition), network(noisy, time, condition.without("control"))
    torch.testing.assert_close(dropped[:1], without[:1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dropped[1:], made[1:], rtol=1e-4, atol=1e-5)


def test_tokens_bear_their_frame_s_control():
    network = awake(tiny_dit(control=pose())).eval()
    network.modulation.weight.data.zero_()  # control does not modulate any block, which its bias still opens
    noisy, time, condition = controlled(6)
    changed = {"control": condition.per_frame["control"].clone()}
    changed["control"][:, 3] += 1
    difference = (network(noisy, time, condition._replace(per_frame=changed)) - network(noisy, time, condition)).abs()
    assert difference[:, :, [0, 1, 2, 4, 5]].max() > 1e-5  # other frames see it in the tokens alone


def test_a_frame_s_control_acts_on_that_frame_first():
    network = awake(tiny_dit(control=pose(), depth=1)).eval()
    network.blocks[0].attention.out.weight.data.zero_()  # nothing is exchanged between frames
    noisy, time, condition = controlled(6)
    changed = {"control": condition.per_frame["control"].clone()}
    changed["control"][:, 3] += 1
    difference = (network(noisy, time, condition._replace(per_frame=changed)) - network(noisy, time, condition)).abs()
    assert difference[:, :, 3].max() > 1e-4
    assert difference[:, :, [0, 1, 2, 4, 5]].max() == 0


@NETWORKS
def test_where_a_map_begins_and_how_it_is_turned_changes_nothing(name):
    network = awake(build(name)).eval()
    noisy, time, condition = example(8)
    poses, past = walk(8), walk(4, seed=1)

    def seen(poses, past):
        remembered = context([-4])
        remembered = remembered._replace(
            segments=remembered.segments._replace(per_frame={"control": to_latent_frames(past, FACTOR).unsqueeze(1)})
        )
        return condition._replace(
            per_frame={"control": to_latent_frames(poses, FACTOR)},
            shot=torch.zeros(2, dtype=torch.long),
            context=(remembered,),
        )

    def moved(poses):
        turn = math.radians(50.0)
        x, y, angle = poses.unbind(-1)
        x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        return torch.stack([x + 7, y - 3, angle + 50.0], dim=-1)

    made = network(noisy, time, seen(poses, past))
    torch.testing.assert_close(network(noisy, time, seen(moved(poses), moved(past))), made, rtol=1e-3, atol=1e-3)
    other = network(noisy, time, seen(poses, moved(past)))
    assert ((other - made).abs().max() > 1e-4) == ("lovic" in name)  # memory alone is elsewhere


def test_every_parameter_of_control_learns():
    network = awake(build("vin_lovic")).train()
    noisy, time, condition = controlled(8)
    remembered = context([-4])
    segments = remembered.segments._replace(per_frame={"control": to_latent_frames(walk(4), FACTOR).unsqueeze(1)})
    condition = condition._replace(
        shot=torch.zeros(2, dtype=torch.long), context=(remembered._replace(segments=segments),)
    )
    network(noisy, time, condition).square().mean().backward()
    for part in (network.backbone.control, network.control_adapter):
        for parameter in part.parameters():
            assert parameter.grad.abs().sum() > 0


def test_values_between_frames_are_read_linearly():
    frames = torch.tensor([[[0.0], [10.0], [40.0]]])
    assert at_places(frames, torch.tensor([[-1.0, 0.0, 0.5, 1.25, 2.0, 3.0]]))[0, :, 0].tolist() == [
        *(0.0, 0.0, 5.0, 17.5, 40.0, 40.0)
    ]


def test_actions_are_taken_as_they_are():
    control = awake(ActionControl(width=WIDTH, frames_per_latent=1, columns=["forward", "turn"]))
    values = torch.randn(2, 5, 2)
    assert torch.equal(control(values, values[:, 0]), control(values, values[:, 1]))
    assert (control(values, values[:, 0]) - control(values + 1, values[:, 0])).abs().max() > 1e-3


def test_another_number_of_values_is_refused():
    network = tiny_dit(control=pose())
    noisy, time, condition = example(3)
    with pytest.raises(ValueError, match="control has 6 values a latent frame, but these weights take 12: x, y, angle"):
        network(noisy, time, condition._replace(per_frame={"control": torch.zeros(2, 3, 6)}))


def test_one_time_for_all_frames_goes_with_control():
    network = awake(tiny_dit(control=pose())).eval()
    noisy, _, condition = controlled(6)
    shared = network(noisy, torch.full((1, 1), 0.5), condition)
    torch.testing.assert_close(shared, network(noisy, torch.full((2, 6), 0.5), condition), rtol=1e-4, atol=1e-5)


def test_no_text_is_no_reason_to_see_no_control():
    network = awake(tiny_dit(control=pose())).eval()
    noisy, time, condition = controlled(6)
    silent: Condition = condition.without("text")
    assert silent.text.shape[-1] == TEXT
    assert (network(noisy, time, silent) - network(noisy, time, silent.without("control"))).abs().max() > 1e-3
