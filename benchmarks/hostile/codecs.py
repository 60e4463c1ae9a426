"""Hostile codecs: folders whose config.json names, holds or lacks what it should not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.hostile import configs
from benchmarks.hostile.making import CODEC, WEIGHTS, Case, arguments_of, own_config, write_release
from benchmarks.hostile.texts import TEXTS

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
        write_release(folder / "release", configs.put(own_config(), "codec.folder", "../codec"))

    return Case(f"codec: {name}", "generate.py", arguments_of("generate.py", "../release"), write)
