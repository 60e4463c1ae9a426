"""Hostile folders: each case writes what a stranger could send, and says how a user would open it."""

import io
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors.torch import load_file, save_file

from benchmarks import ROOT
from benchmarks.hostile import configs

RELEASE = ROOT / "weights" / "vin_freedoom_64"
CODEC = ROOT / "weights" / "codec_freedoom_64"
WEIGHTS = "diffusion_pytorch_model.safetensors"
GENERATE = ("num_frames=5", "num_inference_steps=1", "output=out")


class Case(NamedTuple):
    """name: for the table; program, arguments: as typed; write: makes the files in a folder."""

    name: str
    program: str
    arguments: tuple[str, ...]
    write: Callable[[Path], None]


class _Evil:
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
    (folder / "evil.pkl").write_bytes(pickle.dumps(_Evil(folder)))
    second = folder / "second"
    _release(second, {**_config(), "sampler": {"_target_": "os.system", "command": f"touch {folder}/canary"}})


def _config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RELEASE / "config.yaml").read_text())
    return found


def _release(place: Path, config: Any) -> None:
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


def _checkpoint(path: Path, config: Any, state: Any = None) -> None:
    if state is None:
        state = {f"network.{name}": value for name, value in load_file(RELEASE / "network" / WEIGHTS).items()}
    torch.save({"longtake_config": config, "state_dict": state, "global_step": 1}, path)


def _hub(folder: Path, config: Any) -> Path:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = folder / "hub" / "models--someone--takes"
    _release(repository / "snapshots" / revision / "release", config)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return repository / "snapshots" / revision


def config_cases() -> Iterator[Case]:
    """Every hostile config in a release's folder; each third one also in a checkpoint, each fourth from the hub."""
    evil = "{evil}"
    made = [*configs.calls(_config(), evil), *configs.readings(_config()), *list(configs.sizes(_config()))[::2]]
    for number, (name, config) in enumerate(made):

        def folder_case(folder: Path, config: dict[str, Any] = config) -> None:
            _release(folder / "release", configs.filled(config, str(folder)))

        def checkpoint_case(folder: Path, config: dict[str, Any] = config) -> None:
            found = configs.filled(config, str(folder))
            for key, value in found["lightning_module"].items():
                if isinstance(value, str) and value.startswith("${"):
                    found["lightning_module"][key] = found.get(value[2:-1])
            _checkpoint(folder / "evil.ckpt", found)

        def hub_case(folder: Path, config: dict[str, Any] = config) -> None:
            _hub(folder, configs.filled(config, str(folder)))

        program = "export.py" if number % 5 == 4 else "generate.py"
        yield Case(f"config: {name}", program, _arguments(program, "../release"), folder_case)
        if number % 3 == 0:
            yield Case(f"checkpoint: {name}", program, _arguments(program, "../evil.ckpt"), checkpoint_case)
        if number % 4 == 0:
            yield Case(f"hub: {name}", "generate.py", _arguments("generate.py", "hub:someone/takes/release"), hub_case)


def _arguments(program: str, weights: str) -> tuple[str, ...]:
    return (f"run={weights}", "output=out") if program == "export.py" else (f"weights={weights}", *GENERATE)


TEXTS: dict[str, str] = {
    "billion laughs": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias of itself": "codec: &x\n  a: *x\n",
    "merge keys": "a: &a {b: 1}\ncodec:\n  <<: *a\n",
    "thousands of brackets": "a: " + "[" * 50_000,
    "thousands of braces": "{a: " * 20_000,
    "thousands of levels": "".join(f"{' ' * n}a:\n" for n in range(3_000)),
    "a python tag": "codec: !!python/object/apply:os.system ['touch {evil}/canary']\n",
    "a python name": "codec: !!python/name:os.system\n",
    "a binary tag": "codec: !!binary aGVsbG8=\n",
    "a set": "codec: !!set {a, b}\n",
    "a local tag": "codec: !evil {a: 1}\n",
    "nothing": "",
    "a list": "- a\n- b\n",
    "a text": "hello\n",
    "a number": "5\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "the same key twice": "codec: {a: 1}\ncodec: {b: 2}\n",
    "tabs": "codec:\n\ta: 1\n",
    "not closed": "codec: {a: 'x\n",
    "a git-lfs pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    "a web page": "<!DOCTYPE html><html><body>404</body></html>\n",
    "control characters": "codec: \x00\x01\n",
    "a number as key": "1: 2\ncodec: {3: 4}\n",
    "a date": "codec: 2026-01-31\nlightning_module: {a: 2026-01-31}\n",
    "ten million digits": "seed: " + "9" * 900_000 + "\n",
    "a megabyte and more": "name: " + "a" * 3_000_000 + "\n",
    "a hundred thousand values": "prompts: [" + "a, " * 100_000 + "b]\n",
    "missing values": "codec: ???\nlightning_module: ???\n",
    "nulls": "codec: null\nlightning_module: null\nnetwork: null\n",
}
"""What could stand in a config.yaml instead of a config."""


def yaml_cases() -> Iterator[Case]:
    """Broken and malicious YAML as a release's config, and in place of the file something else."""
    for name, text in TEXTS.items():

        def write(folder: Path, text: str = text) -> None:
            _release(folder / "release", text.replace("{evil}", str(folder)))

        yield Case(f"config.yaml: {name}", "generate.py", _arguments("generate.py", "../release"), write)

    def instead(make: Callable[[Path], None]) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            _release(folder / "release", "a: 1")
            path = folder / "release" / "config.yaml"
            path.unlink()
            make(path)

        return write

    others: dict[str, Callable[[Path], Any]] = {
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a link to itself": lambda path: path.symlink_to(path),
        "a pipe": lambda path: os.mkfifo(path),
        "a folder": lambda path: path.mkdir(),
        "missing": lambda path: None,
        "not UTF-8": lambda path: path.write_bytes(b"codec: \xff\xfe\n"),
        "UTF-16": lambda path: path.write_bytes("codec: {a: 1}\n".encode("utf-16")),
    }
    for name, make in others.items():
        yield Case(f"config.yaml: {name}", "generate.py", _arguments("generate.py", "../release"), instead(make))


CLASSES = (
    *("networks.saving.save_file", "networks.saving.load_tensors", "networks.saving.os.system", "os.system"),
    *("networks.text.nn.Linear", "networks.saving.importlib.import_module", "networks.evil.run", "torch.hub.load"),
    *(
        "networks.dit.Tensor",
        "networks.saving.build",
        "networks.saving.load_pretrained",
        "",
        ".",
        "networks",
        "networks.",
    ),
    *(
        "networks.dit.full_attention",
        "networks.lovic.compressor_alone",
        "networks.codecs.causal",
        "networks.reading.Path",
    ),
    *("networks.codecs.causal.cast", "networks.codecs.causal.CausalVideoAutoencoder.__init__", "builtins.exec", "..os"),
    *("networks.codecs.diffusers_codec.DiffusersCodec", "networks.pretrained.wan.WanBackbone", "networks.__path__"),
)
"""What a codec's config.json could name as its class."""


def codec_cases() -> Iterator[Case]:
    """A codec's folder with a hostile config.json, used by training and by a release."""
    arguments = {"tensors": {}, "filename": "{evil}/canary", "command": "touch {evil}/canary", "name": "evil"}
    for name in CLASSES:
        yield _codec_case(f"class {name!r}", {"_class_name": name, "channels": 16, **arguments})
        yield _codec_case(f"class {name!r} alone", {"_class_name": name})
    good = json.loads((CODEC / "config.json").read_text())
    inner = {"_class_name": "networks.saving.save_file", "tensors": {}, "filename": "{evil}/canary"}
    more: dict[str, Any] = {
        "a class inside": {**good, "num_fine_blocks": inner},
        "a class in a list": {**good, "num_fine_blocks": [inner]},
        "a class that is a list": {**good, "_class_name": ["os.system"]},
        "auto_map": {**good, "auto_map": {"AutoModel": "modeling_evil.x"}},
        "channels of a text": {**good, "channels": "16"},
        "negative sizes": {**good, "fine_width": -5},
        "huge sizes": {**good, "fine_width": 10**9},
        "huge depth": {**good, "num_coarse_blocks": 10**9},
        "an unknown argument": {**good, "evil": 1},
        "a missing argument": {"_class_name": good["_class_name"]},
        "nan": {**good, "fine_width": float("nan")},
    }
    for name, config in more.items():
        yield _codec_case(name, config)
    for name, text in {
        "empty": "",
        "a list": "[]",
        "deep": "[" * 100_000,
        "deep mappings": '{"a":' * 50_000,
        "cut": '{"_class_name": "netw',
        "a web page": "<html></html>",
        "a git-lfs pointer": TEXTS["a git-lfs pointer"],
        "digits": '{"a": ' + "9" * 10_000 + "}",
        "40 MB": '{"a": "' + "x" * 40_000_000 + '"}',
    }.items():
        yield _codec_case(f"config.json {name}", text)


def _codec_case(name: str, config: Any) -> Case:
    def write(folder: Path) -> None:
        place = folder / "codec"
        place.mkdir()
        (place / WEIGHTS).symlink_to(CODEC / WEIGHTS)
        text = config if isinstance(config, str) else json.dumps(configs.filled(config, str(folder)))
        (place / "config.json").write_text(text)
        _release(folder / "release", configs.put(_config(), "codec.folder", "../codec"))

    return Case(f"codec: {name}", "generate.py", _arguments("generate.py", "../release"), write)


def pickle_cases() -> Iterator[Case]:
    """Pickles that run code, under the name of every kind of file that is read."""

    def evil_bytes(folder: Path, form: str) -> bytes:
        if form == "plain":
            return pickle.dumps(_Evil(folder))
        buffer = io.BytesIO()
        torch.save(
            {"longtake_config": {}, "state_dict": _Evil(folder)}, buffer, _use_new_zipfile_serialization=form == "zip"
        )
        return buffer.getvalue()

    for form in ("plain", "zip", "legacy"):

        def checkpoint(folder: Path, form: str = form) -> None:
            (folder / "evil.ckpt").write_bytes(evil_bytes(folder, form))

        def tensors(folder: Path, form: str = form) -> None:
            _release(folder / "release", _config())
            (folder / "release" / "network").unlink()
            (folder / "release" / "network").mkdir()
            (folder / "release" / "network" / WEIGHTS).write_bytes(evil_bytes(folder, form))

        def run_folder(folder: Path, form: str = form) -> None:
            (folder / "run" / "checkpoints").mkdir(parents=True)
            (folder / "run" / "checkpoints" / "last.ckpt").write_bytes(evil_bytes(folder, form))

        yield Case(f"pickle, {form}: .ckpt", "generate.py", _arguments("generate.py", "../evil.ckpt"), checkpoint)
        yield Case(f"pickle, {form}: safetensors", "generate.py", _arguments("generate.py", "../release"), tensors)
        yield Case(f"pickle, {form}: a run", "export.py", _arguments("export.py", "../run"), run_folder)
        yield Case(f"pickle, {form}: resumed", "train.py", ("debug=fast", "resume=../evil.ckpt"), checkpoint)
        yield Case(f"pickle, {form}: pretrained", "train.py", ("debug=fast", "pretrained=../evil.ckpt"), checkpoint)

    def text_model(folder: Path) -> None:
        model = folder / "t5"
        model.mkdir()
        code = {
            "auto_map": {"AutoConfig": "modeling_evil.x", "AutoModel": "modeling_evil.x"},
            "trust_remote_code": True,
        }
        (model / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 384, **code}))
        (model / "pytorch_model.bin").write_bytes(evil_bytes(folder, "zip"))
        (model / "tokenizer_config.json").write_text(
            json.dumps({"auto_map": {"AutoTokenizer": ["modeling_evil.x", None]}})
        )
        shutil.copy(folder / "modeling_evil.py", model)
        t5 = {"_target_": "networks.text.T5Text", "pretrained": str(model), "features": 384}
        _release(folder / "release", {**_config(), "text": t5})

    def codec_model(folder: Path) -> None:
        model = folder / "wan" / "vae"
        model.mkdir(parents=True)
        (model / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLWan", "auto_map": {"x": "evil.x"}}))
        (model / "diffusion_pytorch_model.bin").write_bytes(evil_bytes(folder, "zip"))
        wan = {"_target_": "networks.codecs.diffusers_codec.DiffusersCodec", "class_name": "AutoencoderKLWan"}
        _release(folder / "release", {**_config(), "codec": {**wan, "pretrained": str(folder / "wan"), "channels": 16}})

    yield Case("pickle: a text encoder with code", "generate.py", _arguments("generate.py", "../release"), text_model)
    yield Case("pickle: a codec with code", "generate.py", _arguments("generate.py", "../release"), codec_model)


def tensor_cases() -> Iterator[Case]:
    """Weights whose file is cut, forged or holds no numbers."""
    whole = (RELEASE / "network" / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]

    def header(entries: Any, data: bytes = b"") -> bytes:
        text = json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text + data

    forged = {
        "empty": b"",
        "cut in the header": whole[:100],
        "cut at the data": whole[: 8 + length],
        "cut in the data": whole[: len(whole) // 2],
        "one byte short": whole[:-1],
        "a byte more": whole + b"x",
        "a header of 2**63 bytes": struct.pack("<Q", 1 << 63) + whole[8:],
        "a header of 90 GB": struct.pack("<Q", 90 << 30) + whole[8:],
        "rubbish in the header": struct.pack("<Q", 200) + b"\xff" * 200,
        "a deep header": struct.pack("<Q", 90_000) + b'{"a":' * 18_000,
        "tensors that overlap": header(
            {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"}, b"0" * 8
        ),
        "a tensor of 2**60": header({"a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 8]}}, b"0" * 8),
        "negative offsets": header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, b"0" * 8),
        "an unknown type": header({"a": {"dtype": "EVIL", "shape": [2], "data_offsets": [0, 8]}}, b"0" * 8),
        "no tensors": header({}),
        "a git-lfs pointer": TEXTS["a git-lfs pointer"].encode(),
        "a web page": TEXTS["a web page"].encode(),
        "a zip": b"PK\x03\x04" + b"\x00" * 100,
    }
    for name, data in forged.items():

        def write(folder: Path, data: bytes = data) -> None:
            _release(folder / "release", _config())
            (folder / "release" / "network").unlink()
            (folder / "release" / "network").mkdir()
            (folder / "release" / "network" / WEIGHTS).write_bytes(data)

        def codec(folder: Path, data: bytes = data) -> None:
            (folder / "codec").mkdir()
            shutil.copy(CODEC / "config.json", folder / "codec")
            (folder / "codec" / WEIGHTS).write_bytes(data)
            _release(folder / "release", configs.put(_config(), "codec.folder", "../codec"))

        yield Case(f"weights: {name}", "generate.py", _arguments("generate.py", "../release"), write)
        yield Case(f"codec's weights: {name}", "generate.py", _arguments("generate.py", "../release"), codec)
    for value in ("nan", "inf"):

        def numbers(folder: Path, value: str = value) -> None:
            _release(folder / "release", _config())
            (folder / "release" / "network").unlink()
            (folder / "release" / "network").mkdir()
            state = load_file(RELEASE / "network" / WEIGHTS)
            next(iter(state.values())).view(-1)[0] = float(value)
            save_file(state, folder / "release" / "network" / WEIGHTS)

        for program in ("generate.py", "export.py"):
            yield Case(f"weights with {value}", program, _arguments(program, "../release"), numbers)


def checkpoint_cases() -> Iterator[Case]:
    """Checkpoints that hold plain but wrong things."""
    recursive: dict[str, Any] = {}
    recursive["codec"] = recursive
    shared: Any = ["x"]
    for _ in range(40):
        shared = [shared, shared]
    plain = _config()
    cases: dict[str, tuple[Any, Any]] = {
        "a config that holds itself": (recursive, {}),
        "a config that shares its parts": ({**plain, "prompts": shared}, {}),
        "a tensor in the config": ({**plain, "seed": torch.zeros(2)}, {}),
        "a config that is a list": ([1, 2], {}),
        "a config that is a text": ("${oc.env:SECRET_TOKEN}", {}),
        "no config": (None, {}),
        "numbers as keys": ({1: 2, **plain}, {}),
        "bytes in the config": ({**plain, "name": b"evil"}, {}),
        "a state that is a list": (plain, [1]),
        "a state of texts": (plain, {"network.a": "x"}),
        "a state with numbers as names": (plain, {1: torch.zeros(2)}),
        "a state that is none": (plain, 5),
        "no weights": (plain, {}),
        "a weight of another shape": (plain, {"network.a": torch.zeros(2)}),
    }
    for name, (config, state) in cases.items():

        def write(folder: Path, config: Any = config, state: Any = state) -> None:
            _checkpoint(folder / "evil.ckpt", config, state)

        yield Case(f"checkpoint: {name}", "generate.py", _arguments("generate.py", "../evil.ckpt"), write)
        yield Case(f"checkpoint: {name}, resumed", "train.py", ("debug=fast", "resume=../evil.ckpt"), write)


def path_cases() -> Iterator[Case]:
    """Names and paths that lead elsewhere."""
    for number, place in enumerate(
        ("/etc", "../../../../../../../etc", "../..", "/dev", "~", "", ".", "\x00", "a\nb", "//host/a")
    ):
        config = configs.put(_config(), "codec.folder", place)

        def local(folder: Path, config: dict[str, Any] = config) -> None:
            _release(folder / "release", config)

        def hub(folder: Path, config: dict[str, Any] = config) -> None:
            _hub(folder, config)

        yield Case(f"path: codec.folder={place!r}", "generate.py", _arguments("generate.py", "../release"), local)
        yield Case(
            f"path: hub, codec.folder={place!r}",
            "generate.py",
            _arguments("generate.py", "hub:someone/takes/release"),
            hub,
        )
        del number
    for name in (
        *("hub:", "hub:a", "hub:someone/takes/../../../../release", "hub:someone/takes//etc", "hub:../../etc/passwd"),
        *(
            "hub:someone/takes/release/..",
            "http://127.0.0.1:9/x",
            "s3://a/b",
            "file:///etc/passwd",
            "/dev/zero",
            "/etc/passwd",
        ),
        *(
            "/proc/self/environ",
            "../evil.pkl",
            "../evil.py",
            "$HOME",
            "`touch canary`",
            "; touch canary",
            "../precious",
        ),
    ):
        for program in ("generate.py", "export.py"):
            quoted = f"'{name}'"
            yield Case(
                f"path: {program} {name!r}",
                program,
                _arguments(program, quoted),
                lambda folder: _hub(folder, _config()) and None,
            )


def every_case() -> list[Case]:
    """All of them, in a fixed order."""
    kinds = (config_cases, yaml_cases, codec_cases, pickle_cases, tensor_cases, checkpoint_cases, path_cases)
    return [case for kind in kinds for case in kind()]
