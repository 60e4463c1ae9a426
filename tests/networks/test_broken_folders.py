"""Folders of pretrained models whose files are broken in any way: used, or refused in one sentence.

`BROKEN=all` tries all of some two thousand cases, else each part tries 40 that are drawn.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_codecs import build_wan
from tiny_t5 import save_tiny_t5
from tiny_wan import backbone_of, tiny_transformer

from longtake.metrics.fetched_features import clip_features, timm_features
from longtake.objectives.paths import LinearPath
from longtake.samplers import PretrainedScheduler
from networks.codecs.diffusers_codec import DiffusersCodec
from networks.interfaces import Estimate
from networks.text import T5Text

VALUES = (None, "x", -1, 0, [], {}, 1e9, True, [None], {"a": 1})
FRAMES = torch.zeros(1, 3, 32, 32)


def use_text(folder):
    settings = {"features": 16, "subfolder": "text_encoder", "tokenizer_subfolder": "tokenizer", "dtype": "float32"}
    assert T5Text(pretrained=str(folder), max_length=16, **settings).encode(["a red door"])[0].shape[2] == 16


def use_codec(folder):
    codec = DiffusersCodec(class_name="AutoencoderKLWan", channels=4, pretrained=str(folder))
    assert codec.encode(torch.zeros(1, 3, 5, 16, 16)).shape[1] == 4


def use_scheduler(folder):
    sampler = PretrainedScheduler(
        pretrained=str(folder), subfolder="scheduler", num_inference_steps=2, settings={}, patch=2
    )
    sampler(lambda noisy, time, level: Estimate(noisy, noisy), torch.ones(1, 4, 2, 4, 4), path=LinearPath())


def use_transformer(folder):
    assert backbone_of(str(folder)).model is not None


def use_clip(folder):
    clip_features(model_name=str(folder))(FRAMES)


def use_timm(folder):
    timm_features(model_name=str(folder), size=32)(FRAMES)


def save_codec(folder):
    build_wan().save_pretrained(folder / "vae")


def save_scheduler(folder):
    from diffusers import FlowMatchEulerDiscreteScheduler

    FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True).save_pretrained(folder / "scheduler")


def save_transformer(folder):
    tiny_transformer().save_pretrained(folder / "transformer", max_shard_size="20kB")


def save_clip(folder):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = {"hidden_size": 8, "intermediate_size": 8, "projection_dim": 6, "num_hidden_layers": 1}
    config = CLIPVisionConfig(**sizes, num_attention_heads=2, image_size=32, patch_size=16)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)


def save_timm(folder):
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("test_vit", num_classes=0)
    save_file(model.state_dict(), folder / "model.safetensors")
    given = {"architecture": "test_vit", "num_classes": 0, "pretrained_cfg": {"tag": "r160_in1k"}}
    (folder / "config.json").write_text(json.dumps(given))


PARTS = {
    "text": (lambda folder: save_tiny_t5(folder, "umt5"), use_text),
    "codec": (save_codec, use_codec),
    "scheduler": (save_scheduler, use_scheduler),
    "transformer": (save_transformer, use_transformer),
    "clip": (save_clip, use_clip),
    "timm": (save_timm, use_timm),
}


def broken(data: bytes, is_json: bool, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """What a file becomes, each with its name."""
    yield from {
        "empty": b"",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n",
        "page": b"<!DOCTYPE html><html>404</html>",
        "half": data[: len(data) // 2],
        "list": b"[]",
        "empty mapping": b"{}",
        "null": b"null",
        "brackets": b"[" * 20000,
        "noise": rng.randbytes(300),
    }.items()
    for number in range(4):
        changed = bytearray(data)
        for _ in range(4):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        yield f"bytes {number}", bytes(changed)
    found = json.loads(data) if is_json else {}
    for key in found:
        yield f"without {key}", json.dumps({name: value for name, value in found.items() if name != key}).encode()
        for value in VALUES:
            yield f"{key}={value}", json.dumps({**found, key: value}).encode()


def cases(folder: Path, rng: random.Random) -> list[tuple[Path, str, bytes | None]]:
    """(file, name of the damage, its bytes; None for a file that is not there)."""
    found: list[tuple[Path, str, bytes | None]] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = path.relative_to(folder)
        found += [(place, name, data) for name, data in broken(path.read_bytes(), path.suffix == ".json", rng)]
        found.append((place, "missing", None))
    return found if os.environ.get("BROKEN") == "all" else rng.sample(found, 40)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.filterwarnings("ignore")
def test_a_broken_folder_is_used_or_refused_in_one_sentence(part, tmp_path):
    save, use = PARTS[part]
    whole, tried = tmp_path / "whole", tmp_path / "tried"
    whole.mkdir()
    save(whole)
    use(whole)
    refused, faults = 0, []
    for place, name, data in cases(whole, random.Random(17)):
        shutil.rmtree(tried, ignore_errors=True)
        shutil.copytree(whole, tried)
        (tried / place).unlink() if data is None else (tried / place).write_bytes(data)
        try:
            use(tried)
        except ValueError as error:
            refused += 1
            if "\n" in str(error):
                faults.append(f"{place}, {name}: more than one line: {error}")
        except Exception as error:
            faults.append(f"{place}, {name}: {type(error).__name__}: {str(error)[:200]}")
    assert not faults, "\n".join(faults)
    assert refused > 5
