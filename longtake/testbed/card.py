"""README.md of a test set: the dataset card, whose YAML head tells Hugging Face's `datasets` how to load the folder."""

from collections.abc import Mapping
from typing import Any

from longtake.testbed.questions import KINDS

_CARD = """---
pretty_name: longtake testbed {version}
license: apache-2.0
language: en
task_categories:
- video-to-video
tags:
- video-generation
- world-models
- memory
- benchmark
size_categories:
- n<1K
configs:
- config_name: default
  drop_labels: true
  data_files:
  - split: test
    path:
    - videos/*.mp4
    - metadata.csv
---

# longtake testbed {version} ({fingerprint})

{walks} first-person walks of {frames} frames, {size} × {size} pixels, through {mazes} random mazes, with {total}
questions: which frames a video model is given, which it must predict. Hues, signs and things are drawn for each maze,
so only history tells what a place looks like. The texts say nothing of it either.

| task | questions | asked |
|---|---|---|
{tasks}

- `videos/*.mp4`, `metadata.csv`: the walks, one row each; `load_dataset("videofolder", data_dir=…)` reads both.
- `poses/*.csv`: one row a frame: x, y, z in map units, angle in degrees, region, things and regions in view.
- `layouts/*.json`: each maze's blocks, rooms, looks, things and signs. Models must not read them.
- `questions.jsonl`: one question a line; frames count from 0, `end` is the first that no longer belongs.
- `testbed.json`: version, settings and the SHA-256 of every file.

Give a model the frames `context`, their poses and the poses of `target`; write the frames of `target` as
`METHOD/ID.mp4` and score them: `longtake testbed score predictions=FOLDER testbed=HERE output=PAGE`.
Made by `longtake testbed make {command}`.
"""


def dataset_card(info: Mapping[str, Any]) -> str:
    """The card of what testbed.json says."""
    settings: Mapping[str, Any] = info["settings"]
    counts: Mapping[str, int] = info["questions"]
    asked = {task: KINDS[task.partition("-")[0]] for task in counts}
    return _CARD.format(
        version=info["version"],
        fingerprint=info["fingerprint"],
        mazes=info["mazes"],
        walks=sum(name.startswith("videos/") for name in info["files"]),
        frames=settings["frames"],
        size=settings["size"],
        total=sum(counts.values()),
        tasks="\n".join(f"| {task} | {count} | {asked[task]} |" for task, count in counts.items()),
        command=" ".join(f"{key}={_typed(value)}" for key, value in settings.items()),
    )


def _typed(value: object) -> str:
    return str(value).replace(" ", "").lower()
