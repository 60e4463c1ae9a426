"""The cost model's predictions beside what PyTorch counts on networks that really run."""

import json
import warnings

import pytest
import torch
from composing import ROOT, composed
from counted import (
    FEATURES,
    HYBRID,
    LOVIC,
    ROLLOUTS,
    SIDE,
    TEXT,
    TINY,
    WAN,
    built,
    configured,
    counted,
    example,
    video_of,
)
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from longtake.cli import evaluate as program
from longtake.cli.cost import priced_parts
from longtake.compat.live import LiveBytes
from longtake.cost import speed
from longtake.cost.codec import codec_size
from longtake.cost.counting import on_meta
from longtake.cost.sampling import WHOLE_CHUNKS, CanvasCounter, VideoSize, pays_from, sampling_cost
from longtake.cost.segments import segment_costs
from longtake.cost.training import training_cost
from longtake.releases.reading import load_run
from longtake.rollouts.canvas import PastSegment, open_canvas
from longtake.rollouts.plan import CanvasPlan, RememberedSegment, consecutive
from networks.codecs.causal import CausalVideoAutoencoder
from networks.embeddings import PlaceEmbedding, TimeEmbedding

DEVICES = [1, 8]
WEIGHTS = f"paths.weights_dir={ROOT / 'weights'}"


def one_step(network, frames, *, given=False):
    (found,) = segment_costs(
        network, [CanvasPlan(consecutive(0, frames), known=(0,) if given else ())], video_of(frames)
    )
    return found.canvas


def test_flops_of_a_transformer_are_those_counted_by_hand():
    """A DiT of width 32, hidden layers of 128, on 3 frames of 2 x 2 tokens, and a caption of 5 and the null token."""
    network, _ = built("network=dit")
    width, tokens, text, patch, depth = 32, 12, 6, 16, 2
    attention = 4 * tokens * tokens * width + 2 * tokens * width * 4 * width
    to_text = 4 * tokens * text * width + 2 * (tokens * 2 + text * 2) * width * width
    block = attention + to_text + 2 * 2 * tokens * width * 4 * width
    embedding = 2 * tokens * patch * width + 2 * tokens * width * patch
    caption = 2 * TEXT * (FEATURES + width) * width
    times = 2 * (256 + width + 6 * width) * width
    places = 2 * (3 + 2 + 2) * PlaceEmbedding.FEATURES * width
    by_hand = depth * block + embedding + caption + times + places
    assert TimeEmbedding.FEATURES == 256
    assert one_step(network, 3).step.flops == by_hand


FORMULAS = {
    ("dit", "single_pass", 34): 4836777984,
    ("dit", "free_noise", 34): 5006647296,
    ("vin", "single_pass", 34): 8207327232,
    ("vin", "autoregressive", 34): 1162420224,
    ("lovic", "segmentwise", 34): 1726242816,
}
"""FLOPs of the largest step, as formulas of every layer gave them, written down before they were taken out."""


@pytest.mark.slow
@pytest.mark.parametrize(("network", "rollout", "frames"), FORMULAS)
def test_flops_are_to_the_last_digit_those_of_formulas(network, rollout, frames):
    cfg = configured(*(LOVIC if network == "lovic" else (f"network={network}",)))
    with torch.device("meta"):
        made = instantiate(cfg.network).requires_grad_(False)
    video = VideoSize(frames, 16, 8, 8, 20, cfg.text.features)
    cost = sampling_cost(made, instantiate(cfg.rollouts[rollout]), video, calls_per_canvas=30, dtype=torch.float32)
    assert cost.step == FORMULAS[network, rollout, frames]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [("network=dit",), ("network=vin", "interface.width=48", "interface.num_heads=3"), ("network=vin_plan",)],
    ids=["dit", "vin", "vin_plan"],
)
def test_flops_of_a_step_are_those_that_run(overrides):
    network, _ = built(*overrides)
    for given in (False, True):
        flops = counted(network, *example(33, shared_time=not given))
        assert one_step(network, 33, given=given).step.flops == flops, given


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [("network=dit",), ("network=vin",)], ids=["dit", "vin"])
def test_flops_of_a_training_step_are_counted_in_its_windows(overrides):
    network, _ = built(*overrides)
    predicted = training_cost(on_meta(network).requires_grad_(True), video_of(33), torch.float32).flops
    assert predicted == counted(network.train(), *example(33, shared_time=False))


@pytest.mark.slow
@pytest.mark.parametrize("low_resolution", ["false", "true"])
@pytest.mark.parametrize("compressor", ["flexformer", "flexformer_qformer", "fixed_queries", "mean_pool"])
def test_flops_of_memory_are_those_that_run(compressor, low_resolution):
    settings = (f"compressor={compressor}", f"network.low_resolution={low_resolution}")
    network, _ = built("network=lovic", *settings)
    _, _, condition = example(10)
    segments = (RememberedSegment(-20, 10, 4.0), RememberedSegment(-10, 10, 10.0))
    plan = CanvasPlan(consecutive(0, 10), remembered=segments)
    past = [PastSegment(torch.randn(1, 4, 10, SIDE, SIDE), *condition[1:3]) for _ in segments]
    opened = open_canvas(plan, noise=torch.randn(1, 4, 10, SIDE, SIDE), condition=condition, known=None, past=past)
    (found,) = segment_costs(network, [plan], video_of(10))
    assert found.canvas.memory.flops == counted(network.encode_context, opened.condition)
    with torch.no_grad():
        assert 1 + sum(found.tokens) == network.encode_context(opened.condition).memory.layers[0][0].shape[2]
    assert found.canvas.context_tokens == sum(found.tokens)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "dtype"), [("dit", "float32"), ("vin", "bfloat16")])
def test_wan_is_priced_by_its_config_alone(tmp_path, network, dtype):
    from diffusers import WanTransformer3DModel

    sizes = {"num_attention_heads": 2, "attention_head_dim": 16, "text_dim": FEATURES, "ffn_dim": 48, "num_layers": 2}
    WanTransformer3DModel(**sizes, in_channels=16, out_channels=16).save_config(tmp_path / "transformer")
    wan = ("backbone=wan", f"backbone.pretrained={tmp_path}", "backbone.lora_rank=4", f"dtype={dtype}", *WAN)
    short = ("cost=true", "peak_tflops=100", "num_frames=81", f"training_devices={DEVICES if network == 'vin' else []}")
    cfg = configured(f"network={network}", "codec=wan", *wan, *short)
    record = program.predict_cost(cfg)
    rows = {row["rollout"]: row for row in record["rollouts"]}
    assert {"single_pass", "full_attention", "autoregressive", "gen_l_video"} <= set(rows)
    assert all(row["activation_bytes"] > 0 for row in rows.values())
    assert record["training"]["activation_bytes"] > 0
    self_attention = 4 * 336 * 336 * 32  # of a block on 21 latent frames of 4 x 4 patches, by hand
    assert rows["full_attention"]["step_flops"] > 2 * self_attention


@pytest.mark.slow
@pytest.mark.parametrize("overlap", [1, 4])
def test_chunks_pay_from_where_they_cost_less(overlap):
    settings = ("network.chunk_frames=4", f"network.local_frames={overlap}", "interface.num_tokens=4")
    network, _ = built("network=vin", *settings, "network.windows_per_call=1")
    video = video_of(0)
    network = on_meta(network)
    found = pays_from(network, video, torch.float32)

    def steps(frames):
        counts = []
        for each in (network, network.backbone):
            counter = CanvasCounter(each, torch.float32, texts=False)
            counter(video.noise(frames), video.condition(frames, torch.float32), None)
            counts.append(counter.canvases[0].step.flops)
        return counts

    tried = [4 * count for count in WHOLE_CHUNKS]
    cheaper = next(frames for frames in tried if (each := steps(frames))[0] < each[1])
    assert cheaper > tried[0]  # there is something to find
    assert found == (cheaper, *steps(cheaper))
    assert pays_from(network.backbone, video, torch.float32) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "codec", "parameters"),
    [
        ("wan", "wan", 1_418_996_800),
        ("ltx", "ltx", 1_923_385_472),
        ("wan22_ti2v", "wan22", 4_999_787_712),
    ],
)
def test_real_models_are_priced_without_a_download(backbone, codec, parameters):
    """Parameters: of the transformers as their repositories hold them."""
    text = "ltx" if backbone == "ltx" else "umt5"
    cfg = configured("network=vin", "interface=narrow", f"backbone={backbone}", f"codec={codec}", f"text={text}")
    with torch.device("meta"):
        network = instantiate(cfg.network)
    assert sum(x.numel() for name, x in network.backbone.model.named_parameters() if ".lora_" not in name) == parameters
    learning = sum(x.numel() for x in network.parameters() if x.requires_grad)
    assert learning < 0.25 * parameters
    size = codec_size(OmegaConf.to_container(cfg.codec, resolve=True))
    assert (size.time_factor, size.space_factor) == {"wan": (4, 8), "wan22": (4, 16), "ltx": (8, 32)}[codec]


@pytest.mark.slow
def test_the_experiment_s_chunks_cost_less_than_full_attention():
    """At 480 x 832, of the real sizes."""
    cfg = composed("train", "experiment=vin_wan", "datamodule.root=DIR")
    with torch.device("meta"):
        network = instantiate(cfg.network)
    network = network.bfloat16().eval().requires_grad_(False)
    for latents, share in ((21, 0.9), (40, 0.6)):
        video, steps = VideoSize(latents, 16, 60, 104, 64, 4096), []
        for each in (network, network.backbone):
            counter = CanvasCounter(each, torch.bfloat16, texts=False)
            counter(video.noise(latents), video.condition(latents, torch.bfloat16), None)
            steps.append(counter.canvases[0].step.flops)
        assert steps[0] < share * steps[1], latents


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


@pytest.mark.slow
@pytest.mark.parametrize("frames", [17, 65])
@pytest.mark.parametrize("overrides", [("network=dit",), ("network=vin",), LOVIC], ids=["dit", "vin", "lovic"])
def test_memory_of_sampling_is_that_of_the_tensors_alive(overrides, frames):
    network, _ = built(*overrides, "backbone.width=128")
    inputs = example(frames)
    known = [*network.parameters(), *network.buffers(), *(x for x in (*inputs, *inputs[2]) if torch.is_tensor(x))]
    with torch.no_grad(), LiveBytes(known) as live:
        network(*inputs)
    assert one_step(network, frames).step.bytes == pytest.approx(live.peak, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("overrides", [("network=dit",), ("network=vin",)], ids=["dit", "vin"])
def test_memory_of_training_is_that_of_the_tensors_alive(overrides, dtype, monkeypatch):
    monkeypatch.setattr("networks.attention.PLAIN_KEYS", 0)  # fused attention, as on a GPU
    network, _ = built(*overrides, "backbone.width=128")
    for parameter in network.requires_grad_(True).parameters():
        parameter.grad = torch.zeros_like(parameter)
    inputs = example(33, shared_time=False)
    known = [*network.parameters(), *network.buffers(), *(x for x in (*inputs, *inputs[2]) if torch.is_tensor(x))]
    with LiveBytes([*known, *(parameter.grad for parameter in network.parameters())]) as live:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            loss = network.train()(*inputs).float().square().mean()
        loss.backward()
    predicted = training_cost(on_meta(network), video_of(33), dtype).bytes
    # autocast's casts of the weights, and their gradients, are not of the activations
    held = 0 if dtype == torch.float32 else 2 * sum(x.numel() for x in network.parameters())
    assert live.peak - held == pytest.approx(predicted, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", [("network=vin", "backbone=dit_s", "num_frames=257"), ("network=dit",), LOVIC, HYBRID]
)
def test_the_program_predicts_from_the_config_alone(overrides, tmp_path, capsys):
    devices = DEVICES if overrides == HYBRID else []  # other networks' are in test_cost_of_devices.py
    settings = (f"output={tmp_path}", "peak_tflops=100", "efficiency=0.5", f"training_devices={devices}", WEIGHTS)
    cfg = configured(*overrides, "cost=true", *settings)
    program.run(cfg)
    record = json.loads((tmp_path / "cost.json").read_text())
    rollouts = {row["rollout"]: row for row in record["rollouts"]}
    assert sorted([*rollouts, *record["left_out"]]) == ROLLOUTS
    remembers = overrides in (LOVIC, HYBRID)
    missing = ["free_noise", "spectral_blending"] if remembers else ["segmentwise"]
    assert set(record["left_out"]) == {*missing, *(["full_attention"] if overrides == HYBRID else [])}
    assert record["parameters"] == sum(p.numel() for p in instantiate(cfg.network).parameters())
    for row in rollouts.values():
        assert row["seconds"] == pytest.approx(row["video_flops"] / 50e12)
        assert row["peak_bytes"] - row["activation_bytes"] == 4 * record["parameters"]
    whole = rollouts["single_pass"]
    assert whole["network_calls"] == 30
    every_call = 30 * whole["step_flops"] + whole["memory_flops"] + record["decode_flops"]
    assert 0.9 * every_call < whole["video_flops"] < every_call  # a text's keys are made once, not by every call
    assert record["speed"] == {"tflops": 50.0, "mfu": 0.5, "source": "assumed: 50% of 100 TFLOP/s"}
    assert {row["mfu"] for row in rollouts.values()} == {0.5}
    said = " ".join(capsys.readouterr().out.split())
    assert "assumed: 50% of 100" in said
    assert "peak: these and the network's weights" in said
    assert f"not with this network: {', '.join(record['left_out'])}" in said


@pytest.mark.slow
def test_trained_weights_are_priced_as_they_were_trained(tmp_path):
    folder = ROOT / "weights" / "vin_lovic_freedoom_64"
    short = ("num_frames=157", "measure_speed=false", "training_devices=[]")
    cfg = configured("cost=true", f"weights={folder}", f"output={tmp_path}", *short)
    program.run(cfg)
    record = json.loads((tmp_path / "cost.json").read_text())
    config, module = load_run(folder)
    assert record["parameters"] == sum(p.numel() for p in module.get_submodule("network").parameters())
    priced = priced_parts(cfg)["rollouts"]["segmentwise"]
    assert priced["segment_frames"] == config["rollout"]["segment_frames"] == 20
    (row,) = (row for row in record["rollouts"] if row["rollout"] == "segmentwise")
    assert row["network_calls"] == 30 * 2  # 40 latents
    cfg.weights = str(ROOT / "weights" / "flexformer_freedoom_64")
    with pytest.raises(ValueError, match="flexformer_freedoom_64 make no videos by themselves"):
        program.run(cfg)


@pytest.mark.slow
def test_a_measured_speed_gives_the_mfu_and_guidance_doubles_the_calls():
    short = ("cost=true", "num_frames=77", "training_devices=[]", WEIGHTS)
    once = program.predict_cost(configured(*short, "measured_tflops=25", "peak_tflops=100"))
    unknown = ("guidance_passes=2", "dtype=bfloat16", "measure_speed=false")
    twice = program.predict_cost(configured(*short, *unknown))
    assert once["speed"] == {"tflops": 25.0, "mfu": 0.25, "source": "measured: 25 TFLOP/s"}
    assert [row["seconds"] for row in twice["rollouts"]] == [None] * 7
    assert twice["speed"]["source"].startswith("unknown: give peak_tflops=")
    assert [row["network_calls"] for row in twice["rollouts"]] == [2 * row["network_calls"] for row in once["rollouts"]]
    assert 2 * twice["weight_bytes"] == once["weight_bytes"]


@pytest.mark.slow
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
        ("network=compressor", "network=compressor trains a compressor by itself, but none is chosen"),
    ],
)
def test_what_cannot_be_predicted_is_one_clear_sentence(change, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    changes = [change] if "weights_dir" in change else [change, WEIGHTS]
    with pytest.raises((ValueError, InstantiationException), match=message):  # whose cause the program says
        program.predict_cost(configured("cost=true", *changes))


def test_norms_in_mixed_precision_meet_gains_of_their_own_type():
    """Else PyTorch warns each user who asks what a training costs."""
    network, _ = built("network=dit")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.set_warn_always(True)
        try:
            training_cost(on_meta(network).requires_grad_(True), video_of(9), torch.bfloat16)
        finally:
            torch.set_warn_always(False)


def test_a_part_beside_weights_is_refused(monkeypatch):
    weights = ROOT / "weights" / "vin_freedoom_64"
    monkeypatch.setattr("longtake.cli.composed.typed", lambda: {"weights": str(weights), "backbone.depth": "2"})
    with pytest.raises(ValueError, match=r"^backbone.depth=… does nothing beside weights=.*: leave either out$"):
        priced_parts(configured("cost=true", f"weights={weights}"))


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [("network=vin",), LOVIC, ("network=dit", "dtype=bfloat16")])
@pytest.mark.parametrize("most", [10**8, 0], ids=["network", "block"])
def test_where_no_speed_is_given_one_is_measured(overrides, most, monkeypatch):
    monkeypatch.setattr(speed, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(speed, "TOKENS", 64)
    monkeypatch.setattr(speed, "MOST_PARAMETERS", most)
    monkeypatch.setattr(speed, "PRODUCT_SIDE", {"cpu": 256})
    short = ("codec=causal", "codec.channels=4", "cost=true", "num_frames=37", "training_devices=[]")
    record = program.predict_cost(configured(*TINY, *overrides, *short))
    found = record["speed"]
    assert found["source"].startswith("measured on cpu with ")
    assert ("in the network on" if most else "in the network with one block of each kind on") in found["source"]
    assert "on 4 latent frames" in found["source"]
    assert found["tflops"] > 0
    assert found["mfu"] > 0
    for row in record["rollouts"]:
        assert row["seconds"] == pytest.approx(row["video_flops"] / found["tflops"] / 1e12)
        assert row["mfu"] == found["mfu"]
