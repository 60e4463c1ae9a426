"""Wan behind the backbone's contract: tiny random models of the real class, saved and loaded in the real format."""

import copy
import json
from pathlib import Path

import pytest
import tiny_ltx
import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH, awake, example, remembering_example, tiny_lovic, tiny_vin
from composing import composed
from hydra.utils import instantiate
from lightning import Trainer
from safetensors.torch import load_file, save_file
from tiny_wan import OF_ITS_OWN, backbone_of, learnt, settings_of, tiny_transformer
from torch._dynamo.testing import CompileCounterWithBackend

from lightning_modules.callbacks.compiled_blocks import CompiledBlocks
from longtake.cost.sampling import VideoSize
from longtake.cost.segments import segment_costs
from longtake.generation import generate
from longtake.releases.writing import network_config
from longtake.rollouts.plan import CanvasPlan, RememberedSegment, consecutive
from networks.blocks import Layout, scaled_dot_product
from networks.chunks import plan_windows
from networks.interfaces import Condition, ContextCache, ContextTokens, VideoBatch
from networks.lovic import LoViCNetwork
from networks.pretrained.learnt import refuse_other_base
from networks.pretrained.steps import denoise
from networks.pretrained.wan import WanBackbone, WanRope
from networks.rope import with_unplaced
from networks.saving import build, load_weights, save_pretrained
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


@pytest.mark.parametrize("rank", [0, 4])
@torch.no_grad()
def test_with_one_time_it_is_the_loaded_model(wan, rank):
    noisy, time, condition = example(5, side=(4, 6))
    condition.text_mask[1, 2] = False  # and what lies there is not zero
    expected = wan[0](noisy, 1000 * time[:, 0], padded(condition)).sample
    made = backbone_of(wan[1], lora_rank=rank)(noisy, time, condition)
    assert expected.std() > 0.1
    torch.testing.assert_close(made, expected, **CLOSE)


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
def test_what_is_masked_is_not_attended_to(backbone):
    noisy, time, condition = example(5, side=(4, 6))
    plain = backbone(noisy, time, condition)
    hidden = condition._replace(frame_mask=(torch.arange(5) != 2).expand(2, -1))
    changed = noisy.clone()
    changed[:, :, 2] = 9.0
    others = [0, 1, 3, 4]
    kept = backbone(noisy, time, hidden)[:, :, others]
    assert torch.equal(backbone(changed, time, hidden)[:, :, others], kept)
    assert (backbone(changed, time, condition) - plain)[:, :, others].abs().max() > 1e-3
    tokens = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(5))
    masked = ContextTokens(tokens, mask=torch.zeros(2, 5, dtype=torch.bool))
    torch.testing.assert_close(backbone(noisy, time, condition, extra_tokens=masked), plain, **CLOSE)
    assert (backbone(noisy, time, condition, extra_tokens=ContextTokens(tokens)) - plain).abs().max() > 1e-3


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
    long = condition._replace(text=torch.zeros(2, 513, TEXT), text_mask=torch.zeros(2, 513, dtype=torch.bool))
    with pytest.raises(
        ValueError, match=r"513 text tokens is longer than the 512 that Wan reads: set text\.max_length"
    ):
        backbone(noisy, time, long)


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
def test_memory_knows_its_mask_and_no_order(backbone):
    noisy, time, condition = example(4)
    seeded = torch.Generator().manual_seed(6)
    tokens, places = torch.randn(2, 5, WIDTH, generator=seeded), 4 * torch.randn(2, 5, 3, generator=seeded)
    mask = torch.tensor([[True, True, False, True, True], [True, False, True, True, False]])

    def made(order, mask):
        layers = backbone.key_values(tokens[:, order], places[:, order])
        return backbone(noisy, time, condition._replace(memory=ContextCache(layers, mask[:, order])))

    first, order = torch.arange(5), torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(made(order, mask), made(first, mask), **CLOSE)
    plain = backbone(noisy, time, condition)
    torch.testing.assert_close(made(first, torch.zeros_like(mask)), plain, **CLOSE)
    assert (made(first, mask) - plain).abs().max() > 1e-3


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


def test_frozen_frames_get_no_gradient(wan):
    backbone = learnt(backbone_of(wan[1]))
    noisy, time, condition = example(3)
    noisy.requires_grad_()
    frozen = torch.tensor([[True, False, False]] * 2)
    backbone(noisy, time, condition, detached_frames=frozen).square().mean().backward()
    reached = noisy.grad.abs().sum(dim=(0, 1, 3, 4))
    assert reached[0] == 0
    assert (reached[1:] > 0).all()


def test_adapters_begin_as_the_base_and_learn_alone(wan):
    backbone = backbone_of(wan[1]).train()
    base = backbone_of(wan[1], lora_rank=0)
    noisy, time, condition = example(3)
    begun = backbone(noisy, time, condition)
    assert torch.equal(begun, base(noisy, time, condition))
    begun.square().mean().backward()
    moved = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    adapters = {name for name, _ in backbone.named_parameters() if "lora" in name}
    assert len(adapters) == 2 * 2 * 4 * 2  # of every block, attention and projection an A and a B
    assert moved == adapters | OF_ITS_OWN
    torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=1.0).step()
    assert (backbone(noisy, time, condition) - begun).abs().max() > 1e-4
    assert all(parameter.requires_grad for parameter in base.parameters())


def loss_of(network, noisy, condition, time):
    """With all that it learns from in training."""
    prediction = network.predict(noisy, time, condition)
    assert prediction.target.shape == noisy.shape
    loss = prediction.target.square().mean() + sum(each(noisy) for each in prediction.losses.values())
    if isinstance(network, LoViCNetwork):
        segments = condition.context[0].segments
        level = condition.context[0].level[:, 0]
        restored = network.compressor(VideoBatch(*(x[:, 0] for x in segments[:4])), level, 4.0)
        loss = loss + restored.video.square().mean() + restored.text.square().mean()
    return loss


BESIDE = ("interface", "compressor", "adapter", "plan", "pool")


def wake_the_rest(network, parts=BESIDE):
    """All that is trained beside the backbone says something."""
    for part in parts:
        for place, module in network.named_modules():
            if place.rpartition(".")[2] == part and "model" not in place:
                awake(module)
    return network


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("attention", ["joined", "gated"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_reaches_all_that_learns(wan, name, attention, checkpointed):
    """From the first step on where all is joined, from the second on where a gate has to open."""
    settings = {"checkpoint_activations": checkpointed, "context_attention": attention}
    network = wake_the_rest(NETWORKS[name](learnt(backbone_of(wan[1], **settings)))).train()
    noisy, time, condition = inputs_of(network)
    gate = network.backbone.context_gate
    if gate is not None and name != "dit":
        loss_of(network, noisy, condition, time).backward()
        assert gate.grad.abs().amin(dim=(1, 2, 3)).min() > 0
        torch.optim.SGD([gate], lr=1.0).step()
        network.zero_grad()
    loss_of(network, noisy, condition, time).backward()
    for place, parameter in network.named_parameters():
        if parameter is gate and name == "dit":
            assert not parameter.grad.any()  # reached all the same, as DDP asks
        elif parameter.requires_grad:
            assert parameter.grad is not None, place
            assert parameter.grad.abs().sum() > 0, place
        else:
            assert parameter.grad is None, place


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["vin", "vin_plan", "lovic", "lovic_low_resolution", "vin_lovic"])
@torch.no_grad()
def test_what_is_gated_begins_as_the_base_to_the_bit_window_by_window(wan, name, dtype):
    base = backbone_of(wan[1], dtype=dtype, lora_rank=0 if dtype == "float32" else 4)
    made = NETWORKS[name](backbone_of(wan[1], dtype=dtype, context_attention="gated"))
    network = wake_the_rest(made, BESIDE[:-1]).eval()  # but for the pool, which begins at zero too
    window = network.window if isinstance(network, LoViCNetwork) else network
    noisy, time, condition = inputs_of(network)
    if isinstance(network, LoViCNetwork):
        condition = condition._replace(frame_index=condition.frame_index - condition.frame_index[:, :1])
    alone = condition._replace(context=())
    if window.chunk_frames is None:
        expected = base(noisy, time, alone)
    else:
        window.windows_per_call = 1
        expected = torch.zeros_like(noisy)
        for windows in plan_windows(noisy.shape[2], window.chunk_frames, window.local_frames, noisy.device):
            for frames, own in zip(windows.frames, windows.own, strict=True):
                made = base(noisy[:, :, frames], time[:, frames], alone.frames(frames))
                expected[:, :, frames[own]] = made[:, :, own]
    assert torch.equal(network(noisy, time, condition), expected)
    torch.nn.init.constant_(network.backbone.context_gate, 0.5)
    assert (network(noisy, time, condition) - expected).abs().max() > 1e-3


@torch.no_grad()
def test_who_is_given_nothing_is_as_the_base_however_far_the_gate_is_open(wan):
    """A row all of whose tokens are masked, as VIN's dropout does, beside one that has some."""
    backbone = backbone_of(wan[1], context_attention="gated")
    torch.nn.init.constant_(backbone.context_gate, 0.7)
    noisy, time, condition = example(5, side=(4, 6))
    tokens = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(2))
    known = torch.tensor([[True] * 3, [False] * 3])
    made = backbone(noisy, time, condition, extra_tokens=ContextTokens(tokens, mask=known))
    plain = backbone(noisy, time, condition)
    assert torch.equal(made[1], plain[1])
    assert (made - plain)[0].abs().max() > 1e-3


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


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["vin_plan", "lovic_low_resolution"])
def test_half_precision_is_near_full_precision_with_and_without_autocast(wan, name, precision):
    full, half = (NETWORKS[name](learnt(backbone_of(wan[1], dtype=dtype))) for dtype in ("float32", precision))
    parts = {
        place: value
        for place, value in full.state_dict().items()
        if ".model." not in f".{place}" and "hash" not in place
    }
    assert not half.load_state_dict(parts, strict=False).unexpected_keys
    arguments = inputs_of(full)
    expected = full.eval()(*arguments)
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            made = half.eval()(*arguments)
            loss = half.train()(*arguments).square().mean()
        loss.backward()
        assert made.dtype == torch.float32
        assert (made - expected).square().mean() < 0.01 * expected.square().mean()
        learning = [parameter for parameter in half.parameters() if parameter.requires_grad]
        assert {parameter.dtype for parameter in learning} == {torch.float32}
        assert all(p.grad.isfinite().all() for p in learning if p.grad is not None)


@pytest.mark.parametrize("name", ["dit", "vin"])
@torch.no_grad()
def test_a_release_holds_what_was_learnt_and_names_its_base(wan, tmp_path, name):
    settings = settings_of(tmp_path / "base", context_attention="gated")
    tiny_transformer().save_pretrained(tmp_path / "base" / "transformer")
    config = network_config({"_target_": "networks.pretrained.wan.WanBackbone", **settings})
    network = NETWORKS[name](learnt(WanBackbone(**settings))).eval()
    arguments = inputs_of(network)
    expected = network(*arguments)
    save_pretrained(network, config, tmp_path / "release")
    kept = load_file(tmp_path / "release" / "diffusion_pytorch_model.safetensors")
    learning = {place for place, parameter in network.named_parameters() if parameter.requires_grad}
    prefix = "" if name == "dit" else "backbone."
    assert kept.keys() == learning | {f"{prefix}base_hash"}

    def again():
        made = NETWORKS[name](build(json.loads((tmp_path / "release" / "config.json").read_text()))).eval()
        load_weights(made, tmp_path / "release")
        return made

    assert torch.equal(again()(*arguments), expected)
    assert torch.equal(copy.deepcopy(again())(*arguments), expected)
    awake(tiny_transformer(), seed=9).save_pretrained(tmp_path / "base" / "transformer")
    sentence = r"backbone: '.*base/transformer' is not the base that .*: its hash is \w{16}, theirs \w{16}; give"
    with pytest.raises(ValueError, match=sentence):
        again()


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
        ({"dtype": "int8"}, "dtype is 'int8', but must be one of float32, bfloat16, float16"),
        ({"lora_rank": -1}, "lora_rank is -1, but must be 0"),
        ({"lora_alpha": 0}, "lora_alpha is 0, but must be above 0"),
        ({"lora_rank": 0, "dtype": "bfloat16"}, r"lora_rank=0 trains all weights.*set backbone\.dtype=float32"),
        ({"pretrained": folder + "/nowhere"}, r"no WanTransformer3DModel could be loaded from '.*nowhere/transformer'"),
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


def test_what_is_no_whole_transformer_is_refused(wan, tmp_path):
    tiny_transformer().save_pretrained(tmp_path / "transformer")
    path = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights.pop("proj_out.weight")
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of its WanTransformer3DModel, among them proj_out\.weight"):
        backbone_of(tmp_path)
    config = tmp_path / "transformer" / "config.json"
    config.write_text(config.read_text().replace("WanTransformer3DModel", "AutoencoderKLWan"))
    with pytest.raises(ValueError, match="holds a AutoencoderKLWan, but must hold a WanTransformer3DModel"):
        backbone_of(tmp_path)


def never(*_, **__):
    raise AssertionError("the weights are read")


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
