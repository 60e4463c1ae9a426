"""What hostile cases are made of: a release, checkpoint or repository of the hub with one thing wrong in it."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors.torch import load_file

from benchmarks import ROOT

RELEASE = ROOT / "weights" / "vin_freedoom_64"
CODEC = ROOT / "weights" / "codec_freedoom_64"
WEIGHTS = "diffusion_pytorch_model.safetensors"
GENERATE = ("num_frames=5", "num_inference_steps=1", "output=out")


class Case(NamedTuple):
    """name: for the table; program, arguments: as typed; write: makes the files in a folder."""

    name: str
    program: str
    arguments: tuple[str, ...]
    write: Callable[[Path], object]


class Evil:
    """Unpickled, it runs code."""

    def __init__(self, folder: Path) -> None:
        self.command = f"touch {folder}/canary"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (self.command,)


def equip(folder: Path) -> None:
    """Code, pickles and a precious file, for others to call, load or destroy."""
    (folder / "precious").mkdir(parents=True)
    (folder / "precious" / "file").write_text("precious")
    code = f"open({str(folder / 'canary')!r}, 'w').close()\n"
    for name in ("evil.py", "hubconf.py", "modeling_evil.py", "pipeline.py", "setup.py", "sitecustomize.py"):
        (folder / name).write_text(code + "def x(*_, **__):\n    return None\ndef run(*_, **__):\n    return None\n")
    (folder / "evil.pkl").write_bytes(pickle.dumps(Evil(folder)))
    second = folder / "second"
    write_release(second, {**own_config(), "sampler": {"_target_": "os.system", "command": f"touch {folder}/canary"}})


def own_config() -> dict[str, Any]:
    """The config of a shipped release, which a case then spoils."""
    found: dict[str, Any] = yaml.safe_load((RELEASE / "config.yaml").read_text())
    return found


def write_release(place: Path, config: Any) -> None:
    """A release folder with that config (a text is written as it is) and the shipped weights, with a codec beside."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "network").symlink_to(RELEASE / "network")
    if not (place.parent / "codec_freedoom_64").exists():
        (place.parent / "codec_freedoom_64").symlink_to(CODEC)
    (place / "config.yaml").write_text(config if isinstance(config, str) else _written(config))


def _written(config: Any) -> str:
    """YAML without anchors, so that what is refused is not only their use."""
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]
    return yaml.dump(config, Dumper=dumper, sort_keys=False)


def write_checkpoint(path: Path, config: Any, state: Any = None) -> None:
    """A checkpoint with that config, and with the shipped weights unless it gets others."""
    if state is None:
        state = {f"network.{name}": value for name, value in load_file(RELEASE / "network" / WEIGHTS).items()}
    torch.save({"longtake_config": config, "state_dict": state, "global_step": 1}, path)


def write_hub(folder: Path, config: Any) -> Path:
    """A downloaded repository of the hub, as its cache holds it, with a release of that config."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = folder / "hub" / "models--someone--takes"
    write_release(repository / "snapshots" / revision / "release", config)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return repository / "snapshots" / revision


def arguments_of(program: str, weights: str) -> tuple[str, ...]:
    """How a user would open those weights."""
    return (f"run={weights}", "output=out") if program == "export.py" else (f"weights={weights}", *GENERATE)
