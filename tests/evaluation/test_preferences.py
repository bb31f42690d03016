"""Strengths by the votes of people."""

from __future__ import annotations

import pytest
import torch

from netinvert import ConfigError
from netinvert.evaluation.preferences import FIRST, SECOND, TIE, Votes, strengths


def votes(answers, first=None, second=None, rater=None):
    answer = torch.tensor(answers)
    zero = torch.zeros_like(answer)
    first = zero if first is None else first
    second = zero + 1 if second is None else second
    return Votes(first, second, answer, zero if rater is None else rater, torch.arange(len(answer)))


def test_two_things_in_closed_form():
    """The likelihood is greatest where the model has the answers' own shares (Davidson 1970)."""
    won, lost, tied = 60, 20, 40
    found = strengths(votes([FIRST] * won + [SECOND] * lost + [TIE] * tied), 2)
    apart = found.things[0].value - found.things[1].value
    assert apart == pytest.approx(torch.tensor(won / lost).log().item(), rel=0.02)
    assert found.tie == pytest.approx(tied / (won * lost) ** 0.5, rel=0.02)
    assert found.things[0].low < found.things[0].value < found.things[0].high


def test_sides_do_not_matter():
    answers = [FIRST] * 12 + [SECOND] * 5 + [TIE] * 4
    turned = [{FIRST: SECOND, SECOND: FIRST, TIE: TIE}[one] for one in answers]
    zero = torch.zeros(len(answers), dtype=torch.long)
    one, other = strengths(votes(answers), 2), strengths(votes(turned, zero + 1, zero), 2)
    assert one.things[0].value == pytest.approx(other.things[0].value, abs=1e-4)


def drawn(count: int, sure: torch.Tensor, rater: torch.Tensor) -> Votes:
    source = torch.Generator().manual_seed(1)
    first = torch.randint(5, (count,), generator=source)
    second = (first + torch.randint(1, 5, (count,), generator=source)) % 5
    half = sure[rater] * (first - second) * -0.5
    chances = torch.stack([half, -half, torch.full_like(half, -0.5)], 1).softmax(1)
    return votes(torch.multinomial(chances, 1, generator=source)[:, 0].tolist(), first, second, rater)


def test_order_and_who_answers_at_random():
    rater = torch.arange(300) % 3
    found = strengths(drawn(300, torch.tensor([1.0, 1.0, 0.0]), rater), 5)
    values = [one.value for one in found.things]
    assert values[0] > values[2] > values[4]
    assert sum(values) == pytest.approx(0, abs=1e-6)
    assert found.raters[2] < 0.7 * min(found.raters[:2])


def test_who_wins_every_time_is_finite():
    found = strengths(votes([FIRST] * 5), 2)
    assert 0 < found.things[0].value < 10
    with pytest.raises(ConfigError, match="there are none"):
        strengths(votes([]), 2)
