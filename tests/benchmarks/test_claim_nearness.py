"""Nearness to real walks: known answers, no bias from few or alike samples, and no prize for blur."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import ROOT
from benchmarks.claiming import comparison
from benchmarks.claiming.methods import METHODS
from benchmarks.claiming.nearness import KID, LIKENESS, Nearness, kid_parts, likenesses, pseudo_values
from benchmarks.claiming.references import codec_of, references
from benchmarks.claiming.videos import take_beside
from benchmarks.trained import interval
from datamodules.tables import Entry
from longtake.metrics.sharpness import Sharpness

LEVELS = [f"L{number}" for number in range(8)]


def walks(seed, *, levels=8, shift=0.0, spread=1.0, frames=5, size=16):
    """Features n d of frames of one video a level: a place of its own, and little change from frame to frame."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(levels, 1, size, generator=generator, dtype=torch.float64) * spread + shift
    return list(places + 0.1 * torch.randn(levels, frames, size, generator=generator, dtype=torch.float64))


def mean(values):
    return sum(values) / len(values)


def test_kid_is_the_unbiased_formula():
    one, other = walks(1, levels=4), walks(2, levels=4, shift=0.5)

    def kernel(a, b):
        return float(((a @ b.T / 16 + 1) ** 3).mean())

    terms = [
        kernel(one[i], one[j]) + kernel(other[i], other[j]) - kernel(one[i], other[j]) - kernel(one[j], other[i])
        for i in range(4)
        for j in range(4)
        if i != j
    ]
    assert mean(kid_parts(one, other, LEVELS[:4])) == pytest.approx(mean(terms))


@pytest.mark.slow
def test_two_draws_of_one_source_are_0_apart_on_average():
    found = [mean(kid_parts(walks(2 * seed), walks(2 * seed + 1), LEVELS)) for seed in range(60)]
    error = torch.tensor(found).std() / len(found) ** 0.5
    assert abs(mean(found)) < 3 * error
    shifted = [mean(kid_parts(walks(2 * seed, shift=0.5), walks(2 * seed + 1), LEVELS)) for seed in range(60)]
    assert mean(shifted) > 5 * error


def test_videos_that_are_the_walks_are_0_apart():
    assert kid_parts(walks(0), walks(0), LEVELS) == pytest.approx([0.0] * 8, abs=1e-9)


def test_what_varies_too_little_is_far_on_average():
    """A blur draws frames together: the mean of the frames is right, their variety is not."""
    found = [mean(kid_parts(walks(2 * seed, spread=0.2), walks(2 * seed + 1), LEVELS)) for seed in range(60)]
    assert mean(found) > 5 * torch.tensor(found).std() / len(found) ** 0.5


def test_walks_of_one_level_are_one_sample():
    one, other = walks(1, levels=4), walks(2, levels=4)
    halves = [part for each in one for part in (each[:2], each[2:])]
    others = [part for each in other for part in (each[:2], each[2:])]
    twice = [name for name in LEVELS[:4] for _ in range(2)]
    whole = kid_parts(one, other, LEVELS[:4])
    assert kid_parts(halves, others, twice) == pytest.approx([value for value in whole for _ in range(2)])


def test_pseudo_values_give_the_spread_of_the_whole():
    """Levels drawn again by their pseudo-values: as wide as the distance varies over draws of levels."""
    found, widths = [], []
    for seed in range(60):
        parts = kid_parts(walks(2 * seed, shift=0.7), walks(2 * seed + 1), LEVELS)
        value, low, high = interval(parts, LEVELS)
        found.append(value)
        widths.append(high - low)
    assert mean(widths) / 3.92 == pytest.approx(float(torch.tensor(found).std()), rel=0.3)
    terms = torch.tensor([[9.0, 1.0, 2.0], [1.0, 9.0, 6.0], [2.0, 6.0, 9.0]])
    assert pseudo_values(terms) == pytest.approx([9 - 12, 9 - 4, 9 - 2])


def test_likeness_is_a_difference_of_correlations():
    # about the centre (1, 1) frames point right, up, left and down
    real = [torch.tensor([point], dtype=torch.float64) for point in ([2, 1], [1, 2], [0, 1], [1, 0])]
    centre = torch.tensor([1.0, 1.0], dtype=torch.float64)
    assert likenesses(real, real, LEVELS[:4], centre) == pytest.approx([1 + 1 / 3] * 4)
    swapped = [real[place] for place in (2, 3, 0, 1)]
    assert likenesses(swapped, real, LEVELS[:4], centre) == pytest.approx([-1 - 1 / 3] * 4)
    short = [centre + 0.1 * (each - centre) for each in real]  # nearer to the mean, but in the right direction
    assert likenesses(short, real, LEVELS[:4], centre) == pytest.approx([1 + 1 / 3] * 4)
    # two prompts of a level: neither is the other's opposite
    assert likenesses(real, real, ["a", "b", "a", "b"], centre) == pytest.approx([1.0] * 4)


def test_the_same_video_for_all_prompts_is_like_none():
    real = walks(0)
    same = [torch.cat(real)] * 8
    near = Nearness(real=dict(enumerate(real)), others={}, groups=LEVELS)
    likeness = [each[LIKENESS] for each in near.values(dict(enumerate(same))).values()]
    assert mean(likeness) == pytest.approx(0, abs=1e-9)
    assert mean([each[LIKENESS] for each in near.values(dict(enumerate(real))).values()]) > 0.9


def test_few_levels_and_missing_videos():
    real = walks(0)
    near = Nearness(real=dict(enumerate(real)), others={0: walks(1)[0]}, groups=LEVELS)
    assert near.values({}) == {}
    two = near.values({0: real[0], 5: real[5]})
    assert [two[number][KID] for number in (0, 5)] == [None, None]
    assert two[0][LIKENESS] > 1
    assert near.values({3: real[3]})[3] == {KID: None, LIKENESS: None}
    assert near.values({number: real[number] for number in (0, 1, 6)})[6][KID] == pytest.approx(0, abs=1e-9)


def test_a_further_walk_of_the_level_is_found_once():
    entries = [Entry(Path(f"{level}/{n}.mp4"), "", "test") for level, n in ("a0", "b0", "a1", "b1", "a2")]
    left = entries[2:]
    assert [take_beside(entry, left) for entry in entries[:2]] == entries[2:4]
    assert take_beside(entries[0], left) == entries[4]
    assert take_beside(entries[1], left) is None


def test_what_was_made_of_walks_is_near_them_but_less_sharp():
    weights = ROOT / "weights" / "vin_freedoom_64"
    generator = torch.Generator().manual_seed(0)
    blocks = 0.4 * torch.rand(1, 1, 8, 8, generator=generator) - 0.4  # dark greys, which the codec has seen
    video = torch.kron(blocks, torch.ones(1, 1, 8, 8)).expand(3, 9, 64, 64)
    for change in references(weights).values():
        changed = change.apply(video)
        assert changed.shape == video.shape
        assert changed.abs().max() <= 1
        assert Sharpness().measure(changed).score < Sharpness().measure(video).score
        assert (changed - video).square().mean() < 0.2 * video.square().mean()
    assert list(references(ROOT / "nowhere")) == ["real_blurred"]


@pytest.mark.slow
def test_another_codec_makes_other_videos(tmp_path):
    """A decoder can be trained on alone: then the weights are the same, and what is seen is not."""
    for name in ("vin_freedoom_64", "codec_freedoom_64"):
        shutil.copytree(ROOT / "weights" / name, tmp_path / name)
    method = METHODS["vin"]

    def hashes():
        made = SimpleNamespace(options={"vin": str(tmp_path / "vin_freedoom_64")}, hashes={})
        name = references(tmp_path / "vin_freedoom_64")["real_decoded"].name
        return {**comparison.Comparison.hashes_of(made, method), "reference": name}

    before = hashes()
    file = tmp_path / "codec_freedoom_64" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    name = next(name for name in sorted(state) if name.startswith("decoder"))
    save_file({**state, name: state[name] + 1}, file)
    codec_of.cache_clear()
    after = hashes()
    assert [key for key in before if before[key] != after[key]] == ["codec_hash", "reference"]
    assert after["codec_hash"] in after["reference"]
