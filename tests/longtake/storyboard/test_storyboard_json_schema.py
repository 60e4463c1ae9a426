"""The JSON Schema of storyboards takes what the parser takes and refuses what it refuses."""

import json

import pytest
import yaml
from composing import ROOT
from jsonschema import Draft202012Validator

from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard.json_schema import json_schema
from longtake.storyboard.parse import RENAMED, SEGMENT_KEYS, TAKE_KEYS, VIDEO_KEYS, read_storyboard
from longtake.storyboard.schema import ModelLimits

VALIDATOR = Draft202012Validator(json_schema())
MEMORY = MemoryPolicy(max_segments=5, compression_ratio=8.0, growth=1.0, max_ratio=64.0, noise_level=0.0)


def parses(text, folder):
    path = folder / "board.yaml"
    path.write_text(text)
    try:
        read_storyboard(path, ModelLimits("hash", 10, 16, 4, MEMORY))
    except ValueError:
        return False
    return True


def valid(text):
    return VALIDATOR.is_valid(yaml.safe_load(text))


def test_it_is_a_schema_and_the_file_in_docs_is_this_one():
    Draft202012Validator.check_schema(json_schema())
    assert json.loads((ROOT / "docs/reference/storyboard.schema.json").read_text()) == json_schema()


def test_it_knows_the_keys_of_the_parser_and_says_what_each_means():
    schema = json_schema()
    segment = schema["properties"]["segments"]["items"]
    video = schema["properties"]["video"]["anyOf"][1]
    for part, keys in ((schema, TAKE_KEYS), (segment, SEGMENT_KEYS), (video, VIDEO_KEYS)):
        older = {key for key, said in part["properties"].items() if said.get("deprecated")}
        assert set(part["properties"]) - older == set(keys)
        assert older == {old for old, new in RENAMED.items() if new in keys}
        assert all(each["description"] for each in part["properties"].values())


@pytest.mark.parametrize("path", sorted((ROOT / "storyboards").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_valid(path):
    assert valid(path.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "segments: [{name: a}]",
        "segments: [{name: 7, prompt: 3, num_frames: null}]",
        "{seed: 1, prompt: x, compression_ratio: 8, segment_frames: 40, segments: [{name: a, memory: none}]}",
        "segments: [{name: a, memory: all}, {name: b, memory: [a]}]",
        "{rate: 8, segments: [{name: a, rate: 4}]}",
        "{video: a.mp4, segments: [{name: a, after: none}]}",
        "{video: [{path: a.mp4, role: both}], segments: [{name: a, between: [first, last]}]}",
        "segments: [{name: a, num_frames: 37, latents: null}]",
        "segments: [{name: a, between: null, after: none}]",
    ],
)
def test_what_is_right_is_taken_by_both(text, tmp_path):
    assert parses(text, tmp_path)
    assert valid(text)


@pytest.mark.parametrize(
    "text",
    [
        "segments: []",
        "prompt: x",
        "segments: [{prompt: a}]",
        "segments: [{name: all}]",
        "segments: [{name: a, num_frame: 37}]",
        "segments: [{name: a, num_frames: 37, latents: 10}]",
        "segments: [{name: a, num_frames: 0}]",
        "segments: [{name: a, seed: -1}]",
        "segments: [{name: a, compression_ratio: fast}]",
        "segments: [{name: a, direction: sideways}]",
        "segments: [{name: a, between: [b]}]",
        "segments: [{name: a, between: [b, c], after: b}]",
        "segments: [{name: a, gap: 1.5}]",
        "{seed: x, segments: [{name: a}]}",
        "{video: {role: first}, segments: [{name: a}]}",
        "{video: {path: a.mp4, role: middle}, segments: [{name: a}]}",
    ],
)
def test_what_is_wrong_is_refused_by_both(text, tmp_path):
    assert not parses(text, tmp_path)
    assert not valid(text)
