"""Tables and folders of other people: nothing of a row, a caption or a film is lost without a word."""

import json
import logging
import os
import unicodedata

import pytest

from datamodules.splits import log_splits, share_out
from datamodules.tables import Entry, read_entries
from longtake.reports.beside import find_beside, find_videos
from longtake.video.folders import list_folder


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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_table_that_was_converted_twice_has_two_marks(folder, encoding, name):
    content = {"t.csv": "path,text\n0.mp4,x\n", "t.jsonl": '{"path": "0.mp4", "text": "x"}\n'}[name]
    assert found(read(folder, f"\ufeff{content}".encode(encoding), name)) == [("0.mp4", "x")]


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
        ("text,path\nA marine, in red,0.mp4\n", "line 2: has 3 fields"),
        ("path;text\n0.mp4;A marine, in red\n1.mp4;b; c\n", "line 3: has 3 fields, its header 2"),
        ("path\ttext\n0.mp4\ta\tb\n", "line 2: has 3 fields"),
        ("path,text\n0.mp4,'a, b'\n", "line 2: has 3 fields"),
        ("path,text\n0.mp4,“a, b”\n", "line 2: has 3 fields"),
        ("path,text,split\n1.mp4,b,train\n0.mp4,A marine, in red\n", "line 3: the split is 'in red'"),
        ('path,text\n0.mp4,a\n1.mp4,"b\n', "line 3: a quote that opens in it is not closed"),
        ('path,text\n0.mp4,"Hi" he says\n1.mp4,b\n', "line 2: a quote that opens in it is not closed"),
        ('path;text\n0.mp4;"a\n1.mp4;b\n2.mp4;c\n', "line 2: a quote that opens in it is not closed"),
        ('path\ttext\n0.mp4\t"a\n1.mp4\tb\n', "line 2: a quote that opens in it is not closed"),
        ('path,text\n0.mp4,"[""a"", ""b""]"\n', "line 2: text is a list"),
        ("path;text\n0.mp4;['a', 'b']\n", "line 2: text is a list"),
        ("path;text\n0.mp4;{'en': 'a'}\n", "line 2: text is an object"),
    ],
)
def test_a_row_that_would_be_lost_in_part_is_refused_with_its_line(folder, content, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        read(folder, content)
    assert "\n" not in str(caught.value)
    assert str(folder / "t.csv") in str(caught.value)


@pytest.mark.parametrize("last", ["fps", "short_text"])
def test_a_comma_that_takes_the_place_of_a_column_left_out_is_said(folder, caplog, last):
    read(folder, f"path,text,{last}\n1.mp4,b\n0.mp4,A marine, in red\n")
    assert "t.csv: 1 of 2 rows have a blank behind a ','" in caplog.text
    assert "the first is line 3" in caplog.text
    caplog.clear()
    read(folder, f'path, text, {last}\n0.mp4, a, 1\n1.mp4, "b, c", 2\n')
    read(folder, f'path,text,{last}\n0.mp4,a,1\n1.mp4,"b, c",2\n')
    assert not caplog.messages


@pytest.mark.parametrize("text", ["[x] is marked", "['", "{", "[a] or [b]", '["a" or "b"]'])
def test_brackets_are_no_list(folder, text):
    assert found(read(folder, json.dumps({"path": "0.mp4", "text": text}), "t.jsonl")) == [("0.mp4", text)]


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
    assert "1 of 2 videos have no caption and are trained on without one" in message
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


def test_a_film_with_a_split_in_some_rows_has_it_in_all(folder):
    rows = "path,text,split\n0.mp4,a,train\n0.mp4,b,\n1.mp4,c,val\n1.mp4,d,\nvids/sub.mp4,e,\n"
    entries = read(folder, rows)
    for seed in range(5):
        assert [entry.split for entry in share_out(entries, 0.5, seed)][:4] == ["train"] * 2 + ["validation"] * 2


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


def test_tables_of_the_hub_s_folders_say_captions_and_splits(tmp_path, caplog):
    for name in ("train/a.mp4", "train/deep/b.mp4", "validation/c.mp4", "other/d.mp4", "other/e.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "train" / "METADATA.CSV").write_text("file_name,text\na.mp4,one\ndeep/b.mp4,two\n")
    (tmp_path / "train" / "deep" / "metadata.csv").write_text("file_name,text\nb.mp4,another\n")
    as_jsonl(tmp_path / "validation" / "metadata.jsonl", [{"file_name": "c.mp4", "text": "three"}])
    (tmp_path / "other" / "metadata.csv").write_text("id,score\n1,2\n")
    (tmp_path / "other" / "d.txt").write_text("four")
    listed = [(entry.path.name, entry.caption, entry.split) for entry in read_entries(tmp_path, None)]
    assert listed == [
        *[("a.mp4", "one", "train"), ("b.mp4", "two", "train"), ("c.mp4", "three", "validation")],
        *[("d.mp4", "four", ""), ("e.mp4", "", "")],
    ]
    assert "deep/metadata.csv is passed over" in caplog.text
    assert "other/metadata.csv is taken for no table of videos: it has the columns id, score" in caplog.text
    assert "1 of 2 videos have no caption" in caplog.text


def as_csv(path, rows):
    path.write_text("file_name,text\n" + "".join(f'{row["file_name"]},"{row["text"]}"\n' for row in rows))


def as_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_parquet(path, rows):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def test_parquet_with_a_value_that_cannot_be_read_is_named(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    places, letters = (pyarrow.py_buffer(data) for data in (b"\0\0\0\0\2\0\0\0", b"\xff\xfe"))
    text = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, places, letters])
    parquet.write_table(pyarrow.table({"path": ["0.mp4"], "text": text}), folder / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet, behind row 0: a value cannot be read .*; write its column as"):
        read_entries(folder, "t.parquet")


def test_columns_that_differ_in_capitals_alone_are_refused(folder):
    as_jsonl(folder / "t.jsonl", [{"path": "0.mp4", "Text": "one", "text": "two"}])
    with pytest.raises(ValueError, match=r"line 1: names a column twice, but for .* \(path, Text, text\); leave one"):
        read_entries(folder, "t.jsonl")


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
        ("A.MP4", "a.mp4.TXT"),
        ("b.Mov", "B.CAPTION"),
        ("-x.mp4", "-x.txt"),
        ("a%20b.mp4", "a%20b.txt"),
        ("new\nline.mp4", "new\nline.txt"),
        ("😀.mp4", "😀.TXT"),
        (unicodedata.normalize("NFC", "café.mp4"), unicodedata.normalize("NFD", "café.txt")),
    ],
)
def test_a_caption_is_found_in_any_case_and_encoding(tmp_path, film, text):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        beside(tmp_path, film, text, f" Ein Stück {encoding}\n".encode(encoding))
        read = f"Ein Stück {encoding}"
        assert found(read_entries(tmp_path, None)) == [(film, read)]
        assert find_beside(tmp_path, [film], boundaries=(), reference=None, poses=None)[film].prompt == read


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
    (tmp_path / "round.mp4").symlink_to("round.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert [entry.path.name for entry in read_entries(tmp_path, None)] == ["a.mp4", "b.mp4", "c.mp4"]
    assert "files that are no videos by their endings are passed over: 2 .jpg, 1 .part" in caplog.text
    assert "broken.mp4: left out: a link to nowhere" in caplog.text
    assert "round.mp4: left out: a link to nowhere" in caplog.text
    assert "pipe.mp4: left out: a pipe" in caplog.text
    assert "1 captions are not UTF-8, and letters of them are lost" in caplog.text
    assert (
        "2 of 3 videos have no caption and are trained on without one (no NAME.txt or NAME.caption with a"
        in caplog.text
    )
    assert "._a" not in caplog.text
    assert [path.name for path in find_videos(tmp_path)] == ["a.mp4", "b.mp4", "c.mp4"]


def test_what_our_programs_write_beside_videos_is_passed_over_without_a_word(tmp_path):
    for name in ("000.mp4", "manifest.jsonl", "segments/a.safetensors", "report/report.html", "report/report.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    found = list_folder(tmp_path)
    assert [film.name for film in found.films] == ["000.mp4"]
    assert found.notes == []


def test_a_caption_that_cannot_be_read_costs_itself(tmp_path, caplog):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "a.txt").symlink_to(tmp_path / "nowhere.txt")
    os.mkfifo(tmp_path / "b.txt")
    (tmp_path / "c.txt").mkdir()
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "wb"):
        pass
    assert found(read_entries(tmp_path, None)) == [("a.mp4", ""), ("b.mp4", ""), ("c.mp4", "")]
    assert "a.txt: left out: a link to nowhere" in caplog.text
    assert "b.txt: left out: a pipe" in caplog.text
    assert "3 of 3 videos" in caplog.text
    names = ["a.mp4", "b.mp4"]
    assert not any(
        each.prompt for each in find_beside(tmp_path, names, boundaries=(), reference=None, poses=None).values()
    )


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
