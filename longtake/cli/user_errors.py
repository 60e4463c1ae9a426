"""User errors as one sentence on the terminal, programming errors with their trace."""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from types import TracebackType
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from longtake.arguments import KEY, argument, as_typed
from longtake.cli.stopped import place, say_early, say_kept, wait_to_be_ended
from longtake.compat.hydra import compose_once
from longtake.configs import CONF, weights_folder
from longtake.failures import explain_failure
from longtake.process import settle
from longtake.releases.renamed import renamed_setting
from longtake.stopping import Stopped, stopping_tidily

_ABOUT_ONE_ARGUMENT = re.compile(
    "Ambiguous value for argument|requires --multirun|group override must be|Could not override ''"
)
"""Hydra's words where one argument is not as it should be."""
_SECONDS, _LAUNCHER_SECONDS = 5.0, 30.0
"""How long other processes than the first wait to be ended, by it, or by a launcher that looks for its end."""


def start(main: Callable[[Any], Any], config: str) -> None:
    """Runs a program on the config that conf/NAME.yaml and the command line make; a user's error is one sentence.

    It is caught inside the job as well as around it: Hydra would announce it in a line of its own, and a mistake of
    ours keeps that line and its trace.
    """
    settle()  # before torch loads; see docs/troubleshooting.md
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a lost connection is said in a sentence, not by its stack
    os.environ.setdefault("LONGTAKE_WEIGHTS", str(weights_folder()))  # read by conf/paths, here and in child processes
    compose_once(CONF)

    @functools.wraps(main)
    def answered(cfg: Any) -> Any:
        with explain():
            try:
                return main(cfg)
            except Stopped as stopped:
                say_kept(config, cfg, stopped)
                raise

    with explain(), stopping_tidily():
        _refuse_bytes(sys.argv[1:])
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config)(answered)()
        except Stopped as stopped:
            say_early(stopped)
            raise


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Refuses arguments that no manifest or log could hold."""
    for typed in arguments:
        legible = typed.encode("utf-8", "backslashreplace").decode()
        if legible != typed:
            raise ValueError(f"{legible} is not in UTF-8: set the terminal to UTF-8, or rename the file or folder")


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
        yield
    except Exception as error:
        speaks, cause = _speaks(), sentence(error)
        if cause is None:
            raise
        if speaks:
            sys.stderr.write(f"error: {cause}\n")
        sys.exit(2)


def _speaks() -> bool:
    """Of several processes that meet an error, or its echo, whether this one says it.

    The first process ends those that it started itself before it speaks, so they wait for that. Where a launcher
    started them, whoever asks first says it; before they know of one another the first does, and others wait to be
    ended.
    """
    launched = "TORCHELASTIC_RUN_ID" in os.environ or os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    if not launched:
        if place() == 0:
            return True
        wait_to_be_ended(_SECONDS)
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        from longtake.compat.torch import next_number
        from networks.processes import LostProcess

        try:
            return next_number("said what is wrong") == 0
        except LostProcess:  # who keeps the numbers: the first of these processes, or torchrun
            return place() <= 1
    if launched and place():
        wait_to_be_ended(_LAUNCHER_SECONDS)
    return True


def sentence(error: BaseException) -> str | None:
    """What to tell the user, if this error, or the one that Hydra wrapped, is theirs to mend; None if it is ours."""
    if (failed := explain_failure(error)) is not None:
        return _one_line(failed)
    name, module = type(error).__name__, type(error).__module__
    if module.startswith(("hydra.errors", "omegaconf.errors")) and (answer := renamed_setting(sys.argv[1:])):
        return answer
    if name == "InstantiationException" and error.__cause__ is not None:
        return _failed_target(error, error.__cause__)
    in_hydra = isinstance(error, TypeError) and _raised_in(error.__traceback__).startswith("hydra._internal.")
    if in_hydra or _ABOUT_ONE_ARGUMENT.search(str(error)) or isinstance(error, OverrideParseException):
        answer = _unreadable(error, sys.argv[1:])
        if answer is not None:
            return answer
    if name == "ConfigCompositionException" and isinstance(error.__cause__, OmegaConfBaseException):
        return _wrong_key(error.__cause__)
    if name == "ConfigAttributeError":  # our own code asked for a key that is not there
        return None
    if missing := re.search(r"Missing mandatory value: (\S+)", str(error)):
        return f"{missing[1]} is missing: give {missing[1]}=…"
    if wrong := re.search(r"interpolation '\$\{([\w.]+)\}': Incompatible value '(.*?)'", str(error)):
        return f"{wrong[1]}={'null' if wrong[2] == 'None' else wrong[2]} must be a text, such as {wrong[1]}=NAME"
    if name.startswith("Interpolation"):
        return _dangling(error, sys.argv[1:])
    if absent := re.search(r"Could not override '([^']+)'\. No match in the defaults list", str(error)):
        own = " (a GPU is used where there is one)" if absent[1] == "trainer" else ""
        return f"{absent[1]} is no setting of this program{own}; `--help` lists what it takes"
    if module.startswith(("hydra.errors", "omegaconf.errors")):
        said = _one_line(re.split(r"Config search path:|See https:|object_type=", str(error))[0])
        if "hydra/launcher/submitit" in said:
            return 'hydra/launcher=slurm needs a plugin of Hydra: pip install "longtake[slurm]"'
        return said + _near_choice(said)
    if isinstance(error, OverflowError) or (isinstance(error, RuntimeError) and "overflowed" in str(error)):
        return f"a number in the config is too large to compute with ({_one_line(str(error))}): look at the sizes"
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename is not None:
        return f"{error.filename}: a file stands where a folder belongs; give another folder"
    if isinstance(error, ValueError) or (isinstance(error, OSError) and error.filename is not None):
        return _one_line(str(error))
    return None


def _unreadable(error: BaseException, arguments: Sequence[str]) -> str | None:
    """The answer to the argument that Hydra cannot read, or reads as something that no program is told; or None."""
    parser = OverridesParser.create()
    sweeps = bool({"-m", "--multirun"} & {*arguments})
    for typed in [error.override] if isinstance(error, OverrideParseException) else arguments:
        if typed.startswith("-") or (typed.startswith("~") and "=" not in typed):
            continue
        try:
            read = parser.parse_override(typed)
        except Exception:  # ANTLR and Hydra have several kinds
            return as_typed(typed, arguments)
        key, value = read.key_or_group, typed.partition("=")[2]
        if not key:
            return as_typed(typed, arguments)
        if read.is_sweep_override() and not sweeps:
            return (
                f"{typed} is a choice of several values: for this very text type {argument(key, value)}, for a list "
                f"{key}=[…], for a run with each of them add -m"
            )
        if "/" not in key and (CONF / key).is_dir() and read.type.name != "DEL" and not _is_choice(read.value()):
            return f"{typed}: an option of {key} is chosen by its name, {_options(key)}; ~{key} goes without it"
    return None


def _is_choice(value: Any) -> bool:
    """Whether a value names one option of a group or several."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _options(group: str) -> str:
    return ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))


def _near_choice(said: str) -> str:
    """Which option of a group was meant, where Hydra lists those there are."""
    found = re.search(r"Could not find '([^']+)/([^'/]*)' Available options in '[^']+': (.*)", said)
    near = get_close_matches(found[2], found[3].split(), 1) if found else []
    return f"; did you mean {found[1]}={near[0]}?" if found and near else ""


def _dangling(error: BaseException, arguments: Sequence[str]) -> str:
    """For `${…}` that refers to nothing: a text that holds one is typed with a backslash."""
    said = _one_line(str(error).split("object_type=")[0])
    for typed in arguments:
        found = KEY.fullmatch(typed)
        if found is not None and "${" in found["value"]:
            return f"{typed}: {said}; for this very text type {argument(found['key'], found['value'])}"
    return said


def _failed_target(error: BaseException, cause: BaseException) -> str | None:
    """For a constructor that Hydra called: its own sentence, or Hydra's where the arguments did not even fit."""
    if "No supported gpu backend" in str(cause):
        return "there is no GPU that PyTorch can use on this machine: use trainer=cpu or trainer=cpu_bf16"
    # Lightning refuses devices that are not there, transformers and diffusers models that are not on this machine.
    if isinstance(cause, OSError | ImportError) or type(cause).__name__ == "MisconfigurationException":
        return _one_line(str(cause))
    where = _raised_in(cause.__traceback__)
    if isinstance(cause, TypeError) and where.startswith(("hydra.", "lightning.", "lightning_fabric.")):
        return _one_line(str(error) if where.startswith("hydra.") else f"{_full_key(error)}: {cause}")
    return sentence(cause)


def _full_key(error: BaseException) -> str:
    found = re.search(r"full_key: (\S+)", str(error))
    return found[1] if found else "the config"


def _raised_in(trace: TracebackType | None) -> str:
    """The module of the innermost frame."""
    module = ""
    while trace is not None:
        module, trace = str(trace.tb_frame.f_globals.get("__name__")), trace.tb_next
    return module


def _wrong_key(error: OmegaConfBaseException) -> str:
    """Names the keys that there are, the likeliest first."""
    place, _, key = str(error.full_key).rpartition(".")
    choices = [str(each) for each in error.parent_node or [] if each != "hydra"]
    if not choices:
        return f"{error.full_key} is not a setting"
    if not place and (CONF / key).is_dir():
        return f"{key} has no settings here, since none is chosen: add {key}=…, one of {_options(key)}"
    near = get_close_matches(key, choices, 1)
    meant = f"; did you mean {near[0]}?" if near else "."
    return f"{error.full_key} is not a setting{meant} {place or 'The config'} has {', '.join(choices)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
