"""Hostile weights: pickles that run code, files of tensors that are forged, checkpoints of the wrong things."""

import io
import json
import pickle
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.hostile import configs
from benchmarks.hostile.making import (
    CODEC,
    RELEASE,
    WEIGHTS,
    Case,
    Evil,
    arguments_of,
    own_config,
    write_checkpoint,
    write_release,
)
from benchmarks.hostile.texts import TEXTS


def pickle_cases() -> Iterator[Case]:
    """Pickles that run code, under the name of every kind of file that is read."""

    def evil_bytes(folder: Path, form: str) -> bytes:
        if form == "plain":
            return pickle.dumps(Evil(folder))
        buffer = io.BytesIO()
        torch.save(
            {"longtake_config": {}, "state_dict": Evil(folder)}, buffer, _use_new_zipfile_serialization=form == "zip"
        )
        return buffer.getvalue()

    for form in ("plain", "zip", "legacy"):

        def checkpoint(folder: Path, form: str = form) -> None:
            (folder / "evil.ckpt").write_bytes(evil_bytes(folder, form))

        def tensors(folder: Path, form: str = form) -> None:
            write_release(folder / "release", own_config())
            (folder / "release" / "network").unlink()
            (folder / "release" / "network").mkdir()
            (folder / "release" / "network" / WEIGHTS).write_bytes(evil_bytes(folder, form))

        def run_folder(folder: Path, form: str = form) -> None:
            (folder / "run" / "checkpoints").mkdir(parents=True)
            (folder / "run" / "checkpoints" / "last.ckpt").write_bytes(evil_bytes(folder, form))

        yield Case(f"pickle, {form}: .ckpt", "generate.py", arguments_of("generate.py", "../evil.ckpt"), checkpoint)
        yield Case(f"pickle, {form}: safetensors", "generate.py", arguments_of("generate.py", "../release"), tensors)
        yield Case(f"pickle, {form}: a run", "export.py", arguments_of("export.py", "../run"), run_folder)
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
        write_release(folder / "release", {**own_config(), "text": t5})

    def codec_model(folder: Path) -> None:
        model = folder / "wan" / "vae"
        model.mkdir(parents=True)
        (model / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLWan", "auto_map": {"x": "evil.x"}}))
        (model / "diffusion_pytorch_model.bin").write_bytes(evil_bytes(folder, "zip"))
        wan = {"_target_": "networks.codecs.diffusers_codec.DiffusersCodec", "class_name": "AutoencoderKLWan"}
        write_release(
            folder / "release", {**own_config(), "codec": {**wan, "pretrained": str(folder / "wan"), "channels": 16}}
        )

    yield Case("pickle: a text encoder with code", "generate.py", arguments_of("generate.py", "../release"), text_model)
    yield Case("pickle: a codec with code", "generate.py", arguments_of("generate.py", "../release"), codec_model)


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
            write_release(folder / "release", own_config())
            (folder / "release" / "network").unlink()
            (folder / "release" / "network").mkdir()
            (folder / "release" / "network" / WEIGHTS).write_bytes(data)

        def codec(folder: Path, data: bytes = data) -> None:
            (folder / "codec").mkdir()
            shutil.copy(CODEC / "config.json", folder / "codec")
            (folder / "codec" / WEIGHTS).write_bytes(data)
            write_release(folder / "release", configs.put(own_config(), "codec.folder", "../codec"))

        yield Case(f"weights: {name}", "generate.py", arguments_of("generate.py", "../release"), write)
        yield Case(f"codec's weights: {name}", "generate.py", arguments_of("generate.py", "../release"), codec)
    for value in ("nan", "inf"):

        def numbers(folder: Path, value: str = value) -> None:
            write_release(folder / "release", own_config())
            (folder / "release" / "network").unlink()
            (folder / "release" / "network").mkdir()
            state = load_file(RELEASE / "network" / WEIGHTS)
            next(iter(state.values())).view(-1)[0] = float(value)
            save_file(state, folder / "release" / "network" / WEIGHTS)

        for program in ("generate.py", "export.py"):
            yield Case(f"weights with {value}", program, arguments_of(program, "../release"), numbers)


def checkpoint_cases() -> Iterator[Case]:
    """Checkpoints that hold plain but wrong things."""
    recursive: dict[str, Any] = {}
    recursive["codec"] = recursive
    shared: Any = ["x"]
    for _ in range(40):
        shared = [shared, shared]
    plain = own_config()
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
            write_checkpoint(folder / "evil.ckpt", config, state)

        yield Case(f"checkpoint: {name}", "generate.py", arguments_of("generate.py", "../evil.ckpt"), write)
        yield Case(f"checkpoint: {name}, resumed", "train.py", ("debug=fast", "resume=../evil.ckpt"), write)
