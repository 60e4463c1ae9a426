"""Hydra composes a program's configuration once, and still makes many runs where something sets its mode."""

import sys

import hydra
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra

from longtake.compat.hydra import compose_once

PLAIN = "size: 1\nhydra: {output_subdir: null, run: {dir: .}, sweep: {dir: .}}\n"
MANY = "size: 1\nhydra: {mode: MULTIRUN, output_subdir: null, sweep: {dir: .}, sweeper: {params: {size: '1,2'}}}\n"


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts a program on a configuration; the sizes that it ran with, and how often Hydra composed."""

    def start(text, *arguments):
        (tmp_path / "main.yaml").write_text(text)
        ran, composed, load = [], [], ConfigLoaderImpl.load_configuration
        monkeypatch.setattr(Hydra, "get_mode", Hydra.get_mode)  # which is put back
        monkeypatch.setattr(
            ConfigLoaderImpl, "load_configuration", lambda *given, **more: composed.append(1) or load(*given, **more)
        )
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        compose_once(tmp_path)
        hydra.main(version_base="1.3", config_path=str(tmp_path), config_name="main")(
            lambda cfg: ran.append(cfg.size)
        )()
        return ran, len(composed)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    return start


def test_a_program_is_composed_once(started):
    assert started(PLAIN, "size=3") == ([3], 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "arguments", "sizes"),
    [(PLAIN, ["size=3,4", "-m"], [3, 4]), (PLAIN, ["size=3,4", "hydra.mode=MULTIRUN"], [3, 4]), (MANY, [], [1, 2])],
    ids=["an option", "a setting", "a file"],
)
def test_many_runs_are_made_where_they_are_asked_for(started, text, arguments, sizes):
    assert started(text, *arguments)[0] == sizes
