"""The same video as CogVideoXPipeline makes of a folder that it wrote, with tiny random models of the real classes."""

import pytest
import torch
from builders import HEADS, WIDTH, awake
from composing import composed
from hydra.utils import instantiate
from rounding import check_rounding, in_bfloat16
from tiny_codecs import build_cogvideox
from tiny_cogvideox import tiny_transformer

from longtake.objectives import LinearPath, ScheduledPath
from longtake.pipeline import Pipeline
from longtake.samplers import ClassifierFreeGuidance, DynamicGuidance, PretrainedScheduler

WORDS = ["a", "green", "marine", "walks", "through", "dark", "hall", "red", "door", "blurred"]
GROUPS = ("network=dit", "codec=cogvideox", "text=cogvideox", "objective=cogvideox", "sampler=cogvideox")
PROMPT = "a green marine walks"
SCHEDULE = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
}
SHIFT = {"2b": 3.0, "5b": 1.0, "1.5": 1.0}
CONFIG = {"2b": "cogvideox_2b", "5b": "cogvideox_5b", "1.5": "cogvideox15_5b"}


def pipeline_of(folder, kind, scheduler):
    """CogVideoXPipeline, in float32, which wrote the folder."""
    import diffusers
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    torch.manual_seed(0)
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"\u2581{word}", -2.0) for word in WORDS)]
    sizes = {"vocab_size": len(vocab), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    made = diffusers.CogVideoXPipeline(
        tokenizer=T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=226),
        text_encoder=T5EncoderModel(T5Config(**sizes, pad_token_id=0, eos_token_id=1)).eval(),
        transformer=tiny_transformer(kind, text_embed_dim=16, max_text_seq_length=226),
        vae=awake(build_cogvideox(), scale=0.05).eval(),
        scheduler=getattr(diffusers, scheduler)(**SCHEDULE, snr_shift_scale=SHIFT[kind]),
    )
    made.set_progress_bar_config(disable=True)
    made.save_pretrained(folder)
    return made


def ours(folder, kind, *more) -> Pipeline:
    """`network=dit` as a user composes it."""
    settings = {
        **{f"{part}.pretrained": folder for part in ("backbone", "codec", "text", "sampler")},
        "backbone.dtype": "float32",
        "backbone.width": WIDTH,
        "backbone.num_heads": HEADS,
        "codec.channels": 4,
        "codec.dtype": "float32",
        "text.features": 16,
        "text.dtype": "float32",
        "objective.path.snr_shift": SHIFT[kind],
        "sampler.num_inference_steps": 20,
    }
    values = (f"{key}={value}" for key, value in settings.items())
    cfg = composed("train", *GROUPS, f"backbone={CONFIG[kind]}", *values, *more, "paths.run_dir=.")
    return Pipeline(
        module=instantiate(cfg.lightning_module).eval(),
        guidance=instantiate(cfg.guidance),
        rollout=instantiate(cfg.rollout),
        codec=instantiate(cfg.codec),
        text_encoder=instantiate(cfg.text),
        height=32,
        width=48,
        fps=8,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "scheduler", "scale", "negative", "dynamic"),
    [
        ("2b", "CogVideoXDDIMScheduler", 6.0, "blurred dark door", False),
        ("5b", "CogVideoXDDIMScheduler", 1.0, "", False),
        ("5b", "CogVideoXDPMScheduler", 6.0, "", True),
        ("1.5", "CogVideoXDPMScheduler", 6.0, "blurred dark door", False),
    ],
)
def test_the_video_is_that_of_diffusers_after_20_steps(tmp_path, kind, scheduler, scale, negative, dynamic):
    theirs = pipeline_of(tmp_path, kind, scheduler)
    made = ours(str(tmp_path), kind)
    guidance = DynamicGuidance(scale=scale, num_inference_steps=20) if dynamic else ClassifierFreeGuidance(scale=scale)
    made = made.replace(guidance=guidance, negative_prompt=negative)
    frames = 13 if kind == "1.5" else 9
    count = (frames - 1) // 4 + 1
    noise = torch.randn(1, 4, count, 4, 6, generator=torch.Generator().manual_seed(3))
    arguments = {
        "height": 32,
        "width": 48,
        "num_frames": frames,
        "num_inference_steps": 20,
        "guidance_scale": scale,
        "use_dynamic_cfg": dynamic,
    }

    def drawn():  # what fresh noise the scheduler asks for
        return torch.Generator().manual_seed(2**32 + 3)

    laid = noise.transpose(1, 2)
    expected = theirs(PROMPT, negative, latents=laid, generator=drawn(), output_type="latent", **arguments).frames
    expected = expected.transpose(1, 2)
    latents = made.latents([PROMPT], num_frames=frames, seed=3)
    assert expected.std() > 0.5
    assert (latents - expected).norm() / expected.norm() < 1e-5
    pixels = theirs(PROMPT, negative, latents=laid, generator=drawn(), output_type="pt", **arguments).frames[0]
    video = made(PROMPT, num_frames=frames, seed=3)
    # of an even number of latents its decoder makes four frames of the first, of which the last is ours
    torch.testing.assert_close((video + 1) / 2, pixels[-frames:].transpose(0, 1), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIG)
def test_bfloat16_rounds_no_more_than_in_diffusers(tmp_path, kind):
    exactly = pipeline_of(tmp_path, kind, "CogVideoXDDIMScheduler")
    frames = 13 if kind == "1.5" else 9
    noise = torch.randn(1, 4, (frames - 1) // 4 + 1, 4, 6, generator=torch.Generator().manual_seed(3)).transpose(1, 2)
    arguments = {"height": 32, "width": 48, "num_frames": frames, "num_inference_steps": 20, "guidance_scale": 6.0}
    exact, theirs = (
        each(PROMPT, "", latents=noise.to(dtype), output_type="latent", **arguments).frames.transpose(1, 2)
        for each, dtype in ((exactly, torch.float32), (in_bfloat16(exactly, tmp_path), torch.bfloat16))
    )
    made = ours(str(tmp_path), kind, "backbone.dtype=bfloat16", "backbone.lora_rank=4")
    made = made.replace(guidance=ClassifierFreeGuidance(scale=6.0), negative_prompt="")
    check_rounding(f"CogVideoX {kind}", exact, made.latents([PROMPT], num_frames=frames, seed=3), theirs)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_path_is_the_scheduler_s_schedule(shift):
    from diffusers import CogVideoXDDIMScheduler

    kept = CogVideoXDDIMScheduler(**SCHEDULE, snr_shift_scale=shift).alphas_cumprod.double()
    path = ScheduledPath(snr_shift=shift)
    for dtype, close in ((torch.float64, 1e-9), (torch.float32, 2e-7)):
        here = path.coefficients(torch.arange(1, 1001, dtype=dtype) / 1000)
        torch.testing.assert_close(here.alpha.double(), kept.sqrt(), rtol=0, atol=close)
        torch.testing.assert_close(here.sigma.double(), (1 - kept).sqrt(), rtol=0, atol=max(close, 1e-7))
    ends = path.coefficients(torch.tensor([0.0, 1.0]))
    assert ends.alpha.tolist() == [1.0, 0.0]
    assert ends.sigma.tolist() == [0.0, 1.0]
    between = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    made = path.coefficients(between)
    torch.testing.assert_close(made.alpha**2 + made.sigma**2, torch.ones(50, dtype=torch.float64))
    for value, slope in ((made.alpha, made.d_alpha), (made.sigma, made.d_sigma)):
        (gradient,) = torch.autograd.grad(value.sum(), between, retain_graph=True)
        torch.testing.assert_close(gradient, slope)


def test_another_schedule_is_said_in_a_sentence(tmp_path):
    from diffusers import CogVideoXDDIMScheduler

    CogVideoXDDIMScheduler(**SCHEDULE, snr_shift_scale=3.0).save_pretrained(tmp_path / "scheduler")
    CogVideoXDDIMScheduler(**{**SCHEDULE, "prediction_type": "epsilon"}).save_pretrained(tmp_path / "eps" / "scheduler")
    settings = {"subfolder": "scheduler", "num_inference_steps": 2, "settings": {}}
    sampler, noise = PretrainedScheduler(pretrained=str(tmp_path), **settings), torch.zeros(1, 1, 2, 2, 2)
    of_its_own = r"takes steps of v on its own schedule: use objective=cogvideox objective\.path\.snr_shift=3\.0"
    another = r"another schedule than objective\.path \(snr_shift=1\.0\): use .*snr_shift=3\.0"
    for path, said in ((LinearPath(), of_its_own), (ScheduledPath(snr_shift=1.0), another)):
        with pytest.raises(ValueError, match=said):
            sampler(None, noise, path=path)
    with pytest.raises(ValueError, match="has prediction_type=epsilon, but only v"):
        PretrainedScheduler(pretrained=str(tmp_path / "eps"), **settings)


@pytest.mark.slow
def test_an_odd_number_of_latents_is_refused_before_anything_is_sampled(tmp_path):
    pipeline_of(tmp_path, "1.5", "CogVideoXDDIMScheduler")
    with pytest.raises(ValueError, match=r"num_frames=9 .* tokens of 2 latent frames: use 5 or 13"):
        ours(str(tmp_path), "1.5")(PROMPT, num_frames=9)
    with pytest.raises(Exception, match=r"network\.chunk_frames=5 must be a multiple of 2"):
        ours(str(tmp_path), "1.5", "network=vin", "interface=vin", "network.chunk_frames=5", "network.local_frames=4")
