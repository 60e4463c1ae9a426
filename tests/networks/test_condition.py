"""A condition cuts, folds and leaves out by itself, whatever it holds."""

import torch
from builders import context, example, tiny_lovic

from longtake.rollouts.anchored import Anchored
from longtake.rollouts.autoregressive import Autoregressive
from longtake.rollouts.gen_l_video import GenLVideo
from longtake.rollouts.interfaces import Canvas, unwrapped
from longtake.rollouts.segmentwise import Segmentwise

FRAMES = 12


def numbered(batch: int = 2):
    """A condition whose per-frame input is each frame's number, so that a frame in a wrong place is seen."""
    noisy, time, condition = example(FRAMES, batch)
    number = torch.arange(FRAMES, dtype=torch.float32).expand(batch, -1)
    return (
        noisy,
        time,
        condition._replace(
            frame_mask=number < FRAMES - 1,
            shot=torch.arange(batch),
            per_frame={"number": number.unsqueeze(-1), "twice": torch.stack([number, 2 * number], dim=-1)},
        ),
    )


def agrees(condition) -> bool:
    """Whether the per-frame inputs are those of the frames."""
    number = condition.per_frame["number"][..., 0]
    twice = torch.equal(condition.per_frame["twice"], torch.stack([number, 2 * number], dim=-1))
    return twice and torch.equal(number, condition.frame_index)


def test_frames_are_cut_with_all_that_has_a_value_a_frame():
    _, _, condition = numbered()
    part = condition.frames(slice(3, 7))
    assert part.frame_index.tolist() == [[3, 4, 5, 6]] * 2
    assert agrees(part)
    assert torch.equal(part.text, condition.text)
    picked = condition.frames(torch.tensor([11, 0, 0]))
    assert picked.frame_index.tolist() == [[11, 0, 0]] * 2
    assert agrees(picked)
    assert picked.frame_mask.tolist() == [[False, True, True]] * 2


def test_windows_are_folded_behind_their_own_row():
    _, _, condition = numbered()
    folded = condition.fold(torch.tensor([[0, 1], [5, 6], [10, 11]]))
    assert folded.frame_index.tolist() == [[0, 1], [5, 6], [10, 11]] * 2
    assert agrees(folded)
    assert folded.frame_mask.tolist() == [[True, True], [True, True], [True, False]] * 2
    assert folded.shot.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(folded.text[3:], condition.text[1:].expand(3, -1, -1))


def test_what_rollouts_call_holds_each_frame_s_own_inputs():
    rollouts = (
        Autoregressive(window_frames=5, context_frames=2),
        Anchored(window_frames=6, context_frames=2, anchor_frames=2, anchor_place="canvas"),
        GenLVideo(window_frames=6, overlap_frames=2, profile="uniform", windows_per_call=2),
    )
    noise, _, condition = numbered()
    condition = condition._replace(frame_mask=None)
    for rollout in rollouts:
        seen = []

        def generate(noise, condition, given, wrap=unwrapped, seen=seen):
            def network(noisy, time, condition):
                seen.append(condition)
                return noisy

            return wrap(network)(noise, torch.ones(1, 1), condition)

        rollout(generate, Canvas(noise, condition))
        assert len(seen) > 1
        assert all(agrees(each) for each in seen)


def test_a_segment_and_its_memory_hold_their_own_inputs():
    noise, _, condition = numbered()
    segmentwise = Segmentwise(
        segment_frames=4,
        window_frames=2,
        max_context=2,
        compression_ratio=4.0,
        ratio_growth=1.0,
        max_compression_ratio=4.0,
        memory_level=0.0,
    )
    seen = []

    def generate(noise, condition, given, wrap=unwrapped):
        seen.append(condition)
        return noise

    segmentwise(generate, Canvas(noise, condition._replace(frame_mask=None)))
    assert len(seen) == 3
    for window in seen:
        number = window.per_frame["number"][..., 0]
        assert torch.equal(number, window.frame_index.clamp(0, FRAMES - 1))
        for past in window.context:
            assert torch.equal(past.segments.per_frame["number"][..., 0], past.segments.frame_index)


def test_segments_are_folded_with_their_inputs():
    segments = context([0, 4, 8]).segments
    segments = segments._replace(per_frame={"number": segments.frame_index.unsqueeze(-1)})
    rows = segments.fold()
    assert rows.video.shape[0] == 6
    assert torch.equal(rows.per_frame["number"][..., 0], rows.frame_index)
    assert torch.equal(segments.map(lambda x: x[:, 1:]).per_frame["number"][:, 0, 0, 0], torch.tensor([4.0, 4.0]))


def test_the_null_memory_is_the_first_token_of_every_memory():
    network = tiny_lovic()
    _, _, condition = example(4)
    condition = condition._replace(shot=torch.zeros(2, dtype=torch.long))
    alone = network.encode_context(condition).memory
    full = network.encode_context(condition._replace(context=(context([-8]),))).memory
    assert full.layers[0][0].shape[2] > 1
    for (key, value), (null_key, null_value) in zip(full.null.layers, alone.layers, strict=True):
        assert torch.equal(key, null_key)
        assert torch.equal(value, null_value)
