"""LTX-Video behind the backbone's contract, and the same video as diffusers: tiny random models of the real classes."""

import pytest
import torch
from builders import HEADS, TEXT, WIDTH, awake, example, tiny_lovic, tiny_vin
from composing import composed
from hydra.utils import instantiate
from rounding import check_rounding, in_bfloat16
from tiny_codecs import build_ltx
from tiny_ltx import backbone_of, tiny_ltx, tiny_transformer

from longtake.pipeline import Pipeline
from longtake.samplers import ClassifierFreeGuidance, PretrainedScheduler
from networks.interfaces import TokenGrid
from networks.pretrained.ltx import LtxRope
from networks.sequence import positions_of

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SCALE = (1 / 3.125, 32, 32)
NETWORKS = {
    "vin": lambda backbone: tiny_vin(backbone=backbone),
    "lovic": lambda backbone: tiny_lovic(backbone, low_resolution=True),
    "vin_lovic": lambda backbone: tiny_lovic(tiny_vin(plan=True, backbone=backbone), low_resolution=True),
}


def loaded(noisy, timestep, condition):
    """What diffusers' class makes of the same."""
    grid = TokenGrid(*noisy.shape[2:])
    made = tiny_transformer()(
        noisy.flatten(2).mT,
        condition.text,
        timestep,
        condition.text_mask.long(),
        *grid,
        rope_interpolation_scale=SCALE,
    ).sample
    return made.mT.unflatten(2, grid)


@torch.no_grad()
def test_times_of_frames_are_the_loaded_model_s_times_of_tokens():
    noisy, _, condition = example(5, side=(3, 5))
    time = torch.rand(2, 5, generator=torch.Generator().manual_seed(4))
    expected = loaded(noisy, (1000 * time).repeat_interleave(15, dim=1), condition)
    torch.testing.assert_close(backbone_of(tiny_ltx())(noisy, time, condition), expected, **CLOSE)


@pytest.mark.parametrize(("width", "heads"), [(32, 2), (48, 3), (2048, 32)])
def test_places_turn_heads_as_in_diffusers(width, heads):
    from diffusers.models.transformers.transformer_ltx import LTXVideoRotaryPosEmbed

    cos, sin = LTXVideoRotaryPosEmbed(width)(torch.zeros(1, 1), 7, 3, 5, SCALE)
    rope = LtxRope(width=width, num_heads=heads, latent_fps=3.125, space_factor=32)
    made = rope(positions_of(torch.arange(7.0).unsqueeze(0), 3, 5))
    for mine, theirs in zip(made, (cos, sin), strict=True):
        assert torch.equal(mine.transpose(1, 2).flatten(2), theirs[..., 0::2])


@torch.no_grad()
def test_a_window_is_the_same_wherever_it_begins():
    noisy, time, condition = example(5, side=(3, 5))
    backbone = backbone_of(tiny_ltx())
    late = condition._replace(frame_index=condition.frame_index + 3000)
    assert torch.equal(backbone(noisy, time, late), backbone(noisy, time, condition))
    apart = condition._replace(frame_index=condition.frame_index * 1.5)
    assert (backbone(noisy, time, apart) - backbone(noisy, time, condition)).abs().max() > 1e-3


def test_wrong_settings_are_said_in_a_sentence(tmp_path):
    folder = tiny_ltx()
    for change, sentence in (
        ({"width": 48}, rf"backbone: width is 48, but '{folder}/transformer' has {WIDTH}: set backbone\.width={WIDTH}"),
        ({"num_heads": 4}, rf"num_heads is 4, but .* has {HEADS}: set backbone\.num_heads={HEADS}"),
        ({"patch": 2}, r"patch is 2, but .* has 1: set backbone\.patch=1"),
        ({"text_features": 4096}, rf"text_features is 4096, but .* has {TEXT}: set text\.features={TEXT}"),
    ):
        with pytest.raises(ValueError, match=sentence):
            backbone_of(folder, **change)
    tiny_transformer(patch_size_t=2).save_pretrained(tmp_path / "transformer")
    with pytest.raises(ValueError, match="has patches of 2 latent frames, but must have patches of one"):
        backbone_of(tmp_path)


WORDS = ["a", "green", "marine", "walks", "through", "dark", "hall", "red", "door", "blurred"]
GROUPS = ("network=dit", "backbone=ltx", "codec=ltx", "text=ltx", "objective=rectified_flow", "sampler=pretrained")
PROMPT = "a green marine walks"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """LTXPipeline, in float32, and the folder that it wrote."""
    from diffusers import FlowMatchEulerDiscreteScheduler, LTXPipeline
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    torch.manual_seed(0)
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"\u2581{word}", -2.0) for word in WORDS)]
    sizes = {"vocab_size": len(vocab), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    made = LTXPipeline(
        tokenizer=T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=128),
        text_encoder=T5EncoderModel(T5Config(**sizes, pad_token_id=0, eos_token_id=1)).eval(),
        transformer=tiny_transformer(caption_channels=16),
        vae=awake(build_ltx(), scale=0.05).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.95,
            max_shift=2.05,
            base_image_seq_len=1024,
            max_image_seq_len=4096,
            shift_terminal=0.1,
        ),
    )
    made.set_progress_bar_config(disable=True)
    folder = tmp_path_factory.mktemp("ltx")
    made.save_pretrained(folder)
    return made, str(folder)


def ours(folder, **changes) -> Pipeline:
    """`network=dit` as a user composes it."""
    settings = {
        **{f"{part}.pretrained": folder for part in ("backbone", "codec", "text", "sampler")},
        "backbone.dtype": "float32",
        "backbone.width": WIDTH,
        "backbone.num_heads": HEADS,
        "backbone.latent_fps": 25 / 4,
        "backbone.space_factor": 8,
        "codec.channels": 4,
        "codec.dtype": "float32",
        "text.features": 16,
        "text.dtype": "float32",
        **changes,
    }
    cfg = composed("train", *GROUPS, *(f"{key}={value}" for key, value in settings.items()), "paths.run_dir=.")
    return Pipeline(
        module=instantiate(cfg.lightning_module).eval(),
        guidance=instantiate(cfg.guidance),
        rollout=instantiate(cfg.rollout),
        codec=instantiate(cfg.codec),
        text_encoder=instantiate(cfg.text),
        height=32,
        width=96,
        fps=25,
    )


@pytest.mark.slow
@pytest.mark.parametrize("negative", ["", "blurred dark door"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_video_is_that_of_diffusers_after_20_steps(pipeline, scale, negative):
    theirs, folder = pipeline
    made = ours(folder, **{"sampler.num_inference_steps": 20})
    made = made.replace(guidance=ClassifierFreeGuidance(scale=scale), negative_prompt=negative)
    noise = torch.randn(1, 4, 3, 4, 12, generator=torch.Generator().manual_seed(3))
    arguments = {"height": 32, "width": 96, "num_frames": 9, "num_inference_steps": 20, "guidance_scale": scale}
    packed = noise.flatten(2).mT
    expected = theirs(PROMPT, negative, latents=packed, output_type="latent", **arguments).frames.mT.view_as(noise)
    latents = made.latents([PROMPT], num_frames=9, seed=3)
    assert expected.std() > 0.5
    assert (latents - expected).norm() / expected.norm() < 1e-5
    pixels = theirs(PROMPT, negative, latents=packed, output_type="pt", **arguments).frames[0]
    frames = made(PROMPT, num_frames=9, seed=3)
    torch.testing.assert_close((frames + 1) / 2, pixels.transpose(0, 1), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_rounds_no_more_than_in_diffusers(pipeline):
    exactly, folder = pipeline
    noise = torch.randn(1, 4, 3, 4, 12, generator=torch.Generator().manual_seed(3))
    arguments = {"height": 32, "width": 96, "num_frames": 9, "num_inference_steps": 20, "guidance_scale": 3.0}
    arguments |= {"latents": noise.flatten(2).mT, "output_type": "latent"}
    exact, theirs = (
        each(PROMPT, "", **arguments).frames.mT.view_as(noise) for each in (exactly, in_bfloat16(exactly, folder))
    )
    changes = {"backbone.dtype": "bfloat16", "backbone.lora_rank": 4, "sampler.num_inference_steps": 20}
    made = ours(folder, **changes).replace(guidance=ClassifierFreeGuidance(scale=3.0), negative_prompt="")
    check_rounding("LTX-Video", exact, made.latents([PROMPT], num_frames=9, seed=3), theirs)


def test_levels_are_shifted_by_how_many_tokens_there_are(pipeline):
    settings = {"pretrained": pipeline[1], "subfolder": "scheduler", "num_inference_steps": 4, "settings": {}}
    seen: dict[tuple[int, int], list[float]] = {}
    for patch, side in ((1, 8), (1, 32), (2, 64)):
        levels = seen.setdefault((patch, side), [])

        def denoise(noisy, time, level, levels=levels):
            from networks.interfaces import Estimate

            levels.append(level)
            return Estimate(noisy, noisy)

        from longtake.objectives.paths import LinearPath

        noise = torch.zeros(1, 1, 2, side, side)
        PretrainedScheduler(**settings, patch=patch)(denoise, noise, path=LinearPath())
    assert seen[1, 32] == seen[2, 64]
    assert all(more > less for more, less in zip(seen[1, 32][1:-1], seen[1, 8][1:-1], strict=True))
    assert seen[1, 8][-1] == pytest.approx(0.1)
