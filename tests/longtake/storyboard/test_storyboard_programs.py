"""`generate.py` around a take: what is made again, what is refused before any work, and segments from end to end."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from builders import CHANNELS, TEXT, awake, tiny_dit, tiny_lovic, tiny_vin
from composing import composed
from hydra.utils import instantiate
from lightning import LightningModule
from writers import BOARD, Writer, never

from longtake import generation
from longtake.cli.storyboard import limits_of, make_storyboard_video
from longtake.cli.take import Take, make_videos
from longtake.objectives.objective import Objective
from longtake.objectives.paths import LinearPath
from longtake.objectives.predictions import FlowPrediction
from longtake.objectives.times import Uniform
from longtake.objectives.weights import NoWeight
from longtake.rollouts.gen_l_video import GenLVideo
from longtake.rollouts.memory import MemoryPolicy
from longtake.rollouts.plan import chunk_boundaries
from longtake.rollouts.segmentwise import Segmentwise
from longtake.samplers.guidance import NestedGuidance
from longtake.samplers.solvers import Euler
from longtake.storyboard.given import GivenReader, VideoProbe
from longtake.storyboard.maker import SegmentMaker
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import plan
from longtake.storyboard.run import make_storyboard
from longtake.storyboard.schema import GivenFacts, ModelLimits
from longtake.storyboard.store import SegmentStore


def said(caplog, level="INFO"):
    return " ".join(record.getMessage() for record in caplog.records if record.levelno >= getattr(logging, level))


# What is made again


def test_what_changes_a_segment_changes_its_hash(ask):
    def fingerprint(kind, *overrides):
        cfg = ask(kind, *overrides, board=BOARD)
        return limits_of(Take(cfg), cfg).fingerprint

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
        make_storyboard_video(ask("lovic", *changes, board=BOARD), writer, never)
        assert ("there already" in said(caplog)) == (writer is writers[2])
    first, without, again = (writer.made["000.mp4"] for writer in writers)
    assert without != first == again


def test_a_killed_call_continues_with_the_missing_videos(ask, tmp_path):
    killed, rest, none, other = Writer(kill_at="002.mp4"), Writer(), Writer(), Writer()
    with pytest.raises(KeyboardInterrupt):
        make_videos(ask("vin", "num_frames=9", "num_videos=4"), killed)
    assert list(killed.made) == ["000.mp4", "001.mp4"]
    make_videos(ask("vin", "num_frames=9", "num_videos=4"), rest)
    assert list(rest.made) == ["002.mp4", "003.mp4"]
    paths = make_videos(ask("vin", "num_frames=9", "num_videos=4"), none)
    assert [path.name for path in paths] == [f"{n:03d}.mp4" for n in range(4)]
    assert none.made == {}
    lines = [json.loads(text) for text in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [(line["file"], line["seed"]) for line in lines] == [(f"{n:03d}.mp4", n) for n in range(4)]
    (tmp_path / "out" / "001.mp4").unlink()
    make_videos(ask("vin", "num_frames=9", "num_videos=4"), other)
    assert list(other.made) == ["001.mp4"]


@pytest.mark.parametrize("broken", [False, True])
def test_a_killed_video_continues_with_the_window_that_was_cut_short(ask, tmp_path, monkeypatch, broken):
    wanted = ("num_frames=33", *ROLLOUT)  # nine latents: five windows
    torch.manual_seed(0)  # for the untrained codec
    whole = Writer()
    make_videos(ask("lovic", *wanted), whole)
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
        make_videos(ask("lovic", *wanted), Writer())
    kept = sorted((tmp_path / "out" / "windows").glob("*/*.safetensors"))
    assert len(kept) == 3
    if broken:
        kept[2].write_bytes(b"half")
    torch.manual_seed(0)
    rest = Writer()
    make_videos(ask("lovic", *wanted), rest)
    assert len(calls) == 4 + (3 if broken else 2)
    assert rest.made == whole.made
    assert not (tmp_path / "out" / "windows").exists()


@pytest.mark.parametrize(
    "change",
    ["seed=1", "prompt=b", "num_frames=13", "without=global_tokens", "network.fusion=late", "num_inference_steps=3",
     "guidance_scale=2", "rollout=full_attention", "height=64"],
)  # fmt: skip
def test_whatever_changes_a_video_has_it_made_again(ask, tmp_path, change):
    make_videos(ask("vin", "num_frames=9"), Writer())
    key = change.split("=")[0]
    again = Writer()
    make_videos(ask("vin", *(["num_frames=9"] if key != "num_frames" else []), change), again)
    assert list(again.made) == ["000.mp4"]
    (line,) = [json.loads(text) for text in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert line["seed"] == (1 if key == "seed" else 0)


def test_a_manifest_of_something_else_is_no_reason_to_leave_a_video_out(ask, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000.mp4").write_bytes(b"")
    (tmp_path / "out" / "manifest.jsonl").write_text('{"file": "000.mp4", "storyboard": "x"}\n[]\nno json\n')
    writer = Writer()
    make_videos(ask("vin", "num_frames=9"), writer)
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


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_any_work(ask, monkeypatch, case):
    kind, overrides, board, words = REFUSED[case]
    monkeypatch.setattr("longtake.pipeline.generate", never)
    monkeypatch.setattr(SegmentMaker, "__call__", never)
    cfg = ask(kind, *overrides, board=board)
    with pytest.raises(ValueError, match=words):
        make_storyboard_video(cfg, never, never) if board else make_videos(cfg, never)


def test_a_rate_that_only_some_segments_use_is_said(ask, caplog):
    cfg = ask(
        "lovic",
        "compression_ratio=2",
        "dry_run=true",
        board=BOARD.replace("name: one", "name: one, compression_ratio: 8"),
    )
    make_storyboard_video(cfg, never, never)
    assert "compression_ratio=2 does not count for one: board.yaml states their ratios itself" in said(
        caplog, "WARNING"
    )


def test_a_window_of_chunks_takes_longer_segments_and_says_so(ask, caplog):
    longer = (*ROLLOUT[:1], "rollout.segment_frames=4", *ROLLOUT[2:], "num_frames=17")
    make_videos(ask("hybrid", *longer), Writer())
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
    make_storyboard_video(ask(kind, *changes, "dry_run=true", board=BOARD), never, never)
    text = said(caplog)
    assert "the compression of what is remembered" in text
    assert "memory, at least: weights" in text
    assert "activations, codec, text encoder and libraries are not counted" in text
    remembers = changes != ("without=memory",)
    assert ("one at ratio 4: 2 context tokens, effective ratio 4.00" in text) == remembers
    assert ("nothing is compressed" in text) != remembers


# YAML and wording


LIMITS = ModelLimits("weights", 10, 64, 4, MemoryPolicy(5, 8.0, 1.0, 64.0))
PLACE = r"story\.yaml, line"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("segments: [{name: a, num_frames: 40}]", r"4n \+ 1 frames: use 37$"),
        ("segments: [{name: a, num_frames: 36}]", r"4n \+ 1 frames: use 33 or 37$"),
        ("segments: [{name: a}, {name: b, num_frames: 45}]", r"4n frames: use 40$"),
        ("segments: [{name: a, num_frames: 41}]", r"window of 10 latents \(37 frames here\)"),
        ("segments: [{name: a}, {name: b, num_frames: 44}]", r"window of 10 latents \(40 frames here\)"),
        (
            "segments: [{name: a}, {name: b, gap: 40},\n {name: c, num_frames: 36, between: [a, b]}]",
            r"by what the others say they lie 4 frames apart, by c 0 frames apart$",
        ),
        (
            "segments: [{name: a}, {name: b, gap: 32},\n {name: c, num_frames: 36, between: [a, b]}]",
            r"by what the others say they overlap by 4 frames, by c 0 frames apart$",
        ),
        ("seed: 0\nprompt: A marine: in red\nsegments: []", rf'{PLACE} 2: not YAML: .*quotes.*"A marine: in red"'),
        ("segments:\n  - {name: a, prompt: A: b: c}", rf"{PLACE} 2: not YAML: .*quotes"),
        (
            "segments: [{name: a, compression_ratio: 65}]",
            r"compression_ratio=65 is above rollout\.max_compression_ratio=64: use at most that",
        ),
        ("seed: 0\nvideo: .\nsegments: [{name: a}]", rf"{PLACE} 2: video .*: is a folder: give a video in it"),
    ],
)
def test_refusals_say_what_would_do(tmp_path, text, words):
    (tmp_path / "story.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        plan(read_storyboard(tmp_path / "story.yaml", LIMITS), LIMITS, VideoProbe(8.0))


def test_a_folder_is_no_storyboard(tmp_path):
    with pytest.raises(ValueError, match="is a folder: give a file in it"):
        read_storyboard(tmp_path, LIMITS)


def test_a_memory_that_is_too_small_names_a_setting_that_there_is(tmp_path):
    (tmp_path / "story.yaml").write_text("segments: [{name: a}, {name: b}]")
    limits = LIMITS._replace(memory=MemoryPolicy(0, 8.0, 1.0, 64.0))
    with pytest.raises(ValueError, match=r"raise rollout\.max_context$"):
        plan(read_storyboard(tmp_path / "story.yaml", limits), limits, VideoProbe(8.0))
    assert "max_context" in composed("generate", "rollout=segmentwise").rollout


# Rates that grow


def test_rates_grow_with_distance_as_in_the_rollout(tmp_path):
    limits = LIMITS._replace(memory=MemoryPolicy(5, 2.0, 3.0, 40.0))
    path = tmp_path / "story.yaml"
    path.write_text("segments: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}]")
    last = plan(read_storyboard(path, limits), limits, VideoProbe(8.0)).steps[-1]
    assert {source.name: source.compression_ratio for source in last.sources} == {
        "a": 40.0,
        "b": 18.0,
        "c": 6.0,
        "d": 2.0,
    }
    rollout = Segmentwise(
        segment_frames=10,
        window_frames=2,
        max_context=5,
        compression_ratio=2.0,
        ratio_growth=3.0,
        max_compression_ratio=40.0,
        memory_level=0.0,
    )
    canvas = rollout.plan(50)[-1]
    assert [each.compression_ratio for each in canvas.remembered] == [
        source.compression_ratio for source in last.sources
    ]
    assert canvas.remembered == tuple(each._replace(start=each.start + 40) for each in last.canvas.remembered)


def test_a_stated_rate_and_a_segments_length_bound_the_growth(tmp_path):
    limits = LIMITS._replace(memory=MemoryPolicy(5, 2.0, 100.0, 1000.0))
    path = tmp_path / "story.yaml"
    given = "{name: a, latents: 1}, {name: b, compression_ratio: 3}, {name: c, gap: 40}, {name: d, between: [b, c]}"
    path.write_text(f"segments: [{given}]")
    steps = {step.name: step for step in plan(read_storyboard(path, limits), limits, VideoProbe(8.0)).steps}
    rates = {source.name: source.compression_ratio for source in steps["d"].sources}
    assert rates == {"a": 64.0, "b": 3.0, "c": 2.0}, "a has 64 tokens; b and c adjoin d alike, and b states its rate"


# Where pieces meet


@pytest.mark.parametrize("num_latents", [4, 10, 11, 20, 33])
def test_windows_begin_where_they_are_denoised(num_latents):
    from longtake.rollouts.sliding_windows import SlidingWindows

    windows = SlidingWindows(window_frames=10, overlap_frames=4, profile="uniform", windows_per_call=0)
    frames = windows.plan(num_latents, torch.device("cpu"))[0]
    assert windows.starts(num_latents) == frames[:, 0].tolist()
    covered = [int(window[-1]) + 1 for window in frames[:-1]]
    rollout = GenLVideo(window_frames=10, overlap_frames=4, profile="uniform", windows_per_call=0)
    assert chunk_boundaries(rollout.plan(num_latents), None) == covered


def test_pieces_of_each_rollout():
    names = (
        "segmentwise",
        "autoregressive",
        "anchored",
        "free_noise",
        "gen_l_video",
        "spectral_blending",
        "single_pass",
    )
    nodes = {name: composed("generate", f"rollout={name}").rollout for name in names}
    for name in ("autoregressive", "anchored"):
        nodes[name].context_frames = 4
    nodes["gen_l_video"].overlap_frames = 4
    plans = {name: instantiate(node).plan(25) for name, node in nodes.items()}
    found = {name: chunk_boundaries(plan, 10) for name, plan in plans.items()}
    assert found == {
        "segmentwise": [10, 20],
        "autoregressive": [10, 16, 22],
        "anchored": [10, 15, 20],
        "free_noise": [10, 20],
        "gen_l_video": [10, 16, 22],
        "spectral_blending": [10, 20],
        "single_pass": [10, 20],
    }
    assert chunk_boundaries(plans["single_pass"], None) == []


@pytest.mark.parametrize(
    ("kind", "rollout", "expected"),
    [
        ("vin", "single_pass", [5]),
        ("vin", "full_attention", []),
        ("hybrid", "segmentwise", [5]),
        ("vin", "gen_l_video", [5, 9]),
    ],
)
def test_the_manifest_names_where_pieces_meet(ask, tmp_path, kind, rollout, expected):
    sizes = {
        "gen_l_video": ("rollout.window_frames=2", "rollout.overlap_frames=1"),
        "segmentwise": ROLLOUT[1:],
    }
    make_videos(ask(kind, f"rollout={rollout}", *sizes.get(rollout, ()), "num_frames=13"), Writer())
    (line,) = [json.loads(text) for text in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert line["boundaries"] == expected


# The network's settings


def test_settings_of_chunks_reach_the_window_of_the_hybrid(ask):
    take = Take(ask("hybrid", "network.fusion=late", "network.windows_per_call=1"))
    assert take.network.window.fusion == "late"
    assert take.network.window.windows_per_call == 1
    assert Take(ask("vin", "network.fusion=late")).network.fusion == "late"


# Segments from end to end


class Text:
    def encode(self, prompts):
        features = torch.stack([torch.full((3, TEXT), 0.1 * len(prompt)) for prompt in prompts])
        return features, torch.ones(len(prompts), 3, dtype=torch.bool)


class MeanCodec:
    """Latents are means of frames and places, so a known video has known latents."""

    time_factor, space_factor, channels = 4, 2, CHANNELS

    def encode(self, video):
        small = torch.nn.functional.avg_pool3d(video, (1, 2, 2))
        first, rest = small[:, :1, :1], small[:, :1, 1:]
        latents = torch.cat([first, torch.nn.functional.avg_pool3d(rest, (4, 1, 1))], dim=2) if rest.shape[2] else first
        return latents.expand(-1, CHANNELS, -1, -1, -1)


TINY = ModelLimits("weights", 3, 4, 4, MemoryPolicy(5, 2.0, 1.0, 64.0), 1)
GIVEN = {
    "start": ("first", "  - {name: next}\n", ["first", "next"], {"next": ("predict", "first", None)}),
    "end": ("last", "  - {name: lead}\n", ["lead", "last"], {"lead": ("retrodict", None, "last")}),
    "both": (
        "both",
        "  - {name: middle, between: [first, last]}\n",
        ["first", "middle", "last"],
        {"middle": ("interpolate", "first", "last")},
    ),
}


def maker_of(network):
    module = LightningModule()
    module.network = network
    module.sampler = Euler(num_inference_steps=2)
    module.objective = Objective(path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight())
    return SegmentMaker(
        module=module,
        guidance=NestedGuidance(scales={"text": 2.0}),
        text_encoder=Text(),
        size=(CHANNELS, 4, 4),
        noise_level=0.02,
        on_step=None,
    )


@pytest.mark.parametrize("window", ["dit", "vin"])
@pytest.mark.parametrize("place", GIVEN)
def test_a_given_video_is_continued_led_to_and_filled(tmp_path, window, place):
    role, segments, order, tasks = GIVEN[place]
    (tmp_path / "own.mp4").touch()
    (tmp_path / "story.yaml").write_text(f"video: {{path: own.mp4, role: {role}}}\nsegments:\n{segments}")
    made = plan(read_storyboard(tmp_path / "story.yaml", TINY), TINY, lambda path: GivenFacts(40, "content"))
    found = {step.name: (step.task, step.before, step.after) for step in made.steps if step.given is None}
    assert found == tasks

    torch.manual_seed(0)
    network = awake(tiny_lovic(window=tiny_dit() if window == "dit" else tiny_vin())).eval()
    canvases = []
    network.register_forward_pre_hook(lambda _, inputs: canvases.append(inputs))
    maker = maker_of(network)

    def run(scale, folder):
        ramp = np.linspace(0, 255 * scale, 40, dtype=np.float32).astype(np.uint8)
        frames = np.broadcast_to(ramp[:, None, None, None], (40, 8, 8, 3)).copy()
        reader = GivenReader(MeanCodec(), lambda *_, **__: frames, 8, 8, 8.0, torch.device("cpu"))
        canvases.clear()
        return make_storyboard(made, SegmentStore(tmp_path / folder), maker, reader)

    latents = run(1.0, "one")
    assert list(latents) == order
    assert all(latents[step.name].shape == (1, CHANNELS, step.latents, 4, 4) for step in made.steps)
    assert all(bool(torch.isfinite(x).all()) for x in latents.values())
    _, before, after = next(iter(tasks.values()))
    for noisy, time, condition in canvases:  # one frame of window on each side of the segment's three
        exists = [before is not None, True, True, True, after is not None]
        assert exists == [True] * 5 if condition.frame_mask is None else condition.frame_mask[0].tolist() == exists
        assert condition.memory.layers[0][0].shape[2] > 1, "the video is remembered"
        if before is not None:
            assert torch.equal(noisy[:, :, 0], latents[before][:, :, -1])
            assert float(time[0, 0]) == 0
        if after is not None:
            assert torch.equal(noisy[:, :, -1], latents[after][:, :, 0])
            assert float(time[0, -1]) == 0
    name = next(iter(tasks))
    assert torch.equal(run(1.0, "two")[name], latents[name]), "the same video, the same segment"
    assert (run(0.5, "three")[name] - latents[name]).abs().max() > 1e-3, "another video, another segment"
