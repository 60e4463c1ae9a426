"""What stands for a deep model: shallow ones, whose counts are sums over blocks."""

import pytest

from benchmarks.pretrained_cost import CHUNKS, FAMILIES, Depths, lengths_of
from benchmarks.pretrained_recipes import RECIPES, fitting, peak_of, recipes_of


def test_a_deep_model_is_counted_by_shallow_ones():
    def count(depths):
        return {"flops": 7 + 3 * depths["dual"] + 5 * depths["single"], "same": 4}

    real = {"dual": 20, "single": 40}
    asked = []

    def seen(depths):
        asked.append(dict(depths))
        return count(depths)

    assert Depths.of(real).whole(seen) == count(real)
    assert asked == [{"dual": 1, "single": 1}, {"dual": 2, "single": 1}, {"dual": 1, "single": 2}]


@pytest.mark.parametrize("latent_fps", [2.0, 3.125, 6.0])
def test_lengths_are_whole_tens_near_what_is_asked(latent_fps):
    for seconds, latents in lengths_of(latent_fps).items():
        assert latents % 10 == 0
        assert abs(latents - max(10, seconds * latent_fps)) <= 5
    assert all(size % 2 == 0 for chunk in CHUNKS for size in chunk)  # CogVideoX 1.5 asks for it


def test_the_first_recipe_that_fits_is_told():
    gib = 2**30
    training = {
        "chunk": 6,
        "overlap": 2,
        "latents": 12,
        "learning": gib / 22,
        "activations": 20 * gib,
        "activations_by_window": 10 * gib,
        "bases": {"bfloat16": 30 * gib, "int8": 15 * gib, "nf4": 8 * gib},
    }
    plain = peak_of(training, RECIPES[0], blocks=30)
    assert plain == 51 * gib  # base, activations, and 22 bytes of each weight that learns
    assert fitting(training, 80, blocks=30) == (RECIPES[0], plain)
    recipe, peak = fitting(training, 48, blocks=30)
    assert recipe.settings == "network.train_windows_per_call=1"
    assert peak == 41 * gib
    recipe, peak = fitting(training, 24, blocks=30)
    settings = "network.train_windows_per_call=1 optimizer=adamw_8bit backbone.dtype=nf4"
    assert recipe.settings == settings
    assert peak == pytest.approx((8 + 10 + 1 + (16 + 2 * (1 + 4 / 256) - 2) / 22) * gib)
    assert fitting(training, 20, blocks=30) is None
    old = {"family": "other", "size": "480p", "training": [{}]}  # counted before there were bases
    record = {"family": "some", "size": "480p", "blocks": 30, "training": [training]}
    (sheet,) = recipes_of([old, record])
    told = ["some", "6+2", "12", "19.7 (by window, 8-bit Adam, nf4)", "41.0 (by window)", "51.0"]
    assert sheet.rows == [told]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wan_1_3b", "hunyuan_13b"])
def test_shallow_models_count_what_a_deeper_one_does(name, monkeypatch):
    from benchmarks import pretrained_cost
    from longtake.cost.sampling import VideoSize

    family = FAMILIES[name]
    deep = dict.fromkeys(family.depths, 3)
    monkeypatch.setattr(pretrained_cost, "_real_depths", lambda family: deep)
    video = VideoSize(0, 16, 8, 8, 20, 4096)
    found = pretrained_cost.full_counts(family, video, [4])
    network, _ = pretrained_cost.build(family, deep, "network=dit")
    assert found["parameters"] == sum(x.numel() for x in network.parameters())
    counted = pretrained_cost._step(pretrained_cost._evaluated(network), video, 4)
    assert found["flops_4"] == counted["flops"]
