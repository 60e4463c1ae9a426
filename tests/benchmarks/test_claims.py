"""The comparison of methods: settings that compose, videos made once, differences that are paired, verdicts."""

import json
from functools import partial

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pictures import MeanColour

from benchmarks import ROOT, claims
from benchmarks.claiming import comparison, cost, videos
from benchmarks.claiming.methods import METHODS, Size, choose, compose_here, config_of, weights_of
from benchmarks.claiming.tables import claim_sheet, method_sheet
from benchmarks.setups import compose_config
from datamodules.tables import Entry
from longtake.cli.changes import changes_of, with_changes
from longtake.metrics.frame_difference import SeamScore, TemporalFlicker
from longtake.metrics.frechet import FrechetFrameDistance
from longtake.releases.reading import read_run
from longtake.reports.scorer import Scorer
from longtake.video import read_frames, write_video

VIN = ROOT / "weights" / "vin_freedoom_64"
SIZE = Size(157, 20)
WALKS = ["real", "real_decoded", "real_blurred"]


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """Folders that read_run takes for releases; those of LoViC hold a config alone."""
    found = {"vin": str(VIN)}
    for name, experiment in (("lovic", "lovic_freedoom"), ("hybrid", "vin_lovic_freedoom")):
        folder = tmp_path_factory.mktemp("weights") / experiment
        (folder / "network").mkdir(parents=True)
        (folder / "network" / "diffusion_pytorch_model.safetensors").touch()
        cfg = compose_config((f"experiment={experiment}", f"paths.root_dir={ROOT}", "paths.run_dir=."))
        cfg.pretrained = None
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
        found[name] = str(folder)
    return found


COMPOSED = {}


def merged(name, releases):
    """generate.py's config of a method, and the weights' config with its changes; composed once."""
    if name not in COMPOSED:
        texts = ['A place, with "walls" = {grey}']
        weights = weights_of(METHODS[name], releases)
        cfg = config_of(METHODS[name], SIZE, weights=weights, output="out", seed=3, prompts=texts)
        assert (list(cfg.prompt), cfg.seed) == (texts, 3)
        COMPOSED[name] = cfg, with_changes(read_run(cfg.weights)[0], changes_of(cfg))
    return COMPOSED[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_composes_and_its_parts_are_built(name, releases):
    cfg, config = merged(name, releases)
    with torch.device("meta"):
        network = instantiate(config["network"])
    rollout = instantiate(config["rollout"])
    sampler, guidance = instantiate(config["sampler"]), instantiate(config["guidance"])
    assert (sampler.num_inference_steps, guidance.scales) == (20, {"text": 1.5})
    assert sampler is not None
    assert callable(rollout)
    if cfg.without is not None:
        assert cfg.without in network.ablations
    assert 0 < cost.video_tflop(cfg) < 2


@pytest.mark.slow
def test_what_is_shipped_is_what_the_names_say(releases):
    network = merged("vin", releases)[1]["network"]
    assert (network["fusion"], network["local_frames"], network["chunk_frames"]) == ("early", 6, 10)
    assert network["interface"]["keyframe_seconds"] == 1.0
    assert merged("vin_fusion_late", releases)[1]["network"]["fusion"] == "late"
    assert merged("vin_local_4", releases)[1]["network"]["local_frames"] == 4
    dense = merged("vin_keyframes_0.2", releases)[1]["network"]["interface"]
    assert dense["keyframe_seconds"] == 0.2
    assert instantiate(dense).keyframes(7, torch.device("cpu")).tolist() == list(range(7))


def test_names_are_chosen_or_refused():
    assert [method.name for method in choose("full,vin,vin_local_6")] == ["full", "vin"]
    assert [method.name for method in choose("all")] == list(METHODS)
    with pytest.raises(
        ValueError, match=r"methods=vim is unknown: use all, or some of vin, .*hybrid, vin_fusion_early"
    ):
        choose("vin,vim")


@pytest.mark.slow
def test_flops_of_a_video_without_tokens_are_fewer():
    shared = [f"weights={VIN}", "num_frames=77", "output=none"]
    whole, without = (
        cost.video_tflop(compose_here("generate", [*shared, *more])) for more in ((), ("without=global_tokens",))
    )
    assert 0 < without < whole


def test_boundaries_of_merged_windows_lie_where_a_window_ends():
    line = {"rollout": {"window_frames": 10, "overlap_frames": 4}, "num_frames": 77, "boundaries": []}
    assert videos.boundaries_of(line) == [37, 61]  # latents 0-9, 6-15, 10-19
    assert videos.boundaries_of({"rollout": {}, "boundaries": [5]}) == [5]


def fake_videos(calls):
    def make(cfg, write):
        calls.append(list(cfg.prompt))
        lines = []
        for number, prompt in enumerate(cfg.prompt):
            noise = torch.rand(3, 9, 16, 16, generator=torch.Generator().manual_seed(cfg.seed + number)) * 2 - 1
            write(videos.Path(cfg.output) / f"{number:03d}.mp4", [noise], fps=8.0)
            line = {"file": f"{number:03d}.mp4", "prompt": prompt, "boundaries": [5], "seconds": 2.0, "rollout": {}}
            lines.append(json.dumps(line) + "\n")
        (videos.Path(cfg.output) / "manifest.jsonl").write_text("".join(lines))

    return make


@pytest.mark.slow
def test_finished_videos_are_not_made_again(tmp_path, monkeypatch, releases):
    calls = []
    monkeypatch.setattr(videos, "make_videos", fake_videos(calls))
    folder, key = tmp_path / "vin" / "seed_0", {"prompts": ["a"]}
    left = tmp_path / "vin" / "seed_0.part" / "001.mp4"  # of a run that was killed
    left.parent.mkdir(parents=True)
    left.touch()
    cfg = config_of(METHODS["vin"], SIZE, weights=VIN, output=folder, seed=0, prompts=["a"])
    assert videos.make_once(cfg, folder, key)
    assert sorted(p.name for p in folder.iterdir()) == ["000.mp4", "manifest.jsonl", "request.json"]
    assert not videos.make_once(cfg, folder, key)
    assert videos.make_once(cfg, folder, {"prompts": ["b"]})
    assert len(calls) == 2
    assert not left.parent.exists()


def walks_in(folder, count):
    found = []
    for number in range(count):
        path = folder / f"L{number}" / "walk.mp4"
        write_video(path, [torch.full((3, 12, 64, 64), number / count)], fps=8.75)
        found.append(videos.Walk(Entry(path, f"A place number {number}", "test"), f"L{number}"))
    return found


@pytest.mark.slow
def test_scores_are_rows_by_seed_and_prompt(tmp_path, monkeypatch):
    from longtake.cli.videos import read_clip

    walks = walks_in(tmp_path, 2)
    videos.keep_real(walks, tmp_path / "real", 9)
    metrics = {"seam": SeamScore(), "temporal_flicker": TemporalFlicker()}
    monkeypatch.setattr(videos, "ROWS", tuple(metrics))
    monkeypatch.setattr(videos, "CHUNK", 2)
    scorer = Scorer(metrics=metrics, read_video=lambda p: read_clip(p, short_side=64), kept=tmp_path / "s", settings={})
    records = videos.score(scorer, tmp_path / "real", walks, 4)
    assert [(r["seed"], r["prompt"], r["group"]) for r in records] == [(4, 0, "L0"), (4, 1, "L1")]
    assert records[1]["values"]["temporal_flicker"] == pytest.approx(1, abs=0.01)
    stamp = (tmp_path / "real" / "000.mp4").stat().st_mtime_ns
    videos.keep_real(walks, tmp_path / "real", 9)
    assert (tmp_path / "real" / "000.mp4").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_a_walk_that_is_too_short_is_read_as_far_as_it_goes(tmp_path, caplog):
    walks = walks_in(tmp_path, 1)  # of 12 frames, of which 9 are whole latents
    with caplog.at_level("WARNING", logger="longtake"):
        videos.keep_real(walks, tmp_path / "real", 13)
    assert "9 frames of 13" in caplog.text
    assert len(read_frames(tmp_path / "real" / "000.mp4", height=64, width=64, fps=0, crop_place=0.5)) == 9


def sampler(kept, num_frames):
    from longtake.cli.videos import read_clip

    metric = FrechetFrameDistance(features=MeanColour(), frames_per_video=3)
    read = partial(read_clip, short_side=64)
    return Scorer(metrics={videos.FRAMES: metric}, read_video=read, kept=kept, settings={})


COUNTED = {}


def tflop_once(cfg):
    """As `cost.video_tflop` has it, counted once for the same video of other words and another seed."""
    key = str({**OmegaConf.to_container(cfg), "output": "", "prompt": "", "seed": 0})
    if key not in COUNTED:
        COUNTED[key] = cost.video_tflop(cfg)
    return COUNTED[key]


@pytest.fixture
def comparing(tmp_path, monkeypatch):
    """`claims.main` with fake videos; scores: by method and prompt."""
    calls, walks = [], walks_in(tmp_path, 5)

    def score(scorer, folder, walks, seed):
        shift = {"vin": 1.0, "full": 0.0}.get(folder.parent.name, 0.5)
        values = [{"mawe": 2 * n - shift + 0.1 * seed, "seam": None, "seconds": 3.0 + seed} for n in range(len(walks))]
        return [{"seed": seed, "prompt": n, "group": walks[n].group, "values": v} for n, v in enumerate(values)]

    monkeypatch.setattr(videos, "make_videos", fake_videos(calls))
    monkeypatch.setattr(claims, "choose_walks", lambda split, count, overrides: walks[:count])
    monkeypatch.setattr(comparison, "make_scorer", lambda kept: None)
    monkeypatch.setattr(comparison, "make_sampler", sampler)
    monkeypatch.setattr(comparison, "score", score)
    monkeypatch.setattr(comparison, "video_tflop", tflop_once)
    monkeypatch.setattr(
        comparison.Comparison, "hashes_of", lambda self, method: {"weights_hash": "h" + self.options["vin"][-1]}
    )

    def run(*arguments, vin=VIN):
        fixed = ["videos=5", "seeds=0", "num_frames=9", "steps=2", f"vin={vin}", f"lovic={tmp_path / 'none'}"]
        paths = [f"hybrid={tmp_path / 'none'}", f"folder={tmp_path / 'videos'}", f"output={tmp_path / 'results'}"]
        claims.main([*fixed, *paths, *arguments])
        return json.loads((tmp_path / "results" / "claims_9_frames.json").read_text())

    return run, calls


@pytest.mark.slow
def test_runs_add_to_what_is_there(comparing, capsys):
    run, calls = comparing
    first = run("methods=vin,lovic")
    assert [record["method"] for record in first["methods"]] == [*WALKS, "vin"]
    assert first["skipped"] == ["lovic", "lovic_window_only", "hybrid"]
    assert len(calls) == 1
    both = run("methods=full", "seeds=0,1")
    assert [len(record["videos"]) for record in both["methods"]] == [5, 5, 5, 5, 10]
    assert len(calls) == 3
    assert {c["paper"] for c in both["claims"] if c["verdict"] == "not measured"} == set()
    claim = next(c for c in both["claims"] if c["claim"] == "vin: MAWE lower than full")
    assert claim["difference"] == pytest.approx([-1, -1, -1])  # of seed 0, which both have
    assert (claim["verdict"], claim["ours"]) == ("holds", "3.00 against 4.00")
    assert [{"kid", "likeness"} <= set(record["rows"]) for record in both["methods"]] == [False, *[True] * 4]
    assert claim["real"] == pytest.approx(3.5)
    again = run("methods=full,vin", "seeds=0,1")
    assert len(calls) == 4  # vin's second seed alone
    full = next(record for record in again["methods"] if record["method"] == "full")
    assert (full["seconds"], full["weights"]) == (3.5, "weights/vin_freedoom_64")
    assert full["rows"]["mawe"][0] == pytest.approx(4.05)
    assert "seam" not in full["rows"]
    assert "vin: MAWE" in capsys.readouterr().out


@pytest.mark.slow
def test_a_further_walk_says_what_nearness_can_be_had(comparing, tmp_path, monkeypatch):
    walks = walks_in(tmp_path, 5)
    pairs = [walk._replace(other=walks[(number + 2) % 5].entry) for number, walk in enumerate(walks)]
    monkeypatch.setattr(claims, "choose_walks", lambda split, count, overrides: pairs)
    real, *_, vin = comparing[0]("methods=vin")["methods"]
    assert {"kid", "likeness"} <= set(real["rows"])
    assert abs(real["rows"]["kid"][0]) < vin["rows"]["kid"][0]  # grey walks beside grey ones, and coloured noise
    folders = sorted(path.name for path in (tmp_path / "videos" / "9").iterdir())
    assert folders == sorted([*WALKS, "real_beside", "scores", "vin"])


@pytest.mark.slow
def test_other_lengths_are_refused_and_other_weights_dropped(comparing, tmp_path):
    run, _ = comparing
    run("methods=vin,full")
    with pytest.raises(ValueError, match=r"claims_9_frames.json holds results of steps=2, not 3: give another output"):
        run("methods=vin", "steps=3")
    with pytest.raises(ValueError, match="holds results of videos=5, not 4"):
        run("methods=vin", "videos=4")
    other = tmp_path / "other"
    other.symlink_to(VIN)
    assert [record["method"] for record in run("methods=vin", vin=other)["methods"]] == [*WALKS, "vin"]


@pytest.mark.slow
def test_short_captions_are_asked_for_and_kept_apart(comparing, tmp_path, monkeypatch):
    walks = walks_in(tmp_path, 5)
    run, calls = comparing
    run("methods=vin")
    with pytest.raises(ValueError, match=r"captions=short: .* has no text in the table's column short_text"):
        run("methods=vin", "captions=short")
    silent = [walk._replace(entry=walk.entry._replace(short_caption=f"walk {n}")) for n, walk in enumerate(walks)]
    monkeypatch.setattr(claims, "choose_walks", lambda split, count, overrides: silent)
    before = run("methods=vin", "captions=short")  # the file of full captions, as it was
    found = json.loads((tmp_path / "results" / "claims_9_frames_short_captions.json").read_text())
    assert found["request"]["prompts"] == [f"walk {n}" for n in range(5)]
    assert before["request"]["prompts"] == [walk.entry.caption for walk in walks]
    assert len(calls) == 2
    assert (tmp_path / "videos_short_captions" / "9" / "vin").is_dir()
    assert "short prompts, silent" in (tmp_path / "results" / "claims_9_frames_short_captions.md").read_text()


@pytest.mark.parametrize("argument", ["videos=0", "steps=many", "seeds=a", "captions=none"])
def test_wrong_numbers_are_refused(argument):
    with pytest.raises(ValueError, match=argument):
        claims.read_options([argument])


@pytest.mark.slow
def test_tables_have_a_cell_for_every_head(comparing):
    results = comparing[0]("methods=vin,full")
    for sheet in (method_sheet(results), claim_sheet(results)):
        assert {len(row) for row in sheet.rows} == {len(sheet.heads)}
    assert "Skipped, as their weights are not there: lovic, lovic_window_only, hybrid." in method_sheet(results).notes
