"""Linear probes against the textbook, permutations and what must not be read."""

from __future__ import annotations

import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.evaluation.attributes import Attribute
from netinvert.evaluation.probes import (
    FOLDS,
    PENALTIES,
    PROBE_PENALTIES,
    Standard,
    held_out,
    inner_products,
    probe,
    quadratic_kernel,
    question_of,
    r2,
    ridge,
    within_groups,
)


def source(seed=0):
    return torch.Generator().manual_seed(seed)


# -- attributes, against permutations ------------------------------------------------------------------


def test_ridge_is_the_textbook_solution_and_its_choice_is_leave_one_out():
    noise = torch.Generator().manual_seed(3)
    train = torch.randn(12, 4, generator=noise, dtype=torch.float64)
    targets = train[:, :1] + 0.7 * torch.randn(12, 1, generator=noise, dtype=torch.float64)
    test = torch.randn(5, 4, generator=noise, dtype=torch.float64)
    mean, deviation = train.mean(0), train.std(0, correction=0)
    rows, others = (train - mean) / deviation / 2, (test - mean) / deviation / 2

    def solve(rows, targets, weight):
        full = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
        penalty = weight * torch.eye(full.shape[1], dtype=rows.dtype)
        penalty[-1, -1] = 0  # the intercept is free
        return torch.linalg.solve(full.T @ full + penalty, full.T @ targets)

    def left_out(weight):
        total = 0.0
        for row in range(12):
            kept = [other for other in range(12) if other != row]
            line = solve(rows[kept], targets[kept], weight)
            total += (rows[row] @ line[:-1] + line[-1] - targets[row]).square().item()
        return total

    weight = min(PROBE_PENALTIES, key=left_out)
    assert weight not in (PROBE_PENALTIES[0], PROBE_PENALTIES[-1])
    line = solve(rows, targets, weight)
    torch.testing.assert_close(ridge(train, targets, test), others @ line[:-1] + line[-1])


def test_problems_do_not_disturb_one_another():
    noise = torch.Generator().manual_seed(5)
    train, test = (torch.randn(count, 30, generator=noise, dtype=torch.float64) for count in (15, 4))
    targets = torch.randn(15, 6, generator=noise, dtype=torch.float64)
    alone = torch.cat([ridge(train, targets[:, [k]], test) for k in range(6)], 1)
    torch.testing.assert_close(ridge(train, targets, test), alone)


def test_a_probe_reads_what_is_there_and_not_what_is_not():
    noise = torch.Generator().manual_seed(2)
    codes = torch.randn(60, 40, generator=noise)
    there = question_of(Attribute("a", tuple(str(v) for v in codes[:, 3].tolist()), True), None, 99, 0)
    classes = question_of(
        Attribute("b", tuple("xyz"[int(v > -0.4) + int(v > 0.4)] for v in codes[:, 5]), False), None, 99, 0
    )
    absent = torch.randn(60, generator=noise)
    nothing = question_of(Attribute("c", tuple(str(v) for v in absent.tolist()), True), None, 99, 0)
    reading = probe(codes, there)
    assert reading.score > 0.4
    assert reading.p == 0.01
    assert reading.chance < 0.05
    reading = probe(codes, classes)
    assert reading.p == 0.01
    assert reading.score > 0.5
    assert abs(reading.chance - 1 / 3) < 0.05
    assert not probe(codes, nothing).above_chance
    # Learned from these codes and read from others that hold nothing of them.
    assert not probe(codes, there, torch.randn(60, 40, generator=noise)).above_chance


def test_a_probe_sees_no_label_of_its_test_rows():
    """Were labels of the same photograph in training, any could be read; grouped folds keep them out."""
    noise = torch.Generator().manual_seed(4)
    codes = torch.randn(10, 50, generator=noise).repeat_interleave(5, 0)
    codes += 0.01 * torch.randn(codes.shape, generator=noise)
    labels = torch.randn(10, generator=noise).repeat_interleave(5)
    attribute = Attribute("a", tuple(map(str, labels.tolist())), True)
    photograph = Attribute("photograph", tuple(str(row // 5) for row in range(50)), False)
    assert probe(codes, question_of(attribute, None, 49, 0)).score > 0.95
    grouped = question_of(attribute, photograph, 49, 0)
    assert not probe(codes, grouped).above_chance
    assert sorted(torch.cat(grouped.folds).tolist()) == list(range(50))
    for fold in grouped.folds:
        assert len(fold) == 10
        assert len({row // 5 for row in fold.tolist()}) == 2  # whole photographs
    for shuffle in grouped.shuffles:
        assert sorted(shuffle.tolist()) == list(range(50))
        assert all(len({row // 5 for row in part}) == 1 for part in shuffle.view(10, 5).tolist())


def test_chance_is_that_of_guessing_where_classes_cluster():
    """Four crops of each photograph look alike: shuffled labels must not fare worse than a guess for that."""
    noise = torch.Generator().manual_seed(8)
    codes = torch.randn(11, 60, generator=noise).repeat_interleave(4, 0)
    codes += 0.3 * torch.randn(codes.shape, generator=noise)
    photograph = Attribute("photograph", tuple(str(row // 4) for row in range(44)), False)
    question = question_of(photograph, photograph, 200, 0)
    for fold in question.folds:
        assert all(sorted(shuffle[fold].tolist()) == fold.tolist() for shuffle in question.shuffles)
    reading = probe(codes, question)
    assert reading.score == 1
    assert abs(reading.chance - 1 / 11) < 0.02


@pytest.mark.parametrize(
    "kind",
    [
        "classes",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("rare class", "numbers", "grouped numbers")
        ),
    ],
)
def test_p_is_fair_where_there_is_nothing_to_read(kind):
    noise = torch.Generator().manual_seed(9)
    low, chances = 0, []
    for seed in range(60):
        codes = torch.randn(10, 20, generator=noise).repeat_interleave(4, 0)
        codes += 0.3 * torch.randn(codes.shape, generator=noise)
        numbers = torch.randn(40, generator=noise)
        if kind == "grouped numbers":
            numbers = torch.randn(10, generator=noise).repeat_interleave(4)
        values = tuple(map(str, numbers.tolist()))
        if "class" in kind:
            edge = -1.0 if kind == "rare class" else 0.0
            values = tuple("ab"[int(number > edge)] for number in numbers)
        blocks = Attribute("g", tuple(str(row // 4) for row in range(40)), False)
        question = question_of(
            Attribute("x", values, "numbers" in kind), blocks if "grouped" in kind else None, 39, seed
        )
        reading = probe(codes, question)
        low += reading.p <= 0.2
        chances.append(reading.chance)
    assert 3 <= low <= 23  # 12 are expected; less than 1 in 1000 lie outside by chance
    if "class" in kind:
        assert abs(sum(chances) / len(chances) - 0.5) < 0.03


def test_folds_hold_every_class_and_every_row_once():
    values = ["a"] * 9 + ["b"] * 4 + ["c"] * 7 + [None] + ["single"]
    question = question_of(Attribute("x", tuple(values), False), None, 20, 0)
    assert question.classes == ("a", "b", "c")
    assert question.rows.tolist() == list(range(20))
    assert len(question.folds) == 4
    assert sorted(torch.cat(question.folds).tolist()) == list(range(20))
    for fold in question.folds:
        assert {question.labels[row].item() for row in fold} == {0, 1, 2}
    assert "1 unknown" in question.remark
    assert "1 classes of a single code" in question.remark


def test_a_class_within_one_group_leaves_groups_out_and_says_so():
    attribute = Attribute("photograph", tuple("aaaabbbbcccc"), False)
    question = question_of(attribute, attribute, 20, 0)
    assert "3 classes lie within one group" in question.remark
    assert all({question.labels[row].item() for row in fold} == {0, 1, 2} for fold in question.folds)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("a" * 12, "equal"),
        ("ab" * 3, "too few"),
        ([None] * 12, "equal"),
        ("abcdefghijkl", "no two codes share"),
    ],
)
def test_what_cannot_be_read_is_told(values, reason):
    assert reason in question_of(Attribute("x", tuple(values), False), None, 20, 0)


# -- held-out groups ------------------------------------------------------------------------------------


def test_a_probe_finds_what_is_linear_and_nothing_in_shuffled_labels():
    codes = torch.randn(200, 30, generator=source())
    targets = codes @ torch.randn(30, 2, generator=source(1)) + 3
    groups = torch.arange(50).repeat_interleave(4)
    products = inner_products(Standard.of(codes)(codes))
    assert r2(held_out(products, targets, groups), targets) > 0.999
    others = targets[torch.randperm(200, generator=source(2))]
    assert r2(held_out(products, others, groups), others) < 0.1


def test_a_probe_is_ridge_regression_whose_penalty_never_sees_the_test_fold():
    """Against the equations of units, penalty and all: chosen on the fold after the test fold."""
    codes = torch.randn(60, 8, generator=source(), dtype=torch.float64)
    targets = 0.4 * codes[:, :1] + torch.randn(60, 1, generator=source(1), dtype=torch.float64)
    fold = torch.arange(60) % FOLDS

    def read(fit, rows, power):
        mean, offset = codes[fit].mean(0), targets[fit].mean(0)
        x, y = codes[fit] - mean, targets[fit] - offset
        weights = torch.linalg.solve(x.T @ x + power * x.square().sum(1).mean() * torch.eye(8), x.T @ y)
        return (codes[rows] - mean) @ weights + offset

    def error(fit, rows, penalty):
        return (read(fit, rows, penalty) - targets[rows]).square().sum().item()

    expected, peeking = torch.empty_like(targets), 0
    for index in range(FOLDS):
        test, check = fold == index, fold == (index + 1) % FOLDS
        best = min(PENALTIES, key=lambda penalty: error(~test & ~check, check, penalty))
        expected[test] = read(~test, test, best)
        peeking += best != min(PENALTIES, key=lambda penalty: error(~test, test, penalty))
    assert peeking  # chosen on the test fold, penalties would be others
    found = held_out(inner_products(codes), targets, torch.arange(60))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_a_probe_knows_nothing_of_the_groups_it_is_tried_on():
    """Codes that tell the group and labels that hang on it: nothing can be read of groups held out."""
    groups = torch.arange(20).repeat_interleave(5)
    codes = torch.eye(20)[groups] + 0.01 * torch.randn(100, 20, generator=source())
    labels = torch.randn(20, 1, generator=source(1))[groups]
    found = held_out(inner_products(Standard.of(codes)(codes)), labels, groups)
    assert r2(found, labels) < 0.05
    with pytest.raises(ConfigError, match="too few"):
        held_out(inner_products(codes), labels, groups % 4)


def test_a_chair_can_be_compared_with_itself():
    """A small change beside large differences of groups is read about their means alone."""
    groups = torch.arange(40).repeat_interleave(4)
    change = torch.randn(160, 1, generator=source())
    codes = 20 * torch.randn(40, 30, generator=source(1))[groups] + change * torch.ones(30)
    alone = inner_products(within_groups(codes, groups))
    truth = within_groups(change, groups)
    assert truth.reshape(40, 4).mean(1).abs().max() < 1e-9
    assert r2(held_out(alone, truth, groups), truth) > 0.999
    assert change.dtype == torch.float32
    assert not torch.equal(truth.float(), change)  # which stays as it was


def test_products_of_units_are_found_by_parabolas_alone():
    codes = torch.randn(300, 3, generator=source())
    targets = codes[:, :1] * codes[:, 1:2]
    products, groups = inner_products(Standard.of(codes)(codes)), torch.arange(300)
    assert r2(held_out(products, targets, groups), targets) < 0.1
    assert r2(held_out(quadratic_kernel(products), targets, groups), targets) > 0.99


def test_a_probe_reads_other_codes_of_the_same_objects():
    codes = torch.randn(100, 5, generator=source())
    targets, groups = codes[:, :1], torch.arange(100)
    standard = Standard.of(codes)
    seen = inner_products(standard(0.5 * codes), standard(codes))
    found = held_out(inner_products(standard(codes)), targets, groups, seen)
    assert float((found[:, 0] / targets[:, 0]).median()) == pytest.approx(0.5, abs=0.05)
