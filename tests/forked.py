"""Programs as they are typed, in processes in which libraries are loaded already: that takes longer than most runs.

A server loads the libraries once and forks a process for each program, which loads all of ours anew. Tests of how a
process begins, of signals, and one run of each program start Python itself.
"""

import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ["pytest", "torch", "torch.distributed.checkpoint", "hydra.compose", "lightning", "timm", "diffusers", "av"]


def run(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """What `python WORDS…` ends with and says: a file, `-m` and a module, or `-c` and a text, and its arguments.

    Args:
        words: after `python`.
        cwd: the folder in which it runs.
        env: the whole environment; None: that of the tests.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: if it takes longer; it is killed.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    words = [str(word) for word in words]
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("out", "err")]
        told = (words, str(cwd), dict(os.environ if env is None else env), *map(str, said))
        process = context.Process(target=_begin, args=told)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout)
        return subprocess.CompletedProcess(words, process.exitcode, *(path.read_text() for path in said))


def _begin(words: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    import torch

    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", "1")))
    own = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    begin = "" if words[0] in ("-c", "-m") else str(Path(words[0]).resolve().parent)
    libraries = [path for path in sys.path if path and ROOT not in (Path(path), *Path(path).parents)]
    sys.path[:] = [begin, *own, *(path for path in libraries if path not in own)]
    if words[0] == "-m":
        sys.argv[:] = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv[:] = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv[:] = words
        runpy.run_path(words[0], run_name="__main__")
