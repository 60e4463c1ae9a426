"""A new run begins from shipped weights where their sizes fit, and says so."""

import logging

import pytest
import torch
from builders import tiny_dit
from composing import composed
from hydra.utils import instantiate
from torch import nn

from longtake.releases.pretrained import load_parts, load_start
from longtake.releases.reading import network_state


def holder(backbone):
    module, module.network = nn.Module(), nn.Module()
    module.network.backbone = backbone
    return module


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, logger="longtake")
    return lambda: " ".join(record.getMessage() for record in caplog.records)


def test_the_default_network_begins_from_what_is_shipped(said):
    cfg = composed("train")
    module = holder(instantiate(cfg.backbone))
    load_start(module, dict(cfg.start))
    shipped = network_state("weights/vin_freedoom_64", "start")
    for name, value in module.network.backbone.state_dict().items():
        assert torch.equal(value, shipped[f"backbone.{name}"].to(value.dtype)), name
    assert "backbone: from " in said()
    assert "start=null begins from nothing" in said()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("weights/vin_freedoom_64#backbone", "the weights of start.backbone have other sizes"),
        ("weights/not_there#backbone", "weights/not_there#backbone is not here"),
    ],
)
def test_what_does_not_fit_or_is_not_here_is_left_out(source, reason, said):
    module = holder(tiny_dit())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    load_start(module, {"backbone": source, "interface": source})
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert f"backbone: from nothing, since {reason}" in said()
    assert "interface" not in said()


def test_a_part_that_those_weights_do_not_have_is_named():
    with pytest.raises(ValueError, match=r"weights/vin_freedoom_64#nix: those weights have no part 'nix'; they have b"):
        load_parts(holder(tiny_dit()), {"backbone": "weights/vin_freedoom_64#nix"})
