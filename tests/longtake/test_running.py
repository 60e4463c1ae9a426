"""How sampling is computed: precisions, compiled blocks, attention kernels, and who is on the device when."""

import copy
import json

import pytest
import torch
from builders import awake, context, example, tiny_dit, tiny_lovic, tiny_vin
from composing import ROOT, composed
from lightning import LightningModule
from torch import nn
from torch._dynamo.utils import counters
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

import longtake
from longtake.cli.request import requested
from longtake.cli.take import Take, make_videos
from longtake.generation import generate
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.pipeline import Pipeline
from longtake.rollouts.segmentwise import Segmentwise
from longtake.rollouts.single_pass import SinglePass
from longtake.running import Running
from longtake.samplers import ClassifierFreeGuidance, Euler
from longtake.video import write_video
from longtake.visiting import VisitingTextEncoder
from networks.casting import cast
from networks.compiling import compile_blocks
from networks.rope import RotaryEmbedding3D

CPU = torch.device("cpu")
VIN = ROOT / "weights" / "vin_freedoom_64"
NETWORKS = {
    "dit": tiny_dit,
    "vin": lambda: tiny_vin(fusion="all"),
    "lovic": lambda: tiny_lovic(low_resolution=True),
    "vin_lovic": lambda: tiny_lovic(tiny_vin(fusion="late")),
}


def inputs(name, frames=10, rate=4.0):
    """Noisy latents, one time for all frames, and a condition, with two segments for networks with memory."""
    noisy, _, condition = example(frames, batch=1)
    condition = condition._replace(text_mask=None)
    if "lovic" in name:
        before = context([-8, -4], batch=1, rate=rate)._replace(complete=True)
        condition = condition._replace(context=(before,), shot=torch.zeros(1, dtype=torch.long))
    return noisy, torch.tensor([[0.5]]), condition


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "16-true"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_precision_rounds_and_does_not_change(name, precision):
    network = awake(NETWORKS[name]()).eval()
    running, rounded = Running(precision=precision), copy.deepcopy(network)
    running.prepare(rounded)
    kinds = {value.dtype for value in rounded.parameters()}
    assert kinds == {{"bf16-true": torch.bfloat16, "16-true": torch.float16}.get(precision, torch.float32)}
    with torch.inference_mode():
        expected = network(*inputs(name))
        with running(CPU):
            found = rounded(*inputs(name)).float()
    error = float((found - expected).norm() / expected.norm())
    assert 1e-5 < error < 0.03


def test_places_stay_exact_when_weights_are_cast():
    network = tiny_dit()
    expected = network.rope(torch.tensor([[[1000.25, 3.0, 7.0]]]))
    cast(network, torch.bfloat16)
    assert all(
        part.frequencies.dtype == torch.float32 for part in network.modules() if isinstance(part, RotaryEmbedding3D)
    )
    assert torch.equal(network.rope(torch.tensor([[[1000.25, 3.0, 7.0]]])).cos, expected.cos)


def test_what_a_model_of_diffusers_keeps_exact_stays_so():
    class Kept(nn.Module):
        _keep_in_fp32_modules = ("time_embedder", "table")

        def __init__(self):
            super().__init__()
            self.time_embedder, self.head = nn.Linear(2, 2), nn.Linear(2, 2)
            self.table = nn.Parameter(torch.zeros(2))

    model = Kept()
    cast(nn.ModuleDict({"model": model}), torch.bfloat16)
    assert (model.time_embedder.weight.dtype, model.table.dtype) == (torch.float32, torch.float32)
    assert model.head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "bf16"}, "precision=bf16 must be one of 32-true, bf16-true, bf16-mixed, 16-true"),
        ({"compile": "all"}, "compile=all must be one of none, blocks, max-autotune"),
        ({"attention": "fast"}, "attention=fast must be one of auto, flash, cudnn, efficient, math"),
        ({"attention": "cudnn"}, "attention=cudnn: cpu has no such kernel for float32: use attention=auto"),
    ],
)
def test_what_a_device_lacks_is_said_in_a_sentence(settings, words):
    with pytest.raises(ValueError, match=words):
        Running(**settings).check(CPU)


def test_a_precision_that_a_device_lacks_is_refused_before_anything_moves(monkeypatch):
    def refuses(x, *_):
        raise RuntimeError(f"not implemented for {x.dtype}")

    monkeypatch.setattr(F, "linear", refuses)
    with pytest.raises(ValueError, match="precision=16-true: cpu has no arithmetic of float16: use precision=32-true"):
        Running(precision="16-true").check(CPU)


@pytest.mark.parametrize("attention", ["flash", "math"])
def test_attention_kernels_agree(attention):
    network = awake(tiny_vin()).eval()
    running = Running(attention=attention)
    running.check(CPU)
    noisy, time, condition = inputs("vin")
    with torch.inference_mode():
        for each in (condition, condition.without("text")):  # with a mask, which flash does not take on a GPU
            expected = network(noisy, time, each)
            with running(CPU):
                torch.testing.assert_close(network(noisy, time, each), expected, atol=1e-5, rtol=1e-4)


MOST_GRAPHS = {"dit": 2, "vin": 5, "lovic": 3, "vin_lovic": 3}
"""Of all lengths and rates, beside those of the networks before it: a DiT's block with the text's mask or without,
VIN's in one window or several, and the interface's, which reads keyframes and then the text with a mask or without; a
compressor's block."""


@pytest.mark.slow
def test_a_handful_of_graphs_serves_all_lengths_and_rates():
    graphs = []

    def counting(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    counters.clear()
    new = {}
    for name, make in NETWORKS.items():
        network, before = awake(make()).eval(), len(graphs)
        compiled = copy.deepcopy(network)
        compile_blocks(compiled, backend=counting, dynamic=True)
        seen = []
        for frames, rate in ((9, 4.0), (13, 2.0), (22, 3.0)):
            noisy, time, condition = inputs(name, frames, rate)
            with torch.inference_mode():
                for each in (condition, condition.without("text")):
                    found = compiled(noisy, time, each)
                    torch.testing.assert_close(found, network(noisy, time, each), atol=1e-5, rtol=1e-4)
            seen.append(len(graphs))
        assert seen[1:] == seen[:-1], f"{name}: a new length asked for a new graph"
        new[name] = len(graphs) - before
    assert new["dit"] > 0
    assert all(new[name] <= most for name, most in MOST_GRAPHS.items()), new
    assert not counters["graph_break"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_blocks_are_compiled_for_a_cpu():
    from torch._inductor import config as inductor

    noisy, time, condition = inputs("dit", 5)
    network = awake(tiny_dit(depth=1)).eval()
    compiled = copy.deepcopy(network)
    Running(compile="blocks").prepare(compiled)
    # Whether the compiler knows this CPU's instructions is tried out by compiling, which takes as long as the kernels.
    with inductor.patch({"cpp.vec_isa_ok": True}), torch.inference_mode():
        torch.testing.assert_close(
            compiled(noisy, time, condition), network(noisy, time, condition), atol=1e-5, rtol=1e-4
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [("vin", "bf16-true"), ("lovic", "32-true"), ("vin_lovic", "bf16-mixed")],
)
def test_sampling_waits_for_its_device_once_a_canvas(name, precision, monkeypatch):
    """Fake tensors have no values: whatever looks at one raises, as a GPU would have to be waited for."""
    looks, running = [], Running(precision=precision)
    monkeypatch.setattr("longtake.generation.check_finite", lambda *_: looks.append(1))
    settings = {"max_context": 2, "compression_ratio": 4.0, "ratio_growth": 1.0, "max_compression_ratio": 8.0}
    memory = Segmentwise(segment_frames=11, window_frames=2, memory_level=0.1, **settings)
    rollout = memory if "lovic" in name else SinglePass(network_part="")
    with FakeTensorMode():
        module = LightningModule()
        module.network, module.sampler = NETWORKS[name]().eval(), Euler(num_inference_steps=2, shift=3.0)
        module.objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
        running.prepare(module.network)
        noisy, _, condition = example(22, batch=1)
        condition = condition._replace(text_mask=None)
        guidance = ClassifierFreeGuidance(scale=2.0)
        video = generate(module, noisy, condition, rollout=rollout, guidance=guidance, running=running)
    assert video.shape == noisy.shape
    assert len(looks) == len(rollout.plan(22))


class Reader(nn.Module):
    """A text encoder that notes where it is asked to go."""

    features, fingerprint = 2, "reader"

    def __init__(self):
        super().__init__()
        self.moves = []

    def to(self, device):
        self.moves.append(str(device))
        return self

    def encode(self, captions):
        self.moves.append("reads")
        return torch.zeros(len(captions), 1, 2), torch.ones(len(captions), 1, dtype=torch.bool)


def test_a_text_encoder_is_on_the_device_while_it_reads_alone():
    reader = Reader()
    visiting = VisitingTextEncoder(reader, torch.device("cuda", 1))
    assert visiting.encode(["a"])[0].shape == (1, 1, 2)
    visiting.encode(["a"])
    assert reader.moves == ["cuda:1", "reads", "cpu"]
    visiting.encode(["b"])
    assert reader.moves.count("reads") == 2
    assert (visiting.features, visiting.fingerprint) == (2, "reader")


@pytest.mark.slow
def test_offloaded_parts_take_turns(monkeypatch):
    pipe = Pipeline.from_pretrained(VIN, num_inference_steps=1, offload=True)
    moves = []
    for name, part in (("network", pipe.module), ("codec", pipe.codec)):
        monkeypatch.setattr(part, "to", lambda device, name=name, part=part: moves.append((name, str(device))) or part)
    pipe("a", num_frames=5)
    assert moves == [("codec", "cpu"), ("network", "cpu"), ("network", "cpu"), ("codec", "cpu"), ("codec", "cpu")]


def settings(output, *changes):
    return composed("generate", f"weights={VIN}", f"output={output}", "num_frames=5", "num_inference_steps=1", *changes)


@pytest.mark.slow
def test_a_video_in_another_precision_is_another_video_in_the_manifest(tmp_path):
    for changes in ([], ["precision=bf16-true"], ["precision=bf16-true"]):
        make_videos(requested(settings(tmp_path, *changes)), write_video)
        (line,) = [json.loads(each) for each in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert line["precision"] == "bf16-true"
    usual, rounded = (
        Take(requested(settings(tmp_path))),
        Take(requested(settings(tmp_path, "precision=bf16-true"))),
    )
    assert usual.hash == rounded.hash == line["weights_hash"]
    assert line["settings"] == rounded.settings != usual.settings


@pytest.mark.slow
def test_python_takes_the_same_words():
    usual = longtake.Pipeline.from_pretrained(VIN, num_inference_steps=1)
    rounded = longtake.Pipeline.from_pretrained(VIN, num_inference_steps=1, precision="bf16-true", attention="math")
    expected, found = (each.latents(["a cave"], num_frames=17, seed=1) for each in (usual, rounded))
    assert found.dtype == expected.dtype == torch.float32
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.05


def test_a_codec_without_tiles_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"codec.tiling=true: the codec of these weights has no tiles"):
        Take(requested(settings(tmp_path, "codec.tiling=true")))
