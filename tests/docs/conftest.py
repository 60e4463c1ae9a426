"""The folder in which documented commands are typed."""

import pytest
from composing import ROOT


@pytest.fixture
def place(tmp_path, videos):
    """A folder that looks like the repository, in which commands leave what they make; DIR has somebody's videos."""
    (tmp_path / "weights").mkdir()  # commands write beside what is there
    weights = [f"weights/{path.name}" for path in (ROOT / "weights").iterdir()]
    for name in ("storyboards", "conf", *(path.name for path in ROOT.glob("*.py")), *weights):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("DIR", "OTHER", "films"):
        (tmp_path / name).symlink_to(videos)
    return tmp_path


@pytest.fixture
def film_place(place, videos):
    """The place with a table of somebody's videos, where each has poses and actions."""
    rows = "".join(f"{n},{n},0,{5 * n},1,0\n" for n in range(25))
    (place / "walk.csv").write_text(f"frame,x,y,angle,forward,turn\n{rows}")
    lines = [f"{videos}/{n}.mp4,square {n},{place / 'walk.csv'}\n" for n in range(6)]
    (place / "videos.csv").write_text(f"path,caption,control\n{''.join(lines)}")
    return place
