"""The words of the command `longtake`, and what each stands for."""

import sys
from types import SimpleNamespace

import pytest

from longtake import cli
from longtake.cli.user_errors import start


@pytest.mark.parametrize(
    ("typed", "program", "words"),
    [
        (["generate", "output=o"], "generate", ["output=o"]),
        (["cost", "num_frames=257"], "evaluate", ["num_frames=257", "cost=true"]),
        (["vbench", "videos=v", "output=o"], "evaluate", ["videos=v", "output=o", "vbench=long_custom"]),
        (["vbench", "vbench=standard", "videos=v"], "evaluate", ["vbench=standard", "videos=v"]),
    ],
)
def test_a_word_runs_its_program_with_its_setting(typed, program, words, monkeypatch):
    ran = []
    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(main=lambda: ran.append(name)))
    monkeypatch.setattr(sys, "argv", ["longtake", *typed])
    cli.main()
    assert ran == [f"longtake.cli.{program}"]
    assert sys.argv == [f"longtake {program}", *words]


def test_another_word_is_refused_with_those_that_there_are(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["longtake", "costs"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "error: 'costs' is no program of longtake. usage: longtake {train|" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_refused_by_every_program(monkeypatch, capsys):
    monkeypatch.delenv("LONGTAKE_TRACE", raising=False)
    monkeypatch.setattr(sys, "argv", ["longtake evaluate", "output=o", 'videos="caf\udce9"'])
    with pytest.raises(SystemExit) as ended:
        start(print, "evaluate")
    assert ended.value.code == 2
    assert r'error: videos="caf\udce9" is not in UTF-8: set the terminal to UTF-8' in capsys.readouterr().err
