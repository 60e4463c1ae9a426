"""LoViC's invariants on the side of the DiT: what memory must change, and what it must not."""

from itertools import combinations
from operator import itemgetter

import pytest
import torch
from builders import awake, context, example, tiny_lovic, tiny_vin
from einops import rearrange

from longtake.rollouts.canvas import PastSegment, open_canvas
from longtake.rollouts.interfaces import Canvas
from longtake.rollouts.memory import MemoryPolicy
from longtake.rollouts.plan import RememberedSegment
from longtake.rollouts.segmentwise import Segmentwise, segment_canvas
from networks.interfaces import Condition, Context
from networks.interpolated_rope import axis_places
from networks.lovic import nearest_means

FRAMES = 4


def _setup(window=None, low_resolution=False):
    network = awake(tiny_lovic(window, low_resolution=low_resolution)).eval()
    noisy, time, condition = example(FRAMES)
    condition = condition._replace(shot=torch.zeros(2, dtype=torch.long), context=(context([-8, -4, 4]),))
    return network, noisy, time, condition


def _shifted(condition: Condition, by: float) -> Condition:
    moved = []
    for each in condition.context:
        segments = each.segments._replace(frame_index=each.segments.frame_index + by)
        moved.append(each._replace(segments=segments))
    return condition._replace(frame_index=condition.frame_index + by, context=tuple(moved))


def _with_segments(condition: Condition, change) -> Condition:
    return condition._replace(context=tuple(c._replace(segments=change(c.segments)) for c in condition.context))


WINDOWS = pytest.mark.parametrize("window", [lambda: None, tiny_vin], ids=["dit", "vin"])
BRANCH = pytest.mark.parametrize("low_resolution", [False, True], ids=["tokens", "tokens+low_resolution"])


@WINDOWS
@BRANCH
def test_memory_is_seen_and_a_shift_of_all_places_is_not(window, low_resolution):
    network, noisy, time, condition = _setup(window(), low_resolution)
    made = network(noisy, time, condition)
    assert (network(noisy, time, condition.without("memory")) - made).abs().max() > 1e-3
    torch.testing.assert_close(network(noisy, time, _shifted(condition, 37.0)), made, atol=1e-4, rtol=1e-4)
    farther = _with_segments(condition, lambda s: s._replace(frame_index=s.frame_index - 2))
    assert (network(noisy, time, farther) - made).abs().max() > 1e-4


@WINDOWS
def test_memory_made_once_is_memory_made_at_every_step(window):
    network, noisy, time, condition = _setup(window())
    kept = network.encode_context(condition)
    for level in (0.9, 0.4):
        at = torch.full_like(time, level)
        torch.testing.assert_close(network(noisy, at, kept), network(noisy, at, condition))


def test_memory_does_not_depend_on_the_noisy_video():
    network, _, _, condition = _setup()
    memory = network.encode_context(condition).memory
    again = network.encode_context(condition._replace(text=torch.randn_like(condition.text))).memory
    for first, second in zip(memory.layers, again.layers, strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])
    assert memory.layers[0][0].shape[2] == 1 + 3 * 4  # the null, and 16 tokens at rate 4 of each of 3 segments


@BRANCH
def test_order_of_segments_is_irrelevant(low_resolution):
    network, noisy, time, condition = _setup(low_resolution=low_resolution)
    made = network(noisy, time, condition)
    shuffled = _with_segments(condition, lambda s: s.map(lambda x: x[:, [2, 0, 1]]))
    torch.testing.assert_close(network(noisy, time, shuffled), made, atol=1e-5, rtol=1e-5)


def test_segments_of_other_lengths_and_rates_stand_side_by_side():
    network, noisy, time, condition = _setup()
    whole = network(noisy, time, condition)
    each = condition.context[0]
    apart = tuple(
        Context(each.segments.map(itemgetter((slice(None), slice(i, i + 1)))), each.level[:, i : i + 1], each.rate)
        for i in range(3)
    )
    torch.testing.assert_close(network(noisy, time, condition._replace(context=apart)), whole, atol=1e-5, rtol=1e-5)
    faster = (*apart[:2], apart[2]._replace(rate=2.0))
    assert network.encode_context(condition._replace(context=faster)).memory.layers[0][0].shape[2] == 1 + 4 + 4 + 8


def test_an_empty_slot_is_no_memory():
    network, noisy, time, condition = _setup()
    nothing = _with_segments(condition, lambda s: s._replace(valid=torch.zeros_like(s.valid)))
    null = network(noisy, time, condition.without("memory"))
    torch.testing.assert_close(network(noisy, time, nothing), null)
    torch.testing.assert_close(network(noisy, time, condition._replace(context=())), null)
    assert torch.isfinite(null).all()


@BRANCH
def test_what_pads_is_not_encoded(low_resolution):
    network, noisy, time, condition = _setup(low_resolution=low_resolution)
    some = torch.tensor([[True, False, True], [False, False, True]])
    padded = _with_segments(condition, lambda s: s._replace(valid=some))
    encoded: list[int] = []
    network.compressor.embed.register_forward_hook(lambda _, inputs, __: encoded.append(len(inputs[1])))
    made = network(noisy, time, padded)
    assert encoded == [3]
    # The same as a row that holds these segments alone.
    alone = _with_segments(condition, lambda s: s.map(lambda x: x[:1, [0, 2]]))
    alone = condition._replace(
        **{key: getattr(condition, key)[:1] for key in ("frame_index", "text", "text_mask", "shot")},
        context=tuple(each._replace(level=each.level[:1, [0, 2]]) for each in alone.context),
    )
    torch.testing.assert_close(network(noisy[:1], time[:1], alone), made[:1], atol=1e-5, rtol=1e-5)


def test_the_hybrid_goes_without_memory_tokens_or_both():
    network, noisy, time, condition = _setup(tiny_vin())
    assert network.ablations == ("memory", "global_tokens")
    made = [network(noisy, time, condition)]
    for ablations in (["memory"], ["global_tokens"], ["memory", "global_tokens"]):
        made.append(network(noisy, time, condition.without(*ablations)))
        encoded = network.encode_context(condition)  # what was made beforehand can be left out, too
        torch.testing.assert_close(network(noisy, time, encoded.without(*ablations)), made[-1])
    for one, other in combinations(made, 2):
        assert (one - other).abs().max() > 1e-4
    torch.testing.assert_close(network(noisy, time, condition), made[0])


def test_the_low_resolution_branch_speaks_before_the_compressor():
    network, noisy, time, condition = _setup(low_resolution=True)
    fresh = tiny_lovic(low_resolution=True)
    assert not any(parameter.any() for parameter in fresh.adapter[1].parameters())
    network.adapter[1].load_state_dict(fresh.adapter[1].state_dict())
    null = network(noisy, time, condition.without("memory"))
    assert (network(noisy, time, condition) - null).abs().max() > 1e-3


@pytest.mark.parametrize("counts", [(5, 2, 2), (1, 1, 1), (10, 4, 4), (2, 1, 4)])
def test_nearest_means_are_the_means_of_equal_cells(counts):
    video = torch.randn(2, 3, 10, 8, 8)
    axes = [axis_places(size, count, "centre") for size, count in zip((10, 4, 4), counts, strict=True)]
    places = torch.cartesian_prod(*axes).expand(2, -1, -1)
    cell = [size // count for size, count in zip((10, 4, 4), counts, strict=True)]
    patches = rearrange(video, "n c f (h p) (w q) -> n (c p q) f h w", p=2, q=2)
    expected = rearrange(torch.nn.functional.avg_pool3d(patches, cell), "n d f h w -> n (f h w) d")
    torch.testing.assert_close(nearest_means(video, places, 2), expected)


def test_a_place_without_patches_of_its_own_takes_the_nearest():
    video = torch.randn(1, 3, 2, 2, 2)
    places = torch.tensor([[[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    made = nearest_means(video, places, 2)
    torch.testing.assert_close(made[:, 1], made[:, 0])
    assert (made[:, 2] - made[:, 0]).abs().max() > 0


@BRANCH
def test_a_cut_moves_memory_away_and_marks_it(low_resolution):
    network, noisy, time, condition = _setup(low_resolution=low_resolution)
    made = network(noisy, time, condition)
    other_shot = _with_segments(condition, lambda s: s._replace(shot=s.shot - 1))
    assert (network(noisy, time, other_shot) - made).abs().max() > 1e-3
    # The gap is that of places: a cut is the same as segments that lie a gap further away, but for its mark.
    with torch.no_grad():
        network.cut.zero_()
    moved = _with_segments(condition, lambda s: s._replace(frame_index=s.frame_index - network.shot_gap))
    torch.testing.assert_close(network(noisy, time, other_shot), network(noisy, time, moved), atol=1e-5, rtol=1e-5)


def test_padding_a_segments_text_changes_nothing():
    network, noisy, time, condition = _setup()

    def pad(segments):
        text = torch.cat([segments.text, torch.randn_like(segments.text)], dim=2)
        mask = torch.cat([segments.text_mask, torch.zeros_like(segments.text_mask)], dim=2)
        return segments._replace(text=text, text_mask=mask)

    padded = network(noisy, time, _with_segments(condition, pad))
    torch.testing.assert_close(padded, network(noisy, time, condition), atol=1e-5, rtol=1e-5)


@WINDOWS
def test_gradients_reach_compressor_adapter_null_and_cut(window):
    network, noisy, time, condition = _setup(window())
    condition = _with_segments(condition, lambda s: s._replace(shot=s.shot + torch.tensor([0, 0, 1])))
    network.train()
    network(noisy, time, condition).square().mean().backward()
    missing = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None and not name.startswith(("window.", "compressor."))
    ]
    assert not missing
    assert network.compressor.query.grad.abs().max() > 0


def test_a_frame_that_does_not_exist_is_not_seen():
    network, noisy, time, condition = _setup()
    exists = torch.tensor([[False, True, True, True]]).expand(2, -1)
    condition = condition._replace(frame_mask=exists)
    changed = noisy.clone()
    changed[:, :, 0] = 9.0
    torch.testing.assert_close(network(changed, time, condition)[:, :, 1:], network(noisy, time, condition)[:, :, 1:])


def test_the_memory_keeps_the_first_segment_and_the_nearest():
    starts = list(range(0, 32, 4))
    policy = MemoryPolicy(3, 4.0, 1.0, 64.0)
    assert [starts[i] for i in policy.select([abs(x - 32) for x in starts], first=0)] == [0, 24, 28]
    assert [starts[i] for i in policy.select([abs(x - 8) for x in starts], first=0)] == [0, 4, 8]
    assert [starts[i] for i in policy.select([abs(x - 32) for x in starts], first=0, needed={3})] == [0, 12, 28]
    assert MemoryPolicy(8, 4.0, 1.0, 64.0).select(starts, first=0) == list(range(8))
    assert MemoryPolicy(0, 4.0, 1.0, 64.0).select(starts, first=0) == []


def test_a_canvas_holds_the_frames_that_adjoin_it_and_room_where_there_are_none():
    plan = segment_canvas(8, FRAMES, before=FRAMES, after=0, overlap_frames=2)
    plan = plan._replace(remembered=(RememberedSegment(0, FRAMES, 4.0), RememberedSegment(4, FRAMES, 4.0)))
    _, _, condition = example(12, batch=1)
    past = [PastSegment(torch.randn(1, 4, FRAMES, 4, 4), condition.text, condition.text_mask) for _ in range(2)]
    known = past[1].video[:, :, -2:]
    noise = torch.randn(1, 4, FRAMES, 4, 4)
    opened = open_canvas(plan, noise=noise, condition=condition, known=known, past=past)
    assert opened.condition.frame_index[0].tolist() == list(range(6, 14))
    assert opened.condition.frame_mask[0].tolist() == [True] * 6 + [False] * 2
    assert opened.given.mask[0].tolist() == [True] * 2 + [False] * 6
    assert torch.equal(opened.given.video[:, :, :2], known)
    assert torch.equal(opened.noise[:, :, 2:6], noise)
    assert torch.equal(opened.condition.context[1].segments.video[:, 0], past[1].video)


def test_the_segmentwise_rollout_remembers_within_its_budget_and_continues_from_what_it_made():
    seen = []

    def generate(noise, condition, given, wrap):
        seen.append((condition, given))
        return noise + len(seen)

    rollout = Segmentwise(
        segment_frames=4,
        window_frames=2,
        max_context=3,
        compression_ratio=4.0,
        ratio_growth=2.0,
        max_compression_ratio=10.0,
        memory_level=0.0,
    )
    noise, _, condition = example(26, batch=1)
    video = rollout(generate, Canvas(noise, condition))
    assert video.shape == noise.shape
    torch.testing.assert_close(video[:, :, 4:8], noise[:, :, 4:8] + 2)
    assert [len(each.context) for each, _ in seen] == [0, 1, 2, 3, 3, 3, 3]
    assert [c.rate for c in seen[-1][0].context] == [10.0, 8.0, 4.0]
    assert [int(c.segments.frame_index[0, 0, 0]) for c in seen[-1][0].context] == [0, 16, 20]
    assert seen[0][1] is None
    torch.testing.assert_close(seen[3][1].video[:, :, :2], video[:, :, 10:12])
    assert seen[-1][0].frame_mask[0].tolist() == [True] * 4 + [False] * 2  # two own frames are left, and no future


@pytest.mark.parametrize(
    ("changes", "words"), [({"compression_ratio": 0.5}, "rollout.compression_ratio=0.5"), ({"segment_frames": 0}, "=0")]
)
def test_rollout_settings_out_of_range_are_refused(changes, words):
    settings = {
        "segment_frames": 4,
        "window_frames": 2,
        "max_context": 3,
        "compression_ratio": 4.0,
        "ratio_growth": 2.0,
    }
    with pytest.raises(ValueError, match=words):
        Segmentwise(**{**settings, "max_compression_ratio": 10.0, "memory_level": 0.0, **changes})
