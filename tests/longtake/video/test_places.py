"""Films and tables that lie elsewhere: a web server, and what else fsspec reaches."""

import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from films import film

from datamodules.tables import read_entries
from longtake.video import is_remote, place, probe, read_frames


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


@pytest.fixture
def memory():
    root = place("memory://films")
    root.mkdir(parents=True, exist_ok=True)
    yield root
    root.fs.rm(root.path, recursive=True)


def fill(folder, root):
    for name in ("a.mp4", "b.MP4"):
        made = film(folder / "made.mp4", 10)
        (root / name).write_bytes(made.read_bytes())
    (root / "a.txt").write_text("the first\n")
    (root / "b.TXT").write_bytes("\ufeffthe second".encode("utf-16-le"))
    made.unlink()


def test_a_folder_elsewhere_is_a_folder(memory, tmp_path):
    fill(tmp_path, memory)
    (memory / ".hidden.mp4").write_bytes(b"")
    entries = read_entries("memory://films", None)
    assert [(str(entry.path), entry.caption) for entry in entries] == [
        ("memory://films/a.mp4", "the first"),
        ("memory://films/b.MP4", "the second"),
    ]
    assert probe(entries[0].path).num_frames == 10
    assert len(read_frames("memory://films/b.MP4", height=16, width=16, fps=5, crop_place=0.5)) == 5


def test_a_table_elsewhere_names_films_beside_it_and_anywhere(memory, server, tmp_path):
    fill(tmp_path, memory)
    folder, address = server
    film(folder / "c.mp4", 6)
    rows = f"path,text\na.mp4,one\n{address}/c.mp4,two\nmemory://films/b.MP4,three\n"
    (memory / "t.csv").write_text(rows)
    entries = read_entries("memory://films", "t.csv")
    assert entries == read_entries("memory://films", "memory://films/t.csv")
    assert [probe(entry.path).num_frames for entry in entries] == [10, 6, 10]
    assert all(is_remote(entry.path) for entry in entries)


@pytest.mark.parametrize("name", ["a b.mp4", "a#1.mp4", "-x.mp4", "😀.mp4", "50% off.mp4", "UPPER.MP4", "[1].mp4"])
def test_a_table_of_a_server_names_films_beside_it_by_any_name(server, tmp_path, name):
    folder, address = server
    film(folder / name, 6)
    (folder / "t.csv").write_text(f"path,text\n{name},one\n", encoding="utf-8")
    (entry,) = read_entries(address, f"{address}/t.csv")
    assert (entry.caption, probe(entry.path).num_frames) == ("one", 6)


def test_a_local_table_names_films_of_a_server(server, tmp_path):
    folder, address = server
    film(folder / "c.mp4", 6)
    (tmp_path / "t.csv").write_text(f"path,text\n{address}/c.mp4?key=1,two\n")
    (entry,) = read_entries(tmp_path, "t.csv")
    assert str(entry.path) == f"{address}/c.mp4?key=1"
    assert len(read_frames(entry.path, height=16, width=16, fps=0, crop_place=0.5)) == 6


@pytest.mark.parametrize("name", ["missing.mp4", "broken.mp4", "text.mp4"])
def test_what_cannot_be_fetched_is_named(server, tmp_path, name):
    folder, address = server
    data = film(tmp_path / "a.mp4", 10).read_bytes()
    (folder / "broken.mp4").write_bytes(data[: len(data) // 2])
    (folder / "text.mp4").write_text("no film")
    with pytest.raises(ValueError, match=name) as caught:
        probe(f"{address}/{name}")
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:9/a\.mp4: cannot be fetched"):
        probe("http://127.0.0.1:9/a.mp4")


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("ftp://a/b.mp4", "nothing here reads ftp://"),
        ("zip://a.mp4::b.zip", "nothing here reads zip://"),
        ("concat://a.mp4", "nothing here reads concat://"),
    ],
)
def test_a_place_that_nothing_reads_is_refused(where, sentence):
    with pytest.raises(ValueError, match=sentence):
        probe(where)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile 'secret.ts'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3.0,\nsecret.ts\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_does_not_have_another_file_read(tmp_path, text):
    film(tmp_path / "secret.ts", 10)
    (tmp_path / "a.mp4").write_text(text)
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be decoded"):
        probe(tmp_path / "a.mp4")


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"s3://bucket/a\.mp4: .*pip install \"longtake\[remote\]\""):
        place("s3://bucket/a.mp4")


def test_a_folder_that_is_not_there_is_refused(memory, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        read_entries("memory://nowhere", None)
    assert place(tmp_path) == tmp_path
    assert place(f"file://{tmp_path}") == tmp_path
    assert str(place(Path("https://a.b/c.mp4"))) == "https://a.b/c.mp4"
