"""What bfloat16 changes of a video, on both sides of a comparison with diffusers."""

import torch

AS_GOOD = 1.5
"""Our rounding may be so many times diffusers': both round at other places, and chance does the rest."""


def in_bfloat16(pipeline, folder):
    """The pipeline of diffusers as its users load it."""
    made = type(pipeline).from_pretrained(folder, torch_dtype=torch.bfloat16)
    made.set_progress_bar_config(disable=True)
    return made


def check_rounding(name, exact, ours, theirs):
    """Latents of one noise after all steps: ours in bfloat16 are as near to float32's as diffusers' in bfloat16.

    exact: in float32. Says the three differences, relative to it: `pytest -k bfloat16 -s`, for docs/pretrained.md.
    """
    ours, theirs = ours.float(), theirs.float()
    scale = exact.norm()
    own, other, between = ((a - b).norm() / scale for a, b in ((ours, exact), (theirs, exact), (ours, theirs)))
    print(f"\n| {name} | {other:.1e} | {own:.1e} | {between:.1e} |")
    assert own < AS_GOOD * other
    assert between < own + other + 1e-6
