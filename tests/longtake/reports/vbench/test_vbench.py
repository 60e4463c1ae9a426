"""Videos laid out for VBench: every trap is caught by its name, what is good is copied, and nothing is half-written."""

import json
import shlex
import shutil

import pytest
import torch
from composing import composed
from vbench_folders import lasting, lay, rules, traps
from video_files import textured as write_video

from longtake.cli import evaluate as program
from longtake.cli.videos import read_length
from longtake.reports.vbench.export import export
from longtake.reports.vbench.preflight import Length, preflight
from longtake.reports.vbench.rules import DIMENSIONS, split_name

INFO = [
    {"prompt_en": "A 3D model of a 1800s victorian house.", "dimension": ["subject_consistency", "imaging_quality"]},
    {"prompt_en": "a dog", "dimension": ["subject_consistency"]},
    {"prompt_en": "A person is running", "dimension": ["human_action"]},
]


@pytest.fixture
def info(tmp_path):
    path = tmp_path / "VBench_full_info.json"
    path.write_text(json.dumps(INFO))
    return path


def test_names_are_taken_apart_as_vbench_does():
    assert split_name("A house.-0.mp4") == ("A house.", 0, ".mp4")
    assert split_name("Take-2-13.gif") == ("Take-2", 13, ".gif")
    assert split_name("a/b-1.mp4") == ("a/b", 1, ".mp4")
    assert split_name("no number.mp4") == ("no number", None, ".mp4")


def test_a_good_folder_has_no_faults(tmp_path, info):
    names = [
        f"{prompt}-{number}.mp4" for prompt in ("A 3D model of a 1800s victorian house.", "a dog") for number in (0, 1)
    ]
    folder = lay(tmp_path / "videos", *names)
    assert preflight(folder, rules("standard", info=info), lasting(2)) == []
    assert preflight(folder, rules("long", info=info), lasting(6), in_order=True) == []
    assert preflight(folder, rules("custom"), lasting(2)) == []
    assert preflight(folder, rules("long_custom"), lasting(6)) == []


def test_traps_of_names(tmp_path, info):
    folder = lay(
        tmp_path / "videos",
        "A dog-0.mp4", "a dog-0.mp4", "a dog-1.mp4", "a dog.mp4", "a dog-1.mkv", "a cat-0.mp4", " a dog-0.mp4",
        "A 3D model of a 1800s victorian house-0.mp4", "a_dog-0.mp4",
    )  # fmt: skip
    found = traps(preflight(folder, rules("standard", info=info), lasting(2)))
    assert ("no index", "a dog.mp4") in found
    assert ("suffix", "a dog-1.mkv") in found
    assert ("blank", " a dog-0.mp4") in found
    unknown = {file for trap, file in found if trap == "unknown prompt"}
    assert {"A dog-0.mp4", "a cat-0.mp4", "A 3D model of a 1800s victorian house-0.mp4"} <= unknown
    assert "a dog-1.mp4" not in unknown
    reasons = {fault.file: fault.reason for fault in preflight(folder, rules("standard", info=info), lasting(2))}
    assert "VBench writes 'a dog'" in reasons["A dog-0.mp4"]
    assert (
        "(VBench writes 'A 3D model of a 1800s victorian house.')"
        in reasons["A 3D model of a 1800s victorian house-0.mp4"]
    )
    assert "a rewritten prompt keeps the name of the short one" in reasons["a cat-0.mp4"]
    long = traps(preflight(folder, rules("long_custom"), lasting(6)))
    assert ("underscore", "a_dog-0.mp4") not in found | long
    assert ("underscore", "a_dog-0.mp4") in traps(preflight(folder, rules("long"), lasting(6), in_order=True))
    assert ("no index", "a dog.mp4") in long
    assert ("no index", "a dog.mp4") not in traps(preflight(folder, rules("custom"), lasting(2)))


def test_traps_of_folders(tmp_path, info):
    folder = lay(tmp_path / "videos", "a dog-0.mp4", "a dog-2.mp4", "prompts.json")
    for name in ("split_clip", "split_scene", "subject_consistency_cat_firstframes_videos", "more"):
        (folder / name).mkdir()
    faults = preflight(folder, rules("long", info=info), lasting(6), in_order=True)
    assert traps(faults) == {
        ("old clips", "split_clip"),
        ("old clips", "split_scene"),
        ("old clips", "subject_consistency_cat_firstframes_videos"),
        ("subfolder", "more"),
        ("foreign file", "prompts.json"),
    }
    reasons = [fault.reason for fault in faults if fault.trap == "count"]
    assert "'a dog' has numbers [0, 2]; wanted are 0 to 1" in reasons
    assert any("subject_consistency lacks 1 of 2 prompts, such as 'A 3D model" in reason for reason in reasons)
    faults = preflight(folder, rules("standard", "subject_consistency", "human_action", info=info), lasting(2))
    assert ("empty dimension", "") in traps(faults)
    assert "divides by zero" in next(fault.reason for fault in faults if fault.trap == "empty dimension")
    assert ("nothing left", "") in traps(preflight(lay(tmp_path / "none"), rules("custom"), lasting(2)))
    faults = preflight(folder, rules("standard", "temporal_flickering"), lasting(2))
    assert {("flickering", ""), ("unchecked prompts", "")} <= traps(faults, grave=False)
    (folder / "a dog-1.gif").touch()
    assert ("mixed suffixes", "") in traps(preflight(folder, rules("custom"), lasting(2)), grave=False)
    with pytest.raises(ValueError, match=r"there is no folder '.*nowhere'"):
        preflight(tmp_path / "nowhere", rules("custom"), lasting(2))


def test_traps_of_lengths(tmp_path):
    folder = lay(tmp_path / "videos", "a-0.mp4", "b-0.mp4")
    one, note = ("one clip", "a-0.mp4"), {"grave": False}
    assert one in traps(preflight(folder, rules("long_custom"), lasting(3)))
    assert one not in traps(preflight(folder, rules("long_custom"), lasting(4.5)))
    assert ("short", "a-0.mp4") in traps(preflight(folder, rules("long_custom"), lasting(4.5)), **note)
    # ten-second clips where VBench's prompts are, not where they are the user's
    assert one in traps(preflight(folder, rules("long", "imaging_quality"), lasting(15), in_order=True))
    assert one not in traps(preflight(folder, rules("long", "motion_smoothness"), lasting(15), in_order=True))
    assert one not in traps(preflight(folder, rules("long_custom", "imaging_quality"), lasting(15)))
    assert ("long", "a-0.mp4") in traps(preflight(folder, rules("custom"), lasting(6)), **note)
    assert ("single frame", "a-0.mp4") in traps(preflight(folder, rules("custom"), lasting(0.125)))

    def mixed(path):
        if path.name == "a-0.mp4":
            raise ValueError("is broken")
        return Length(16, 8)

    assert ("unreadable", "a-0.mp4") in traps(preflight(folder, rules("custom"), mixed))
    rates = preflight(folder, rules("custom"), lambda path: Length(16, 8 if path.name == "a-0.mp4" else 24))
    assert ("mixed rates", "") in traps(rates, **note)


def test_wrong_choices_are_refused(tmp_path):
    with pytest.raises(ValueError, match="vbench=short: take standard, custom, long or long_custom"):
        rules("short")
    with pytest.raises(ValueError, match="VBench has no beauty; it has subject_consistency, "):
        rules("custom", "beauty")
    with pytest.raises(ValueError, match="scene needs VBench's own prompts, which vbench=long_custom has not"):
        rules("long_custom", "scene")
    (tmp_path / "info.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"vbench_info=.*info\.json is no VBench_full_info\.json"):
        rules("standard", info=tmp_path / "info.json")
    assert len(DIMENSIONS) == len(set(DIMENSIONS)) == 16


@pytest.fixture
def videos(tmp_path):
    """Six that can be laid out, two of one prompt, and some that cannot."""
    folder = tmp_path / "videos"
    prompts = {
        "000.mp4": "A marine walks.", "001.mp4": "A marine walks.", "002.mp4": "a marine walks.", "003.mp4": "on / off",
        "004.mp4": "snake_case", "005.mp4": "A cave.", "007.mp4": "x" * 260, "008.mp4": "A cave.",
    }  # fmt: skip
    source = tmp_path / "source.mp4"
    write_video(source, [100, 120] * 24)
    folder.mkdir()
    for name in prompts:
        shutil.copy(source, folder / name)
    (folder / "000.mp4").write_bytes(b"broken")
    shutil.copy(source, folder / "006.mp4")  # no prompt
    shutil.copy(source, folder / "009.mp4")
    (folder / "009.txt").write_text("A caption.")
    (folder / "manifest.jsonl").write_text(
        "".join(json.dumps({"file": name, "prompt": prompt}) + "\n" for name, prompt in prompts.items())
    )
    return folder


@pytest.mark.slow
def test_what_is_good_is_laid_out_and_the_rest_named(videos, tmp_path):
    out = tmp_path / "out"
    exported = export(videos, out, rules("long_custom"), read_length)
    assert exported.copied == {
        "001.mp4": "A marine walks.-0.mp4",  # numbers run on over the broken one
        "002.mp4": "a marine walks.-0.mp4",
        "004.mp4": "snake_case-0.mp4",
        "005.mp4": "A cave.-0.mp4",
        "008.mp4": "A cave.-1.mp4",
        "009.mp4": "A caption.-0.mp4",
    }
    assert traps(exported.faults) == {
        ("unreadable", "000.mp4"),
        ("slash", "003.mp4"),
        ("no prompt", "006.mp4"),
        ("long name", "007.mp4"),
    }
    assert traps(exported.faults, grave=False) == {("case collision", ""), ("underscore", "004.mp4")}
    assert sorted(path.name for path in (out / "videos").iterdir()) == sorted(exported.copied.values())
    assert (out / "videos" / "A cave.-1.mp4").read_bytes() == (videos / "008.mp4").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == ["commands.sh", "preflight.json", "prompts.json", "videos"]
    assert json.loads((out / "prompts.json").read_text())["A cave.-1.mp4"] == "A cave."
    record = json.loads((out / "preflight.json").read_text())
    assert (record["videos"], record["dropped"], len(record["copied"])) == (10, 4, 6)
    assert traps(preflight(out / "videos", rules("long_custom"), read_length)) == set()
    with pytest.raises(ValueError, match="holds something already"):
        export(videos, out, rules("long_custom"), read_length)
    with pytest.raises(ValueError, match="lies inside"):
        export(videos, videos / "vbench", rules("long_custom"), read_length)
    with pytest.raises(ValueError, match="would score none of the 10 videos"):
        export(videos, tmp_path / "none", rules("long", "imaging_quality"), read_length)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_commands_are_those_of_each_mode(videos, tmp_path):
    exported = export(videos, tmp_path / "out dir", rules("custom", "motion_smoothness"), read_length)
    (command,) = exported.commands
    words = shlex.split(command)
    assert words[:2] == ["vbench", "evaluate"]
    assert words[words.index("--videos_path") + 1] == str(tmp_path / "out dir" / "videos")
    assert words[words.index("--prompt_file") + 1] == str(tmp_path / "out dir" / "prompts.json")
    assert words[-2:] == ["--dimension", "motion_smoothness"]
    exported = export(videos, tmp_path / "long", rules("long_custom", "motion_smoothness"), read_length)
    assert "--mode long_custom_input --dev_flag --dimension motion_smoothness" in exported.commands[0]
    assert "--prompt_file" not in exported.commands[0]  # VBench-Long would refuse it


@pytest.mark.slow
def test_the_program_lays_out_and_checks(videos, tmp_path, capsys):
    def run(*overrides):
        program.run(composed("evaluate", *overrides))
        return " ".join(capsys.readouterr().out.split())

    out = tmp_path / "out"
    said = run(f"videos={videos}", f"output={out}", "vbench=long_custom")
    assert "note (underscore): 004.mp4 its prompt has a _" in said
    assert "6 videos in" in said
    assert "eval_long.py --videos_path" in said
    assert torch.cuda.is_available() or "note (no CUDA)" in said
    assert "can score" in run(f"videos={out / 'videos'}", "vbench=long_custom")
    (out / "videos" / "split_clip").mkdir()
    with pytest.raises(ValueError, match=r"1 faults in '.*videos' would make VBench drop videos or stop"):
        run(f"videos={out / 'videos'}", "vbench=long_custom")
    assert "dropped (old clips): split_clip" in " ".join(capsys.readouterr().out.split())
    assert not list(out.rglob("*.part"))
