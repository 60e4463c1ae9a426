"""What users get wrong is answered with one sentence that says what would do, and nothing good is lost."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import torch
from composing import ROOT, composed
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import LightningModule, Trainer
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from longtake.arguments import argument
from longtake.cli.checks import refuse_ddp_sweep
from longtake.cli.take import prompts_of
from longtake.cli.train import remove_unused
from longtake.cli.training import accumulation, train
from longtake.cli.user_errors import explain, sentence
from longtake.pipeline import Pipeline
from longtake.releases.checkpoints import CONFIG_KEY, find_resume, read_checkpoint
from longtake.releases.reading import load_run, load_state, read_run
from networks.codecs.pixels import PixelCodec
from networks.codecs.rules import check_lengths
from networks.files import claimed


def said(error):
    """The sentence for the user; None would mean a trace."""
    text = sentence(error)
    assert text is not None
    assert "\n" not in text
    return text


class Rules:
    time_factor, space_factor = 4, 8


# What is typed


@pytest.mark.parametrize(
    ("change", "answers"),
    [
        ("network=vim", ["network/vim", "dit lovic vin vin_guided vin_lovic vin_plan"]),
        ("experiment=vin", ["experiment/vin", "flexformer_freedoom frames_freedoom lovic_freedoom"]),
        ("network.fusoin=mid", ["network.fusoin is not a setting", "did you mean fusion?", "chunk_frames"]),
        ("trainer.max_step=3", ["did you mean max_steps?"]),
        ("networks=dit", ["did you mean network?", "global_batch_size"]),
        ("nonsense=1", ["nonsense is not a setting. The config has ", "global_batch_size"]),
        ("network.fusion.mode=mid", ["network.fusion.mode is not a setting"]),
        ("trainer.max_steps", ["trainer.max_steps"]),
        ("~callbacks.sample", ["callbacks.sample", "does not exist"]),
    ],
)
def test_a_wrong_choice_or_key_is_answered_with_those_there_are(change, answers):
    with pytest.raises(HydraException) as caught:
        composed("train", change)
    for answer in answers:
        assert answer in said(caught.value)
    assert "Config search path" not in said(caught.value)


def test_a_group_that_is_not_chosen_has_no_settings():
    with pytest.raises(HydraException) as caught:
        composed("generate", "sampler.num_inference_steps=2")
    assert said(caught.value) == (
        "sampler has no settings here, since none is chosen: add sampler=…, one of cogvideox, ddim, dpmpp, euler, "
        "heun, hunyuan, pretrained, unipc"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("network.fusion=sometimes", "early"),
        ("datamodule.num_frames=[36]", "take 33 or 37"),
        ("datamodule.height=60", "take 56 or 64"),
        ("datamodule.crop=left", "centre, random"),
        ("datamodule=folder", "datamodule.root is missing"),
        ("+backbone.widht=3", "VideoDiT.__init__() got an unexpected keyword argument 'widht'"),
        ("sampler.num_inference_steps=0", "num_inference_steps"),
        ("codec.folder=NOWHERE", "NOWHERE holds no config.json"),
    ],
)
def test_a_wrong_value_is_answered_by_what_it_was_meant_for(change, answer):
    cfg = composed("train", "text=null_text", "backbone.depth=1", change)
    group = re.match(r"\+?(\w+)", change)[1]
    given = {}
    if group == "datamodule":
        given = {"codec": Rules(), "text_encoder": instantiate(cfg.text)}
        given |= {"global_batch_size": 1, "batch_size": 1, "seed": 0}
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Hydra's or ours; what it says is what counts
        instantiate(cfg[group], **given)
    assert answer in said(caught.value)


def test_a_mistake_of_ours_keeps_its_trace():
    bugs = [RuntimeError("shapes"), KeyError("x"), TypeError("unsupported operand"), AttributeError("x")]
    assert [sentence(bug) for bug in bugs] == [None] * len(bugs)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        instantiate({"_target_": "operator.add", "_args_": [1, "a"]})
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        instantiate({"_target_": "torch.zeros", "_args_": [-1]})
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert sentence(caught.value) is None
    with pytest.raises(Exception) as caught:  # noqa: PT011
        OmegaConf.create({"a": 1}).b.c  # noqa: B018
    assert sentence(caught.value) is None


def test_a_file_that_stands_where_a_folder_belongs_is_told(tmp_path):
    (tmp_path / "a").touch()
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OSError, match=str(folder)) as caught, claimed(folder):
            pass
        assert said(caught.value) == f"{folder}: a file stands where a folder belongs; give another folder"


def test_explain_prints_one_sentence_and_exits_with_two(capsys, monkeypatch):
    monkeypatch.delenv("LONGTAKE_TRACE", raising=False)
    with pytest.raises(SystemExit) as left, explain():
        raise ValueError("num_frames=64 breaks\n   the rule")
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: num_frames=64 breaks the rule\n"
    with pytest.raises(ZeroDivisionError), explain():
        _ = 1 / 0
    monkeypatch.setenv("LONGTAKE_TRACE", "1")
    with pytest.raises(ValueError, match="rule"), explain():
        raise ValueError("the rule")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["train.py", "network=vin", "network.fusoin=mid"], "error: network.fusoin is not a setting; did you mean"),
        (["generate.py"], "error: output is missing: give output=…"),
        (["generate.py", "weights=NOWHERE", "output={out}"], "error: weights=NOWHERE: no such file or folder"),
    ],
)
def test_programs_end_with_the_sentence_and_code_two(arguments, answer, tmp_path):
    ended = forked.run([part.format(out=tmp_path / "out") for part in arguments], cwd=ROOT)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(answer)
    assert "Traceback" not in ended.stderr
    assert "Error executing job" not in ended.stderr


@pytest.mark.slow
def test_a_refused_training_leaves_no_folder(tmp_path):
    wrong = ["train.py", "global_batch_size=0", f"paths.run_dir={tmp_path / 'new'}"]
    assert forked.run(wrong, cwd=ROOT).returncode == 2
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "mine").touch()
    assert forked.run([*wrong, f"paths.run_dir={tmp_path / 'old'}"], cwd=ROOT).returncode == 2
    assert (tmp_path / "old" / "mine").exists()


def test_a_run_that_begins_keeps_its_folder_though_another_one_there_is_refused(tmp_path):
    (tmp_path / "config").mkdir()
    script = "from pathlib import Path; from networks.files import claimed\n"
    script += f"with claimed(Path({str(tmp_path)!r})): print(flush=True); input()"
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], env=own, **pipes) as other:
        other.stdout.readline()
        remove_unused(tmp_path)
        assert (tmp_path / "config").is_dir()
        other.communicate(b"\n")
    remove_unused(tmp_path)
    assert not tmp_path.exists()


# Sizes


@pytest.mark.parametrize(
    ("num_frames", "near"), [(64, "61 or 65"), (2, "1 or 5"), (0, "1"), (-3, "1"), (256, "253 or 257")]
)
def test_a_length_off_the_rule_names_the_nearest(num_frames, near):
    with pytest.raises(ValueError, match=f"num_frames={num_frames} .*4n \\+ 1: use {near}$"):
        check_lengths(num_frames, 64, 64, Rules(), 2)


@pytest.mark.parametrize(("size", "near"), [(60, 64), (8, 16), (0, 16), (71, 64)])
def test_a_size_off_the_multiple_names_the_nearest(size, near):
    with pytest.raises(ValueError, match=f"height={size} must be a multiple of 16 .*use {near}$"):
        check_lengths(65, size, 64, Rules(), 2)
    with pytest.raises(ValueError, match=f"width={size} must be a multiple of 16 .*use {near}$"):
        check_lengths(65, 64, size, Rules(), 2)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"num_frames=64.5 must be a whole number"):
        check_lengths(64.5, 64, 64, Rules(), 2)
    with pytest.raises(ValueError, match="width='wide' must be a whole number"):
        check_lengths(65, 64, "wide", Rules(), 2)


def test_sizes_that_fit_pass():
    check_lengths(65, 64, 96, Rules(), 2)
    check_lengths(1, 2, 2, PixelCodec(channels=3), 2)


def test_weights_without_prompts_make_videos_of_no_text():
    cfg = OmegaConf.create({"prompt": None, "num_videos": 2})
    assert prompts_of(cfg, OmegaConf.create({"prompts": []})) == ["", ""]
    assert prompts_of(cfg, OmegaConf.create({"prompts": ["a"]})) == ["a", "a"]


def test_a_prompt_that_nothing_reads_is_said_to_change_nothing(caplog):
    cfg = OmegaConf.create({"prompt": "a", "num_videos": 1})
    assert prompts_of(cfg, {"prompts": []}, reads_text=False) == ["a"]
    assert "these weights take no text" in caplog.text


@pytest.mark.parametrize("caption", ["a square", 'Walls, "red" (and 2: more) = it\'s', "", "50 % [x] {y} $z"])
def test_a_caption_survives_shell_and_hydra(caption):
    assert composed("generate", *shlex.split(argument("prompt", caption))).prompt == caption


def test_a_global_batch_that_does_not_divide_names_one_that_does():
    with pytest.raises(ValueError, match=r"global_batch_size=10 .*4 devices; 8 would"):
        accumulation(10, 8, 4)
    with pytest.raises(ValueError, match=r"global_batch_size=3 .*4 devices; 4 would"):
        accumulation(3, 8, 4)
    with pytest.raises(ValueError, match="global_batch_size=0 must be at least 1"):
        accumulation(0, 8, 1)
    with pytest.raises(ValueError, match="clips_per_device=0 must be at least 1"):
        accumulation(8, 0, 1)


@pytest.mark.parametrize(
    ("total", "most", "devices", "expected"),
    [(8, 8, 1, (8, 1)), (8, 3, 1, (2, 4)), (64, 8, 4, (8, 2)), (7, 4, 1, (1, 7))],
)
def test_accumulation_keeps_the_global_batch(total, most, devices, expected):
    batch, steps = accumulation(total, most, devices)
    assert (batch, steps) == expected
    assert batch * steps * devices == total


# Sweeps


@pytest.fixture
def hydra_runs():
    """Sets what a running Hydra knows, and forgets it afterwards."""

    def run(mode, *changes):
        cfg = composed("train", *changes, return_hydra_config=True)
        OmegaConf.set_readonly(cfg.hydra, False)
        cfg.hydra.mode = mode
        HydraConfig.instance().set_config(cfg)
        return cfg.trainer

    yield run
    HydraConfig.instance().cfg = None


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "ddp_cpu", "fsdp"])
def test_a_sweep_over_several_processes_is_refused(hydra_runs, trainer):
    with pytest.raises(ValueError, match="one sweep in every process; sweep with trainer=cpu or trainer=gpu"):
        refuse_ddp_sweep(hydra_runs(RunMode.MULTIRUN, f"trainer={trainer}"))
    refuse_ddp_sweep(hydra_runs(RunMode.RUN, f"trainer={trainer}"))


def test_a_job_has_its_processes_and_may_be_one_of_a_sweep(hydra_runs, monkeypatch):
    trainer = hydra_runs(RunMode.MULTIRUN, "trainer=ddp")
    with pytest.raises(ValueError, match="or make every run a job of SLURM by hydra/launcher=slurm"):
        refuse_ddp_sweep(trainer)
    for name, value in (("SLURM_NTASKS", "2"), ("SLURM_JOB_NAME", "train"), ("SLURM_JOB_ID", "77")):
        monkeypatch.setenv(name, value)
    refuse_ddp_sweep(trainer)


@pytest.mark.parametrize("trainer", ["cpu", "gpu"])
def test_a_sweep_on_one_device_is_not(hydra_runs, trainer):
    refuse_ddp_sweep(hydra_runs(RunMode.MULTIRUN, f"trainer={trainer}"))


# Files


def foreign_files(folder):
    (folder / "text.ckpt").write_text("not a checkpoint")
    (folder / "empty.ckpt").touch()
    torch.save({"state_dict": {}}, folder / "other.ckpt")
    torch.save([1, 2], folder / "list.ckpt")
    torch.save({CONFIG_KEY: Path("code")}, folder / "code.ckpt")
    return sorted(folder.glob("*.ckpt"))


def test_foreign_checkpoints_are_refused_and_run_no_code(tmp_path):
    files = foreign_files(tmp_path)
    assert len(files) == 5
    for file in files:
        for read in (read_checkpoint, read_run, load_run):
            with pytest.raises(ValueError, match=r"expected a \.ckpt") as caught:
                read(file)
            assert str(file) in said(caught.value)


def test_missing_weights_and_foreign_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no such file or folder; give a \.ckpt, a run folder or a release folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds neither checkpoints/\*\.ckpt"):
        read_run(tmp_path)


def test_resume_of_what_is_not_there_is_refused(tmp_path):
    assert find_resume(None, tmp_path) is None
    with pytest.raises(ValueError, match=r"resume=gone\.ckpt: no such file"):
        find_resume("gone.ckpt", tmp_path / "run")
    with pytest.raises(ValueError, match="no run with a checkpoint under"):
        find_resume("last", tmp_path / "run")
    with pytest.raises(ValueError, match="holds neither"):
        find_resume(str(tmp_path), tmp_path / "run")


def test_weights_of_another_size_are_refused():
    module = Toy()
    state = {**module.state_dict(), "layer.weight": torch.zeros(3, 3)}
    with pytest.raises(ValueError, match=r"does not fit Toy: 1 tensors differ, the first is 'layer.weight'"):
        load_state(module, state)
    with pytest.raises(ValueError, match=r"1 tensors differ, the first is 'layer\.bias'"):
        load_state(module, {"layer.weight": module.layer.weight})


@pytest.mark.parametrize("word", ["resume", "pretrained"])
def test_a_run_refuses_the_weights_of_another_network(tmp_path, word):
    torch.save({CONFIG_KEY: {}, "state_dict": {"layer.weight": torch.zeros(2)}}, tmp_path / "other.ckpt")
    small = ["codec=pixels", "text=null_text", "network=dit", "backbone.width=32", "backbone.num_heads=1"]
    cfg = composed(
        "train", *small, "backbone.depth=1", f"{word}={tmp_path / 'other.ckpt'}", f"paths.run_dir={tmp_path}"
    )
    with pytest.raises(ValueError, match="the checkpoint does not fit DenoisingModule"):
        train(cfg)
    setattr(cfg, word, "nowhere.ckpt")
    with pytest.raises(ValueError, match=f"^{word}=nowhere.ckpt: no such file"):
        train(cfg)


# A loss that is no number


class Toy(LightningModule):
    """One layer, whose loss turns into NaN at a step."""

    def __init__(self, bad_step: int = -1) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.bad_step = bad_step

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().mean()
        return loss * float("nan") if self.global_step == self.bad_step else loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.layer(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(module, folder, *, look_every, save_every):
    """Trains with the callbacks of conf/callbacks, as train.py does."""
    changes = [f"callbacks.finite_loss.every_n_steps={look_every}", f"trainer.val_check_interval={save_every}"]
    cfg = composed("train", "callbacks=codec", "~callbacks.progress", "~callbacks.learning_rate", *changes)
    cfg.paths.run_dir = str(folder)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=20,
        val_check_interval=save_every,
        check_val_every_n_epoch=None,
        callbacks=[instantiate(node) for node in cfg.callbacks.values()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader(torch.randn(64, 2), batch_size=2)
    trainer.fit(module, data, data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("look_every", "save_every", "bad_step", "good_step"),
    [
        (5, 5, 7, 5),
        (2, 4, 4, 4),
        (3, 5, 14, 10),
        (5, 10, 12, 10),
        (50, 5, 7, 5),
        (50, 5, 9, 5),
    ],
)
def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_last_good_checkpoint(
    tmp_path, look_every, save_every, bad_step, good_step
):
    with pytest.raises(ValueError, match="the training loss stopped being a number"):
        fit(Toy(bad_step), tmp_path, look_every=look_every, save_every=save_every)
    for name in ("last", f"step_{good_step:07d}"):
        kept = torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert kept["global_step"] == good_step
        for key in ("state_dict", "current_model_state"):
            assert all(torch.isfinite(value).all() for value in kept[key].values())


def test_a_run_without_trouble_ends(tmp_path):
    fit(Toy(), tmp_path, look_every=50, save_every=5)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


def test_an_export_into_a_run_or_a_file_is_refused(tmp_path):
    from longtake.cli.export import run

    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "file").touch()
    for name, said in (("run", "is the folder of a run: give another"), ("file", "is a file: give a folder")):
        with pytest.raises(ValueError, match=said):
            run(composed("export", f"run={tmp_path / 'run'}", f"output={tmp_path / name}"))


def test_a_release_without_its_codec_is_told_so(tmp_path):
    shutil.copytree(ROOT / "weights" / "vin_freedoom_64", tmp_path / "vin")
    with pytest.raises(ValueError, match=r"codec_freedoom_64 holds no config.json, as .* lies beside it, take both"):
        Pipeline.from_pretrained(tmp_path / "vin")
