"""The measurement of VIN's tokens, on untrained weights that are awake and walks of squares."""

import json

import pytest
import torch
from tiny_runs import TINY
from untrained import CAPTIONS, awake

from benchmarks import token_gain


@pytest.fixture
def table(walks):
    """The walks with short captions, all for training but one."""
    rows = ["path,text,short_text,split"]
    for number, caption in enumerate(CAPTIONS):
        rows.append(f"videos/E1M1/{number}.mp4,{caption},A walk.,{'train' if number else 'validation'}")
    (walks / "short.csv").write_text("\n".join(rows))
    return walks


def run(monkeypatch, table, output, *weights):
    sizes = ("height=32", "width=32", "num_frames=[9,25]", "hop_frames=25")
    data = ["datamodule=table", *(f"datamodule.{key}" for key in sizes), "datamodule.table=short.csv"]
    places = [f"datamodule.root={table}", f"datamodule.cache_dir={table.parent / 'cache'}"]
    settings = [key for key in TINY if key.startswith(("codec", "backbone"))]
    own = ["split=train", "videos=2", "seeds=2", "times=0.5,0.9", f"output={output}"]
    arguments = [*(f"weights={each}" for each in weights), *own, *settings, "text=minilm", *data, *places]
    monkeypatch.setattr("sys.argv", ["token_gain", *arguments])
    torch.manual_seed(0)  # the untrained codec
    token_gain.main()
    assert "What the global tokens gain" in (output / "token_gain.md").read_text()
    return json.loads((output / "token_gain.json").read_text())["records"]


def weights_of(path, *overrides):
    keys = [key for key in TINY if not key.startswith("text=")]
    if "network=dit" in overrides:
        keys = [key for key in keys if not key.startswith(("network.", "interface."))]
    return awake([*keys, "text=minilm", "datamodule.root=unused", *overrides], path)


@pytest.mark.slow
def test_gains_by_text_and_time(table, tmp_path, monkeypatch):
    weights = [weights_of(tmp_path / "faithful.ckpt"), weights_of(tmp_path / "plan.ckpt", "network=vin_plan")]
    found = run(monkeypatch, table, tmp_path, *weights)
    assert list(found) == ["faithful.ckpt", "plan.ckpt"]
    for records in found.values():
        assert [record["text"] for record in records] == ["full", "short", "none"]
        assert len({record["loss"][0] for record in records}) == 3  # each text says something else
        for record in records:
            assert record["loss"][0] == pytest.approx(sum(record["loss_by_time"].values()) / 2)
            assert record["gain"][0] == pytest.approx(sum(x[0] for x in record["gain_by_time"].values()) / 2)
            assert record["gain"][0] != 0
    again = run(monkeypatch, table, tmp_path, weights[0])
    assert again["faithful.ckpt"] == found["faithful.ckpt"]


@pytest.mark.slow
def test_what_cannot_be_measured_is_refused(table, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="have no global tokens: give those of vin"):
        run(monkeypatch, table, tmp_path, weights_of(tmp_path / "dit.ckpt", "network=dit"))
    (table / "short.csv").write_text("path,text\nvideos/E1M1/0.mp4,one\nvideos/E1M1/1.mp4,two")
    with pytest.raises(ValueError, match="holds no video of 25 frames with a short_text"):
        run(monkeypatch, table, tmp_path, weights_of(tmp_path / "vin.ckpt"))
