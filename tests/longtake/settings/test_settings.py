"""Every setting knows its type and range; what Hydra cannot read is answered with what to type."""

import math
import os
import shlex
import sys
from types import SimpleNamespace
from typing import Annotated, Literal

import forked
import pytest
import torch
from annotated_types import Ge, Le
from composing import CHOICES, PROGRAMS, ROOT, as_used, check, composed
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from omegaconf import OmegaConf

from datamodules.tables import read_entries
from longtake.arguments import argument, as_typed
from longtake.cli import schemas
from longtake.cli.composed import check_settings
from longtake.cli.user_errors import sentence
from longtake.finite import NotFinite, check_finite
from longtake.generation import window_generator
from longtake.process import check_device
from longtake.reports.beside import find_videos
from longtake.rollouts.window_cache import WindowCache
from longtake.samplers import DiffusersSolver
from longtake.settings.check import Tree, check_groups
from longtake.settings.wording import describe
from longtake.video import probe, read_frames, write_video
from networks.interfaces import Condition
from networks.ranges import Positive, Sizes, Text
from networks.video_network import VideoNetwork

# What is right passes


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_schema_has_the_keys_of_conf(program):
    schema = getattr(schemas, f"{program.capitalize()}Settings")
    tree = OmegaConf.to_container(composed(program), resolve=False)
    assert set(tree) <= set(schema.__annotations__)
    assert set(tree) >= schema.__required_keys__
    groups = {group for name, group, _ in CHOICES if name == program}
    assert schema.__optional_keys__ <= groups | {"videos", "output"}
    check(program)


def test_a_key_of_ones_own_that_others_refer_to_is_no_mistake():
    check("train", "+my_width=384", "backbone.width=${my_width}")
    with pytest.raises(ValueError, match=r"^my_width is not a setting"):
        check("train", "+my_width=384")


# What is wrong is named


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("train global_batch_size=null", "global_batch_size=null must be a whole number, at least 1"),
        ("train clips_per_device=1.5", "clips_per_device=1.5 must be a whole number"),
        ("train seed=-1", "seed=-1 must be a whole number from 0 to 4294967295"),
        ("train datamodule.root=5", "for this very text type 'datamodule.root=\"5\"'"),
        ("train interface.num_tokens=0", "interface.num_tokens=0 must be a whole number, at least 1"),
        ("train interface.depth=-1", "interface.depth=-1"),
        ("train network.token_dropout=2", "network.token_dropout=2 must be a number from 0 to 1"),
        ("train lightning_module.text_dropout=-inf", "lightning_module.text_dropout=-inf must be a number from 0 to 1"),
        ("train callbacks.average.decay=-1", "callbacks.average.decay=-1 must be a number from 0 to 1"),
        ("train callbacks.finite_loss.every_n_steps=nan", "must be a whole number, at least 1"),
        ("train scheduler.min_lr_ratio=1e30", "scheduler.min_lr_ratio=1e+30 must be a number from 0 to 1"),
        ("train backbone.latent_fps=-1", "backbone.latent_fps=-1 must be a number, above 0"),
        ("train backbone.rope_theta=100000000000000000000", "at most 1e+12"),
        ("train video.fps=0", "video.fps=0 must be a number, above 0"),
        ("train video.fps=''", 'video.fps="" must be a number, above 0'),
        ("train optimizer.lr=-1", "optimizer.lr=-1 must be a number, at least 0"),
        ("train optimizer.betas=[0.9]", "must be a list in brackets of 2"),
        ("train trainer.max_steps=1.5", "trainer.max_steps=1.5 must be a whole number"),
        ("train trainer.val_check_interval=0.5", "trainer.val_check_interval=0.5 must be a whole number"),
        ("train trainer.devices={a:1}", "trainer.devices={a: 1} must be a whole number"),
        ("train codec.channels=0", "codec.channels=0 must be a whole number, at least 1, since backbone.channels"),
        ("train datamodule.num_frames=[]", "must be a list in brackets of at least one"),
        ("train datamodule.num_frames=[37,1.5]", "datamodule.num_frames[1]=1.5 must be a whole number"),
        ("train datamodule.make._partial_={a:1}", "datamodule.make._partial_={a: 1} must be true or false"),
        (
            "train datamodule=sets datamodule.root=a +datamodule.sets.a={root:b,num_frames:37}",
            "datamodule.sets.a.num_frames=37 must be a list in brackets",
        ),
        (
            "train datamodule=sets datamodule.root=a +datamodule.sets.a={root:b,repeats:inf}",
            "datamodule.sets.a.repeats=inf must be a",
        ),
        ("train datamodule.crop=left", "datamodule.crop=left must be one of centre, random"),
        ("train pretrained=[a,b]", "pretrained=[a, b] must be a text, not empty, or names with values in braces"),
        ("train pretrained={window:5}", "pretrained.window=5 must be a text"),
        ("train pretrained={window.backbone:5}", "pretrained[window.backbone]=5 must be a text"),
        (
            "train pretrained={window.backbone:'${nope}'}",
            "pretrained[window.backbone]=${nope} refers to what is not there",
        ),
        ("train resume=true", "for this very text type 'resume=\"true\"'"),
        ("train name=${nope}", r"""name=${nope} refers to what is not there"""),
        ("train interface.depth=???", "interface.depth is missing: give interface.depth=…"),
        ("train +backbone.widht=3", "backbone.widht is not a setting; did you mean backbone.width?"),
        ("train ~backbone.depth", "backbone.depth is missing, which VideoDiT needs"),
        ("train optimizer._target_=nope.nope", "optimizer._target_=nope.nope cannot be used"),
        ("train objective.times.law._target_=longtake.objectives.NoWeight", "takes TimestepSampler"),
        ("train logger.csv=3", "logger.csv=3 must be a mapping with _target_"),
        ("train lightning_module=memory", "use network=lovic or vin_lovic"),
        ("train lightning_module=compression", "use network=compressor"),
        ("train lightning_module=autoencoding", "add datamodule=freedoom_pixels"),
        ("train codec=pixels experiment=codec_freedoom codec=wan", "codec builds DiffusersCodec"),
        ("train network=compressor compressor=flexformer", "use network=dit, lovic, vin or vin_lovic"),
        ("train experiment=lovic_freedoom datamodule=freedoom", "add datamodule=freedoom_segments"),
        ("train datamodule=freedoom_segments", "add datamodule=freedoom or folder"),
        ("train datamodule.pixels=true", "add datamodule.pixels=false"),
        ("train rollout=segmentwise", "use network=lovic or vin_lovic"),
        ("generate prompt=5", "for this very text type 'prompt=\"5\"'"),
        ("generate prompt=[]", "prompt=[] must be a text"),
        ("generate prompt=[a,5]", "prompt[1]=5 must be a text"),
        ("generate guidance_scale=nan", "guidance_scale=nan must be a number"),
        ("generate guidance_scale=inf", "guidance_scale=inf must be a finite number, or null"),
        ("generate compression_ratio=-1", "compression_ratio=-1 must be a number, at least 1"),
        ("generate compression_ratio=many", "compression_ratio=many must be a number, at least 1"),
        ("generate weights=null", "weights=null must be a text"),
        ("generate rollout=segmentwise rollout.memory_level=nan", "rollout.memory_level=nan must be a number from 0"),
        ("generate rollout=segmentwise rollout.ratio_growth=nan", "rollout.ratio_growth=nan must be a number"),
        ("generate rollout=spectral_blending rollout.time_cutoff=nan", "rollout.time_cutoff=nan must be a number"),
        ("evaluate text_tokens=nan", "text_tokens=nan must be a whole number"),
        ("evaluate boundaries=1e30", "boundaries=1e+30 must be a list"),
        ("evaluate short_side=''", 'short_side="" must be a whole number'),
        ("evaluate +metrics.seam.window=0", "metrics.seam.window=0 must be a whole number, at least 1"),
        ("export run=null", "run=null must be a text"),
        ("export output=5", "for this very text type 'output=\"5\"'"),
        ("export output=hub:a/b", "output=hub:a/b must be a text, not empty, on this disk, not the hub"),
        ("export decoder=nonsense", "decoder=nonsense must be true or false"),
        ("export dtype={a:1}", "dtype={a: 1} must be one of float32, float16, bfloat16"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_do(command, answer):
    program, *changes = command.split(" ")
    with pytest.raises(ValueError, match=r".") as caught:
        check(program, *changes)
    assert answer in str(caught.value)
    assert "\n" not in str(caught.value)


def test_infinity_is_right_where_there_is_no_limit():
    check("generate", "rollout=spectral_blending", "rollout.time_cutoff=inf")


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"solver_order": "text"}, r"sampler\.settings\.solver_order=text must be of the type of 2"),
        ({"solver_order": True}, r"solver_order=True must be of the type of 2"),
        ({"algorithm_type": -1}, r"algorithm_type=-1 must be of the type of dpmsolver"),
        ({"algorithm_type": "none"}, r"sampler\.settings: DPMSolverMultistepScheduler refuses them"),
        ({"order": 2}, r"sampler\.settings\.order is not a setting: DPMSolverMultistepScheduler has .*solver_order"),
    ],
)
def test_settings_of_a_diffusers_scheduler_are_checked_when_it_is_chosen(settings, answer):
    given = {"scheduler": "DPMSolverMultistepScheduler", "num_inference_steps": 2}
    DiffusersSolver(**given, settings={"solver_order": 3, "algorithm_type": "sde-dpmsolver++"})
    with pytest.raises(ValueError, match=answer):
        DiffusersSolver(**given, settings=settings)


def test_what_changes_the_config_of_weights_is_checked_with_it():
    trained = as_used("train", "experiment=lovic_freedoom")
    check_groups(Tree(trained), ["sampler", "guidance", "rollout", "network"])
    more = {"guidance": {"scales": {"text": math.nan}}, "sampler": {"eta": 2}}
    changed = Tree({**trained, **{key: {**trained[key], **each} for key, each in more.items()}})
    with pytest.raises(ValueError, match=r"guidance\.scales\.text=nan must be a number"):
        check_groups(changed, ["guidance"])
    with pytest.raises(ValueError, match=r"sampler\.eta is not a setting; DiffusersSolver has"):
        check_groups(changed, ["sampler"])


def test_a_whole_number_is_no_truth_and_no_text_a_number():
    class Some(schemas.TypedDict):
        count: Annotated[int, Ge(1)]
        share: Positive
        lengths: Sizes
        word: Literal["a", "b"] | None
        said: Text

    right = {"count": 1, "share": 2, "lengths": [1], "word": None, "said": "x"}
    check_settings(OmegaConf.create(right), Some)
    wrong = [("count", True), ("count", "1"), ("count", 1.0), ("share", "2"), ("share", math.inf), ("word", "c")]
    wrong += [("said", ""), ("said", 5), ("lengths", [True]), ("lengths", 1), ("lengths", {"a": 1}), ("share", 10**400)]
    for key, value in wrong:
        with pytest.raises(ValueError, match=key):
            check_settings(OmegaConf.create({**right, key: value}), Some)
    assert describe(Annotated[float, Ge(0), Le(1)] | None) == "a number from 0 to 1, or null"


# What Hydra cannot read


def read_back(typed):
    (word,) = shlex.split(typed)
    read = OverridesParser.create().parse_override(word)
    assert not read.is_sweep_override()
    cfg = OmegaConf.create({"prompt": None})
    OmegaConf.update(cfg, read.key_or_group, read.value())
    return cfg.prompt


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
AWKWARD = st.lists(st.sampled_from([*"ab1 \\\"'${}[](),:=~!#%@\n\té", "${", "\\${", '\\"'])).map("".join)


@pytest.mark.slow
@limits(deadline=None, max_examples=300, derandomize=True)
@given(TEXTS | AWKWARD)
def test_any_text_is_read_back_as_it_was(text):
    assert read_back(argument("prompt", text)) == text


@limits(deadline=None, max_examples=200, derandomize=True)
@given(TEXTS | AWKWARD)
def test_what_cannot_be_read_is_answered_with_what_can(text):
    if text[:1] in ("'", '"', "="):
        return  # a quote that was opened is meant as one
    answer = as_typed(f"prompt={text}", [f"prompt={text}"])
    assert read_back(answer[answer.rindex(argument("prompt", text)) :]) == text


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["prompt=A, b"], "is a choice of several values: for this very text type 'prompt=\"A, b\"', for a list"),
        (["prompt=it's"], "type " + argument("prompt", "it's")),
        (["output=/a b(c)"], "type 'output=\"/a b(c)\"'"),
        (["prompt=日本"], "type 'prompt=\"日本\"'"),
        (["prompt=[a, b"], "opens a bracket that does not close"),
        (["pretrained={backbone: a#b, n: 5}"], "type 'pretrained={backbone: \"a#b\", n: 5}', or for this very text"),
        (["videos=[a#b, c]"], "type 'videos=[\"a#b\", c]', or for this very text"),
        (["prompt=A", "marine", "in", "red", "seed=1"], "type 'prompt=\"A marine in red\"'"),
        (["prompt==x"], "one = too many: type prompt=x"),
        (["prompt=${x"], "type 'prompt=\"\\${x\"'"),
        (["prompt=${x}"], "type 'prompt=\"\\${x}\"'"),
        (["=x"], "'=x' is no key=value"),
        (["seed"], "'seed' is no key=value"),
        (["rollout=singlepass"], "did you mean rollout=single_pass?"),
        (["rollout=null"], "an option of rollout is chosen by its name"),
        (["rollout=[null]"], "an option of rollout is chosen by its name"),
        (["rollout=[[1]]"], "an option of rollout is chosen by its name"),
    ],
)
def test_hydras_errors_are_answered_with_the_argument_to_type(arguments, answer, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["generate.py", *arguments])
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Hydra's, of several kinds
        check("generate", *arguments)
    said = sentence(caught.value)
    assert said is not None
    assert answer in said
    assert "\n" not in said


def test_a_value_that_hydra_itself_needs_is_named():
    cfg = OmegaConf.merge(OmegaConf.structured(HydraConf), {"run": {"dir": "${output}"}})
    with pytest.raises(Exception) as caught:  # noqa: PT011 - OmegaConf's
        _ = OmegaConf.create({"output": None, "hydra": cfg}).hydra.run.dir
    assert sentence(caught.value) == "output=null must be a text, such as output=NAME"


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_check_before_anything_else(program, tmp_path):
    wrong = {"train": "seed=-1", "generate": "prompt=5", "evaluate": "text_tokens=-1", "export": "decoder=5"}
    needed = {"generate": ["output=OUT"], "export": ["run=a", "output=b"], "evaluate": ["cost=true"]}
    ended = forked.run([ROOT / f"{program}.py", wrong[program], *needed.get(program, [])], cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(f"error: {wrong[program]} ")
    assert "Traceback" not in ended.stderr


# Files, devices and numbers that are none


def test_a_colon_in_a_relative_path_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video("out:1/a.mp4", [torch.zeros(3, 5, 16, 16)], fps=8)
    assert probe("out:1/a.mp4")[:2] == (16, 16)
    assert len(read_frames("out:1/a.mp4", height=16, width=16, fps=0, crop_place=0.5)) == 5


def test_pipes_devices_and_names_that_are_no_text_are_left_out_by_name(tmp_path, caplog):
    write_video(tmp_path / "good.mp4", [torch.zeros(3, 5, 16, 16)], fps=8)
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "endless.mp4").symlink_to("/dev/zero")
    (tmp_path / os.fsdecode(b"\xff.mp4")).write_bytes(b"")
    for name in ("pipe.mp4", "endless.mp4"):
        with pytest.raises(ValueError, match=f"{name}: no video but a folder, pipe, socket or device"):
            probe(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name}: no video but"):
            read_frames(tmp_path / name, height=16, width=16, fps=0, crop_place=0.5)
    assert [entry.path.name for entry in read_entries(tmp_path, None)] == ["good.mp4"]
    said = [f"{name}.mp4: left out: a pipe, socket or device" for name in ("pipe", "endless")]
    said.append("\\udcff.mp4: left out, since its name is not UTF-8; rename it")
    assert all(each in caplog.text for each in said)
    caplog.clear()
    assert [file.name for file in find_videos(tmp_path)] == ["good.mp4"]
    assert all(each in caplog.text for each in said)


def test_a_device_that_is_not_there_is_named():
    check_device("cpu")
    for device in ("nonsense", "meta", "cuda:99"):
        with pytest.raises(ValueError, match=f"^device={device} is not on this machine: use cpu"):
            check_device(device)


def test_what_is_sampled_as_no_number_is_neither_kept_nor_decoded(tmp_path):
    module = SimpleNamespace(sampler=lambda denoise, noise, **_: noise * math.nan, objective=SimpleNamespace(path=None))
    generate = window_generator(module, VideoNetwork(), lambda denoise_without: None, None, None)
    condition = Condition(torch.zeros(1, 2), torch.zeros(1, 1, 1), torch.zeros(1, 1, dtype=torch.bool))
    with pytest.raises(NotFinite, match=r"what was sampled holds NaN .*: lower the guidance"):
        WindowCache(tmp_path / "windows")(generate)(torch.ones(1, 3, 2, 4, 4), condition, None)
    assert not (tmp_path / "windows").exists()


def test_numbers_that_are_none_are_counted():
    check_finite({"a": torch.zeros(3), "b": torch.ones(2, dtype=torch.long), "c": torch.zeros(0)}, "w", "x")
    bad = torch.tensor([1, math.nan, math.inf], dtype=torch.bfloat16)
    with pytest.raises(NotFinite, match=r"^weights=a: b holds NaN or infinity in 2 of 3 numbers: use others$"):
        check_finite({"a": torch.zeros(3), "b": bad}, "weights=a", "use others")
