"""The measurements of trained memory, on untrained weights of a few thousand numbers and walks of squares."""

import json
import math

import pytest
import torch
from tiny_runs import MEMORY, SEGMENTS, TINY
from untrained import CAPTIONS, awake

from benchmarks import colour, compression, memory_gain, recall, restored, revisits, scenes, trained
from lightning_modules.tasks import fixed_task
from longtake.releases.building import build
from longtake.releases.reading import load_run
from networks.interfaces import Reconstruction, SegmentBatch, VideoBatch


def untrained(overrides, path):
    """A checkpoint that load_run reads, of weights that nothing has trained."""
    settings = [
        key for key in TINY if not key.startswith(("network.", "datamodule", "interface.", "lightning_module."))
    ]
    if "experiment=flexformer_freedoom" in overrides:
        settings = [key for key in settings if not key.startswith(("callbacks.", "sampler."))]
    data = ["datamodule=folder_segments", "datamodule.root=unused", "datamodule.height=32", "datamodule.width=32"]
    small = [key for key in SEGMENTS if not key.startswith("datamodule")]
    return awake((*settings, *data, *small, *overrides), path)


@pytest.fixture(scope="module")
def lovic(tmp_path_factory):
    return untrained(["experiment=lovic_freedoom", *MEMORY], tmp_path_factory.mktemp("weights") / "lovic.ckpt")


@pytest.fixture(scope="module")
def flexformer(tmp_path_factory):
    return untrained(["experiment=flexformer_freedoom"], tmp_path_factory.mktemp("weights") / "flexformer.ckpt")


def run(program, monkeypatch, walks, output, *arguments):
    """What a program writes, on the walks."""
    data = [
        "datamodule=folder_segments",
        f"datamodule.root={walks}",
        f"datamodule.cache_dir={walks.parent / 'cache'}",
        *(f"datamodule.{key}" for key in ("height=32", "width=32", "num_frames=[25]", "segment_frames=2")),
        *("datamodule.segments_per_row=3", "datamodule.validation_share=0.1", "split=train"),
    ]
    monkeypatch.setattr("sys.argv", [program.__name__, *arguments, *data, f"output={output}"])
    torch.manual_seed(0)  # the untrained codec
    program.main()
    name = program.__name__.split(".")[-1]
    assert (output / f"{name}.md").read_text().startswith("### ")
    return json.loads((output / f"{name}.json").read_text())


def test_an_interval_is_over_groups_and_leaves_out_what_was_not_measured():
    mean, low, high = trained.interval([1.0, 1.0, 3.0, 3.0, math.nan], ["a", "a", "b", "b", "b"])
    assert (mean, low, high) == (2.0, 1.0, 3.0)
    assert trained.interval([2.0] * 5, list("abcde")) == (2.0, 2.0, 2.0)
    assert trained.cell(trained.interval([math.nan], ["a"]), 2) == "-"


def test_latents_share_out_all_pixel_frames():
    spans = [trained.frames_of_latents(k, k + 2, 4) for k in (0, 2, 4)]
    assert [(span.start, span.stop) for span in spans] == [(0, 5), (5, 13), (13, 21)]


def test_weights_are_asked_for():
    request = trained.read_request(["weights=a", "seeds=3", "weights=b", "datamodule.fps=2"], {"seeds": "1"})
    assert request == (["a", "b"], {"seeds": "3"}, ["datamodule.fps=2"])
    with pytest.raises(ValueError, match="no weights: give weights="):
        trained.read_request(["seeds=3"], {"seeds": "1"})


def test_cell_means_lose_nothing_at_rate_one_and_of_what_is_constant_and_more_the_higher_the_rate():
    video = torch.randn(3, 4, 4, 8, 8)
    segments = VideoBatch(video, torch.zeros(3, 4), torch.randn(3, 5, 6), torch.ones(3, 5, dtype=torch.bool))
    torch.testing.assert_close(restored.cell_means(segments, 1).back.video, video)
    flat = segments._replace(video=torch.ones_like(video))
    torch.testing.assert_close(restored.cell_means(flat, 7).back.video, flat.video)
    made = [restored.cell_means(segments, rate) for rate in (2, 4, 16)]
    errors = [float((each.back.video - video).square().mean()) for each in made]
    assert errors == sorted(errors)
    assert [each.tokens for each in made] == [32, 16, 4]


@pytest.mark.slow
def test_a_perfect_compressor_scores_perfectly_and_the_mean_scores_one():
    video, text = torch.randn(4, 4, 4, 8, 8), torch.randn(4, 5, 6)
    segments = VideoBatch(video, torch.zeros(4, 4), text, torch.ones(4, 5, dtype=torch.bool))
    walks = compression.Walks(segments, torch.ones(4, dtype=torch.bool), ["a", "b"], torch.zeros(1, 3, 1, 8, 8), None)
    found = walks.errors(restored.Made(Reconstruction(video, text), 8, 2))
    assert found["nmse"] == [0, 0]
    assert found["text_cosine"] == pytest.approx([1, 1])
    mean = Reconstruction(video.mean().expand_as(video), -text)
    found = walks.errors(restored.Made(mean, 8, 2))
    assert sum(found["nmse"]) / 2 == pytest.approx(1, rel=1e-3)
    assert found["text_cosine"] == pytest.approx([-1, -1])


@pytest.mark.slow
def test_seeds_of_one_model_are_averaged_and_each_is_kept(monkeypatch):
    video, text = torch.randn(4, 4, 4, 8, 8), torch.randn(4, 5, 6)
    segments = VideoBatch(video, torch.zeros(4, 4), text, torch.ones(4, 5, dtype=torch.bool))
    real = torch.zeros(2, 3, 1, 8, 8)
    walks = compression.Walks(segments, torch.ones(4, dtype=torch.bool), ["a", "b"], real, None)
    off = {"exact": 0.0, "off": 1.0}
    monkeypatch.setattr(
        compression,
        "compress",
        lambda which, given, rate: restored.Made(Reconstruction(video * (1 - off[which]), text), 8, 2),
    )
    monkeypatch.setattr(compression.Walks, "decoded", lambda self, video: [10.0 + float(video.abs().max() > 0), 20.0])
    (found,) = compression.measure("both", ["exact", "off"], walks, [8.0])
    assert (found["tokens"], found["numbers"], found["effective_rate"]) == (8, 16, 8)
    worst = found["seeds"]["nmse"][1]
    assert found["seeds"]["nmse"][0] == 0 < worst
    assert found["nmse"][0] == pytest.approx(worst / 2)
    assert found["seeds"]["psnr"] == [15.5, 15.0]
    assert found["psnr"] == (15.25, 10.5, 20.0)
    assert "; seeds 15.5, 15.0" in compression.with_seeds(found, "psnr", 1)


@pytest.mark.slow
def test_compression_by_rate(walks, flexformer, lovic, tmp_path, monkeypatch):
    kind = "FlexFormer joint uniform centre"
    rates, both = "rates=2,4,8", (f"weights={flexformer}", f"weights={lovic}")
    found = run(compression, monkeypatch, walks, tmp_path, *both, "walks=3", "decoded=2", rates)
    assert [(r["model"], r["rate"]) for r in found["records"]] == [
        (name, rate)
        for name in (f"flexformer_freedoom, {kind}, 6 steps", f"lovic_freedoom, {kind}, 6 steps", "cell means")
        for rate in (2, 4, 8)
    ]
    for record in found["records"]:
        assert record["effective_rate"] == 8 / record["tokens"]  # two latent frames of two by two patches
        assert record["nmse"][1] <= record["nmse"][0] <= record["nmse"][2]
        assert 0 < record["psnr"][0] <= found["codec_psnr"][0] + 10
    assert [r["trained"] for r in found["records"][:3]] == [False, True, True]  # 4 to 8
    assert [r["tokens"] for r in found["records"][:3]] == [4, 2, 1]
    assert found["records"][-1]["text_cosine"] == [None] * 3  # cell means hold no text


def test_captions_lose_and_change_the_marines_colour_alone():
    assert [scenes.named_colour(caption) for caption in CAPTIONS] == ["blue", "red", None, "green"]
    assert [scenes.without_colour(caption) for caption in CAPTIONS] == [
        "A marine is walking through a green level.",
        "Third-person view of a marine in a blue level.",
        "First-person view of a blue level.",
        "The camera follows a marine.",
    ]
    assert scenes.with_colour(CAPTIONS[1], "grey") == "Third-person view of a marine in a grey suit in a blue level."
    assert scenes.with_colour(CAPTIONS[3], "red") == "The camera follows a red-suited marine."


def test_colours_kept_lost_and_by_chance():
    colours = torch.tensor([[1, 1, 2, 1, 1], [2, 2, 2, 3, 2], [3, 3, 3, 1, 1]])
    found = colour.judge(colours, range(3), range(3, 5), [1, 2, 0])
    assert found["kept"] == [1.0, 0.5, 0.0]
    assert found["chance"] == [0.0, 0.25, 0.5]
    assert found["worn"] == [1.0, 0.5, 0.0]
    assert found["obeyed"] == pytest.approx([2 / 3, 1.0, 0.0])


def test_every_case_names_the_colour_once_and_leaves_the_shot_where_it_says():
    cast = [("red", "marine", "elsewhere")] * 2
    found = colour.cases(cast, 10)
    assert all([scene.captions[0] for scene in each].count("red") == 1 for each in found.values())
    assert [(s.captions[0], s.start, s.shot) for s in found["cut and return"]] == [
        ("red", 0, 0), ("elsewhere", 0, 1), ("marine", 10, 0),
    ]  # fmt: skip
    assert [len(each) for each in found.values()] == [3, 3, 2, 8]


def test_scenes_are_seen_along_the_shot_or_along_the_take():
    line = [scenes.Scene([""], 0, 0), scenes.Scene([""], 0, 1), scenes.Scene([""], 20, 0)]
    seen = [scenes.remembered(line, 2, other, 10, 8.0) for other in (0, 1)]
    assert [(piece.start, piece.cuts) for piece in seen] == [(-20, 0), (-10, -1)]


@pytest.mark.slow
def test_memory_tells_a_return_what_the_window_cannot(lovic):
    config, module = load_run(lovic)
    rollout, guidance = build(config["rollout"]), build(config["guidance"])
    roller = scenes.Roller(module=module, guidance=guidance, rollout=rollout, text_encoder=build(config["text"]))
    noise = list(torch.randn(3, 2, 4, 2, 4, 4))
    other = [noise[0] + 1, *noise[1:]]
    for start, window_knows in ((2, True), (4, False)):
        line = [scenes.Scene(["a", "b"], 0, 0), scenes.Scene(["c", "d"], 0, 1), scenes.Scene(["", ""], start, 0)]
        for remembers in (True, False):
            one, two = (roller(line, each, remembers=remembers) for each in (noise, other))
            assert torch.equal(one[1], two[1]) == (not remembers)
            assert torch.equal(one[2], two[2]) == (not remembers and not window_knows)
            assert one[2].shape == (2, 4, 2, 4, 4)


@pytest.mark.slow
def test_poses_say_when_a_view_was_last_seen(walks):
    alike = revisits.views_alike(revisits.read_poses(walks / "videos" / "E1M1" / "0.mp4"), revisits.Near(1.0, 5.0))
    assert revisits.last_seen(alike, range(13, 21), [range(13)]) == [11, 10, 9, 8, 7, 6, 5, 4]
    assert revisits.last_seen(alike, range(13, 21), [range(5), range(18, 25)]) == [-1] * 7 + [4]
    target = revisits.choose_target(alike, 3, 2, 4, least_age=10, most=2, ends=False)
    assert (target.choice.target, target.choice.known, target.first) == (2, [0, 1], 13)
    assert target.last_seen == [11, 10, 9, 8, 7, 6, 5, 4]
    between = revisits.choose_target(alike, 3, 2, 4, least_age=1, most=2, ends=True)
    assert (between.choice.target, between.choice.known) == (1, [0, 2])
    turned = revisits.views_alike(torch.tensor([[0, 0, 359.0], [0, 0, 2.0], [0, 0, 180.0]]), revisits.Near(1.0, 5.0))
    assert turned.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    with pytest.raises(ValueError, match="has no poses in"):
        revisits.read_poses(walks / "videos" / "E1M1" / "9.mp4")


@pytest.mark.slow
def test_recall(walks, lovic, tmp_path, monkeypatch):
    small = ("takes=3", "walks=2", "seeds=1", "steps=2", "rate=2", "least_age=4", "distance=5")
    found = run(recall, monkeypatch, walks, tmp_path, f"weights={lovic}", *small)[str(lovic)]
    assert {(r["case"], r["context"]) for r in found["colour"]} >= {
        (case, context) for case in colour.cases([("", "", "")], 2) for context in ("memory", "window only")
    }
    assert all(len(r["values"]["kept"]) == 3 for r in found["colour"] if r["context"] != "real walks")
    assert sum(r["context"] == "real walks" for r in found["colour"]) == 1  # the walks have no eighth segment
    for task, count in (("prediction", 2 * 8), ("interpolation", 2 * 8)):
        records = found[f"revisits, {task}"]
        assert len(records) == count
        assert all((r["age"] > 0) == (r["earlier frame"] is not None) for r in records)
        assert any(r["memory"] != r["window only"] for r in records)
        seen = [r for r in records if r["age"] > 0]
        # A square that comes back to where it was looks as it did, as far as mp4 tells.
        assert all(r["earlier frame"] > r["memory"] for r in seen)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prediction", "gap_retrodiction"])
def test_the_clean_canvas_holds_what_is_known_and_the_target(lovic, name):
    _, module = load_run(lovic)
    batch = segments()
    task = fixed_task(name, batch, module.tasks)
    wide = memory_gain.full_canvas(task, batch)
    known = [slot in {"prediction": (0, 1, 2), "gap_retrodiction": (3, 4)}[name] for slot in range(5)]
    known = [slot == 2 or known[slot] for slot in range(5)] if name == "prediction" else [0, 0, 1, 0, 1]
    assert wide.frame_mask[0].tolist() == [bool(holds) for holds in known for _ in range(2)]
    assert wide.own.tolist() == [False] * 4 + [True] * 2 + [False] * 4
    assert torch.equal(wide.video[:, :, wide.own], batch.video[:, 2])
    assert not wide.video[:, :, ~wide.frame_mask[0]].any()
    assert torch.equal(wide.video[:, :, :2], batch.video[:, 0] * known[0])


def segments(rows=2, slots=5):
    index = torch.arange(2.0 * slots).view(slots, 2).expand(rows, -1, -1)
    return SegmentBatch(
        video=torch.randn(rows, slots, 4, 2, 4, 4),
        frame_index=index,
        text=torch.zeros(rows, slots, 1, 1),
        text_mask=torch.zeros(rows, slots, 1, dtype=torch.bool),
        shot=torch.zeros(rows, slots, dtype=torch.long),
        valid=torch.ones(rows, slots, dtype=torch.bool),
    )


@pytest.mark.slow
@pytest.mark.parametrize("program", [memory_gain, recall])
def test_weights_without_a_memory_are_refused(program, walks, flexformer, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="were not trained with a memory: give those of lovic or vin_lovic"):
        run(program, monkeypatch, walks, tmp_path, f"weights={flexformer}")


@pytest.mark.slow
def test_the_hybrid_is_measured_alike(walks, tmp_path, monkeypatch):
    chunks = ["network.window.chunk_frames=2", "network.window.train_local_frames=1", "network.window.local_frames=1"]
    small = ["interface.num_tokens=4", "interface.depth=1", "experiment=vin_lovic_freedoom"]
    weights = untrained([*small, *chunks, *MEMORY], tmp_path / "hybrid.ckpt")
    found = run(
        memory_gain, monkeypatch, walks, tmp_path, f"weights={weights}", "tasks=prediction", "rates=4", "times=0.9"
    )
    means = [record["loss"][0] for record in found[str(weights)]["records"][:2]]
    assert means[0] != means[1]
    assert all(math.isfinite(record["loss"][0]) for record in found[str(weights)]["records"])
    small = ("takes=2", "walks=1", "steps=1", "rate=2", "least_age=4", "distance=5")
    made = run(recall, monkeypatch, walks, tmp_path, f"weights={weights}", *small)[str(weights)]
    assert any(record["memory"] != record["window only"] for record in made["revisits, prediction"])


@pytest.mark.slow
def test_memory_gain(walks, lovic, tmp_path, monkeypatch):
    tasks = "tasks=prediction,windowless_retrodiction,gap_prediction"
    small = (tasks, "walks=3", "rates=1,4", "times=0.5,0.9", "seeds=2")
    found = run(memory_gain, monkeypatch, walks, tmp_path, f"weights={lovic}", *small)[str(lovic)]
    branch = ["low resolution alone, rate 1", "low resolution alone, rate 4"]
    kinds = ["window only", "rate 1", "rate 4", *branch, "clean canvas"]
    by = {(r["task"], r["condition"]): r for r in found["records"]}
    assert list(by) == [
        *(("prediction", kind) for kind in kinds),
        *(("windowless_retrodiction", kind) for kind in kinds[:5]),
        *(("gap_prediction", kind) for kind in kinds),
    ]
    alone = {task: by[task, "window only"] for task in ("prediction", "windowless_retrodiction", "gap_prediction")}
    assert alone["prediction"]["gain"][0] == 0
    # Without memory the two tasks without a window know the same: nothing but the text.
    assert alone["windowless_retrodiction"]["loss"] == alone["gap_prediction"]["loss"]
    assert alone["prediction"]["loss"] != alone["gap_prediction"]["loss"]
    for (task, kind), record in by.items():
        assert record["loss"][0] == pytest.approx(alone[task]["loss"][0] - record["gain"][0])
        assert record["loss"][0] == pytest.approx(sum(record["loss_by_time"].values()) / 2)
        assert kind == "window only" or task == "gap_prediction" or record["gain"][0] != 0
        if kind in branch and task == "prediction":  # these weights are awake: FlexFormer adds to the branch
            assert record["loss"] != by[task, kind.removeprefix("low resolution alone, ")]["loss"]
