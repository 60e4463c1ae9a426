"""Videos as a training sees them, for notebooks and programs of one's own."""

import os
from pathlib import Path

from hydra.utils import instantiate
from lightning import LightningDataModule

from longtake.cli.composed import compose_from_python, users_errors
from longtake.configs import weights_folder


def open_data(*settings: str, split: str = "test") -> LightningDataModule:
    """Prepares a data module with its codec and text encoder, and opens a split of it.

    What is missing is rendered and encoded first, as `python train.py` does.

    Args:
        *settings: as on the command line of train.py, such as "datamodule=folder" and "datamodule.root=DIR".
        split: "train" for training and validation, or "test".

    Returns:
        The data, with `clips` by split, `batch(clips, num_frames, starts)`, `codec` and `fps`; one clip a batch.

    Raises:
        ValueError: if a setting is wrong or no video can be read.

    Example:
        data = longtake.open_data("datamodule=folder", "datamodule.root=videos")
        clip = data.clips["test"][0]
    """
    if split not in ("train", "test"):
        raise ValueError(f"split={split!r} must be 'train', for training and validation, or 'test'")
    os.environ.setdefault("LONGTAKE_WEIGHTS", str(weights_folder()))
    cfg = compose_from_python("train", [f"paths.root_dir={Path.cwd()}", "paths.run_dir=.", *settings])
    with users_errors():
        codec, text_encoder = instantiate(cfg.codec).eval(), instantiate(cfg.text)
        data: LightningDataModule = instantiate(
            cfg.datamodule, codec=codec, text_encoder=text_encoder, global_batch_size=1, batch_size=1, seed=cfg.seed
        )
    data.prepare_data()
    data.setup("test" if split == "test" else "fit")
    return data
