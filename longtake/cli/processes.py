"""The processes of a call: those that a launcher started, or `devices` of them that this one starts."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from longtake.cli.stopped import wait_to_be_ended
from longtake.parallel import Mesh, check_sizes, make_mesh
from networks.files import claimed
from networks.processes import LostProcess

_SECONDS = 5.0
"""How long a process waits to be ended by the one that knows what is wrong."""


class Started(NamedTuple):
    """Processes that work together. devices: on this machine; nodes: machines, each with as many processes."""

    devices: int
    nodes: int


def started_by_launcher() -> Started | None:
    """How many processes torchrun or SLURM's srun started.

    Returns:
        Their numbers; None if neither of them started this process.

    Raises:
        ValueError: if the environment says that a launcher did, and leaves out what each launcher says.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _told("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        local, world = _told("TORCHELASTIC_RUN_ID", "LOCAL_WORLD_SIZE", "WORLD_SIZE")
        return Started(local, world // local)
    if "SLURM_STEP_NUM_TASKS" in os.environ:  # not of the job: a batch script itself is one process
        (tasks,) = _told("SLURM_JOB_ID", "SLURM_STEP_NUM_TASKS")
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
        return Started(tasks // nodes, nodes) if tasks > 1 else None
    if "LOCAL_RANK" in os.environ:  # of a process that another one of this program started
        _told("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return None


def _told(because: str, *names: str) -> list[int]:
    """What a launcher says in the environment, as numbers; of an address 0."""
    found = []
    for name in names:
        value = os.environ.get(name, "")
        if not (value if name == "MASTER_ADDR" else value.isdecimal() and (int(value) or "RANK" in name)):
            raise ValueError(
                f"{because} is in the environment, so that a launcher would have started this process, but {name} is "
                f"{f'{value!r} there' if value else 'not'}: start by torchrun or srun, or take {because} out (unset "
                f"{because})"
            )
        found.append(int(value) if value.isdecimal() else 0)
    return found


def check_launcher(num_nodes: int) -> None:
    """Whether processes of several machines can find one another: else they would wait for each other.

    Args:
        num_nodes: machines that the run is told of.

    Raises:
        ValueError: if they cannot.
    """
    by_hand = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in by_hand if not os.environ.get(name)]
    if started_by_launcher() is None and num_nodes > 1 and missing and "SLURM_NTASKS" not in os.environ:
        raise ValueError(
            f"trainer.num_nodes={num_nodes}, but no launcher started this process: start it on each machine by "
            f"torchrun or srun, or set {', '.join(missing)} there"
        )


def processes_of(cfg: DictConfig, *, on_cpu: bool = False) -> Started:
    """How many processes work on a call: those that a launcher started, or those that `devices` asks for.

    Args:
        cfg: config with `devices`, and with `parallel` where processes share out more than videos.
        on_cpu: whether GPUs are not used.

    Returns:
        Those that a launcher started, or `devices`.

    Raises:
        ValueError: if the launcher started another number than `devices` says, there are too few GPUs, or teams of
            `parallel` do not fill them.
    """
    import torch

    launched = started_by_launcher()
    if launched is not None and cfg.devices not in (1, launched.devices):
        raise ValueError(
            f"devices={cfg.devices}, but a launcher started {launched.devices} processes on this machine: leave "
            "devices out"
        )
    found = launched or Started(cfg.devices, 1)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() and not on_cpu else 0
    if gpus and found.devices > gpus:
        raise ValueError(f"devices={found.devices}: this machine has {gpus} GPU(s): use devices={gpus}")
    check_sizes(found.devices * found.nodes, **_shared(cfg))
    return found


def _shared(cfg: DictConfig) -> dict[str, int]:
    """What processes share out of one video."""
    parallel = cfg.get("parallel") or {"chunks": 1, "guidance": 1}
    return {key: int(parallel[key]) for key in ("chunks", "guidance")}


@contextmanager
def several_processes(cfg: DictConfig, program: str, *, on_cpu: bool = False) -> Iterator[tuple[Mesh, Any]]:
    """Starts what is asked for; gives the place of this process and its device, None to choose one as ever.

    Where one of the processes fails it says why, and the others end with it.

    Args:
        cfg: config with `devices`, and with `parallel` where processes share out more than videos.
        program: the module by which another process runs the same.
        on_cpu: whether GPUs are not used.

    Yields:
        The mesh, and the device.

    Raises:
        ValueError: if the numbers do not fit, or another process was ended from outside.
        SystemExit: where another process has said what is wrong.
    """
    found = processes_of(cfg, on_cpu=on_cpu)
    if found == Started(1, 1):
        yield Mesh(), None
        return
    fabric = _launched(found, program, on_cpu)
    mesh = make_mesh(**_shared(cfg))
    if mesh.world.rank > 0:
        logging.getLogger("longtake").setLevel(logging.ERROR)
    try:
        yield mesh, fabric.device
        mesh.world.wait()
    except LostProcess as error:
        _answer_lost(fabric, mesh.world.rank, error)
    except BaseException:
        _end_others(fabric)
        raise


def alone_in(output: Path, mesh: Mesh) -> AbstractContextManager[None]:
    """While it lasts, no other call works in a folder; the first process of this one asks for it.

    Args:
        output: the folder.
        mesh: this process's place among several.

    Returns:
        A context, which raises ValueError where another call is at work there.
    """
    if mesh.world.rank > 0:
        return nullcontext()
    advice = "wait for it, or give output=… another folder"
    return claimed(output, advice=advice, leaves_no_file=True)


def _launched(found: Started, program: str, on_cpu: bool) -> Any:
    import torch
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    from longtake.compat.lightning import end_with_processes

    end_with_processes()
    if not Path(sys.argv[0]).is_file():  # `longtake generate`, which no interpreter runs by its name
        sys.modules["__main__"].__spec__ = find_spec(program)
    root = str(Path(__file__).parents[2])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, paths)])
    # A process waits for as long as another decodes and writes; who is gone is known otherwise.
    strategy = DDPStrategy(timeout=timedelta(days=1))
    accelerator = "cuda" if torch.cuda.is_available() and not on_cpu else "cpu"
    fabric = Fabric(accelerator=accelerator, devices=found.devices, num_nodes=found.nodes, strategy=strategy)
    for name in ("lightning.fabric", "lightning.pytorch"):  # that all processes are there
        logging.getLogger(name).setLevel(logging.WARNING)
    fabric.launch()
    return fabric


def _end_others(fabric: Any) -> None:
    from longtake.compat.lightning import end_started

    end_started(fabric)


def _answer_lost(fabric: Any, rank: int, error: LostProcess) -> None:
    """Ends a process that has lost another one; the first says it, if the lost one could not."""
    from longtake.compat.lightning import LOST, end_started, failed_started

    if rank > 0:
        wait_to_be_ended(_SECONDS)  # by the first, if it still is
    status = failed_started(fabric)
    end_started(fabric)
    if 0 < status < 128 or rank > 1:
        raise SystemExit(status or 1) from error
    raise ValueError(LOST) from error
