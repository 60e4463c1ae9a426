"""Releases whose configs are broken in one place: used, or refused in one sentence.

`BROKEN=N` tries N of some seven thousand cases, else 16 that are drawn.
"""

import copy
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import longtake

WEIGHTS = Path(__file__).parents[3] / "weights"
VALUES = (
    *(None, "x", "", -1, 0, 2, 1.5, 1e9, 10**30, float("nan"), float("inf"), True, False),
    *([], [None], [1, 2, 3], {}, {"a": 1}),
)
DROPPED = object()


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value in mappings and lists."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    tree = copy.deepcopy(tree)
    node = tree
    for key in path[:-1]:
        node = node[key]
    if value is DROPPED:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vin_freedoom_64", "lovic_freedoom_64"])
def test_a_broken_config_is_used_or_refused_in_one_sentence(name, tmp_path):
    release = WEIGHTS / name
    files = {
        "config.yaml": yaml.safe_load((release / "config.yaml").read_text()),
        "network/config.json": json.loads((release / "network" / "config.json").read_text()),
    }
    (tmp_path / "codec_freedoom_64").symlink_to(WEIGHTS / "codec_freedoom_64")
    tried = tmp_path / "release"
    (tried / "network").mkdir(parents=True)
    weights = "network/diffusion_pytorch_model.safetensors"
    (tried / weights).symlink_to(release / weights)
    every = [
        (file, path, value) for file, tree in files.items() for path in places(tree) for value in (*VALUES, DROPPED)
    ]
    faults, refused = [], 0
    for file, path, value in random.Random(17).sample(every, int(os.environ.get("BROKEN", 16))):
        for written, tree in files.items():
            changed = put(tree, path, value) if written == file else tree
            (tried / written).write_text(
                yaml.safe_dump(changed, sort_keys=False) if written.endswith("yaml") else json.dumps(changed)
            )
        what = f"{file}: {path} is {'dropped' if value is DROPPED else value!r}"
        try:
            longtake.Pipeline.from_pretrained(str(tried), num_inference_steps=1)("a cave", num_frames=9)
        except ValueError as error:
            refused += 1
            if "\n" in str(error):
                faults.append(f"{what}: more than one line: {error}")
        except Exception as error:
            faults.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
    assert not faults, "\n".join(faults)
    assert refused > 5
