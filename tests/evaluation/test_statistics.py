"""Intervals over objects."""

import numpy as np
import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.evaluation.statistics import compared, difference, differs, estimate, holm, ratio


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_intervals_are_scipys(statistic):
    scipy = pytest.importorskip("scipy.stats")
    values = torch.randn(61, generator=torch.Generator().manual_seed(1)).exp()
    found = estimate(values, statistic=statistic)
    of = getattr(np, statistic)
    theirs = scipy.bootstrap((values.numpy(),), of, n_resamples=4000, method="percentile", rng=0)
    assert found.value == pytest.approx(float(getattr(values.double(), statistic)()))
    assert found.low == pytest.approx(theirs.confidence_interval.low, rel=0.06)
    assert found.high == pytest.approx(theirs.confidence_interval.high, rel=0.06)


def test_the_object_is_what_is_drawn():
    """Ten views that say the same are one."""
    values = torch.randn(12, generator=torch.Generator().manual_seed(2))
    alone = estimate(values)
    many = estimate(values.repeat_interleave(10), torch.arange(12).repeat_interleave(10))
    assert (many.low, many.high) == pytest.approx((alone.low, alone.high))
    careless = estimate(values.repeat_interleave(10))
    assert careless.high - careless.low < 0.5 * (many.high - many.low)


def test_a_ratio_is_of_means_and_paired():
    first = torch.rand(50, generator=torch.Generator().manual_seed(3)) + 0.1
    second = 2 * first + 0.05 * torch.rand(50, generator=torch.Generator().manual_seed(4))
    found = ratio(first, second)
    assert found.value == pytest.approx(float(first.mean() / second.mean()))
    assert 0.48 < found.low < found.value < found.high < 0.5  # means alone vary by 15 %
    assert ratio(first[:1], second[:1]).low is None
    with pytest.raises(ConfigError, match="of one shape"):
        ratio(first, second[1:])


def test_paired_differences_are_sharper():
    generator = torch.Generator().manual_seed(3)
    first = 10 * torch.rand(50, generator=generator)
    second = first + 0.5 + 0.1 * torch.randn(50, generator=generator)
    found = difference(second, first)
    assert found.value == pytest.approx((second - first).mean().item(), abs=1e-5)
    assert differs(found)
    assert not differs(difference(first, first.flip(0)))
    assert difference(second, first, statistic="median").value > 0


def test_intervals_of_the_same_values_are_the_same_and_of_one_object_there_is_none():
    values = torch.rand(9, generator=torch.Generator().manual_seed(4))
    assert estimate(values, statistic="median") == estimate(values, statistic="median")
    one = estimate(values, torch.zeros(9))
    assert (one.low, one.high) == (None, None)
    assert not differs(one)


def test_bad_input():
    with pytest.raises(ConfigError, match="one or more"):
        estimate(torch.empty(0))
    with pytest.raises(ConfigError, match="one group"):
        estimate(torch.ones(3), torch.ones(2))
    with pytest.raises(ConfigError, match="one shape"):
        difference(torch.ones(3), torch.ones(2))


def test_comparisons_of_many():
    source = torch.Generator().manual_seed(0)
    objects = torch.arange(40).repeat_interleave(2)
    base, noise = torch.rand(80, generator=source), 0.02 * torch.randn(80, generator=source)
    same, apart = (
        compared(base + noise, base, objects, 0.05),
        compared(base + 0.1 + noise, base, objects, 0.05),
    )
    assert (same.p > 0.05, same.p_apart < 0.001) == (True, True)
    assert (apart.p < 0.001, apart.p_apart > 0.99) == (True, True)
    assert apart.apart.low < 0.1 < apart.apart.high
    assert same.objects == 40
    half = torch.where(objects < 20, base, torch.nan)
    assert compared(half, base, objects, 0.05).objects == 20
    none = compared(base, base, objects, 0.05)
    assert (none.p, none.apart.value) == (1, 0)
    with pytest.raises(ConfigError, match="no pair"):
        compared(base * torch.nan, base, objects, 0.05)


def test_holm_is_never_above_bonferroni_nor_below_the_value():
    values = [0.01, 0.2, 0.011, 0.9, 0.03]
    found = holm(values)
    assert found == pytest.approx([0.05, 0.4, 0.05, 0.9, 0.09])  # as R's p.adjust
    assert all(own <= new <= min(1, 5 * own) for own, new in zip(values, found, strict=True))
    assert holm([]) == []
