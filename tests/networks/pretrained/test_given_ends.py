"""From an image, on from a video, between two: given frames at time 0, as Wan 2.2 TI2V's own pipeline has them."""

import pytest
import torch
from builders import awake
from composing import composed
from hydra.utils import instantiate

from longtake.pipeline import Pipeline
from longtake.rollouts.autoregressive import Autoregressive
from longtake.samplers import ClassifierFreeGuidance

WORDS = ["a", "green", "marine", "walks", "through", "dark", "hall", "red", "door", "blurred"]
PROMPT = "a green marine walks"


@pytest.fixture(scope="module")
def ti2v(tmp_path_factory):
    """WanImageToVideoPipeline of a tiny Wan 2.2 TI2V, and ours of the folder that it wrote."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanImageToVideoPipeline, WanTransformer3DModel
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"\u2581{word}", -2.0) for word in WORDS)]
    text = {"vocab_size": len(vocab), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
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
        latents_std=[0.2] * 48,
    )
    theirs = WanImageToVideoPipeline(
        tokenizer=T5Tokenizer(vocab=vocab, extra_ids=0),
        text_encoder=UMT5EncoderModel(UMT5Config(**text, pad_token_id=0, eos_token_id=1)).eval(),
        transformer=awake(WanTransformer3DModel(in_channels=48, out_channels=48, num_layers=2, **sizes), scale=0.05),
        vae=awake(vae, scale=0.05).eval(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=5.0
        ),
        expand_timesteps=True,
    )
    theirs.set_progress_bar_config(disable=True)
    theirs.transformer.eval()
    folder = tmp_path_factory.mktemp("ti2v")
    theirs.save_pretrained(folder)
    settings = {
        **{f"{part}.pretrained": folder for part in ("backbone", "codec", "text", "sampler")},
        "backbone.dtype": "float32",
        "backbone.width": 32,
        "backbone.num_heads": 2,
        "text.features": 16,
        "text.dtype": "float32",
        "sampler.num_inference_steps": 20,
    }
    groups = ("network=dit", "backbone=wan22_ti2v", "codec=wan22", "text=umt5", "objective=rectified_flow")
    values = (f"{key}={value}" for key, value in settings.items())
    cfg = composed("train", *groups, "sampler=pretrained", *values, "paths.run_dir=.")
    ours = Pipeline(
        module=instantiate(cfg.lightning_module).eval(),
        guidance=ClassifierFreeGuidance(scale=5.0),
        rollout=instantiate(cfg.rollout),
        codec=instantiate(cfg.codec),
        text_encoder=instantiate(cfg.text),
        height=32,
        width=64,
        fps=24,
        negative_prompt="",
    )
    return theirs, ours


def picture(frames=1, seed=0):
    return torch.rand(3, frames, 32, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.slow
@torch.no_grad()
def test_from_an_image_it_is_the_video_of_diffusers_after_20_steps(ti2v):
    theirs, ours = ti2v
    assert ours.module.network.frame_times
    image = picture()
    noise = torch.randn(1, 48, 3, 2, 4, generator=torch.Generator().manual_seed(3))
    arguments = {"height": 32, "width": 64, "num_frames": 9, "num_inference_steps": 20, "guidance_scale": 5.0}
    shown = (image[:, 0] + 1) / 2
    made = theirs(shown, PROMPT, "", latents=noise.clone(), output_type="pt", **arguments).frames[0]
    video = ours.between(PROMPT, start=image, num_frames=9, seed=3)
    torch.testing.assert_close((video + 1) / 2, made.transpose(0, 1), rtol=0, atol=1e-4)
    plain = ours(PROMPT, num_frames=9, seed=3)
    assert (video - plain).abs().max() > 1e-3


@pytest.mark.slow
@torch.no_grad()
def test_given_ends_stay_as_they_are(ti2v):
    ours = ti2v[1]
    start, end = picture(5), picture(1, seed=1)
    seen = []
    ours.between(
        PROMPT, start=start, end=end, num_frames=17, seed=3, on_step=lambda step, level, estimate: seen.append(estimate)
    )
    assert len(seen) == 20
    made = ours.between(PROMPT, start=start, end=end, num_frames=17, seed=3)
    other = ours.between(PROMPT, start=start, end=picture(1, seed=2), num_frames=17, seed=3)
    first = ours.codec.decode(ours.codec.encode(start[None]))[0]
    torch.testing.assert_close(made[:, :5], first, rtol=0, atol=1e-4)
    assert (made - other)[:, 5:].abs().max() > 1e-3
    for given, said in (
        ({}, "no frames are given: give start=, end= or both"),
        ({"start": start[:, :4]}, r"start is 4 frames of 32x64, but must be 4n \+ 1 frames of 32x64"),
        ({"start": start[..., :32]}, "start is 5 frames of 32x32, but must be"),
        ({"start": start, "end": picture(9)}, "5 latent frames are given of 5: leave some to be made"),
    ):
        with pytest.raises(ValueError, match=said):
            ours.between(PROMPT, num_frames=17, seed=3, **given)
    several = ours.replace(rollout=Autoregressive(window_frames=3, context_frames=1))
    with pytest.raises(ValueError, match="makes canvas after canvas: use rollout=single_pass or full_attention"):
        several.between(PROMPT, start=start, num_frames=17)
