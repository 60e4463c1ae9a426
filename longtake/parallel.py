"""Which of a run's videos, guidance passes and windows are this process's.

Processes stand in a mesh of teams x guidance x chunks: a team makes one video together, some of it its guidance passes,
and for each pass some its windows. Neighbouring processes, which share a machine, share windows.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from longtake.compat.torch import next_number
from longtake.rollouts.rollout import Rollout
from networks.interfaces import VideoNetwork
from networks.processes import ALONE, Processes

Item = TypeVar("Item")
_LISTS = count()
"""Lists that were shared out before, by which each has a counter of its own: the same in all processes."""


class Mesh(NamedTuple):
    """The place of this process.

    world: all processes of the run; team: those that make a video together; guidance: those that share out its passes;
    chunks: those that share out the windows of a pass.
    """

    world: Processes = ALONE
    team: Processes = ALONE
    guidance: Processes = ALONE
    chunks: Processes = ALONE


def check_sizes(world: int, *, chunks: int, guidance: int) -> None:
    """Whether teams of so many processes fill the run.

    Args:
        world: processes of the run.
        chunks: of a team, that share out windows.
        guidance: of a team, that share out guidance passes.

    Raises:
        ValueError: if they do not.
    """
    team = chunks * guidance
    if world % team:
        lower = world // team * team
        fitting = f"{lower} or {lower + team}" if lower else str(team)
        raise ValueError(
            f"parallel.guidance={guidance} x parallel.chunks={chunks} makes teams of {team} processes, which do not "
            f"fill {world}: start {fitting} processes"
        )


def make_mesh(*, chunks: int = 1, guidance: int = 1) -> Mesh:
    """The place of this process among those that torch.distributed was started with; every process calls it.

    Args:
        chunks: processes that share out the windows of a canvas.
        guidance: processes that share out the guidance passes of a step.

    Returns:
        The mesh; one process alone where none was started.

    Raises:
        ValueError: if teams of chunks x guidance processes do not fill the run.
    """
    size, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    check_sizes(size, chunks=chunks, guidance=guidance)
    if size == 1:
        return Mesh()
    ranks = torch.arange(size).view(-1, guidance, chunks)  # teams, passes, windows
    return Mesh(
        world=Processes(rank, size, dist.group.WORLD),
        team=_own_row(ranks.flatten(1), rank),
        guidance=_own_row(ranks.transpose(1, 2).flatten(0, 1), rank),
        chunks=_own_row(ranks.flatten(0, 1), rank),
    )


def _own_row(rows: Tensor, rank: int) -> Processes:
    """Of groups of processes, g n, the one that this process is in; every process calls it for all."""
    if rows.shape[1] == 1:
        return ALONE
    groups = [(row, dist.new_group(row)) for row in rows.tolist()]
    row, group = next((row, group) for row, group in groups if rank in row)
    return Processes(row.index(rank), len(row), group)


def spread(mesh: Mesh, *, network: VideoNetwork, rollout: Rollout, guidance: Any, num_latents: int) -> None:
    """Shares out the work of each video among the processes of a team.

    Args:
        mesh: this process's place.
        network: what the rollout calls.
        rollout: how the video is made.
        guidance: as `longtake.samplers.guidance` has it.
        num_latents: latent frames of the videos.

    Raises:
        ValueError: if that leaves a process without a window or pass.
    """
    if mesh.chunks.size > 1:
        most = max(rollout.num_windows(network, len(canvas.frames)) for canvas in rollout.plan(num_latents))
        _refuse_idle(
            mesh.chunks.size, most, "chunks", f"rollout={rollout.name} denoises at most {most} window(s) of it"
        )
        rollout.spread(network, mesh.chunks)
    _spread_guidance(mesh, guidance)


def spread_storyboard(mesh: Mesh, *, network: VideoNetwork, guidance: Any, canvases: Sequence[int]) -> None:
    """Shares out the work of each segment of a storyboard, which is one video, among all processes.

    Args:
        mesh: this process's place.
        network: what makes the segments.
        guidance: as `longtake.samplers.guidance` has it.
        canvases: latent frames of the segments' canvases.

    Raises:
        ValueError: if that leaves a process without a window or pass, or there are several teams.
    """
    if mesh.team.size < mesh.world.size:
        raise ValueError(
            f"a storyboard is one video, whose windows and guidance passes {mesh.world.size} processes share out: "
            f"parallel.chunks x parallel.guidance must be {mesh.world.size}, not {mesh.team.size}"
        )
    if mesh.chunks.size > 1:
        most = max(map(network.num_windows, canvases))
        _refuse_idle(mesh.chunks.size, most, "chunks", f"the longest segment is denoised in {most} window(s)")
        network.spread(mesh.chunks)
    _spread_guidance(mesh, guidance)


def _spread_guidance(mesh: Mesh, guidance: Any) -> None:
    if mesh.guidance.size > 1:
        most = guidance.most_passes() if hasattr(guidance, "most_passes") else 1
        _refuse_idle(mesh.guidance.size, most, "guidance", f"guidance asks the network {most} time(s) a step")
        guidance.spread(mesh.guidance)


def shared_out(mesh: Mesh, items: Sequence[Item]) -> Iterator[Item]:
    """What the team of this process makes of a list that is the same in all; whoever is free takes the next.

    Args:
        mesh: this process's place.
        items: such as videos.

    Yields:
        Every item, to one team.
    """
    if mesh.team.size == mesh.world.size:
        yield from items
        return
    key = f"shared out {next(_LISTS)}"
    while (number := mesh.team.agree(lambda: next_number(key))) < len(items):
        yield items[number]


def _refuse_idle(asked: int, most: int, key: str, why: str) -> None:
    if asked > most:
        raise ValueError(
            f"parallel.{key}={asked} leaves processes of a video without work, since {why} side by side: use "
            f"parallel.{key}={most}" + (", and share out videos" if most == 1 else " or fewer")
        )
