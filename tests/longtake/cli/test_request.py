"""What a call of generate.py asks for, between its config and everything behind it."""

from dataclasses import asdict

import pytest
from composing import composed
from omegaconf import OmegaConf

from longtake.cli.request import AS_TOLD, RUNNING, requested
from longtake.cli.schemas import GenerateSettings

CHANGED = {"network", "num_inference_steps", "guidance_scale", "compression_ratio", "text", "codec", "backbone"}
GROUPS = {"rollout", "sampler", "guidance"}
OF_ITS_OWN = {"output", "storyboard"}
ELSEWHERE = {"devices", "parallel", "paths"}
"""What the processes of a call read, and what other settings refer to."""


def asked(*changes):
    return requested(composed("generate", "weights=nowhere", "output=out", *changes))


def test_every_setting_reaches_the_request():
    assert {*AS_TOLD, *RUNNING, *CHANGED, *GROUPS, *OF_ITS_OWN, *ELSEWHERE} == set(GenerateSettings.__annotations__)


def nodes(value):
    yield value
    if isinstance(value, dict):
        value = list(value.values())
    for each in value if isinstance(value, list | tuple) else ():
        yield from nodes(each)


def test_nothing_of_the_config_is_in_the_request():
    request = asked("rollout=segmentwise", "sampler=euler", "guidance=split", "prompt=[a,b]", "network.fusion=late")
    found = list(nodes(asdict(request)))
    assert not any(OmegaConf.is_config(each) for each in found)
    assert {"late", "a", "b", "longtake.samplers.Euler"} <= {each for each in found if isinstance(each, str)}
    assert request.changes.own == ("sampler", "guidance", "rollout")


def test_what_is_changed_of_a_group_leaves_it_to_the_weights():
    changes = asked("num_inference_steps=3", "guidance_scale=2.5").changes
    assert changes.groups == {"sampler": {"num_inference_steps": 3}, "guidance": {"scale": 2.5}}
    assert changes.own == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["storyboard=a.yaml", "control_file=a.csv"], r"control_file=a\.csv goes with one video"),
        (["storyboard=a.yaml", "given=a.mp4"], r"given=a\.mp4 and storyboard=a\.yaml: give one"),
        (
            ["storyboard=a.yaml", "prompt=x"],
            r"prompt=… does nothing beside storyboard=a\.yaml, which says what to make",
        ),
        (["storyboard=a.yaml", "num_videos=2"], r"num_videos=… does nothing beside storyboard=a\.yaml"),
        (["guidance=split", "guidance_scale=2"], "guidance_scale sets one scale"),
        (["output=???"], "output is missing: give output=…"),
    ],
)
def test_settings_that_exclude_each_other_are_refused_before_weights_are_looked_for(changes, words):
    with pytest.raises(ValueError, match=words):
        asked(*changes)
