"""The keys of the configuration are frozen in a file, so that a rename is noticed.

They are typed on command lines, stand in released weights and in other people's yaml files. `CONFIG_KEYS=write pytest
tests/longtake/cli/test_config_keys.py -n 0` writes tests/config_keys.txt anew, for a commit that means to change them.
"""

import os

import pytest
from composing import CONF, PROGRAMS, ROOT, groups_of
from omegaconf import DictConfig, OmegaConf

FILE = ROOT / "tests" / "config_keys.txt"
SETTING_OTHERS = {"experiment", "debug"}  # files that have no keys of their own
HOW = (
    "a key that is gone breaks commands and weights of others: keep it, or add its new name to the table of renamed "
    "keys in longtake/releases/renamed.py. Then CONFIG_KEYS=write pytest tests/longtake/cli/test_config_keys.py -n 0"
)


def keys_of(node, prefix):
    """Dotted names of everything in a config that can be set."""
    for key in node:
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            yield from keys_of(node[key], f"{prefix}{key}.") if isinstance(node[key], DictConfig) else ()


def present():
    """Every key that a program's file or an option of a group brings, and the groups themselves."""
    files = {CONF / f"{program}.yaml": "" for program in PROGRAMS}
    for group in sorted({group for program in PROGRAMS for group in groups_of(program)} - SETTING_OTHERS):
        files |= dict.fromkeys((CONF / group).glob("*.yaml"), f"{group}.")
    found = set()
    for path, prefix in files.items():
        text = path.read_text()
        node = OmegaConf.create(text)
        found |= set(keys_of(node, "" if "@package _global_" in text else prefix)) | {prefix.rstrip(".")}
    own = ("_target_", "_partial_", "_convert_", "defaults")
    return sorted(key for key in found if key and key.split(".")[-1] not in own and not key.startswith("defaults"))


def changes(kept, now):
    """What to tell whoever changed keys; empty if nothing did."""
    gone, new = sorted(set(kept) - set(now)), sorted(set(now) - set(kept))
    told = [f"gone: {', '.join(gone)}"] if gone else []
    return "; ".join([*told, f"new: {', '.join(new)}"] if new else told)


def test_no_key_of_the_configuration_is_renamed_unnoticed():
    now = present()
    if os.environ.get("CONFIG_KEYS") == "write":
        FILE.write_text("\n".join(now) + "\n")
    said = changes(FILE.read_text().split("\n")[:-1], now)
    assert not said, f"{said}. {HOW}"
    assert len(now) > 300


@pytest.mark.parametrize(
    ("now", "said"),
    [(["a", "b"], ""), (["a", "c"], "gone: b; new: c"), (["a"], "gone: b"), (["a", "b", "c"], "new: c")],
)
def test_a_renamed_key_is_noticed(now, said):
    assert changes(["a", "b"], now) == said
