"""What every family of pretrained backbones has to do behind the contract: one battery for all.

Models of the real classes at a tiny random size, saved and loaded in the real format. What is a family's own is tested
in the files beside this one.
"""

import copy
import json
import shutil

import pytest
import torch
from builders import HEADS, TEXT, WIDTH, awake
from safetensors.torch import load_file, save_file
from tiny_families import BESIDE, FAMILIES, of_places_as_with_a_memory, wake_the_rest
from tiny_wan import OF_ITS_OWN, learnt

from longtake.releases.writing import network_config
from longtake.rollouts.checks import unfit
from networks.chunks import plan_windows
from networks.interfaces import ContextTokens, VideoBatch
from networks.lovic import LoViCNetwork
from networks.reading import WrongFileError
from networks.saving import build, load_weights, save_pretrained

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
JOINT = [name for name in FAMILIES if "cogvideox" in name or name == "hunyuan"]


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.mark.parametrize(
    ("rank", "attention"),
    [
        *((0, "joined"), (4, "gated")),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((4, "joined"), (0, "gated"))),
    ],
)
@torch.no_grad()
def test_with_one_time_it_is_the_loaded_model(family, rank, attention):
    noisy, time, condition = family.inputs(None, 6)
    condition.text_mask[1, 2] = False  # and what lies there is not zero
    expected = family.loaded(noisy, time[:, 0], condition)
    backbone = family.backbone_of(family.folder(), lora_rank=rank, context_attention=attention)
    assert expected.std() > 0.1
    torch.testing.assert_close(backbone(noisy, time, condition), expected, **CLOSE)
    one = time[:1, :1]
    alone = [x if x is None else x[:1] for x in condition[:3]]
    made = backbone(noisy[:1], one, condition._replace(frame_index=alone[0], text=alone[1], text_mask=alone[2]))
    torch.testing.assert_close(made, expected[:1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_every_frame_has_a_time_of_its_own(family):
    noisy, time, condition = family.inputs(None, 6)
    backbone = family.backbone_of(family.folder())
    plain = backbone(noisy, time, condition)
    clean = time.clone()
    clean[:, :2] = 0.0
    made = backbone(noisy, clean, condition)
    assert (made - plain)[:, :, :2].abs().max() > 1e-3
    assert backbone(noisy.bfloat16(), clean, condition).dtype == torch.bfloat16


def test_a_family_that_was_trained_with_times_of_frames_says_so():
    known = {name: family.backbone_of(family.folder()).frame_times for name, family in FAMILIES.items()}
    assert known == {name: name == "ltx" for name in FAMILIES}  # and Wan 2.2 TI2V


@torch.no_grad()
def test_a_row_without_text_is_the_same_whatever_lies_there(family):
    noisy, time, condition = family.inputs(None, 4)
    backbone = family.backbone_of(family.folder())
    silent = condition._replace(text_mask=torch.zeros_like(condition.text_mask))
    made = backbone(noisy, time, silent)
    assert made.isfinite().all()
    assert torch.equal(backbone(noisy, time, silent._replace(text=condition.text + 1)), made)
    assert (made - backbone(noisy, time, condition)).abs().max() > 1e-4


@pytest.mark.parametrize("attention", ["joined", "gated"])
@torch.no_grad()
def test_what_is_masked_is_not_attended_to(family, attention):
    backbone = family.backbone_of(family.folder(), context_attention=attention)
    if backbone.context_gate is not None:
        torch.nn.init.constant_(backbone.context_gate, 0.7)
    noisy, time, condition = family.inputs(None, 6)
    plain = backbone(noisy, time, condition)
    hidden = condition._replace(frame_mask=(torch.arange(6) // 2 != 1).expand(2, -1))
    changed = noisy.clone()
    changed[:, :, 2:4] = 9.0
    others = [0, 1, 4, 5]
    kept = backbone(noisy, time, hidden)[:, :, others]
    assert torch.equal(backbone(changed, time, hidden)[:, :, others], kept)
    assert (backbone(changed, time, condition) - plain)[:, :, others].abs().max() > 1e-3
    tokens = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(5))
    masked = ContextTokens(tokens, mask=torch.zeros(2, 5, dtype=torch.bool))
    torch.testing.assert_close(backbone(noisy, time, condition, extra_tokens=masked), plain, **CLOSE)
    assert (backbone(noisy, time, condition, extra_tokens=ContextTokens(tokens)) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_who_is_given_nothing_is_as_the_base_however_far_the_gate_is_open(family):
    """A row all of whose tokens are masked, as VIN's dropout does, beside one that has some."""
    backbone = family.backbone_of(family.folder(), context_attention="gated")
    torch.nn.init.constant_(backbone.context_gate, 0.7)
    noisy, time, condition = family.inputs(None, 6)
    tokens = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(2))
    known = torch.tensor([[True] * 3, [False] * 3])
    made = backbone(noisy, time, condition, extra_tokens=ContextTokens(tokens, mask=known))
    plain = backbone(noisy, time, condition)
    assert torch.equal(made[1], plain[1])
    assert (made - plain)[0].abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float32") for name in ("vin_plan", "lovic", "lovic_low_resolution")),
        *((name, "bfloat16") for name in ("vin", "vin_lovic")),
    ],
)
@torch.no_grad()
def test_what_is_gated_begins_as_the_base_to_the_bit_window_by_window(family, name, dtype):
    folder = family.folder()
    base = family.backbone_of(folder, dtype=dtype, lora_rank=0 if dtype == "float32" else 4, context_attention="joined")
    made = family.network(name, family.backbone_of(folder, dtype=dtype, context_attention="gated"))
    network = wake_the_rest(made, BESIDE[:-1]).eval()  # but for the pool, which begins at zero too
    window = network.window if isinstance(network, LoViCNetwork) else network
    noisy, time, condition = family.inputs(network)
    if isinstance(network, LoViCNetwork):
        condition = condition._replace(frame_index=condition.frame_index - condition.frame_index[:, :1])
        of_places_as_with_a_memory(base)
    alone = condition._replace(context=())
    if window.chunk_frames is None:
        expected = base(noisy, time, alone)
    else:
        window.windows_per_call = 1
        expected = torch.zeros_like(noisy)
        for windows in plan_windows(noisy.shape[2], window.chunk_frames, window.local_frames, noisy.device):
            for frames, own in zip(windows.frames, windows.own, strict=True):
                part = base(noisy[:, :, frames], time[:, frames], alone.frames(frames))
                expected[:, :, frames[own]] = part[:, :, own]
    assert torch.equal(network(noisy, time, condition), expected)
    torch.nn.init.constant_(network.backbone.context_gate, 0.5)
    assert (network(noisy, time, condition) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("attention", ["joined", "gated"])
@torch.no_grad()
def test_memory_knows_its_mask_and_no_order(family, attention):
    from networks.interfaces import ContextCache

    backbone = family.backbone_of(family.folder(), context_attention=attention)
    if backbone.context_gate is not None:
        torch.nn.init.constant_(backbone.context_gate, 0.7)
    noisy, time, condition = family.inputs(None, 4)
    seeded = torch.Generator().manual_seed(6)
    tokens, places = torch.randn(2, 5, WIDTH, generator=seeded), 4 * torch.randn(2, 5, 3, generator=seeded)
    mask = torch.tensor([[True, True, False, True, True], [True, False, True, True, False]])

    def made(order, mask):
        layers = backbone.key_values(tokens[:, order], places[:, order], (2, 3))
        return backbone(noisy, time, condition._replace(memory=ContextCache(layers, mask[:, order])))

    first, order = torch.arange(5), torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(made(order, mask), made(first, mask), **CLOSE)
    plain = backbone(noisy, time, condition)
    torch.testing.assert_close(made(first, torch.zeros_like(mask)), plain, **CLOSE)
    assert (made(first, mask) - plain).abs().max() > 1e-3


def test_frozen_frames_get_no_gradient(family):
    backbone = learnt(family.backbone_of(family.folder()))
    noisy, time, condition = family.inputs(None, 4)
    noisy.requires_grad_()
    frozen = torch.tensor([[True, True, False, False]] * 2)
    backbone(noisy, time, condition, detached_frames=frozen).square().mean().backward()
    reached = noisy.grad.abs().sum(dim=(0, 1, 3, 4))
    assert not reached[:2].any()
    assert (reached[2:] > 0).all()


def test_adapters_begin_as_the_base_and_learn_alone(family):
    backbone = family.backbone_of(family.folder(), context_attention="joined").train()
    base = family.backbone_of(family.folder(), context_attention="joined", lora_rank=0)
    noisy, time, condition = family.inputs(None, 4)
    begun = backbone(noisy, time, condition)
    assert torch.equal(begun, base(noisy, time, condition))
    begun.square().mean().backward()
    moved = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    adapters = {name for name, _ in backbone.named_parameters() if "lora" in name}
    assert len(adapters) == family.adapters
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "name", "attention", "checkpointed"),  # each two of them together
    [
        (family, name, ("joined", "gated")[(number + place) % 2], (number // 2 + place // 2) % 2 == 0)
        for number, family in enumerate(FAMILIES)
        for place, name in enumerate(("dit", "vin_plan", "lovic", "vin_lovic"))
    ],
    indirect=["family"],
)
def test_gradient_reaches_all_that_learns(family, name, attention, checkpointed):
    """From the first step on where all is joined, from the second on where a gate has to open."""
    settings = {"checkpoint_activations": checkpointed, "context_attention": attention}
    backbone = learnt(family.backbone_of(family.folder(), **settings))
    network = wake_the_rest(family.network(name, backbone)).train()
    noisy, time, condition = family.inputs(network)
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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), [("vin_plan", "float16"), ("lovic_low_resolution", "bfloat16")])
def test_half_precision_is_near_full_precision_with_and_without_autocast(family, name, precision):
    full, half = (
        family.network(name, learnt(family.backbone_of(family.folder(), dtype=dtype, context_attention="joined")))
        for dtype in ("float32", precision)
    )
    parts = {
        place: value
        for place, value in full.state_dict().items()
        if ".model." not in f".{place}" and "hash" not in place
    }
    assert not half.load_state_dict(parts, strict=False).unexpected_keys
    arguments = family.inputs(full)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dit", "vin"])
@torch.no_grad()
def test_a_release_holds_what_was_learnt_and_names_its_base(family, tmp_path, name):
    base = tmp_path / "base"
    shutil.copytree(family.folder(), base)
    settings = family.settings_of(base, context_attention="gated")
    config = network_config({"_target_": family.target, **settings})
    network = family.network(name, learnt(family.backbone_of(base, context_attention="gated"))).eval()
    arguments = family.inputs(network)
    expected = network(*arguments)
    save_pretrained(network, config, tmp_path / "release")
    kept = load_file(tmp_path / "release" / "diffusion_pytorch_model.safetensors")
    learning = {place for place, parameter in network.named_parameters() if parameter.requires_grad}
    prefix = "" if name == "dit" else "backbone."
    assert kept.keys() == learning | {f"{prefix}base_hash"}

    def again():
        made = family.network(name, build(json.loads((tmp_path / "release" / "config.json").read_text()))).eval()
        load_weights(made, tmp_path / "release")
        return made

    assert torch.equal(again()(*arguments), expected)
    assert torch.equal(copy.deepcopy(again())(*arguments), expected)
    awake(family.transformer(), seed=9).save_pretrained(base / "transformer")
    sentence = r"backbone: '.*base/transformer' is not the base that .*: its hash is \w{16}, theirs \w{16}; give"
    with pytest.raises(ValueError, match=sentence):
        again()


def test_wrong_settings_are_said_in_a_sentence(family):
    folder, patch = family.folder(), family.settings_of("").get("patch", 2)
    for change, sentence in (
        ({"width": 48}, rf"backbone: width is 48, but '{folder}/transformer' has {WIDTH}: set backbone\.width={WIDTH}"),
        ({"num_heads": 4}, rf"num_heads is 4, but .* has {HEADS}: set backbone\.num_heads={HEADS}"),
        ({"patch": 3}, rf"patch is 3, but .* has {patch}: set backbone\.patch={patch}"),
        ({"channels": 16}, r"channels is 16, but .* has 4: set codec\.channels=4"),
        ({"text_features": 4096}, rf"text_features is 4096, but .* has {TEXT}: set text\.features={TEXT}"),
        ({"rope_theta": 255.0}, r"rope_theta is 255\.0, but .*: set backbone\.rope_theta="),
        ({"lora_rank": 0, "dtype": "bfloat16"}, r"lora_rank=0 trains all weights.*set backbone\.dtype=float32"),
    ):
        with pytest.raises(ValueError, match=sentence):
            family.backbone_of(folder, **change)
    if patch > 1:
        noisy, time, condition = family.inputs(None, 4)
        with pytest.raises(ValueError, match=rf"4x3 do not split into {patch}x{patch}"):
            family.backbone_of(folder)(noisy[..., :3], time, condition)


@pytest.mark.slow
def test_what_is_no_whole_folder_of_the_family_is_refused_before_weights_are_read(family, tmp_path, monkeypatch):
    kind = type(family.backbone_of(family.folder()).model)
    other = next(each for each in FAMILIES.values() if each.target != family.target)
    family.transformer().save_pretrained(tmp_path / "pieces" / "transformer", max_shard_size="20kB")
    pieces = sorted((tmp_path / "pieces" / "transformer").glob("*.safetensors"))
    assert len(pieces) > 1
    family.backbone_of(tmp_path / "pieces")

    def never(*_, **__):
        pytest.fail("the weights are read")  # no Exception, which loading would tell

    monkeypatch.setattr(kind, "from_pretrained", never)
    pieces[1].unlink()
    with pytest.raises(WrongFileError, match=f"{pieces[1].name} is missing, a piece of the weights"):
        family.backbone_of(tmp_path / "pieces")
    pieces[1].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(WrongFileError, match="lfs"):
        family.backbone_of(tmp_path / "pieces")
    shutil.copytree(other.folder(), tmp_path / "other")
    with pytest.raises(ValueError, match=rf"holds a \w+, but must hold a {kind.__name__}, such as"):
        family.backbone_of(tmp_path / "other")
    with pytest.raises(ValueError, match="nowhere is not there: give a folder that is"):
        family.backbone_of(tmp_path / "nowhere")


def test_a_lacking_weight_is_named(family, tmp_path):
    family.transformer().save_pretrained(tmp_path / "transformer")
    path = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights.pop("proj_out.weight")
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of its \w+, among them proj_out\.weight"):
        family.backbone_of(tmp_path)


@pytest.mark.parametrize("name", JOINT)
def test_another_attention_cannot_take_the_place_of_one_that_text_shares(name):
    from longtake.rollouts.free_noise import FreeNoise

    family = FAMILIES[name]
    backbone = family.backbone_of(family.folder())
    for network in (backbone, family.network("vin", backbone)):
        rollout = FreeNoise.__new__(FreeNoise)
        assert "puts another attention in the place" in unfit(rollout, network)
    noisy, time, condition = family.inputs(None, 4)
    with pytest.raises(ValueError, match="has one attention for text and video, in whose place a rollout can put no"):
        backbone(noisy, time, condition._replace(attention_override=lambda query, key, value, grid: value))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_its_real_sizes_are_known_without_a_download(name):
    """Parameters of a transformer that a hub name stands for: those of the names."""
    import diffusers
    from accelerate import init_empty_weights

    family = FAMILIES[name]
    known = type(family.backbone_of(family.folder())).family
    for place, sizes in known.known.items():
        with init_empty_weights():
            model = getattr(diffusers, known.class_name)(**sizes)
        billions = sum(parameter.numel() for parameter in model.parameters()) / 1e9
        assert any(low < billions < high for low, high in SIZES[place]), (place, billions)


SIZES = {
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": [(1.3, 1.5)],
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": [(13.9, 14.5)],
    "Wan-AI/Wan2.2-TI2V-5B-Diffusers": [(4.9, 5.1)],
    "Wan-AI/Wan2.2-T2V-A14B-Diffusers": [(13.9, 14.5)],
    "Lightricks/LTX-Video": [(1.8, 2.1)],
    "THUDM/CogVideoX-2b": [(1.6, 2.0)],
    "THUDM/CogVideoX-5b": [(5.4, 5.7)],
    "THUDM/CogVideoX1.5-5B": [(5.4, 5.7)],
    "hunyuanvideo-community/HunyuanVideo": [(12.6, 13.1)],
}
