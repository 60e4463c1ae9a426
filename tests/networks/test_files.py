"""Files that are whole or not there, as others find them."""

import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from networks.files import whole


@pytest.mark.parametrize(("mask", "rights"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path, mask, rights):
    before = os.umask(mask)
    try:
        for name, write in (
            ("text", lambda part: part.write_text("a")),
            ("tensors", lambda part: save_file({"a": torch.ones(2)}, part)),
        ):
            with whole(tmp_path / name) as part:
                write(part)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {rights}
