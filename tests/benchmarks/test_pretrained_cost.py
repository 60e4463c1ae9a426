"""What stands for a deep model: shallow ones, whose counts are sums over blocks."""

import pytest

from benchmarks import pretrained_cost
from benchmarks.pretrained_cost import CHUNKS, METHODS, blank, completed, lengths_of, sheets_of
from benchmarks.pretrained_families import FAMILIES, Depths
from benchmarks.pretrained_recipes import RECIPES, fitting, peak_of, recipes_of
from benchmarks.pretrained_tables import full_step, pays_from, vin_step


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
    record = {"family": "some", "size": "480p", "blocks": 30, "training": [training]}
    (sheet,) = recipes_of([record])
    told = ["some", "6+2", "12", "19.7 (by window, 8-bit Adam, nf4)", "41.0 (by window)", "51.0"]
    assert sheet.rows == [told]


def steps_of(method, lengths, step):
    return [{"method": method, "latents": each, "step": step(each), "video": 100 * step(each)} for each in lengths]


def test_chunks_pay_from_where_their_line_crosses_the_parabola():
    def full(latents):
        return 3e9 * latents**2 + 5e10 * latents + 1e9

    def vin(latents):
        return 2e9 + 1e8 * latents + 8e11 * -(-latents // 6)

    lengths = [20, 40, 80, 120, 240, 480]
    record = {"rows": steps_of("full", lengths, full) + steps_of("vin 6+2", lengths, vin)}
    for latents in (7, 33, 200, 1000):
        assert full_step(record)(latents) == pytest.approx(full(latents))
        assert vin_step(record, "vin 6+2")(latents) == pytest.approx(vin(latents))
    first = pays_from(record, "vin 6+2")
    assert first == next(each for each in range(12, 1000, 6) if vin(each) < full(each)) == 30
    dear = {"rows": steps_of("full", lengths, lambda latents: latents) + steps_of("vin 6+2", lengths, vin)}
    assert pays_from(dear, "vin 6+2") is None


@pytest.mark.slow
def test_what_was_stopped_goes_on_and_only_whole_records_are_shown(monkeypatch):
    asked = []

    def rows(name, size, method, lengths):
        asked.append(method)
        lengths = [each for each in lengths if not method.startswith("vin 20") or each >= 20]
        return [{"latents": each, "method": method, "step": each, "video": each, "peak": each} for each in lengths]

    def training(name, size, chunk, overlap, chunks):
        asked.append(chunk)
        trained = {"activations": 1, "activations_by_window": 1, "parameters": 1, "learning": 1}
        bases = dict.fromkeys(("bfloat16", "int8", "nf4"), 1)
        return {"chunk": chunk, "overlap": overlap, "latents": chunks * chunk, "bases": bases, **trained}

    monkeypatch.setattr(pretrained_cost, "sampling_rows", rows)
    monkeypatch.setattr(pretrained_cost, "training_of", training)
    record = blank("cogvideox_2b", "480p")
    stopped = completed(record)
    assert [next(stopped), next(stopped)] == ["full", "vin 6+2"]
    assert not sheets_of([record])
    assert list(completed(record)) == ["vin 20+8", "lovic", "training 6+2", "training 20+8"]
    assert asked == [*METHODS, 6, 20]
    assert list(completed(record)) == []
    record["pays"] = dict.fromkeys(METHODS[1:])
    assert next(sheet.title for sheet in sheets_of([record])) == "Sampling at 480p"
    assert [(row["seconds"], row["method"]) for row in record["rows"][:4]] == [
        (5, "full"), (5, "vin 6+2"), (5, "lovic"), (10, "full"),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wan_1_3b", "hunyuan_13b"])
def test_shallow_models_count_what_a_deeper_one_does(name, monkeypatch):
    from benchmarks import pretrained_counts
    from longtake.cost.sampling import VideoSize

    family = FAMILIES[name]
    deep = dict.fromkeys(family.depths, 3)
    monkeypatch.setattr(pretrained_counts, "real_depths", lambda family: deep)
    video = VideoSize(0, 16, 8, 8, 20, 4096)
    found = pretrained_counts.full_counts(family, video, [4])
    network, _ = pretrained_counts.build(family, deep, "network=dit")
    assert found["parameters"] == sum(x.numel() for x in network.parameters())
    assert found["flops_4"] == pretrained_counts.step_of(network, video, 4)["flops"]
