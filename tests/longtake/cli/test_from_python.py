"""Scoring and data from Python: settings are refused as on the command line, in one sentence, before a file is read."""

import pytest
from composing import ROOT
from hydra import compose, initialize_config_dir

import longtake
from longtake.cli.composed import compose_from_python


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("short_side=32", "settings='short_side=32' must be a list of texts"),
        (["shortside=32"], "shortside is not a setting; did you mean short_side"),
        (["short_side=-3"], "short_side=-3 must be a whole number, at least 1"),
        (["metrics=nix"], "Could not find 'metrics/nix' Available options"),
        (["abc"], "'abc' is no key=value"),
        (["cost=true"], "score nothing: use `longtake cost`"),
    ],
)
def test_wrong_settings_of_a_score(tmp_path, settings, said):
    with pytest.raises(ValueError, match=said) as caught:
        longtake.score(tmp_path, output=tmp_path / "report", settings=settings)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_one_folder_is_no_comparison_and_a_report_needs_a_place():
    with pytest.raises(ValueError, match="videos='outputs' is one folder: give a list of folders"):
        longtake.compare("outputs", output="report")
    with pytest.raises(ValueError, match="output=None must be the folder of the report"):
        longtake.score("outputs", output=None)


@pytest.mark.parametrize(
    ("settings", "split", "said"),
    [
        (("datamodul=folder",), "test", "datamodul is not a setting; did you mean datamodule"),
        (("datamodule=folder",), "test", r"datamodule\.root is missing: give datamodule\.root=…"),
        (("datamodule=folder", "datamodule.root=a", "datamodule.height=-3"), "test", "height -3"),
        (("datamodule=folder", "datamodule.root=a"), "validation", "split='validation' must be 'train'"),
    ],
)
def test_wrong_settings_of_data(tmp_path, monkeypatch, settings, split, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        longtake.open_data(*settings, split=split)


def test_a_program_of_hydras_own_goes_on_after_a_call():
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        assert compose_from_python("evaluate", ["short_side=32"]).short_side == 32
        assert compose("evaluate").short_side == 256
