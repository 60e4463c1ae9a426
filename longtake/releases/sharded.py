"""Checkpoints in pieces, one of each process: a folder that is whole or not there."""

from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_saver import save

from longtake.failures import no_room
from longtake.parallel import make_mesh
from longtake.releases.checkpoints import META
from longtake.releases.pieces import AVERAGE, TRAINED, holds, read_pieces
from networks.files import is_full_disk, replace_folder, unfinished_name
from networks.ranges import Size
from networks.sharding import Gathered, run_whole, shard


class _WholeFolders:
    """Lightning writes pieces into the very folder, so that a kill would leave a half new one: here beside it first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Lightning's hook, called by every process; the first one renames, when all have written.

        Raises:
            ValueError: if the disk is full; the checkpoint that was there stays.
        """
        strategy: Any = self
        path = Path(strategy.broadcast(filepath))
        part = strategy.broadcast(unfinished_name(path))  # of the first process, which is the one that is asked for
        try:
            super().save_checkpoint(checkpoint, part, storage_options)  # type: ignore[misc]
        except (OSError, RuntimeError) as error:
            if not is_full_disk(error):
                raise
            raise ValueError(no_room(path.parent, 0, "a checkpoint")) from error
        strategy.barrier()
        if strategy.global_rank == 0:
            if part.is_dir():
                replace_folder(part, path)
            else:  # one file, where the strategy is told to gather the pieces
                part.replace(path)
        strategy.barrier()


class WholeFSDP(_WholeFolders, FSDPStrategy):
    """FSDP with `state_dict_type: sharded`: `trainer.strategy._target_=longtake.releases.sharded.WholeFSDP`."""


class WholeModelParallel(_WholeFolders, ModelParallelStrategy):
    """FSDP2 and tensor parallel, whose checkpoints are in pieces by default."""


class _BothWeights(ModelParallelStrategy):
    """Pieces of the weights that are trained beside those of their average, which Lightning writes as if it were whole.

    What is written in pieces can be gone on from by any number of processes.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Lightning's hook, called by every process."""
        weights = {key: checkpoint.pop(key) for key in (AVERAGE, TRAINED) if key in checkpoint}
        optimizers = {f"optimizer_{number}": x for number, x in enumerate(checkpoint.pop("optimizer_states", []))}
        path = Path(filepath)
        path.mkdir(parents=True, exist_ok=True)
        save({**weights, **optimizers}, checkpoint_id=path)
        if self.global_rank == 0:
            torch.save(checkpoint, path / META)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Lightning's hook, called by every process; the callback that averages takes its weights out of the answer."""
        path = Path(self.broadcast(checkpoint_path))
        checkpoint: dict[str, Any] = torch.load(path / META, map_location="cpu", weights_only=True)
        assert self.model is not None
        own = get_model_state_dict(self.model)
        for key in (AVERAGE, TRAINED):
            if holds(path, key):
                # Where there is an average, what it has is read into memory of its own.
                state = {name: torch.empty_like(cast(Tensor, value)) for name, value in own.items()}
                read_pieces({key: state}, path)
                checkpoint[key] = state
        self.model.load_state_dict(checkpoint[TRAINED if TRAINED in checkpoint else AVERAGE])
        for number, optimizer in enumerate(self.optimizers):
            key = f"optimizer_{number}"
            moments = {key: get_optimizer_state_dict(self.model, optimizer)}
            read_pieces(moments, path)
            set_optimizer_state_dict(self.model, optimizer, optim_state_dict=moments[key])
        return checkpoint


class Teams:
    """Processes that share out the windows of the same videos in training, `chunks` of them, side by side in rank."""

    chunks: int = 1

    def check(self) -> None:
        """Whether the processes of the run are whole teams.

        Raises:
            ValueError: if they are not.
        """
        world = self.world_size  # type: ignore[attr-defined]
        _refuse_remainder("chunks", self.chunks, world)

    def spread(self, network: Any, *, in_step: bool) -> None:
        """Shares the windows out; every process calls it.

        Args:
            network: network of the module that is trained; None where it has none, as in training a codec.
            in_step: as in VideoNetwork.spread_training.
        """
        if self.chunks > 1:
            network.spread_training(make_mesh(chunks=self.chunks).chunks, in_step=in_step)


class ChunkParallel(Teams, DDPStrategy):
    """`trainer=chunks`: copies of the weights, and teams of processes that share out each video's windows."""

    def __init__(self, *, chunks: Size) -> None:
        """chunks: processes of a team."""
        super().__init__()
        self.chunks = chunks

    def setup(self, trainer: Any) -> None:
        """Lightning's hook, when the processes know of one another."""
        self.spread(getattr(self.lightning_module, "network", None), in_step=False)
        super().setup(trainer)


class ShardedBlocks(_WholeFolders, Teams, _BothWeights):
    """`trainer=fsdp2`: FSDP2, weights in pieces, block by block (see networks.sharding), on GPUs or CPUs.

    Every process first builds the whole network in host memory, with the same weights.
    """

    in_step = True
    """Every step asks all processes for pieces of weights, so that all have to run as many."""

    def __init__(self, *, replicas: Size = 1, gathered: Gathered = "float32", chunks: Size = 1) -> None:
        """Nothing is started before Lightning says so.

        Args:
            replicas: groups of processes, each of which holds all weights in pieces, such as one a machine: fewer
                weights go between machines, and each process holds as many times more.
            gathered: "bfloat16" puts weights together as such numbers, which halves what is exchanged for them.
            chunks: processes that share out the windows of a video in training.
        """
        super().__init__()
        self.replicas, self.gathered, self.chunks = replicas, gathered, chunks

    def check(self) -> None:
        """Whether the processes of the run are whole replicas, and whole teams.

        Raises:
            ValueError: if they are not.
        """
        super().check()
        _refuse_remainder("replicas", self.replicas, self.world_size)

    def setup_environment(self) -> None:
        """Lightning's hook, once in each process."""
        self.check()
        self._data_parallel_size, self._tensor_parallel_size = self.replicas, self.world_size // self.replicas
        super().setup_environment()

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Each process has data of its own, whatever weights it holds."""
        return {"num_replicas": self.world_size, "rank": self.global_rank}

    def setup(self, trainer: Any) -> None:
        """Lightning's hook, which asks the module itself to share its weights out; here the strategy does so."""
        assert self.model is not None
        assert self.accelerator is not None
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.model)
        mesh = self.device_mesh if self.replicas > 1 else self.device_mesh["tensor_parallel"]
        self.spread(getattr(self.model, "network", None), in_step=True)
        shard(self.model, mesh, gathered=self.gathered)
        self.model_to_device()  # what is no weight
        self.barrier()
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Lightning's hook."""
        return self._whole(super().training_step, args, kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Lightning's hook."""
        return self._whole(super().validation_step, args, kwargs)

    def _whole(self, step: Any, args: Any, kwargs: Any) -> Any:
        assert self.model is not None
        return run_whole(self.model, lambda: step(*args, **kwargs))


def refuse_other_pieces(resume: Path | None, strategy: Any) -> None:
    """Refuses to resume with a strategy that cannot read the checkpoint.

    Args:
        resume: the checkpoint to go on from.
        strategy: strategy of the trainer.

    Raises:
        ValueError: if the checkpoint is in pieces and the strategy knows whole weights alone, or the other way round,
            or if the pieces are those of another strategy.
    """
    if resume is None:
        return
    if resume.is_dir() and not isinstance(strategy, FSDPStrategy | ModelParallelStrategy):
        raise ValueError(
            f"resume={resume} is in pieces, as trainer=fsdp2 writes it, which {type(strategy).__name__} cannot go on "
            f"from: use trainer=fsdp2 on any number of devices, or begin anew from its weights, pretrained={resume}"
        )
    if isinstance(strategy, ShardedBlocks) and not resume.is_dir():
        raise ValueError(
            f"resume={resume} is one file, and trainer=fsdp2 goes on from checkpoints in pieces alone: use the trainer "
            f"that wrote it, or begin anew from its weights, pretrained={resume}"
        )

    # FSDP of Lightning keeps weights under another name.
    if resume.is_dir() and isinstance(strategy, FSDPStrategy) == (holds(resume, TRAINED) or holds(resume, AVERAGE)):
        raise ValueError(
            f"resume={resume} is in pieces that another strategy than {type(strategy).__name__} wrote: use the trainer "
            f"that wrote it, or begin anew from its weights, pretrained={resume}"
        )


def _refuse_remainder(key: str, size: int, world: int) -> None:
    if size < 1 or world % size:
        fitting = [str(count) for count in range(1, world + 1) if world % count == 0]
        these = " or ".join([", ".join(fitting[:-1]), fitting[-1]] if len(fitting) > 1 else fitting)
        raise ValueError(
            f"trainer.strategy.{key}={size} does not divide the {world} process(es) of this run: use {these}"
        )
