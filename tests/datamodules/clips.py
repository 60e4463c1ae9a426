"""A data module over small videos, with a codec and a text encoder whose features are known by heart."""

from types import SimpleNamespace

import torch

from datamodules.video_datamodule import VideoDataModule
from networks.codecs.rules import check_size


class Mean:
    """A causal codec: the first frame by itself, then the means of four; 8 x 8 pixels to one."""

    channels, time_factor, space_factor = 3, 4, 8
    fingerprint = "mean"
    calls = 0

    def encode(self, video):
        check_size(*video.shape[2:], 4, 8, "mean")
        Mean.calls += 1
        small = torch.nn.functional.avg_pool3d(video, (1, 8, 8))
        groups = small[:, :, 1:].unflatten(2, (-1, 4)).mean(3)
        return torch.cat([small[:, :, :1], groups], dim=2)

    def encode_stream(self, pieces):
        for number, piece in enumerate(pieces):
            piece = piece if number == 0 else torch.cat([piece[:, :, :1], piece], dim=2)
            yield self.encode(piece)[:, :, min(number, 1) :]


class Words:
    """One token a word: its length."""

    features = 2
    fingerprint = "words"

    def encode(self, captions):
        rows = [[len(word) for word in caption.split()] for caption in captions]
        longest = max(1, *map(len, rows))
        features, mask = torch.zeros(len(rows), longest, 2), torch.zeros(len(rows), longest, dtype=torch.bool)
        for place, row in enumerate(rows):
            features[place, : len(row), 0] = torch.tensor(row, dtype=torch.float32)
            mask[place, : len(row)] = True
        return features, mask


def module(folder, **changes):
    settings = {
        "codec": Mean(), "text_encoder": Words(), "global_batch_size": 2, "batch_size": 2, "seed": 0, "make": None,
        "root": str(folder), "table": None, "height": 16, "width": 16, "fps": 10, "num_frames": [5, 9],
        "hop_frames": 4, "cut_frames": None, "crop": "centre", "pixels": False, "cache_dir": str(folder / "cache"),
        "cache_dtype": "float32", "validation_share": 0.4, "num_validation_clips": 3, "num_workers": 0,
        "short_caption_share": 0.0, "frame_stride": None,
    }  # fmt: skip
    return VideoDataModule(**{**settings, **changes})


def ready(folder, **changes):
    data = module(folder, **changes)
    data.prepare_data()
    data.setup("fit")
    data.trainer = SimpleNamespace(global_step=0, accumulate_grad_batches=1, global_rank=0, world_size=1)
    return data
