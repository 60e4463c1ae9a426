"""One long video is trained by several processes that share out its windows: gradients of one, memory of a share."""

from functools import cache

import pytest
import torch
import torch.distributed as dist
from builders import CHANNELS, awake, context, example, tiny_dit, tiny_lovic, tiny_vin
from lightning import LightningModule
from tiny_runs import config, run_together, weights
from torch import multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from longtake.cli.training import train
from longtake.compat.live import LiveBytes
from longtake.parallel import make_mesh
from networks.processes import Processes
from networks.sharding import run_whole, shard

FRAMES = 18  # five windows: two or three for each of two processes, one or two for each of three
NETWORKS = {
    "vin": lambda **more: tiny_vin(context_loss_rate=0.5, **more),
    "vin_plan": lambda **more: tiny_vin(plan=True, **more),
    "vin_lovic": lambda **more: tiny_lovic(tiny_vin(**more)),
}


def build(name, **more):
    torch.manual_seed(0)
    module = LightningModule()
    module.network = awake(NETWORKS[name](**more))
    return module.train()


def loss_of(module, name):
    noisy, time, condition = example(FRAMES)
    condition = condition._replace(text_mask=None)
    if name == "vin":
        drawn = torch.tensor([True, False])
        condition = condition._replace(events={"next_chunk_owns_overlap": drawn, "global_tokens_dropped": ~drawn})
    if name == "vin_lovic":
        before = context([-8, -4])._replace(complete=True)
        condition = condition._replace(shot=torch.zeros(2, dtype=torch.long), context=(before,))
    made = module.network.predict(noisy, time, condition)
    target = torch.randn(2, CHANNELS, FRAMES, 4, 4, generator=torch.Generator().manual_seed(1))
    return (made.target - target).square().mean() + sum(each(noisy) for each in made.losses.values())


def gradients(name, pieces=False, **more):
    """Of all weights, averaged over the processes, the loss, and how many numbers this process held for them."""
    module, held = build(name, **more), []
    world = dist.get_world_size() if dist.is_initialized() else 1
    if world > 1:
        module.network.spread_training(make_mesh(chunks=world).chunks, in_step=pieces)
    if pieces:
        shard(module, init_device_mesh("cpu", (world,)), gathered="float32")
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x.numel()) or x, lambda x: x):
        loss = run_whole(module, lambda: loss_of(module, name))
    loss.backward()
    found = {}
    for place, parameter in module.named_parameters():
        if name == "vin" or parameter.grad is not None:
            grad = parameter.grad
            assert grad is not None, f"DDP waits for a gradient of {place}"
            if isinstance(grad, DTensor):
                found[place] = grad.full_tensor()
            else:
                if world > 1:
                    dist.all_reduce(grad)
                found[place] = grad / world
    return {"gradients": found, "loss": loss.item(), "held": sum(held)}


@cache
def of_one_process(name):
    return gradients(name)


def joined(rank, world, folder, cases):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save([gradients(*case, **more) for case, more in cases], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def start(world, folder, cases):
    multiprocessing.start_processes(joined, args=(world, str(folder), cases), nprocs=world, start_method="forkserver")
    return [torch.load(f"{folder}/{rank}.pt") for rank in range(world)]


CASES = [((name,), {}) for name in NETWORKS]
CASES += [(("vin_plan",), {"train_windows_per_call": 1}), (("vin_plan", True), {"train_windows_per_call": 1})]
CASES += [(("vin_lovic", True), {})]


@pytest.mark.parametrize(
    ("world", "cases"),
    [
        (2, CASES[:1]),
        pytest.param(2, CASES[1:], marks=pytest.mark.slow),
        pytest.param(3, [CASES[0], CASES[2], CASES[4]], marks=pytest.mark.slow),
    ],
)
def test_gradients_are_those_of_one_process(world, cases, tmp_path):
    found = start(world, tmp_path, cases)
    for number, (case, _) in enumerate(cases):
        alone = of_one_process(case[0])
        for each in found:
            together = each[number]
            assert together["loss"] == pytest.approx(alone["loss"], rel=1e-6)
            assert together["gradients"].keys() == alone["gradients"].keys()
            for name, value in alone["gradients"].items():
                far = (together["gradients"][name] - value).abs().max()
                assert far <= 1e-5 * max(1.0, float(value.abs().max())), (case, name)
        if (case, number) == (CASES[0][0], 0):  # without the interface's share, which each process holds
            assert max(each[0]["held"] for each in found) < (0.8 if world == 2 else 0.6) * alone["held"]


def test_windows_of_one_call_at_a_time_change_no_gradient():
    alone = gradients("vin")
    for most in (1, 2, 3):
        found = gradients("vin", train_windows_per_call=most)
        for name, value in alone["gradients"].items():
            torch.testing.assert_close(found["gradients"][name], value, rtol=1e-4, atol=1e-6, msg=name)
        assert found["held"] < alone["held"] / 2


def fullest(most):
    """Bytes of tensors at the fullest moment of a step of twelve windows, forward and backward."""
    network = awake(tiny_vin(train_windows_per_call=most)).train()
    noisy, time, condition = example(48, batch=1, side=(8, 8))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    learnt = [x for parameter in network.parameters() for x in (parameter, parameter.grad)]
    given = [noisy, time, *(x for x in condition if torch.is_tensor(x))]
    with LiveBytes([*learnt, *network.buffers(), *given]) as live:
        network(noisy, time, condition).square().mean().backward()
    return live.peak


@pytest.mark.slow
def test_windows_of_one_call_at_a_time_hold_the_memory_of_one():
    assert fullest(most=1) < 0.4 * fullest(most=0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_of_a_team_is_that_of_one_process(videos, tmp_path):
    whole = ["datamodule.num_frames=[17]", "callbacks.samples=null", "clips_per_device=4", "network.token_dropout=0.5"]
    train(config(videos, tmp_path / "one", *whole))
    run_together(2, videos, tmp_path / "two", "trainer=chunks_cpu", *whole, "network.train_windows_per_call=1")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-5, msg=name)


def test_processes_without_a_window_are_refused_in_one_sentence():
    network = tiny_vin().train()
    network.spread_training(Processes(0, 7))
    noisy, time, condition = example(FRAMES)
    with pytest.raises(
        ValueError, match=r"chunks=7 leaves processes without a window, .* training has 5: use 5 or"
    ) as e:
        network(noisy, time, condition)
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="VideoDiT has none of: use network=vin or vin_lovic"):
        tiny_dit().spread_training(Processes(0, 2))
    with pytest.raises(ValueError, match=r"network.train_windows_per_call=-1 must be at least 1, or 0 for all at once"):
        tiny_vin(train_windows_per_call=-1)
