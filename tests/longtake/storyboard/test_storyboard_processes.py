"""A storyboard that several processes make together is that of one."""

from math import prod

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import multiprocessing
from writers import Writer, never

from longtake.cli.request import requested
from longtake.cli.storyboard import make_storyboard_video
from longtake.parallel import Mesh, make_mesh, spread_storyboard
from networks.processes import Processes

BOARD = """
segments:
  - {name: one, shot: a}
  - {name: two, shot: a}
  - {name: three, shot: b}
"""


def make(rank, world, folder, cfg, sizes):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    cfg.output, writer = f"{folder}/several", Writer()
    torch.manual_seed(0)  # for the untrained codec
    make_storyboard_video(requested(cfg), writer, never, make_mesh(**sizes), "cpu")
    assert list(writer.made) == (["000.mp4"] if rank == 0 else [])
    dist.destroy_process_group()


def segments(folder):
    return {path.name: load_file(path) for path in sorted(folder.glob("segments/*.safetensors"))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("hybrid", {"chunks": 2, "guidance": 2}), ("lovic", {"guidance": 2})],
    ids=["windows and guidance", "guidance"],
)
def test_segments_are_those_of_one_process(kind, sizes, ask, tmp_path):
    changes = ["guidance_scale=2"]
    if kind == "hybrid":
        changes.append("network.fusion=all")  # the second segment's canvas has two windows
    world = prod(sizes.values())
    torch.manual_seed(0)
    make_storyboard_video(requested(ask(kind, *changes, board=BOARD)), Writer(), never)
    alone = segments(tmp_path / "out")
    cfg = ask(kind, *changes, board=BOARD)
    for _ in range(2):  # and what is there already is not made again
        multiprocessing.start_processes(
            make, args=(world, str(tmp_path), cfg, sizes), nprocs=world, start_method="fork"
        )
        (tmp_path / "meet").unlink(missing_ok=True)
        found = segments(tmp_path / "several")
        assert len(found) == 3
        assert found.keys() == alone.keys()
        for name, tensors in alone.items():
            for key, value in tensors.items():
                assert (found[name][key] - value).abs().max() <= 1e-5, name


def test_processes_that_a_storyboard_has_no_work_for_are_refused():
    mesh = Mesh(world=Processes(0, 4), team=Processes(0, 2))
    with pytest.raises(ValueError, match=r"parallel.chunks x parallel.guidance must be 4, not 2"):
        spread_storyboard(mesh, network=None, guidance=None, canvases=[1])
