"""Changes to codes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netinvert.errors import ConfigError
from netinvert.experiments.codes.statistics import between, binarised, dropped, noisy, top_only, without_top

shapes = st.sampled_from([(6,), (40,), (3, 4, 5)])
seeds = st.integers(0, 2**31)


def codes(shape, seed, count=3, relu=False):
    source = torch.Generator().manual_seed(seed)
    made = torch.randn(count, *shape, generator=source, dtype=torch.float64)
    return made.clamp_min(0) if relu else made


def norms(batch):
    return batch.flatten(1).norm(dim=1)


@given(shapes, seeds, st.booleans())
def test_binarised_codes_keep_signs_and_norm(shape, seed, relu):
    batch = codes(shape, seed, relu=relu)
    made = binarised(batch)
    assert torch.equal(made.sign(), batch.sign())
    torch.testing.assert_close(norms(made), norms(batch))
    for one in made:
        sizes = one[one != 0].abs()
        assert len(sizes) == 0 or sizes.max() == sizes.min()


@given(shapes, seeds, st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_dropout_leaves_out_the_share_and_keeps_the_norm(shape, seed, share):
    batch = codes(shape, seed)
    made = dropped(batch, share, (5, 6, 7))
    assert ((made == 0).flatten(1).sum(1) == round(share * batch[0].numel())).all()
    torch.testing.assert_close(norms(made), norms(batch))
    kept = made != 0
    ratio = made[kept] / batch[kept]
    assert (ratio >= 1 - 1e-12).all()


@given(shapes, seeds, st.integers(1, 6))
def test_the_largest_and_the_others_make_the_code(shape, seed, count):
    batch = codes(shape, seed)
    top, rest = top_only(batch, count), without_top(batch, count)
    assert torch.equal(top + rest, batch)
    assert ((top != 0).flatten(1).sum(1) == count).all()
    least = torch.where(top != 0, top.abs(), torch.inf).flatten(1).amin(1)
    assert (rest.flatten(1).abs().amax(1) <= least).all()


def test_of_equal_numbers_the_first_is_the_largest():
    assert top_only(torch.tensor([[2.0, 2.0, 2.0]]), 2).tolist() == [[2, 2, 0]]


def test_noise_has_the_share_of_each_units_deviation():
    std = torch.tensor([0.0, 1.0, 10.0])
    flat = noisy(torch.zeros(4000, 3), std, 0.5, range(4000))
    torch.testing.assert_close(flat.std(0), 0.5 * std, rtol=0.05, atol=0)
    maps = noisy(torch.zeros(500, 3, 4, 4), std, 0.5, range(500))
    torch.testing.assert_close(maps.transpose(0, 1).flatten(1).std(1), 0.5 * std, rtol=0.05, atol=0)


@given(shapes, seeds)
def test_a_batch_gives_what_single_codes_give(shape, seed):
    batch = codes(shape, seed, relu=True)
    std = torch.linspace(0.1, 1, shape[0])
    own = (seed, seed + 1, seed + 2)
    edits = (
        lambda some, few: binarised(some),
        lambda some, few: dropped(some, 0.5, few),
        lambda some, few: top_only(some, 2),
        lambda some, few: without_top(some, 2),
        lambda some, few: noisy(some, std, 0.3, few),
        lambda some, few: between(some, some.flip(1), torch.linspace(0, 1, 5), spherical=True),
    )
    for edit in edits:
        whole = edit(batch, own)
        single = torch.cat([edit(batch[k : k + 1], own[k : k + 1]) for k in range(3)])
        assert torch.equal(whole, single)


@given(shapes, seeds, st.booleans())
def test_ways_between_codes_begin_and_end_at_them(shape, seed, spherical):
    first, second = codes(shape, seed), codes(shape, seed + 1)
    path = between(first, second, torch.linspace(0, 1, 5), spherical)
    assert path.shape == (3, 5, *shape)
    torch.testing.assert_close(path[:, 0], first)
    torch.testing.assert_close(path[:, -1], second)
    back = between(second, first, torch.linspace(0, 1, 5), spherical)
    torch.testing.assert_close(path, back.flip(1))


@given(shapes, seeds)
def test_on_the_sphere_the_norm_and_the_angle_change_evenly(shape, seed):
    first, second = codes(shape, seed), codes(shape, seed + 1)
    path = between(first, second, torch.linspace(0, 1, 5), spherical=True).flatten(2)
    lengths = path.norm(dim=-1)
    torch.testing.assert_close(
        lengths.diff(dim=1), (lengths[:, -1] - lengths[:, 0])[:, None].expand(-1, 4) / 4
    )
    unit = path / lengths[..., None]
    turns = torch.arccos((unit[:, 1:] * unit[:, :-1]).sum(-1).clamp(-1, 1))
    torch.testing.assert_close(turns, turns[:, :1].expand(-1, 4), atol=1e-6, rtol=1e-6)


def test_ways_without_a_great_circle_are_straight():
    code = torch.tensor([[3.0, 4.0]])
    shares = torch.tensor([0.25])
    for other in (code, 2 * code, -code, torch.zeros(1, 2)):
        straight = between(code, other, shares)
        torch.testing.assert_close(between(code, other, shares, spherical=True), straight)
    assert between(code, torch.zeros(1, 2), shares).tolist() == [[[2.25, 3.0]]]


def test_zeros_stay_zeros():
    zeros = torch.zeros(2, 5)
    for made in (binarised(zeros), dropped(zeros, 0.5, (1, 2)), top_only(zeros, 2), without_top(zeros, 2)):
        assert torch.equal(made, zeros)


def test_bad_input():
    batch = torch.ones(2, 5)
    for edit, message in (
        (lambda: dropped(batch, 1.0, (1, 2)), r"in \[0, 1\), not 1.0"),
        (lambda: dropped(batch, 0.5, (1,)), "one seed a code: got 1 for 2"),
        (lambda: noisy(batch, torch.ones(5), 0.5, (1,)), "one seed a code: got 1 for 2"),
        (lambda: noisy(batch, torch.ones(5), -0.5, (1, 2)), "not negative, got -0.5"),
        (lambda: top_only(batch, 6), "largest 1 to 5 numbers of a code, not 6"),
        (lambda: without_top(batch, 0), "largest 1 to 5 numbers of a code, not 0"),
        (lambda: between(batch, batch[:1], torch.ones(1)), "between codes of one shape"),
    ):
        with pytest.raises(ConfigError, match=message):
            edit()
