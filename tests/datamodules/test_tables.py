"""Tables and folders of other people: nothing of a row, a caption or a film is lost without a word."""

import json
import logging
import os
import unicodedata

import pytest

from datamodules.tables import Entry, log_splits, read_entries, share_out
from longtake.reports.beside import find_beside, find_videos


@pytest.fixture
def folder(tmp_path):
    for name in ("0.mp4", "1.mp4", "vids/sub.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def read(folder, content, name="t.csv"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_entries(folder, name)


def found(entries):
    return [(entry.path.name, entry.caption) for entry in entries]


@pytest.mark.parametrize(
    "content",
    [
        'path, text\n0.mp4, "one, two"\n1.mp4, x\n',
        ' Path ,TEXT\n0.mp4,"one, two"\n1.mp4,x\n',
        '\ufeffpath,text\r\n0.mp4,"one, two"\r\n1.mp4,x\r\n',
        'path;text\n0.mp4;"one, two"\n1.mp4;x\n',
        "path\ttext\n0.mp4\tone, two\n1.mp4\tx\n",
        'path,text,\n0.mp4,"one, two",\n1.mp4,x,\n',
        'file_name,caption\n\n0.mp4,"one, two"\n,\n1.mp4,x\n',
        'video_path,prompt,fps\n0.mp4,"one, two",8\n1.mp4,x\n',
    ],
)
def test_tables_are_read_as_they_are_written(folder, content):
    assert found(read(folder, content)) == [("0.mp4", "one, two"), ("1.mp4", "x")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "T.CSV"])
def test_every_mark_of_unicode_is_known(folder, encoding, name):
    rows = [{"path": "0.mp4", "text": "Stück, 赤"}]
    text = {"t.jsonl": json.dumps(rows[0], ensure_ascii=False), "t.json": json.dumps(rows, ensure_ascii=False)}
    content = text.get(name, 'path,text\n0.mp4,"Stück, 赤"\n').encode(encoding)
    assert found(read(folder, content, name)) == [("0.mp4", "Stück, 赤")]


LONG = "".join("1.mp4,a blue marine walks on\n" for _ in range(6000))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("path,text\n0.mp4,A marine, in red\n", "line 2: has 3 fields, its header 2 .path, text."),
        ("path,text,split\n1.mp4,a,train\n0.mp4,A, in red,train\n", "line 3: has 4 fields, its header 3"),
        ('path,text\n0.mp4,"A\nmarine"\n1.mp4,a,b\n', "line 4: has 3 fields"),
        ('path,text\n0.mp4,"A marine\n1.mp4,b\n', "line 2: a quote that opens in it is not closed"),
        ('path,text\n1.mp4,"x"\n0.mp4,"A marine\n' + LONG, "line 3: a quote that opens in it is not closed"),
        ('path,text\n0.mp4,"A marine\n1.mp4,b\n1.mp4,"c"\n', "line 2: a quote that opens in it is not closed"),
        ('path,text\n0.mp4,"A marine\n1.mp4,b"\n', "line 2: a quote that opens in it is not closed"),
        ('text,path\n"A marine,0.mp4\nb,1.mp4\n', "line 2: a quote that opens in it is not closed"),
        ("path,text,text\n0.mp4,a,b\n", "its header names text twice"),
        ("path,text\n,hello\n", "line 2: names no video"),
        ("text,path\n0.mp4,A marine walks\n1.mp4,Another one\n", "exchange the names in its header"),
        ("path,text\n0.mp4,caf\xe9\n".encode("latin-1"), "not text in UTF-8"),
    ],
)
def test_a_row_that_would_be_lost_in_part_is_refused_with_its_line(folder, content, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        read(folder, content)
    assert "\n" not in str(caught.value)
    assert str(folder / "t.csv") in str(caught.value)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"path": "0.mp4", "text": ["A marine", "Somebody"]}, "line 1: text is a list; give one text a row"),
        ({"path": "0.mp4", "caption": {"en": "A marine"}}, "line 1: caption is an object"),
        ({"path": ["0.mp4"], "text": "a"}, "line 1: path is a list"),
        ({"video": {"path": None, "bytes": "…"}, "text": "a"}, "line 1: video is an object"),
        ({"path": "0.mp4", "text": "a", "short_text": ["b"]}, "line 1: short_text is a list"),
    ],
)
def test_a_list_where_a_text_is_expected_is_refused(folder, row, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(folder, json.dumps(row) + "\n", "t.jsonl")


def test_what_a_text_may_hold_is_kept(folder):
    text = 'says "hi", twice\nand goes on, in a new line'
    row = '0.mp4,"' + text.replace('"', '""') + '"\n'
    assert found(read(folder, "path,text\n" + row)) == [("0.mp4", text)]
    lines = [json.dumps({"path": "0.mp4", "text": value}) for value in ("a\u2028b", "\ud800", 7, True, None)]
    texts = [entry.caption for entry in read(folder, "\n".join(lines), "t.jsonl")]
    assert texts == ["a\u2028b", "?", "7", "True", ""]
    assert found(read(folder, "path,text\n0.mp4,a\u2028b\u0085c\n")) == [("0.mp4", "a\u2028b\u0085c")]


def test_what_has_no_caption_is_said_with_what_was_looked_for(folder, caplog):
    read(folder, "path,description\n0.mp4,A\n1.mp4,B\n")
    (message,) = caplog.messages
    assert "has the columns path, description, but none of text, caption, prompt" in message
    assert "2 of 2 videos" in message
    caplog.clear()
    read(folder, "path,text\n0.mp4,A\n1.mp4,\n")
    (message,) = caplog.messages
    assert "no text for 1 of 2 videos" in message
    assert "1.mp4" in message
    caplog.clear()
    read(folder, "path,text\n0.mp4,A\n1.mp4,b\n")
    assert not caplog.messages


def test_a_table_made_on_windows_finds_its_films(folder):
    (entry,) = read(folder, "path,text\nvids\\sub.mp4,A\n")
    assert entry.path == folder / "vids" / "sub.mp4"
    (folder / "a\\b.mp4").touch()
    (entry,) = read(folder, "path,text\na\\b.mp4,A\n")
    assert entry.path == folder / "a\\b.mp4"


# The same film


def test_splits_are_drawn_over_films(folder, caplog):
    caplog.set_level(logging.INFO, "longtake")
    rows = "".join(
        f"{way}{n}.mp4,caption {k} of {n}\n" for n in range(4) for k, way in enumerate(("", "./", "vids/../"))
    )
    entries = read(folder, "path,text\n" + rows)
    assert "12 rows name 4 films" in caplog.text
    for seed in range(5):
        split = {}
        for entry in share_out(entries, 0.3, seed):
            split.setdefault(entry.film, set()).add(entry.split)
        assert sorted(map(sorted, split.values())) == [["train"]] * 3 + [["validation"]]


def test_a_film_in_several_splits_is_named(folder, caplog):
    entries = read(folder, "path,text,split\n0.mp4,a,train\n0.mp4,b,val\n1.mp4,c,train\n")
    log_splits(entries, share_out(entries, 0.1, 0))
    assert f"1 films are in several splits, as the table has it: {folder / '0.mp4'}" in caplog.text


# Hugging Face's tables


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_a_folder_s_metadata_is_its_table(folder, name, caplog):
    rows = [{"file_name": "0.mp4", "text": "one, two"}, {"file_name": "vids/sub.mp4", "text": "three"}]
    write = {"metadata.csv": as_csv, "metadata.jsonl": as_jsonl, "metadata.parquet": as_parquet}[name]
    write(folder / name, rows)
    for entries in (read_entries(folder, None), read_entries(folder, name)):
        assert found(entries) == [("0.mp4", "one, two"), ("sub.mp4", "three")]
    assert f"1 of 3 films of {folder} are not in {name}: {folder / '1.mp4'}" in caplog.text


def as_csv(path, rows):
    path.write_text("file_name,text\n" + "".join(f'{row["file_name"]},"{row["text"]}"\n' for row in rows))


def as_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_parquet(path, rows):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def test_parquet_with_videos_as_the_hub_has_them(folder):
    rows = [{"video": {"bytes": None, "path": "0.mp4"}, "caption": "one"}]
    as_parquet(folder / "t.parquet", rows)
    assert found(read_entries(folder, "t.parquet")) == [("0.mp4", "one")]
    as_parquet(folder / "t.parquet", [{"video": {"bytes": b"...", "path": "0.mp4"}, "caption": "one"}])
    with pytest.raises(ValueError, match="row 1: video is an object"):
        read_entries(folder, "t.parquet")
    data = (folder / "t.parquet").read_bytes()
    (folder / "t.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot be read as Parquet") as caught:
        read_entries(folder, "t.parquet")
    assert "\n" not in str(caught.value)


# Folders


def beside(folder, film, text, content):
    (folder / film).touch()
    (folder / text).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("film", "text"),
    [
        ("a.mp4", "a.txt"),
        ("IMG_0001.MP4", "IMG_0001.TXT"),
        ("IMG_0001.MOV", "img_0001.txt"),
        ("a.Mkv", "a.Txt"),
        ("double.mp4", "double.mp4.txt"),
        ("a.webm", "a.caption"),
        ("two.dots.mp4", "two.dots.txt"),
        (unicodedata.normalize("NFC", "café.mp4"), unicodedata.normalize("NFD", "café.txt")),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_caption_is_found_in_any_case_and_encoding(tmp_path, film, text, encoding):
    beside(tmp_path, film, text, " Ein Stück\n".encode(encoding))
    assert found(read_entries(tmp_path, None)) == [(film, "Ein Stück")]
    assert find_beside(tmp_path, [film], boundaries=(), reference=None, poses=None)[film].prompt == "Ein Stück"


def test_two_films_whose_names_differ_in_case_keep_their_own_captions(tmp_path):
    beside(tmp_path, "a.mp4", "a.txt", "small")
    beside(tmp_path, "A.mp4", "A.TXT", "large")
    (tmp_path / "B.mp4").touch()
    beside(tmp_path, "b.mp4", "b.txt", "small b")
    captions = {entry.path.name: entry.caption for entry in read_entries(tmp_path, None)}
    assert captions == {"a.mp4": "small", "A.mp4": "large", "b.mp4": "small b", "B.mp4": ""}


def test_what_a_folder_loses_is_said(tmp_path, caplog):
    beside(tmp_path, "a.mp4", "a.txt", b"caf\xe9 noir")
    (tmp_path / "b.mp4").touch()
    beside(tmp_path, "c.mp4", "c.txt", " \n")
    for name in ("d.jpg", "e.jpg", "f.part", "._a.mp4", ".hidden.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert [entry.path.name for entry in read_entries(tmp_path, None)] == ["a.mp4", "b.mp4", "c.mp4"]
    assert "passed over, as no film ends so: 2 .jpg, 1 .part" in caplog.text
    assert "broken.mp4: left out: a link to nowhere" in caplog.text
    assert "pipe.mp4: left out: a pipe" in caplog.text
    assert "1 captions are not UTF-8, and letters of them are lost" in caplog.text
    assert "no NAME.txt or NAME.caption with a text in it beside 2 of 3 videos" in caplog.text
    assert "._a" not in caplog.text
    assert [path.name for path in find_videos(tmp_path)] == ["a.mp4", "b.mp4", "c.mp4"]


def test_films_behind_links_are_found_once(tmp_path):
    for name in ("elsewhere/deep/a.mp4", "elsewhere/b.mp4", "root/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "elsewhere" / "a.txt").write_text("a")
    (tmp_path / "root" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "again").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "root" / "d.mp4").symlink_to(tmp_path / "elsewhere" / "b.mp4")
    (tmp_path / "elsewhere" / "deep" / "loop").symlink_to(tmp_path / "root")
    names = [str(entry.path.relative_to(tmp_path / "root")) for entry in read_entries(tmp_path / "root", None)]
    assert names == ["again/a.mp4", "c.mp4", "d.mp4", "more/b.mp4"]
    assert len(find_videos(tmp_path / "root")) == 4


def test_one_name_that_is_not_utf_8_costs_one_film(tmp_path, caplog):
    for name in (b"good.mp4", b"caf\xe9.mp4"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    assert [entry.path.name for entry in read_entries(tmp_path, None)] == ["good.mp4"]
    assert [path.name for path in find_videos(tmp_path)] == ["good.mp4"]
    assert "its name is not UTF-8; rename it" in caplog.text


def test_a_million_rows_are_read_in_bounded_time_and_memory(tmp_path):
    """A fiftieth of it here: what a row costs is the same."""
    rows = "".join(
        f"{number // 1000:03d}/{number:06d}.mp4,A caption of some words {number}\n" for number in range(20_000)
    )
    entries = read(tmp_path, "path,text\n" + rows)
    assert len({entry.film for entry in share_out(entries, 0.1, 0) if entry.split == "validation"}) == 2000
    assert entries[1] == Entry(tmp_path / "000" / "000001.mp4", "A caption of some words 1", "")
