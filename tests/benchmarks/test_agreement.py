"""Whether chunks belong to one video: known answers, and intervals that know that levels are what is independent."""

import pytest
import torch

from benchmarks.agreement import agreement, agreements, chunk_means


def test_means_are_those_of_chunks():
    latents = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(2, 3, 6, 2, 2)
    assert torch.equal(chunk_means(latents, 3), torch.tensor([1.0, 4.0]).view(1, 2, 1).expand(2, 2, 3))


def test_one_video_throughout_and_strangers():
    videos = torch.randn(40, 1, 5)
    same = agreement(videos.expand(-1, 4, -1))
    assert same == {"within_over_total": pytest.approx(0, abs=1e-6), "first_last": pytest.approx(1, abs=1e-5)}
    strangers = agreement(torch.randn(400, 4, 5))
    assert strangers["within_over_total"] == pytest.approx(0.75, abs=0.05)  # three of four degrees of freedom
    assert abs(strangers["first_last"]) < 0.1


@pytest.mark.slow
def test_intervals_are_over_levels_and_differences_paired():
    levels = torch.randn(6, 1, 4)
    groups = [f"level {number % 6}" for number in range(60)]
    video = levels.repeat(10, 4, 1)
    tokens, without = video + 0.5 * torch.randn(60, 4, 4), video + torch.randn(60, 4, 4)
    found = agreements({"real": video, "tokens": tokens, "without": without}, groups)
    value, low, high = found["difference"]["first_last"]
    assert value == pytest.approx(found["tokens"]["first_last"][0] - found["without"]["first_last"][0])
    assert 0 < low <= value <= high
    alone = agreements({"tokens": tokens, "without": without}, [str(number) for number in range(60)])
    widths = [each["tokens"]["first_last"][2] - each["tokens"]["first_last"][1] for each in (found, alone)]
    assert widths[0] > 0
    assert widths[1] > 0
    assert found["real"]["first_last"] == pytest.approx([1, 1, 1], abs=1e-5)
