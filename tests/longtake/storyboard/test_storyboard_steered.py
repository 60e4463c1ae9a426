"""Storyboards whose frames are steered by numbers: whose numbers each canvas and each memory has."""

import pytest
import torch
from builders import CHANNELS
from composing import composed
from torch import nn
from writers import Writer, never

from longtake.cli.request import requested
from longtake.cli.storyboard import make_storyboard_video
from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard import maker
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import plan
from longtake.storyboard.run import make_storyboard
from longtake.storyboard.schema import GivenFacts, ModelLimits
from longtake.storyboard.store import SegmentStore

LIMITS = ModelLimits("weights", 3, 4, 4, MemoryPolicy(5, 2.0, 1.0, 64.0), 2, control=("x",))
ROWS = "\n".join(["frame,x", *(f"{frame},{frame}" for frame in range(45))])
BOARD = """control: walk.csv
segments:
  - {name: a}
  - {name: d, after: a, gap: 24}
  - {name: b, after: a}
  - {name: c, between: [b, d]}
"""


def planned(folder, board, rows=ROWS, limits=LIMITS):
    (folder / "story.yaml").write_text(board)
    (folder / "walk.csv").write_text(rows)
    return plan(read_storyboard(folder / "story.yaml", limits), limits, lambda _: GivenFacts(40, "content"))


def own_numbers(first, count):
    """Of latent frames from `first` on: the numbers of their own four frames, which for the take's first are one."""
    return torch.stack([torch.arange(4 * f - 3, 4 * f + 1).clamp(min=0) for f in range(first, first + count)]).float()


class Text:
    def encode(self, prompts):
        return torch.ones(len(prompts), 3, 2), torch.ones(len(prompts), 3, dtype=torch.bool)


def test_every_segment_has_the_rows_of_its_own_frames(tmp_path):
    made = planned(tmp_path, "control: walk.csv\nsegments: [{name: a}, {name: b}, {name: c}]\n")
    for number, step in enumerate(made.steps):
        assert torch.equal(step.control, own_numbers(3 * number, 3))


def test_what_adjoins_and_what_is_remembered_keep_their_own_numbers(tmp_path, monkeypatch):
    made = planned(tmp_path, BOARD)
    seen = {}

    def denoise(_, opened, canvas):
        condition = opened.condition
        memory = [each.segments.per_frame["control"][0, 0] for each in condition.context]
        seen[len(seen)] = (condition.per_frame["control"][0], memory)
        return opened.noise[:, :, canvas.new]

    monkeypatch.setattr(maker, "denoise", denoise)
    module = nn.Module()
    module.network, module.weight = nn.Module(), nn.Parameter(torch.zeros(1))
    make = maker.SegmentMaker(
        module=module, guidance=None, text_encoder=Text(), size=(CHANNELS, 4, 4), noise_level=0.0, on_step=None
    )
    make_storyboard(made, SegmentStore(tmp_path / "store"), make, never)
    order = [step.name for step in made.steps]
    starts = {name: 3 * number for number, name in enumerate("abcd")}
    for number, step in enumerate(made.steps):
        canvas, memory = seen[number]
        held = [slot for slot in range(len(step.canvas.frames)) if slot not in step.canvas.empty]
        wanted = torch.cat([own_numbers(starts[step.name] + step.canvas.frames[slot], 1) for slot in held])
        assert torch.equal(canvas[held], wanted), step.name
        assert [each.tolist() for each in memory] == [
            own_numbers(starts[source.name], 3).tolist() for source in step.sources
        ]
    between = made.steps[order.index("c")]
    assert between.before == "b"
    assert between.after == "d"


def test_other_numbers_are_another_segment(tmp_path):
    usual = {step.name: step.key for step in planned(tmp_path, BOARD).steps}
    other = {step.name: step.key for step in planned(tmp_path, BOARD, ROWS.replace("30,30", "30,31")).steps}
    assert {name for name in usual if usual[name] != other[name]} == {"c"}, "which has frame 30, and nobody remembers"
    without = {step.name: step.key for step in planned(tmp_path, BOARD.replace("control: walk.csv\n", "")).steps}
    assert not set(without.values()) & set(usual.values())


@pytest.mark.parametrize(
    ("rows", "limits", "words"),
    [
        (
            "x\n0\n1\n",
            LIMITS,
            r"line 1: control .*walk\.csv has 2 rows, but the take has 45 frames: give",
        ),
        ("y\n0\n", LIMITS, r"line 1: control .*walk\.csv, line 1: no column x"),
        (ROWS.replace("7,7", "7,nan"), LIMITS, r"line 1: control .*walk\.csv, line 9: x is 'nan'"),
        (ROWS, LIMITS._replace(control=()), "line 1: control: these weights take none, so leave it out"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_their_line(tmp_path, rows, limits, words):
    with pytest.raises(ValueError, match=r"story\.yaml, " + words):
        planned(tmp_path, BOARD, rows, limits)


def test_a_missing_file_is_refused(tmp_path):
    (tmp_path / "story.yaml").write_text(BOARD)
    with pytest.raises(ValueError, match=r"story\.yaml, line 1: .*walk\.csv cannot be read"):
        plan(read_storyboard(tmp_path / "story.yaml", LIMITS), LIMITS, never)


@pytest.mark.slow
def test_released_weights_go_where_the_storyboard_says(tmp_path):
    def made(name, angle):
        rows = "\n".join(["x,y,angle", *(f"{frame},0,{angle * frame}" for frame in range(45))])
        folder = tmp_path / name
        folder.mkdir()
        (folder / "walk.csv").write_text(rows)
        (folder / "story.yaml").write_text(
            "control: walk.csv\nsegments: [{name: a, latents: 6}, {name: b, latents: 6}]\n"
        )
        cfg = composed(
            "generate", "weights=lovic_mazes_64", f"storyboard={folder / 'story.yaml'}", f"output={folder / 'out'}",
            "num_inference_steps=1",
        )  # fmt: skip
        writer = Writer()
        make_storyboard_video(requested(cfg), writer, never)
        return writer.made["000.mp4"]

    one, other = made("one", 0), made("other", 3)
    assert one != other
