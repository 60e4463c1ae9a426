"""Shot lists of two other programs, read into a Storyboard.

A list of scenes, `[{"text", "requires_scene_transition", "neg_text"}]`, as TTT-Video reads it: an entry is a segment.
A mapping with `global_caption`, `shot_captions` and `shot_cut_frames`, or its raw string
`[global caption] … [per shot caption] … [shot cut] …`, as HoloCine reads it: a caption is a shot.
Both ask for forward generation only; negative prompts are named in a warning and not used.
"""

import logging
import math
import re
from itertools import pairwise

import yaml

from longtake.storyboard.schema import ModelLimits, Segment, Storyboard, seed_of
from longtake.storyboard.yaml_nodes import Nodes, line_of

log = logging.getLogger("longtake")

SCENE_KEYS = ("text", "requires_scene_transition", "neg_text")
SHOT_KEYS = ("global_caption", "shot_captions", "shot_cut_frames", "num_frames", "prompt", "seed", "negative_prompt")
USUAL_NUM_FRAMES = 241  # what that program makes if nothing is said


def read_scenes(nodes: Nodes, root: yaml.Node) -> Storyboard:
    """TTT-Video's list: one segment an entry, of the model's own length, after a cut where a transition is asked for.

    Args:
        nodes: reads nodes of the file.
        root: node of the list.

    Returns:
        The storyboard.

    Raises:
        ValueError: naming file, line and reason.
    """
    segments, entries = [], nodes.items(root, "the list of scenes")
    _refuse_segments(nodes, root, entries)
    for number, entry in enumerate(entries, 1):
        said = nodes.mapping(entry, "a scene", SCENE_KEYS)
        if "text" not in said:
            nodes.fail(entry, "text is missing: a scene has a prompt")
        key = "requires_scene_transition"
        cut = key in said and nodes.truth(said[key], key)
        if "neg_text" in said:
            log.warning(f"{nodes.file}, line {line_of(said['neg_text'])}: neg_text is not used")
        prompt = nodes.text(said["text"], "text")
        direction = "new_shot" if cut or number == 1 else "predict"
        segments.append(_segment(f"scene{number}", line_of(entry), prompt, 0, None, direction))
    if not segments:
        nodes.fail(root, "the list of scenes is empty")
    return Storyboard(nodes.file, None, None, (), tuple(segments), {})


def _refuse_segments(nodes: Nodes, root: yaml.Node, entries: list[yaml.Node]) -> None:
    """Our own segments without the line above them would be refused for their keys, which are right."""
    keys = {str(key.value) for entry in entries if isinstance(entry, yaml.MappingNode) for key, _ in entry.value}
    if keys and not keys & set(SCENE_KEYS):
        scenes = f"a list at the top is read as TTT-Video's scenes ({', '.join(SCENE_KEYS)})"
        nodes.fail(root, f"{scenes}: a storyboard of our own begins with `segments:`, and the list comes below it")


def read_shot_captions(nodes: Nodes, root: yaml.Node, limits: ModelLimits) -> Storyboard:
    """HoloCine's mapping: one shot a caption, cut into segments of about equal length where it is longer than a window.

    A segment's prompt is the global caption and the shot's. A cut is moved to the nearest place of the codec's frame
    rule, as that program does; without cuts the shots are equally long.

    Args:
        nodes: reads nodes of the file.
        root: node of the mapping.
        limits: what the weights can do.

    Returns:
        The storyboard.

    Raises:
        ValueError: naming file, line and reason.
    """
    said = nodes.mapping(root, "a list of shots", SHOT_KEYS)
    setting, captions = _captions(nodes, root, said)
    if "negative_prompt" in said:
        log.warning(f"{nodes.file}, line {line_of(said['negative_prompt'])}: negative_prompt is not used")
    seed = nodes.whole(said["seed"], "seed", 0) if "seed" in said else 0
    ends = _cuts(nodes, root, said, len(captions), limits.time_factor)
    segments: list[Segment] = []
    for number, ((line, caption), (begin, end)) in enumerate(zip(captions, pairwise(ends), strict=True), 1):
        parts = math.ceil((end - begin) / limits.max_latents)
        places = [begin + (end - begin) * part // parts for part in range(parts + 1)]
        for part in range(parts):
            name = f"shot{number}" if parts == 1 else f"shot{number}.{part + 1}"
            prompt = f"{setting} {caption}".strip()
            latents = places[part + 1] - places[part]
            segments.append(_segment(name, line, prompt, seed, latents, "predict" if part else "new_shot"))
    return Storyboard(nodes.file, None, None, (), tuple(segments), {})


def _captions(nodes: Nodes, root: yaml.Node, said: dict[str, yaml.Node]) -> tuple[str, list[tuple[int, str]]]:
    """The global caption, and line and text of each shot's."""
    if "prompt" in said:
        for key in ("global_caption", "shot_captions"):
            if key in said:
                nodes.fail(said[key], f"{key} and prompt are both given: give captions or the raw string")
        raw = nodes.text(said["prompt"], "prompt")
        match = re.fullmatch(r"\[global caption\](.*)\[per shot caption\](.*)", raw)
        if match is None:
            reason = "prompt is not `[global caption] … [per shot caption] … [shot cut] …`, and `segments:` is missing"
            nodes.fail(said["prompt"], reason)
        texts = [(line_of(said["prompt"]), part.strip()) for part in match[2].split("[shot cut]")]
        return match[1].strip(), texts
    if "shot_captions" not in said:
        nodes.fail(root, "shot_captions is missing: one caption a shot")
    entries = nodes.items(said["shot_captions"], "shot_captions")
    if not entries:
        nodes.fail(said["shot_captions"], "shot_captions is empty: one caption a shot")
    setting = nodes.text(said["global_caption"], "global_caption") if "global_caption" in said else ""
    return setting, [(line_of(entry), nodes.text(entry, "a shot's caption")) for entry in entries]


def _cuts(nodes: Nodes, root: yaml.Node, said: dict[str, yaml.Node], num_shots: int, factor: int) -> list[int]:
    """Where the shots begin and the last one ends, in latent frames of the take."""
    num_frames = nodes.whole(said["num_frames"], "num_frames", 1) if "num_frames" in said else USUAL_NUM_FRAMES
    end = _latent(num_frames, factor) + 1
    if "shot_cut_frames" not in said:
        places = [0, *(_latent(number * num_frames / num_shots, factor) + 1 for number in range(1, num_shots)), end]
        if min(b - a for a, b in pairwise(places)) < 1:
            nodes.fail(said.get("num_frames", root), f"num_frames={num_frames} is too short for {num_shots} shots")
        return places
    entries = nodes.items(said["shot_cut_frames"], "shot_cut_frames")
    if len(entries) != num_shots - 1:
        reason = f"{len(entries)} cuts for {num_shots} shots: there must be {num_shots - 1}"
        nodes.fail(said["shot_cut_frames"], f"shot_cut_frames has {reason}")
    places = [0]
    for entry in entries:
        frame = nodes.whole(entry, "shot_cut_frames", 1)
        places.append(_latent(frame, factor) + 1)
        if not places[-2] < places[-1] < end:
            reason = f"cuts must rise, lie a latent ({factor} frames) apart, and come before frame {num_frames}"
            nodes.fail(entry, f"shot_cut_frames has {frame} in the wrong place: {reason}")
    return [*places, end]


def _latent(frame: float, factor: int) -> int:
    """The latent whose frames end nearest to pixel frame `frame`: factor · n + 1 frames are latents 0 to n."""
    return max(round((frame - 1) / factor), 0)


def _segment(name: str, line: int, prompt: str, seed: int, latents: int | None, direction: str) -> Segment:
    return Segment(
        name=name,
        line=line,
        prompt=prompt,
        seed=seed_of(seed, name),
        compression_ratio=None,
        num_frames=None,
        latents=latents,
        shot=None,
        direction=direction,
        after=None,
        before=None,
        gap=0,
        memory=None,
        given=None,
        lines={},
    )
