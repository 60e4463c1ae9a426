"""Numbers of every frame: read with the latents that they belong to, and refused where they do not fit."""

import csv
import re

import numpy as np
import pytest
import torch
from clips import Mean, Words
from video_files import make

from datamodules.segments import SegmentDataModule
from datamodules.video_datamodule import VideoDataModule
from networks.control import PoseControl

FRAMES = 41
COMMON = {
    "global_batch_size": 2, "batch_size": 2, "seed": 0, "make": None, "table": "table.csv", "height": 16,
    "width": 16, "fps": 8.0, "frame_stride": None, "cut_frames": None, "crop": "centre", "pixels": False,
    "cache_dtype": "float32", "validation_share": 0.5, "num_validation_clips": 2, "num_workers": 0,
    "short_caption_share": 0.0,
}  # fmt: skip


def poses(number):
    """F 3 of a film."""
    frames = np.arange(FRAMES)
    return np.stack([100 * number + frames, -frames, 2.0 * frames], axis=1)


def write_corpus(root, *, rows=poses, header=("frame", "x", "y", "angle")):
    lines = []
    for number in range(4):
        make(root / f"{number}.mp4", num_frames=FRAMES, fps=8)
        with (root / f"{number}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows([frame, *row] for frame, row in enumerate(rows(number).tolist()))
        lines.append((f"{number}.mp4", f"film {number}", f"{number}.csv", "train" if number < 2 else "validation"))
    with (root / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text", "poses", "split"), *lines])


def control():
    return PoseControl(width=8, frames_per_latent=4, unit=1.0)


def data(kind, root, **changes):
    settings = {
        "codec": Mean(), "text_encoder": Words(), "root": str(root), "cache_dir": str(root / "cache"),
        "num_frames": [17], "hop_frames": 8, "control": control(), **COMMON, **changes,
    }  # fmt: skip
    made = kind(**settings)
    made.prepare_data()
    made.setup("fit")
    return made


def expected(number, latent):
    """Numbers of the four pixel frames of a latent frame of a film."""
    frames = [max(frame, 0) for frame in range(4 * latent - 3, 4 * latent + 1)]
    return torch.from_numpy(poses(number)[frames].astype(np.float32)).flatten()


def test_every_latent_frame_of_a_clip_has_the_numbers_of_its_own_pixel_frames(tmp_path):
    write_corpus(tmp_path)
    module = data(VideoDataModule, tmp_path)
    clips = list(module.clips["train"])
    assert {clip.start for clip in clips} >= {0, 8}
    for clip in clips:
        batch = module.batch([clip], 17, [0])
        found = batch.per_frame["control"]
        assert found.shape == (1, 5, 12)
        number = int(clip.entry.path.stem)
        for frame in range(5):
            assert torch.equal(found[0, frame], expected(number, clip.start // 4 + frame))


def test_segments_of_a_row_have_theirs(tmp_path):
    write_corpus(tmp_path)
    rule = {"segments_per_row": 3, "segment_frames": 3, "gap_share": 0.0, "multi_shot_share": 0.0}
    module = data(SegmentDataModule, tmp_path, num_frames=[41], hop_frames=41, **rule)
    batch = module.fixed_batch(module.clips["validation"][:2], 41)
    found = batch.per_frame["control"].unflatten(-1, (4, 3))
    assert found.shape == (2, 3, 3, 4, 3)
    for row in range(2):
        frames = found[row, ..., 0] - 100 * (2 + row)  # x counts the film's frames
        assert torch.equal(found[row, ..., 1], -frames)
        assert torch.equal(frames[..., 3].flatten().diff(), torch.full((8,), 4.0))
        shown = (batch.video[row].mean(dim=(1, 3, 4)) + 1) * 127.5  # and so does its grey
        assert torch.allclose(shown, (10 * (frames % 25)).mean(dim=-1), atol=2.0)


def test_without_control_nothing_is_read(tmp_path):
    write_corpus(tmp_path, header=("frame", "a", "b", "c"))
    module = data(VideoDataModule, tmp_path, control=None)
    assert module.batch(list(module.clips["train"])[:1], 17, [0]).per_frame == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": lambda number: poses(number)[:-6]}, "has 35 rows, but .* has 41 frames here"),
        ({"rows": lambda number: np.repeat(poses(number), 2, axis=0)}, "has 82 rows, but .* has 41 frames"),
        ({"rows": lambda number: poses(number) * np.nan}, "line 2: x is 'nan'; every frame needs its numbers"),
        ({"header": ("frame", "x", "y", "turn")}, "line 1: no column angle"),
        ({"header": ("x", "frame", "y", "angle")}, r"line 2: frame is '0\.0'|line 3: frame is"),
    ],
)
def test_numbers_that_do_not_fit_are_one_sentence_with_their_file(tmp_path, changes, message):
    write_corpus(tmp_path, **changes)
    module = data(VideoDataModule, tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        module.batch(list(module.clips["train"])[:1], 17, [0])
    assert re.search(r"\d\.csv", str(caught.value))


def test_a_film_without_numbers_is_named(tmp_path):
    write_corpus(tmp_path)
    (tmp_path / "table.csv").write_text("path,text\n0.mp4,a\n1.mp4,b\n")
    module = data(VideoDataModule, tmp_path)
    with pytest.raises(ValueError, match=r"\d\.mp4 has no file of control, which control=… needs"):
        module.batch(list(module.clips["train"])[:1], 17, [0])
