"""Videos written from Python: what is refused in one sentence, and what is there afterwards."""

import numpy as np
import pytest
import torch

from longtake.video import read_video, write_video


def video(frames=5, height=16, width=24):
    return torch.linspace(-1, 1, 3 * frames * height * width).view(3, frames, height, width)


def test_one_tensor_is_a_video_and_so_are_its_pieces(tmp_path):
    write_video(tmp_path / "one.mp4", video(), fps=np.float32(8))
    write_video(tmp_path / "two.mp4", (piece for piece in video().split(3, dim=1)), fps=8)
    assert read_video(tmp_path / "one.mp4").shape == (3, 5, 16, 24)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([], "a video without frames cannot be written"),
        ([video()[:, :0]], "a video without frames cannot be written"),
        ([video(height=15)], "frames are 15 x 24 pixels: height and width must be even"),
        ([video(), video(width=16)], "frames are 16 x 16 pixels: .* the same in all pieces"),
        ([video()[:1]], r"a piece of a video is \(1, 5, 16, 24\): give tensors 3 f h w"),
        ([video().permute(1, 0, 2, 3)], r"a piece of a video is \(5, 3, 16, 24\): give tensors 3 f h w"),
        ([video().numpy()], "give tensors 3 f h w"),
        (None, "NoneType is no video: give tensors 3 f h w"),
        ([video().byte()], r"pixels are torch.uint8: give them in \[-1, 1\]"),
        ([video() * float("nan")], "holds NaN or infinity in 5760 of 5760 numbers"),
    ],
)
def test_what_is_no_video_is_refused_and_the_old_file_stays(tmp_path, pieces, said):
    (tmp_path / "a.mp4").write_text("before")
    with pytest.raises(ValueError, match=said):
        write_video(tmp_path / "a.mp4", pieces, fps=8)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "before"


@pytest.mark.parametrize("fps", [0, -1, None, "8", float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(tmp_path, fps):
    with pytest.raises(ValueError, match=r"fps=.* must be a number above 0"):
        write_video(tmp_path / "a.mp4", [video()], fps=fps)


def test_a_place_that_is_no_file_of_this_machine_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, said in (("", "is a folder"), (tmp_path, "is a folder"), ("s3://bucket/a.mp4", "give a path")):
        with pytest.raises(ValueError, match=said):
            write_video(place, [video()], fps=8)
    for place in (3, None, b"a.mp4"):
        for call in (lambda each: write_video(each, [video()], fps=8), read_video):
            with pytest.raises(ValueError, match="is no path: give a text"):
                call(place)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wanted", [{"height": -1}, {"width": 2.5}, {"height": 0}, {"fps": -1}, {"fps": "8"}])
def test_sizes_and_rates_that_are_none_are_refused_in_reading(tmp_path, wanted):
    write_video(tmp_path / "a.mp4", [video()], fps=8)
    with pytest.raises(ValueError, match=f"{next(iter(wanted))}=.* must be a"):
        read_video(tmp_path / "a.mp4", **wanted)
