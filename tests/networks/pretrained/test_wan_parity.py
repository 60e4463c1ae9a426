"""A folder in the real format, with tiny random models of the real classes: the same video as diffusers makes of it."""

import shutil

import pytest
import torch
from builders import awake
from composing import composed
from hydra.utils import instantiate
from omegaconf import OmegaConf
from peft import get_peft_model_state_dict
from rounding import check_rounding, in_bfloat16
from safetensors.torch import load_file
from tiny_wan import learnt

from longtake.cli.user_errors import sentence
from longtake.pipeline import Pipeline
from longtake.releases.adapters import LORA, Adapters
from longtake.releases.bases import base_of
from longtake.releases.building import build
from longtake.releases.checkpoints import CONFIG_KEY
from longtake.releases.reading import load_run, read_run
from longtake.releases.writing import release
from longtake.samplers import ClassifierFreeGuidance, PretrainedScheduler
from networks.interfaces import Condition
from networks.saving import load_weights
from networks.text import T5Text, cleaned

WORDS = ["a", "green", "marine", "walks", "through", "dark", "hall", "red", "door", "blurred", "&"]
GROUPS = ("network=dit", "backbone=wan", "codec=wan", "text=umt5", "objective=rectified_flow", "sampler=pretrained")
PROMPT = "  A   green marine\twalks &amp; walks "


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    """WanPipeline, in float32, and the folder that it wrote."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"\u2581{word}", -2.0) for word in WORDS)]
    sizes = {"vocab_size": len(vocab), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    transformer = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=16,
        out_channels=16,
        text_dim=16,
        freq_dim=16,
        ffn_dim=48,
        num_layers=2,
    )
    pipeline = WanPipeline(
        tokenizer=T5Tokenizer(vocab=vocab, extra_ids=0),
        text_encoder=UMT5EncoderModel(UMT5Config(**sizes, pad_token_id=0, eos_token_id=1)).eval(),
        transformer=awake(transformer, scale=0.05).eval(),
        vae=AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
        ),
    )
    pipeline.set_progress_bar_config(disable=True)
    folder = tmp_path_factory.mktemp("wan")
    pipeline.save_pretrained(folder)
    return pipeline, str(folder)


def config_of(folder, **changes):
    """`network=dit` as a user composes it."""
    settings = {
        **{f"{part}.pretrained": folder for part in ("backbone", "codec", "text", "sampler")},
        "backbone.dtype": "float32",
        "backbone.width": 32,
        "backbone.num_heads": 2,
        "text.features": 16,
        "text.dtype": "float32",
        **changes,
    }
    return composed("train", *GROUPS, *(f"{key}={value}" for key, value in settings.items()), "paths.run_dir=.")


def ours(folder, **changes) -> Pipeline:
    cfg = config_of(folder, **changes)
    module = instantiate(cfg.lightning_module).eval()
    return Pipeline(
        module=module,
        guidance=instantiate(cfg.guidance),
        rollout=instantiate(cfg.rollout),
        codec=instantiate(cfg.codec),
        text_encoder=instantiate(cfg.text),
        height=32,
        width=48,
        fps=16,
    )


@pytest.mark.slow
@pytest.mark.parametrize("negative", ["", "blurred dark door"])
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_the_video_is_that_of_diffusers_after_20_steps(wan, scale, negative):
    pipeline, folder = wan
    made = ours(folder, **{"sampler.num_inference_steps": 20})
    made = made.replace(guidance=ClassifierFreeGuidance(scale=scale), negative_prompt=negative)
    noise = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    arguments = {"height": 32, "width": 48, "num_frames": 9, "num_inference_steps": 20, "guidance_scale": scale}
    expected = pipeline(PROMPT, negative, latents=noise, output_type="latent", **arguments).frames
    latents = made.latents([PROMPT], num_frames=9, seed=3)
    assert expected.std() > 0.5
    assert (latents - expected).norm() / expected.norm() < 1e-5
    pixels = pipeline(PROMPT, negative, latents=noise, output_type="pt", **arguments).frames[0]
    frames = made(PROMPT, num_frames=9, seed=3)
    torch.testing.assert_close((frames + 1) / 2, pixels.transpose(0, 1), rtol=0, atol=1e-4)
    if scale > 1:
        others = made.replace(negative_prompt=None).latents([PROMPT], num_frames=9, seed=3)
        assert (others - expected).norm() / expected.norm() > 1e-4


@pytest.mark.slow
def test_bfloat16_rounds_no_more_than_in_diffusers(wan):
    pipeline, folder = wan
    noise = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    arguments = {"height": 32, "width": 48, "num_frames": 9, "num_inference_steps": 20, "guidance_scale": 5.0}
    exact, theirs = (
        each(PROMPT, "", latents=noise, output_type="latent", **arguments).frames
        for each in (pipeline, in_bfloat16(pipeline, folder))
    )
    made = ours(folder, **{"backbone.dtype": "bfloat16", "backbone.lora_rank": 4, "sampler.num_inference_steps": 20})
    made = made.replace(guidance=ClassifierFreeGuidance(scale=5.0), negative_prompt="")
    check_rounding("Wan 2.1", exact, made.latents([PROMPT], num_frames=9, seed=3), theirs)


@pytest.mark.slow
def test_wan_22_ti2v_makes_the_video_of_diffusers(wan, tmp_path):
    """48 channels, an autoencoder of 16 x 16 pixels that folds patches, and a time for every token."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel

    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 16, "text_dim": 16, "freq_dim": 16, "ffn_dim": 48}
    vae = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=48,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=[0.1] * 48,
        latents_std=[2.0] * 48,
    )
    theirs = WanPipeline(
        tokenizer=wan[0].tokenizer,
        text_encoder=wan[0].text_encoder,
        transformer=awake(WanTransformer3DModel(in_channels=48, out_channels=48, num_layers=2, **sizes), scale=0.05),
        vae=vae.eval(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=5.0
        ),
        expand_timesteps=True,
    )
    theirs.set_progress_bar_config(disable=True)
    theirs.transformer.eval()
    theirs.save_pretrained(tmp_path)
    others = {"backbone": "wan22_ti2v", "codec": "wan22", "sampler.num_inference_steps": 20}
    made = ours(str(tmp_path), **others)
    made = made.replace(guidance=ClassifierFreeGuidance(scale=5.0), negative_prompt="")
    noise = torch.randn(1, 48, 3, 2, 4, generator=torch.Generator().manual_seed(3))
    arguments = {"height": 32, "width": 64, "num_frames": 9, "num_inference_steps": 20, "guidance_scale": 5.0}
    expected = theirs(PROMPT, "", latents=noise, output_type="latent", **arguments).frames
    latents = made.replace(width=64).latents([PROMPT], num_frames=9, seed=3)
    assert expected.std() > 0.5
    assert (latents - expected).norm() / expected.norm() < 1e-5
    pixels = theirs(PROMPT, "", latents=noise, output_type="pt", **arguments).frames[0]
    frames = made.replace(width=64)(PROMPT, num_frames=9, seed=3)
    torch.testing.assert_close((frames + 1) / 2, pixels.transpose(0, 1), rtol=0, atol=1e-4)


def test_what_is_no_scheduler_of_flows_is_said_in_a_sentence(wan, tmp_path):
    from diffusers import DDIMScheduler, UniPCMultistepScheduler

    def scheduler_of(folder, **settings):
        return PretrainedScheduler(pretrained=folder, subfolder="scheduler", num_inference_steps=4, settings=settings)

    assert scheduler_of(wan[1], flow_shift=5.0)._new_scheduler(torch.zeros(1, 1, 1, 2, 2)).config.flow_shift == 5.0
    for number, (scheduler, said) in enumerate(
        [
            (DDIMScheduler(), "holds a DDIMScheduler, but must hold one of FlowMatchEuler"),
            (UniPCMultistepScheduler(), "has prediction_type=epsilon, but only flows"),
        ]
    ):
        scheduler.save_pretrained(tmp_path / str(number) / "scheduler")
        with pytest.raises(ValueError, match=said):
            scheduler_of(str(tmp_path / str(number)))
    with pytest.raises(ValueError, match=r"sampler\.pretrained=.*nowhere is not there"):
        scheduler_of(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"settings\.flow_shif is not a setting"):
        scheduler_of(wan[1], flow_shif=5.0)


def test_text_is_cleaned_as_diffusers_cleans_it(wan):
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    for text in (PROMPT, "schÃ¶n &amp;lt; \n\n  door", ""):
        assert cleaned(text) == prompt_clean(text)
    settings = {"pretrained": wan[1], "features": 16, "subfolder": "text_encoder", "tokenizer_subfolder": "tokenizer"}
    plain, own = T5Text(**settings), T5Text(**settings, clean=True, reads_empty=True)
    assert plain.fingerprint != own.fingerprint
    assert not plain.encode([""])[1].any()
    assert own.encode([""])[1].tolist() == [[True]]
    assert torch.equal(own.encode([" a  door"])[0], plain.encode(["a door"])[0])


@pytest.fixture(scope="module")
def run(wan, tmp_path_factory):
    """A checkpoint of adapters that weigh twice, the folder of its base, which has moved since, and its pipeline."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(wan[1], folder / "base")
    changes = {"backbone.lora_rank": 4, "backbone.lora_alpha": 8, "sampler.num_inference_steps": 4}
    cfg = config_of(folder / "base", **changes)
    pipeline = ours(str(folder / "base"), **changes)
    place = learnt(pipeline.module.network).place.project
    for value in (place.weight, place.bias):  # of which diffusers knows nothing
        torch.nn.init.zeros_(value)
    kept = ("codec", "text", "network", "objective", "sampler", "guidance", "rollout", "lightning_module", "video")
    config = {**{key: OmegaConf.to_container(cfg[key], resolve=True) for key in kept}, "prompts": []}
    torch.save({CONFIG_KEY: config, "state_dict": pipeline.module.state_dict()}, folder / "last.ckpt")
    return folder / "last.ckpt", str((folder / "base").rename(folder / "moved")), pipeline


def through(transformer):
    """What a transformer of diffusers says to one noisy video."""
    seeded = torch.Generator().manual_seed(5)
    noisy, text = (torch.randn(*shape, generator=seeded) for shape in ((1, 16, 3, 4, 6), (1, 512, 16)))
    return noisy, text, transformer(noisy, torch.tensor([600.0]), text).sample


@torch.no_grad()
def test_diffusers_loads_the_adapters(wan, run, tmp_path):
    from diffusers import WanPipeline

    checkpoint, base, pipeline = run
    assert not any("base_layer" in name for name in torch.load(checkpoint)["state_dict"])
    adapters = Adapters(checkpoint, {"backbone": base})
    assert adapters.left_out == []
    adapters.save_lora(tmp_path, torch.float32)
    assert len(load_file(tmp_path / LORA)) == 2 * 2 * 4 * 2
    theirs = WanPipeline.from_pretrained(wan[1])
    noisy, text, plain = through(theirs.transformer)
    theirs.load_lora_weights(str(tmp_path), weight_name="pytorch_lora_weights.safetensors")
    made = through(theirs.transformer)[2]
    network = pipeline.module.network
    index = torch.arange(3.0).unsqueeze(0)
    expected = network(noisy, torch.full((1, 1), 0.6), Condition(index, text, None))
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    assert (made - plain).abs().max() > 0.01
    found = get_peft_model_state_dict(theirs.transformer, adapter_name="default_0")
    theirs.save_lora_weights(str(tmp_path / "again"), found)
    again = load_file(tmp_path / "again" / LORA)
    assert again.keys() == load_file(tmp_path / LORA).keys()
    assert all(torch.equal(value, again[name]) for name, value in load_file(tmp_path / LORA).items())


def test_a_merged_export_is_a_pipeline_of_diffusers(run, tmp_path):
    from diffusers import WanPipeline

    checkpoint, base, pipeline = run
    Adapters(checkpoint, {"backbone": base}).save_merged(tmp_path / "merged")
    theirs = WanPipeline.from_pretrained(tmp_path / "merged")
    theirs.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    arguments = {"height": 32, "width": 48, "num_frames": 9, "num_inference_steps": 4, "guidance_scale": 1.0}
    expected = theirs(PROMPT, latents=noise, output_type="latent", **arguments).frames
    latents = pipeline.latents([PROMPT], num_frames=9, seed=3)
    assert (latents - expected).norm() / expected.norm() < 1e-5


def test_a_merged_export_on_a_full_disk_leaves_what_was_there(run, small_disk):
    checkpoint, base, _ = run
    disk = small_disk(64)
    (disk / "merged" / "transformer").mkdir(parents=True)
    old = disk / "merged" / "transformer" / "diffusion_pytorch_model.safetensors"
    old.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left") as caught:
        Adapters(checkpoint, {"backbone": base}).save_merged(disk / "merged")
    assert str(disk) in sentence(caught.value)
    assert [path for path in disk.rglob("*") if path.is_file()] == [old]
    assert old.read_bytes() == b"old"


def test_a_release_finds_its_base_where_it_has_moved_and_names_it(run, tmp_path, monkeypatch):
    checkpoint, base, pipeline = run
    monkeypatch.chdir(tmp_path)
    shutil.copytree(base, "someone/wan")
    for place, said in ((base, "is a path of this machine"), ("someone/other", "no WanTransformer3DModel")):
        with pytest.raises(ValueError, match=said):
            release(checkpoint, "release", torch.float32, bases={"backbone": place})
    bases = dict.fromkeys(("backbone", "codec", "text"), "someone/wan")
    release(checkpoint, "release", torch.float32, bases=bases)
    config, state = read_run("release")
    assert base_of(config, "backbone") == base_of(config, "text") == config["sampler"]["pretrained"] == "someone/wan"
    made = build(config["network"])
    load_weights(made, state)
    video, time = torch.randn(1, 16, 3, 4, 6), torch.full((1, 1), 0.6)
    condition = Condition(torch.arange(3.0).unsqueeze(0), torch.randn(1, 4, 16), None)
    with torch.no_grad():
        assert torch.equal(made.eval()(video, time, condition), pipeline.module.network(video, time, condition))


def test_another_base_is_refused_before_it_is_read(run, tmp_path, monkeypatch):
    from diffusers import WanTransformer3DModel

    checkpoint, base, _ = run
    other = WanTransformer3DModel.from_pretrained(base, subfolder="transformer")
    awake(other, scale=0.05, seed=5).save_pretrained(tmp_path / "other" / "transformer")

    def never(*_, **__):
        pytest.fail("the weights are read")  # no Exception, which loading would tell

    monkeypatch.setattr(WanTransformer3DModel, "from_pretrained", never)
    with pytest.raises(ValueError, match=r"'.*other/transformer' is not the base that these weights were trained upon"):
        load_run(checkpoint, bases={"backbone": str(tmp_path / "other")})
    for changes, said in (
        (
            {"num_attention_heads": 3},
            r"width is 32, but '.*/transformer' has 48, so that these weights were .* another",
        ),
        ({"num_layers": 3}, r"is not the base that these weights were trained upon"),
    ):
        sizes = {**other.config, **changes}
        WanTransformer3DModel.from_config(sizes).save_pretrained(tmp_path / "size" / "transformer")
        with pytest.raises(ValueError, match=said):
            load_run(checkpoint, bases={"backbone": str(tmp_path / "size")})


def test_weights_without_adapters_are_refused(wan, tmp_path):
    cfg = config_of(wan[1], **{"backbone.lora_rank": 0})
    kept = ("codec", "text", "network", "objective", "sampler", "guidance", "rollout", "lightning_module", "video")
    config = {**{key: OmegaConf.to_container(cfg[key], resolve=True) for key in kept}, "prompts": []}
    state = instantiate(cfg.lightning_module).state_dict()
    torch.save({CONFIG_KEY: config, "state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"was not trained through adapters .*: set format=release"):
        Adapters(tmp_path / "last.ckpt", {})
