"""Several processes make the video that one makes: windows, guidance passes and both shared out, on gloo."""

from functools import cache

import pytest
import torch
import torch.distributed as dist
from builders import awake, example, tiny_dit, tiny_lovic, tiny_vin
from lightning import LightningModule
from torch import multiprocessing

from longtake.generation import generate, part_of
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.parallel import Mesh, check_sizes, make_mesh, spread
from longtake.rollouts.gen_l_video import GenLVideo
from longtake.rollouts.segmentwise import Segmentwise
from longtake.rollouts.single_pass import SinglePass
from longtake.samplers import DDIM, ClassifierFreeGuidance, Euler, NestedGuidance
from networks.chunks import call_sizes, plan_windows, windows_of
from networks.processes import Processes

FRAMES = 22  # six windows of VIN


def one_pass():
    return SinglePass(network_part="")


def gen_l_video():
    return GenLVideo(window_frames=6, overlap_frames=3, profile="triangular", windows_per_call=2)


def segmentwise():
    settings = {"max_context": 2, "compression_ratio": 4.0, "ratio_growth": 1.0, "max_compression_ratio": 8.0}
    return Segmentwise(segment_frames=11, window_frames=2, memory_level=0.0, **settings)


def plain():
    return ClassifierFreeGuidance(scale=2.0)


def in_part():
    return ClassifierFreeGuidance(scale=2.0, interval=(0.4, 0.8))


def split():
    return NestedGuidance(scales={"global_tokens": 1.5, "text": 3.0})


CASES = {
    **{fusion: (lambda fusion=fusion: tiny_vin(fusion=fusion), one_pass, plain)
       for fusion in ("none", "early", "mid", "late", "all")},
    "two at once": (lambda: tiny_vin(fusion="all", windows_per_call=2), one_pass, plain),
    "pooled": (lambda: tiny_vin(plan=True, fusion="all"), one_pass, plain),
    "told a plan": (lambda: tiny_vin(plan=True, plan_guidance=True, fusion="all"), one_pass, plain),
    "one pass": (tiny_vin, one_pass, lambda: ClassifierFreeGuidance(scale=1.0)),
    "in part": (lambda: tiny_vin(fusion="all"), one_pass, in_part),
    "split": (lambda: tiny_vin(fusion="all"), one_pass, split),
    "hybrid": (lambda: tiny_lovic(tiny_vin(fusion="all")), segmentwise, plain),
    "gen_l_video": (tiny_vin, gen_l_video, plain),
    "gen_l_video of a dit": (tiny_dit, gen_l_video, split),
}  # fmt: skip


def made(name, mesh):
    """A case's video, by the processes of a mesh."""
    torch.manual_seed(7)
    network, rollout, guidance = (make() for make in CASES[name])
    awake(network).eval()
    spread(mesh, network=part_of(network, rollout), rollout=rollout, guidance=guidance, num_latents=FRAMES)
    return sampled(network, rollout, guidance, Euler(num_inference_steps=4, shift=2.0))


def sampled(network, rollout, guidance, sampler, **options):
    module = LightningModule()
    module.network, module.sampler = network, sampler
    module.objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    noise, _, condition = example(FRAMES)
    return generate(module, noise, condition, rollout=rollout, guidance=guidance, **options)


def start(run, world, folder, *arguments):
    """Runs a function in several processes; a fork needs no second import, which would take most of the time."""
    multiprocessing.start_processes(
        _joined, args=(run, world, str(folder), *arguments), nprocs=world, start_method="fork"
    )
    return [torch.load(f"{folder}/{rank}.pt") for rank in range(world)]


def _joined(rank, run, world, folder, *arguments):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save(run(*arguments), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def all_made(names, sizes):
    mesh = make_mesh(**sizes)
    return {name: made(name, mesh) for name in names}


@pytest.fixture(scope="module")
def alone():
    torch.set_num_threads(1)
    return cache(lambda name: made(name, Mesh()))


UNEVEN = ("none", "all", "two at once", "pooled", "hybrid", "gen_l_video of a dit")
"""Of three processes, whose shares differ: each way of sharing windows out once."""
GUIDED = ("none", "all", "in part", "split", "hybrid", "gen_l_video")


@pytest.mark.parametrize(
    ("world", "sizes", "names"),
    [
        (2, {"chunks": 2}, ["pooled", "hybrid"]),
        pytest.param(
            2, {"chunks": 2}, [name for name in CASES if name not in ("pooled", "hybrid")], marks=pytest.mark.slow
        ),
        pytest.param(3, {"chunks": 3}, UNEVEN, marks=pytest.mark.slow),
        (2, {"guidance": 2}, ["all"]),
        pytest.param(2, {"guidance": 2}, [name for name in GUIDED if name != "all"], marks=pytest.mark.slow),
        pytest.param(3, {"guidance": 3}, ["split"], marks=pytest.mark.slow),
        pytest.param(4, {"guidance": 2, "chunks": 2}, ["in part", "split", "hybrid"], marks=pytest.mark.slow),
    ],
)
def test_several_processes_make_the_video_of_one(world, sizes, names, alone, tmp_path):
    found = start(all_made, world, tmp_path, names, sizes)
    for name in names:
        far = max(float((videos[name] - alone(name)).abs().max()) for videos in found)
        assert far <= 1e-5 * max(1.0, float(alone(name).abs().max())), name
        assert all(torch.equal(videos[name], found[0][name]) for videos in found[1:])


@pytest.mark.slow
def test_no_case_stands_for_another(alone):
    sums = {float(alone(name).sum()) for name in CASES if name != "two at once"}  # which is "all"
    assert len(sums) == len(CASES) - 1


def counted(sizes):
    """Of a step of sampling in this process: frames that it holds, windows, keyframes that it reads, and partners."""
    calls = {"frames": [], "windows": 0, "keyframes": [], "partners": set()}

    class Watched(Processes):
        def trade(self, given):
            calls["partners"].update(given)
            return super().trade(given)

    network = awake(tiny_vin(fusion="all")).eval()
    network.register_forward_pre_hook(lambda _, args: calls["frames"].append(args[0].shape[2]))
    network.backbone.register_forward_hook(lambda _, args, out: calls.update(windows=calls["windows"] + len(out)))
    network.interface.register_forward_pre_hook(lambda _, args: calls["keyframes"].append(args[0].shape[1]))
    chunks = make_mesh(**sizes).chunks
    network.spread(Watched(chunks.rank, chunks.size, chunks.group))
    sampled(network, one_pass(), ClassifierFreeGuidance(scale=1.0), Euler(num_inference_steps=1))
    return calls


@pytest.mark.slow
def test_a_process_holds_and_reads_its_own_part_and_speaks_to_its_neighbours(tmp_path):
    found = start(counted, 3, tmp_path, {"chunks": 3})
    # Windows begin at 0, 1, 5, 9, 13 and 15, and end at 4, 8, 12, 16, 20 and 22.
    assert [each["frames"] for each in found] == [[8], [11], [9]]
    assert [each["windows"] for each in found] == [4, 4, 4]  # two of each of two videos
    assert [each["keyframes"] for each in found] == [[4], [4], [3]]  # every second of 22 frames
    assert [each["partners"] for each in found] == [{1}, {0, 2}, {1}]


def without_keyframe():
    """A canvas with fewer keyframes than processes."""
    torch.manual_seed(7)
    network = awake(tiny_vin(fusion="all")).eval()
    network.interface.keyframe_seconds = 10.0
    network.spread(make_mesh(chunks=3).chunks if dist.is_initialized() else Processes())
    return sampled(network, one_pass(), plain(), Euler(num_inference_steps=2))


@pytest.mark.slow
def test_a_process_without_a_keyframe_adds_nothing_to_the_tokens(tmp_path):
    alone = without_keyframe()
    for video in start(without_keyframe, 3, tmp_path):
        torch.testing.assert_close(video, alone, rtol=0, atol=1e-5)


def with_fresh_noise():
    """By a sampler that draws noise for the whole canvas, which all processes then hold."""
    torch.manual_seed(7)
    network = awake(tiny_vin(fusion="all")).eval()
    network.spread(make_mesh(chunks=2).chunks if dist.is_initialized() else Processes())
    sampler = DDIM(num_inference_steps=3, eta=1.0)
    return sampled(network, one_pass(), plain(), sampler, generator=torch.Generator().manual_seed(3))


@pytest.mark.slow
def test_a_sampler_that_draws_noise_makes_the_video_of_one_process(tmp_path):
    alone = with_fresh_noise()
    for video in start(with_fresh_noise, 2, tmp_path):
        torch.testing.assert_close(video, alone, rtol=0, atol=1e-5)


def test_a_canvas_with_fewer_windows_than_processes_is_held_whole():
    network = tiny_vin()
    network.spread(Processes(0, 3))
    assert network.frame_parts(6) is None
    assert network.frame_parts(FRAMES) is not None


def test_training_shares_nothing_out():
    network = awake(tiny_vin()).train()
    noisy, time, condition = example(FRAMES)
    expected = network(noisy, time, condition)
    network.spread(Processes(1, 3, None))  # would ask torch.distributed, which nobody started
    assert torch.equal(network(noisy, time, condition), expected)


def test_shares_are_all_windows_once():
    plan = plan_windows(23, 4, 3, torch.device("cpu"))
    for size in range(1, 8):
        parts = [windows_of(plan, Processes(rank, size).share(6)) for rank in range(size)]
        for place, windows in enumerate(plan):
            assert torch.equal(torch.cat([part[place].frames for part in parts]), windows.frames)
        counts = [sum(len(each.frames) for each in part) for part in parts]
        assert max(counts) - min(counts) <= 1
    assert call_sizes(0, 0) == call_sizes(0, 8) == []


@pytest.mark.parametrize(
    ("world", "chunks", "guidance", "words"),
    [
        (
            3,
            2,
            1,
            "parallel.guidance=1 x parallel.chunks=2 makes teams of 2 processes, which do not fill 3: start 2 or 4",
        ),
        (6, 2, 2, "makes teams of 4 processes, which do not fill 6: start 4 or 8 processes"),
        (1, 2, 1, "which do not fill 1: start 2 processes"),
    ],
)
def test_a_mesh_that_does_not_multiply_out_is_refused(world, chunks, guidance, words):
    with pytest.raises(ValueError, match=words):
        check_sizes(world, chunks=chunks, guidance=guidance)


@pytest.mark.parametrize(
    ("network", "rollout", "guidance", "mesh", "words"),
    [
        (tiny_vin, one_pass(), plain(), Mesh(chunks=Processes(0, 7)), "parallel.chunks=7 leaves .* at most 6"),
        (tiny_dit, one_pass(), plain(), Mesh(chunks=Processes(0, 2)), "use parallel.chunks=1, and share out"),
        (tiny_vin, one_pass(), ClassifierFreeGuidance(scale=1.0), Mesh(guidance=Processes(0, 2)),
         r"parallel.guidance=2 leaves .* asks the network 1 time\(s\) a step"),
        (tiny_vin, one_pass(), plain(), Mesh(guidance=Processes(0, 3)), "use parallel.guidance=2 or fewer"),
    ],
)  # fmt: skip
def test_processes_without_work_are_refused(network, rollout, guidance, mesh, words):
    with pytest.raises(ValueError, match=words):
        spread(mesh, network=network(), rollout=rollout, guidance=guidance, num_latents=FRAMES)
