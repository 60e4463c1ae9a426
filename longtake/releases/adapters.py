"""What was learnt upon a pretrained base, for programs that know the base's family and not this project."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from longtake.releases.bases import bases_in, rename_base
from longtake.releases.reading import Trained, load_state, read_run
from networks.files import remove_unfinished, scratch, unfinished_name, whole
from networks.pretrained.learnt import UponBase
from networks.pretrained.quantized import LIBRARIES

_LARGE = 1 << 20
LORA = "pytorch_lora_weights.safetensors"


class Adapters:
    """The adapters of trained weights, with the base that they lie upon."""

    def __init__(self, weights: str | Path, bases: Mapping[str, str], *, rounded: bool = True) -> None:
        """Loads them.

        Args:
            weights: a run folder, a .ckpt or a release.
            bases: folder or hub name of each part's pretrained model, by part, where it has moved.
            rounded: whether a base of few bits (backbone.dtype=int8 or nf4) is loaded so; False: in bfloat16, as
                merging asks.

        Raises:
            ValueError: if they cannot be loaded, or were not trained through adapters.
        """
        config, state = read_run(weights, "run")
        for part, name in bases.items():
            rename_base(config, part, name)
        for node in [] if rounded else bases_in(config.get("network")):
            node["dtype"] = "bfloat16" if node.get("dtype") in LIBRARIES else node.get("dtype")
        if config.get("network") is None:
            raise ValueError(f"run={weights} holds a codec, which has no adapters: set format=release")
        self.module = Trained(config)
        load_state(self.module, state)
        backbone: Any = getattr(self.module.network, "backbone", None)
        backbone = getattr(backbone, "learning", backbone)  # of two experts, the one that was trained
        if not isinstance(backbone, UponBase) or not backbone.adapter_scale:
            raise ValueError(f"run={weights} was not trained through adapters (backbone.lora_rank): set format=release")
        self.backbone: Any = backbone

    @property
    def left_out(self) -> list[str]:
        """Names of what was learnt beside the adapters, which no other program reads."""
        learnt = [name for name, x in self.module.network.named_parameters() if x.requires_grad and bool(x.any())]
        return [name for name in learnt if ".lora_" not in name]

    def save_lora(self, folder: Path, dtype: torch.dtype) -> Path:
        """Writes the adapters as diffusers' `load_lora_weights` reads them, ComfyUI and kohya's scripts too.

        Their weight, lora_alpha / lora_rank, is multiplied in: so each reader takes 1, whatever it makes of alpha.
        """
        from peft import get_peft_model_state_dict

        scale = self.backbone.adapter_scale
        found = get_peft_model_state_dict(self.backbone.model)
        tensors = {
            f"transformer.{name}": (x * scale if ".lora_B." in name else x).to(dtype).contiguous()
            for name, x in found.items()
        }
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        with whole(folder / LORA) as part:
            save_file(tensors, part, metadata={"format": "pt"})
        return folder / LORA

    def save_merged(self, folder: Path) -> Path:
        """Writes the whole pipeline of the base as a plain folder of diffusers, the adapters merged into its weights.

        Weights keep the types that they were loaded in; adapters learnt upon a base of few bits are merged into the
        base itself. Large files of the other parts are linked where the file system can, else copied. These adapters
        are of no use afterwards.

        Args:
            folder: folder that the pipeline is written to.

        Returns:
            The transformer's folder in it.

        Raises:
            ValueError: if the base was loaded with few bits.
        """
        model, subfolder = self.backbone.model, self.backbone.subfolder
        if any(hasattr(part, "stored_bytes") for part in model.modules()):
            raise ValueError("adapters cannot be merged into a base of few bits: load them with rounded=False")
        model.fuse_lora()
        model.unload_lora()
        (folder / subfolder).mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        with scratch(folder) as made:  # what stands there stays until all of it is written
            model.save_pretrained(made, max_shard_size="2GB")  # shard by shard, as safetensors copies what it writes
            for path in made.iterdir():
                path.replace(folder / subfolder / path.name)
        if subfolder:
            _copy_rest(self.backbone.pretrained, subfolder, folder)
        return folder / subfolder


def _copy_rest(pretrained: str, subfolder: str, folder: Path) -> None:
    base = Path(pretrained)
    if not base.is_dir():
        from huggingface_hub import snapshot_download

        base = Path(snapshot_download(pretrained, ignore_patterns=[f"{subfolder}/*"]))
    for path in sorted(base.rglob("*")):
        place = path.relative_to(base)
        if path.is_file() and place.parts[0] != subfolder:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            _link(path.resolve(), folder / place)


def _link(path: Path, target: Path) -> None:
    if path.stat().st_size > _LARGE:  # small ones are edited by hand
        link = unfinished_name(target)
        try:
            with suppress(OSError):  # another file system, or one without links
                os.link(path, link)
                link.replace(target)
                return
        finally:
            link.unlink(missing_ok=True)  # nothing is renamed where both are one file already
    with whole(target) as part:
        shutil.copyfile(path, part)
