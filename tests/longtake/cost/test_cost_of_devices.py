"""What each device of a training holds, by precision, strategy and number of devices."""

import pytest
import torch
from composing import composed
from counted import built, configured, video_of
from safetensors.torch import save_file

from longtake.cli.cost import predict_cost
from longtake.cli.tables import show_cost
from longtake.cost.codec import codec_size
from longtake.cost.counting import on_meta
from longtake.cost.devices import training_memory
from longtake.cost.guests import Guests, text_bytes
from longtake.cost.report import devices_notes, devices_table
from longtake.cost.sampling import ADAM_BYTES
from longtake.cost.training import training_cost
from networks.text import PackagedMiniLM

VIDEO = video_of(41)  # five windows of VIN


@pytest.fixture(scope="module")
def network():
    return on_meta(built("network=vin", "network.chunk_frames=9")[0]).requires_grad_(True)


def of(network, **changes):
    settings = {"precision": "32-true", "strategy": "ddp", "devices": 1, "average": False, **changes}
    return training_memory(network, VIDEO, **settings)


@pytest.mark.slow
def test_one_device_holds_what_a_training_step_does(network):
    found = of(network)
    weights = sum(p.numel() for p in network.parameters())
    assert found.weights + found.gradients + found.optimizer == ADAM_BYTES * weights
    assert found.activations == training_cost(on_meta(network), VIDEO, torch.float32).bytes
    assert (found.average, found.exchanged, found.casts) == (0, 0, 0)
    assert of(network, average=True).average == found.weights
    assert of(network, average=True).host == 2 * found.weights


@pytest.mark.slow
def test_precisions_change_what_they_say(network):
    full, mixed, half = (of(network, precision=each) for each in ("32-true", "bf16-mixed", "bf16-true"))
    assert mixed.weights == full.weights == 2 * half.weights
    assert mixed.casts == full.weights // 2
    assert half.optimizer * 2 == full.optimizer
    assert mixed.activations < full.activations
    assert half.activations < mixed.activations


@pytest.mark.slow
def test_pieces_are_shares_and_copies_are_whole(network):
    alone = of(network, average=True)
    for devices in (2, 8):
        copies = of(network, devices=devices, average=True)
        pieces = of(network, devices=devices, average=True, strategy="fsdp2")
        assert copies[:4] == alone[:4]
        assert copies.exchanged == alone.gradients
        for name in ("weights", "gradients", "optimizer", "average"):
            assert getattr(pieces, name) == -(-getattr(alone, name) // devices)
        assert pieces.activations == alone.activations
        assert 0 < pieces.exchanged < alone.weights + alone.gradients + 2 * alone.weights
    two = of(network, devices=8, average=True, strategy="fsdp2", replicas=4)
    assert two.weights == of(network, devices=2, average=True, strategy="fsdp2").weights


@pytest.mark.slow
def test_windows_that_are_shared_out_hold_less(network):
    alone = of(network)
    shares = [of(network, devices=devices, strategy="chunks").activations for devices in (2, 3, 5)]
    assert alone.activations > shares[0] > shares[1] > shares[2]
    # Three of five windows, two, and one; all beside an interface that each has.
    assert shares[1] < 0.65 * alone.activations
    assert of(network).activations == alone.activations  # nothing is left changed


@pytest.mark.slow
def test_frozen_weights_have_no_gradients(network):
    frozen = on_meta(network)
    frozen.backbone.requires_grad_(False)
    learnt = sum(p.numel() for p in frozen.parameters() if p.requires_grad)
    assert of(frozen).gradients == 4 * learnt < of(network).gradients
    assert of(frozen).weights == of(network).weights


def test_what_does_not_divide_is_refused(network):
    with pytest.raises(ValueError, match="replicas=3 does not divide 8 devices"):
        of(network, devices=8, strategy="fsdp2", replicas=3)
    with pytest.raises(ValueError, match="chunks=7 leaves processes without a window"):
        of(network, devices=7, strategy="chunks")
    with pytest.raises(ValueError, match="strategy=dp is unknown: use ddp, fsdp2, chunks"):
        of(network, strategy="dp")


@pytest.mark.slow
def test_the_program_tells_each(capsys, tmp_path):
    own = ("network=vin", "training_devices=[1,2]", "training_precisions=[32-true,bf16-mixed]", "measure_speed=false")
    record = predict_cost(configured(*own, "num_frames=257"))
    names = [each["training"] for each in record["devices"]]
    assert names[:3] == ["32-true, one device", "32-true, 2 x ddp", "32-true, 2 x fsdp2"]
    assert "bf16-mixed, 2 x chunks" in names
    assert len(names) == 8
    cheap = predict_cost(configured(*own, "num_frames=257", "training_optimizer=adamw_8bit"))
    for full, small in zip(record["devices"], cheap["devices"], strict=True):
        assert 3.9 < full["optimizer"] / small["optimizer"] < 4  # 8 bytes of a weight, and 2 with their scales
        assert full["weights"] == small["weights"]
    saved = (8 - 2 * (1 + 4 / 256)) * record["parameters"]
    assert record["training"]["peak_bytes"] - cheap["training"]["peak_bytes"] == pytest.approx(saved, rel=1e-4)
    show_cost(record, tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert "Predicted memory of a training" in said
    assert "2 x fsdp2" in said
    assert "codec and text encoder are on a device between steps alone" in said
    assert "nothing is known" not in said
    assert all(each["codec"] > record["codec_weight_bytes"] > 0 for each in record["devices"])
    assert {each["text"] for each in record["devices"]} == {text_bytes(configured().text)}
    unknown = {"devices": [{**record["devices"][0], "codec": None}]}
    advice = "which comes on top: give a folder on this disk as codec.pretrained"
    assert f"nothing is known of this codec, {advice}" in devices_notes(unknown)[1]
    assert "–" in devices_table(unknown)[1][0]
    assert (tmp_path / "cost.json").is_file()


def test_guests_need_room_between_steps_and_in_the_host(network):
    settings = {"precision": "bf16-mixed", "strategy": "ddp", "devices": 2, "average": True}
    alone = training_memory(network, None, **settings)
    assert alone.casts > 1000

    def beside(**guests):
        return training_memory(network, None, **settings, guests=Guests(**guests))

    small = beside(codec=100, codec_weights=60, text=80)
    assert (small.codec, small.text, small.device) == (100, 80, alone.device)  # a step needs more than they do
    assert small.host == alone.host + 140
    large = beside(text=10 * alone.device)
    assert large.device == 11 * alone.device - alone.casts  # beside all that stays
    unknown = beside(codec=None, codec_weights=None, text=None)
    assert (unknown.codec, unknown.text, unknown.device, unknown.host) == (None, None, alone.device, alone.host)


def test_guests_are_weighed_by_their_files_or_their_names(tmp_path):
    (tmp_path / "text_encoder").mkdir()
    tensors = {"shared.weight": torch.zeros(5, 2), "encoder.x": torch.zeros(3), "decoder.x": torch.zeros(100)}
    save_file(tensors, tmp_path / "text_encoder" / "model.safetensors")
    node = {"_target_": "networks.text.T5Text", "pretrained": str(tmp_path), "subfolder": "text_encoder"}
    assert text_bytes({**node, "dtype": "float32"}) == 4 * 13
    assert text_bytes({**node, "dtype": "bfloat16"}) == 2 * 13
    assert text_bytes({**node, "pretrained": "somebody/something"}) is None
    assert text_bytes({"_target_": "networks.text.NullText"}) == 0
    both = composed("evaluate", "text=hunyuan", "codec=wan22")
    assert text_bytes(both.text) == 2 * (7_505_186_816 + 123_060_480)
    assert text_bytes({**both.text, "pretrained": "somebody/something"}) is None
    (tmp_path / "text_encoder_2").mkdir()
    save_file({"text_model.x": torch.zeros(7)}, tmp_path / "text_encoder_2" / "model.safetensors")
    assert text_bytes({**both.text, "pretrained": str(tmp_path)}) == 2 * (113 + 7)
    assert codec_size(both.codec).weight_bytes == 4 * 704_688_668
    wan = composed("evaluate", "text=umt5", "codec=wan")
    assert text_bytes(wan.text) == 2 * 5_680_910_336
    size = codec_size(wan.codec)
    assert (size.parameters, size.weight_bytes) == (126_892_531, 4 * 126_892_531)
    assert text_bytes(composed("evaluate").text) == 4 * sum(p.numel() for p in PackagedMiniLM().model.parameters())
