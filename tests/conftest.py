"""Before torch loads: threads that wait without spinning, and one each, so that tests do not fight for cores."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

torch.set_num_threads(1)  # fixtures of modules run before those of functions, and runs are compared to the bit


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_float32_matmul_precision("highest")  # a program may have set it
