"""One cache of several users, processes, machines and places; what it holds for other programs to read."""

import functools
import itertools
import logging
import multiprocessing
import os
import signal
import stat
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import forked
import pytest
import torch
from test_video_datamodule import Mean, Words, module, ready
from test_videos import make

from datamodules.caching.portions import Portion, portion_from
from datamodules.caching.texts import TextCache, text_key
from datamodules.caching.words import in_bytes, in_time
from datamodules.caching.work import MissingCache, lacking

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        make(tmp_path / f"{number}.mp4", 10 + 3 * number, height=16, width=16)
        (tmp_path / f"{number}.txt").write_text("word " * number)
    return tmp_path


def latents(data):
    """Every film's whole encoding by its name."""
    clips = (clip for clip in data.cache.clips(data.entries()) if clip.start == 0)
    return {clip.entry.path.stem: data.cache.films.read(clip.film) for clip in clips}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Every frame is seen


@pytest.mark.parametrize(("frames", "lengths", "hop"), [(100, [49, 101, 205], 52), (76, [37, 77], 80), (25, [5], 8)])
def test_two_passes_show_every_frame_of_a_film_even_just_short_of_a_length(tmp_path, frames, lengths, hop):
    for number in range(2):
        make(tmp_path / f"{number}.mp4", frames, height=16, width=16)
    data = ready(tmp_path, num_frames=lengths, hop_frames=hop, global_batch_size=1, batch_size=1)
    stored = (frames - 1) // 4 + 1
    drawn = len(data.clips["train"]) * len([length for length in lengths if length <= frames])
    seen = [set(batch.frame_index[0].int().tolist()) for batch in itertools.islice(data.train_dataloader(), 2 * drawn)]
    assert set().union(*seen) == set(range(stored))
    later = [batch.frame_index[0, 0] for batch in itertools.islice(data.train_dataloader(), 40)]
    assert len(set(later)) > 2 or stored == (lengths[0] - 1) // 4 + 1


def test_a_latent_is_stored_once_whatever_clips_overlap(folder):
    data = ready(folder, hop_frames=1)
    stored = sum(len(rows) for rows in latents(data).values())
    assert sum(path.stat().st_size for path in data.cache.folder.glob("*.tar")) <= 6 * 3 * 512 + stored * 3 * 2 * 2 * 4
    assert len(data.cache.clips(data.entries())) > stored


# Users and rights


@pytest.mark.parametrize(("mask", "expected"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_rights_that_the_umask_leaves(folder, mask, expected):
    before = os.umask(mask)
    try:
        ready(folder)
    finally:
        os.umask(before)
    files = [path for path in (folder / "cache").rglob("*") if path.is_file()]
    assert len(files) == 6  # tar and index of films and of texts, names, settings
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {expected}


def as_nobody(action):
    """In a process of another user."""
    child = os.fork()
    if not child:
        os.setgid(65534)
        os.setuid(65534)
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def reached(path):
    """Other users may pass through the folders above."""
    for parent in path.parents:
        if parent.owner() == "root" and parent != Path(parent.anchor):
            parent.chmod(parent.stat().st_mode | 0o055)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("rights", ["shared", "read only"])
def test_a_second_user_encodes_nothing_again_and_changes_nothing(folder, rights):
    data = ready(folder)
    kept = latents(data)
    reached(folder / "cache")
    for path in [folder, *folder.rglob("*")]:
        path.chmod((0o777 if rights == "shared" else 0o755) if path.is_dir() else 0o644)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    def second():
        calls = Mean.calls
        own = ready(folder)
        assert same(latents(own), kept)
        assert next(iter(own.train_dataloader())).video.isfinite().all()
        assert Mean.calls == calls

    assert as_nobody(second) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before

    if rights == "shared":  # and may add to it
        make(folder / "9.mp4", 9, height=16, width=16)
        assert as_nobody(lambda: ready(folder)) == 0
        assert len(ready(folder).cache.films) == 7


def read_only(folder):
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user than the tests' own")
def test_a_read_only_cache_that_lacks_something_says_whose_turn_it_is(folder):
    ready(folder)
    reached(folder / "cache")
    read_only(folder / "cache")
    make(folder / "9.mp4", 9, height=16, width=16)

    def second():
        with pytest.raises(ValueError, match=r"may only be read, and 1 films are left.*cache_dir=…"):
            ready(folder)

    assert as_nobody(second) == 0


# Several writers


def fill_half(folder, rank, barrier):
    torch.set_num_threads(1)
    barrier.wait()
    data = module(folder)
    data.fill(Portion(rank, 2))


@pytest.mark.slow
@pytest.mark.parametrize("portions", [(0, 1), (0, 0)], ids=["shares", "the same"])
def test_two_processes_fill_one_cache(folder, portions):
    """With shares each film once; and whatever they do, all that one would have made."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    both = [context.Process(target=fill_half, args=(folder, rank, barrier)) for rank in portions]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    data = module(folder)
    films = (folder / "cache").glob("[0-9a-f]*/*.jsonl")
    lines = sum(len(path.read_text().splitlines()) for path in films if path.parent.name != "films")
    if portions == (0, 1):
        assert lines == 6
        assert data.cache.missing(data.entries()) == []
    assert same(latents(ready(folder)), latents(ready(folder, cache_dir=str(folder / "alone"))))


def add_text(folder, caption, barrier):
    barrier.wait()
    TextCache(folder, 2).fill([caption], Words().encode)


@pytest.mark.slow
def test_two_runs_add_to_one_text_cache_and_lose_nothing(tmp_path):
    old = [f"old {number}" for number in range(300)]
    TextCache(tmp_path, 2).fill(old, Words().encode)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    context = multiprocessing.get_context("fork")
    for trial in range(3):
        barrier = context.Barrier(2)
        captions = [f"caption {trial} of {name}" for name in "AB"]
        both = [context.Process(target=add_text, args=(tmp_path, caption, barrier)) for caption in captions]
        for process in both:
            process.start()
        for process in both:
            process.join(60)
        texts = TextCache(tmp_path, 2)
        assert texts.missing([*old, *captions]) == []
    assert before == {path: path.stat().st_mtime_ns for path in before}  # nothing is written anew


class Unwell(Words):
    """An encoder whose numbers are none, or too large for half precision."""

    def __init__(self, value):
        self.value = value

    def encode(self, captions):
        features, mask = super().encode(captions)
        return features * 0 + self.value, mask


def test_features_that_are_no_numbers_are_refused_where_they_are_stored_and_where_they_are_read(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"features of the caption 'a place' are beyond float16") as caught:
        TextCache(tmp_path, 2).fill(["a place"], Unwell(1e6).encode)
    assert "\n" not in str(caught.value)
    texts = TextCache(tmp_path, 2)
    assert texts.missing(["a place"]) == ["a place"]  # nothing half is left behind
    monkeypatch.setattr("datamodules.caching.texts._stored", lambda features, caption: features.half())
    texts.fill(["a place"], Unwell(float("nan")).encode)  # as versions before did
    with pytest.raises(ValueError, match=r"\.tar, which holds the features of .*: remove it, and the next") as caught:
        texts.read("a place")
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    Path(str(caught.value).split(",")[0]).unlink()
    texts = TextCache(tmp_path, 2)
    texts.fill(["a place"], Words().encode)
    assert texts.read("a place").isfinite().all()


KILLED = """
import os, signal, sys
sys.path[:0] = [{root!r}, {tests!r}, {tests!r} + "/datamodules"]
from test_video_datamodule import Words
from datamodules.caching.texts import TextCache
done = []
def encode(captions):
    done.append(captions)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return Words().encode(captions)
TextCache({folder!r}, 2).fill([f"caption {{n}}" for n in range(300)], encode)
"""


def test_a_killed_run_keeps_the_captions_that_it_had(tmp_path):
    script = KILLED.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(tmp_path))
    assert forked.run(["-c", script], cwd=tmp_path).returncode == -9
    assert len(TextCache(tmp_path, 2).missing([f"caption {n}" for n in range(300)])) == 300 - 128


class Killer(Mean):
    """Ends its process, as a scheduler does, within the third film."""

    films = 0

    def encode_stream(self, pieces):
        Killer.films += 1
        for latents in super().encode_stream(pieces):
            yield latents
            if Killer.films == 3:
                os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_cache_is_made_on_and_equals_one_that_was_not(folder):
    for number in range(6):  # of many pieces, so that the third is half written
        make(folder / f"{number}.mp4", 200 + number, height=16, width=16)
    killed = multiprocessing.get_context("fork").Process(
        target=lambda: module(folder, codec=Killer()).fill(Portion()), daemon=True
    )
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    data = module(folder)
    data.cache.refresh()
    kept = len(data.cache.films)
    assert 1 <= kept <= 3
    calls = Mean.calls
    made_on = latents(ready(folder))
    resumed = Mean.calls - calls
    whole = latents(ready(folder, cache_dir=str(folder / "alone")))
    assert same(made_on, whole)
    assert len(made_on) == 6
    assert resumed < Mean.calls - calls - resumed


@pytest.mark.slow
def test_more_captions_than_one_file_of_tensors_could_name(tmp_path):
    """1.3 million, in an index as it would have been written; one more is one more line."""
    with (tmp_path / "a.jsonl").open("w") as index, (tmp_path / "a.tar").open("wb") as tar:
        for number in range(1_300_000):
            index.write(f'{{"key": "{number:032x}", "at": {1024 + 2048 * number}, "rows": 2, "bytes": 8}}\n')
        tar.truncate(1024 + 2048 * 1_300_000)
    texts = TextCache(tmp_path, 2)
    assert texts.missing(["one more"]) == ["one more"]
    assert len(texts.shards) == 1_300_000
    texts.fill(["one more"], Words().encode)
    assert texts.read("one more").shape == (2, 2)


# What is remembered


def test_films_that_are_of_no_use_are_remembered_and_tried_again_by_another_version(folder, monkeypatch):
    (folder / "broken.mp4").write_bytes(b"not a film at all" * 50)
    make(folder / "short.mp4", 3, height=16, width=16)
    ready(folder)
    opened = []
    stream = "datamodules.caching.settings.stream_frames"
    monkeypatch.setattr(stream, lambda path, **_: opened.append(path.stem) or iter(()))
    ready(folder)
    assert opened == []
    ready(folder, num_frames=[1, 5])  # three frames are enough for this
    assert set(opened) == {"short"}
    monkeypatch.setattr("datamodules.cache.version_of_readers", lambda: "another")
    ready(folder)
    assert "broken" in opened


def test_of_many_films_those_that_are_known_are_not_looked_at(folder, monkeypatch):
    ready(folder)
    monkeypatch.setattr("datamodules.caching.names._stamp", lambda *_: pytest.fail("a call for a film"))
    monkeypatch.setattr("datamodules.cache.LOOKED_AT", 5)
    data = ready(folder)
    assert len(data.cache.clips(data.entries())) > 6


# Many machines


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3"}, (3, 8)),
        ({"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "4"}, (1, 4)),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, (2, 4)),
        (
            {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_PROCID": "3", "SLURM_NTASKS": "4"},
            (7, 8),
        ),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, (1, 2)),
    ],
)
def test_a_launcher_says_which_share_is_whose(environment, expected):
    assert portion_from(environment) == expected


def test_an_array_with_gaps_is_refused():
    with pytest.raises(ValueError, match="without gaps, such as --array=0-15"):
        portion_from({"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "1"})


def test_shares_are_the_list_each_item_once():
    items = list(range(11))
    shares = [Portion(rank, 4).of(items) for rank in range(4)]
    assert sorted(itertools.chain(*shares)) == items
    assert {len(share) for share in shares} == {2, 3}


def test_several_machines_do_not_wait_for_a_cache(folder):
    data = module(folder)
    data.trainer = SimpleNamespace(num_nodes=2)
    with pytest.raises(MissingCache, match="6 of 6 films and 6 captions are not cached yet, and 2 machines"):
        data.prepare_data()
    assert not (folder / "cache").exists()
    ready(folder)
    data.prepare_data()


def test_several_machines_do_not_wait_for_a_file_that_is_not_there(folder):
    (folder / "t.csv").write_text("path,text\n0.mp4,one\n1.mp4,two\n2.mp4,three\nnone.mp4,four\n")
    ready(folder, table="t.csv")
    data = module(folder, table="t.csv")
    data.trainer = SimpleNamespace(num_nodes=2)
    data.prepare_data()
    assert lacking(data, data.entries()) == (0, 0)


@pytest.mark.parametrize(("place", "said"), [("gopher://a/b", "nothing here reads gopher://"), ("s3://a/b", "remote")])
def test_a_place_of_the_cache_that_nothing_reads_is_told(folder, monkeypatch, place, said):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=said):
        ready(folder, cache_dir=place)


def test_size_and_time_are_said_before_the_work_begins(folder, caplog):
    caplog.set_level(logging.INFO, logger="longtake")
    data = ready(folder)
    said = next(message for message in caplog.messages if message.startswith("caching"))
    assert said.startswith("caching 6 films: about ")
    assert str(data.cache.place) in said
    assert [in_bytes(size) for size in (0, 900, 1500, 5 << 20, 3.2 * 2**30, 40 * 2**40)] == [
        *("0 bytes", "900 bytes", "1.5 KiB", "5.0 MiB", "3.2 GiB", "40 TiB")
    ]
    assert [in_time(seconds) for seconds in (0.2, 70, 600, 7200, 400_000)] == [
        "1 s",
        "70 s",
        "10 min",
        "2.0 h",
        "4.6 days",
    ]


# Other places, other programs


class Quiet(SimpleHTTPRequestHandler):
    """With ranges, as object stores have them."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        asked = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if asked is None or not path.is_file():
            super().do_GET()
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        content = path.read_bytes()[int(first) : int(last) + 1 if last else None]
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{path.stat().st_size}")
        self.end_headers()
        self.wfile.write(content)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_remote_cache_gives_the_same_batches_and_is_never_written_to(folder, num_workers):
    pytest.importorskip("aiohttp")
    here = ready(folder)
    expected = list(itertools.islice(here.train_dataloader(), 5))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder / "cache")))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        before = sorted((folder / "cache").rglob("*"))
        data = ready(folder, cache_dir=f"http://127.0.0.1:{server.server_port}", num_workers=num_workers)
        for one, other in zip(itertools.islice(data.train_dataloader(), 5), expected, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(one[:4], other[:4], strict=True))
        assert sorted((folder / "cache").rglob("*")) == before
        make(folder / "9.mp4", 9, height=16, width=16)
        with pytest.raises(ValueError, match="can only be read, and lacks some films"):
            ready(folder, cache_dir=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def test_a_caption_of_several_clips_is_read_once_a_batch(folder, monkeypatch):
    for number in range(6):
        (folder / f"{number}.txt").write_text("the same" if number % 2 else "another")
    data = ready(folder, global_batch_size=6, batch_size=6)
    asked, read = [], data.texts.read
    monkeypatch.setattr(data.texts, "read", lambda caption: asked.append(caption) or read(caption))
    clips = [
        next(clip for clip in data.cache.clips(data.entries()) if clip.entry.path.stem == str(n)) for n in range(6)
    ]
    batch = data.batch(clips, 5, [0] * 6)
    assert sorted(asked) == ["another", "the same"]
    assert batch.text_mask.sum(1).tolist() == [1, 2] * 3


def test_shards_are_streamed_by_webdataset(folder):
    webdataset = pytest.importorskip("webdataset")
    from safetensors.torch import load

    data = ready(folder)
    shards = [str(path) for path in data.cache.folder.glob("*.tar")]
    found = {
        sample["__key__"]: load(sample["safetensors"])["rows"]
        for sample in webdataset.WebDataset(shards, shardshuffle=False)
    }
    kept = latents(data)
    keys = dict(zip((e.path.stem for e in data.entries()), data.cache.keys(data.entries(), look=False), strict=True))
    assert same({name: found[keys[name]] for name in keys}, kept)
    texts = [str(path) for path in Path(data.texts.folder).glob("*.tar")]
    words = {sample["__key__"] for sample in webdataset.WebDataset(texts, shardshuffle=False)}
    assert words == {text_key(entry.caption) for entry in data.entries()}
