"""Write a test set as plain files: videos, poses, layouts, questions, and what a Hugging Face dataset folder needs."""

import csv
import gzip
import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from longtake.testbed.card import dataset_card
from longtake.testbed.drafting import Walk, draft_questions
from longtake.testbed.poses import read_poses
from longtake.testbed.questions import Question
from networks.files import remove_unfinished, whole, write_text

VERSION = 1
"""Of worlds, walks and questions together: it rises whenever the same settings would give another test set."""

INFO = "testbed.json"
COLUMNS = ("file_name", "text", "maze", "walk", "split", "fps", "num_frames", "height", "width", "poses", "layout")
"""Of metadata.csv. text: nothing that history alone should tell."""


def write_testbed(
    source: Path,
    output: Path,
    *,
    rows: Sequence[Mapping[str, Any]],
    lengths: Sequence[int],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Write a test set from rendered walks; testbed.json, the last file, says that it is whole. Returns what it holds.

    Args:
        source: the folder that was rendered into.
        output: the folder of the test set.
        rows: rows of the rendered walks' table: path, poses, layout, short_text, maze, kind, turn_frame, home, ….
        lengths: see `draft_questions`.
        settings: what made the walks, kept in testbed.json.
    """
    for name in ("videos", "poses", "layouts"):
        (output / name).mkdir(parents=True, exist_ok=True)
        remove_unfinished(output / name)
    files: list[str] = []
    walks: list[Walk] = []
    for row in rows:
        name = Path(row["path"]).stem
        places = (f"videos/{name}.mp4", f"poses/{name}.csv", f"layouts/{row['maze']}.json")
        _copy(source / row["path"], output / places[0])
        _write(output / places[1], gzip.decompress((source / row["poses"]).read_bytes()))
        _copy(source / row["layout"], output / places[2])
        files += places
        turn = row["turn_frame"] if row["turn_frame"] != "" else -1
        walks.append(Walk(name, row["maze"], row["kind"], turn, row["home"], read_poses(output / places[1])))
    questions = draft_questions(walks, lengths=lengths)
    write_text(output / "questions.jsonl", "".join(question.line() for question in questions))
    write_text(output / "metadata.csv", _metadata(rows))
    files = [*dict.fromkeys(files), "questions.jsonl", "metadata.csv"]
    info = _describe(output, files, questions=questions, rows=rows, settings=settings)
    write_text(output / "README.md", dataset_card(info))
    info["files"]["README.md"] = sha256(output / "README.md")
    write_text(output / INFO, json.dumps(info, indent=1) + "\n")
    return info


def _describe(
    output: Path,
    files: Sequence[str],
    *,
    questions: Sequence[Question],
    rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    hashes = {name: sha256(output / name) for name in sorted(files)}
    tasks = dict.fromkeys(question.task for question in questions)
    return {
        "version": VERSION,
        "fingerprint": fingerprint_of(hashes),
        "settings": {**settings},
        "mazes": len({row["maze"] for row in rows}),
        "questions": {task: sum(question.task == task for question in questions) for task in tasks},
        "files": hashes,
    }


def fingerprint_of(hashes: Mapping[str, str]) -> str:
    """Names a test set by its truth: layouts, poses and questions, which every machine makes alike.

    hashes: SHA-256 of each file. Videos are left out, since another build of the encoder may write them otherwise.
    """
    truth = sorted((name, digest) for name, digest in hashes.items() if name.startswith(("layouts", "poses", "quest")))
    return hashlib.sha256(json.dumps(truth).encode()).hexdigest()[:12]


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _metadata(rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        name = Path(row["path"]).stem
        own = {"file_name": f"videos/{name}.mp4", "text": row["short_text"], "walk": row["kind"]}
        writer.writerow({**row, **own, "poses": f"poses/{name}.csv", "layout": f"layouts/{row['maze']}.json"})
    return text.getvalue()


def _copy(source: Path, target: Path) -> None:
    with whole(target) as part:
        shutil.copyfile(source, part)


def _write(target: Path, data: bytes) -> None:
    with whole(target) as part:
        part.write_bytes(data)
