"""trainer=fsdp2 on CPUs: the step, the average, the checkpoints and the release of processes that hold pieces are those
of one process that holds all.
"""

from functools import cache
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from builders import awake, context, example, tiny_dit, tiny_lovic, tiny_vin
from composing import composed
from lightning import LightningModule
from lightning.pytorch.strategies import FSDPStrategy
from safetensors.torch import load_file
from tiny_runs import config, losses, run_together
from torch import multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from lightning_modules.callbacks.averaging import WarmAverage
from lightning_modules.optimization import parameter_groups
from longtake.cli.checks import refuse_sharded
from longtake.cli.training import train
from longtake.pipeline import Pipeline
from longtake.releases.sharded import ShardedBlocks, refuse_other_pieces
from networks.checkpointing import keep_activations
from networks.sharding import is_sharded, local, run_whole, shard, whole_outside_blocks

NETWORKS = {
    "dit": tiny_dit,
    "vin": lambda: tiny_vin(plan=True, token_dropout=0.0),
    "lovic": lambda: tiny_lovic(tiny_vin(), low_resolution=True),
}


class Module(LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def training_step(self, noisy, time, condition):
        made = self.network.predict(noisy, time, condition)
        return made.target.square().mean() + sum(each(noisy) for each in made.losses.values())


def build(name):
    torch.manual_seed(0)
    module = Module(awake(NETWORKS[name]()))
    if name == "vin":
        module.network.interface.text.requires_grad_(False)  # a part that does not learn
    return module.train()


def inputs(name):
    noisy, time, condition = example(10)
    if name == "lovic":
        condition = condition._replace(shot=torch.zeros(2, dtype=torch.long), context=(context([-8, -4]),))
    return noisy, time, condition


def learn(module, name, kept="all", replicas=1):
    """Two steps with clipping and an average; what came of them, whole."""
    trainer, average = SimpleNamespace(), WarmAverage(decay=0.9)
    average.setup(trainer, module, "fit")
    if dist.is_initialized():
        shape = (replicas, dist.get_world_size() // replicas)
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("copies", "pieces"))
        shard(module, mesh if replicas > 1 else mesh["pieces"], gathered="float32")
        assert is_sharded(module)
    average.on_fit_start(trainer, module)
    keep_activations(module, kept)
    # Fused: PyTorch works out anew, in each process, what each operator does to pieces, which is most of the time here.
    optimizer = torch.optim.AdamW(parameter_groups(module), lr=1e-2, weight_decay=0.1, fused=True)
    losses, norms = [], []
    for _ in range(2):
        loss = run_whole(module, lambda: module.training_step(*inputs(name)))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 0.05)
        norms.append(float(norm.full_tensor() if isinstance(norm, DTensor) else norm))
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        average._average_model.update_parameters(module)
    assert min(norms) > 0.05  # clipped
    with whole_outside_blocks(module), torch.no_grad():
        sampled = module.network.eval()(*inputs(name))
    pieces = sum(local(p).numel() for p in module.parameters())
    average._swap_models(module)
    averaged = whole(module)
    average._swap_models(module)
    return {"losses": losses, "norms": norms, "weights": whole(module), "averaged": averaged,
            "sampled": sampled, "pieces": pieces}  # fmt: skip


@cache
def alone(name):
    """What one process learns."""
    return learn(build(name), name)


def whole(module):
    return {
        name: (p.full_tensor() if isinstance(p, DTensor) else p).detach().clone()
        for name, p in module.named_parameters()
    }


def joined(rank, world, folder, cases):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    found = {case: learn(build(case[0]), *case) for case in cases}
    if rank == world - 1:
        torch.save(found, f"{folder}/found.pt")
    dist.destroy_process_group()


def start(world, folder, cases):
    multiprocessing.start_processes(joined, args=(world, str(folder), cases), nprocs=world, start_method="forkserver")
    return torch.load(folder / "found.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "cases"),
    [
        (2, [("vin", "all"), ("vin", "none"), ("lovic", "all"), ("dit", "products"), ("dit", "half")]),
        (3, [("dit", "all")]),
        (4, [("dit", "none", 2)]),
    ],
    ids=["two", "three", "two copies of two pieces"],
)
def test_pieces_learn_what_one_process_learns(world, cases, tmp_path):
    found = start(world, tmp_path, cases)
    for case in cases:
        one, together = alone(case[0]), found[case]
        assert together["losses"] == pytest.approx(one["losses"], rel=1e-5)
        assert together["norms"] == pytest.approx(one["norms"], rel=1e-4)
        for key in ("weights", "averaged"):
            for name, value in one[key].items():
                torch.testing.assert_close(together[key][name], value, rtol=1e-3, atol=1e-4, msg=f"{key} {name}")
        assert any(not torch.equal(one["weights"][name], x) for name, x in one["averaged"].items())
        torch.testing.assert_close(together["sampled"], one["sampled"], rtol=1e-3, atol=1e-3)
        copies = case[2] if len(case) > 2 else 1
        assert together["pieces"] < 1.1 * one["pieces"] * copies / world


def test_a_policy_keeps_less_and_changes_nothing():
    kept, held = {}, {}
    for policy in ("all", "products", "half", "none"):
        module, numbers = build("dit"), []
        keep_activations(module, policy)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, n=numbers: n.append(x.numel()) or x, lambda x: x):
            loss = module.training_step(*inputs("dit"))
        loss.backward()
        kept[policy], held[policy] = module.network.blocks[0].mlp.fc1.weight.grad, sum(numbers)
    assert held["none"] < held["half"] < held["all"]
    for value in kept.values():
        torch.testing.assert_close(value, kept["all"], rtol=1e-5, atol=1e-7)


def test_unknown_policies_and_meshes_are_refused_in_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="kept=some must be one of all, products, half, none"):
        keep_activations(tiny_dit(), "some")
    strategy = ShardedBlocks(replicas=3)
    strategy.cluster_environment = SimpleNamespace(world_size=lambda: 4)
    with pytest.raises(ValueError, match=r"replicas=3 does not divide the 4 process\(es\) .*: use 1, 2 or 4"):
        strategy.check()
    cfg = composed("train", "trainer=fsdp2", "optimizer=muon")
    with pytest.raises(ValueError, match=r"trainer=fsdp2 shards .* use optimizer=adamw"):
        refuse_sharded(cfg.trainer, cfg.callbacks, cfg.optimizer)
    cfg = composed("train", "trainer=fsdp2", "callbacks=frugal")
    refuse_sharded(cfg.trainer, cfg.callbacks, cfg.optimizer)
    with pytest.raises(ValueError, match=r"is in pieces, as trainer=fsdp2 writes it, .* pretrained="):
        refuse_other_pieces(tmp_path, SimpleNamespace())
    with pytest.raises(ValueError, match=r"is one file, and trainer=fsdp2 goes on from .* pretrained="):
        refuse_other_pieces(tmp_path / "last.ckpt", strategy)
    for is_ours, other in ((True, FSDPStrategy()), (False, strategy)):
        monkeypatch.setattr("longtake.releases.sharded.holds", lambda *_, found=is_ours: found)
        with pytest.raises(ValueError, match=r"is in pieces that another strategy than .* wrote: .* pretrained="):
            refuse_other_pieces(tmp_path, other)
    monkeypatch.setattr("longtake.releases.sharded.holds", lambda *_: True)
    refuse_other_pieces(tmp_path, strategy)


BATCH = [
    *("global_batch_size=6", "clips_per_device=6", "network.token_dropout=0.5", "+optimizer.fused=true"),
    *("trainer.max_steps=4", "trainer.val_check_interval=2", "scheduler.total_steps=4"),
    *("datamodule.num_frames=[5,9]", "lightning_module.validation_times=[0.5]"),
]


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_run_in_pieces_goes_on_with_other_processes_and_is_released(videos, tmp_path):
    from longtake.releases.writing import release

    two = ["trainer=fsdp2_cpu", *BATCH]
    train(config(videos, tmp_path / "one", *BATCH))
    run_together(2, videos, tmp_path / "pieces", *two, "trainer.max_steps=2")
    last = tmp_path / "pieces" / "checkpoints" / "last.ckpt"
    assert last.is_dir()
    assert list((tmp_path / "pieces" / "samples").rglob("*.mp4"))
    other, one = tmp_path / "other", tmp_path / "one" / "checkpoints" / "last.ckpt"
    with pytest.raises(ValueError, match="is in pieces, as trainer=fsdp2 writes it, which SingleDeviceStrategy cannot"):
        train(config(videos, other, *BATCH, f"resume={last}"))
    with pytest.raises(ValueError, match="is one file, and trainer=fsdp2 goes on from checkpoints in pieces alone"):
        train(config(videos, other, *two, f"resume={one}", "trainer.max_steps=12"))
    train(config(videos, other, *BATCH, f"pretrained={last}", "trainer.max_steps=1", "~callbacks.samples"))
    assert Pipeline.from_pretrained(last).module.network.backbone.depth == 2
    run_together(3, videos, tmp_path / "pieces", *two, f"resume={last}", "~callbacks.samples")
    alone, together = losses(tmp_path / "one"), losses(tmp_path / "pieces")
    assert len(alone) == 4
    assert together.keys() == alone.keys()  # of the first process's share of each batch: the weights are what compares
    for name in ("one", "pieces"):
        release(tmp_path / name, tmp_path / f"{name}_weights", torch.float32)
    found = [
        load_file(next((tmp_path / f"{name}_weights" / "network").glob("*.safetensors"))) for name in ("one", "pieces")
    ]
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-5, msg=name)
