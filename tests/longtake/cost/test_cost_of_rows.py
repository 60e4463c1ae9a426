"""Predicted memory of training on rows of segments, beside the tensors that are alive while it really runs."""

import pytest
import torch
from counted import LOVIC, built, video_of

from longtake.compat.live import LiveBytes
from longtake.cost.counting import on_meta
from longtake.cost.training import RowSize, compression_cost, row_cost, segments_of
from networks.interfaces import Condition, Context

pytestmark = pytest.mark.slow
SEGMENTS, FRAMES, WINDOW, RATE = 3, 4, 2, 2.0


def real(value):
    return torch.randn(value.shape) if value.is_floating_point() else torch.ones(value.shape, dtype=value.dtype)


@pytest.fixture
def trained(monkeypatch):
    """A network with its gradients, a row of segments, and what is there before a step."""
    monkeypatch.setattr("networks.attention.PLAIN_KEYS", 0)  # fused attention, as on a GPU
    network, _ = built(*LOVIC, "backbone.width=128", "compressor.decoder_depth=1")
    for parameter in network.train().requires_grad_(True).parameters():
        parameter.grad = torch.zeros_like(parameter)
    segments = segments_of(video_of(FRAMES), SEGMENTS, FRAMES).map(real)
    known = [*network.parameters(), *(each.grad for each in network.parameters()), *network.buffers(), *segments[:6]]
    return network, segments, known


def errors(compressor, segments):
    made = compressor(segments.fold(), torch.zeros(segments.valid.numel()), RATE)
    return made.video.square().mean() + made.text.square().mean()


def test_a_row_of_a_network_with_memory(trained):
    network, segments, known = trained
    frames = FRAMES + 2 * WINDOW
    noisy, time = torch.randn(1, 4, frames, 4, 4), torch.full((1, frames), 0.7)
    text = segments.text[:, 0], segments.text_mask[:, 0]
    context = Context(segments, torch.zeros(1, SEGMENTS), RATE)
    condition = Condition(torch.arange(float(frames))[None], *text, shot=torch.zeros(1).long(), context=(context,))
    with LiveBytes([*known, noisy, time, *condition[:3], condition.shot, context.level]) as live:
        loss = network.predict(noisy, time, condition).target.square().mean()
        loss = loss + errors(network.compressor, segments.map(lambda x: x[:, :1]))
        loss.backward()
    row = RowSize(SEGMENTS, FRAMES, WINDOW, RATE, reconstructed=1)
    assert row_cost(on_meta(network), video_of(FRAMES), row, torch.float32).bytes == pytest.approx(live.peak, rel=0.15)


def test_a_row_of_a_compressor(trained):
    network, segments, known = trained
    with LiveBytes(known) as live:
        errors(network.compressor, segments).backward()
    sizes = {"segments": SEGMENTS, "frames": FRAMES, "rate": RATE, "dtype": torch.float32}
    predicted = compression_cost(on_meta(network.compressor), video_of(FRAMES), **sizes).bytes
    assert predicted == pytest.approx(live.peak, rel=0.15)
