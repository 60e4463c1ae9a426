"""Maps of walks: the way, its ends and the maze under it."""

import gzip
import json
import re

import torch
from video_files import textured

from longtake.cli import evaluate as program
from longtake.metrics.frame_difference import TemporalFlicker
from longtake.reports.beside import find_beside, read_poses
from longtake.reports.report_card import score_folder
from longtake.reports.report_files import write_report
from longtake.reports.scorer import Scorer
from longtake.reports.walk_map import layout_of, walk_map

LAYOUT = {"block": 128, "region": [[-1, 0, -1], [1, 1, 1], [-1, -1, -1]], "rooms": [{"cell": [0, 0], "region": 1}]}


def poses(*rows):
    return torch.tensor([[x, y, 0.0, angle] for x, y, angle in rows])


def points(svg):
    found = re.findall(r'<polyline points="(.*?)"', svg)
    return [tuple(map(float, pair.split(","))) for line in found for pair in line.split()]


def test_the_way_runs_right_and_up_with_the_map():
    svg = walk_map(poses((0, 0, 0), (100, 0, 0), (100, 50, 90)))
    way = points(svg)
    assert way[0][0] < way[-1][0]  # x to the right
    assert way[0][1] > way[-1][1]  # y upwards
    assert (way[-1][0] - way[0][0]) / (way[0][1] - way[-1][1]) == 2
    assert "rotate(-90.0)" in svg


def test_blocks_of_the_layout_lie_where_the_poses_are():
    svg = walk_map(poses((192, 64, 90), (192, 192, 90)), LAYOUT)
    assert svg.count('class="room"') == 3
    assert svg.count('class="way"') == 1
    left, top, side = (
        float(value) for value in re.search(r'class="way" x="(.*?)" y="(.*?)" width="(.*?)"', svg).groups()
    )
    x, y = points(svg)[0]
    assert left < x < left + side
    assert top < y < top + side


def test_a_still_camera_is_drawn_too():
    assert "<circle" in walk_map(poses((5, 5, 0)))


def test_a_layout_is_found_beside_the_poses_and_a_broken_one_is_none(tmp_path):
    table = tmp_path / "poses" / "maze_1" / "walk.csv.gz"
    table.parent.mkdir(parents=True)
    assert layout_of(table) is None
    layouts = tmp_path / "layouts"
    layouts.mkdir()
    (layouts / "maze_1.json").write_text(json.dumps(LAYOUT))
    assert layout_of(table) == LAYOUT
    for text in ("no json", "[]", '{"region": [[1], [1, 2]], "block": 1}', '{"region": [[1]], "block": 0}'):
        (layouts / "maze_1.json").write_text(text)
        assert layout_of(table) is None


def test_a_report_shows_the_walk_of_a_video_with_poses(tmp_path):
    textured(tmp_path / "videos" / "maze_1" / "walk.mp4", [100, 110, 120])
    table = tmp_path / "poses" / "maze_1" / "walk.csv.gz"
    table.parent.mkdir(parents=True)
    table.write_bytes(gzip.compress(b"frame,x,y,angle\n0,192,192,0\n1,200,192,0\n2,210,192,0\n"))
    (tmp_path / "layouts").mkdir()
    (tmp_path / "layouts" / "maze_1.json").write_text(json.dumps(LAYOUT))
    assert len(read_poses(table)) == 3
    videos, metrics = tmp_path / "videos", {"flicker": TemporalFlicker()}
    files = find_beside(videos, ["maze_1/walk.mp4"], boundaries=[], reference=None, poses=None)
    scorer = Scorer(
        metrics=metrics,
        read_video=lambda path: program.read_clip(path, short_side=64),
        kept=tmp_path / "out" / "scores",
        settings={},
    )
    card = score_folder(scorer, videos, files, [])
    write_report(card, tmp_path / "out", metrics=metrics, settings={}, videos=videos)
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count('<svg class="walk"') == 1
    assert text.count('class="room"') == 3
