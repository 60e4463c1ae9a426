"""Where sample videos go."""

from types import SimpleNamespace

import torch
from lightning.pytorch.loggers import WandbLogger

from lightning_modules.callbacks.samples import SampleVideos, animated


class Recorder(WandbLogger):
    """Notes what it is handed, without the service's library."""

    def __init__(self):
        self.calls = []

    def log_video(self, key, videos, step=None, **kwargs):
        self.calls.append((key, videos, step, kwargs))


def test_a_service_is_given_the_files(tmp_path):
    logger, paths = Recorder(), [tmp_path / "0.mp4", tmp_path / "1.mp4"]
    trainer = SimpleNamespace(loggers=[logger], global_step=7)
    SampleVideos.log_videos(trainer, torch.zeros(2, 3, 5, 8, 8), 8.75, paths, ["one", "two"])
    assert logger.calls == [("samples", [str(path) for path in paths], 7, {"caption": ["one", "two"]})]


def test_an_animation_has_every_frame_at_its_rate():
    from io import BytesIO

    from PIL import Image

    summary = animated("samples/0", torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 8, 6) * 60, 5)
    picture = Image.open(BytesIO(summary.value[0].image.encoded_image_string))
    assert (picture.n_frames, picture.size, picture.info["duration"]) == (4, (6, 8), 200)
