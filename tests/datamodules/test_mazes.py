"""Mazes: layouts of seeds and numbers, and walks through them."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from tiny_mazes import ALL_KINDS, PLAN, mazes

from datamodules.mazes.layout import BLOCK, centre_of, draw_maze, split_of
from datamodules.mazes.looks import HUES, WALLS, patterns_of
from datamodules.mazes.plans import plan_of
from datamodules.mazes.walks import KINDS, plan_walk
from datamodules.mazes.ways import MOST_TURN, MOST_WAY, find_loop, shortest_way

# Layouts


def test_a_seed_and_a_number_give_a_maze_and_another_seed_another():
    first, again, other = (
        draw_maze(seed=seed, number=7, most_cells=4, patterned=False).describe() for seed in (1, 1, 2)
    )
    assert first == again
    assert first["looks"] != other["looks"]
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize("most_cells", [2, 3, 5])
def test_every_block_of_a_maze_can_be_reached_and_there_is_a_loop(most_cells):
    for maze in mazes(12, most_cells):
        free = {(int(row), int(column)) for row, column in np.argwhere(maze.region >= 0)}
        todo, reached = [next(iter(free))], set()
        while todo:
            row, column = todo.pop()
            if (row, column) in free - reached:
                reached.add((row, column))
                todo += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        assert reached == free
        height, width = maze.region.shape
        assert not any(row in (0, height - 1) or column in (0, width - 1) for row, column in free)
        assert any(find_loop(maze=maze, home=cell) for cell in np.ndindex(*maze.cells))
        assert set(np.unique(maze.region)) - {-1} <= set(range(len(maze.looks)))
        assert 2 <= min(maze.cells) <= max(maze.cells) <= most_cells


def test_rooms_of_a_maze_differ_and_their_things_stand_off_the_ways():
    for maze in mazes():
        walls = [(look.wall, look.wall_pattern) for look in maze.looks]
        assert max(Counter(walls).values()) == 1
        names = [thing.name for thing in maze.things]
        assert len(set(names)) == len(names) >= len(maze.rooms)
        ways = [centre_of(cell) for cell in np.ndindex(*maze.cells)]
        for thing_ in maze.things:
            assert maze.region_at(x=thing_.x, y=thing_.y) in maze.rooms.values()
            assert min(max(abs(thing_.x - x), abs(thing_.y - y)) for x, y in ways) > 0.8 * BLOCK
        assert {maze.region[sign.block] for sign in maze.signs} == set(maze.rooms.values())


@pytest.mark.parametrize("patterned", [True, False])
def test_looks_of_mazes_are_drawn_evenly(patterned):
    looks = [look for maze in mazes(60, patterned=patterned) for look in maze.looks]
    assert set(Counter(look.wall for look in looks)) == set(HUES)
    assert {look.wall_pattern for look in looks} == set(patterns_of("walls", patterned=patterned))
    assert {look.floor_pattern for look in looks} == set(patterns_of("floors", patterned=patterned))
    # Which floor and ceiling go with a wall cannot be told from the wall.
    floors = Counter(look.floor for look in looks if look.wall == "red")
    assert len(floors) > 10


def test_mazes_of_both_kinds_have_fine_patterns_or_coarse_ones():
    fine, coarse = (set(patterns_of("walls", patterned=patterned)) for patterned in (True, False))
    assert not fine & coarse - {"panelled"}
    assert fine | coarse == set(WALLS)
    for maze in mazes(20, patterned=False):
        walls = [(look.wall, look.wall_pattern) for look in maze.looks]
        assert len(set(walls)) == len(walls)
        assert len({look.ceiling for look in maze.looks}) == 1


def test_splits_follow_from_the_number_alone():
    splits = {name: {n for n in range(200) if split_of(number=n) == name} for name in ("train", "validation", "test")}
    assert {name: len(numbers) for name, numbers in splits.items()} == {"train": 160, "validation": 20, "test": 20}
    assert {split_of(number=n) for n in range(5)} == {"train", "validation"}


def test_a_maze_of_one_cell_is_refused():
    with pytest.raises(ValueError, match="most_cells is 1"):
        draw_maze(seed=0, number=0, most_cells=1, patterned=False)


def test_a_maze_with_more_things_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"more than the 128 things that there are; .* give most_cells=8 or fewer"):
        draw_maze(seed=1000, number=50, most_cells=13, patterned=False)


# Walks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [2, 9, 60, 317])
def test_walks_stay_off_walls_and_move_slowly(kind, frames):
    for number, maze in enumerate(mazes(12)):
        walk = plan_walk(maze=maze, kind=kind, frames=frames, rng=np.random.default_rng(number))
        assert walk.track.shape == (frames, 3)
        assert len(walk.legs) == frames
        steps = np.diff(walk.track, axis=0)
        assert np.hypot(steps[:, 0], steps[:, 1]).max() <= MOST_WAY + 1e-6
        assert np.abs(steps[:, 2]).max() <= MOST_TURN + 1e-6
        # At once the marine reaches no speed that the game cannot give.
        assert np.abs(np.diff(np.hypot(steps[:, 0], steps[:, 1]), prepend=0.0)).max(initial=0.0) < 4.0 or frames < 9
        for x, y, _ in walk.track:
            around = [maze.region_at(x=x + dx, y=y + dy) for dx in (-17, 17) for dy in (-17, 17)]
            assert min(around) >= 0


def test_a_backtrack_mirrors_its_poses():
    for number, maze in enumerate(mazes(8)):
        for frames in (60, 61):
            walk = plan_walk(maze=maze, kind="backtrack", frames=frames, rng=np.random.default_rng(number))
            turn = walk.turn_frame
            assert turn == frames // 2
            for k in range(frames - turn):
                assert np.array_equal(walk.track[turn + k], walk.track[turn - k])
            assert set(walk.legs[turn + 1 :]) == {"back"}
            assert "back" not in walk.legs[: turn + 1]


def test_a_return_comes_the_same_way_and_looks_the_other_way():
    for number, maze in enumerate(mazes(8)):
        walk = plan_walk(maze=maze, kind="return", frames=160, rng=np.random.default_rng(number))
        back = walk.legs.index("back")
        assert np.hypot(*(walk.track[back - 1] - walk.track[walk.turn_frame])[:2]) < 1e-6
        for k in range(min(walk.turn_frame, 160 - back)):
            there, here = walk.track[walk.turn_frame - 1 - k], walk.track[back + k]
            assert np.abs(there[:2] - here[:2]).max() < 1e-6
            assert abs(abs(there[2] - here[2]) - 180.0) < 1e-6
        assert back + walk.turn_frame > 120  # nearly all of the way is walked twice


def test_a_loop_comes_home_by_another_way():
    seen = 0
    for number, maze in enumerate(mazes(12)):
        walk = plan_walk(maze=maze, kind="loop", frames=600, rng=np.random.default_rng(number))
        home = centre_of(walk.home)
        round_ = [place for place, leg in zip(walk.track, walk.legs, strict=True) if leg == "round"]
        off = [max(abs(x - home[0]), abs(y - home[1])) for x, y, _ in round_]
        left = next(index for index, far in enumerate(off) if far > 2.0 * BLOCK)
        back = len(off) - next(index for index, far in enumerate(off[::-1]) if far > 2.0 * BLOCK)
        gone, come = (round_[index][:2] - home for index in (left, back - 1))
        assert off[-1] <= BLOCK
        assert np.hypot(*(gone - come)) > BLOCK  # by another door than he left
        seen += walk.legs.count("again") > 0
    assert seen > 6


def test_both_walks_of_a_cut_are_about_one_room():
    kinds = {"cut": 1.0}
    for number in range(12):
        common = {**PLAN, "frames": 317, "third_person_share": 0.5}
        leave, rejoin = (plan_of(root="", maze=number, number=n, kinds=kinds, **common) for n in (2, 3))
        assert (leave.kind, rejoin.kind) == ("leave", "rejoin")
        assert (leave.third_person, leave.colour) == (rejoin.third_person, rejoin.colour)
        maze = leave.draw_maze()
        first, second = leave.plan(maze=maze), rejoin.plan(maze=maze)
        assert first.home == second.home
        home = maze.rooms[first.home]
        regions = [[maze.region_at(x=x, y=y) for x, y, _ in walk.track] for walk in (first, second)]
        assert regions[0][0] == home != regions[1][0]
        looking = [region for region, leg in zip(regions[1], second.legs, strict=True) if leg == "look"]
        assert looking[0] == home
        angles = [angle for (*_, angle), leg in zip(first.track, first.legs, strict=True) if leg == "look"]
        assert max(angles) - min(angles) > 300.0


def test_an_unknown_kind_of_walk_is_refused():
    with pytest.raises(ValueError, match=r"'fly'; use one of explore, backtrack, return"):
        plan_walk(maze=mazes(1)[0], kind="fly", frames=9, rng=np.random.default_rng(0))


def test_ways_are_the_shortest():
    for maze in mazes(8):
        cells = list(np.ndindex(*maze.cells))
        for cell in cells:
            way = shortest_way(maze=maze, first=cells[0], last=cell)
            assert (way[0], way[-1]) == (cells[0], cell)
            assert all(b in maze.neighbours(a) for a, b in pairwise(way))
        assert shortest_way(maze=maze, first=cells[0], last=cells[0]) == [cells[0]]


def test_kinds_views_and_silence_are_shared_out():
    shares = {**PLAN, "third_person_share": 0.5, "silent_share": 0.25}
    plans = [plan_of(root="", maze=m, number=n, kinds=ALL_KINDS, **shares) for m in range(400) for n in range(2)]
    kinds = Counter(plan.kind for plan in plans)
    assert kinds["leave"] == kinds["rejoin"]
    for kind, share in ALL_KINDS.items():
        count = kinds[kind] if kind != "cut" else kinds["leave"] + kinds["rejoin"]
        assert abs(count / len(plans) - share) < 0.05
    assert sum(plan.third_person for plan in plans) == 400
    assert sum(plan.silent for plan in plans) == 200
    assert min(Counter(plan.colour for plan in plans if plan.third_person).values()) > 70
