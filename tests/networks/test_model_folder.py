"""Folders of pretrained models as users have them: read, or refused in one sentence before the weights are."""

import json
import os
import shutil

import pytest
import torch
from builders import awake
from safetensors.torch import load_file, save_file
from tiny_codecs import build_wan
from tiny_t5 import save_tiny_t5
from tiny_wan import backbone_of, tiny_transformer

from networks.codecs.diffusers_codec import DiffusersCodec
from networks.model_folder import check_pretrained, variant_of, weight_files
from networks.pretrained.learnt import refuse_other_base
from networks.reading import WrongFileError
from networks.text import T5Text

WEIGHTS = "diffusion_pytorch_model.safetensors"


def base_in(folder, *, pieces=False, variant=None, **changes):
    """A pipeline's folder with a tiny transformer; the transformer's folder."""
    told = {"max_shard_size": "20kB" if pieces else "1GB", "variant": variant}
    tiny_transformer(**changes).save_pretrained(folder / "transformer", **told)
    return folder / "transformer"


def changed(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewritten(path, change):
    save_file({name: change(name, x) for name, x in load_file(path).items()}, path)


@pytest.fixture
def unread(monkeypatch):
    from diffusers import WanTransformer3DModel

    def never(*_, **__):
        pytest.fail("the weights are read")  # no Exception, which loading would tell

    monkeypatch.setattr(WanTransformer3DModel, "from_pretrained", never)


def as_top(folder):
    return {"subfolder": ""}


def without_weights(folder):
    (folder / "transformer" / WEIGHTS).unlink()


def pickled(folder):
    torch.save(load_file(folder / "transformer" / WEIGHTS), folder / "transformer" / "diffusion_pytorch_model.bin")
    without_weights(folder)


def named_as_in_comfy(folder):
    (folder / "transformer" / WEIGHTS).rename(folder / "transformer" / "wan2.1_t2v_1.3B_bf16.safetensors")


def without_config(folder):
    (folder / "transformer" / "config.json").unlink()


def without_transformer(folder):
    (folder / "transformer").rename(folder / "unet")


def whole_numbers(folder):
    rewritten(folder / "transformer" / WEIGHTS, lambda name, x: x.to(torch.int8))


def of_another_size(folder):
    """config.json of one model beside the weights of another."""
    changed(folder / "transformer", ffn_dim=64)


def quantised(folder):
    changed(folder / "transformer", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


def in_two_variants(folder):
    for variant in ("fp16", "bf16"):
        shutil.copy(folder / "transformer" / WEIGHTS, folder / "transformer" / f"{WEIGHTS[:23]}.{variant}.safetensors")
    without_weights(folder)


def with_a_piece_elsewhere(folder):
    shutil.rmtree(folder / "transformer")
    index = base_in(folder, pieces=True) / f"{WEIGHTS}.index.json"
    named = json.loads(index.read_text())
    named["weight_map"][next(iter(named["weight_map"]))] = "../../elsewhere.safetensors"
    index.write_text(json.dumps(named))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            as_top,
            r"has no config\.json of a \w+ \(it holds transformer/\): set backbone\.subfolder to one of transformer",
        ),
        (without_weights, r"has no diffusion_pytorch_model\.safetensors \(it holds config\.json\): download it again"),
        (pickled, r"\(it holds config\.json, diffusion_pytorch_model\.bin\): download it again, .*, as safetensors in"),
        (named_as_in_comfy, r"has no diffusion_pytorch_model\.safetensors \(it holds config\.json, wan2\.1_t2v"),
        (without_config, r"has no config\.json of a WanTransformer3DModel \(it holds diffusion_pytorch_model"),
        (without_transformer, r"has no folder transformer \(it holds unet/\): give the folder of a whole pipeline"),
        (whole_numbers, r"holds weights in 8 bits \(.* is I8\)"),
        (of_another_size, r"ffn\.net\.0\.proj\.\w+ in '.*' is of 48\S* but its config\.json is of a Wan\w+ with 64"),
        (quantised, r"is quantised already .*: take the same model in bfloat16, and backbone\.dtype=nf4"),
        (in_two_variants, r"has the weights in variants bf16, fp16 and none without: keep one"),
        (with_a_piece_elsewhere, r"elsewhere\.safetensors is missing, a piece of the weights"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_before_its_weights_are_read(tmp_path, unread, spoil, sentence):
    base_in(tmp_path)
    told = spoil(tmp_path) or {}
    with pytest.raises(WrongFileError, match=sentence) as caught:
        backbone_of(tmp_path, **told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (
            "/nowhere/wan",
            r"^backbone\.pretrained=/nowhere/wan is not there: give a folder that is, or a name on the hub",
        ),
        ("~/wan", "~/wan is not there"),
        ("./wan", "./wan is not there"),
        ("models/video/wan", "models/video/wan is not there"),
        ("wan.safetensors", "wan.safetensors is not there"),
        ("https://huggingface.co/Wan-AI/Wan2.1/tree/main", "is an address, .* is read: give Wan-AI/Wan2.1$"),
    ],
)
def test_what_can_be_no_name_on_the_hub_is_not_asked_of_it(unread, place, sentence):
    with pytest.raises(WrongFileError, match=sentence):
        backbone_of(place)


def test_files_alone_are_refused_as_what_they_are(tmp_path, unread):
    (tmp_path / "wan.gguf").write_bytes(b"GGUF")
    save_file({"model.diffusion_model.head.weight": torch.ones(2)}, tmp_path / "wan.safetensors")
    with pytest.raises(WrongFileError, match="is quantised in GGUF, which is not read here"):
        backbone_of(tmp_path / "wan.gguf")
    with pytest.raises(WrongFileError, match="is one file, but a folder of diffusers or transformers is read"):
        backbone_of(tmp_path / "wan.safetensors")


@pytest.mark.parametrize("pieces", [False, True])
@torch.no_grad()
def test_a_variant_is_read_where_there_is_nothing_else(tmp_path, pieces):
    base_in(tmp_path, pieces=pieces, variant="fp16")
    assert all(".fp16" in path.name for path in weight_files(str(tmp_path), "transformer"))
    assert len(weight_files(str(tmp_path), "transformer")) == (7 if pieces else 1)
    assert torch.equal(backbone_of(tmp_path).model.proj_out.weight, tiny_transformer().proj_out.weight)
    missing = weight_files(str(tmp_path), "transformer")[0]
    missing.rename(tmp_path / "away")
    with pytest.raises(WrongFileError, match="is missing, a piece of" if pieces else "has no diffusion_pytorch_model"):
        backbone_of(tmp_path)
    (tmp_path / "away").rename(missing)
    base_in(tmp_path, num_layers=1)  # what is plain comes first
    assert variant_of(str(tmp_path), "transformer") is None
    assert [path.name for path in weight_files(str(tmp_path), "transformer")] == [WEIGHTS]
    assert backbone_of(tmp_path).depth == 1


def test_codec_and_text_are_read_in_a_variant_too(tmp_path):
    build_wan().save_pretrained(tmp_path / "vae", variant="fp16")
    codec = DiffusersCodec(class_name="AutoencoderKLWan", channels=4, pretrained=str(tmp_path))
    assert codec.encode(torch.zeros(1, 3, 5, 16, 16)).shape[1] == 4
    save_tiny_t5(tmp_path, "umt5")
    (tmp_path / "text_encoder" / "model.safetensors").rename(tmp_path / "text_encoder" / "model.bf16.safetensors")
    settings = {"features": 16, "subfolder": "text_encoder", "tokenizer_subfolder": "tokenizer", "dtype": "float32"}
    assert T5Text(pretrained=str(tmp_path), max_length=16, **settings).encode(["a red door"])[0].shape[2] == 16
    (tmp_path / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    with pytest.raises(WrongFileError, match=r"^codec: .*vae has no diffusion_pytorch_model\.safetensors"):
        DiffusersCodec(class_name="AutoencoderKLWan", channels=4, pretrained=str(tmp_path))


@pytest.mark.slow
def test_the_transformer_s_own_folder_is_read_and_known_by_its_hash(tmp_path):
    named = {"base_hash": backbone_of(base_in(tmp_path)).base_hash}
    changed(tmp_path / "transformer", brand_new=3)  # a key of a later version
    other = tmp_path / "other" / "transformer"
    awake(tiny_transformer(), seed=9).save_pretrained(other)
    with torch.device("meta"):
        same, another = (backbone_of(place) for place in (tmp_path / "transformer", other))
    refuse_other_base(same, named)
    with pytest.raises(ValueError, match="is not the base that these weights were trained upon"):
        refuse_other_base(another, named)
    with pytest.raises(WrongFileError, match=rf"transformer has no folder vae \(.*\): give {_WHOLE}"):
        check_pretrained(str(tmp_path / "transformer"), "vae")
    (tmp_path / "vae").mkdir()
    with pytest.raises(WrongFileError, match=rf"transformer has no folder vae \(.*\): give {tmp_path}$"):
        check_pretrained(str(tmp_path / "transformer"), "vae")


_WHOLE = "the folder of a whole pipeline of diffusers"


@pytest.mark.parametrize("place", ["base", "./base", "base/", "here/../base"])
def test_a_relative_place_and_one_that_cannot_be_written_are_read(tmp_path, monkeypatch, place):
    (tmp_path / "here").mkdir()
    folder = base_in(tmp_path / "base")
    for path in (folder / WEIGHTS, folder / "config.json", folder, folder.parent):
        path.chmod(0o444 if path.is_file() else 0o555)
    monkeypatch.chdir(tmp_path)
    assert backbone_of(place).depth == 2
    assert sorted(os.listdir(folder)) == ["config.json", WEIGHTS]
    for path in (folder.parent, folder):
        path.chmod(0o755)
