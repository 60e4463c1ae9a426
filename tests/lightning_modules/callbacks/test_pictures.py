"""Pictures of training: what is drawn of which frames, where it goes, and that training does not notice."""

import re
import struct
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from composing import composed
from lightning.pytorch.loggers import WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import MEMORY, config, memory_config, weights

from lightning_modules.callbacks.pictures import Pictures, log_loss_by_time
from lightning_modules.previews import some_times
from longtake.cli.training import train
from longtake.reports.sheets import BORDER, KNOWN, SIDE, TEXT, Row, contact_sheet, spread

PICTURES = ("~callbacks.pictures",)  # what other tests leave out


def test_a_sheet_frames_what_was_known():
    grey = np.full((3, 32, 32, 3), 100, np.uint8)
    sheet = contact_sheet([Row("a", grey, [True, False, True]), Row("b", grey[:2])])
    cell = SIDE + 2 * BORDER
    assert sheet.shape == (2 * (TEXT + cell), 3 * cell, 3)
    corners = [sheet[TEXT + 2, number * cell + 2].tolist() for number in range(3)]
    assert [tuple(corner) == KNOWN for corner in corners] == [True, False, True]
    assert sheet[TEXT + cell // 2, cell // 2].tolist() == [100, 100, 100]
    assert (sheet[-cell:, 2 * cell :] == 255).all()  # the shorter row's empty place


def test_frames_are_evenly_spread_with_both_ends():
    assert spread(9, 3) == [0, 4, 8]
    assert spread(2, 8) == [0, 1]
    assert some_times([0.9, 0.1, 0.3, 0.5, 0.7]) == [0.1, 0.5, 0.9]
    assert some_times([0.5]) == [0.5]


@pytest.fixture(scope="module")
def run(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "run"
    train(config(videos, folder, "logger=default", drop=PICTURES))
    return folder


@pytest.mark.slow
def test_a_training_draws_predictions_and_losses_as_files(run):
    names = sorted(path.name for path in (run / "pictures").iterdir())
    assert names == ["losses.svg", "step_0000003.png", "step_0000006.png"]
    sheet = cv2.imread(str(run / "pictures" / "step_0000006.png"))
    assert sheet.shape[0] == 3 * (TEXT + SIDE + 2 * BORDER)  # the truth, and times 0.5 and 0.9
    assert sheet.std() > 5
    curves = (run / "pictures" / "losses.svg").read_text()
    assert ElementTree.fromstring(curves).tag == "{http://www.w3.org/2000/svg}svg"
    assert {"train/loss", "val/loss", "val_without_global_tokens/loss"} <= set(
        re.findall(r"<title>(.*?)</title>", curves)
    )
    assert all(len(points.split()) == 2 for points in re.findall(r'points="(.*?)"', curves))
    assert (run / "samples" / "step_0000006" / "sheet.png").is_file()


@pytest.mark.slow
def test_tensorboard_shows_pictures_and_curves_that_belong_together(run):
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert {"pictures/prediction", "samples/sheet", "samples/0"} <= set(events.Tags()["images"])
    shown = events.Images("pictures/prediction")
    assert [image.step for image in shown] == [3, 6]
    assert shown[1].encoded_image_string[:4] == b"\x89PNG"
    assert "custom_scalars__config__" in events.Tags()["tensors"]


@pytest.mark.slow
def test_pictures_change_nothing_of_a_training(run, videos, tmp_path):
    train(config(videos, tmp_path / "without"))
    torch.testing.assert_close(weights(run), weights(tmp_path / "without"), rtol=0, atol=0)


@pytest.mark.slow
def test_memory_and_the_window_are_framed(videos, tmp_path, monkeypatch):
    drawn = {}

    def draw(rows, **_):
        drawn.update({row.name: list(row.known) for row in rows if row.known})
        return contact_sheet(rows)

    monkeypatch.setattr("lightning_modules.callbacks.pictures.contact_sheet", draw)
    experiment = ("experiment=lovic_freedoom", *MEMORY, "trainer.max_steps=3", "pretrained=null")
    train(
        memory_config(
            videos,
            tmp_path / "run",
            *experiment,
            "~callbacks.samples",
            drop=("callbacks.samples", "sampler.", *PICTURES),
        )
    )
    truth = drawn.pop("truth")
    assert drawn
    assert all(known == truth for known in drawn.values())
    assert truth[0]  # what is remembered comes first
    assert truth.count(False) == 2  # the two latent frames of the segment that is made
    assert all("one call at time" in name for name in drawn)


def test_curves_go_on_where_a_run_is_resumed(tmp_path):
    old, new = (Pictures(folder=str(tmp_path), every_n_steps=1, most_frames=8) for _ in range(2))
    trainer = SimpleNamespace(
        is_global_zero=True, sanity_checking=False, global_step=5, loggers=[],
        callback_metrics={"val/loss": torch.tensor(2.0), "speed/tflops": torch.tensor(1.0)},
    )  # fmt: skip
    old.on_validation_end(trainer, None)
    new.load_state_dict(old.state_dict())
    trainer.global_step, trainer.callback_metrics = 10, {"val/loss": torch.tensor(1.0)}
    new.on_validation_end(trainer, None)
    assert new.losses == {"val/loss": [(5, 2.0), (10, 1.0)]}


class Service(WandbLogger):
    """Stands in for the logger of W&B: notes what it is handed."""

    def __init__(self):
        self.logged = []
        self.images = []

    @property
    def experiment(self):
        return SimpleNamespace(log=self.logged.append)

    def log_image(self, key, images, step=None, **kwargs):
        self.images.append((key, images[0].shape, step, kwargs))


def test_wandb_is_given_a_line_for_each_validation(monkeypatch):
    calls = []
    plot = SimpleNamespace(line_series=lambda **given: calls.append(given) or "chart")
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(plot=plot))
    service = Service()
    log_loss_by_time(service, {0.9: {3: 1.0, 6: 0.8}, 0.5: {3: 0.7, 6: 0.6}})
    assert service.logged == [{"pictures/loss_by_time": "chart"}]
    (given,) = calls
    assert given["xs"] == [0.5, 0.9]
    assert given["ys"] == [[0.7, 1.0], [0.6, 0.8]]
    assert given["keys"] == ["step 3", "step 6"]


def records_of(folder):
    """What an offline run keeps for the service: records in LevelDB's log format, after a head of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    data, at, part, block = file.read_bytes(), 7, b"", 32768
    while at + 7 <= len(data):
        if block - at % block < 7:  # no head fits here any more
            at += block - at % block
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or its last piece
            yield Record.FromString(part)
            part = b""


@pytest.mark.slow
def test_wandb_takes_them_offline(videos, tmp_path, monkeypatch, caplog):
    wandb = pytest.importorskip("wandb", reason='no W&B: pip install "longtake[wandb]"')
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    with caplog.at_level("INFO", logger="longtake"):
        train(config(videos, run, "logger=wandb", "logger.wandb.offline=true", "trainer.max_steps=3"))
    settings = dict(wandb.run.config)
    wandb.finish()
    kept = {path.name.rsplit("_", 2)[0] for path in run.rglob("media/images/**/*.png")}
    assert {"prediction", "sheet"} <= kept
    assert list(run.rglob("media/table/**/*.json"))
    assert [path.read_bytes() for path in run.rglob("media/videos/*.mp4")]
    assert settings["network"]["_target_"] == "networks.vin.VideoInterfaceNetwork"
    assert settings["global_batch_size"] == 4
    (folder,) = run.glob("wandb/offline-run-*")
    assert f"curves       wandb sync {folder}" in caplog.text
    logged = [record.history for record in records_of(folder) if record.HasField("history")]
    names = {".".join(item.nested_key) or item.key for history in logged for item in history.item}
    assert {"train/loss", "val/loss", "val_without_global_tokens/loss", "trainer/global_step"} <= names


def test_sharded_weights_are_not_drawn():
    assert composed("train", "trainer=fsdp", "callbacks=fsdp").callbacks.pictures is None
