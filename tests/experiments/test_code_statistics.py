"""Statistics of codes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netinvert.errors import CodeError, ConfigError
from netinvert.experiments.codes.statistics import LEVELS, CodeStatistics

seeds = st.integers(0, 2**31)


def vectors(count=600, seed=0):
    """Correlated units, rectified: unit 0 never speaks, unit 5 is never silent."""
    source = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, 3, generator=source)
    mixed = hidden @ torch.randn(3, 6, generator=source) + 0.2 * torch.randn(count, 6, generator=source)
    codes = (mixed * torch.tensor([0.0, 1.0, 2.0, 5.0, 0.1, 1.0])).clamp_min(0)
    codes[:, 5] = 3 + mixed[:, 5]
    return codes


def maps(count=200, seed=0):
    """Two channels of which the second is the blurred first, brighter to the right."""
    source = torch.Generator().manual_seed(seed)
    first = torch.randn(count, 1, 4, 5, generator=source) + torch.arange(5.0)
    second = torch.nn.functional.avg_pool2d(first, 3, 1, 1)
    return torch.cat([first, second], 1).clamp_min(0)


@pytest.mark.parametrize("codes", [vectors(), maps()])
def test_moments_and_quantiles_are_those_of_the_features(codes):
    found = CodeStatistics.of(codes)
    by_feature = codes.transpose(0, 1).flatten(1)
    assert found.code_shape == codes.shape[1:]
    torch.testing.assert_close(found.mean, by_feature.mean(1))
    torch.testing.assert_close(found.std, by_feature.std(1))
    assert found.quantiles.shape == (LEVELS, len(by_feature))
    assert torch.equal(found.quantiles[0], by_feature.amin(1))
    assert torch.equal(found.quantiles[-1], by_feature.amax(1))
    torch.testing.assert_close(found.quantiles[LEVELS // 2], by_feature.quantile(0.5, dim=1))


@pytest.mark.parametrize("codes", [vectors(), maps()])
def test_seen_codes_are_projected_onto_themselves(codes):
    assert torch.equal(CodeStatistics.of(codes).project(codes), codes)


@given(seeds, st.floats(0.1, 30), st.booleans())
def test_projected_codes_lie_where_codes_were_seen(seed, size, of_maps):
    codes = maps() if of_maps else vectors()
    found = CodeStatistics.of(codes)
    source = torch.Generator().manual_seed(seed)
    edited = codes[:8] + size * torch.randn(codes[:8].shape, generator=source)
    made = found.project(edited)
    features = made.transpose(0, 1).flatten(1)
    assert (features >= found.quantiles[0][:, None]).all()
    assert (features <= found.quantiles[-1][:, None]).all()
    strength = made.flatten(2) if of_maps else made[:, None]
    assert (strength.square().mean(-1).sqrt() <= found.strength[1] * (1 + 1e-5)).all()
    single = torch.cat([found.project(edited[k : k + 1]) for k in range(8)])
    assert torch.equal(made, single)


def test_weak_codes_are_strengthened():
    found = CodeStatistics.of(vectors())
    weak = 0.01 * vectors()[:5]
    made = found.project(weak).square().mean(1).sqrt()
    assert (made >= weak.square().mean(1).sqrt()).all()
    assert found.project(torch.zeros(1, 6)).isfinite().all()


@pytest.mark.parametrize("codes", [vectors(), maps()])
def test_the_principal_directions_put_together_what_goes_together(codes):
    found = CodeStatistics.of(codes)
    flat = found.directions.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat)), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.centre, codes.mean(0))
    seen = found.project(codes, principal=True)
    assert (seen - codes).square().sum() < 0.06 * (codes - codes.mean(0)).square().sum()
    alone = found.sample(50, 0)
    put = found.project(alone, principal=True)
    nearest = {name: torch.cdist(made.flatten(1), codes.flatten(1)).amin(1).mean() for name, made in
               (("alone", alone), ("put", put))}  # fmt: skip
    assert nearest["put"] < 0.8 * nearest["alone"]
    single = torch.cat([found.project(alone[k : k + 1], principal=True) for k in range(50)])
    assert torch.equal(put, single)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("codes", [vectors(), maps()])
def test_random_codes_have_the_histograms_of_their_features(codes, joint):
    found = CodeStatistics.of(codes)
    made = found.sample(1500 if codes.ndim == 2 else 300, 3, joint)
    for real, drawn in zip(codes.transpose(0, 1).flatten(1), made.transpose(0, 1).flatten(1), strict=True):
        levels = torch.linspace(0.05, 0.95, 10)
        scale = float(real.std()) or 1.0
        assert float((real.quantile(levels) - drawn.quantile(levels)).abs().max()) < 0.25 * scale
        assert (
            abs(float((real == 0).float().mean() - (drawn.abs() <= 2e-3 * real.max()).float().mean())) < 0.08
        )
        assert drawn.min() >= real.min()
        assert drawn.max() <= real.max()


@pytest.mark.parametrize("codes", [vectors(), maps()])
def test_only_jointly_drawn_codes_are_correlated_as_real_ones(codes):
    found = CodeStatistics.of(codes)
    speaking = codes.flatten(1).std(0) > 0

    def correlations(batch):
        return torch.corrcoef(batch.flatten(1)[:, speaking].T)

    real = correlations(codes)
    others = (real - torch.eye(len(real))).norm()
    distance = {
        joint: float((correlations(found.sample(600, 1, joint)) - real).norm() / others)
        for joint in (False, True)
    }
    assert distance[True] < 0.35
    assert distance[False] > 0.8


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("codes", [vectors(), maps()])
def test_each_random_code_has_its_own_seed(codes, joint):
    found = CodeStatistics.of(codes)
    many = found.sample(4, 10, joint)
    assert torch.equal(many[2:3], found.sample(1, 12, joint))
    assert not torch.equal(many[0], many[1])


def test_bad_input():
    for codes, message in (
        (torch.ones(1, 4), "two codes or more"),
        (torch.ones(4), "two codes or more"),
        (torch.full((3, 2), torch.nan), "NaN or infinite"),
    ):
        with pytest.raises(CodeError, match=message):
            CodeStatistics.of(codes)
    found = CodeStatistics.of(vectors())
    with pytest.raises(CodeError, match=r"are of codes \(6,\), got \(2, 5\)"):
        found.project(torch.ones(2, 5))
    with pytest.raises(ConfigError, match="At least one, not 0"):
        found.sample(0, 0)
