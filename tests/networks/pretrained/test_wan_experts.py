"""The two experts of Wan 2.2 A14B: tiny random models of the real classes, and the same video as WanPipeline."""

import pytest
import torch
from builders import HEADS, TEXT, WIDTH, awake, example, remembering_example, tiny_lovic, tiny_vin
from composing import composed
from hydra.utils import instantiate
from tiny_families import wake_the_rest
from tiny_wan import backbone_of, settings_of, tiny_transformer

from longtake.pipeline import Pipeline
from longtake.samplers import GuidanceByTime
from networks.pretrained.experts import WanExperts

WORDS = ["a", "green", "marine", "walks", "through", "dark", "hall", "red", "door", "blurred"]
PROMPT = "a green marine walks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of two transformers."""
    made = tmp_path_factory.mktemp("experts")
    tiny_transformer().save_pretrained(made / "transformer")
    awake(tiny_transformer(), seed=7, scale=0.1).save_pretrained(made / "transformer_2")
    return str(made)


def experts_of(folder, **changes):
    settings = {"low_subfolder": "transformer_2", "boundary": 0.6, "trained": "high", "context_attention": "gated"}
    torch.manual_seed(0)
    return WanExperts(**settings_of(folder, **{**settings, "patch": 2, **changes})).eval()


@torch.no_grad()
def test_each_row_is_denoised_by_the_expert_of_its_time(folder):
    noisy, _, condition = example(5, side=(4, 6))
    made = experts_of(folder)
    high, low = (backbone_of(folder, subfolder=name, lora_rank=0) for name in ("transformer", "transformer_2"))
    for times, kinds in (([0.9, 0.6], [high, high]), ([0.9, 0.3], [high, low]), ([0.59, 0.3], [low, low])):
        time = torch.tensor(times)[:, None].expand(-1, 5)
        expected = torch.cat(
            [kind(noisy[[row]], time[[row]], condition.rows(torch.arange(2) == row)) for row, kind in enumerate(kinds)]
        )
        torch.testing.assert_close(made(noisy, time, condition), expected, rtol=1e-5, atol=1e-5)
    clean_first = torch.full((2, 5), 0.9)
    clean_first[:, 0] = 0.0
    torch.testing.assert_close(
        made(noisy, clean_first, condition), high(noisy, clean_first, condition), rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_vin_begins_as_both_experts(folder):
    network = tiny_vin(backbone=experts_of(folder)).eval()
    noisy, time, condition = example(7)
    for level in (0.9, 0.3):
        time = torch.full((2, 7), level)
        assert torch.equal(network(noisy, time, condition), network(noisy, time, condition.without("global_tokens")))


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["high", "low"])
@pytest.mark.parametrize("low_resolution", [False, True])
@torch.no_grad()
def test_each_expert_makes_its_own_memory(folder, trained, low_resolution):
    """What each says is what it says alone, behind the same compressor; gates of zero begin as the base."""
    experts = experts_of(folder, trained=trained)
    network = wake_the_rest(tiny_lovic(experts, low_resolution=low_resolution)).eval()
    noisy, _, condition = remembering_example(4, side=(4, 6))
    relative = condition._replace(frame_index=condition.frame_index - condition.frame_index[:, :1], context=())
    levels = {"high": torch.full((2, 4), 0.9), "low": torch.full((2, 4), 0.3)}
    for name, time in levels.items():
        assert torch.equal(network(noisy, time, condition), getattr(experts, name)(noisy, time, relative))
    torch.nn.init.constant_(experts.learning.context_gate, 0.5)
    made = {name: network(noisy, time, condition) for name, time in levels.items()}
    for name, time in levels.items():
        plain, expert = getattr(experts, name)(noisy, time, relative), getattr(experts, name)
        assert torch.equal(made[name], plain) == (name != trained)
        torch.nn.init.constant_(expert.context_gate, 0.5)
        alone = wake_the_rest(tiny_lovic(expert, low_resolution=low_resolution)).eval()
        alone.load_state_dict(
            {**network.state_dict(), **{f"window.{n}": x for n, x in expert.state_dict().items()}}, strict=False
        )
        if trained == name or not low_resolution:  # patches are embedded by the one that learns
            expected = alone(noisy, time, condition)
            torch.testing.assert_close(network(noisy, time, condition), expected, rtol=1e-5, atol=1e-5)
    both = torch.cat([levels["high"][:1], levels["low"][:1]])
    mixed = network(noisy, both, condition)
    torch.testing.assert_close(mixed[:1], network(noisy, levels["high"], condition)[:1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mixed[1:], network(noisy, levels["low"], condition)[1:], rtol=1e-5, atol=1e-5)


def test_in_training_the_expert_that_does_not_learn_makes_no_memory(folder, monkeypatch):
    experts = experts_of(folder)
    network = wake_the_rest(tiny_lovic(experts)).train()
    torch.nn.init.constant_(experts.high.context_gate, 0.5)
    monkeypatch.setattr(experts.low, "key_values", lambda *_: pytest.fail("the other expert is asked"))
    noisy, _, condition = remembering_example(4, side=(4, 6))
    network(noisy, torch.full((2, 4), 0.9), condition).square().mean().backward()
    learnt = {name for name, x in network.named_parameters() if x.grad is not None and bool(x.grad.any())}
    assert {"null_memory", "cut"} < learnt
    assert not any(name.startswith("window.low.") for name in learnt)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["high", "low"])
def test_one_learns_on_its_own_times(folder, trained):
    network = tiny_vin(backbone=experts_of(folder, trained=trained)).train()
    noisy, _, condition = example(7)
    own, other = (0.9, 0.3) if trained == "high" else (0.3, 0.9)
    network(noisy, torch.full((2, 7), own), condition).square().mean().backward()
    moved = {name.split(".")[1] for name, x in network.named_parameters() if x.grad is not None and "lora_B" in name}
    assert moved == {trained}
    interval = r"\[0\.6, 1\.0\]" if trained == "high" else r"\[0\.0, 0\.6\]"
    with pytest.raises(ValueError, match=rf"learns at times of {interval} alone: set \+objective\.times\.interval="):
        network(noisy, torch.full((2, 7), other), condition)


def test_what_experts_cannot_is_said_in_a_sentence(folder):
    with pytest.raises(ValueError, match=r"lora_rank=0 would train both experts whole: set backbone\.lora_rank=64"):
        experts_of(folder, lora_rank=0)
    with pytest.raises(ValueError, match=r"has no folder nowhere \(it holds transformer/, transformer_2/\)"):
        experts_of(folder, low_subfolder="nowhere")


def test_times_are_drawn_from_an_interval():
    from longtake.objectives import Shifted, Uniform

    law = Shifted(law=Uniform(), shift=3.0, interval=(0.875, 1.0))
    drawn = law.sample(200, 2, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert drawn.min() >= 0.875
    assert drawn.max() <= 1
    assert drawn.std() > 0.02
    with pytest.raises(ValueError, match="must be two rising times"):
        Shifted(law=Uniform(), shift=1.0, interval=(0.5, 0.5))


@pytest.mark.slow
@pytest.mark.parametrize("negative", ["", "blurred dark door"])
def test_the_video_is_that_of_diffusers_after_20_steps(tmp_path, negative):
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"\u2581{word}", -2.0) for word in WORDS)]
    sizes = {"vocab_size": len(vocab), "d_model": TEXT, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    wide = {"in_channels": 16, "out_channels": 16}
    theirs = WanPipeline(
        tokenizer=T5Tokenizer(vocab=vocab, extra_ids=0),
        text_encoder=UMT5EncoderModel(UMT5Config(**sizes, pad_token_id=0, eos_token_id=1)).eval(),
        transformer=tiny_transformer(**wide),
        transformer_2=awake(tiny_transformer(**wide), seed=7, scale=0.05),
        vae=AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
        ),
        boundary_ratio=0.875,
    )
    theirs.set_progress_bar_config(disable=True)
    theirs.save_pretrained(tmp_path)
    settings = {
        **{f"{part}.pretrained": tmp_path for part in ("backbone", "codec", "text", "sampler")},
        "backbone.dtype": "float32",
        "backbone.width": WIDTH,
        "backbone.num_heads": HEADS,
        "text.features": TEXT,
        "text.dtype": "float32",
        "sampler.num_inference_steps": 20,
    }
    groups = ("network=dit", "backbone=wan22_a14b", "codec=wan", "text=umt5", "objective=rectified_flow")
    groups = (*groups, "sampler=pretrained", "guidance=by_time")
    cfg = composed("train", *groups, *(f"{key}={value}" for key, value in settings.items()), "paths.run_dir=.")
    made = Pipeline(
        module=instantiate(cfg.lightning_module).eval(),
        guidance=instantiate(cfg.guidance),
        rollout=instantiate(cfg.rollout),
        codec=instantiate(cfg.codec),
        text_encoder=instantiate(cfg.text),
        height=32,
        width=48,
        fps=16,
        negative_prompt=negative,
    )
    noise = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    arguments = {"height": 32, "width": 48, "num_frames": 9, "num_inference_steps": 20, "latents": noise}
    scales = {"guidance_scale": 4.0, "guidance_scale_2": 3.0}
    expected = theirs(PROMPT, negative, output_type="latent", **arguments, **scales).frames
    latents = made.latents([PROMPT], num_frames=9, seed=3)
    assert expected.std() > 0.5
    assert (latents - expected).norm() / expected.norm() < 1e-5
    one = made.replace(guidance=GuidanceByTime(scale=4.0, late_scale=4.0, boundary=0.875))
    assert (one.latents([PROMPT], num_frames=9, seed=3) - expected).norm() / expected.norm() > 1e-4
