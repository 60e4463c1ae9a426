"""Processes that hold all weights share the sample videos of a training out, and none waits beyond the timeout."""

import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from builders import TEXT, awake, tiny_dit
from lightning import LightningModule
from torch import multiprocessing, nn

from lightning_modules.callbacks.samples import SampleVideos
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.pipeline import Pipeline
from longtake.rollouts.single_pass import SinglePass
from longtake.samplers import DDIM, ClassifierFreeGuidance, Euler
from networks.codecs.pixels import PixelCodec
from networks.processes import Meetings, Processes
from networks.text import NullText
from networks.visits import visit

CAPTIONS = ["a cave", "a hall", "a yard"]


SECONDS, TIMEOUT = 1.5, 4.0  # of a step, of which a video takes four


def module_of():
    torch.manual_seed(0)
    module = LightningModule()
    module.network, module.sampler = awake(tiny_dit(channels=3)).eval(), Euler(num_inference_steps=4, shift=1.0)
    module.objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    return module


def samples(folder, rank, num_videos, change=lambda module: None):
    """What one process does at a validation: sizes of its calls, and the videos that it writes."""
    module, written, calls = module_of(), [], []
    module.network.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    change(module.network)
    data = SimpleNamespace(
        codec=PixelCodec(channels=3), text_encoder=NullText(features=TEXT), height=8, width=8, fps=4.0,
        validation_captions=lambda: CAPTIONS,
    )  # fmt: skip
    trainer = SimpleNamespace(
        global_step=10, max_steps=10, sanity_checking=False, datamodule=data, is_global_zero=rank == 0, loggers=[]
    )

    def write(path, pieces, fps):
        path.parent.mkdir(parents=True, exist_ok=True)
        written.append(torch.cat(list(pieces), dim=1))

    callback = SampleVideos(
        write_video=write,
        rollout=SinglePass(network_part=""), guidance=ClassifierFreeGuidance(scale=1.0), folder=str(folder),
        every_n_steps=10, num_videos=num_videos, num_frames=5, seed=3,
    )  # fmt: skip
    torch.manual_seed(7)
    callback.on_validation_epoch_end(trainer, module)
    drawn = torch.rand(1).item()  # training draws what it would have drawn
    return {"calls": calls, "videos": written, "drawn": drawn}


def slow(network, rank):
    network.register_forward_pre_hook(lambda *_: time.sleep(SECONDS))


def broken(network, rank):
    network.register_forward_hook(lambda _, given, made: made * (torch.nan if rank == 1 else 1))


def joined(rank, world, folder, num_videos, kind):
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/meet", world)
    store.set(f"{rank}", "here")
    store.wait([f"{other}" for other in range(world)], timedelta(seconds=60))  # they begin as far apart as it takes
    meet = {"store": store, "rank": rank, "world_size": world}
    dist.init_process_group("gloo", timeout=timedelta(seconds=TIMEOUT if kind is slow else 60), **meet)
    found = samples(folder, rank, num_videos, lambda network: kind and kind(network, rank))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def start(world, folder, num_videos, kind=None):
    arguments = (world, str(folder), num_videos, kind)
    multiprocessing.start_processes(joined, args=arguments, nprocs=world, start_method="fork")
    return [torch.load(f"{folder}/{rank}.pt") for rank in range(world)]


def test_each_makes_some_and_the_first_writes_all(tmp_path):
    alone = samples(tmp_path / "alone", 0, 3)
    first, second = start(2, tmp_path, 3)
    assert (alone["calls"], first["calls"], second["calls"]) == ([3] * 4, [1] * 4, [2] * 4)
    assert second["videos"] == []
    assert len(first["videos"]) == 3
    for made, expected in zip(first["videos"], alone["videos"], strict=True):
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    assert not torch.equal(alone["videos"][0], alone["videos"][1])
    assert alone["drawn"] == first["drawn"] == second["drawn"]


@pytest.mark.slow
def test_whoever_has_none_waits_longer_than_the_timeout_and_lives(tmp_path):
    assert 4 * SECONDS > TIMEOUT
    first, second = start(2, tmp_path, 1, slow)
    assert sorted([first["calls"], second["calls"]]) == [[], [1] * 4]
    assert len(first["videos"]) == 1


def test_what_is_no_number_in_one_process_is_left_out_in_all(tmp_path):
    found = start(2, tmp_path, 3, broken)
    assert [each["videos"] for each in found] == [[], []]
    assert not list(tmp_path.glob("step_*"))


def test_fresh_noise_is_a_video_s_own_whoever_makes_it():
    module = module_of()
    module.sampler = DDIM(num_inference_steps=3, eta=1.0)
    pipeline = Pipeline(
        module=module, guidance=ClassifierFreeGuidance(scale=1.0), rollout=SinglePass(network_part=""),
        codec=PixelCodec(channels=3), text_encoder=NullText(features=TEXT), height=8, width=8, fps=4.0,
    )  # fmt: skip
    told = {"num_frames": 5, "seed": 3}
    whole = pipeline.latents(CAPTIONS, **told)
    shares = [pipeline.latents(CAPTIONS, **told, rows=Processes(rank, 2).share(3)) for rank in range(2)]
    assert torch.equal(torch.cat(shares), whole)
    assert torch.equal(pipeline.latents(CAPTIONS[:1], **told), whole[:1])
    moved = (whole - pipeline.replace(sampler=DDIM(num_inference_steps=3)).latents(CAPTIONS, **told)).flatten(1)
    assert len({round(float(each.abs().mean()), 6) for each in moved}) == 3  # not the same noise in each


def test_one_process_meets_nobody():
    meetings = Meetings(Processes(), torch.device("cpu"))
    meetings.step()
    meetings.rest()


def test_a_visit_ends_where_it_began():
    class Part(nn.Linear):
        def to(self, device):
            moves.append(str(device))

    moves = []
    part = Part(2, 2)
    with visit(part, torch.device("cuda")):
        assert moves == ["cuda"]
    assert moves == ["cuda", "cpu"]
    with pytest.raises(ValueError, match="broken"), visit(part, torch.device("cuda")):
        raise ValueError("broken")
    assert moves[2:] == ["cuda", "cpu"]
    with visit(PixelCodec(channels=3), torch.device("cuda")), visit(None, torch.device("cuda")):
        pass  # nothing to move
