"""VBench's traps on a list as odd as its own: twins in capitals, full stops, accents, long names, odd disks."""

import json
import os
import subprocess
import sys

import pytest
from vbench_folders import lasting, lay, rules, traps

from longtake.reports.vbench import disk, export
from longtake.reports.vbench.preflight import preflight
from longtake.reports.vbench.rules import MADE_BY_LONG, commands

# Two prompts that differ in capitals alone, as VBench's list has them, and names that are hard in other ways.
ODD = (
    *("a fantasy landscape", "A fantasy landscape"),
    *("A café's façade at dusk, naïve art", "A score of 4-0 on a board", "Take 2-13", "A 3D model of a house."),
    *("Mr. Fox walks. The wind blows, in the style of a print", "\"Hello\" & 'goodbye' on a wall!", "100% wool; #1"),
    "a very long walk, " + "and then some more of it, " * 7 + "until it ends",
)
PLAIN = tuple(f"{what} {doing}" for what in ("a dog", "a cat", "A horse", "a boat") for doing in ("runs", "rests"))
QUALITY, STATIC = ("overall_consistency", "aesthetic_quality", "imaging_quality"), ("temporal_flickering",)


@pytest.fixture
def info(tmp_path):
    """A list of 24 entries, two of them twice, as VBench's has some."""
    path = tmp_path / "VBench_full_info.json"
    entries = [{"prompt_en": prompt, "dimension": list(QUALITY)} for prompt in (*ODD, *ODD[:2])]
    entries += [{"prompt_en": prompt, "dimension": ["subject_consistency", "motion_smoothness"]} for prompt in PLAIN]
    entries += [{"prompt_en": f"In a still frame, {prompt}", "dimension": list(STATIC)} for prompt in PLAIN[:4]]
    path.write_text(json.dumps(entries))
    return path


def numbered(prompts, samples=5):
    return [f"{prompt}-{number}.mp4" for prompt in prompts for number in range(samples)]


def beside(folder, prompts, samples=5):
    """Files whose prompts are in a manifest."""
    names = [f"{place:03d}.mp4" for place in range(len(prompts) * samples)]
    lay(folder, *names)
    lines = (json.dumps({"file": name, "prompt": prompts[place // samples]}) for place, name in enumerate(names))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(("mode", "seconds"), [("standard", 4), ("long", 25)])
def test_a_complete_official_set_has_no_grave_fault_and_loses_no_file(tmp_path, info, mode, seconds):
    chosen = rules(mode, *QUALITY, "subject_consistency", samples=5, info=info)
    folder = lay(tmp_path / "videos", *numbered((*ODD, *PLAIN)))
    faults = preflight(folder, chosen, lasting(seconds), in_order=True)
    assert traps(faults) == set()
    (note,) = faults
    assert (note.trap, note.file) == ("case collision", "")
    assert note.reason.startswith("5 names differ from others in capitals alone, such as 'a fantasy landscape-0.mp4'")
    exported = export.export(beside(tmp_path / "made", (*ODD, *PLAIN)), tmp_path / "out", chosen, lasting(seconds))
    assert sorted(exported.copied.values()) == sorted(numbered((*ODD, *PLAIN)))
    assert traps(exported.faults) == set()
    assert [fault.trap for fault in exported.faults] == ["case collision"]


def test_on_a_disk_that_ignores_case_one_of_each_pair_is_named_and_dropped(tmp_path, info, monkeypatch):
    monkeypatch.setattr(export, "ignores_case", lambda folder: True)
    chosen = rules("standard", *QUALITY, samples=5, info=info)
    exported = export.export(beside(tmp_path / "made", ODD), tmp_path / "out", chosen, lasting(4))
    assert len(exported.copied) == 5 * len(ODD) - 5
    collisions = [fault for fault in exported.faults if fault.trap == "case collision"]
    assert {fault.file for fault in collisions} == {f"{place:03d}.mp4" for place in range(5, 10)}
    assert "differs from 'a fantasy landscape-0.mp4' in capitals alone, and this disk" in collisions[0].reason


def test_a_disk_is_asked_whether_it_ignores_case(tmp_path, monkeypatch):
    probe = tmp_path / "Probe"
    probe.touch()
    assert disk.ignores_case(tmp_path / "not" / "yet") == (tmp_path / "pROBE").exists()
    assert list(tmp_path.iterdir()) == [probe]
    monkeypatch.setattr(disk.Path, "exists", lambda path: True)
    assert disk.ignores_case(tmp_path)

    def full(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk.tempfile, "NamedTemporaryFile", full)
    with pytest.raises(ValueError, match=r"output=.*not: nothing can be written to '.*' \(Permission denied\)"):
        disk.ignores_case(tmp_path / "not")


def test_long_modes_leave_room_for_the_names_of_clips_and_scenes(tmp_path):
    def found(mode, size):
        folder = lay(tmp_path / f"{mode}{size}", "x" * (size - 6) + "-0.mp4")
        faults = preflight(folder, rules(mode), lasting(25), in_order=True)
        return [(fault.grave, fault.reason) for fault in faults if fault.trap == "long name"]

    assert found("custom", 255) == found("standard", 255) == []
    (clip,) = found("long_custom", 251)
    assert clip == (
        True,
        "has 251 bytes; the names of VBench-Long's clips are up to 5 longer, and file systems take 255",
    )
    assert [grave for grave, _ in found("long", 255)] == [True]
    (scene,) = found("long_custom", 250)
    assert not scene[0]
    assert "VBench-Long's scenes (--use_semantic_splitting) are up to 14 longer" in scene[1]
    assert found("long_custom", 241) == []


def test_names_that_only_vbenchs_own_long_prompts_trip_over_stay_in_custom(tmp_path, info):
    folder = lay(tmp_path / "videos", "snake_case-0.mp4", "A-Scene here-0.mp4")
    faults = preflight(folder, rules("long_custom"), lasting(6))
    assert traps(faults) == set()
    assert traps(faults, grave=False) == {("underscore", "snake_case-0.mp4"), ("-Scene", "A-Scene here-0.mp4")}
    assert "its clips are not compared with each other" in faults[1].reason
    faults = preflight(folder, rules("long", info=info), lasting(6), in_order=True)
    assert ("underscore", "snake_case-0.mp4") in traps(faults)
    reasons = {fault.file: fault.reason for fault in faults if fault.trap == "unknown prompt"}
    assert reasons["A-Scene here-0.mp4"].endswith(": VBench-Long would stop at it")


def test_a_folder_that_would_be_listed_first_is_a_fault_where_nothing_sees_to_the_order(tmp_path, info, monkeypatch):
    folder = lay(tmp_path / "videos", *numbered(PLAIN))
    chosen = rules("long", samples=5, info=info)
    listed = os.listdir
    monkeypatch.setattr(disk.os, "listdir", lambda path: sorted(listed(path), key=lambda name: name != "split_clip"))
    assert traps(preflight(folder, chosen, lasting(25))) == {("folder first", "")}
    assert preflight(folder, chosen, lasting(25), in_order=True) == []
    assert preflight(folder, rules("long_custom"), lasting(25)) == []
    monkeypatch.setattr(disk.os, "listdir", lambda path: sorted(listed(path)))
    assert preflight(folder, chosen, lasting(25)) == []
    assert sorted(listed(folder)) == sorted(numbered(PLAIN))  # what was made for the question is gone

    def full(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk.Path, "mkdir", full)
    (fault,) = preflight(folder, chosen, lasting(25))
    assert (fault.trap, fault.grave) == ("no writing", True)


def test_the_exported_commands_list_videos_first(tmp_path, info):
    chosen = rules("long", samples=5, info=info)
    exported = export.export(beside(tmp_path / "made", PLAIN), tmp_path / "out", chosen, lasting(25))
    assert traps(exported.faults) == set()
    for name in MADE_BY_LONG:
        (tmp_path / "out" / "videos" / name).mkdir()
    seen = tmp_path / "eval_long.py"  # does with the folder what VBench-Long does
    seen.write_text("import os, sys\nprint(os.listdir(sys.argv[2])[0], sys.argv[1:], os.path.basename(__file__))\n")
    line = exported.commands[0].replace("vbench2_beta_long/eval_long.py", str(seen)).replace("python", sys.executable)
    said = subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
    assert said.startswith("A horse rests-0.mp4 ['--videos_path', ")
    assert said.endswith("eval_long.py\n")


def test_commands_give_samples_and_the_static_filter(tmp_path):
    def lines(mode, *dimensions, samples=5):
        return commands(rules(mode, *dimensions, samples=samples), tmp_path)

    (line,) = lines("long", "subject_consistency")
    assert "--num_of_samples_per_prompt" not in line
    assert "--static_filter_flag" not in line
    (line,) = lines("long", "subject_consistency", samples=3)
    assert "--num_of_samples_per_prompt 3 --dimension subject_consistency" in line
    still, other = lines("long", "temporal_flickering", "motion_smoothness", samples=25)
    assert "--num_of_samples_per_prompt 25 --static_filter_flag --dimension temporal_flickering" in still
    assert "--static_filter_flag" not in other
    (line,) = lines("long_custom", "temporal_flickering", samples=3)
    assert (
        "--num_of_samples_per_prompt" not in line
    )  # neither is read there, and the filter knows VBench's prompts only
    assert "--static_filter_flag" not in line
    filtering, scoring, other = lines("standard", "temporal_flickering", "motion_smoothness")
    assert filtering == f"vbench static_filter --videos_path {tmp_path}/videos --result_path {tmp_path}/static"
    static = f"{tmp_path}/static/filtered_videos"
    assert scoring == f"vbench evaluate --videos_path {static} --dimension temporal_flickering"
    assert other == f"vbench evaluate --videos_path {tmp_path}/videos --dimension motion_smoothness"


def test_25_videos_are_wanted_of_flickering_prompts_alone(tmp_path, info):
    still = [f"In a still frame, {prompt}" for prompt in PLAIN[:4]]
    folder = lay(tmp_path / "videos", *numbered(still, 25), *numbered(PLAIN))
    dimensions = ("temporal_flickering", "subject_consistency")
    assert preflight(folder, rules("standard", *dimensions, samples=25, info=info), lasting(4)) == []
    faults = preflight(folder, rules("standard", *dimensions, samples=5, info=info), lasting(4))
    (note,) = [fault for fault in faults if fault.trap == "flickering"]
    assert "give vbench_samples=25" in note.reason
    # VBench-Long filters clips, of which a long video has many
    faults = preflight(folder, rules("long", *dimensions, samples=5, info=info), lasting(25), in_order=True)
    assert "flickering" not in {fault.trap for fault in faults}
    (note,) = preflight(folder, rules("custom", "temporal_flickering", samples=25), lasting(4))
    assert "which nothing picks out" in note.reason


def test_what_an_earlier_run_made_is_found(tmp_path, info):
    folder = lay(tmp_path / "videos", *numbered(PLAIN))
    (folder / "temporal_filtered_cilps").mkdir()
    (folder / "background_consistency_cat_firstframes_videos").mkdir()
    assert traps(preflight(folder, rules("long", samples=5, info=info), lasting(25), in_order=True)) == {
        ("old clips", "temporal_filtered_cilps"),
        ("old clips", "background_consistency_cat_firstframes_videos"),
    }
