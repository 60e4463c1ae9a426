"""Files of control: what is read, and what is refused with file and line."""

import gzip
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import WIDTH, tiny_dit

from longtake.control import control_for, read_control
from networks.control import PoseControl

COLUMNS = ("x", "y", "angle")
ROWS = ["frame,x,y,angle,note", *(f"{n},{n / 2},{-n},{10 * n},a" for n in range(5))]


def table(tmp_path, lines, name="walk.csv"):
    path = tmp_path / name
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_tables_and_arrays_say_the_same(tmp_path):
    expected = torch.tensor([[n / 2, -n, 10 * n] for n in range(5)])
    assert torch.equal(read_control(table(tmp_path, ROWS), COLUMNS, 5), expected)
    assert torch.equal(read_control(table(tmp_path, ROWS, "walk.csv.gz"), COLUMNS, 3), expected[:3])
    np.save(tmp_path / "walk.npy", expected.double().numpy())
    assert torch.equal(read_control(tmp_path / "walk.npy", COLUMNS, 5), expected)


def test_blanks_in_the_first_line_endings_in_capitals_and_utf16_are_no_matter(tmp_path):
    expected = read_control(table(tmp_path, ROWS), COLUMNS, 5)
    spaced = [ROWS[0].replace(",", ", "), *ROWS[1:]]
    assert torch.equal(read_control(table(tmp_path, spaced), COLUMNS, 5), expected)
    (tmp_path / "WALK.CSV.GZ").write_bytes(gzip.compress("\r\n".join(ROWS).encode("utf-16")))
    assert torch.equal(read_control(tmp_path / "WALK.CSV.GZ", COLUMNS, 5), expected)
    with (tmp_path / "WALK.NPY").open("wb") as file:
        np.save(file, expected.numpy())
    assert torch.equal(read_control(tmp_path / "WALK.NPY", COLUMNS, 5), expected)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["frame,x,y", "0,1,2"], "line 1: no column angle in 'frame,x,y'; these weights take x, y, angle"),
        (["x;y;angle", "0;1;2"], "no column x, y, angle in 'x;y;angle'; .* take x, y, angle, with commas between them"),
        (["x,x,y,angle", "0,9,1,2"], "line 1: names x twice; leave one of each"),
        (["x,y,angle," + "z" * (2 << 20)], "line 1: field larger than field limit"),
        (ROWS[:1], "has no row of numbers: give one for each of 5 frames"),
        (ROWS[:4], r"has 3 rows, but 5 frames are to be made: give a row for each, or num_frames=3 or fewer"),
        ([*ROWS[:3], "2,nan,0,0,a", *ROWS[4:]], "line 4: x is 'nan'; every frame needs its numbers"),
        ([*ROWS[:3], "2,1,0,1e999,a", *ROWS[4:]], "line 4: angle is '1e999'; every frame needs its numbers"),
        ([*ROWS[:3], "2,1,1e39,0,a", *ROWS[4:]], "line 4: y is '1e39'; every frame needs its numbers"),
        ([*ROWS[:3], "2,left,0,0,a", *ROWS[4:]], "line 4: x is 'left', no number"),
        ([*ROWS[:3], "2,1,0", *ROWS[4:]], "line 4: 3 values, but line 1 names 5 columns"),
        ([*ROWS[:3], *ROWS[4:]], "line 4: frame is '3', but frames count 0, 1, 2, …: here comes 2"),
        ([ROWS[0], ROWS[2], ROWS[1], *ROWS[3:]], "line 2: frame is '1', but frames count 0, 1, 2, …: here comes 0"),
        (["\x00"], "cannot be read as a table: give a .csv"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_its_line(tmp_path, lines, sentence):
    path = table(tmp_path, lines)
    with pytest.raises(ValueError, match=sentence) as caught:
        read_control(path, COLUMNS, 5)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros((5, 2)), "has 2 columns, but these weights take 3: x, y, angle"),
        (np.zeros(5), "must hold one array of numbers, frames by columns"),
        (np.array([[0, 0, 0], [0, np.inf, 0]]), "row 1 holds NaN, infinity or a number beyond float32"),
        (np.array([[0, 1e300, 0]]), "row 0 holds NaN, infinity or a number beyond float32"),
        (np.array([["a", "b", "c"]]), "must hold one array of numbers"),
        (np.array([[{}, 1, 2]], dtype=object), "is no array of NumPy"),
    ],
)
def test_an_array_that_is_wrong_is_refused(tmp_path, values, sentence):
    np.save(tmp_path / "walk.npy", values, allow_pickle=True)
    with pytest.raises(ValueError, match=sentence):
        read_control(tmp_path / "walk.npy", COLUMNS, 1)


@pytest.mark.parametrize("name", ["walk.csv", "walk.csv.gz", "walk.npy"])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00\x01", b"\x1f\x8b\x08 broken", b"PK\x03\x04", b"<!doctype html>"])
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=r"walk\.(csv|csv\.gz|npy)"):
        read_control(tmp_path / name, COLUMNS, 1)


def test_a_head_that_promises_more_than_memory_is_refused(tmp_path):
    with (tmp_path / "walk.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50, 3)})
    with pytest.raises(ValueError, match=r"walk\.npy is larger than memory"):
        read_control(tmp_path / "walk.npy", COLUMNS, 1)


def test_weights_without_control_refuse_a_file(tmp_path):
    path = table(tmp_path, ROWS)
    with pytest.raises(ValueError, match="these weights take no control, so leave it out"):
        control_for(tiny_dit(), path, 5)
    network = tiny_dit(control=PoseControl(width=WIDTH, frames_per_latent=4, unit=1.0))
    assert control_for(network, path, 5).shape == (5, 3)
    assert control_for(network, None, 5) is None
    assert control_for(SimpleNamespace(ablations=()), None, 5) is None
