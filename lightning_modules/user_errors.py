"""User errors as one sentence on the terminal, programming errors with their trace."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from types import TracebackType
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf.errors import OmegaConfBaseException

from lightning_modules.failures import explain_failure


@contextmanager
def explain() -> Iterator[None]:
    """Prints a user's error as one sentence and exits with 2; LONGTAKE_TRACE=1 shows the trace instead.

    Hydra catches errors itself unless HYDRA_FULL_ERROR is set, so it is set.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    if os.environ.get("LONGTAKE_TRACE"):
        yield
        return
    try:
        with _unannounced():
            yield
    except Exception as error:
        cause = sentence(error)
        if cause is None:
            raise
        sys.stderr.write(f"error: {cause}\n")
        sys.exit(2)


@contextmanager
def _unannounced() -> Iterator[None]:
    """Spares a user's error Hydra's line "Error executing job with overrides: […]"; before a trace it stays.

    A job's result writes that line when the error is taken out of it, and Hydra has no setting for it.
    """
    announced: Any = JobReturn.return_value

    def take(job: JobReturn) -> Any:
        error = getattr(job, "_return_value", None)
        if isinstance(error, Exception) and sentence(error) is not None:
            raise error
        return announced.fget(job)

    setattr(JobReturn, "return_value", property(take, announced.fset))  # noqa: B010 - mypy refuses the plain form
    try:
        yield
    finally:
        setattr(JobReturn, "return_value", announced)  # noqa: B010


def sentence(error: BaseException) -> str | None:
    """What to tell the user, if this error, or the one that Hydra wrapped, is theirs to mend; None if it is ours."""
    if (failed := explain_failure(error)) is not None:
        return _one_line(failed)
    name, module = type(error).__name__, type(error).__module__
    if name == "InstantiationException" and error.__cause__ is not None:
        return _failed_target(error, error.__cause__)
    if name == "ConfigCompositionException" and isinstance(error.__cause__, OmegaConfBaseException):
        return _wrong_key(error.__cause__)
    if name == "ConfigAttributeError":  # our own code asked for a key that is not there
        return None
    if missing := re.search(r"Missing mandatory value: (\S+)", str(error)):
        return f"{missing[1]} is missing: give {missing[1]}=…"
    if module.startswith(("hydra.errors", "omegaconf.errors")):
        return _one_line(re.split(r"Config search path:|See https:|object_type=", str(error))[0])
    if isinstance(error, ValueError) or (isinstance(error, OSError) and error.filename is not None):
        return _one_line(str(error))
    return None


def _failed_target(error: BaseException, cause: BaseException) -> str | None:
    """For a constructor that Hydra called: its own sentence, or Hydra's where the arguments did not even fit."""
    if "No supported gpu backend" in str(cause):
        return "there is no GPU that PyTorch can use on this machine: use trainer=cpu or trainer=cpu_bf16"
    # Lightning refuses devices that are not there, transformers and diffusers models that are not on this machine.
    if isinstance(cause, OSError | ImportError) or type(cause).__name__ == "MisconfigurationException":
        return _one_line(str(cause))
    if isinstance(cause, TypeError) and _raised_in(cause.__traceback__).startswith("hydra."):
        return _one_line(str(error))
    return sentence(cause)


def _raised_in(trace: TracebackType | None) -> str:
    """The module of the innermost frame."""
    module = ""
    while trace is not None:
        module, trace = str(trace.tb_frame.f_globals.get("__name__")), trace.tb_next
    return module


def _wrong_key(error: OmegaConfBaseException) -> str:
    """Names the keys that there are, the likeliest first."""
    place, _, key = str(error.full_key).rpartition(".")
    choices = list(map(str, error.parent_node)) if error.parent_node is not None else []
    if not choices:
        return f"{error.full_key} is not a setting"
    near = get_close_matches(key, choices, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"{error.full_key} is not a setting{meant} {place or 'The config'} has {', '.join(choices)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
