"""Energies: one value a sample and a term, none shared."""

import pytest
import torch

from netinvert import CodeError, ConfigError, Energy, Match, TotalVariation
from tiny import images


def codes(count=3, seed=1):
    return torch.randn(count, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_match_by_hand():
    target = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    match = Match(target)
    found = match(images(), torch.tensor([[3.0, 4.0], [1.0, 2.0]]))
    assert found.tolist() == [0.0, 4.0]
    assert match(images(), torch.zeros(2, 2)).tolist() == [1.0, 1.0]
    masked = Match(target, torch.tensor([1.0, 0.0]))
    assert masked(images(), torch.tensor([[0.0, 99.0], [4.0, 99.0]])).tolist() == [1.0, 9.0]
    each = Match(target, torch.tensor([[True, False], [True, True]]))
    assert each(images(), torch.tensor([[0.0, 99.0], [1.0, 2.0]])).tolist() == [1.0, 4.0]


def test_zero_codes_cannot_be_matched():
    target = codes()
    target[1] = 0
    with pytest.raises(CodeError, match="zero everywhere"):
        Match(target)
    mask = torch.zeros(4, 5)
    with pytest.raises(CodeError, match="another mask"):
        Match(codes(), mask)


def test_codes_so_large_or_small_that_their_squares_overflow():
    for size in (1e25, 1e-25):
        target = (codes() * size).float()
        found = Match(target)(images(3), target * 2)
        assert found.tolist() == pytest.approx([1, 1, 1])


def test_energy_is_rows_of_weighted_terms():
    x, code = images(3), codes()
    energy = Energy(((2.0, Match(codes(seed=2))), (0.5, TotalVariation())))
    rows = energy(x, code)
    assert energy.names == ("code", "tv")
    torch.testing.assert_close(rows[0], 2 * Match(codes(seed=2))(x, code))
    torch.testing.assert_close(rows[1], 0.5 * TotalVariation()(x, code))
    with pytest.raises(ConfigError, match="at least one"):
        Energy(())


def test_a_sample_s_energy_is_its_own():
    x, code, target = images(3), codes(), codes(seed=2)
    energy = Energy(((1.0, Match(target)), (1.0, TotalVariation())))
    x2, code2 = x.clone(), code.clone()
    x2[1], code2[1] = torch.nan, torch.nan
    before, after = energy(x, code), energy(x2, code2)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert after[:, 1].isnan().all()


def test_terms_that_mix_the_batch_are_refused():
    class Shared:
        name = "shared"

        def __call__(self, image, code):
            return image.mean()

    with pytest.raises(ConfigError, match=r"'shared' returned shape \(\).*one value a sample, \(2,\)"):
        Energy(((1.0, Shared()),))(images(2), codes(2))
