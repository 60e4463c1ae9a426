"""A storyboard's keys as JSON Schema, for editors that complete and check YAML.

What only the whole file can tell (an unknown name, an overlap, a length that the weights cannot make) is refused by
`longtake.storyboard` itself, with its line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from longtake.storyboard.parse import RENAMED, SEGMENT_KEYS, TAKE_KEYS, VIDEO_KEYS
from longtake.storyboard.schema import DIRECTIONS, ROLES

_TEXT = {"type": ["string", "number", "boolean", "null"]}  # YAML reads `prompt: 7` as a number; it is the text "7"
_NUMBER = {"type": ["number", "null"]}
_END = {**_TEXT, "not": {"const": "all"}}
_NAME = {**_TEXT, "not": {"enum": ["none", "all", ""]}}
_NAMED = {"type": ["string", "number", "boolean"], "not": {"enum": ["none", "all", ""]}}

_ABOUT: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "prompt": (_TEXT, "The text of this segment or video; at the top, of all that state none."),
    "compression_ratio": (_NUMBER, "Video tokens for each context token where this is remembered."),
    "num_frames": ({"type": ["integer", "null"], "minimum": 1}, "Length in pixel frames."),
    "latents": ({"type": ["integer", "null"], "minimum": 1}, "Length in latent frames; instead of num_frames."),
    "name": (_NAME, "What other segments call it."),
    "seed": ({"type": ["integer", "null"], "minimum": 0}, "Of its noise; without one, it follows from seed and name."),
    "shot": (_TEXT, "A label: a new label is a cut, one that is there already is a return to that shot."),
    "direction": (
        {"enum": [*DIRECTIONS, None]},
        "predict: continues another segment. retrodict: leads to it. interpolate: lies between two. new_shot: a cut.",
    ),
    "after": (_END, "The segment that this one continues; `none` for no segment."),
    "before": (_END, "The segment that this one leads to; `none` for no segment."),
    "between": (
        {"type": ["array", "null"], "items": _NAMED, "minItems": 2, "maxItems": 2},
        "Two segments, [a, b], between which this one lies.",
    ),
    "gap": ({"type": ["integer", "null"], "minimum": 0}, "Pixel frames of the shot that pass unseen after `after`."),
    "memory": (
        {"anyOf": [_TEXT, {"type": "array", "items": _NAMED}]},
        "Segments that this one remembers: a name, a list of names, `all` (the default), or `none`.",
    ),
    "path": (
        {"type": ["string", "number", "boolean"]},
        "A video file, relative to the storyboard's folder, or a URL such as https://… or s3://….",
    ),
    "role": ({"enum": [*ROLES, None]}, "first: the take continues it. last: the take leads to it. both: both ends."),
    "control": (
        {"type": ["string", "number", "boolean"]},
        "A .csv, .csv.gz or .npy with a row for each pixel frame of the take, relative to the storyboard's folder.",
    ),
    "segment_frames": (
        {"type": ["integer", "null"], "minimum": 1},
        "Length in pixel frames of the segments that state none.",
    ),
}


def json_schema() -> dict[str, Any]:
    """The schema of a storyboard of our own format, in JSON Schema's 2020-12."""
    segment = _object(SEGMENT_KEYS, ["name"])
    # A segment is named by whoever wrote it; a length is given once; `between` says both ends.
    segment["properties"]["name"] = {**_NAMED, "description": _ABOUT["name"][1]}
    segment["allOf"] = [
        _not_both("num_frames", "latents"),
        _not_both("between", "after"),
        _not_both("between", "before"),
    ]
    video = _object(VIDEO_KEYS, ["path"])
    videos = {"anyOf": [_TEXT, video, {"type": "array", "items": {"anyOf": [{"type": "string"}, video]}}]}
    own = {
        "video": {
            **videos,
            "description": "A video of yours, or a list of them: at the start, at the end, or at both.",
        },
        "segments": {"type": "array", "items": segment, "minItems": 1, "description": "What to make, in order."},
    }
    take = _object([key for key in TAKE_KEYS if key not in own], ["segments"])
    take["properties"] |= own
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A storyboard of longtake",
        **take,
    }


def _object(keys: Sequence[str], required: Sequence[str]) -> dict[str, Any]:
    properties = {key: {**_ABOUT[key][0], "description": _ABOUT[key][1]} for key in keys}
    older = {old: {**properties[new], "deprecated": True} for old, new in RENAMED.items() if new in properties}
    return {
        "type": "object",
        "properties": {**properties, **older},
        "required": list(required),
        "additionalProperties": False,
    }


def _not_both(one: str, other: str) -> dict[str, Any]:
    """Null is the same as absent."""
    return {"not": {"required": [one, other], "properties": {key: {"not": {"type": "null"}} for key in (one, other)}}}
