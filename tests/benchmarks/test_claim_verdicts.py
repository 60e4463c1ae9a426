"""Verdicts on the papers' claims, from differences and from other benchmarks' results."""

import json

import pytest

from benchmarks.claiming import other_results, videos
from benchmarks.claiming.claims import CLAIMS, SHOWN, Claim
from benchmarks.claiming.methods import METHODS, SAME_AS
from benchmarks.claiming.nearness import KID, LIKENESS
from benchmarks.claiming.verdicts import judge, rows_of, verdict_of


@pytest.mark.parametrize(
    ("difference", "better", "groups", "verdict"),
    [
        ((0.2, 0.1, 0.3), "higher", 8, "holds"),
        ((0.2, 0.1, 0.3), "lower", 8, "does not hold"),
        ((-0.2, -0.3, -0.1), "lower", 8, "holds"),
        ((-0.2, -0.3, -0.1), "higher", 8, "does not hold"),
        ((0.2, -0.1, 0.5), "higher", 8, "unclear"),
        ((0.2, 0.1, 0.3), "higher", 3, "unclear"),
        ((0.0, 0.0, 0.0), "lower", 8, "unclear"),
    ],
)
def test_verdicts(difference, better, groups, verdict):
    assert verdict_of(difference, better, groups) == verdict


def test_claims_name_methods_and_rows_that_there_are():
    known = {*METHODS, *SAME_AS}
    assert {name for claim in CLAIMS for name in (claim.one, claim.other)} <= known
    assert {claim.measure for claim in CLAIMS} <= set(SHOWN)
    assert set(videos.ROWS) | {"seconds", KID, LIKENESS} == set(SHOWN)
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS)
    assert all(claim.better in ("higher", "lower") for claim in CLAIMS)


def test_what_is_missing_is_not_measured():
    claim = Claim("VIN", "a over b", "1", "mawe", "a", "b", "lower")
    video = {"seed": 0, "prompt": 0, "group": "x", "values": {"mawe": None}}
    for found in ({}, {"a": [video]}, {"a": [video], "b": [video]}):
        record = judge(claim, found)
        assert (record["verdict"], record["difference"], record["ours"]) == ("not measured", None, "–")
    assert rows_of([video]) == {}


def ratios(*values):
    return [{"frames": 2**n, "ratio": value} for n, value in enumerate(values)]


def test_lengths():
    assert other_results.by_length(ratios(0.5, 0.4), "ratio", 0.75) == "holds"
    assert other_results.by_length(ratios(1.5, 0.7, 0.9, 0.7, 0.6), "ratio", 0.75) == "holds from 8 frames on"
    assert other_results.by_length(ratios(0.5, 0.8), "ratio", 0.75) == "does not hold"


def write(folder, name, results):
    (folder / f"{name}.json").write_text(json.dumps(results))


def test_claims_of_other_results(tmp_path):
    empty = other_results.claims_of_files(tmp_path, "lovic")
    assert {claim["verdict"] for claim in empty} == {"not measured"}
    assert len(empty) == 8
    step = {"preset": "dit_s", "frames": 65, "flops_ratio": 0.7, "time_ratio": 0.8}
    write(tmp_path, "vin_cost_cpu", {"paper": [{"frames": 65, "flops_ratio": 1.3}], "steps": [step]})
    kinds = [("lovic, FlexFormer joint", 0.3, True), ("lovic, FlexFormer joint", 0.9, False), ("cell means", 0.6, True)]
    records = [
        {"model": model, "rate": 8 if trained else 2, "trained": trained, "nmse": [nmse, nmse - 0.1, nmse + 0.1]}
        for model, nmse, trained in kinds
    ]
    write(tmp_path, "compression", {"records": records})
    gains = [("prediction", [0.02, 0.01, 0.03]), ("retrodiction", [0.0, -0.01, 0.01])]
    gains = [{"task": task, "condition": "rate 8", "gain": gain} for task, gain in gains]
    write(tmp_path, "memory_gain", {"request": {}, "weights/lovic": {"records": gains}})
    case = {"case": "cut and return", "context": "memory", "gain": [-0.2, -0.3, -0.1]}
    write(tmp_path, "recall", {"request": {}, "elsewhere/lovic": {"colour": [case]}})
    steps = [
        {"segments": n, "way": "8", "kind": "forward", "time_ratio": 1 / n, "memory_ratio": 1.2 / n} for n in (1, 4)
    ]
    write(tmp_path, "lovic_cost_cpu", {"steps": steps})
    found = other_results.claims_of_files(tmp_path, "lovic")
    verdicts = ["does not hold", "holds", "does not hold", "holds", "holds", "unclear", "not measured", "does not hold"]
    assert [claim["verdict"] for claim in found] == [*verdicts, "holds"]
    assert found[0]["ours"] == "65: 30% more"
    assert found[2]["ours"] == "65: 25% faster"
    assert found[3]["ours"] == "lovic, FlexFormer joint (cell means) by rate: 8: 0.30 (0.60)"
    assert found[-1]["ours"].startswith("4 segments, r = 8: time 0.25, memory 0.30")
    assert other_results.curves(tmp_path)[1] == {
        "setting": "dit_s, cpu",
        "frames": 65,
        "flops_ratio": 0.7,
        "time_ratio": 0.8,
    }
