"""Old names go on working: in weights' configs as today's, on the command line with an answer."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml
from composing import composed
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from longtake.cli import user_errors
from longtake.cli.resume import changed_rates
from longtake.configs import CONF
from longtake.releases.outside import checked_config
from longtake.releases.renamed import (
    ARGUMENTS,
    HASHED,
    MOVED,
    TYPED,
    hashed,
    renamed,
    renamed_arguments,
    renamed_setting,
)

OLD_MODULE = {
    "_target_": "lightning_modules.remembering.MemoryModule",
    "compressor_lr_share": 0.2,
    "tasks": {"_target_": "lightning_modules.tasks.TaskSampler", "past_share": 0.5, "neighbour_gap_share": 0.1},
    "rates": {"_target_": "lightning_modules.reconstruction.RateLaw", "lowest": 4.0, "highest": 32.0},
}


def test_every_moved_name_leads_to_what_is_there():
    for new in MOVED.values():
        resolve_name(renamed(new))
    for target in ARGUMENTS:
        resolve_name(target)


def test_a_config_of_old_names_is_read_as_today_s():
    codec = {"_target_": "networks.codecs.pixels.PixelCodec", "channels": 3}
    module = checked_config({"codec": codec, "lightning_module": OLD_MODULE}, "weights=old")["lightning_module"]
    assert module["_target_"] == "lightning_modules.memory.MemoryModule"
    assert module["compressor_lr_scale"] == 0.2
    assert module["tasks"]["past_prob"] == 0.5
    assert module["rates"]["_target_"] == "lightning_modules.reconstruction.RatioSampler"
    assert not re.search(r"(past|gap|lr)_share", str(module))


def test_a_class_that_moved_twice_is_found_by_its_first_name():
    assert renamed("lightning_modules.rollouts.whole.Whole") == "longtake.rollouts.single_pass.SinglePass"


def test_videos_of_an_older_name_are_found_by_their_hash():
    for today, older in HASHED.items():
        assert renamed(older) == today
        assert hashed({"_target_": today, "network_part": ""}) == {"_target_": older, "network_part": ""}
    other = {"_target_": "longtake.rollouts.anchored.Anchored", "window_frames": 10}
    assert hashed(other) == other


def test_a_resumed_run_reads_old_names_as_today_s():
    warm = {"_target_": "lightning_modules.optimization.warmup_cosine", "warmup_steps": 2}
    old, now = ({"scheduler": {**warm, name: 0.1}} for name in ("last_share", "min_lr_ratio"))
    assert changed_rates(old, now) == {}


def test_a_name_that_only_begins_alike_is_left_alone():
    assert renamed("lightning_modules.rememberingmore.X") == "lightning_modules.rememberingmore.X"
    assert renamed_arguments({"_target_": "networks.dit.VideoDiT", "past_share": 1}) == {
        "_target_": "networks.dit.VideoDiT",
        "past_share": 1,
    }


@pytest.mark.slow
@pytest.mark.parametrize("old", TYPED)
def test_an_old_setting_answers_with_its_new_name(old, monkeypatch):
    typed = old if old.count("=") else f"{old}=0.3"
    arguments = ["experiment=lovic_freedoom", typed]
    monkeypatch.setattr("sys.argv", ["train.py", *arguments])
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)), pytest.raises(HydraException) as caught:
        compose("train", overrides=arguments)
    answer = user_errors.sentence(caught.value)
    assert answer == f"{old} is called {TYPED[old]} now: type {TYPED[old]}{typed.removeprefix(old)}"
    assert renamed_setting(["experiment=lovic_freedoom", "seed=3"]) is None


def test_an_old_group_of_settings_answers_with_its_new_name():
    answer = renamed_setting(["cost=true", "rollouts.full.network_part=backbone"])
    new = "rollouts.full_attention"
    assert answer == f"rollouts.full is called {new} now: type {new}.network_part=backbone"
    assert (
        renamed_setting(["~rollouts.whole"])
        == "rollouts.whole is called rollouts.single_pass now: type rollouts.single_pass"
    )


@pytest.mark.slow
def test_new_settings_are_there():
    for new in TYPED.values():
        typed = new if "=" in new else f"{new}=0.25"
        program = {"compression_ratio": "generate", "rollouts": "evaluate"}.get(new.partition(".")[0], "train")
        composed(program, *(["experiment=lovic_freedoom"] if program == "train" else []), typed)
    with pytest.raises(HydraException):
        composed("train", "experiment=lovic_freedoom", "lightning_module.tasks.past_share=0.25")


def test_released_weights_name_classes_that_are_there():
    for path in Path(__file__).parents[3].glob("weights/*/config.yaml"):
        config = yaml.safe_load(path.read_text())
        for target in re.findall(r"'_target_': '([\w.]+)'", str(config)):
            resolve_name(renamed(target))
