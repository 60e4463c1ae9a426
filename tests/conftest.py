"""Before torch loads: threads that wait without spinning, and one each, so that tests do not fight for cores.

A process that only hands out tests to others loads nothing. Each of the others loads the libraries and then forks the
server of `forked.py`, which so need not load them again.

Fixtures that several files use; helpers without state lie beside this file as modules.
"""

import gc
import os
import shutil
import subprocess
import tempfile

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # which torch reads as it loads: as programs have it

import forked
import pytest

LONGEST = (
    *("test_cost.py", "test_processes.py", "test_notebooks.py", "test_extending.py", "test_dying_ranks.py"),
    *("test_cost_rollouts.py", "test_golden.py", "test_stopping.py", "test_failures.py", "test_programs.py"),
    *("test_ended.py", "test_claims.py", "test_full_disk.py", "test_sharded_blocks.py", "test_configs.py"),
    *("test_trainings_run.py", "test_chunk_training.py", "test_running.py", "test_answers.py"),
    *("test_commands_run.py", "test_several_processes_run.py", "test_few_bits_training.py", "test_training.py"),
    *("test_families.py", "test_batteries.py", "test_devices.py", "test_quantized.py", "test_settings_drawn.py"),
)
"""Files that begin first: each is one process's (`--dist loadfile`), and the last of them is not to be waited for.

Those whose processes wait for one another are apart, so that others compute meanwhile.
"""


def pytest_configure(config):
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        gc.disable()  # until tests begin: what is loaded before them stays
        os.environ["TESTS_FOLDER"] = tempfile.mkdtemp(prefix="longtake-tests-")  # of `builders.new_folder`
    if hasattr(config, "workerinput"):
        forked.serve(slow="not slow" not in config.getoption("markexpr"))
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        import torch

        torch.set_num_threads(1)  # fixtures of modules run before those of functions; runs are compared to the bit


def pytest_unconfigure():
    shutil.rmtree(os.environ.pop("TESTS_FOLDER", ""), ignore_errors=True)  # a worker ends without what atexit would do


def pytest_collection_modifyitems(items):
    places = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))  # stable: others stay as they are


def pytest_collection_finish():
    gc.freeze()  # to look through millions of objects again and again is a fifteenth of what tests take
    gc.enable()


@pytest.fixture(autouse=True)
def seeded():
    import torch

    torch.set_num_threads(1)
    torch.default_generator.manual_seed(0)  # half of a millisecond less than that of all devices
    yield
    torch.set_float32_matmul_precision("highest")  # a program may have set it


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """A folder of six videos of a coloured square that moves, with captions."""
    import torch

    from longtake.video import write_video

    folder = tmp_path_factory.mktemp("videos")
    for number in range(6):
        frames = -torch.ones(3, 25, 32, 32)
        for f in range(25):
            frames[number % 3, f, 8:20, (f + 3 * number) % 20 : (f + 3 * number) % 20 + 8] = 1
        write_video(folder / f"{number}.mp4", [frames], fps=8.75)
        (folder / f"{number}.txt").write_text(f"square number {number}")
    return folder


@pytest.fixture(scope="session")
def trained(videos, tmp_path_factory):
    """The folder of a run of VIN, six steps long."""
    from tiny_runs import config

    from longtake.cli.training import train

    run = tmp_path_factory.mktemp("runs") / "trained"
    loss = train(config(videos, run, "network=vin_plan"))
    assert loss == loss  # neither None nor NaN
    assert loss is not None
    return run


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system with so many KiB of room; where that is not allowed the test is skipped."""
    mounted = []

    def mount(kib):
        place = tmp_path / "disk"
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a file system")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=False)
