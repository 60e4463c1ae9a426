"""VIN's invariants: those of the digest of the paper, and what chunking must not change."""

import pytest
import torch
from builders import awake, example, tiny_vin
from einops import rearrange

from longtake.compat.torch import flop_counter
from networks.chunks import call_sizes, cut, paste, plan_windows
from networks.interfaces import Condition, ContextTokens
from networks.vin import GlobalTokens

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("frames", "chunk", "local"), [(40, 10, 6), (37, 10, 6), (12, 10, 4), (11, 10, 10), (9, 10, 4), (30, 10, 0)]
)
def test_weights_sum_to_one_on_every_frame(frames, chunk, local):
    plan = plan_windows(frames, chunk, local, CPU)
    for kind in ("own", "fused"):
        total = torch.zeros(frames)
        for windows in plan:
            total.index_add_(0, windows.frames.flatten(), getattr(windows, kind).float().flatten())
        torch.testing.assert_close(total, torch.ones(frames))
    assert all((windows.fused >= 0).all() and (windows.frames >= 0).all() for windows in plan)


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(25, 4, [3, 3, 3, 4, 4, 4, 4]), (8, 4, [4, 4]), (3, 4, [3]), (5, 0, [5]), (3, 1, [1] * 3)],
)
def test_windows_are_spread_evenly_over_calls(count, most, sizes):
    assert call_sizes(count, most) == sizes


def test_cross_fade_is_linear_over_the_last_frames_of_the_chunk_before():
    _, windows = plan_windows(20, 10, 4, CPU)
    of_second = {int(f): float(w) for f, w in zip(windows.frames[0], windows.fused[0], strict=True) if 6 <= f < 10}
    assert of_second == pytest.approx({6: 0.125, 7: 0.375, 8: 0.625, 9: 0.875})


def test_last_window_is_full_size_and_flush_with_the_end():
    first, windows = plan_windows(23, 10, 4, CPU)
    assert first.frames.tolist() == [list(range(10))]  # no context to mask: a size of its own
    assert windows.frames.shape == (2, 14)
    assert windows.frames[1].tolist() == list(range(9, 23))
    assert windows.own[1].sum() == 3


def test_a_canvas_shorter_than_a_window_is_its_own_last_window():
    first, windows = plan_windows(12, 10, 4, CPU)
    assert first.frames.tolist() == [list(range(10))]
    assert windows.frames.tolist() == [list(range(12))]
    assert windows.own.tolist() == [[False] * 10 + [True] * 2]


def test_fusing_equal_predictions_is_the_identity():
    canvas = torch.randn(2, 3, 27, 2, 2)
    pasted = torch.zeros_like(canvas)
    for windows in plan_windows(27, 10, 6, CPU):
        pasted = paste(pasted, cut(canvas, windows.frames), windows.frames, windows.fused.expand(2, -1, -1))
    torch.testing.assert_close(pasted, canvas)


def test_context_longer_than_a_chunk_is_refused():
    with pytest.raises(ValueError, match="local_frames=11"):
        plan_windows(40, 10, 11, CPU)


def test_single_chunk_is_the_plain_dit_with_tokens():
    network = awake(tiny_vin()).eval()
    noisy, time, condition = example(4)
    tokens = network.read(noisy, time, condition).tokens + network.type_embedding
    expected = network.backbone(noisy, time, condition, extra_tokens=ContextTokens(tokens))
    torch.testing.assert_close(network(noisy, time, condition), expected)


@pytest.mark.parametrize("fusion", ["none", "early"])
@pytest.mark.parametrize("frames", [12, 14])
def test_chunks_in_parallel_equal_chunks_in_a_loop(fusion, frames):
    network = awake(tiny_vin(fusion=fusion)).eval()
    inputs = example(frames)
    together = network(*inputs)
    for windows_per_call in (1, 2):
        network.windows_per_call = windows_per_call
        torch.testing.assert_close(network(*inputs), together, rtol=1e-4, atol=1e-5)


def test_without_tokens_and_overlap_chunks_are_independent():
    network = awake(tiny_vin(local_frames=0)).eval()
    noisy, time, condition = example(12)
    whole = network(noisy, time, condition.without("global_tokens"))
    for start in (0, 4, 8):
        piece = slice(start, start + 4)
        alone = network.backbone(
            noisy[:, :, piece], time[:, piece], Condition(condition.frame_index[:, piece], *condition[1:])
        )
        torch.testing.assert_close(whole[:, :, piece], alone, rtol=1e-4, atol=1e-5)


def test_global_tokens_carry_the_far_end_of_the_canvas():
    network = awake(tiny_vin(local_frames=0)).eval()
    noisy, time, condition = example(12)
    changed = noisy.clone()
    changed[:, :, 10] += 1
    assert (network(changed, time, condition) - network(noisy, time, condition))[:, :, :4].abs().max() > 1e-4
    without = condition.without("global_tokens")
    assert torch.equal(network(changed, time, without)[:, :, :4], network(noisy, time, without)[:, :, :4])


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_each_chunk_alone_trains_the_interface(chunk):
    network = awake(tiny_vin()).train()
    noisy, time, condition = example(12)
    network(noisy, time, condition)[:, :, 4 * chunk : 4 * chunk + 4].square().mean().backward()
    for name, parameter in network.interface.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_no_gradient_through_context_embeddings():
    network = awake(tiny_vin()).train()
    noisy, time, condition = example(12)
    noisy.requires_grad_()
    condition = condition.without("global_tokens")
    network(noisy, time, condition)[:, :, 4:8].sum().backward()
    assert noisy.grad[:, :, 4:8].abs().sum() > 0
    assert noisy.grad[:, :, :4].abs().sum() == 0  # frames 2 and 3 are attended to as context
    changed = noisy.detach().clone()
    changed[:, :, 3] += 1
    difference = network(changed, time, condition) - network(noisy, time, condition)
    assert difference[:, :, 4:8].abs().max() > 1e-4


def test_first_chunk_ignores_its_missing_context():
    network = awake(tiny_vin(local_frames=3)).eval()
    noisy, time, condition = example(8)
    condition = condition.without("global_tokens")
    whole = network(noisy, time, condition)[:, :, :4]
    alone = network(noisy[:, :, :4], time[:, :4], condition.frames(slice(4)))
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


def test_token_shape_and_processor_cost_do_not_depend_on_length():
    network = awake(tiny_vin()).eval()
    costs = []
    for frames in (8, 16):
        noisy, time, condition = example(frames)
        assert network.read(noisy, time, condition).tokens.shape == (2, 5, 32)
        with flop_counter() as counter:
            network.read(noisy, time, condition)
        costs.append(
            sum(
                sum(flops.values())
                for name, flops in counter.get_flop_counts().items()
                if "processor.0" in name.split("interface.")[-1] and name.endswith("processor.0")
            )
        )
    assert costs[0] == costs[1] > 0


def test_keyframes_follow_seconds():
    interface = tiny_vin().interface
    assert interface.keyframes(9, CPU).tolist() == [0, 2, 4, 6, 8]
    interface.keyframe_seconds = 1.25
    assert interface.keyframes(9, CPU).tolist() == [0, 2, 5, 8]
    interface.keyframe_seconds = 100.0
    assert interface.keyframes(9, CPU).tolist() == [0]
    interface.keyframe_seconds = 0.01
    assert interface.keyframes(3, CPU).tolist() == [0, 1, 2]


def test_fusion_follows_the_time_of_each_video():
    network = awake(tiny_vin(fusion="early")).eval()
    noisy, _, condition = example(8)
    time = torch.tensor([[0.3], [0.9]]).expand(-1, 8)
    fused = network(noisy, time, condition)
    network.fusion = "none"
    plain = network(noisy, time, condition)
    assert torch.equal(fused[0], plain[0])
    assert not torch.allclose(fused[1, :, 1:4], plain[1, :, 1:4])
    torch.testing.assert_close(fused[1, :, 4:], plain[1, :, 4:])
    network.fusion = "all"
    always = network(noisy, time, condition)
    assert torch.equal(always[1], fused[1])
    assert not torch.allclose(always[0, :, 1:4], plain[0, :, 1:4])


def test_unknown_fusion_names_the_choices():
    with pytest.raises(ValueError, match="none, early, mid, late, all"):
        tiny_vin(fusion="always")


def test_a_negative_number_of_windows_is_refused():
    with pytest.raises(ValueError, match="windows_per_call=-1 must be at least 1, or 0 for all"):
        tiny_vin(windows_per_call=-1)


def test_dropped_tokens_equal_no_tokens():
    network = awake(tiny_vin(plan=True)).train()
    noisy, time, condition = example(8)
    first = {"global_tokens_dropped": torch.tensor([True, False])}
    dropped = network(noisy, time, condition._replace(events=first))
    without = network(noisy, time, condition.without("global_tokens"))
    torch.testing.assert_close(dropped[:1], without[:1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dropped[1:], network(noisy, time, condition)[1:], rtol=1e-4, atol=1e-5)


def test_context_loss_hands_the_overlap_to_the_following_chunk():
    network = awake(tiny_vin()).train()
    noisy, time, condition = example(8)
    events = {"next_chunk_owns_overlap": torch.tensor([True, True])}
    handed = network(noisy, time, condition._replace(events=events))
    own = network(noisy, time, condition)
    assert not torch.allclose(handed[:, :, 2:4], own[:, :, 2:4])
    torch.testing.assert_close(handed[:, :, [0, 1, 4, 5, 6, 7]], own[:, :, [0, 1, 4, 5, 6, 7]])


def test_attention_map_is_a_distribution_over_keyframe_tokens():
    network = awake(tiny_vin()).eval()
    noisy, time, condition = example(8)
    index = network.interface.keyframes(8, CPU)
    keyframes = network.backbone.embed(noisy[:, :, index], condition.frame_index[:, index])
    weights = network.interface.attention_map(
        keyframes, network.backbone.time(time[:, index]), network.backbone.time(time.amax(1))
    )
    assert weights.shape == (2, 3, 5, 4, 4)
    torch.testing.assert_close(rearrange(weights, "b k n f s -> b k n (f s)").sum(-1), torch.ones(2, 3, 5))


def test_plan_is_pooled_clean_keyframes():
    network = awake(tiny_vin(plan=True)).train()
    noisy, time, condition = example(8)
    plan = network.read(noisy, time, condition).plan
    assert plan.shape == (2, 4, 4, 2, 2)
    clean = torch.arange(16.0).view(4, 4).expand(2, 4, 8, 4, 4)
    target = network.plan.target(clean)
    torch.testing.assert_close(target[0, 0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    network.read = lambda *_: GlobalTokens(torch.zeros(2, 5, 32), target[:, :, :4])
    assert network.predict(noisy, time, condition).losses["plan"](clean) == 0


def test_windows_are_told_the_plan_of_their_frames_and_of_no_others():
    guided, plain = awake(tiny_vin(plan=True, plan_guidance=True)).eval(), tiny_vin(plan=True).eval()
    plain.load_state_dict({name: x for name, x in guided.state_dict().items() if not name.startswith("guide.")})
    noisy, time, condition = example(8)
    told = guided(noisy, time, condition)
    assert not torch.allclose(told, plain(noisy, time, condition), atol=1e-3)
    silent = condition.without("global_tokens")
    torch.testing.assert_close(guided(noisy, time, silent), plain(noisy, time, silent))
    torch.nn.init.zeros_(guided.guide.out.weight)
    torch.nn.init.zeros_(guided.guide.out.bias)
    torch.testing.assert_close(guided(noisy, time, condition), plain(noisy, time, condition))  # as it begins


def test_a_video_without_tokens_is_told_no_plan_and_a_plan_is_added_to_control():
    network = awake(tiny_vin(plan=True, plan_guidance=True)).train()
    noisy, time, condition = example(8)
    steered = condition._replace(frame_embedding=torch.randn(2, 8, 32))
    first = {"global_tokens_dropped": torch.tensor([True, False])}
    dropped = network(noisy, time, steered._replace(events=first))
    torch.testing.assert_close(dropped[:1], network(noisy, time, steered.without("global_tokens"))[:1], **CLOSE)
    torch.testing.assert_close(dropped[1:], network(noisy, time, steered)[1:], **CLOSE)
    plan = torch.randn(2, 4, 8, 2, 2)
    told = network.guide(plan, condition).frame_embedding
    torch.testing.assert_close(network.guide(plan, steered).frame_embedding, told + steered.frame_embedding)


def test_a_guide_without_a_plan_is_refused():
    with pytest.raises(ValueError, match="plan_guidance=true needs a plan: take network=vin_guided"):
        tiny_vin(plan_guidance=True)
