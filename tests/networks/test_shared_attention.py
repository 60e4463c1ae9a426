"""Attention to keys in parts is attention to all of them."""

import pytest
import torch
from torch.nn import functional as F

from networks import shared_attention
from networks.parts import Parts, Span, shares_of
from networks.processes import Processes


def example(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, n, 8, generator=generator).to(dtype) * 3 for n in (5, count, count))


@pytest.mark.parametrize("cuts", [(23,), (1, 22), (7, 7, 9), (20, 2, 1)])
@pytest.mark.parametrize("at_once", [4, 100])
def test_parts_make_the_whole(cuts, at_once, monkeypatch):
    monkeypatch.setattr(shared_attention, "KEYS_AT_ONCE", at_once)
    query, key, value = example(23)
    known = torch.rand(2, 23, generator=torch.Generator().manual_seed(1)) > 0.3
    for mask in (None, known):
        masks = [None] * len(cuts) if mask is None else mask.split(cuts, dim=1)
        found = [
            shared_attention.attend_to_part(query, *part)
            for part in zip(key.split(cuts, dim=2), value.split(cuts, dim=2), masks, strict=True)
        ]
        merged, _ = shared_attention.merge(*(torch.stack(each) for each in zip(*found, strict=True)))
        expected = F.scaled_dot_product_attention(query, key, value, None if mask is None else mask[:, None, None])
        torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-5)


def test_keys_that_are_masked_count_for_nothing_beside_others():
    query, key, value = example(6)
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    masked = shared_attention.attend_to_part(query, 1e3 * key[:, :, :2], value[:, :, :2], nothing)
    real = shared_attention.attend_to_part(query, key[:, :, 2:], value[:, :, 2:], None)
    merged, _ = shared_attention.merge(*(torch.stack(each) for each in zip(masked, real, strict=True)))
    assert torch.equal(merged, real[0])


def test_half_precision_keeps_its_type_and_is_mixed_in_float32():
    query, key, value = example(9, torch.bfloat16)
    mixed = shared_attention.shared_attention(Processes(), None)(query, key, value)
    exact = F.scaled_dot_product_attention(query.double(), key.double(), value.double())
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.double(), exact, rtol=1 / 256, atol=1e-4)


class Recorded(Processes):
    """A process among others that say what is put into `others`, by rank."""

    others: dict

    def trade(self, given):
        return {rank: self.others[rank].pop(0) for rank in given}


def test_frames_of_three_processes_are_summed_alike_in_all():
    spans = (Span(0, 5), Span(2, 8), Span(4, 9))
    parts = [Parts(Recorded(rank, 3), spans) for rank in range(3)]
    held = [torch.rand(1, 1, span.end - span.first, 1, 1, generator=torch.Generator().manual_seed(7)) for span in spans]
    totals = []
    for rank, each in enumerate(parts):
        shared = {other: spans[other].shared(spans[rank]) for other in range(3) if other != rank}
        each.processes.others = {other: [held[other][:, :, s.within(spans[other])]] for other, s in shared.items()}
        totals.append(each.add_up(held[rank]))
    whole = torch.zeros(9)
    for span, part in zip(spans, held, strict=True):
        whole[slice(*span)] += part.flatten()
    for span, total in zip(spans, totals, strict=True):
        assert torch.equal(total.flatten(), whole[slice(*span)])
    assert [part.answers_for for part in parts] == [(0, 5), (5, 8), (8, 9)]


def test_windows_without_a_process_each_leave_the_canvas_whole():
    windows = [Span(0, 4), Span(1, 8)]
    assert shares_of(Processes(0, 3), windows) is None
    assert shares_of(Processes(), windows) is None
    assert shares_of(Processes(1, 2), windows).own == (1, 8)
