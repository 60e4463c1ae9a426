"""Copies videos to a folder as VBench wants them: `videos/{prompt}-{index}.mp4`, and beside it what to type."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.progress import track

from longtake.reports.beside import find_beside, find_videos
from longtake.reports.report_files import write_whole
from longtake.reports.vbench.disk import ignores_case
from longtake.reports.vbench.preflight import Fault, Length, length_faults, lengths_of, name_faults, preflight
from longtake.reports.vbench.rules import Rules, commands, split_name
from networks.files import remove_unfinished, whole


class Exported(NamedTuple):
    """What became of the videos: copied names by their source, faults, and the commands for VBench."""

    copied: dict[str, str]
    faults: list[Fault]
    commands: list[str]


def export(videos: Path, output: Path, rules: Rules, length_of: Callable[[Path], Length]) -> Exported:
    """Copy what VBench would score, name what it would not, and check the result.

    Args:
        videos: folder with videos; a prompt comes from manifest.jsonl, from NAME.txt, or from a name that is
            `{prompt}-{index}` already.
        output: folder for `videos`, `prompts.json` (file name to prompt), `preflight.json` and `commands.sh`; for
            VBench-Long on its own prompts also `videos_first.py`, through which the commands run it.
        rules: how VBench shall be run.
        length_of: looks at a file, raising ValueError for one that cannot be read.

    Raises:
        ValueError: there is no video, `output` lies where it must not, holds videos already, or nothing would be left.
    """
    check_places(videos, output)
    files = [file.relative_to(videos).as_posix() for file in find_videos(videos)]
    faults = [fault for fault in length_faults(lengths_of(videos, files, length_of), rules) if fault.file]
    bad = {fault.file for fault in faults if fault.grave}
    # numbers are given after this, so that none is left out
    planned, unknown = plan_names(videos, [file for file in files if file not in bad])
    named = {name: file for file, name in planned.items()}
    faults += unknown
    found = name_faults(list(named), rules, one_case=ignores_case(output))
    faults += [fault._replace(file=named[fault.file]) for fault in found if fault.file]
    bad = {fault.file for fault in faults if fault.grave}
    good = {file: name for file, name in planned.items() if file not in bad}
    if not good:
        raise ValueError(f"VBench would score none of the {len(files)} videos; {faults[0].file} {faults[0].reason}")
    folder = output / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(output)
    for file, name in track(good.items(), description=f"copying {len(good)} videos"):
        with whole(folder / name, within=output) as part:  # VBench-Long might take one beside the videos for a video
            shutil.copyfile(videos / file, part)
    after = preflight(folder, rules, length_of, in_order=True)  # as videos_first.py sees to it
    faults += [fault for fault in after if not fault.file or fault.grave]
    exported = Exported(good, faults, commands(rules, output))
    _write(exported, output, len(files), rules)
    return exported


def check_places(videos: Path, output: Path) -> None:
    """Whether the copies can lie where they are asked for; it makes no folder.

    Args:
        videos: folder with videos.
        output: as in `export`.

    Raises:
        ValueError: it lies among the videos, or holds videos already.
    """
    if output.resolve().is_relative_to(videos.resolve()):
        raise ValueError(f"output={output} lies inside videos={videos}: the copies would be taken for videos next time")
    if (output / "videos").is_dir() and any((output / "videos").iterdir()):
        raise ValueError(f"'{output / 'videos'}' holds something already: empty it, or take another output=FOLDER")


def plan_names(videos: Path, files: Sequence[str]) -> tuple[dict[str, str], list[Fault]]:
    """The name that each file shall have, numbered by prompt; and the files whose prompt nobody knows."""
    beside = find_beside(videos, files, boundaries=(), reference=None, poses=None)
    planned: dict[str, str] = {}
    faults = []
    seen: Counter[str] = Counter()
    for file in files:
        own = split_name(Path(file).name)
        prompt = beside[file].prompt or (own.prompt if own.number is not None else None)
        if prompt is None:
            faults.append(Fault("no prompt", file, "has no prompt in manifest.jsonl, in NAME.txt or in its name"))
            continue
        planned[file] = f"{prompt}-{seen[prompt]}{Path(file).suffix}"
        seen[prompt] += 1
    return planned, faults


def _write(exported: Exported, output: Path, num_videos: int, rules: Rules) -> None:
    prompts = {name: split_name(name).prompt for name in exported.copied.values()}
    record = {
        "mode": rules.mode,
        "dimensions": rules.dimensions,
        "videos": num_videos,
        "copied": exported.copied,
        "dropped": len({fault.file for fault in exported.faults if fault.grave and fault.file}),
        "faults": [fault._asdict() for fault in exported.faults],
    }
    write_whole(output / "prompts.json", json.dumps(prompts, indent=1, ensure_ascii=False) + "\n")
    write_whole(output / "preflight.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    if rules.mode == "long":
        program = Path(__file__).with_name("videos_first.py")
        write_whole(output / program.name, program.read_text(encoding="utf-8"))
    note = "# long modes run on CUDA alone; --dev_flag adds the comparison of clips with each other\n"
    lines = "".join(f"{line}\n" for line in exported.commands)
    write_whole(output / "commands.sh", (note if rules.is_long else "") + lines)
