"""Settings drawn by hypothesis: any value at any key of any option is taken or answered in one sentence, with its name.

What is drawn goes into a composed config as Hydra would put it there, so that thousands are tried in seconds. How Hydra
reads texts is `test_settings`'s; that programs build what passes here is seen by `benchmarks/settings_fuzz.py`.
"""

import copy
import math
import os
from functools import cache, reduce
from operator import getitem

import pytest
from composing import CHOICES, PROGRAMS, composed, groups_of, rows_of
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from omegaconf import OmegaConf

from longtake.cli import schemas
from longtake.cli.composed import check_settings, tree_of
from longtake.cli.user_errors import sentence
from longtake.settings.check import Tree, check_groups, check_tree

NEEDED = {"generate": ["output=OUT"], "export": ["run=RUN", "output=OUT"]}
ASKED = {"datamodule": ["datamodule.root=DIR", "datamodule.table=videos.csv"]}
LIMITS = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}

ONCE = [
    (program, group, option)
    for program, group, option in CHOICES
    if (program == "train" or group not in groups_of("train")) and group != "experiment"
]
"""Every option of every group but experiments, which have no settings of their own: those that other programs share
with train.py pass the same check."""
ROWS = {choice: [f"{group}={option}" for _, group, option in row] for row in rows_of(ONCE) for choice in row}
"""With each choice, the options that are composed at once."""
DRAWN = int(os.environ.get("SETTINGS", 2))
"""Values of each option, and eight times as many of a whole config; more by SETTINGS=N, as in `.ci/run`."""
NUMBERS = st.integers() | st.floats() | st.sampled_from([-1, 0, 1, 2, 1.5, -1.5, 1e30, 2**31, 2**63, 1e12, math.inf])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="$\\"), max_size=12)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(bool), inner, max_size=3),
    max_leaves=6,
)


@cache
def tree(program, *changes):
    """A composed config, as plain values."""
    cfg = composed(program, *NEEDED.get(program, []), *changes)
    return cfg, OmegaConf.to_container(cfg, resolve=False)


def places(node, prefix=()):
    """Every key at any depth, as a tuple of names."""
    for key, value in node.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from places(value, (*prefix, key))


def answer(check):
    """None where all is taken, or else what is said; anything but a ValueError is a fault of ours."""
    try:
        check()
    except ValueError as error:
        return sentence(error)
    return None


def checked(program, values):
    """What is said of a program's config."""
    cfg = OmegaConf.create(values)
    return answer(lambda: check_settings(cfg, getattr(schemas, f"{program.capitalize()}Settings")))


@cache
def references(program):
    """What stands at a key of a program's config once its reference is followed; each is followed once."""
    cfg, _ = tree(program)
    return cache(tree_of(cfg).resolve)


def put(values, place, value):
    changed = copy.deepcopy(values)
    node = changed
    for name in place[:-1]:
        node = node[name]
    node[place[-1]] = value
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
@limits(max_examples=8 * DRAWN, **LIMITS)
@given(data=st.data())
def test_any_value_at_any_key_is_taken_or_answered_by_name(program, data):
    _, values = tree(program)
    place = data.draw(st.sampled_from(sorted(set(places(values)))))
    value = data.draw(VALUES)
    said = checked(program, put(values, place, value))
    if said is not None:
        assert "\n" not in said
        assert any(name in said for name in place)


def kind_of(value):
    """bool, number, text, list or dict; None for null and for what is referred to."""
    if value is None or (isinstance(value, str) and ("${" in value or value == "???")):
        return None
    return next(kind for kind in (bool, (int, float), str, list, dict) if isinstance(value, kind))


SEVERAL_KINDS = ("devices", "strategy", "precision", "peak_tflops", "pretrained", "prompt", "logger", "overfit_batches")
"""Keys that take values of several kinds."""


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
@limits(max_examples=8 * DRAWN, **LIMITS)
@given(data=st.data())
def test_a_value_of_another_kind_is_refused(program, data):
    _, values = tree(program)
    kinds = {place: kind_of(reduce(getitem, place, values)) for place in places(values)}
    of_one = {x for x, kind in kinds.items() if kind not in (None, dict) and x[-1] not in SEVERAL_KINDS}
    place = data.draw(st.sampled_from(sorted(x for x in of_one if x[0] != "paths")))
    value = data.draw(VALUES)
    assume(value is not None and kind_of(value) is not None and kind_of(value) != kinds[place])
    assert checked(program, put(values, place, value)) is not None, (place, value)


@pytest.mark.parametrize("program", PROGRAMS)
@limits(max_examples=8 * DRAWN, **LIMITS)
@given(data=st.data())
def test_a_misspelt_key_is_refused_by_name(program, data):
    _, values = tree(program)
    place = data.draw(st.sampled_from(sorted(set(places(values)))))
    spot, letter = data.draw(st.integers(0, len(place[-1]) - 1)), data.draw(st.sampled_from("abcxyz_"))
    misspelt = place[-1][:spot] + letter + place[-1][spot + data.draw(st.booleans()) :]
    node = values
    for name in place[:-1]:
        node = node[name]
    free = place[:-1] in FREE.get(program, ()) or (len(place) > 1 and place[-2] == "settings")
    assume(misspelt not in node and not free)
    schema = getattr(schemas, f"{program.capitalize()}Settings")
    one_more = Tree(put(values, (*place[:-1], misspelt), 1), references(program))  # a key that nothing refers to
    said = answer(lambda: check_tree(one_more, schema))
    assert said is not None, misspelt
    assert misspelt in said


FREE = {
    "train": [("callbacks",), ("logger",), ("logger", "tensorboard"), ("paths",)],
    "evaluate": [("metrics",), ("rollouts",), ("paths",)],
}
"""Mappings whose names are anybody's; what stands there must still be a part, so that 1 is refused or is a path. Of a
TensorBoardLogger any name is an argument of its writer."""


@pytest.mark.slow
@pytest.mark.parametrize(("program", "group", "option"), ONCE)
def test_any_value_in_any_option_of_any_group_is_taken_or_answered(program, group, option):
    chosen = ROWS[program, group, option]
    cfg, _ = tree(program, *chosen, *(ASKED.get(group, []) if option in ("table",) else []))
    node = OmegaConf.to_container(cfg, resolve=False).get(group)
    if not isinstance(node, dict):
        return
    try:
        whole = OmegaConf.to_container(cfg, resolve=True)
    except Exception:  # an option that refers to another group, or to a value that is missing
        whole = {group: {key: each for key, each in node.items() if not (isinstance(each, str) and "${" in each)}}
    spots = sorted(set(places(whole[group])), key=str)
    if not spots:
        return

    @limits(max_examples=DRAWN, **LIMITS)
    @given(st.sampled_from(spots), VALUES)
    def answered(place, value):
        values = put(whole, (group, *place), value)
        said = answer(lambda: check_groups(Tree(values), [group]))
        assert said is None or ("\n" not in said and any(name in said for name in (group, *place)))

    answered()


@limits(max_examples=8 * DRAWN, **LIMITS)
@given(VALUES)
def test_a_config_that_is_anything_is_answered(value):
    for schema in (schemas.GenerateSettings, schemas.ExportSettings):
        for values in ({"output": value}, {str(value): value}, value if isinstance(value, dict) else {"a": value}):
            with pytest.raises(ValueError, match=r"is missing|is not a setting|must be|is no name"):
                check_tree(Tree(values), schema)
