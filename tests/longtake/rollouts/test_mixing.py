"""Self-attention mixed in place: FreeNoise's windows and FreeLong's blended branches, beside dense references."""

import math
from functools import partial

import pytest
import torch
from builders import awake, example, tiny_dit

from longtake.rollouts.free_noise import FreeNoise
from longtake.rollouts.sliding_windows import token_windows
from longtake.rollouts.spectral_blending import SpectralBlending, banded_attention, blend_spectra
from networks.interfaces import ContextCache, ContextTokens, TokenGrid

HEADS, WIDTH = 2, 8


@pytest.fixture(autouse=True)
def in_sampling():
    with torch.no_grad():
        yield


def free_noise(window=4, stride=2):
    return FreeNoise(window_frames=window, stride_frames=stride)


def spectral(window=4, time_cutoff=0.25, space_cutoff=0.25):
    return SpectralBlending(window_frames=window, time_cutoff=time_cutoff, space_cutoff=space_cutoff)


def tokens(frames, rows=2, columns=3, batch=2):
    """Queries, keys and values b heads n d, the values strided as the network makes them, and their grid."""
    count = frames * rows * columns
    value = torch.randn(batch, count, HEADS, WIDTH).transpose(1, 2)
    return *torch.randn(2, batch, HEADS, count, WIDTH), value, TokenGrid(frames, rows, columns)


def dense(query, key, value, grid, seen=None):
    """Softmax attention by its formula; seen: f f, which frames (columns) each frame (rows) sees."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if seen is not None:
        per_frame = grid.rows * grid.columns
        every = seen.repeat_interleave(per_frame, 0).repeat_interleave(per_frame, 1)
        scores = scores.masked_fill(~every, -math.inf)
    return scores.softmax(dim=-1) @ value


def band(frames, window):
    """Which frames each frame sees: half a window to each side, the band moved into the video at its ends."""
    seen = torch.zeros(frames, frames, dtype=torch.bool)
    for frame in range(frames):
        first, last = frame - window // 2, frame + window // 2
        if first < 0:
            first, last = 0, last - first
        if last > frames - 1:
            first, last = first - (last - (frames - 1)), frames - 1
        seen[frame, max(first, 0) : last + 1] = True
    return seen


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# Windows as long as the canvas, and the network that carries them.


@pytest.mark.parametrize("make", [free_noise, spectral])
@pytest.mark.parametrize(("window", "frames"), [(6, 6), (8, 6), (6, 1)])
def test_a_window_as_long_as_the_canvas_is_full_attention(make, window, frames):
    inputs = tokens(frames)
    close(make(window).mix(*inputs), dense(*inputs))


@pytest.mark.parametrize("make", [free_noise, spectral])
def test_in_the_network_a_window_as_long_as_the_canvas_is_full_attention(make):
    network = awake(tiny_dit()).eval()
    noisy, time, condition = example(6)
    plain = network(noisy, time, condition)
    close(network(noisy, time, condition._replace(attention_override=make(6).mix)), plain)
    assert not torch.allclose(
        network(noisy, time, condition._replace(attention_override=make(2).mix)), plain, atol=1e-3
    )


def test_every_block_hands_over_its_own_queries_and_the_grid():
    network, calls = awake(tiny_dit(depth=3)).eval(), []
    noisy, time, condition = example(5)
    noisy = torch.cat([noisy, noisy], dim=3)

    def keep(query, key, value, grid):
        calls.append((query, grid))
        return dense(query, key, value, grid)

    close(network(noisy, time, condition._replace(attention_override=keep)), network(noisy, time, condition))
    assert [grid for _, grid in calls] == [TokenGrid(5, 4, 2)] * 3
    assert all(query.shape == (2, 2, 40, 16) for query, _ in calls)
    assert not torch.equal(calls[0][0], calls[1][0])


@pytest.mark.parametrize("make", [free_noise, spectral])
def test_masks_memory_and_tokens_without_a_place_are_not_mixed(make):
    network = tiny_dit().eval()
    noisy, time, condition = example(6)
    mixed = condition._replace(attention_override=make().mix)
    with pytest.raises(AssertionError, match="neither masks nor memory"):
        network(noisy, time, mixed._replace(frame_mask=torch.ones(2, 6, dtype=torch.bool)))
    memory = ContextCache(
        network.key_values(torch.randn(2, 1, 32), torch.zeros(2, 1, 3)), torch.ones(2, 1, dtype=torch.bool)
    )
    with pytest.raises(AssertionError, match="neither masks nor memory"):
        network(noisy, time, mixed._replace(memory=memory))
    with pytest.raises(AssertionError, match="the video's tokens alone"):
        network(noisy, time, mixed, extra_tokens=ContextTokens(torch.randn(2, 3, 32)))


@pytest.mark.parametrize("make", [free_noise, spectral])
@pytest.mark.parametrize("frames", [9, 12])
def test_bfloat16_stays_so_and_near_to_float32(make, frames):
    network = awake(tiny_dit(), scale=0.1).eval()
    noisy, time, condition = example(frames)
    condition = condition._replace(attention_override=make().mix)
    expected = network(noisy, time, condition)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(noisy, time, condition)
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05 * expected.abs().max().item())
    *inputs, grid = tokens(frames)
    assert make().mix(*(x.bfloat16() for x in inputs), grid).dtype == torch.bfloat16


@pytest.mark.parametrize("make", [free_noise, spectral])
def test_far_frames_reach_a_frame_only_where_low_frequencies_are_shared(make):
    query, key, value, grid = tokens(12)
    changed = value.clone()
    changed[:, :, -6:] += 1.0  # the last frame
    mix = make().mix
    first = [mix(query, key, x, grid)[:, :, :6] for x in (value, changed)]
    assert torch.equal(*first) == (make is free_noise)


# FreeNoise.


def windows_one_by_one(query, key, value, grid, window, stride):
    """The sum of every window's attention under 1, 2, … 2, 1, over the sum of these weights."""
    per_frame = grid.rows * grid.columns
    starts = [*range(0, grid.frames - window + 1, stride)]
    if starts[-1] + window < grid.frames:
        starts.append(grid.frames - window)
    half = [min(slot + 1, window - slot) for slot in range(window)]
    weights = torch.tensor(half, dtype=torch.float32).repeat_interleave(per_frame).unsqueeze(1)
    total, share = torch.zeros_like(value), torch.zeros(value.shape[2], 1)
    for start in starts:
        piece = slice(start * per_frame, (start + window) * per_frame)
        total[:, :, piece] += weights * dense(query[:, :, piece], key[:, :, piece], value[:, :, piece], grid)
        share[piece] += weights
    return total / share


@pytest.mark.parametrize("frames", [5, 6, 7, 11, 12])
@pytest.mark.parametrize(("window", "stride"), [(4, 2), (4, 1), (5, 5), (3, 1), (4, 4)])
def test_free_noise_is_the_fused_loop_over_windows(frames, window, stride):
    inputs = tokens(frames)
    close(free_noise(window, stride).mix(*inputs), windows_one_by_one(*inputs, window, stride))


@pytest.mark.parametrize("frames", [10, 11, 13, 40, 257])
def test_every_frames_weights_sum_to_one(frames):
    place, weights = free_noise(10, 2).windows.plan(frames, torch.device("cpu"))
    total = torch.zeros(frames).index_add(0, place.flatten(), weights.flatten())
    torch.testing.assert_close(total, torch.ones(frames))
    query, key, value, grid = tokens(frames, 1, 1)
    constant = torch.full_like(value, 0.7)
    torch.testing.assert_close(free_noise(10, 2).mix(query, key, constant, grid), constant)


def test_windows_are_views_that_share_their_overlap():
    x = torch.randn(2, HEADS, 9 * 6, WIDTH)
    windows = token_windows(x, TokenGrid(9, 2, 3), 4, 2)
    assert windows.shape == (4, 3, 24, WIDTH)
    assert windows.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    for number, start in enumerate((0, 2, 4)):
        assert torch.equal(windows[:, number], x.flatten(0, 1)[:, start * 6 : (start + 4) * 6])


# Spectral blending.


@pytest.mark.parametrize("frames", [3, 5, 6, 11, 12])
@pytest.mark.parametrize("window", [1, 2, 4, 5])
def test_the_local_branch_is_attention_under_the_band(frames, window):
    inputs = tokens(frames)
    close(banded_attention(*inputs, window), dense(*inputs, band(frames, window)))


@pytest.mark.parametrize(
    ("frames", "window", "keys"), [(12, 4, 5), (12, 5, 5), (6, 4, 5), (5, 4, 5), (4, 4, 4), (40, 10, 11)]
)
def test_the_band_is_shifted_at_the_ends_so_that_each_frame_sees_as_many(frames, window, keys):
    query, key, _, grid = tokens(frames, 1, 1, batch=1)
    value = torch.eye(frames).expand(1, HEADS, -1, -1)  # so that what comes out are the weights
    seen = banded_attention(query, key, value, grid, window)[0, 0] > 0
    assert seen.sum(dim=1).tolist() == [keys] * frames
    assert torch.equal(seen, band(frames, window))
    assert seen.diagonal().all()


def low_pass(frames, rows, columns, cutoff):
    """The Gaussian on coordinates in [-1, 1), zero frequency in the middle."""
    f, h, w = (torch.arange(n) * 2 / n - 1 if n % 2 == 0 else (torch.arange(n) - n // 2) * 2 / n
               for n in (frames, rows, columns))  # fmt: skip
    return torch.exp(-0.5 * ((f / cutoff)[:, None, None] ** 2 + (h / cutoff)[:, None] ** 2 + (w / cutoff) ** 2))


@pytest.mark.parametrize(("frames", "rows", "columns"), [(12, 2, 4), (11, 3, 2), (9, 4, 5)])
def test_free_long_is_the_dense_reference(frames, rows, columns):
    inputs = tokens(frames, rows, columns)
    gate = low_pass(frames, rows, columns, 0.25)

    def spectrum(x):
        x = x.unflatten(2, (frames, rows, columns))
        return torch.fft.fftshift(torch.fft.fftn(x, dim=(2, 3, 4)), dim=(2, 3, 4))

    full, local = spectrum(dense(*inputs)), spectrum(dense(*inputs, band(frames, 4)))
    mixed = full * gate.unsqueeze(-1) + local * (1 - gate.unsqueeze(-1))
    expected = torch.fft.ifftn(torch.fft.ifftshift(mixed, dim=(2, 3, 4)), dim=(2, 3, 4)).real.flatten(2, 4)
    close(spectral().mix(*inputs), expected)
    assert not torch.allclose(expected, dense(*inputs), atol=1e-3)


@pytest.mark.parametrize("frames", [8, 11])
def test_a_cut_off_that_passes_all_is_full_attention_and_one_that_passes_none_the_band(frames):
    inputs = tokens(frames)
    close(spectral(time_cutoff=math.inf, space_cutoff=math.inf).mix(*inputs), dense(*inputs))
    for none in ({"time_cutoff": 0.0}, {"space_cutoff": 0}):
        close(spectral(**none).mix(*inputs), dense(*inputs, band(frames, 4)))


def test_blending_before_the_output_projection_is_blending_after_it():
    project = torch.nn.Linear(WIDTH, WIDTH)
    low, high = torch.randn(2, 7, 2, 4, WIDTH)
    blend = partial(blend_spectra, time_cutoff=0.25, space_cutoff=0.25)
    before = project(blend(low.movedim(-1, 0), high.movedim(-1, 0)).movedim(0, -1))
    close(before, blend(project(low).movedim(-1, 0), project(high).movedim(-1, 0)).movedim(0, -1))


@pytest.mark.parametrize("frames", [16, 15])
def test_slow_waves_come_from_the_whole_and_fast_ones_from_the_band(frames):
    place = torch.arange(frames) * 2 * torch.pi / frames
    slow, fast = (torch.cos(k * place)[None, None, :, None, None].expand(1, 1, -1, 4, 6) for k in (0, frames // 2))
    blended = blend_spectra(3 * slow + 5 * fast, slow + fast, time_cutoff=0.15, space_cutoff=math.inf)
    torch.testing.assert_close(blended, 3 * slow + fast, atol=1e-4, rtol=0)


def test_the_low_pass_is_the_papers_gaussian():
    # A wave at half the highest frequency of time: exp(-(0.5 / 0.25)² / 2) of the way to the whole's.
    wave = torch.cos(torch.arange(16) * torch.pi / 2)[None, None, :, None, None].expand(1, 1, -1, 2, 2)
    blended = blend_spectra(wave, torch.zeros_like(wave), time_cutoff=0.25, space_cutoff=math.inf)
    torch.testing.assert_close(blended, wave * torch.exp(torch.tensor(-2.0)), atol=1e-5, rtol=0)
    across = wave.transpose(2, 4)
    blended = blend_spectra(across, torch.zeros_like(across), time_cutoff=math.inf, space_cutoff=0.25)
    torch.testing.assert_close(blended, across * torch.exp(torch.tensor(-2.0)), atol=1e-5, rtol=0)
