"""FlexFormer's invariants, and what every compressor must do."""

import pytest
import torch
from builders import CHANNELS, HEADS, TEXT, WIDTH, awake

from networks.compressors import FixedQueries, MeanPool
from networks.flexformer import FlexFormer
from networks.interfaces import VideoBatch
from networks.interpolated_rope import (
    RULES,
    axis_counts,
    axis_places,
    cell_weights,
    num_queries,
    pooled_rotation,
    query_grid,
    text_positions,
)
from networks.rope import RotaryEmbedding3D

SHARED = {
    "channels": CHANNELS,
    "width": WIDTH,
    "decoder_depth": 1,
    "num_heads": HEADS,
    "text_features": TEXT,
    "block": "joint",
    "qk_gain": 2.0,
    "rope_theta": 100.0,
}


def flexformer(**changes):
    return FlexFormer(**{**SHARED, "encoder_depth": 1, "strategy": "uniform", "rule": "centre", **changes})


COMPRESSORS = {
    "joint": flexformer,
    "qformer": lambda: flexformer(block="qformer"),
    "flattened": lambda: flexformer(rule="flattened"),
    "pooled": lambda: flexformer(rule="pooled"),
    "mean_pool": lambda: MeanPool(**SHARED, strategy="uniform"),
    "fixed_queries": lambda: FixedQueries(**SHARED, encoder_depth=1, grid=[2, 2, 2]),
}
EVERY = pytest.mark.parametrize("make", COMPRESSORS.values(), ids=COMPRESSORS)


def segment(frames=6, side=8, batch=2, length=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(batch, CHANNELS, frames, side, side, generator=generator)
    text = torch.randn(batch, length, TEXT, generator=generator)
    index = torch.arange(frames, dtype=torch.float32).expand(batch, -1)
    return VideoBatch(video, index, text, torch.ones(batch, length, dtype=torch.bool))


CLEAN = torch.zeros(2)


@EVERY
@pytest.mark.parametrize("rate", [4, 7.3, 8, 16])
def test_any_rate_and_size_by_one_set_of_weights(make, rate):
    compressor = make()
    for frames, side in ((6, 8), (3, 12)):
        given = segment(frames, side)
        context = compressor.encode(given, CLEAN, rate)
        assert context.tokens.shape[0] == 2
        assert context.tokens.shape[2] == compressor.width
        assert context.positions.shape == (*context.tokens.shape[:2], 3)
        made = compressor.decode(context, frames, side, side, 3)
        assert made.video.shape == given.video.shape
        assert made.text.shape == given.text.shape


@EVERY
def test_gradients_reach_every_parameter(make):
    compressor = awake(make(), scale=0.05)
    made = compressor.decode(compressor.encode(segment(), CLEAN + 0.2, 8), 6, 8, 8, 3)
    (made.video.square().mean() + made.text.square().mean()).backward()
    assert not [name for name, p in compressor.named_parameters() if p.grad is None or p.grad.abs().max() == 0]


@EVERY
def test_padding_the_text_changes_nothing(make):
    compressor = awake(make()).eval()
    given = segment()
    padded = given._replace(
        text=torch.cat([given.text, torch.randn(2, 4, TEXT)], dim=1),
        text_mask=torch.cat([given.text_mask, torch.zeros(2, 4, dtype=torch.bool)], dim=1),
    )
    expected = compressor.encode(given, CLEAN, 8)
    made = compressor.encode(padded, CLEAN, 8)
    torch.testing.assert_close(made.tokens, expected.tokens, atol=1e-5, rtol=1e-5)
    other = given._replace(text=given.text + 1)
    assert (compressor.encode(other, CLEAN, 8).tokens - expected.tokens).abs().max() > 1e-3


@EVERY
def test_the_encoder_is_told_how_noisy_a_segment_is(make):
    compressor = awake(make()).eval()
    difference = compressor.encode(segment(), CLEAN, 8).tokens - compressor.encode(segment(), CLEAN + 0.3, 8).tokens
    assert difference.abs().max() > 1e-4


@pytest.mark.parametrize("block", ["joint", "qformer"])
def test_copies_differ_by_their_places_alone(block, monkeypatch):
    compressor = awake(flexformer(block=block)).eval()
    tokens = compressor.encode(segment(), CLEAN, 8).tokens
    assert (tokens - tokens[:, :1]).abs().max() > 1e-3
    grid = query_grid((6, 4, 4), 8, strategy="uniform", rule="centre")
    stacked = grid._replace(positions=torch.full_like(grid.positions, 1.5))
    monkeypatch.setattr("networks.flexformer.query_grid", lambda *_, **__: stacked)
    equal = compressor.encode(segment(), CLEAN, 8).tokens
    torch.testing.assert_close(equal, equal[:, :1].expand_as(equal), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("sizes", [(10, 4, 4), (13, 30, 45), (1, 1, 7)])
def test_rate_one_is_the_integer_grid(rule, sizes):
    grid = query_grid(sizes, 1.0, strategy="uniform", rule=rule)
    exact = torch.cartesian_prod(*(torch.arange(size, dtype=torch.float32) for size in sizes))
    assert torch.equal(grid.positions, exact)
    assert grid.rate == 1


@pytest.mark.parametrize(("size", "count"), [(10, 3), (13, 5), (4, 4), (7, 1), (45, 21)])
def test_centres_mirror_in_time_and_left_edges_do_not(size, count):
    centre = axis_places(size, count, "centre")
    torch.testing.assert_close(centre + centre.flip(0), torch.full((count,), size - 1.0))
    if count < size:
        left = axis_places(size, count, "left")
        assert (left + left.flip(0) - (size - 1)).abs().max() > 0.1
    mirrored = query_grid((size, 2, 2), 2.0, strategy="temporal", rule="centre").positions[:, 0]
    torch.testing.assert_close(mirrored.sort().values, (size - 1 - mirrored).sort().values)


@pytest.mark.parametrize("strategy", ["uniform", "temporal", "spatial", "keep_frames"])
@pytest.mark.parametrize(
    ("sizes", "rate"), [((13, 30, 45), 8), ((13, 30, 45), 64), ((10, 8, 8), 7.3), ((20, 16, 16), 32)]
)
def test_the_number_of_queries_is_within_three_per_cent(sizes, rate, strategy):
    grid = query_grid(sizes, rate, strategy=strategy, rule="centre")
    assert grid.rate == pytest.approx(rate, rel=0.03)
    assert all(count <= size for count, size in zip(grid.counts, sizes, strict=True))
    flattened = query_grid(sizes, rate, strategy=strategy, rule="flattened")
    assert len(flattened.positions) == num_queries(sizes[0] * sizes[1] * sizes[2], rate)


def test_strategies_thin_out_their_axes():
    assert axis_counts((12, 8, 8), 4.0, (1.0, 0.0, 0.0)) == (3, 8, 8)
    assert axis_counts((12, 8, 8), 4.0, (0.0, 0.5, 0.5)) == (12, 4, 4)
    assert axis_counts((8, 8, 8), 8.0, (1 / 3, 1 / 3, 1 / 3)) == (4, 4, 4)
    assert query_grid((12, 8, 8), 4.0, strategy=(0, 1, 1), rule="centre").counts == (12, 4, 4)


def test_pooling_by_cells_is_exact_where_cells_divide_and_changes_nothing_at_full_count():
    torch.testing.assert_close(cell_weights(4, 2), torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]))
    torch.testing.assert_close(cell_weights(5, 2).sum(1), torch.ones(2))
    rope = RotaryEmbedding3D(head_width=16, theta=100.0)
    whole = pooled_rotation(rope, (3, 2, 2), (3, 2, 2))
    grid = torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0), torch.arange(2.0))
    torch.testing.assert_close(whole.cos, rope(grid[None]).cos)
    pooled = pooled_rotation(rope, (4, 2, 2), (2, 2, 2))
    assert (pooled.cos.square() + pooled.sin.square()).min() < 0.99  # an average of turns is no turn


def test_text_stands_off_the_grid_and_apart():
    places = text_positions(5)
    assert (places < 0).all()
    assert len(places[:, 0].unique()) == 5


@pytest.mark.parametrize(
    ("rate", "words"), [(0.5, "rate=0.5 must be at least 1"), (500, "leaves no token"), (float("nan"), "nan")]
)
def test_rates_without_tokens_are_refused(rate, words):
    for make in COMPRESSORS.values():
        with pytest.raises(ValueError, match=words):
            make().encode(segment(), CLEAN, rate)


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="block=mixer is unknown: use joint or qformer"):
        flexformer(block="mixer")
    with pytest.raises(ValueError, match="strategy=even"):
        query_grid((4, 4, 4), 2.0, strategy="even", rule="centre")
    with pytest.raises(ValueError, match="strategy=even"):
        flexformer(strategy="even")
    with pytest.raises(ValueError, match="rule=middle"):
        flexformer(rule="middle")
    for shares in ((1.0, 1.0), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0)):
        with pytest.raises(ValueError, match="must be shares"):
            flexformer(strategy=shares)
    for grid in ([2, 2], [2, 2, 0]):
        with pytest.raises(ValueError, match="three counts"):
            FixedQueries(**SHARED, encoder_depth=1, grid=grid)


@EVERY
def test_odd_latents_are_refused(make):
    with pytest.raises(ValueError, match="latents of 7x7 do not split into 2x2 patches"):
        make().encode(segment(side=7), CLEAN, 4)


@EVERY
def test_weights_of_another_type_work_on_float_latents(make):
    compressor = make().bfloat16()
    made = compressor.decode(compressor.encode(segment(), CLEAN, 8), 6, 8, 8, 3)
    assert made.video.dtype == made.text.dtype == torch.bfloat16
    assert torch.isfinite(made.video).all()


@EVERY
def test_a_segment_without_text_is_compressed(make):
    given = segment()
    silent = given._replace(text_mask=torch.zeros_like(given.text_mask))
    assert torch.isfinite(make().encode(silent, CLEAN, 8).tokens).all()


@EVERY
def test_rows_of_a_batch_do_not_see_one_another(make):
    compressor = awake(make()).eval()
    given = segment()
    alone = VideoBatch(*(x[1:] for x in given[:4]))
    context, single = compressor.encode(given, CLEAN, 8), compressor.encode(alone, CLEAN[1:], 8)
    torch.testing.assert_close(single.tokens, context.tokens[1:], atol=1e-5, rtol=1e-5)


def test_neither_text_nor_its_length_moves_queries():
    compressor = flexformer()
    first, second = (compressor.encode(segment(length=length), CLEAN, 7.3) for length in (1, 9))
    assert torch.equal(first.positions, second.positions)


def loss_after_training(steps=100):
    torch.manual_seed(0)
    compressor = flexformer(width=64, num_heads=4, encoder_depth=2, decoder_depth=2)
    given = segment(4, 4, length=2)
    optimizer = torch.optim.AdamW(compressor.parameters(), lr=3e-3)
    for _ in range(steps):
        made = compressor(given, CLEAN, 4)
        loss = (made.video - given.video).square().mean() + (made.text - given.text).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.slow
def test_a_batch_is_learnt_by_heart_and_worse_where_all_queries_stand_at_one_place(monkeypatch):
    def stacked(sizes, rate, **settings):
        grid = query_grid(sizes, rate, **settings)
        return grid if rate == 1 else grid._replace(positions=torch.full_like(grid.positions, 1.5))

    placed = loss_after_training()
    monkeypatch.setattr("networks.flexformer.query_grid", stacked)
    one_token = loss_after_training()  # equal places make equal tokens: one vector a segment
    assert placed < 0.1
    assert placed < one_token / 4
