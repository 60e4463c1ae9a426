"""Runs as jobs of SLURM by submitit, with a `sbatch` and a `srun` of our own that start a job at once, here."""

import os

import forked
import pytest
from composing import ROOT
from hydra.errors import MissingConfigException

from longtake.cli.user_errors import sentence

SBATCH = """#!/bin/bash
cp "${@: -1}" "$QUEUE/script.sh"
echo "Submitted batch job 77"
export SLURM_JOB_ID=77 SLURM_JOB_NAME=train SLURM_NTASKS=1 SLURM_PROCID=0
export SLURM_NTASKS_PER_NODE=1 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=localhost
export SLURM_NODELIST=localhost
bash "$QUEUE/script.sh" > "$QUEUE/said" 2>&1 &
"""
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do case "$1" in --unbuffered) shift ;; *) shift 2 ;; esac; done
exec "$@"
"""
SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
"""


@pytest.fixture
def queue(tmp_path):
    """A folder with SLURM's programs, and what they wrote."""
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_a_run_is_a_job_that_saves_itself_before_its_end(queue, videos):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    command = [
        ROOT / "train.py", "-m", "hydra/launcher=slurm", "hydra.launcher.partition=small",
        "hydra.launcher.nodes=1", "datamodule=folder", f"datamodule.root={videos}", "datamodule.num_frames=[17]",
        "datamodule.height=32", "datamodule.width=32", "datamodule.num_validation_clips=1", "text=null_text",
        "backbone=dit_tiny", "trainer.max_steps=1", "trainer.val_check_interval=1", "clips_per_device=2",
        "global_batch_size=2", "~callbacks.samples", "~callbacks.pictures",
    ]  # fmt: skip
    own = {
        "PATH": f"{queue}{os.pathsep}{os.environ['PATH']}",
        "QUEUE": str(queue),
        "LONGTAKE_DATA": str(queue / "data"),
    }
    ended = forked.run(command, cwd=queue, env={**os.environ, **own})  # the job itself starts Python
    assert ended.returncode == 0, ended.stderr[-2000:]
    script = (queue / "script.sh").read_text()
    for line in ("--signal=USR1@120", "--requeue", "--partition=small", "--nodes=1", "--gpus-per-node=1"):
        assert f"#SBATCH {line}\n" in script
    (run,) = (path.parent for path in (queue / "runs" / "vin").glob("*/checkpoints"))
    assert {path.name for path in run.iterdir()} >= {"config", "train.log", "checkpoints", "slurm_job"}
    assert (run / "slurm_job").read_text() == "77\n"
    assert (run / "config" / "overrides.yaml").is_file()
    (sweep,) = (queue / "runs" / "vin" / "sweeps").iterdir()
    assert (sweep / "multirun.yaml").is_file()


def test_a_missing_plugin_is_named_with_its_extra():
    error = MissingConfigException("In 'hydra/launcher/slurm': Could not load 'hydra/launcher/submitit_slurm'.", "x")
    assert sentence(error) == 'hydra/launcher=slurm needs a plugin of Hydra: pip install "longtake[slurm]"'
