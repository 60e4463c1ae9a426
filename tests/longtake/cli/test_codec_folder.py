"""Another codec of the same latents: `codec.folder` of generate.py."""

import json
import shutil

import pytest
import torch
from composing import ROOT, composed

from longtake.cli.request import requested
from longtake.cli.weights import Take, pipeline_of
from networks.codecs.causal import CausalVideoAutoencoder
from networks.codecs.growing import begin_from
from networks.saving import save_pretrained

OWN = ROOT / "weights" / "codec_mazes_64"


def request(*changes):
    return requested(composed("generate", f"weights={ROOT}/weights/lovic_mazes_64", "output=out", *changes))


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """The shipped codec of mazes as one of twice the picture, before it has learned any more."""
    config = {**json.loads((OWN / "config.json").read_text()), "patch": 8}
    codec = CausalVideoAutoencoder(**{key: value for key, value in config.items() if key != "_class_name"})
    begin_from(codec, OWN)
    folder = tmp_path_factory.mktemp("codecs") / "larger"
    save_pretrained(codec, config, folder)
    return folder


def test_the_same_latents_are_shown_by_a_codec_of_a_larger_picture(larger):
    own, _ = pipeline_of(request("num_frames=33"))
    other, _ = pipeline_of(request("num_frames=33", f"codec.folder={larger}"))
    assert (own.height, own.width, other.height, other.width) == (64, 64, 128, 128)
    assert own.latents_shape(1, 33) == other.latents_shape(1, 33)
    latents = torch.randn(1, 64, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    small, large = (torch.cat(list(each.frames(latents)), dim=2) for each in (own, other))
    assert large.shape == (1, 3, 5, 128, 128)
    repeated = small.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    torch.testing.assert_close(large, repeated, rtol=0, atol=1e-4)


def test_videos_of_another_codec_are_other_videos(larger):
    takes = [Take(request("num_frames=33", *more), "cpu") for more in ([], [f"codec.folder={larger}"])]
    sizes = [request("num_frames=33", "height=128", "width=128")]
    prints = [take.settings for take in (*takes, *(Take(each, "cpu") for each in sizes))]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("weights/codec_freedoom_64", "another number of channels"),
        ("weights/lovic_mazes_64/network", "give one that decodes them"),
        ("nowhere", r"nowhere holds no config\.json"),
    ],
)
def test_a_codec_of_other_latents_is_refused(folder, words):
    with pytest.raises(ValueError, match=rf"^codec\.folder=\S*{folder} is no codec for the latents.*{words}"):
        pipeline_of(request(f"codec.folder={ROOT}/{folder}"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patch": "eight"}, "does not fit networks.codecs.causal.CausalVideoAutoencoder"),
        ({"channels": None}, "does not fit|channels"),
        ({"_class_name": "os.system"}, "names 'os.system', which is no network class of this project"),
    ],
)
def test_a_broken_config_is_told_by_its_folder_and_runs_nothing(change, words, larger, tmp_path):
    shutil.copytree(larger, tmp_path / "broken")
    config = {**json.loads((larger / "config.json").read_text()), **change}
    (tmp_path / "broken" / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(ValueError, match=rf"^codec\.folder=\S*broken is no codec .*({words})"):
        pipeline_of(request(f"codec.folder={tmp_path}/broken"))
