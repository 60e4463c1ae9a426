"""`generate.py given=FILE`: the storyboard that goes on from a video, written down so that it can be changed."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from longtake.storyboard.schema import ModelLimits
from longtake.video.places import is_remote, place, told
from networks.files import whole

NAME = "continuation.yaml"


def continuation_file(given: str, storyboard: str | None, output: str) -> str:
    """Where the storyboard of a call with given=… lies.

    Args:
        given: the video to go on from.
        storyboard: the call's own storyboard, which has to be None.
        output: folder of the take.

    Returns:
        The path of the file.

    Raises:
        ValueError: if the call names a storyboard as well.
    """
    if storyboard is not None:
        raise ValueError(f"given={given} and storyboard={storyboard}: give one; a storyboard names its videos")
    return str(Path(output) / NAME)


def write_continuation(
    file: Path,
    given: str,
    prompt: str | Sequence[str] | None,
    *,
    num_frames: int,
    seed: int,
    limits: ModelLimits,
    control: str | None = None,
) -> None:
    """Whole segments until num_frames are added, each under the next prompt of a list, whose last one stays.

    Args:
        file: path of the storyboard, which is written whole.
        given: the video, a path or a URL.
        prompt: prompt of all segments, or a list of prompts.
        num_frames: pixel frames to add.
        seed: seed of the take.
        limits: what the weights can do.
        control: file with the numbers of every frame of the take, what is kept of the given video included.

    Raises:
        ValueError: if the video is not there, or cannot be asked for.
    """
    video = place(given) if is_remote(given) else Path(given).absolute()
    with told(video):
        if not video.is_file():
            raise ValueError(f"given={given}: no such file; give a video to go on from")
    prompts = [prompt or ""] if prompt is None or isinstance(prompt, str) else [str(text) for text in prompt]
    count = max(math.ceil((num_frames - 1) / (limits.max_latents * limits.time_factor)), 1)
    segments = [{"name": f"part_{n + 1}", "prompt": prompts[min(n, len(prompts) - 1)]} for n in range(count)]
    board: dict[str, Any] = {
        "seed": seed,
        "video": {"path": str(video), "role": "first", "prompt": prompts[0]},
        "segments": segments,
    }
    if control is not None:
        board["control"] = str(Path(control).absolute())
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as part:
        part.write_text(yaml.safe_dump(board, sort_keys=False, allow_unicode=True), encoding="utf-8")
