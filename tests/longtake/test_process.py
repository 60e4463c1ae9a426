"""What a machine's arithmetic costs is measured, and said where it is dear."""

from functools import partial

import pytest
import torch
from timm.optim import Muon, muon
from torch import nn

from lightning_modules.optimization import built_on
from longtake import process
from longtake.compat.timm import orthogonalise_in
from longtake.running import Running


def test_the_ratio_is_of_two_times(monkeypatch):
    clock = iter([0.0, 8.0, 10.0, 14.0, 20.0, 22.0, 30.0, 31.0])  # bfloat16 takes 8 and 4, float32 2 and 1
    monkeypatch.setattr(process.time, "perf_counter", lambda: next(clock))
    assert process.bfloat16_slowness(size=2, tries=2) == 4.0


@pytest.fixture
def cpu(monkeypatch):
    """A CPU whose bfloat16 takes so many times as long as its float32."""

    def measured(slowness):
        monkeypatch.setattr(process, "bfloat16_slowness", lambda: slowness)

    process.has_slow_bfloat16.cache_clear()
    yield measured
    process.has_slow_bfloat16.cache_clear()


@pytest.mark.parametrize(("slowness", "told"), [(0.5, 0), (1.9, 0), (8.4, 1)])
def test_slow_bfloat16_is_told(cpu, caplog, slowness, told):
    cpu(slowness)
    Running(precision="bf16-mixed").check(torch.device("cpu"))
    assert len(caplog.messages) == told
    if told:
        assert caplog.messages[0].startswith("precision=bf16-mixed: this CPU has no arithmetic of bfloat16")
        assert caplog.messages[0].endswith("use precision=32-true")


def test_float32_is_not_measured(cpu, caplog):
    cpu(8.0)
    Running().check(torch.device("cpu"))
    assert not caplog.messages


@pytest.mark.parametrize(("slowness", "dtype"), [(0.5, torch.bfloat16), (8.0, torch.float32)])
def test_muon_takes_the_type_that_the_cpu_has(cpu, slowness, dtype):
    cpu(slowness)
    built_on(partial(Muon, lr=0.1), [nn.Parameter(torch.eye(4))], torch.device("cpu"))
    made = muon.zeropower_via_newtonschulz(torch.eye(4), 5, [(3.4, -4.8, 2.0)])
    orthogonalise_in(torch.bfloat16)  # as timm has it
    assert made.dtype == dtype
