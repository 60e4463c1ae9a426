"""Metrics of two processes agree with one process that sees every video."""

import pytest
import torch
import torch.distributed as dist
from pictures import MeanColour, colours_of_noise, flat, sliding, still
from torch import multiprocessing

from longtake.metrics.consistency import SubjectConsistency
from longtake.metrics.drift import ColourDrift, FeatureDrift
from longtake.metrics.frame_difference import SeamScore, TemporalFlicker
from longtake.metrics.frechet import FrechetFrameDistance
from longtake.metrics.motion import MotionMagnitude
from longtake.metrics.sharpness import Sharpness

# Three videos on one process, one on the other: a mean of the processes' means would be wrong.
SHARES = (slice(0, 3), slice(3, 4))


def by_features_and_flow():
    """Two that look at features, one that looks at flow."""
    features = MeanColour()
    return SubjectConsistency(features=features), FeatureDrift(features=features), MotionMagnitude()


def scores(rows):
    """What one process computes from its rows of the videos."""
    blinking = flat([0.0, 0.5] * 10).repeat(1, 1, 1, 2, 2)
    batch = torch.cat([sliding(1), sliding(3), still(20), blinking])
    metrics = [TemporalFlicker(), ColourDrift(), Sharpness(), SeamScore(), *by_features_and_flow()]
    for metric, given in zip(metrics, ({}, {}, {}, {"boundaries": [8]}, {}, {}, {"fps": 8.0}), strict=True):
        metric.update(batch[rows], **given)
    distance = FrechetFrameDistance(features=MeanColour(), frames_per_video=4)
    distance.update(colours_of_noise(0, number=4)[rows], is_reference=False)
    if 3 in range(4)[rows]:  # references are read by one process only
        distance.update(colours_of_noise(1, offset=0.2), is_reference=True)
    return [float(metric.compute()) for metric in (*metrics, distance)]


def run(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(scores(SHARES[rank]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_compute_what_one_does(tmp_path):
    # a fork needs no second import, which would take most of the time
    multiprocessing.start_processes(run, args=(str(tmp_path),), nprocs=2, start_method="fork")
    whole = scores(slice(0, 4))
    assert len(set(whole)) == len(whole)  # none is empty, or another's
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(whole, rel=1e-5)
