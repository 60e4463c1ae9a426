"""What one video scored, kept in one file under the hash of all that determines it, so that nothing is scored twice."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from longtake.metrics.per_video import Curve
from longtake.reports.beside import Beside
from networks.files import remove_unfinished, whole

# To be raised when a metric or this file's contents change.
VERSION = 1

Cell = str | int | float | None


class Scored(NamedTuple):
    """A video's results.

    row: its file, frames, height, width and fps, then each metric's score, None where it has none; of a reference
        the first five alone.
    curves: per metric that has one.
    faults: per metric that refused the video, why.
    strip: some of its frames side by side, a JPEG in base64.
    samples: per distance between sets, its features n d.
    """

    row: dict[str, Cell]
    curves: dict[str, Curve]
    faults: dict[str, str]
    strip: str
    samples: dict[str, Tensor]


def content_key(file: Path, beside: Beside, settings: Mapping[str, Any]) -> str:
    """Hash of a video, of what lies beside it and of the settings that scores depend on."""
    digest = hashlib.sha256(json.dumps([VERSION, dict(settings)], sort_keys=True, default=str).encode())
    digest.update(json.dumps([list(beside.boundaries), beside.prompt]).encode())
    for path in (file, beside.reference, beside.poses):
        digest.update(b"-" if path is None else _file_hash(path))
    return digest.hexdigest()[:32]


def _file_hash(path: Path) -> bytes:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def load_scored(folder: Path, key: str) -> Scored | None:
    """What was kept under a key; None if nothing was, or if it cannot be read."""
    path = folder / f"{key}.safetensors"
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), "pt") as opened:
            kept = json.loads(opened.metadata()["scored"])
            samples = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError):
        return None
    kept["curves"] = {name: Curve(*curve) for name, curve in kept["curves"].items()}
    return Scored(**kept, samples=samples)


def save_scored(folder: Path, key: str, scored: Scored) -> None:
    """Keep results under a key: written beside, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    kept = {name: value for name, value in scored._asdict().items() if name != "samples"}
    tensors = {name: tensor.contiguous().cpu() for name, tensor in scored.samples.items()}
    with whole(folder / f"{key}.safetensors") as part:
        save_file(tensors, str(part), metadata={"scored": json.dumps(kept)})
