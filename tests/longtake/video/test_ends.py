"""Files whose bytes end early are refused in every container that says its length; whole ones are not."""

import pytest
from films import cut, film

from longtake.cli.videos import read_clip, read_length
from longtake.storyboard.given import VideoProbe
from longtake.video import read_frames
from longtake.video.ends import ends_early

KINDS = {
    "a.mp4": {},
    "fast.mp4": {"container_options": {"movflags": "faststart"}},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "a.mov": {},
    "prores.mov": {"codec": "prores_ks", "pix": "yuv422p10le"},
    "a.m4v": {"codec": "mpeg4", "format": "mp4"},
    "a.3gp": {"codec": "mpeg4", "format": "3gp"},
    "a.mkv": {},
    "live.mkv": {"container_options": {"live": "1"}},
    "a.webm": {"codec": "libvpx-vp9"},
    "live.webm": {"codec": "libvpx", "container_options": {"live": "1"}},
    "a.avi": {"codec": "mpeg4"},
    "motion.avi": {"codec": "mjpeg", "pix": "yuvj420p"},
    "a.flv": {},
    "a.wmv": {"codec": "wmv2"},
    "a.ogv": {"codec": "libvpx", "format": "ogg"},
    "a.gif": {"codec": "gif", "pix": "rgb8"},
    "a.apng": {"codec": "apng", "pix": "rgb24"},
    "a.mxf": {"codec": "mpeg2video", "fps": 25},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return {name: film(folder / name, **kind) for name, kind in KINDS.items()}


def read(path, fps=0):
    return read_frames(path, height=16, width=16, fps=fps, crop_place=0.5)


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_film_is_read_and_a_cut_one_refused(films, name):
    assert len(read(films[name])) == 30
    assert ends_early(films[name]) == ""
    for share in (0.2, 0.5, 0.8, 0.98):
        path = cut(films[name], share)
        for reader in (read, VideoProbe(8.0), read_length, lambda path: read_clip(path, short_side=16)):
            with pytest.raises(ValueError, match=rf"cut_{name}: (truncated|cannot be decoded)") as caught:
                reader(path)
            assert "\n" not in str(caught.value)


def test_packets_of_a_recording_that_are_cut_through_are_seen(tmp_path):
    whole = film(tmp_path / "a.ts")
    blu_ray = film(tmp_path / "a.m2ts", format="mpegts", container_options={"mpegts_m2ts_mode": "1"})
    program = film(tmp_path / "a.mpg", codec="mpeg2video", fps=25)
    for path in (whole, blu_ray, program):
        assert len(read(path)) == 30
        part = path.with_name(f"cut_{path.name}")
        part.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])
        with pytest.raises(ValueError, match="truncated"):
            read(part)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.avi", "a.gif", "a.ts"])
def test_a_file_of_no_bytes_says_so(tmp_path, name):
    (tmp_path / name).touch()
    for reader in (read, VideoProbe(8.0), read_length):
        with pytest.raises(ValueError, match=rf"{name}: cannot be decoded .*, it holds 0 bytes"):
            reader(tmp_path / name)


NAMES = (
    "-x",
    "#",
    "a%20b",
    "%",
    "new\nline",
    "tab\t",
    "😀",
    "👩\u200d🚀",
    "a:b",
    "file:a",
    "a?b=c",
    "a|b",
    "'\"",
    "[1]",
    "*",
)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_read_and_named_in_one_line(films, tmp_path, monkeypatch, name):
    path = tmp_path / f"{name}.mp4"
    path.write_bytes(films["a.mp4"].read_bytes())
    monkeypatch.chdir(tmp_path)
    for given in (path, path.name):
        assert len(read(given)) == 30
    path.write_bytes(b"no film at all" * 100)
    with pytest.raises(ValueError, match=r"\.mp4: cannot be decoded") as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.gif"])
def test_what_stands_behind_a_film_does_not_make_it_short(films, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(films[name].read_bytes() + bytes(3))
    assert len(read(path)) == 30


def test_a_matroska_that_ends_between_two_clusters_says_how_long_it_was(tmp_path):
    path = film(tmp_path / "a.mkv", 60, container_options={"cluster_time_limit": "1000"})
    data = path.read_bytes()
    size = data.index(b"\x18\x53\x80\x67") + 4
    unknown = data[:size] + b"\x01" + b"\xff" * 7 + data[size + 8 :]
    clusters = [at for at in range(len(unknown)) if unknown.startswith(b"\x1f\x43\xb6\x75", at)]
    path.write_bytes(unknown[: clusters[len(clusters) // 2]])
    with pytest.raises(ValueError, match=r"truncated, it ends at \d\.\d of 6\.0 seconds"):
        read(path)


def test_a_film_full_of_zeros_from_the_middle_on_is_refused(tmp_path):
    """A download that had its whole size from the start."""
    whole = film(tmp_path / "a.mp4", 60, container_options={"movflags": "faststart"})
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 3 // 5] + bytes(len(data) - len(data) * 3 // 5))
    with pytest.raises(ValueError, match=r"a\.mp4: (cannot be decoded|breaks off)"):
        read(whole)
