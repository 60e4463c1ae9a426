"""Groups of a training that are chosen one by one and only work together."""

from omegaconf import DictConfig


def check_together(cfg: DictConfig) -> None:
    """Refuses a data module whose batches the Lightning module does not take, and a rollout of another network.

    Args:
        cfg: composed config of train.py.

    Raises:
        ValueError: naming the group to add.
    """
    names = ("lightning_module", "datamodule", "network", "rollout")
    module, data, network, rollout = (_class_of(cfg, name) for name in names)
    chosen = {"AutoencodingModule": "autoencoding", "CompressionModule": "compression", "MemoryModule": "memory"}
    called = f"lightning_module={chosen.get(module, 'denoising')}"
    if module == "AutoencodingModule" and not cfg.datamodule.pixels:
        raise ValueError(
            f"{called} trains a codec on pixels, but datamodule.pixels=false: use experiment=codec_freedoom, or add "
            "datamodule=freedoom_pixels"
        )
    if module in ("DenoisingModule", "MemoryModule", "CompressionModule") and cfg.datamodule.pixels:
        raise ValueError(
            f"{called} is trained on latents, but datamodule.pixels=true: add datamodule.pixels=false, and "
            "codec=pixels for a network that works on pixels"
        )
    rows = data == "SegmentDataModule"
    if module in ("MemoryModule", "CompressionModule") and data == "VideoDataModule":
        raise ValueError(
            f"{called} learns from rows of segments: add datamodule=freedoom_segments or folder_segments, as "
            "experiment=lovic_freedoom and flexformer_freedoom do"
        )
    if module in ("DenoisingModule", "AutoencodingModule") and rows:
        raise ValueError(
            f"{called} learns from clips, but the data module gives rows of segments: add datamodule=freedoom or folder"
        )
    if rollout == "Segmentwise" and network and network != "LoViCNetwork":
        raise ValueError(
            "rollout=segmentwise needs a network with a memory: use network=lovic or vin_lovic, or rollout=single_pass"
        )


def _class_of(cfg: DictConfig, group: str) -> str:
    """The last name of what a group builds; "" where it is null."""
    node = cfg.get(group)
    return "" if node is None else str(node.get("_target_")).rpartition(".")[2]
