"""Pictures as players show them: upright, mirrored, with square pixels, over black, in ordinary colours."""

import time
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from films import film, with_matrix

import longtake.video.pictures
from longtake.video import probe, read_frames, write_video


def read(path, height=64, width=64):
    return read_frames(path, height=height, width=width, fps=0, crop_place=0.5)


def brightest(frame):
    height, width = frame.shape[0] // 2, frame.shape[1] // 2
    quarters = {
        "top left": frame[:height, :width],
        "top right": frame[:height, width:],
        "bottom left": frame[height:, :width],
        "bottom right": frame[height:, width:],
    }
    return max(quarters, key=lambda name: quarters[name].mean())


def corner(_, height, width):
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = 255
    return picture


@pytest.mark.parametrize("ending", ["mp4", "mov"])
@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, -1, 0),
        (0, -1, 1, 0),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ],
)
def test_a_film_is_turned_and_mirrored_as_its_matrix_says(tmp_path, matrix, ending):
    path = with_matrix(film(tmp_path / f"a.{ending}", 2, size=(64, 128), picture=corner), *matrix)
    a, b, c, d = matrix
    x, y = -a - c, -b - d  # where the corner that was left and above of the middle comes to lie
    size = (128, 64) if a == 0 else (64, 128)
    assert probe(path)[:2] == size
    assert brightest(read(path, *size)[0]) == f"{'top' if y < 0 else 'bottom'} {'left' if x < 0 else 'right'}"


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "ts", "flv", "avi"])
@pytest.mark.parametrize(
    ("sar", "size"), [(Fraction(2), (64, 128)), (Fraction(1, 2), (128, 64)), (Fraction(1), (64, 64))]
)
def test_pixels_are_shown_square(tmp_path, ending, sar, size):
    codec = "mpeg4" if ending == "avi" else "libx264"
    path = film(tmp_path / f"a.{ending}", 2, codec=codec, sar=sar, picture=corner)
    assert probe(path)[:2] == size
    shown = read(path, *size)[0, ..., 0] > 128
    assert abs(shown.sum() - shown.size / 4) < 0.03 * shown.size
    assert shown[: size[0] // 2 - 3, : size[1] // 2 - 3].all()


def test_wide_pixels_are_cut_as_they_are_shown(tmp_path):
    """Pixels twice as wide: of a picture of 64 x 64 that is shown as 64 x 128, the middle half is kept."""
    thirds = np.zeros((64, 64, 3), np.uint8)
    thirds[:, 16:48] = 255
    path = film(tmp_path / "a.mp4", 2, sar=Fraction(2), picture=lambda *_: thirds)
    assert read(path)[0].mean() > 240


@pytest.mark.parametrize("matrix", [(0, 1, 1, 0), (0, -1, -1, 0), (-1, 0, 0, 1)])
def test_mirrored_films_with_wide_pixels_are_shown_so_too(tmp_path, matrix):
    """White left and above in the file: it lies there still where rows and columns change places."""
    wide = with_matrix(film(tmp_path / "a.mp4", 2, sar=Fraction(2), picture=corner), *matrix)
    size = (128, 64) if matrix[0] == 0 else (64, 128)
    assert probe(wide)[:2] == size
    places = {(0, 1, 1, 0): "top left", (0, -1, -1, 0): "bottom right", (-1, 0, 0, 1): "top right"}
    assert brightest(read(wide, *size)[0]) == places[matrix]


@pytest.mark.slow
def test_a_turned_film_of_hdr_has_the_size_that_is_asked_for(tmp_path):
    bright = with_matrix(hdr(tmp_path / "pq.mp4", 16, 0.58), 0, 1, 1, 0)
    assert read(bright, 32, 48).shape[1:] == (32, 48, 3)


def half_seen(_, height, width):
    picture = np.full((height, width, 4), 200, np.uint8)
    picture[..., 3] = 255
    picture[:, : width // 2, 3] = 0
    return picture


@pytest.mark.parametrize(
    ("name", "codec", "pix", "options"),
    [
        ("a.mov", "prores_ks", "yuva444p10le", {}),
        ("a.mov", "qtrle", "argb", {}),
        ("a.mov", "png", "rgba", {}),
        ("a.mkv", "ffv1", "yuva420p", {}),
        ("a.webm", "libvpx-vp9", "yuva420p", {}),
        ("a.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0"}),
        ("a.apng", "apng", "rgba", {}),
        ("a.mkv", "libvpx-vp9", "yuva420p", {}),
        ("a.mkv", "ffv1", "bgra", {}),
        ("a.avi", "rawvideo", "bgra", {}),
        ("a.avi", "utvideo", "gbrap", {}),
    ],
)
def test_alpha_is_laid_over_black(tmp_path, name, codec, pix, options):
    path = film(tmp_path / name, 3, codec=codec, pix=pix, options=options, picture=half_seen)
    frames = read(path)
    assert frames[:, :, :30].mean() < 3
    assert abs(frames[:, :, 34:].mean() - 200) < 3


def test_a_gif_s_clear_pixels_are_black(tmp_path):
    from PIL import Image

    pictures = [Image.fromarray(half_seen(0, 64, 64)) for _ in range(3)]
    for number, picture in enumerate(pictures):
        picture.putpixel((40, number), (1, 2, 3, 255))
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100, disposal=2)
    frames = read(tmp_path / "a.gif")
    assert len(frames) == 3
    assert frames[:, :, :30].mean() < 3
    assert frames[:, :, 34:].mean() > 195


def hdr(path, transfer, *levels, codec="libx264"):
    """Five pictures of each level in ten bits: white of 203 cd/m² is 0.58 in PQ and 0.75 in HLG."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p10le"
        stream.options = {"libx264": {"crf": "1"}, "libx265": {"x265-params": "log-level=none"}}.get(codec, {})
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, transfer, 1
        for level in (level for level in levels for _ in range(5)):
            frame = av.VideoFrame(64, 64, "yuv420p10le")
            planes = (np.full((64, 64), 64 + round(876 * level), np.uint16), *[np.full((32, 32), 512, np.uint16)] * 2)
            for plane, values in zip(frame.planes, planes, strict=True):
                plane.update(values.tobytes())
            frame.colorspace, frame.color_range = 9, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


HDR = [
    ("pq.mp4", 16, 0.58, "libx264"),
    ("hlg.mov", 18, 0.75, "libx265"),
    *(
        pytest.param(*each, marks=pytest.mark.slow)
        for each in (
            ("hlg.mp4", 18, 0.75, "libx264"),
            ("pq.mkv", 16, 0.58, "libx265"),
            ("pq.mkv", 16, 0.58, "ffv1"),
            ("hlg.ts", 18, 0.75, "libx264"),
        )
    ),
]


@pytest.mark.slow
@pytest.mark.skipif(int(av.__version__.split(".")[0]) < 16, reason="FFmpeg before 8.0 maps no tones")
@pytest.mark.parametrize(("name", "transfer", "level", "codec"), HDR)
def test_white_of_hdr_is_white(tmp_path, name, transfer, level, codec):
    frames = read(hdr(tmp_path / name, transfer, level, 0.0, codec=codec))
    assert frames[:5].mean() > 245
    assert frames[5:].mean() < 5


@pytest.mark.slow
@pytest.mark.skipif(int(av.__version__.split(".")[0]) < 16, reason="FFmpeg before 8.0 maps no tones")
def test_films_of_one_size_and_one_kind_of_hdr_share_a_table(tmp_path):
    """It takes seconds to compute; films of both kinds come in turn here."""
    films = [hdr(tmp_path / "pq.mp4", 16, 0.58), hdr(tmp_path / "hlg.mp4", 18, 0.75)]
    first = [read(film) for film in films]
    begun = time.process_time()
    again = [read(film) for film in films]
    assert time.process_time() - begun < 1
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_hdr_that_cannot_be_mapped_is_named(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise av.error.OptionNotFoundError(1, "Option not found")

    monkeypatch.setattr(longtake.video.pictures.Pictures, "_tone_mapped", refuse)
    assert len(read(hdr(tmp_path / "pq.mp4", 16, 0.58))) == 5
    assert "pq.mp4: HDR" in caplog.text


@pytest.mark.parametrize(
    ("name", "codec", "fps", "options"),
    [
        ("a.mpg", "mpeg2video", 25, {"flags": "+ildct+ilme"}),
        ("a.ts", "libx264", 25, {"flags": "+ildct+ilme", "x264-params": "tff=1"}),
        ("a.mkv", "libx264", 25, {"x264-params": "interlaced=1"}),
        ("a.mp4", "libx264", 25, {"x264-params": "interlaced=1"}),
        ("a.avi", "mpeg4", 25, {"flags": "+ildct+ilme"}),
        ("a.mxf", "mpeg2video", 25, {"flags": "+ildct+ilme"}),
    ],
)
def test_interlaced_films_are_named(tmp_path, caplog, name, codec, fps, options):
    path = film(tmp_path / name, 10, codec=codec, fps=fps, options=options)
    assert len(read(path)) == 10
    assert f"{name}: interlaced" in caplog.text


def test_a_film_that_is_interlaced_later_on_is_named_when_it_is_read(tmp_path, caplog):
    """As a recording whose first pictures are an advertisement's."""
    plain = film(tmp_path / "plain.ts", 10, fps=25, options={"bf": "0"})
    combed = film(tmp_path / "combed.ts", 10, fps=25, options={"x264-params": "interlaced=1", "bf": "0"})
    (tmp_path / "a.ts").write_bytes(plain.read_bytes() + combed.read_bytes())
    assert len(read(tmp_path / "a.ts")) == 20
    assert "a.ts: interlaced" in caplog.text


def test_a_warning_names_so_many_films_then_counts_on(caplog):
    from longtake.video.probing import NAMED, warn_of

    for number in range(NAMED + 5):
        warn_of(f"{number}.mp4", "of a kind of its own")
    assert len(caplog.messages) == NAMED + 1
    assert "further films" in caplog.messages[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "tag"), [((720, 1280), 1), ((64, 64), 6)])
def test_what_is_written_says_its_colours_and_keeps_them(tmp_path, size, tag):
    red = torch.tensor([1.0, -1, -1])[:, None, None, None].expand(3, 5, *size)
    write_video(tmp_path / "red.mp4", [red], fps=8)
    with av.open(str(tmp_path / "red.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (tag, tag, tag)
    frames = read(tmp_path / "red.mp4", *size)
    assert np.abs(frames.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("size", [(720, 1280), (64, 64)])
def test_colours_that_are_not_said_are_taken_as_players_take_them(tmp_path, size):
    """By the film's size: BT.709 in high definition, BT.601 below."""
    red = np.broadcast_to(np.array([255, 0, 0], np.uint8), (*size, 3))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(red), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709" if size[0] > 576 else "ITU601")
    with av.open(str(tmp_path / "red.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        bare = av.VideoFrame(size[1], size[0], "yuv420p")
        for plane, values in zip(bare.planes, frame.planes, strict=True):
            plane.update(bytes(values))
        container.mux(stream.encode(bare))
        container.mux(stream.encode())
    assert np.abs(read(tmp_path / "red.mkv", *size).astype(int) - [255, 0, 0]).max() <= 3


def test_a_sliver_is_refused_and_not_blown_up(tmp_path):
    path = film(tmp_path / "a.mov", 2, codec="png", pix="rgb24", size=(4096, 2))
    with pytest.raises(ValueError, match=r"a\.mov: a picture of 2 x 4096 cannot be cut"):
        read(path, 480, 832)
