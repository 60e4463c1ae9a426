"""A storyboard file into a Storyboard; what cannot be read is refused with its line."""

from pathlib import Path

import yaml

from longtake.storyboard.importers import read_scenes, read_shot_captions
from longtake.storyboard.schema import (
    DIRECTIONS,
    ROLES,
    GivenVideo,
    ModelLimits,
    Segment,
    Storyboard,
    seed_of,
)
from longtake.storyboard.yaml_nodes import Nodes, compose, line_of
from longtake.video.places import Place, joined

TAKE_KEYS = ("prompt", "seed", "compression_ratio", "segment_frames", "control", "video", "segments")
VIDEO_KEYS = ("path", "role", "name", "prompt", "compression_ratio", "num_frames", "shot")
SEGMENT_KEYS = (
    *("name", "prompt", "num_frames", "latents", "seed", "compression_ratio", "shot", "direction"),
    *("after", "before", "between", "gap", "memory"),
)

RENAMED = {"rate": "compression_ratio"}
"""Keys that older files have, and what they are called now."""


def read_storyboard(path: str | Path, limits: ModelLimits) -> Storyboard:
    """Reads our own format, or one of the two shot lists that `importers` knows by their keys.

    Args:
        path: path of a YAML or JSON file.
        limits: what the weights can do, which decides how the shots of the other formats are cut into segments.

    Returns:
        The storyboard.

    Raises:
        ValueError: naming file, line and reason.
    """
    path = Path(path)
    file, root = compose(path)
    nodes = Nodes(file)
    keys = [str(key.value) for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    if isinstance(root, yaml.SequenceNode):
        return read_scenes(nodes, root)
    if "shot_captions" in keys or "global_caption" in keys or _is_raw_string(root, keys):
        return read_shot_captions(nodes, root, limits)
    take = nodes.mapping(root, "a storyboard", TAKE_KEYS, RENAMED)
    if "segments" not in take:
        nodes.fail(root, "segments is missing: a storyboard lists what to make, such as `segments: [{name: a}]`")
    seed = nodes.whole(take["seed"], "seed", 0) if "seed" in take else 0
    prompt = nodes.text(take["prompt"], "prompt") if "prompt" in take else ""
    entries = nodes.items(take["segments"], "segments")
    if not entries:
        nodes.fail(take["segments"], "segments is empty: a storyboard lists what to make")
    return Storyboard(
        file=file,
        compression_ratio=_ratio(nodes, take),
        segment_frames=nodes.whole(take["segment_frames"], "segment_frames", 1) if "segment_frames" in take else None,
        videos=_videos(nodes, take["video"], path.parent, prompt) if "video" in take else (),
        segments=tuple(_segment(nodes, entry, prompt, seed) for entry in entries),
        lines={key: line_of(value) for key, value in take.items()},
        control=path.parent / nodes.text(take["control"], "control") if "control" in take else None,
    )


def _is_raw_string(root: yaml.Node, keys: list[str]) -> bool:
    """Whether the prompt is the other program's; beside none of its words it is an unfinished storyboard of ours."""
    if "segments" in keys or not isinstance(root, yaml.MappingNode):
        return False
    if "shot_cut_frames" in keys:
        return True
    prompts = [value.value for key, value in root.value if key.value == "prompt"]
    return any("[global caption]" in str(prompt) or "[per shot caption]" in str(prompt) for prompt in prompts)


def _videos(nodes: Nodes, node: yaml.Node, folder: Path, prompt: str) -> tuple[GivenVideo, ...]:
    entries = [node] if isinstance(node, yaml.MappingNode | yaml.ScalarNode) else nodes.items(node, "video")
    return tuple(_video(nodes, entry, folder, prompt) for entry in entries)


def _video(nodes: Nodes, node: yaml.Node, folder: Path, prompt: str) -> GivenVideo:
    """`video: FILE` is short for one that comes first; paths are relative to the storyboard's folder, URLs are not."""
    if isinstance(node, yaml.ScalarNode):
        return GivenVideo(
            _place(nodes, node, folder, "video"), "first", "first", prompt, None, None, None, line_of(node)
        )
    said = nodes.mapping(node, "a video", VIDEO_KEYS, RENAMED)
    if "path" not in said:
        nodes.fail(node, "path is missing: which video?")
    role = nodes.choice(said["role"], "role", ROLES) if "role" in said else "first"
    if role == "both" and "name" in said:
        nodes.fail(said["name"], "name: a video of role both becomes two segments, which are called first and last")
    return GivenVideo(
        path=_place(nodes, said["path"], folder, "path"),
        role=role,
        name=nodes.name(said["name"], "name") if "name" in said else role,
        prompt=nodes.text(said["prompt"], "prompt") if "prompt" in said else prompt,
        compression_ratio=_ratio(nodes, said),
        num_frames=nodes.whole(said["num_frames"], "num_frames", 1) if "num_frames" in said else None,
        shot=nodes.text(said["shot"], "shot") if "shot" in said else None,
        line=line_of(node),
    )


def _place(nodes: Nodes, node: yaml.Node, folder: Path, key: str) -> Place:
    try:
        return joined(folder, nodes.text(node, key))
    except ValueError as error:  # a protocol that nothing here reads
        nodes.fail(node, str(error))


def _segment(nodes: Nodes, node: yaml.Node, prompt: str, seed: int) -> Segment:
    said = nodes.mapping(node, "a segment", SEGMENT_KEYS, RENAMED)
    if "name" not in said:
        nodes.fail(node, "name is missing: every segment has one, so that others can refer to it")
    name = nodes.name(said["name"], "name")
    if "num_frames" in said and "latents" in said:
        nodes.fail(said["latents"], f"{name} gives both num_frames and latents: give one")
    after, before = _ends(nodes, said, name)
    return Segment(
        name=name,
        line=line_of(node),
        prompt=nodes.text(said["prompt"], "prompt") if "prompt" in said else prompt,
        seed=nodes.whole(said["seed"], "seed", 0) if "seed" in said else seed_of(seed, name),
        compression_ratio=_ratio(nodes, said),
        num_frames=nodes.whole(said["num_frames"], "num_frames", 1) if "num_frames" in said else None,
        latents=nodes.whole(said["latents"], "latents", 1) if "latents" in said else None,
        shot=nodes.text(said["shot"], "shot") if "shot" in said else None,
        direction=nodes.choice(said["direction"], "direction", DIRECTIONS) if "direction" in said else None,
        after=after,
        before=before,
        gap=nodes.whole(said["gap"], "gap", 0) if "gap" in said else 0,
        memory=_memory(nodes, said["memory"]) if "memory" in said else None,
        given=None,
        lines={key: line_of(value) for key, value in said.items()},
    )


def _ratio(nodes: Nodes, said: dict[str, yaml.Node]) -> float | None:
    key = "compression_ratio"
    return nodes.number(said[key], key) if key in said else None


def _ends(nodes: Nodes, said: dict[str, yaml.Node], name: str) -> tuple[str | None, str | None]:
    """What a segment follows and what it precedes; `after: none` follows nothing, and is not the same as silence."""
    if "between" not in said:
        return (_end(nodes, said["after"]) if "after" in said else None), (
            _end(nodes, said["before"]) if "before" in said else None
        )
    for key in ("after", "before"):
        if key in said:
            nodes.fail(said[key], f"{name} gives both between and {key}: between says it")
    ends = nodes.items(said["between"], "between")
    if len(ends) != 2:
        nodes.fail(
            said["between"], f"{name} is to be between {len(ends)} segments: interpolation has both ends, [a, b]"
        )
    first, last = (nodes.name(end, "between") for end in ends)
    if first == last:
        nodes.fail(said["between"], f"{name} is to be between {first} and itself: name two segments")
    return first, last


def _end(nodes: Nodes, node: yaml.Node) -> str | None:
    return None if nodes.text(node, "a name") == "none" else nodes.name(node, "the name of a segment")


def _memory(nodes: Nodes, node: yaml.Node) -> tuple[str, ...] | None:
    if isinstance(node, yaml.ScalarNode):
        word = nodes.choice(node, "memory", ("all", "none")) if node.value in ("all", "none") else None
        return None if word == "all" else () if word == "none" else (nodes.name(node, "memory"),)
    return tuple(dict.fromkeys(nodes.name(entry, "memory") for entry in nodes.items(node, "memory")))
