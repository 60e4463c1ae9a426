"""Wan behind the backbone's contract: tiny random models of the real class, saved and loaded in the real format."""

import copy
from pathlib import Path

import pytest
import tiny_ltx
import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH, awake, example, remembering_example, tiny_lovic, tiny_vin
from composing import composed
from hydra.utils import instantiate
from lightning import Trainer
from safetensors.torch import load_file, save_file
from tiny_wan import backbone_of, learnt, settings_of, tiny_transformer
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from lightning_modules.callbacks.compiled_blocks import CompiledBlocks
from longtake.cost.sampling import VideoSize
from longtake.cost.segments import segment_costs
from longtake.generation import generate
from longtake.rollouts.plan import CanvasPlan, RememberedSegment, consecutive
from networks.attention import scaled_dot_product
from networks.blocks import Layout
from networks.interfaces import Condition, ContextCache, VideoBatch
from networks.lovic import LoViCNetwork
from networks.pretrained.learnt import refuse_other_base
from networks.pretrained.steps import denoise
from networks.pretrained.wan import WanBackbone, WanRope
from networks.rope import with_unplaced
from networks.saving import load_weights
from networks.sequence import positions_of

CONF = Path(__file__).parents[3] / "conf"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    """The loaded class itself, and the folder of its pipeline."""
    from diffusers import UniPCMultistepScheduler

    folder = tmp_path_factory.mktemp("wan")
    model = tiny_transformer()
    model.save_pretrained(folder / "transformer")
    flows = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    UniPCMultistepScheduler(**flows).save_pretrained(folder / "scheduler")
    return model, str(folder)


@pytest.fixture(scope="module", params=["joined", "gated"])
def backbone(wan, request):
    """With a gate that is open, where there is one."""
    made = backbone_of(wan[1], context_attention=request.param)
    if made.context_gate is not None:
        torch.nn.init.constant_(made.context_gate, 0.7)
    return made


NETWORKS = {
    "dit": lambda backbone: backbone,
    "vin": lambda backbone: tiny_vin(backbone=backbone),
    "vin_plan": lambda backbone: tiny_vin(plan=True, backbone=backbone),
    "lovic": lambda backbone: tiny_lovic(backbone),
    "lovic_low_resolution": lambda backbone: tiny_lovic(backbone, low_resolution=True),
    "vin_lovic": lambda backbone: tiny_lovic(tiny_vin(plan=True, backbone=backbone), low_resolution=True),
}


def inputs_of(network, frames=7, side=(4, 6)):
    return (remembering_example if isinstance(network, LoViCNetwork) else example)(frames, side=side)


def padded(condition):
    """What Wan's own pipeline hands over: 512 features, zero where there is no text."""
    known = condition.text * condition.text_mask.unsqueeze(-1)
    return torch.nn.functional.pad(known, (0, 0, 0, 512 - known.shape[1]))


@torch.no_grad()
def test_times_of_frames_are_the_loaded_model_s_times_of_tokens(wan, backbone):
    noisy, _, condition = example(5, side=(4, 6))
    time = torch.rand(2, 5, generator=torch.Generator().manual_seed(4))
    tokens = (1000 * time).repeat_interleave(2 * 3, dim=1)
    expected = wan[0](noisy, tokens, padded(condition)).sample
    torch.testing.assert_close(backbone(noisy, time, condition), expected, **CLOSE)
    assert backbone(noisy.bfloat16(), time, condition).dtype == torch.bfloat16


@torch.no_grad()
def test_one_time_for_all_is_the_time_of_every_frame(wan):
    for name in ("dit", "vin_plan"):
        network = awake(NETWORKS[name](learnt(backbone_of(wan[1]))).eval(), scale=0.02)
        noisy, _, condition = inputs_of(network)
        expected = network(noisy, torch.full((2, 7), 0.6), condition)
        torch.testing.assert_close(network(noisy, torch.full((1, 1), 0.6), condition), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head_width", [12, 16, 128])
def test_heads_are_split_among_the_axes_as_in_diffusers(head_width):
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    cos, sin = WanRotaryPosEmbed(head_width, (1, 2, 2), max_seq_len=64)(torch.zeros(1, 1, 41, 4, 6))
    made = WanRope(head_width=head_width)(positions_of(torch.arange(41.0).unsqueeze(0), 2, 3))
    torch.testing.assert_close(made.cos[0, 0], cos[0, :, 0, 0::2], **CLOSE)
    torch.testing.assert_close(made.sin[0, 0], sin[0, :, 0, 1::2], **CLOSE)


@pytest.mark.parametrize("shift", [5.0, -2.75])
@torch.no_grad()
def test_only_distances_matter_until_places_are_learnt(backbone, shift):
    noisy, time, condition = example(5, side=(4, 6))
    there = backbone(noisy, time, condition)
    moved = condition._replace(frame_index=condition.frame_index + shift)
    apart = condition._replace(frame_index=condition.frame_index * 1.5)
    torch.testing.assert_close(backbone(noisy, time, moved), there, **CLOSE)
    assert (backbone(noisy, time, apart) - there).abs().max() > 1e-3
    knowing = learnt(copy.deepcopy(backbone))
    assert (knowing(noisy, time, moved) - knowing(noisy, time, condition)).abs().max() > 1e-3


@torch.no_grad()
def test_only_the_video_asks_the_text(backbone):
    block, layout = backbone.model.blocks[0], Layout(num_frames=2, per_frame=6)
    seeded = torch.Generator().manual_seed(8)
    tokens, text, modulation = (
        torch.randn(*shape, generator=seeded) for shape in ((1, 15, 32), (1, 4, 32), (1, 3, 6, 32))
    )
    rotation = with_unplaced(backbone.rope(positions_of(torch.arange(2.0).unsqueeze(0), 2, 3)), 3)
    one, other = (
        denoise(backbone.parts, block, tokens, layout, modulation, rotation, None, x, None, None, None)
        for x in (text, -text)
    )
    assert torch.equal(one[:, 12:], other[:, 12:])
    assert (one - other)[:, :12].abs().max() > 1e-3


@torch.no_grad()
def test_text_is_padded_with_zeros_and_no_further_than_wan_reads(backbone):
    noisy, time, condition = example(3)
    plain = backbone(noisy, time, condition)
    text = torch.cat([condition.text, torch.full_like(condition.text, 7.0)], dim=1)
    mask = torch.cat([condition.text_mask, torch.zeros_like(condition.text_mask)], dim=1)
    assert torch.equal(backbone(noisy, time, condition._replace(text=text, text_mask=mask)), plain)
    silent = condition._replace(text_mask=torch.zeros_like(condition.text_mask))
    assert (backbone(noisy, time, silent) - plain).abs().max() > 1e-4
    batched = [F.pad(each, (0, 0) * (each.ndim - 2) + (0, 600)) for each in (condition.text, condition.text_mask)]
    assert torch.equal(backbone(noisy, time, condition._replace(text=batched[0], text_mask=batched[1])), plain)
    long = condition._replace(text=torch.zeros(2, 513, TEXT), text_mask=torch.ones(2, 513, dtype=torch.bool))
    with pytest.raises(
        ValueError, match=r"513 text tokens is longer than the 512 that Wan reads: set text\.max_length"
    ):
        backbone(noisy, time, long)
    with pytest.raises(ValueError, match="513 text tokens"):
        backbone(noisy, time, long._replace(text_mask=None))


@torch.no_grad()
def test_what_is_remembered_is_what_would_be_seen(tmp_path):
    """In one layer the keys of clean frames are the same in a memory as on the canvas."""
    tiny_transformer(num_layers=1).save_pretrained(tmp_path)
    backbone = learnt(backbone_of(tmp_path, subfolder=""))
    noisy, time, condition = example(6, side=(4, 6))
    time = time.clone()
    time[:, :2] = 0.0
    together = backbone(noisy, time, condition)[:, :, 2:]
    tokens = backbone.embed(noisy[:, :, :2], condition.frame_index[:, :2]).flatten(1, 2)
    places = torch.cartesian_prod(*(torch.arange(float(size)) for size in (2, 2, 3))).expand(2, -1, -1)
    memory = ContextCache(backbone.key_values(tokens, places), torch.ones(2, 12, dtype=torch.bool))
    rest = condition._replace(frame_index=condition.frame_index[:, 2:])
    alone = backbone(noisy[:, :, 2:], time[:, 2:], rest)
    made = backbone(noisy[:, :, 2:], time[:, 2:], rest._replace(memory=memory))
    torch.testing.assert_close(made, together, **CLOSE)
    assert (made - alone).abs().max() > 1e-3


@torch.no_grad()
def test_mixing_takes_the_place_of_attention(backbone):
    noisy, time, condition = example(4, side=(4, 6))
    grids = []

    def attention(query, key, value, grid):
        grids.append(tuple(grid))
        return scaled_dot_product(query, key, value, None)

    made = backbone(noisy, time, condition._replace(attention_override=attention))
    torch.testing.assert_close(made, backbone(noisy, time, condition), **CLOSE)
    assert grids == [(4, 2, 3)] * 2
    none = backbone(noisy, time, condition._replace(attention_override=lambda query, key, value, grid: 0 * value))
    assert (none - made).abs().max() > 1e-3


BESIDE = ("interface", "compressor", "adapter", "plan", "pool")


def test_activation_checkpointing_changes_no_gradient(wan):
    gradients = []
    for checkpointed in (False, True):
        backbone = learnt(backbone_of(wan[1], checkpoint_activations=checkpointed)).train()
        backbone(*example(3)).square().mean().backward()
        gradients.append([p.grad for p in backbone.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


@pytest.mark.slow
def test_compiled_blocks_give_the_same_gradient(wan):
    gradients = []
    torch._dynamo.reset()
    for compiled in (False, True):
        network = learnt(backbone_of(wan[1])).train()
        if compiled:
            counter = CompileCounterWithBackend("aot_eager")
            CompiledBlocks(backend=counter, dynamic=False).on_fit_start(None, network)
        network(*inputs_of(network)).square().mean().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    assert counter.frame_count == 1  # one graph for all blocks
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, atol=1e-6, rtol=1e-4)


def test_what_the_files_of_a_base_begin_with_is_its_hash(wan, tmp_path):
    """So that another base is refused before it is read; in pieces it is the same."""
    network = NETWORKS["vin"](backbone_of(wan[1], dtype="bfloat16"))
    tiny_transformer().save_pretrained(tmp_path / "pieces" / "transformer", max_shard_size="20kB")
    assert len(list((tmp_path / "pieces" / "transformer").glob("*.safetensors"))) > 1
    awake(tiny_transformer(), seed=9).save_pretrained(tmp_path / "other" / "transformer")
    hashes = {name: x for name, x in network.state_dict().items() if name.endswith("base_hash")}
    assert set(hashes) == {"backbone.base_hash"}

    def unread(folder):
        with torch.device("meta"):
            return NETWORKS["vin"](WanBackbone(**settings_of(folder)))

    for folder in (wan[1], tmp_path / "pieces"):
        refuse_other_base(unread(folder), hashes)
        refuse_other_base(unread(folder), {})
    with pytest.raises(ValueError, match=r"'.*other/transformer' is not the base that these weights were trained upon"):
        refuse_other_base(unread(tmp_path / "other"), hashes)


@torch.no_grad()
def test_a_release_that_holds_its_base_brings_it_along(wan, tmp_path):
    """As they were written before: no hash, every weight, and all attended to in one softmax."""
    network = learnt(backbone_of(wan[1])).eval()
    noisy, time, condition = example(5, side=(4, 6))
    expected = network(noisy, time, condition)
    (tmp_path / "release").mkdir()
    weights = {place: parameter.data for place, parameter in network.named_parameters()}
    save_file(weights, tmp_path / "release" / "diffusion_pytorch_model.safetensors")
    awake(tiny_transformer(), seed=9).save_pretrained(tmp_path / "other" / "transformer")
    for base, kept in ((wan[1], False), (tmp_path / "other", True)):
        again = backbone_of(base)
        load_weights(again, tmp_path / "release")
        assert torch.equal(again(noisy, time, condition), expected)
        assert ("model.proj_out.weight" in again.state_dict()) == kept


def test_copies_share_the_base_alone(wan):
    network = NETWORKS["vin"](backbone_of(wan[1], context_attention="gated"))
    pairs = zip(network.named_parameters(), copy.deepcopy(network).named_parameters(), strict=True)
    for (place, mine), (same, other) in pairs:
        assert place == same
        assert (mine.data_ptr() == other.data_ptr()) == (not mine.requires_grad), place


def test_wrong_settings_are_said_in_a_sentence(wan, monkeypatch):
    folder = wan[1]
    for change, sentence in (
        ({"width": 48}, rf"backbone: width is 48, but '{folder}/transformer' has {WIDTH}: set backbone\.width={WIDTH}"),
        ({"num_heads": 4}, rf"num_heads is 4, but .* has {HEADS}: set backbone\.num_heads={HEADS}"),
        ({"channels": 16}, rf"channels is 16, but .* has {CHANNELS}: set codec\.channels={CHANNELS}"),
        ({"text_features": 4096}, rf"text_features is 4096, but .* has {TEXT}: set text\.features={TEXT}"),
        ({"rope_theta": 256.0}, r"rope_theta is 256\.0, but .* has 10000\.0: set backbone\.rope_theta=10000\.0"),
        ({"dtype": "int4"}, "dtype is 'int4', but must be one of float32, bfloat16, float16, int8, nf4"),
        ({"lora_rank": -1}, "lora_rank is -1, but must be 0"),
        ({"lora_alpha": 0}, "lora_alpha is 0, but must be above 0"),
        ({"lora_rank": 0, "dtype": "bfloat16"}, r"lora_rank=0 trains all weights.*set backbone\.dtype=float32"),
        ({"pretrained": folder + "/nowhere"}, "nowhere is not there: give a folder that is"),
    ):
        with pytest.raises(ValueError, match=sentence):
            backbone_of(folder, **change)
    monkeypatch.setattr("networks.pretrained.loading.find_spec", lambda name: None if name == "peft" else name)
    backbone_of(folder, lora_rank=0)
    with pytest.raises(ValueError, match=r'needs the library peft: pip install -e "\.\[lora\]"'):
        backbone_of(folder)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_dim": 8, "added_kv_proj_dim": 32}, r"is conditioned on images \(added_kv_proj_dim=32\)"),
        ({"patch_size": (1, 1, 1)}, r"has patches of \(1, 1, 1\), but must have \(1, 2, 2\)"),
        ({"in_channels": 9}, "reads 9 channels and writes 4: .* take a text-to-video model"),
    ],
)
def test_models_of_another_kind_are_refused(tmp_path, changes, sentence):
    tiny_transformer(**changes).save_pretrained(tmp_path / "transformer")
    with pytest.raises(ValueError, match=sentence):
        backbone_of(tmp_path)


def never(*_, **__):
    pytest.fail("the weights are read")  # no Exception, which loading would tell


@pytest.mark.parametrize("kind", ["piece", "pointer", "fp8", "gguf", "file", "family"])
def test_what_cannot_be_used_is_refused_before_its_weights_are_read(tmp_path, monkeypatch, kind):
    from diffusers import WanTransformer3DModel

    folder = tmp_path / "transformer"
    tiny_transformer().save_pretrained(folder, max_shard_size="20kB" if kind == "piece" else "1GB")
    first = min(folder.glob("*.safetensors"))
    place = tmp_path
    if kind == "piece":
        first.unlink()
        sentence = rf"{first} is missing, a piece of the weights that {folder} has an index of: download it again"
    elif kind == "pointer":
        first.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        sentence = f"{first} is a pointer of git-lfs, not the file"
    elif kind == "fp8":
        save_file({name: x.to(torch.float8_e4m3fn) for name, x in load_file(first).items()}, first)
        sentence = r"holds weights in 8 bits \(.* is F8_E4M3\).*: take the same model in bfloat16"
    elif kind == "gguf":
        first.rename(folder / "wan.gguf")
        sentence = r"wan\.gguf is quantised in GGUF, which is not read here: take safetensors"
    elif kind == "file":
        place = first
        sentence = r"is one file, but a folder of diffusers or transformers is read"
    else:
        tiny_ltx.tiny_transformer().save_pretrained(folder)
        sentence = "holds a LTXVideoTransformer3DModel, but must hold a WanTransformer3DModel, such as that of Wan-AI/"
    monkeypatch.setattr(WanTransformer3DModel, "from_pretrained", never)
    with pytest.raises(ValueError, match=sentence):
        backbone_of(place)


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path):
    tiny_transformer().save_pretrained(tmp_path / "transformer")
    (file,) = (tmp_path / "transformer").glob("*.safetensors")
    name = "blocks.0.attn1.to_q.weight"
    save_file(load_file(file) | {name: torch.full((WIDTH, WIDTH), torch.nan)}, file)
    with pytest.raises(ValueError, match=f"backbone: '{tmp_path}/transformer': the tensor '{name}' holds NaN"):
        backbone_of(tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_storyboard_s_dry_run_counts_it(wan, dtype):
    network = tiny_lovic(backbone_of(wan[1], dtype=dtype), low_resolution=True).requires_grad_(False)
    video = VideoSize(0, CHANNELS, 4, 6, 3, TEXT)
    alone = CanvasPlan(consecutive(0, 4))
    plans = [alone._replace(remembered=(RememberedSegment(-4, 4, 4.0),) * count) for count in (0, 1, 2)]
    none, one, two = segment_costs(network, plans, video)
    assert one.tokens == (6,)  # of 24
    assert two.canvas.step.flops > one.canvas.step.flops > none.canvas.step.flops > 0
    made = [cost.canvas.memory.flops for cost in (none, one, two)]
    assert made[2] - made[1] == made[1] - made[0] > 0


def test_odd_latents_are_refused(backbone):
    noisy, time, condition = example(3)
    with pytest.raises(ValueError, match="4x3 do not split into 2x2"):
        backbone(noisy[..., :3], time, condition)


@pytest.mark.slow
def test_its_experiment_trains_and_samples(wan):
    """As it is composed, with a tiny transformer in place of the real one: two steps, then a video of two chunks."""
    tiny = {
        "backbone.pretrained": wan[1],
        "backbone.width": WIDTH,
        "backbone.num_heads": HEADS,
        "codec.channels": CHANNELS,
        "text.features": TEXT,
        "interface.num_tokens": 5,
        "interface.depth": 1,
        "interface.width": WIDTH,
        "interface.num_heads": HEADS,
        "sampler.num_inference_steps": 2,
    }
    cfg = composed("train", "experiment=vin_wan", *(f"{key}={value}" for key, value in tiny.items()))
    lengths = [(frames - 1) // 4 + 1 for frames in cfg.datamodule.num_frames]
    assert lengths == [chunks * cfg.network.chunk_frames for chunks in (2, 4, 8)]
    assert cfg.network.train_local_frames / cfg.network.chunk_frames == 8 / 20  # the paper's
    assert cfg.backbone.latent_fps == cfg.datamodule.fps / 4
    module = instantiate(cfg.lightning_module)
    noisy, _, condition = example(lengths[0], batch=1)
    batch = VideoBatch(noisy, condition.frame_index, condition.text, condition.text_mask)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    trainer = Trainer(
        accelerator="cpu",
        precision="bf16-mixed",
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader([batch, batch], batch_size=None))
    moved = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert {name for name in before if "lora_B" in name} <= moved
    assert moved <= {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert not any("base_layer" in name for name in moved)
    assert any("interface" in name for name in moved)
    noise = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(7))
    video = generate(
        module,
        noise,
        Condition(condition.frame_index, condition.text, condition.text_mask),
        rollout=instantiate(cfg.rollout),
        guidance=instantiate(cfg.guidance),
    )
    assert video.shape == noise.shape
    assert video.isfinite().all()
    assert video.std() > 0.1
