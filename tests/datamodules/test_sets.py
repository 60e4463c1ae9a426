"""Several sets, sizes and ways to cut films in one training."""

import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clips import Mean, Words
from films import film, grey

from datamodules.extraction import Extraction, cuts
from datamodules.mixing import CYCLE, MixedPlan
from datamodules.sampling import Draw
from datamodules.sets import SetsDataModule
from datamodules.shapes import nearest, shapes_of


def module(root, cache, **changes):
    settings = {
        "codec": Mean(), "text_encoder": Words(), "global_batch_size": 2, "batch_size": 2, "seed": 0, "make": None,
        "root": str(root), "table": None, "height": 16, "width": 16, "fps": 10, "num_frames": [5, 9],
        "hop_frames": 4, "cut_frames": None, "crop": "centre", "pixels": False, "cache_dir": str(cache),
        "cache_dtype": "float32", "validation_share": 0.3, "num_validation_clips": 4, "num_workers": 0,
        "short_caption_share": 0.0, "frame_stride": None, "sizes": [], "frame_extraction": "all",
        "clips_per_film": 3, "sets": {},
    }  # fmt: skip
    return SetsDataModule(**{**settings, **changes})


def ready(*places, step=0, **changes):
    data = module(*places, **changes)
    data.trainer = SimpleNamespace(
        global_step=step, accumulate_grad_batches=1, global_rank=0, world_size=1, num_nodes=1
    )
    data.prepare_data()
    data.setup("fit")
    return data


def drawn(data, count):
    return list(itertools.islice(data.train_dataloader(), count))


def greys_from(first):
    """Another film for each first grey: copies would count as one."""
    return lambda number, *size: grey(first + number, *size)


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(5):
            film(tmp_path / name / f"{number}.mp4", 20 if name == "a" else 12, picture=greys_from(number))
            (tmp_path / name / f"{number}.txt").write_text(name * (number + 1))
    return tmp_path


@pytest.mark.parametrize(
    ("way", "starts"),
    [
        ("all", [[0, 1, 2, 3], [0], []]),
        ("chunks", [[0, 3], [0], []]),
        ("head", [[0], [0], []]),
        ("uniform", [[0, 2, 4], [0, 1], []]),
    ],
)
def test_clips_are_taken_as_asked(way, starts):
    """Films of 7, 4 and 2 latents, clips of 3; hop_frames is five pixel frames."""
    rows, held = np.array([7, 4, 2]), np.array([3, 3, 3])
    taken = cuts(Extraction(way, 3), rows, held, hop_frames=5, time_factor=4)
    found = [taken.start[taken.film == number].tolist() for number in range(3)]
    assert found == starts
    assert ((taken.start + taken.slack + 3) <= rows[taken.film]).all()
    if way == "all":  # every latent can be seen
        seen = {number: set() for number in range(2)}
        for number, start, slack in zip(taken.film, taken.start, taken.slack, strict=True):
            seen[int(number)] |= set(range(start, start + slack + 3))
        assert seen == {0: set(range(7)), 1: set(range(4))}


@pytest.mark.parametrize("hop_frames", [1, 2, 3, 4])
def test_clips_that_start_together_begin_no_earlier_than_they_start(hop_frames):
    taken = cuts(Extraction("all"), np.array([7, 4]), np.array([3, 3]), hop_frames=hop_frames, time_factor=4)
    assert taken.slack.min() >= 0
    places = [range(start, start + slack + 1) for start, slack in zip(taken.start, taken.slack, strict=True)]
    assert {*itertools.chain.from_iterable(places)} == {0, 1, 2, 3, 4}


def test_a_plan_of_plans_has_its_shares_and_no_state():
    def counting(name):
        return SimpleNamespace(draw=lambda number: Draw(5, [(name, number)]))

    def plan():
        return MixedPlan(plans=[counting(name) for name in "abc"], shares=[0.7, 0.299, 0.001], seed=3)

    whole = [plan().draw(number) for number in range(5)]
    mixed = plan()
    run = [mixed.draw(number).clips[0] for number in range(2 * CYCLE)]
    assert [each.clips[0] for each in whole] == run[:5]
    assert Counter(number for number, _ in run) == {0: 1400, 1: 598, 2: 2}
    for number, name in enumerate("abc"):  # each plan's batches come in order, every one once
        own = [item for plan_number, item in run if plan_number == number]
        assert own == [(name, place) for place in range(len(own))]
    backwards = plan()
    assert [backwards.draw(number).clips[0] for number in reversed(range(2 * CYCLE))] == run[::-1]


def test_sets_are_drawn_by_their_shares(folders):
    sets = {"rides": {"root": str(folders / "b"), "share": 0.25, "num_frames": [5]}}
    data = ready(folders / "a", folders / "cache", sets=sets)
    assert data.shares(data.used) == [0.75, 0.25]
    lengths = Counter()
    plan = data.train_dataloader().dataset.plan
    for number in range(CYCLE):
        lengths[plan.draw(number).clips[0][0]] += 1
    assert lengths == {0: 750, 1: 250}
    assert all(batch.video.shape[0] == 2 for batch in drawn(data, 6))


def test_repeats_count_clips_so_often(folders):
    sets = {"rides": {"root": str(folders / "b"), "repeats": 3.0}}
    data = ready(folders / "a", folders / "cache", sets=sets)
    counts = [len(part.clips["train"]) for part in data.used]
    assert data.shares(data.used) == pytest.approx(np.array(counts) * [1, 3] / (counts[0] + 3 * counts[1]))


def test_a_run_that_goes_on_sees_the_batches_it_would_have_seen(folders):
    sets = {"rides": {"root": str(folders / "b"), "repeats": 2.0}}
    whole = drawn(ready(folders / "a", folders / "cache", sets=sets), 8)
    later = drawn(ready(folders / "a", folders / "cache", sets=sets, step=5), 3)
    for one, other in zip(whole[5:], later, strict=True):
        assert torch.equal(one.video, other.video)
        assert torch.equal(one.text, other.text)


def test_a_film_of_two_sets_is_in_one_split(folders):
    sets = {"again": {"root": str(folders / "a")}}
    for seed in range(3):
        data = ready(folders / "a", folders / "cache", sets=sets, seed=seed)
        train, validation = ({clip.entry.film for clip in data.clips[name]} for name in ("train", "validation"))
        assert train
        assert validation
        assert not train & validation


def test_films_go_to_the_size_of_their_aspect(tmp_path):
    (tmp_path / "films").mkdir()
    for name, size in (("wide", (32, 64)), ("tall", (64, 32)), ("square", (48, 48)), ("wider", (32, 80))):
        for number in range(3):
            film(tmp_path / "films" / f"{name}_{number}.mp4", 12, size=size, picture=greys_from(number))
    data = ready(tmp_path / "films", tmp_path / "cache", sizes=[[16, 32], [32, 16], [16, 16]], num_frames=[5])
    dealt = [{entry.path.stem.partition("_")[0] for entry in part.given} for part in data.used]
    assert dealt == [{"wide", "wider"}, {"tall"}, {"square"}]
    shapes = {tuple(batch.video.shape[-2:]) for batch in drawn(data, 60)}
    assert shapes == {(2, 4), (4, 2), (2, 2)}
    assert data.validation_captions() == [""]
    assert len(list(data.val_dataloader())) >= 1


def test_shapes_are_remembered_by_what_a_film_is(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", 3, size=(32, 64))
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    paths = [path, tmp_path / "broken.mp4", tmp_path / "missing.mp4"]
    assert shapes_of(paths, str(tmp_path / "cache")) == [(32, 64), None, None]
    path.rename(tmp_path / "b.mp4")
    monkeypatch.setattr("datamodules.shapes.probe", lambda film: pytest.fail("looked at again"))
    assert shapes_of([tmp_path / "b.mp4"], str(tmp_path / "cache")) == [(32, 64)]
    assert [nearest(shape, [(16, 32), (32, 16)]) for shape in ((9, 16), (16, 9), None)] == [0, 1, 0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sets": {"b": {"rot": "x"}}}, r"datamodule\.sets\.b\.rot is no setting of a set"),
        ({"sets": {"b": {"repeats": 2}}}, r"datamodule\.sets\.b: give it a root"),
        ({"sets": {"b": {"root": "x", "share": 1.0}}}, "shares come to 1"),
        ({"sizes": [[16]]}, r"datamodule\.sizes=\[\[16\]\]: give \[height, width\]"),
        ({"sizes": [[16, 17]]}, "17"),
    ],
)
def test_wrong_sets_are_refused(tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        module(tmp_path, tmp_path / "cache", **changes)
