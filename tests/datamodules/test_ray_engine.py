"""Caching on a Ray cluster of two workers on this machine."""

import os
import time
from functools import partial

import pytest
import torch
from test_video_datamodule import Mean, module
from test_videos import make

pytest.importorskip("ray.data", reason='needs pip install "longtake[ray]"')

from datamodules.caching.ray_engine import cache_on_ray
from datamodules.caching.work import texts_of

pytestmark = pytest.mark.slow


class Slow(Mean):
    """Leaves the second worker time to come up."""

    def encode_stream(self, pieces):
        time.sleep(3)
        return super().encode_stream(pieces)


@pytest.fixture(scope="module")
def cluster():
    import ray

    path = os.pathsep.join([os.getcwd(), *(os.path.dirname(os.path.abspath(each)) for each in (__file__,))])
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
    yield
    ray.shutdown()


@pytest.mark.timeout(600)
def test_two_workers_share_films_out_each_once_and_make_what_one_process_makes(tmp_path, cluster):
    for number in range(12):
        make(tmp_path / f"{number}.mp4", 10 + number, height=16, width=16)
        (tmp_path / f"{number}.txt").write_text(f"caption number {number}")
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    build = partial(module, tmp_path, codec=Slow(), cache_dir=str(shared))
    cache_on_ray(build, address=None, workers=2, cpus_per_worker=1, gpus_per_worker=0)
    data, other = build(), module(tmp_path, cache_dir=str(alone))
    other.prepare_data()
    for each in (data, other):
        each.setup("fit")
    written = [len(path.read_text().splitlines()) for path in data.cache.folder.glob("*.jsonl")]
    assert sum(written) == 13  # twelve films and one that is of no use, each by one worker
    assert len(written) == 2
    pairs = zip(*(each.cache.clips(each.entries()) for each in (data, other)), strict=True)
    assert all(torch.equal(data.cache.read(one, 2), other.cache.read(two, 2)) for one, two in pairs)
    assert data.texts.missing(texts_of(data.entries())) == []
    before = {path: path.stat().st_mtime_ns for path in shared.rglob("*")}
    cache_on_ray(build, address=None, workers=2, cpus_per_worker=1, gpus_per_worker=0)
    assert {path: path.stat().st_mtime_ns for path in shared.rglob("*")} == before
