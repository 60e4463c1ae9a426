"""Lightning, tested on 2.6.0 and 2.6.6: private members that callbacks of ours need, each behind one function.

`LastStepCheckpoint` overrides one more, ModelCheckpoint._save_checkpoint, to know when a checkpoint was written.
"""

import os
import signal
import sys
import threading
import time
import warnings
from functools import partial
from typing import Any

from lightning import Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.strategies.launchers import subprocess_script as fabric_script
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.strategies.launchers import subprocess_script
from torch.optim.swa_utils import AveragedModel


def quiet() -> None:
    """Hides a warning of torch about Lightning's own code, which no user can mend.

    Lightning 2.6.6 makes a LeafSpec, which torch 2.14 calls deprecated.
    """
    warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated", module=r"lightning\.")


def average_of(callback: WeightAveraging) -> AveragedModel:
    """The averaged copy of the module that a fit has made; Lightning offers no public way to it.

    Args:
        callback: the callback that averages weights.

    Returns:
        The averaged copy.

    Raises:
        RuntimeError: before the fit has begun.
    """
    average = callback._average_model
    if average is None:
        raise RuntimeError("there is no average yet: it is made when a fit begins")
    return average


def cluster_environment(trainer: Trainer) -> ClusterEnvironment | None:
    """What started the processes of a run, such as SLURM; None for a single process."""
    return trainer._accelerator_connector.cluster_environment


def save_now(callback: ModelCheckpoint, trainer: Trainer, *, named: bool, last: bool) -> None:
    """Saves the state of this moment, where the callback would save at all, such as not in a sanity check.

    Args:
        callback: whose folder, names and limits count.
        trainer: trainer of the run.
        named: whether a checkpoint that is named by its step is written, and the oldest one removed.
        last: whether last.ckpt is written.
    """
    if callback._should_skip_saving_checkpoint(trainer):
        return
    candidates = callback._monitor_candidates(trainer)
    if named:
        callback._save_topk_checkpoint(trainer, candidates)
    if last:
        callback._save_last_checkpoint(trainer, candidates)


def saved_step(callback: ModelCheckpoint) -> int:
    """The step whose state the callback saved last."""
    return callback._last_global_step_saved


def recount(checkpoint: dict[str, Any], batches: int) -> None:
    """Sets how many batches a checkpoint's loops have seen, in place.

    Args:
        checkpoint: as Lightning hands it to on_load_checkpoint.
        batches: since the start of the run.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        ended = counts["processed"] - counts["completed"]  # 1 where it was saved before its step was quite over
        counts.update(ready=batches, started=batches, processed=batches, completed=batches - ended)


def data_place(trainer: Trainer) -> tuple[int, int]:
    """Which share of the data is this process's, and how many there are: the processes of a team see the same."""
    size = getattr(getattr(trainer, "strategy", None), "chunks", 1)
    return trainer.global_rank // size, trainer.world_size // size


LOST = (
    "another process of this run was ended from outside, most often by the system for want of memory: start again with "
    "fewer devices, or network.windows_per_call=1; what was finished is kept"
)
LOST_IN_TRAINING = (
    "another process of this run was ended from outside, most often by the system for want of memory: go on with "
    "resume=last, and with half of clips_per_device if it was memory; what was saved is kept"
)
_LEAVING = threading.Event()
_SECONDS = 5.0
"""How long a process that lost another one waits to see how that one ended."""


def failed_process(trainer: Trainer) -> int:
    """The exit status of a process that this one started and that failed by itself, 0 if none did."""
    return failed_started(trainer)


def failed_started(starter: Any) -> int:
    """The exit status of a process that a Trainer or Fabric started and that failed by itself, 0 if none did.

    A process that fails closes its connections first: for a while it is waited for.
    """
    processes = getattr(starter.strategy.launcher, "procs", [])
    until = time.monotonic() + _SECONDS
    while processes and time.monotonic() < until:
        if failed := next((process.returncode for process in processes if process.poll()), 0):
            return _status(failed)
        time.sleep(0.1)
    return 0


def end_processes(trainer: Trainer) -> None:
    """Ends the processes that this one started, which leaves by itself and with an exit status of its own."""
    if trainer.strategy.launcher is not None:
        _LEAVING.set()
        trainer.strategy.launcher.kill(signal.SIGKILL)


def end_started(fabric: Any) -> None:
    """Ends the processes that a Fabric started; this process then leaves with an exit status of its own."""
    _LEAVING.set()
    for process in getattr(fabric.strategy.launcher, "procs", []):
        process.kill()


def end_with_processes() -> None:
    """From here on, this process ends with the exit status of a process of its Fabric that fails.

    If that process was killed from outside, this one says so.
    """
    _LEAVING.clear()
    fabric_script._launch_process_observer = partial(_observe, says=LOST)  # type: ignore[attr-defined]


def end_as_the_first_that_failed() -> None:
    """From here on, where a started process fails, this one ends with its exit status.

    Lightning would kill it, and its status would be 137 whatever was wrong. If that process was killed from outside,
    this one says so.
    """
    _LEAVING.clear()
    observe = partial(_observe, says=LOST_IN_TRAINING)
    subprocess_script._launch_process_observer = observe  # type: ignore[attr-defined]


def _observe(child_processes: Any, says: str) -> None:
    observer = _Observer(child_processes=child_processes, main_pid=os.getpid(), sleep_period=1)
    observer.says = says
    observer.start()


class _Observer(_ChildProcessObserver):
    says = ""

    def _terminate_all(self) -> None:
        """Lightning's hook, in a thread of its own, once a process has ended with another status than 0."""
        if _LEAVING.is_set():
            return
        time.sleep(_SECONDS)  # the main thread most often learns of it by itself, and leaves in order
        if _LEAVING.is_set():
            return
        failed = next(process.returncode for process in self._child_processes if process.returncode)
        for process in self._child_processes:
            process.send_signal(signal.SIGKILL)
        if failed < 0:
            sys.stderr.write(f"error: {self.says}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status(failed))


def _status(returncode: int) -> int:
    """What a shell shows for it."""
    return returncode if returncode > 0 else 128 - returncode
