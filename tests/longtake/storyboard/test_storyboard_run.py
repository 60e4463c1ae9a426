"""Storyboards carried out: killed, changed and broken runs, given videos."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from stories import DIRECTIONS, FORWARD, LIMITS, Maker, no_video

from longtake.storyboard.given import GivenReader, VideoProbe
from longtake.storyboard.run import make_storyboard, whole_take
from longtake.storyboard.store import SegmentStore
from longtake.video import write_video

# Carrying out


def test_a_killed_run_continues_and_a_second_one_makes_nothing(planned, tmp_path):
    made, store = planned(FORWARD), SegmentStore(tmp_path / "store")
    killed = Maker(fail_at="c")
    with pytest.raises(KeyboardInterrupt):
        make_storyboard(made, store, killed, no_video)
    assert killed.calls == ["a", "b"]
    resumed, fresh = Maker(), Maker()
    first = make_storyboard(made, store, resumed, no_video)
    assert resumed.calls == ["c", "d"]
    again = Maker()
    second = make_storyboard(made, store, again, no_video)
    assert again.calls == []
    third = make_storyboard(made, SegmentStore(tmp_path / "other"), fresh, no_video)
    assert list(first) == ["a", "b", "c", "d"]
    assert all(torch.equal(first[n], second[n]) and torch.equal(first[n], third[n]) for n in first)
    assert whole_take(first).shape == (1, 2, 40, 3, 3)
    assert not list((tmp_path / "store").glob("*.part"))


def test_a_rerolled_segment_remakes_its_dependants(planned, tmp_path):
    store = SegmentStore(tmp_path / "store")
    make_storyboard(planned(FORWARD), store, Maker(), no_video)
    rolled = Maker()
    make_storyboard(planned(FORWARD.replace("memory: none", "memory: none, seed: 3")), store, rolled, no_video)
    assert rolled.calls == ["c", "d"]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_broken_file_is_made_again(planned, tmp_path, damage):
    made, store = planned(FORWARD), SegmentStore(tmp_path / "store")
    make_storyboard(made, store, Maker(), no_video)
    path = store.path_of(made.steps[1])
    path.write_bytes(damage(path.read_bytes()))
    assert [store.has(step) for step in made.steps] == [True, False, True, True]
    again = Maker()
    make_storyboard(made, store, again, no_video)
    assert again.calls == ["b"]
    assert store.has(made.steps[1])


def test_segments_come_out_in_the_order_in_which_they_are_seen(planned, tmp_path):
    made = planned(DIRECTIONS, LIMITS._replace(max_latents=12))
    maker = Maker()
    latents = make_storyboard(made, SegmentStore(tmp_path / "store"), maker, no_video)
    assert maker.calls == ["begin", "end", "fore", "middle"]
    assert list(latents) == ["begin", "middle", "fore", "end"]


def test_a_segment_of_the_wrong_length_is_refused(planned, tmp_path):
    with pytest.raises(ValueError, match="segment a is"):
        make_storyboard(
            planned(FORWARD), SegmentStore(tmp_path), lambda step, context: torch.zeros(1, 2, 9, 3, 3), no_video
        )


class CausalCodec:
    """Every latent is the mean of its frames and says how many they were; the first one has one frame."""

    time_factor = 4

    def encode(self, video):
        assert video.shape[2] % 4 == 1
        ends = [0, *range(1, video.shape[2] + 1, 4)]
        pieces = [video[:, :, a:b] for a, b in pairwise(ends)]
        return torch.stack([piece.mean(2) + 1000 * piece.shape[2] for piece in pieces], dim=2)


def test_given_frames_are_encoded_as_they_lie_in_the_take(planned):
    frames = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), dtype=np.uint8)

    def read(*_, first, num_frames, **__):
        return frames[first : first + num_frames]

    reader = GivenReader(CausalCodec(), read, 2, 2, 8.0, torch.device("cpu"))
    made = planned("""
video: [{path: a.mp4, role: first, num_frames: 49}, {path: b.mp4, role: last}]
segments: [{name: middle, between: [first, last]}]
""")
    for step in (step for step in made.steps if step.given is not None):
        latents = reader(step)
        assert latents.shape == (1, 3, step.latents, 2, 2)
        counts = (latents[0, 0, :, 0, 0] / 1000).round().int().tolist()
        assert counts == ([1] if step.starts_take else [4]) + [4] * (step.latents - 1)
        values = (latents[0, 0, :, 0, 0] - 1000 * torch.tensor(counts) + 1) * 127.5
        ends = np.cumsum([step.given.begin, *counts])
        expected = [(a + b - 1) / 2 for a, b in pairwise(ends)]
        assert np.allclose(values.numpy(), expected, atol=0.05)


def test_a_video_is_counted_as_it_will_be_read(tmp_path):
    from longtake.video import read_frames

    path = tmp_path / "own.mp4"
    write_video(path, iter([torch.rand(3, 23, 16, 16) * 2 - 1]), fps=10)
    for fps in (10.0, 4.0, 7.5, 24.0):
        read = read_frames(path, height=16, width=16, fps=fps, crop_place=0.5)
        assert VideoProbe(fps)(path).num_frames == len(read)
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("text.mp4", "nowhere.mp4"):
        with pytest.raises(ValueError, match=r"no such file|cannot be decoded"):
            VideoProbe(10.0)(tmp_path / name)
