"""A base of few bits: every family, behind the contract, with the libraries that keep such weights."""

import copy

import pytest
import torch
from builders import tiny_vin
from tiny_families import BESIDE, FAMILIES, wake_the_rest
from tiny_wan import learnt

from longtake.cost.counting import on_meta
from longtake.cost.devices import BYTES_8BIT, training_memory
from networks.casting import cast
from networks.chunks import plan_windows
from networks.pretrained.quantized import LIBRARIES, quantize, stored_size, weight_bytes
from networks.saving import load_weights, save_pretrained

NEAR = {"int8": 0.03, "nf4": 0.5}
"""Of tiny random models, whose rows are shorter than a block of scales: relative to what the base says."""


def needs(dtype):
    return pytest.param(dtype, marks=pytest.mark.skipif(not _there(dtype), reason=f"{LIBRARIES[dtype]} is not here"))


def _there(dtype):
    from importlib.util import find_spec

    return find_spec(LIBRARIES[dtype]) is not None


few_bits = pytest.mark.parametrize("dtype", [needs(dtype) for dtype in LIBRARIES])


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.mark.slow
@few_bits
@torch.no_grad()
def test_it_is_near_the_base_and_known_as_it(family, dtype):
    noisy, time, condition = family.inputs(None, 6)
    base, made = (family.backbone_of(family.folder(), dtype=kind) for kind in ("bfloat16", dtype))
    expected, found = (each(noisy, time, condition) for each in (base, made))
    assert 0 < (found - expected).norm() < NEAR[dtype] * expected.norm()
    assert torch.equal(made.base_hash, base.base_hash)
    assert weight_bytes(made) < weight_bytes(base)
    assert made.state_dict().keys() == base.state_dict().keys()
    made.load_state_dict(base.state_dict())
    assert torch.equal(made(noisy, time, condition), found)
    frozen = {id(x) for x in made.parameters() if not x.requires_grad}
    again = copy.deepcopy(made)
    assert {id(x) for x in again.parameters() if not x.requires_grad} == frozen  # an average holds it once
    assert torch.equal(again(noisy, time, condition), found)


@pytest.mark.slow
@few_bits
@torch.no_grad()
def test_vin_begins_as_the_base_of_few_bits_window_by_window(family, dtype):
    made = family.network("vin", family.backbone_of(family.folder(), dtype=dtype, context_attention="gated"))
    network = wake_the_rest(made, BESIDE[:-1]).eval()
    network.windows_per_call = 1
    base = family.backbone_of(family.folder(), dtype=dtype, context_attention="joined")
    noisy, time, condition = family.inputs(network)
    expected = torch.zeros_like(noisy)
    for windows in plan_windows(noisy.shape[2], network.chunk_frames, network.local_frames, noisy.device):
        for frames, own in zip(windows.frames, windows.own, strict=True):
            part = base(noisy[:, :, frames], time[:, frames], condition.frames(frames))
            expected[:, :, frames[own]] = part[:, :, own]
    assert torch.equal(network(noisy, time, condition), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "dtype", "checkpointed"),  # each two of them together
    [
        pytest.param(family, dtype, (number + place) % 2 == 0, marks=needs(dtype).marks)
        for number, family in enumerate(FAMILIES)
        for place, dtype in enumerate(LIBRARIES)
    ],
    indirect=["family"],
)
def test_adapters_learn_upon_it_with_moments_of_8_bits(family, dtype, checkpointed):
    pytest.importorskip("bitsandbytes")
    from lightning_modules.optimization import adamw_8bit, parameter_groups

    backbone = family.backbone_of(family.folder(), dtype=dtype, checkpoint_activations=checkpointed).train()
    noisy, time, condition = family.inputs(None, 6)
    frozen = [x.detach().clone() for x in backbone.parameters() if not x.requires_grad]
    groups = parameter_groups(backbone)
    assert sum(len(group["params"]) for group in groups) == sum(x.requires_grad for x in backbone.parameters())
    optimizer, losses = adamw_8bit(groups, lr=2e-2, betas=(0.9, 0.999), weight_decay=0.0), []
    for _ in range(6):
        loss = backbone(noisy, time, condition).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]
    after = [x for x in backbone.parameters() if not x.requires_grad]
    assert all(torch.equal(_values(x), _values(y)) for x, y in zip(frozen, after, strict=True))


def _values(x):
    return x.dequantize() if hasattr(x, "qdata") else x


def test_moments_are_8_bits_of_what_is_large():
    pytest.importorskip("bitsandbytes")
    from lightning_modules.optimization import adamw_8bit

    weight = torch.nn.Parameter(torch.randn(64, 128))
    optimizer = adamw_8bit([weight], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0)
    weight.square().sum().backward()
    optimizer.step()
    kept = optimizer.state[weight]
    assert kept["state1"].dtype == kept["state2"].dtype == torch.uint8
    size = sum(kept[name].numel() * kept[name].element_size() for name in ("state1", "state2", "absmax1", "absmax2"))
    assert size == BYTES_8BIT * weight.numel()


@pytest.mark.slow
@few_bits
@torch.no_grad()
def test_weights_learnt_upon_either_go_upon_the_other(family, dtype, tmp_path):
    made = learnt(family.backbone_of(family.folder(), dtype=dtype))
    save_pretrained(made, {}, tmp_path)
    noisy, time, condition = family.inputs(None, 6)
    other = family.backbone_of(family.folder(), dtype="bfloat16")
    load_weights(other, tmp_path)
    expected = learnt(family.backbone_of(family.folder(), dtype="bfloat16"))(noisy, time, condition)
    assert torch.equal(other(noisy, time, condition), expected)


@pytest.mark.slow
@few_bits
@torch.no_grad()
def test_a_state_with_its_base_is_loaded_upon_that_base_alone(family, dtype, tmp_path):
    """As releases held it before."""
    base = family.backbone_of(family.folder(), dtype="bfloat16")
    held = base.state_dict() | {name: x.data for name, x in base.named_parameters() if name in base._base}
    made = family.backbone_of(family.folder(), dtype=dtype)
    made.load_state_dict(held)
    other = {name: x + 1 if name in base._base else x for name, x in held.items()}
    with pytest.raises(ValueError, match="is not the base that these weights were trained upon"):
        made.load_state_dict(other)


@pytest.mark.slow
@few_bits
@torch.no_grad()
def test_what_is_cast_for_sampling_stays_in_few_bits(family, dtype):
    made = family.backbone_of(family.folder(), dtype=dtype)
    noisy, time, condition = family.inputs(None, 6)
    before, size = made(noisy, time, condition), weight_bytes(made)
    cast(made, torch.bfloat16)
    assert weight_bytes(made) < size  # adapters
    assert (made(noisy, time, condition) - before).norm() < 0.1 * before.norm()


@few_bits
def test_its_size_is_predicted_and_is_what_lies_in_memory(dtype):
    matrix = torch.nn.Sequential(torch.nn.Linear(256, 192, dtype=torch.bfloat16))
    with torch.device("meta"):
        counted = torch.nn.Sequential(torch.nn.Linear(256, 192, dtype=torch.bfloat16))
    for network in (matrix.requires_grad_(False), counted.requires_grad_(False)):
        quantize([network], dtype)
    assert counted[0].weight.is_meta
    assert weight_bytes(counted) == weight_bytes(matrix) == stored_size((192, 256), dtype) + 2 * 192
    weight = matrix[0].weight
    if dtype == "int8":
        parts = [weight.qdata, weight.scale]
    else:
        state = weight.quant_state
        parts = [weight, state.absmax, state.state2.absmax]
    assert sum(x.numel() * x.element_size() for x in parts) == stored_size((192, 256), dtype)


@few_bits
def test_training_is_priced_with_it(dtype):
    family = FAMILIES["wan"]
    plain, made = (tiny_vin(backbone=family.backbone_of(family.folder(), dtype=kind)) for kind in ("bfloat16", dtype))
    before, found = (
        training_memory(each, None, precision="bf16-mixed", strategy="ddp", devices=1) for each in (plain, made)
    )
    assert before.weights - found.weights == weight_bytes(plain) - weight_bytes(made) > 0
    assert found._replace(weights=before.weights, host=before.host) == before
    assert before.host > found.host
    assert weight_bytes(on_meta(made)) == weight_bytes(made)
    cheap = training_memory(made, None, precision="bf16-mixed", strategy="ddp", devices=1, optimizer="adamw_8bit")
    assert cheap.optimizer == pytest.approx(found.optimizer * BYTES_8BIT / 8, abs=1)


@few_bits
def test_adapters_are_not_merged_into_few_bits(dtype, tmp_path):
    from longtake.releases.adapters import Adapters

    family, made = FAMILIES["wan"], Adapters.__new__(Adapters)
    made.backbone = family.backbone_of(family.folder(), dtype=dtype)
    with pytest.raises(ValueError, match="cannot be merged into a base of few bits: load them with rounded=False"):
        made.save_merged(tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_does_not_go_with_it_is_said_in_a_sentence(monkeypatch):
    family = FAMILIES["wan"]
    with pytest.raises(ValueError, match=r"lora_rank=0 trains all weights, which dtype=int8 keeps in few bits"):
        family.backbone_of(family.folder(), dtype="int8", lora_rank=0)
    monkeypatch.setattr("networks.pretrained.quantized.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"dtype=nf4 needs the library bitsandbytes: pip install"):
        family.backbone_of(family.folder(), dtype="nf4")
