"""The same video as HunyuanVideoPipeline makes of a folder that it wrote, with tiny models of the real classes."""

import pytest
import torch
from builders import CHANNELS, HEADS, WIDTH, awake
from composing import composed
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rounding import check_rounding, in_bfloat16
from tiny_codecs import build_hunyuan
from tiny_hunyuan import tiny_transformer
from tiny_texts import POOLED, TEXT, tiny_llama

from longtake.pipeline import Pipeline
from longtake.samplers import ClassifierFreeGuidance
from networks.text_pooled import PooledText

GROUPS = ("network=dit", "backbone=hunyuan", "codec=hunyuan", "text=hunyuan", "objective=rectified_flow")
PROMPT = "a green marine walks"
TEMPLATE = {"template": "say red {} door", "crop_start": 2}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """HunyuanVideoPipeline, in float32, and the folder that it wrote."""
    from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline

    torch.manual_seed(0)
    made = HunyuanVideoPipeline(
        **tiny_llama(),
        transformer=tiny_transformer(text_embed_dim=TEXT, pooled_projection_dim=POOLED),
        vae=awake(build_hunyuan(), scale=0.05).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )
    made.set_progress_bar_config(disable=True)
    folder = tmp_path_factory.mktemp("hunyuan")
    made.save_pretrained(folder)
    return made, str(folder)


def ours(folder, **changes) -> Pipeline:
    """`network=dit` as a user composes it."""
    settings = {
        **{f"{part}.pretrained": folder for part in ("backbone", "codec", "text", "sampler")},
        "backbone.dtype": "float32",
        "backbone.width": WIDTH,
        "backbone.num_heads": HEADS,
        "codec.channels": CHANNELS,
        "codec.dtype": "float32",
        "text.features": 16,
        "text.pooled_features": 8,
        "text.dtype": "float32",
        "text.template_tokens": TEMPLATE["crop_start"],
        "sampler.num_inference_steps": 20,
        **changes,
    }
    values = (f"{key}={value}" for key, value in settings.items())
    cfg = composed("train", *GROUPS, "sampler=hunyuan", *values, "paths.run_dir=.")
    OmegaConf.update(cfg, "text.template", TEMPLATE["template"])
    return Pipeline(
        module=instantiate(cfg.lightning_module).eval(),
        guidance=instantiate(cfg.guidance),
        rollout=instantiate(cfg.rollout),
        codec=instantiate(cfg.codec),
        text_encoder=instantiate(cfg.text),
        height=32,
        width=48,
        fps=24,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "negative"), [(1.0, None), (3.0, ""), (3.0, "blurred dark door")])
def test_the_video_is_that_of_diffusers_after_20_steps(pipeline, scale, negative):
    theirs, folder = pipeline
    made = ours(folder, **{"backbone.told_guidance": 4.5})
    made = made.replace(guidance=ClassifierFreeGuidance(scale=scale), negative_prompt=negative)
    noise = torch.randn(1, CHANNELS, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    arguments = {
        "height": 32,
        "width": 48,
        "num_frames": 9,
        "num_inference_steps": 20,
        "guidance_scale": 4.5,
        "true_cfg_scale": scale,
        "negative_prompt": negative,
        "prompt_template": TEMPLATE,
        "latents": noise,
    }
    expected = theirs(PROMPT, output_type="latent", **arguments).frames
    latents = made.latents([PROMPT], num_frames=9, seed=3)
    assert expected.std() > 0.5
    assert (latents - expected).norm() / expected.norm() < 1e-5
    pixels = theirs(PROMPT, output_type="pt", **arguments).frames[0]
    frames = made(PROMPT, num_frames=9, seed=3)
    torch.testing.assert_close((frames + 1) / 2, pixels.transpose(0, 1), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_rounds_no_more_than_in_diffusers(pipeline):
    exactly, folder = pipeline
    noise = torch.randn(1, CHANNELS, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    arguments = {"height": 32, "width": 48, "num_frames": 9, "num_inference_steps": 20, "guidance_scale": 6.0}
    arguments |= {"prompt_template": TEMPLATE, "latents": noise, "output_type": "latent"}
    exact, theirs = (each(PROMPT, **arguments).frames for each in (exactly, in_bfloat16(exactly, folder)))
    made = ours(folder, **{"backbone.dtype": "bfloat16", "backbone.lora_rank": 4, "backbone.told_guidance": 6.0})
    made = made.replace(guidance=ClassifierFreeGuidance(scale=1.0))
    check_rounding("HunyuanVideo", exact, made.latents([PROMPT], num_frames=9, seed=3), theirs)


@pytest.mark.slow
def test_what_the_model_is_told_of_guidance_counts(pipeline):
    made = [ours(pipeline[1], **{"backbone.told_guidance": told}) for told in (1.0, 6.0)]
    one, other = (each.latents([PROMPT], num_frames=5, seed=3) for each in made)
    assert (one - other).abs().max() > 1e-3


def test_its_text_is_the_language_model_s_behind_clip_s_vector(pipeline):
    theirs, folder = pipeline
    settings = {"features": 16, "pooled_features": 8, "dtype": "float32", "template_tokens": 2}
    encoder = PooledText(pretrained=folder, template=TEMPLATE["template"], **settings)
    captions = [PROMPT, "", "a door"]
    text, mask = encoder.encode(captions)
    assert mask[:, 0].all()
    for row, caption in enumerate(captions):
        words, pooled, known = theirs.encode_prompt(caption, prompt_template=TEMPLATE)
        count = int(known.sum())
        assert int(mask[row].sum()) == 1 + count
        torch.testing.assert_close(text[row, 1 : 1 + count], words[0, :count], rtol=1e-5, atol=1e-5)
        assert not text[row, 1 + count :].any()
        torch.testing.assert_close(text[row, 0, :8], pooled[0], rtol=1e-5, atol=1e-5)
        assert not text[row, 0, 8:].any()
    again = PooledText(pretrained=folder, template="say {} door", **settings)
    assert again.fingerprint != encoder.fingerprint
    for change, said in (
        ({"features": 32}, r"text: features is 32, but .* has 16: set text\.features=16"),
        ({"pooled_features": 4}, r"text: pooled_features is 4, but .* has 8: set text\.pooled_features=8"),
        ({"template": "no place"}, "template must hold {} once"),
        ({"pooled_subfolder": "nowhere"}, r"text\.pretrained=\S+ has no folder nowhere"),
    ):
        with pytest.raises(ValueError, match=said):
            PooledText(**{"pretrained": folder, "template": TEMPLATE["template"], **settings, **change})


def test_a_model_of_images_is_refused(tmp_path):
    from tiny_hunyuan import backbone_of

    tiny_transformer(image_condition_type="latent_concat").save_pretrained(tmp_path / "transformer")
    with pytest.raises(ValueError, match=r"is conditioned on images \(image_condition_type=latent_concat\)"):
        backbone_of(tmp_path)
