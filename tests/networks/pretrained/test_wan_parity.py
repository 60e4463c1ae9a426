"""A folder in the real format, with tiny random models of the real classes: the same video as diffusers makes of it."""

from pathlib import Path

import pytest
import torch
from builders import awake
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from longtake.pipeline import Pipeline
from longtake.samplers import ClassifierFreeGuidance, PretrainedScheduler
from networks.text import T5Text, cleaned

CONF = str(Path(__file__).parents[3] / "conf")
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


def ours(folder, **changes) -> Pipeline:
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
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        asked = [f"{key}={value}" for key, value in settings.items()]
        cfg = compose("train", ["paths.root_dir=ROOT", *GROUPS, *asked])
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


def test_what_is_no_scheduler_of_flows_is_said_in_a_sentence(wan, tmp_path):
    from diffusers import DDIMScheduler, UniPCMultistepScheduler

    def scheduler_of(folder, **settings):
        return PretrainedScheduler(pretrained=folder, subfolder="scheduler", num_inference_steps=4, settings=settings)

    assert scheduler_of(wan[1], flow_shift=5.0)._new_scheduler().config.flow_shift == 5.0
    for number, (scheduler, sentence) in enumerate(
        [
            (DDIMScheduler(), "holds a DDIMScheduler, but must hold one of FlowMatchEuler"),
            (UniPCMultistepScheduler(), "has prediction_type=epsilon, but only flows"),
        ]
    ):
        scheduler.save_pretrained(tmp_path / str(number) / "scheduler")
        with pytest.raises(ValueError, match=sentence):
            scheduler_of(str(tmp_path / str(number)))
    with pytest.raises(ValueError, match=r"no scheduler_config\.json in '.*nowhere"):
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
