"""What optimizers of the config make of a schedule."""

from functools import partial

import pytest
import torch
from composing import composed
from hydra.utils import instantiate
from lightning import LightningModule
from torch import nn

from lightning_modules.optimization import configure, warmup_cosine


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_schedule_reaches_every_parameter(name):
    """Muon gives gains and biases to AdamW, which timm before 1.0.27 left at the full rate."""
    module = LightningModule()
    module.layers = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    first = instantiate(composed("train", f"optimizer={name}").optimizer)
    found = configure(module, first, partial(warmup_cosine, warmup_steps=10**6, total_steps=10**7, min_lr_ratio=0.1))
    before = [parameter.detach().clone() for parameter in module.parameters()]
    module.layers(torch.ones(2, 4)).square().sum().backward()
    found["optimizer"].step()
    for parameter, was in zip(module.parameters(), before, strict=True):
        assert torch.allclose(parameter, was, rtol=0, atol=1e-7)
    for group in found["optimizer"].param_groups:
        group["lr"] = 1e-2
    found["optimizer"].step()
    assert not any(torch.equal(parameter, was) for parameter, was in zip(module.parameters(), before, strict=True))
