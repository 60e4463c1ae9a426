"""`generate.py` around a take: what is made again, and what is refused before any work."""

import json
import logging
import shutil

import pytest
import torch
from writers import BOARD, Writer, never

from longtake import generation
from longtake.cli.request import requested
from longtake.cli.storyboard import limits_of, make_storyboard_video
from longtake.cli.take import Take, make_videos
from longtake.rollouts.segmentwise import Segmentwise
from longtake.storyboard.maker import SegmentMaker


def said(caplog, level="INFO"):
    return " ".join(record.getMessage() for record in caplog.records if record.levelno >= getattr(logging, level))


# What is made again


@pytest.mark.slow
def test_what_changes_a_segment_changes_its_hash(ask):
    def fingerprint(kind, *overrides):
        request = requested(ask(kind, *overrides, board=BOARD))
        return limits_of(Take(request), request).fingerprint

    usual = fingerprint("hybrid")
    assert fingerprint("hybrid") == usual
    assert fingerprint("hybrid", "network.windows_per_call=1", "compression_ratio=2", "seed=5") == usual
    changes = ["without=memory", "without=global_tokens", "network.fusion=late", "network.local_frames=2", "width=64"]
    changes.append("matmul_precision=high")
    assert len({usual, *(fingerprint("hybrid", change) for change in changes)}) == len(changes) + 1


def test_a_take_without_memory_is_not_the_one_with_it(ask, caplog):
    caplog.set_level("INFO", logger="longtake")
    writers = [Writer(), Writer(), Writer()]
    for writer, changes in zip(writers, ((), ("without=memory",), ()), strict=True):
        caplog.clear()
        torch.manual_seed(0)  # for the untrained codec
        make_storyboard_video(requested(ask("lovic", *changes, board=BOARD)), writer, never)
        assert ("there already" in said(caplog)) == (writer is writers[2])
    first, without, again = (writer.made["000.mp4"] for writer in writers)
    assert without != first == again


def test_a_killed_call_continues_with_the_missing_videos(ask, tmp_path):
    killed, rest, none, other = Writer(kill_at="002.mp4"), Writer(), Writer(), Writer()
    with pytest.raises(KeyboardInterrupt):
        make_videos(requested(ask("vin", "num_frames=9", "num_videos=4")), killed)
    assert list(killed.made) == ["000.mp4", "001.mp4"]
    make_videos(requested(ask("vin", "num_frames=9", "num_videos=4")), rest)
    assert list(rest.made) == ["002.mp4", "003.mp4"]
    paths = make_videos(requested(ask("vin", "num_frames=9", "num_videos=4")), none)
    assert [path.name for path in paths] == [f"{n:03d}.mp4" for n in range(4)]
    assert none.made == {}
    lines = [json.loads(text) for text in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [(line["file"], line["seed"]) for line in lines] == [(f"{n:03d}.mp4", n) for n in range(4)]
    (tmp_path / "out" / "001.mp4").unlink()
    make_videos(requested(ask("vin", "num_frames=9", "num_videos=4")), other)
    assert list(other.made) == ["001.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_a_killed_video_continues_with_the_window_that_was_cut_short(ask, tmp_path, monkeypatch, broken):
    wanted = ("num_frames=33", *ROLLOUT)  # nine latents: five windows
    torch.manual_seed(0)  # for the untrained codec
    whole = Writer()
    make_videos(requested(ask("lovic", *wanted)), whole)
    shutil.rmtree(tmp_path / "out")
    real, calls = generation.window_generator, []

    def counted(*arguments):
        made = real(*arguments)

        def generate(*inputs, **wrap):
            calls.append(inputs)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return made(*inputs, **wrap)

        return generate

    monkeypatch.setattr(generation, "window_generator", counted)
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        make_videos(requested(ask("lovic", *wanted)), Writer())
    kept = sorted((tmp_path / "out" / "windows").glob("*/*.safetensors"))
    assert len(kept) == 3
    if broken:
        kept[2].write_bytes(b"half")
    torch.manual_seed(0)
    rest = Writer()
    make_videos(requested(ask("lovic", *wanted)), rest)
    assert len(calls) == 4 + (3 if broken else 2)
    assert rest.made == whole.made
    assert not (tmp_path / "out" / "windows").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    ["seed=1", "prompt=b", "num_frames=13", "without=global_tokens", "network.fusion=late", "num_inference_steps=3",
     "guidance_scale=2", "rollout=full_attention", "height=64"],
)  # fmt: skip
def test_whatever_changes_a_video_has_it_made_again(ask, tmp_path, change):
    make_videos(requested(ask("vin", "num_frames=9")), Writer())
    key = change.split("=")[0]
    again = Writer()
    make_videos(requested(ask("vin", *(["num_frames=9"] if key != "num_frames" else []), change)), again)
    assert list(again.made) == ["000.mp4"]
    (line,) = [json.loads(text) for text in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert line["seed"] == (1 if key == "seed" else 0)


def test_a_manifest_of_something_else_is_no_reason_to_leave_a_video_out(ask, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000.mp4").write_bytes(b"")
    (tmp_path / "out" / "manifest.jsonl").write_text('{"file": "000.mp4", "storyboard": "x"}\n[]\nno json\n')
    writer = Writer()
    make_videos(requested(ask("vin", "num_frames=9")), writer)
    assert list(writer.made) == ["000.mp4"]


# Refused before any work


ROLLOUT = ("rollout=segmentwise", "rollout.segment_frames=2", "rollout.window_frames=1", "rollout.max_context=2")
NO_MEMORY = r"rollout=segmentwise needs weights with a memory, of network=lovic or vin_lovic, but .*vin\.ckpt have none"
REFUSED = {
    "segments without a memory": ("vin", ("rollout=segmentwise", "num_frames=157"), "", NO_MEMORY),
    "a storyboard of them": ("vin", ("rollout=segmentwise", "dry_run=true"), BOARD, NO_MEMORY),
    "a storyboard without a memory": ("vin", (), BOARD, r"needs weights with a memory.*vin\.ckpt have none"),
    "another rollout": ("lovic", ("rollout=autoregressive",), BOARD, r"which rollout=autoregressive does not: use rol"),
    "rate above the rollout's": (
        "lovic",
        ("compression_ratio=500",),
        "",
        r"compression_ratio=500 must be a number from 1 to 64, .*max_compression_ratio",
    ),
    "rate below one": (
        "lovic",
        ("compression_ratio=0.5",),
        BOARD,
        r"compression_ratio=0\.5 must be a number from 1 to 64",
    ),
    "rate of no token": (
        "lovic",
        (*ROLLOUT, "compression_ratio=500", "rollout.max_compression_ratio=500", "num_frames=25"),
        "",
        r"compression_ratio=500 leaves no token of a segment of 8 video tokens: use at most 8",
    ),
    "rate that grows too far": (
        "lovic",
        (*ROLLOUT, "compression_ratio=4", "rollout.ratio_growth=4", "num_frames=25"),
        "",
        r"compression_ratio=4, grown to 16 by rollout\.ratio_growth, leaves no token",
    ),
    "longer than in training": (
        "lovic",
        ("rollout=segmentwise", "rollout.segment_frames=3"),
        "",
        r"rollout\.segment_frames=3: .* trained with segments of 2 latent frames.*: use at most 2",
    ),
    "chunks that are not there": (
        "lovic",
        ("network.fusion=late",),
        "",
        r"network\.fusion=late is no setting of .*lovic\.ckpt: leave it out",
    ),
    "two rates": (
        "lovic",
        ("compression_ratio=2",),
        "\ncompression_ratio: 4" + BOARD,
        r"line 2: compression_ratio: 4 is stated here and compression_ratio=2 on the comm",
    ),
    "a rate above it in the file": (
        "lovic",
        (),
        BOARD.replace("name: two", "name: two, compression_ratio: 70"),
        r"line 4: compression_ratio=70 .* 1 to 8",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_any_work(ask, monkeypatch, case):
    kind, overrides, board, words = REFUSED[case]
    monkeypatch.setattr("longtake.pipeline.generate", never)
    monkeypatch.setattr(SegmentMaker, "__call__", never)
    cfg = ask(kind, *overrides, board=board)
    with pytest.raises(ValueError, match=words):
        make_storyboard_video(requested(cfg), never, never) if board else make_videos(requested(cfg), never)


def test_a_rate_that_only_some_segments_use_is_said(ask, caplog):
    cfg = ask(
        "lovic",
        "compression_ratio=2",
        "dry_run=true",
        board=BOARD.replace("name: one", "name: one, compression_ratio: 8"),
    )
    make_storyboard_video(requested(cfg), never, never)
    assert "compression_ratio=2 does not count for one: board.yaml states their ratios itself" in said(
        caplog, "WARNING"
    )


def test_a_window_of_chunks_takes_longer_segments_and_says_so(ask, caplog):
    longer = (*ROLLOUT[:1], "rollout.segment_frames=4", *ROLLOUT[2:], "num_frames=17")
    make_videos(requested(ask("hybrid", *longer)), Writer())
    assert "trained with segments of 2 latent frames, and their compressor has not seen longer" in said(caplog, "WARN")


def test_a_rate_above_the_most_is_no_rollout():
    settings = {"segment_frames": 2, "window_frames": 1, "max_context": 2, "ratio_growth": 1.0, "memory_level": 0.0}
    with pytest.raises(ValueError, match=r"rollout\.compression_ratio=500 is above rollout\.max_compression_ratio=64"):
        Segmentwise(compression_ratio=500, max_compression_ratio=64, **settings)


# A dry run


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("lovic", ()),
        ("lovic", ("without=memory",)),
        ("hybrid", ("without=memory",)),
        ("hybrid", ("without=global_tokens",)),
    ],
)
def test_a_dry_run_says_what_it_counts(ask, caplog, kind, changes):
    caplog.set_level("INFO", logger="longtake")
    make_storyboard_video(requested(ask(kind, *changes, "dry_run=true", board=BOARD)), never, never)
    text = said(caplog)
    assert "the compression of what is remembered" in text
    assert "memory, at least: weights" in text
    assert "activations, codec, text encoder and libraries are not counted" in text
    remembers = changes != ("without=memory",)
    assert ("one at ratio 4: 2 context tokens, effective ratio 4.00" in text) == remembers
    assert ("nothing is compressed" in text) != remembers


# The network's settings


def test_settings_of_chunks_reach_the_window_of_the_hybrid(ask):
    take = Take(requested(ask("hybrid", "network.fusion=late", "network.windows_per_call=1")))
    assert take.network.window.fusion == "late"
    assert take.network.window.windows_per_call == 1
    assert Take(requested(ask("vin", "network.fusion=late"))).network.fusion == "late"
