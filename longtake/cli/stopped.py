"""What a program says where a signal ends it: what is kept, and how to go on."""

import logging
import os
import shlex
import signal
import sys
import time
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from longtake.arguments import command
from longtake.stopping import Stopped

log = logging.getLogger("longtake")

_STARTED_BY = os.getppid()
_KEPT = {
    "generate": "finished videos, windows and segments are kept in {output}; the same command goes on from there",
    "evaluate": "videos that were scored are kept in {output}; the same command goes on from there",
    "export": "no file in {output} is half written; the same command replaces what is there",
}


def say_kept(program: str, cfg: Any, stopped: Stopped) -> None:
    """Tells the user what a stopped program leaves in its folder `output`; a training says by itself what it saved."""
    kept = _KEPT.get(program)
    if kept is None or stopped.told or place():
        return
    stopped.told = True
    name = signal.Signals(stopped.number).name
    if OmegaConf.is_missing(cfg, "output"):
        log.info(f"stopped by {name}; there was nothing to keep; start again with")
    else:
        log.info(f"stopped by {name}; {kept.format(output=cfg.output)}")
    log.info(f"             {command(f'{program}.py', typed())}")


def say_early(stopped: Stopped) -> None:
    """Tells the user about a signal that came before the program had read its settings, or after its work was done."""
    if not stopped.told and not place():
        stopped.told = True
        sys.stderr.write(f"stopped by {signal.Signals(stopped.number).name}; nothing is half written\n")


def place() -> int:
    """Which of the processes this is that torchrun, srun or the program itself started: 0 speaks for all."""
    told = (os.environ.get(name, "") for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return max((int(number) for number in told if number.isdecimal()), default=0)


def wait_to_be_ended(seconds: float) -> None:
    """Gives the process that started this one time to end it; one that is gone is not waited for.

    Args:
        seconds: at most.
    """
    until = time.monotonic() + seconds
    while os.getppid() == _STARTED_BY and time.monotonic() < until:
        time.sleep(0.1)


def typed() -> list[str]:
    """What was typed, quoted for a shell once more."""
    if not HydraConfig.initialized():
        return []
    return [shlex.quote(text) for text in HydraConfig.get().overrides.task]
