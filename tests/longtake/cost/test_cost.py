"""The cost model's predictions beside what PyTorch counts on networks that really run."""

import json

import pytest
import torch
from composing import ROOT
from counted import HYBRID, LOVIC, ROLLOUTS, SIDE, TEXT, TINY, built, configured, counted, example, video_of
from hydra.utils import instantiate
from live import LiveBytes

from longtake.cli import evaluate as program
from longtake.cost import speed
from longtake.cost.codec import codec_size
from longtake.cost.flops import num_keyframes, step_flops
from longtake.cost.memory import sampling_bytes, step_bytes, training_bytes
from longtake.cost.remembering import num_memory_keys, remember_flops
from longtake.releases.reading import load_run
from networks.codecs.causal import CausalVideoAutoencoder
from networks.interfaces import Context, SegmentBatch

WEIGHTS = f"paths.weights_dir={ROOT / 'weights'}"


@pytest.mark.parametrize("num_frames", [65, 129, 257])
@pytest.mark.parametrize(
    "overrides",
    [("network=dit",), ("network=vin", "interface.width=48", "interface.num_heads=3"), ("network=vin_plan",)],
    ids=["dit", "vin", "vin_plan"],
)
def test_flops_of_a_step_are_those_that_run(overrides, num_frames):
    network, size, _ = built(*overrides)
    frames = (num_frames - 1) // 4 + 1
    for given in (False, True):
        flops = counted(network, *example(size, frames, shared_time=not given))
        assert step_flops(size, frames, video_of(frames), given=given) == pytest.approx(flops, rel=0.002), given


@pytest.mark.parametrize("overrides", [("network=dit",), ("network=vin",)], ids=["dit", "vin"])
def test_flops_of_a_training_step_are_counted_in_its_windows(overrides):
    network, size, _ = built(*overrides)
    predicted = step_flops(size, 33, video_of(33), training=True)
    assert predicted == pytest.approx(counted(network.train(), *example(size, 33, shared_time=False)), rel=0.02)


def segments_of(size, count, frames):
    return SegmentBatch(
        video=torch.randn(1, count, size.dit.channels, frames, SIDE, SIDE),
        frame_index=torch.arange(count * frames, dtype=torch.float32).view(1, count, frames),
        text=torch.randn(1, count, TEXT, size.dit.text_features),
        text_mask=torch.ones(1, count, TEXT, dtype=torch.bool),
        shot=torch.zeros(1, count, dtype=torch.long),
        valid=torch.ones(1, count, dtype=torch.bool),
    )


@pytest.mark.parametrize("low_resolution", ["false", "true"])
@pytest.mark.parametrize("compressor", ["flexformer", "flexformer_qformer", "fixed_queries", "mean_pool"])
def test_flops_of_memory_are_those_that_run(compressor, low_resolution):
    settings = (f"compressor={compressor}", f"network.low_resolution={low_resolution}")
    network, size, _ = built("network=lovic", *settings)
    _, _, condition = example(size, 10)
    rates = (4.0, 10.0)
    context = tuple(Context(segments_of(size, 1, 10), torch.zeros(1, 1), rate) for rate in rates)
    condition = condition._replace(context=context, shot=torch.zeros(1, dtype=torch.long))
    segments = [(10, rate) for rate in rates]
    assert remember_flops(size, segments, video_of(10)) == pytest.approx(
        counted(network.encode_context, condition), rel=0.02
    )
    with torch.no_grad():
        keys = network.encode_context(condition).memory.layers[0][0].shape[2]
    assert num_memory_keys(size, segments, video_of(10)) == keys


def test_flops_of_decoding_are_those_that_run():
    node = {"channels": 4, "fine_width": 8, "coarse_width": 16, "num_fine_blocks": 1, "num_coarse_blocks": 2}
    size = codec_size({"_target_": "networks.codecs.causal.CausalVideoAutoencoder", **node})
    codec = CausalVideoAutoencoder(**node).eval()
    assert size.decode_flops * 9 * 4 * 4 == counted(codec.decode, torch.randn(1, 4, 9, 4, 4))
    assert (size.channels, size.time_factor, size.space_factor) == (4, 4, 8)
    assert size.parameters == sum(parameter.numel() for parameter in codec.parameters())


@pytest.mark.parametrize("frames", [8, 40])
@pytest.mark.parametrize("fine", [32, 192])
def test_memory_of_decoding_is_that_of_the_tensors_alive(fine, frames):
    node = {"channels": 4, "fine_width": fine, "coarse_width": 64, "num_fine_blocks": 1, "num_coarse_blocks": 2}
    size = codec_size({"_target_": "networks.codecs.causal.CausalVideoAutoencoder", **node})
    codec, latents = CausalVideoAutoencoder(**node).eval(), torch.randn(1, 4, frames, 4, 4)
    with torch.no_grad(), LiveBytes([latents, *codec.parameters(), *codec.buffers()]) as live:
        for piece in codec.decode_stream(latents):
            assert len(piece) == 1
    assert size.decode_bytes(frames, 4 * 4) == pytest.approx(live.peak, rel=0.15)


@pytest.mark.parametrize("frames", [17, 65])
@pytest.mark.parametrize("overrides", [("network=dit",), ("network=vin",), LOVIC], ids=["dit", "vin", "lovic"])
def test_memory_of_sampling_is_that_of_the_tensors_alive(overrides, frames):
    network, size, _ = built(*overrides, "backbone.width=128")
    inputs = example(size, frames)
    known = [*network.parameters(), *network.buffers(), *(x for x in (*inputs, *inputs[2]) if torch.is_tensor(x))]
    with torch.no_grad(), LiveBytes(known) as live:
        network(*inputs)
    memory = 1 if size.remembers else 0
    video = video_of(frames)
    predicted = step_bytes(size, frames, video, memory=memory, element=4)
    assert predicted == pytest.approx(live.peak, rel=0.15)
    assert sampling_bytes(size, frames, video, memory=0, memories=0, element=4) > predicted


@pytest.mark.parametrize("overrides", [("network=dit",), ("network=vin",)], ids=["dit", "vin"])
def test_memory_of_training_is_that_of_the_tensors_alive(overrides, monkeypatch):
    monkeypatch.setattr("networks.blocks.PLAIN_KEYS", 0)  # fused attention, as on a GPU
    network, size, _ = built(*overrides, "backbone.width=128")
    for parameter in network.requires_grad_(True).parameters():
        parameter.grad = torch.zeros_like(parameter)
    inputs = example(size, 33, shared_time=False)
    known = [*network.parameters(), *network.buffers(), *(x for x in (*inputs, *inputs[2]) if torch.is_tensor(x))]
    with LiveBytes([*known, *(parameter.grad for parameter in network.parameters())]) as live:
        network.train()(*inputs).square().mean().backward()
    assert training_bytes(size, 33, video_of(33), 4) == pytest.approx(live.peak, rel=0.15)


def test_keyframes_are_those_of_the_interface():
    network, size, _ = built("network=vin")
    for frames in (1, 3, 17, 257):
        found = network.interface.keyframes(frames, torch.device("cpu"))
        assert num_keyframes(size.interface, frames) == len(found)


@pytest.mark.parametrize(
    "overrides", [("network=vin", "backbone=dit_s", "num_frames=1025"), ("network=dit",), LOVIC, HYBRID]
)
def test_the_program_predicts_from_the_config_alone(overrides, tmp_path, capsys):
    settings = (f"output={tmp_path}", "peak_tflops=100", "efficiency=0.5", WEIGHTS)
    cfg = configured(*overrides, "cost=true", *settings)
    program.run(cfg)
    record = json.loads((tmp_path / "cost.json").read_text())
    rollouts = {row["rollout"]: row for row in record["rollouts"]}
    assert sorted([*rollouts, *record["left_out"]]) == ROLLOUTS
    remembers = overrides in (LOVIC, HYBRID)
    missing = ["free_noise", "spectral_blending"] if remembers else ["segmentwise"]
    assert set(record["left_out"]) == {*missing, *(["full"] if overrides == HYBRID else [])}
    assert record["parameters"] == sum(p.numel() for p in instantiate(cfg.network).parameters())
    for row in rollouts.values():
        assert row["seconds"] == pytest.approx(row["video_flops"] / 50e12)
        assert row["peak_bytes"] - row["activation_bytes"] == 4 * record["parameters"]
    whole = rollouts["whole"]
    assert whole["network_calls"] == 30
    assert whole["video_flops"] == 30 * whole["step_flops"] + whole["memory_flops"] + record["decode_flops"]
    assert record["speed"] == {"tflops": 50.0, "mfu": 0.5, "source": "assumed: 50% of 100 TFLOP/s"}
    assert {row["mfu"] for row in rollouts.values()} == {0.5}
    said = " ".join(capsys.readouterr().out.split())
    assert "assumed: 50% of 100" in said
    assert "peak: with the weights, of the network alone" in said
    assert f"not with this network: {', '.join(record['left_out'])}" in said


def test_trained_weights_are_priced_as_they_were_trained(tmp_path):
    folder = ROOT / "weights" / "vin_lovic_freedoom_64"
    cfg = configured("cost=true", f"weights={folder}", f"output={tmp_path}", "num_frames=157", "measure_speed=false")
    program.run(cfg)
    record = json.loads((tmp_path / "cost.json").read_text())
    config, module = load_run(folder)
    assert record["parameters"] == sum(p.numel() for p in module.get_submodule("network").parameters())
    priced = program.priced_parts(cfg)["rollouts"]["segmentwise"]
    assert priced["segment_frames"] == config["rollout"]["segment_frames"] == 20
    (row,) = (row for row in record["rollouts"] if row["rollout"] == "segmentwise")
    assert row["network_calls"] == 30 * 2  # 40 latents
    cfg.weights = str(ROOT / "weights" / "flexformer_freedoom_64")
    with pytest.raises(ValueError, match="flexformer_freedoom_64 make no videos by themselves"):
        program.run(cfg)


def test_a_measured_speed_gives_the_mfu_and_guidance_doubles_the_calls():
    once = program.predict_cost(configured("cost=true", "measured_tflops=25", "peak_tflops=100", WEIGHTS))
    unknown = ("guidance_passes=2", "dtype=bfloat16", "measure_speed=false")
    twice = program.predict_cost(configured("cost=true", *unknown, WEIGHTS))
    assert once["speed"] == {"tflops": 25.0, "mfu": 0.25, "source": "measured: 25 TFLOP/s"}
    assert [row["seconds"] for row in twice["rollouts"]] == [None] * 7
    assert twice["speed"]["source"].startswith("unknown: give peak_tflops=")
    assert [row["network_calls"] for row in twice["rollouts"]] == [2 * row["network_calls"] for row in once["rollouts"]]
    assert 2 * twice["weight_bytes"] == once["weight_bytes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("num_frames=256", r"^num_frames=256 breaks the codec's rule 4n \+ 1: use 253 or 257$"),
        ("height=60", r"^height=60 must be a multiple of 16"),
        ("dtype=int8", "^dtype=int8 is unknown: use float32, bfloat16, float16$"),
        ("efficiency=2", "^efficiency=2 must lie above 0"),
        ("peak_tflops=0", "^peak_tflops=0 must be above 0"),
        ("guidance_passes=0", "^guidance_passes=0 must be at least 1"),
        ("device=cuda", "^device=cuda is not here to be measured: give peak_tflops=… of it, or use device=cpu$"),
        ("paths.weights_dir=nowhere", r"^codec.folder=nowhere/codec_freedoom_64 holds no config.json"),
        ("network=compressor", "^cost=true knows no network networks.lovic.compressor_alone: use vin"),
    ],
)
def test_what_cannot_be_predicted_is_one_clear_sentence(change, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    changes = [change] if "weights_dir" in change else [change, WEIGHTS]
    with pytest.raises(ValueError, match=message):
        program.predict_cost(configured("cost=true", *changes))


@pytest.mark.parametrize("overrides", [("network=vin",), LOVIC, ("network=dit", "dtype=bfloat16")])
@pytest.mark.parametrize("most", [10**8, 0], ids=["network", "block"])
def test_where_no_speed_is_given_one_is_measured(overrides, most, monkeypatch):
    monkeypatch.setattr(speed, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(speed, "TOKENS", 64)
    monkeypatch.setattr(speed, "MOST_PARAMETERS", most)
    monkeypatch.setattr(speed, "PRODUCT_SIDE", {"cpu": 256})
    record = program.predict_cost(configured(*TINY, *overrides, "codec=causal", "codec.channels=4", "cost=true"))
    found = record["speed"]
    assert found["source"].startswith("measured on cpu with ")
    assert ("the network" if most else "one block of its DiT") in found["source"]
    assert "on 4 latent frames" in found["source"]
    assert found["tflops"] > 0
    assert found["mfu"] > 0
    for row in record["rollouts"]:
        assert row["seconds"] == pytest.approx(row["video_flops"] / found["tflops"] / 1e12)
        assert row["mfu"] == found["mfu"]
