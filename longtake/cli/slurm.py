"""A training as a job of SLURM: saved and queued again before its time is over, and gone on from where it was.

`#SBATCH --requeue --signal=USR1@120` has SLURM send SIGUSR1 to every process two minutes before the end. The run saves
last.ckpt, ends with 143 and asks for its job to be queued again; the same command then finds its own run by the job's
number. A job that SLURM preempts and queues again by itself is sent SIGTERM and goes on in the same way.
"""

import logging
import os
import subprocess
from pathlib import Path

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from networks.files import write_text

log = logging.getLogger("longtake")

_FILE = "slurm_job"
"""In a run's folder: the number of the job that wrote it."""


def job() -> str | None:
    """The number by which SLURM queues this job again, None outside of a job; a shell within one is no job."""
    if not SLURMEnvironment.detect():
        return None
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return os.environ.get("SLURM_JOB_ID") if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"


def environment() -> SLURMEnvironment | None:
    """What Lightning is told of the job: that it is to leave signals and queues alone."""
    return None if job() is None else SLURMEnvironment(auto_requeue=False)


def note_job(run_dir: Path) -> None:
    """Says in a run's folder which job it belongs to."""
    if (number := job()) is not None:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_text(run_dir / _FILE, number + "\n")


def run_before(run_dir: Path) -> Path | None:
    """The newest run of this job from before it was queued again, among those beside run_dir; None in a first start."""
    number = job()
    if number is None or int(os.environ.get("SLURM_RESTART_COUNT", "0")) == 0:
        return None
    notes = sorted(run_dir.parent.glob(f"*/{_FILE}"), key=lambda note: note.stat().st_mtime, reverse=True)
    return next((note.parent for note in notes if note.read_text(encoding="utf-8").strip() == number), None)


def queue_again() -> bool:
    """Asks SLURM to start this job once more, after it has ended; False, with a warning, where it does not."""
    number = job()
    if number is None:
        return False
    try:
        command = ["scontrol", "requeue", number]  # where SLURM put it
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        said = " ".join(str(getattr(error, "stderr", "") or error).split())
        log.warning(f"SLURM did not queue job {number} again ({said}): submit it once more, with resume=last")
        return False
    log.info(f"SLURM queues job {number} again, which will go on from there")
    return True
