"""A training step tells its device what to do and waits for nothing, and has no mask where nothing is masked.

The device is `meta`, which has no values: whatever looks at one raises, as a GPU would have to be waited for. What lies
in host memory has values, and may be looked at.
"""

from types import SimpleNamespace

import pytest
import torch
from builders import CHANNELS, TEXT, awake, masked_calls, tiny_dit, tiny_lovic, tiny_vin
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.compression import CompressionModule
from lightning_modules.denoising import DenoisingModule
from lightning_modules.memory import MemoryModule
from lightning_modules.randomness import RowGenerators
from lightning_modules.reconstruction import RatioSampler
from lightning_modules.tasks import TaskSampler
from longtake.compat.sizes import CountedSizes
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from networks.batches import on_device
from networks.interfaces import SegmentBatch, VideoBatch

META, ROWS, SLOTS, FRAMES = torch.device("meta"), 2, 3, 4
NETWORKS = {
    "dit": tiny_dit,
    "vin": lambda: tiny_vin(token_dropout=0.5, context_loss_rate=0.5),
    "vin_plan": lambda: tiny_vin(plan=True),
    "lovic": lambda: tiny_lovic(low_resolution=True),
    "vin_lovic": lambda: tiny_lovic(tiny_vin()),
    "flexformer": lambda: tiny_lovic().compressor,
}
ALL = pytest.mark.parametrize("name", NETWORKS)


class Waits(TorchDispatchMode):
    """Notes copies to or from the device that the host would wait for; that of a value raises by itself."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            there = torch.device(kwargs.get("device") or args[0].device)
            if there != args[0].device and not kwargs.get("non_blocking"):
                self.found.append(f"{args[0].device} to {there}: {tuple(args[0].shape)}")
        return func(*args, **kwargs)


def rows(valid=True, padded=False, tokens=3):
    """Rows of segments of one walk without gaps, in host memory."""
    index = torch.arange(SLOTS * FRAMES, dtype=torch.float32).view(SLOTS, FRAMES).repeat(ROWS, 1, 1)
    known = torch.ones(ROWS, SLOTS, tokens, dtype=torch.bool)
    known[0, 0, -1] = not padded
    return SegmentBatch(
        video=torch.randn(ROWS, SLOTS, CHANNELS, FRAMES, 4, 4),
        frame_index=index,
        text=torch.randn(ROWS, SLOTS, tokens, TEXT),
        text_mask=known,
        shot=torch.zeros(ROWS, SLOTS, dtype=torch.long),
        valid=torch.tensor([[True, True, valid]] * ROWS),
    )


def clips():
    index = torch.arange(10, dtype=torch.float32).repeat(ROWS, 1)
    return VideoBatch(torch.randn(ROWS, CHANNELS, 10, 4, 4), index, torch.randn(ROWS, 3, TEXT), None)


def module_of(name, dropout, device, **changes):
    """A network's Lightning module, as a Trainer would hold it on a device."""
    torch.manual_seed(0)
    network = awake(NETWORKS[name]()).to(device)
    shared = {"optimizer": None, "scheduler": None, "seed": 0}
    rates = RatioSampler(lowest=4.0, highest=8.0)
    clean = {"max_level": 0.2, "text_weight": 0.25}
    if name == "flexformer":
        module = CompressionModule(network=network, rates=rates, validation_rates=[4.0], **clean, **shared)
    else:
        objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
        shared |= {"objective": objective, "sampler": None, "plan_weight": 0.1, "validation_times": [0.5]}
        shared |= {"network": network, "text_dropout": dropout}
        if "lovic" in name:
            settings = {"past_prob": 1.0, "future_prob": 1.0, "max_context": 2, "neighbour_gap_prob": 0.0}
            settings |= {"min_context": 2, "window_frames": 2, **changes}
            module = MemoryModule(
                tasks=TaskSampler(**settings),
                rates=rates, memory_dropout=dropout, reconstruction_weight=0.5, compressor_lr_scale=1.0,
                validation_tasks=["interpolation"], validation_rate=4.0, **clean, **shared,
            )  # fmt: skip
        else:
            module = DenoisingModule(**shared)
    module._trainer = SimpleNamespace(global_step=3, accumulate_grad_batches=1, world_size=1, global_rank=0)
    module.log = lambda *_, **__: None
    module.log_dict = lambda *_, **__: None
    return module.to(device).train()


def batch_of(name, **changes):
    return rows(**changes) if "lovic" in name or name == "flexformer" else clips()


@pytest.fixture
def generators(monkeypatch):
    """The device has none, and needs none."""

    def row_generators(_, seed, batch_idx, count):
        return RowGenerators([None] * count, [torch.Generator().manual_seed(seed + row) for row in range(count)])

    for module in ("denoising", "memory", "compression"):
        monkeypatch.setattr(f"lightning_modules.{module}.row_generators", row_generators)


def step(module, batch):
    """What Lightning does with a batch, and what it is waited for in it."""
    on = batch.to(META) if isinstance(batch, SegmentBatch) else on_meta(batch)
    with CountedSizes(), Waits() as waits:  # which runs each kind of operator once
        module.training_step(on, 0).backward()
    return waits.found


def on_meta(batch):
    return batch.map(lambda x: on_device(x, META))


WHOLE, PADDED = {}, {"valid": False, "padded": True}
STEPS = [
    *((name, dropout, WHOLE) for name in ("dit", "vin", "vin_plan") for dropout in (0.0, 0.5, 1.0)),
    *((name, dropout, rows) for name in ("lovic", "vin_lovic") for dropout, rows in ((0.5, WHOLE), (0.5, PADDED))),
    *((name, dropout, rows) for name in ("lovic", "vin_lovic") for dropout, rows in ((0.0, PADDED), (1.0, WHOLE))),
    *(("flexformer", 0.0, rows) for rows in (WHOLE, PADDED)),
]
"""Networks, shares of texts that are dropped, and rows: clips are whole, and a compressor drops nothing."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dropout", "changes"), STEPS)
def test_a_training_step_waits_for_nothing(name, dropout, changes, generators):
    tasks = {"past_prob": 0.5, "future_prob": 0.5, "min_context": 1} if "lovic" in name else {}
    assert step(module_of(name, dropout, META, **tasks), batch_of(name, **changes)) == []


def test_a_wait_is_seen(generators):
    module = module_of("lovic", 0.0, META)
    with pytest.raises(RuntimeError, match="meta"):
        module.training_step(rows().map(lambda x: x.to(META)), 0)
    with Waits() as waits:
        torch.ones(2).to(META)
    assert waits.found == ["cpu to meta: (2,)"]


@pytest.mark.slow
@ALL
def test_a_training_step_without_padding_has_no_mask(name, generators):
    if name == "vin":
        pytest.skip("drops its tokens here: counted in tests/networks/test_masks.py")
    masked, calls = masked_calls(lambda: step(module_of(name, 0.0, META), batch_of(name)))
    assert calls >= 2
    assert masked == 0


@pytest.mark.slow
def test_what_is_missing_is_masked(generators):
    batch = rows(padded=True)
    assert masked_calls(lambda: step(module_of("flexformer", 0.0, META), batch))[0] > 0
    assert masked_calls(lambda: step(module_of("lovic", 1.0, META), rows()))[0] > 0


@pytest.mark.parametrize("valid", [True, False])
def test_a_step_is_the_same_wherever_masks_lie(valid, monkeypatch):
    """Masks that are never left out, as before it was known whether they mask anything."""
    losses = []
    for always in (False, True):
        if always:
            for place in ("lightning_modules.memory", "lightning_modules.reconstruction", "networks.lovic"):
                monkeypatch.setattr(f"{place}.mask_on_device", lambda known, _: known)
        module = module_of("lovic", 0.0, torch.device("cpu"))
        loss = module.training_step(rows(valid=valid), 0)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
