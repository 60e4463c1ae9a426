"""Tables, videos and weights with random damage are read or refused in one sentence; nothing else happens."""

import csv
import io
import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as draw

from datamodules.tables import read_entries
from longtake.storyboard.given import VideoProbe
from longtake.video import probe, read_frames
from networks.reading import load_tensors, tensor_shapes
from networks.saving import read_config

ROOT = Path(__file__).parents[2]
WALK = (ROOT / "storyboards" / "walk.mp4").read_bytes()
CODEC = ROOT / "weights" / "codec_freedoom_64"
VALUE = draw.none() | draw.booleans() | draw.integers() | draw.floats() | draw.text(max_size=20)
NAMES = draw.sampled_from(("path", "text", "split", "short_text", "file_name", "a.mp4", "b.mp4", " path", "PATH", ""))
ROWS = draw.lists(draw.dictionaries(NAMES, VALUE | NAMES | draw.lists(VALUE, max_size=2), max_size=4), max_size=4)


def one_sentence(error: ValueError) -> bool:
    return bool(str(error)) and "\n" not in str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tables")
    for name in ("a.mp4", "b.mp4"):
        (made / name).write_bytes(WALK)
    return made


def read(folder, name, data):
    (folder / name).write_bytes(data)
    try:
        entries = read_entries(folder, name)
    except ValueError as error:
        assert one_sentence(error)  # noqa: PT017
        return
    assert all(isinstance(entry.caption, str) for entry in entries)


QUIET = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@QUIET
@given(ROWS)
def test_random_rows(folder, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    read(folder, "rows.jsonl", lines.encode("utf-8", "surrogatepass"))
    text = io.StringIO()
    names = sorted({name for row in rows for name in row})
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    read(folder, "rows.csv", text.getvalue().encode("utf-8", "surrogatepass"))


@QUIET
@given(draw.binary(max_size=200), draw.sampled_from(("rows.csv", "rows.jsonl")))
def test_random_bytes_as_a_table(folder, data, name):
    read(folder, name, data)
    read(folder, name, b'path,text\n"a.mp4",' + data)
    read(folder, name, b'{"path": "a.mp4", "text": "' + data + b'"}\n')


def damaged(data: bytes, seed: int) -> bytes:
    """Some bytes changed, a piece cut out or put in twice, or the end cut off."""
    rng = random.Random(seed)
    found = bytearray(data)
    kind = rng.choice(("bytes", "cut", "twice", "end", "start"))
    at, size = rng.randrange(len(found)), rng.randrange(1, 400)
    if kind == "bytes":
        for _ in range(rng.randrange(1, 40)):
            found[rng.randrange(len(found))] = rng.randrange(256)
    elif kind == "cut":
        del found[at : at + size]
    elif kind == "twice":
        found[at:at] = found[at : at + size]
    elif kind == "end":
        del found[at:]
    else:
        found[: min(size, 64)] = rng.randbytes(min(size, 64))
    return bytes(found)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 120, 20))
def test_damaged_videos(tmp_path, start):
    for seed in range(start, start + 20):
        path = tmp_path / f"{seed}.mp4"
        path.write_bytes(damaged(WALK, seed))
        for look in (
            probe,
            lambda path: read_frames(path, height=16, width=16, fps=0, crop_place=0.5),
            VideoProbe(8.75),
        ):
            try:
                look(path)
            except ValueError as error:
                assert one_sentence(error), seed  # noqa: PT017


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 60, 20))
def test_damaged_weights_and_configs(tmp_path, start):
    weights = (CODEC / "diffusion_pytorch_model.safetensors").read_bytes()
    config = (CODEC / "config.json").read_bytes()
    for seed in range(start, start + 20):
        (tmp_path / "config.json").write_bytes(damaged(config, seed))
        path = tmp_path / "diffusion_pytorch_model.safetensors"
        path.write_bytes(damaged(weights[:20_000], seed) + weights[20_000:])
        for look in (tensor_shapes, load_tensors, lambda path: read_config(path.parent)):
            try:
                look(path)
            except ValueError as error:
                assert one_sentence(error), seed  # noqa: PT017
