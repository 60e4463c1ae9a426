"""What a training refuses before it builds or reads anything."""

import logging

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from torch import nn

from longtake.cli import slurm
from networks.codecs.rules import check_lengths
from networks.interfaces import Codec
from networks.pretrained.quantized import LIBRARIES

log = logging.getLogger("longtake")


def refuse_ddp_sweep(trainer: DictConfig) -> None:
    """Refuses `-m` with several processes: where Lightning starts them, each would start a sweep of its own.

    A job of SLURM has its processes already.

    Args:
        trainer: config of the trainer.

    Raises:
        ValueError: for `-m` together with a strategy of several processes, outside of a job.
    """
    several = (str(trainer.strategy) != "auto" or trainer.devices not in (1, "1")) and slurm.job() is None
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN and several:
        raise ValueError(
            f"-m (a sweep) with strategy={trainer.strategy} would start one sweep in every process; "
            "sweep with trainer=cpu or trainer=gpu, or make every run a job of SLURM by hydra/launcher=slurm"
        )


def refuse_precision(trainer: DictConfig) -> None:
    """Lightning would take another precision, and warn.

    Args:
        trainer: of the config.

    Raises:
        ValueError: for mixed precision in float16 on a CPU.
    """
    if trainer.get("accelerator") == "cpu" and str(trainer.get("precision")) in ("16", "16-mixed"):
        raise ValueError(
            f"trainer.precision={trainer.precision}: a CPU has no mixed precision in float16: use bf16-mixed or 32-true"
        )


def refuse_sharded(trainer: DictConfig, callbacks: DictConfig, optimizer: DictConfig) -> None:
    """Refuses parts that read whole weights under FSDP, where no process has them outside a step.

    Args:
        trainer: config of the trainer.
        callbacks: configs of the callbacks, by name.
        optimizer: config of the optimizer.

    Raises:
        ValueError: for trainer=fsdp with what reads whole weights, or with Lightning's own clipping.
    """
    blocks = "ShardedBlocks" in str(trainer.strategy)
    name = "fsdp2" if blocks else "fsdp"
    if (blocks or "fsdp" in str(trainer.strategy)) and str(optimizer.get("_target_")).endswith("adamw_8bit"):
        raise ValueError(
            f"trainer={name} shards the optimizer's state, which bitsandbytes needs whole: use optimizer=adamw"
        )
    if (blocks or "fsdp" in str(trainer.strategy)) and str(optimizer.get("_target_")).endswith("Muon"):
        raise ValueError(f"trainer={name} shards the matrices, which optimizer=muon needs whole: use optimizer=adamw")
    if blocks or "fsdp" not in str(trainer.strategy):
        return
    counts = callbacks.get("throughput") is not None and callbacks.throughput.count_flops
    whole = [name for name in ("average", "pictures", "samples") if callbacks.get(name) is not None] + [
        "throughput"
    ] * counts
    if whole:
        raise ValueError(
            f"trainer=fsdp shards the weights, which the callback(s) {', '.join(whole)} read whole: add callbacks=fsdp"
        )
    if trainer.gradient_clip_val is not None:
        raise ValueError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val} cannot clip sharded gradients: set it to null; "
            "callbacks=fsdp clips them by callbacks.clipping.max_norm"
        )


def check_sizes(datamodule: DictConfig, codec: Codec, patch: int, frame_patch: int = 1) -> None:
    """Refuses sizes whose latents do not split into tokens, before a video is made or read.

    Args:
        datamodule: config of the data module.
        codec: codec whose latents are cut into tokens.
        patch: side of a token, in latents.
        frame_patch: latent frames of a token.

    Raises:
        ValueError: naming the nearest sizes that fit.
    """
    if isinstance(datamodule.num_frames, int):
        raise ValueError(f"datamodule.num_frames={datamodule.num_frames} must be a list of lengths, such as [37, 77]")
    for num_frames in datamodule.num_frames:
        try:
            check_lengths(num_frames, datamodule.height, datamodule.width, codec, patch, frame_patch)
        except ValueError as error:
            raise ValueError(f"datamodule.{error}") from error


def refuse_shared_types(cfg: DictConfig) -> None:
    """Refuses a type of a backbone's weights that several processes cannot share out or send; nothing is read before.

    Args:
        cfg: of a training.

    Raises:
        ValueError: if they lie in few bits where they would be in pieces or be sent, or are sharded as one with others.
    """
    dtype = "float32" if cfg.get("backbone") is None else cfg.backbone.get("dtype", "float32")
    strategy = str(cfg.trainer.strategy)
    if dtype in LIBRARIES and ("fsdp" in strategy or "ShardedBlocks" in strategy):
        raise ValueError(
            f"backbone.dtype={dtype} keeps weights in few bits, which cannot lie in pieces as well: use "
            "backbone.dtype=bfloat16, or trainer=ddp backbone.dtype=nf4"
        )
    if dtype == "int8" and strategy != "auto":
        raise ValueError(
            "backbone.dtype=int8 works on one device, as torchao's weights cannot be sent to another process: "
            "use backbone.dtype=nf4, or trainer=gpu"
        )
    if "fsdp" in strategy and dtype != "float32":
        raise ValueError(
            f"trainer=fsdp needs one type for all weights, and backbone.dtype={dtype} is another than float32: "
            "add backbone.dtype=float32, or use trainer=ddp"
        )


def check_parts(cfg: DictConfig, codec: Codec) -> None:
    """Refuses groups that were chosen one by one and do not go together.

    Args:
        cfg: composed config of train.py.
        codec: the codec that the network is trained with.

    Raises:
        ValueError: if a network with memory would be trained without any.
    """
    network, module = (str(node._target_).rpartition(".")[2] for node in (cfg.network, cfg.lightning_module))
    if network == "LoViCNetwork" and module != "MemoryModule":
        raise ValueError(
            "network=lovic and vin_lovic learn from rows of segments: use experiment=lovic_freedoom or "
            "vin_lovic_freedoom, or add lightning_module=memory datamodule=freedoom_segments compressor=flexformer"
        )
    expected = cfg.datamodule.fps / codec.time_factor
    told = (cfg.get("backbone") or {}).get("latent_fps")  # a backbone of one's own may not ask for it
    if told is not None and abs(told / expected - 1) > 0.01:
        log.warning(
            f"backbone.latent_fps={cfg.backbone.latent_fps:g}, but datamodule.fps={cfg.datamodule.fps:g} over the "
            f"codec's time factor of {codec.time_factor} is {expected:g}, so the network's seconds are wrong: set "
            f"backbone.latent_fps={expected:g}"
        )


def refuse_untrained(codec: Codec) -> None:
    """Refuses to train a network upon an untrained codec: its random weights are in no checkpoint.

    Args:
        codec: the codec that a network would be trained with.

    Raises:
        ValueError: if a network would be trained upon such a codec.
    """
    if isinstance(codec, nn.Module) and any(parameter.requires_grad for parameter in codec.parameters()):
        raise ValueError(
            f"codec: {type(codec).__name__} is untrained, and a network trained upon its random latents could not be "
            "used, as no checkpoint holds them: take codec=freedoom, or train it (experiment=codec_freedoom), release "
            "it by export.py, and add codec=freedoom codec.folder=… codec.channels=…"
        )
