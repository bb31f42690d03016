"""``netinvert study agree``: witnesses, their agreement, what is made of it."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from netinvert.evaluation.readers import CELLS, part_overlap, part_overlaps, part_shares
from netinvert.experiments.agree.report import agree_report
from netinvert.experiments.agree.tables import AgreeStudy
from netinvert.experiments.agree.witnesses import (
    DECODED,
    RANDOM,
    Arm,
    Witnesses,
    part_agreement,
    within_ranks,
)
from netinvert.experiments.configs.studies import StudyAgree
from netinvert.experiments.features import registration as named
from netinvert.experiments.features.changes import StudiedView
from netinvert.experiments.features.registration import PARTS
from netinvert.experiments.registered import AGREE, ENOUGH
from netinvert.explain.sanity import rank_correlation
from netinvert.io.cells import Cell
from netinvert.io.files import read_json
from netinvert.scenes.cameras import Camera
from netinvert.scenes.catalogue import make_object
from netinvert.scenes.shading import STUDIO

DRAWS = 2000
NAN = math.nan


def drawn(count, seed, parts=4):
    return torch.rand(count, parts, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- agreement -----------------------------------------------------------------------------------------------


def test_nothing_held_is_the_mean_of_each_chairs_rank_correlation():
    one, other, size = drawn(30, 0), drawn(30, 1), drawn(30, 2)
    found = part_agreement(one, other, size, "", 99)
    assert found.found.value == pytest.approx(rank_correlation(one, other).mean().item())
    assert found.found.low < found.found.value < found.found.high


def test_parts_that_are_not_there_are_not_ranked():
    one, other = drawn(30, 0), drawn(30, 1)
    one[::2, 3] = NAN
    other[0, :2] = NAN  # of this chair two parts are left: it is left out
    found = part_agreement(one, other, drawn(30, 2), "", 99)
    rows = [
        rank_correlation(a[k][None], b[k][None])
        for a, b in zip(one, other, strict=True)
        if (k := a.isfinite() & b.isfinite()).sum() > 2
    ]
    assert found.found.value == pytest.approx(torch.cat(rows).mean().item())
    assert found.chairs.sum() == len(rows) == 29


def test_ties_share_their_rank():
    known = torch.ones(1, 3, dtype=torch.bool)
    first, second = (within_ranks(torch.tensor([row]), known) for row in ([1.0, 1.0, 2.0], [1.0, 2.0, 3.0]))
    assert float((first * second).sum()) == pytest.approx(math.sqrt(3) / 2)
    assert not within_ranks(torch.ones(1, 3), known).any()


@pytest.mark.parametrize("seed", range(4))
def test_p_is_that_of_the_normal_approximation(seed):
    """The variance of Spearman's ρ over P parts in random order is 1 / (P - 1)."""
    one, other = drawn(60, 10 + seed), drawn(60, 20 + seed)
    found = part_agreement(one, other, drawn(60, 3), "", DRAWS)
    far = abs(found.found.value) * math.sqrt(60 * 3)
    assert found.p == pytest.approx(math.erfc(far / math.sqrt(2)), abs=0.06)


def test_what_size_alone_makes_is_gone_with_the_size_held():
    size = drawn(200, 0)
    both = [size + 0.4 * drawn(200, seed) for seed in (1, 2)]
    assert part_agreement(*both, size, "", DRAWS).found.value > 0.4
    found = part_agreement(*both, size, "size", DRAWS)
    assert abs(found.found.value) < 0.12
    assert found.p > 0.02
    direct = drawn(200, 5)
    again = part_agreement(direct, direct + 0.2 * drawn(200, 6), size, "size", DRAWS)
    assert again.found.value > 0.8
    assert again.p < 0.001


def test_the_size_is_held_as_least_squares_do():
    one, other, size = drawn(40, 0), drawn(40, 1) + drawn(40, 0), drawn(40, 2) + drawn(40, 0)
    known = torch.ones(40, 4, dtype=torch.bool)
    x, y, z = (within_ranks(values, known).flatten().numpy() for values in (one, other, size))
    left = [v - z * (np.linalg.lstsq(z[:, None], v, rcond=None)[0]) for v in (x, y)]
    expected = np.corrcoef(*left)[0, 1]
    assert part_agreement(one, other, size, "size", 99).found.value == pytest.approx(expected)


def test_what_a_kind_of_part_has_in_common_is_gone_with_the_kind_held():
    kinds = torch.tensor([3.0, 2.0, 1.0, 0.0]).double()
    both = [kinds + 0.5 * drawn(200, seed) for seed in (1, 2)]
    assert part_agreement(*both, drawn(200, 3), "", DRAWS).found.value > 0.9
    noisy = [0.3 * kinds + drawn(200, seed) for seed in (1, 2)]
    found = part_agreement(*noisy, drawn(200, 3), "kind", DRAWS)
    assert abs(found.found.value) < 0.15
    assert found.p > 0.02


def test_of_few_chairs_nothing_is_known():
    one = drawn(ENOUGH, 0)
    assert part_agreement(one, one, one, "", 9) is not None
    assert part_agreement(one[1:], one[1:], one[1:], "", 9) is None


def test_gains_are_of_the_same_chairs():
    one, size = drawn(30, 0), drawn(30, 2)
    found, floor = (part_agreement(one, other, size, "", 9) for other in (one, drawn(30, 1)))
    gain = found.above(floor)
    assert gain.value == pytest.approx(1 - floor.found.value)
    assert gain.low < gain.value < gain.high
    fewer = one.clone()
    fewer[0] = NAN
    assert found.above(part_agreement(one, fewer, size, "", 9)) is None


# -- the parts of an image ----------------------------------------------------------------------------------


def test_overlaps_of_parts_are_those_of_their_mean():
    source = torch.Generator().manual_seed(0)
    found, truth = (torch.randint(4, (5, 6, 6), generator=source) for _ in range(2))
    each = part_overlaps(found, truth, 4)
    assert each[:, 3].isnan().all()
    torch.testing.assert_close(each.nanmean(1), part_overlap(found, truth))


def test_shares_of_parts_sum_to_one():
    masks = torch.zeros(2, 2 * CELLS, 2 * CELLS, dtype=torch.bool)
    masks[0, :CELLS], masks[1, CELLS:, :1] = True, True
    shares = part_shares(masks)
    assert shares.sum(0).eq(1).all()
    assert shares[:, 0, 0].tolist() == [0, 1, 0]
    assert shares[:, -1, 0].tolist() == [0.5, 0, 0.5]


def test_removals_are_those_of_the_study_of_features():
    chair, camera = make_object("chairs", 101_000_000), Camera.orbit(12.7, 20.0, distance=1.9, size=64)
    view = StudiedView(chair, camera, STUDIO, np.random.default_rng(0))
    changes = {one.name: one for one in view.changes()}
    seen, scenes = view.removals()
    found = {one.name: one for one in scenes}
    assert set(seen) == set(PARTS)
    assert set(found) < set(changes)
    bare = changes[named.NO_SHADOW].cut
    for part, region in seen.items():
        own, same = found[named.removed(part)], changes[named.removed(part)]
        assert torch.equal(own.cut.colour, same.cut.colour)
        assert own.share == pytest.approx(same.share)
        hidden = found[named.control(named.covered(part))].cut
        covered = (hidden.mask - bare.mask).abs() > 0
        assert not (covered & region).any()
        assert float((bare.mask * covered).sum()) == pytest.approx(float((bare.mask * region).sum()), abs=0.5)


# -- witnesses -----------------------------------------------------------------------------------------------

SIDE = 16
ARMS = tuple(
    Arm(layer, how, weights)
    for layer in ("relu5", "fc8")
    for how, weights in (("optimised", "its own"), (DECODED, "its own"), ("optimised", RANDOM))
)


def masks_of(count, seed):
    """Each part a rectangle in a quarter of the image."""
    found = torch.zeros(count, 4, SIDE, SIDE, dtype=torch.bool)
    sizes = torch.randint(3, 9, (count, 4, 2), generator=torch.Generator().manual_seed(seed))
    for n in range(count):
        for p in range(4):
            y, x = 8 * (p // 2), 8 * (p % 2)
            high, wide = sizes[n, p].tolist()
            found[n, p, y : y + high, x : x + wide] = True
    return found


def cell(count=ENOUGH, seed=0, quality=None, needed=None):
    """Chairs of rectangles; in the images of an arm a share ``quality`` (A, N, P) of each part is right."""
    masks = masks_of(count, seed)
    truth = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
    for p in range(4):
        truth[masks[:, p]] = p + 1
    source = torch.Generator().manual_seed(seed)
    original = torch.randint(256, (count, 3, SIDE, SIDE), generator=source).to(torch.uint8)
    quality = torch.ones(len(ARMS), count, 4) if quality is None else quality
    noise = torch.rand(count, len(ARMS), SIDE, SIDE, generator=source)
    right = torch.zeros(count, len(ARMS), SIDE, SIDE, dtype=torch.bool)
    for p in range(4):
        right |= masks[:, None, p] & (noise < quality[:, :, p].T[:, :, None, None])
    labels = torch.where(right, truth[:, None], 0)
    images = torch.where(right[:, :, None], original[:, None], 255 - original[:, None])
    size = masks.flatten(2).sum(2).double()
    flat = torch.ones(count, 4).double()
    necessity = drawn(count, seed + 7) if needed is None else needed
    tensors = {
        "needed": torch.stack([necessity, necessity], 1),
        "size": size / size.sum(1, keepdim=True),
        "attribution": torch.stack([necessity, flat * drawn(count, seed + 8)], 1),
        "original": original,
        "masks": masks,
        "truth": truth,
        "images": images,
        "labels": labels,
        "seen": truth,
        "code": torch.full((count, len(ARMS)), 0.1),
        "heat": torch.rand(count, SIDE, SIDE).half(),
    }
    return Cell(tensors, [f"chair {k}" for k in range(count)])


def test_what_every_image_shows_is_no_recovery():
    one = cell()
    same = one.tensors["images"][:1].expand_as(one.tensors["images"])
    labels = one.tensors["labels"][:1].expand_as(one.tensors["labels"])
    found = Witnesses.joined([Cell({**one.tensors, "images": same, "labels": labels}, one.facts)], ARMS)
    assert found.recovery(ARMS[0], "parts").abs().max() == 0
    assert found.recovery(ARMS[0], "pixels").abs().max() < 1e-9


def test_recovery_is_what_a_chairs_own_image_has_beyond_others():
    found = Witnesses.joined([cell(12, 0), cell(12, 1)], ARMS)
    assert found.count == 24
    own, others = found.figures[ARMS[0], "parts"]
    assert own.eq(1).all()
    expected = part_overlaps(found.labels[:, 0].roll(-1, 0), found.truth, 4)
    assert (others - expected).abs().mean() > 0  # of one other alone
    means = [part_overlaps(found.labels[[k] * 24, 0], found.truth, 4) for k in range(24)]
    each = torch.stack(means)
    each[range(24), range(24)] = NAN
    torch.testing.assert_close(others, each.nanmean(0))
    error, far = found.figures[ARMS[0], "pixels"]
    assert error.eq(0).all()
    assert far.min() > 0.1


def test_a_part_that_is_out_of_sight_has_no_figures():
    one = cell()
    masks, truth = one.tensors["masks"].clone(), one.tensors["truth"].clone()
    truth[0][masks[0, 3]] = 0
    masks[0, 3] = False
    found = Witnesses.joined([Cell({**one.tensors, "masks": masks, "truth": truth}, one.facts)], ARMS)
    for kind in ("parts", "pixels"):
        values = found.recovery(ARMS[0], kind)
        assert values[0].isfinite().tolist() == [True, True, True, False]
        assert values[1:].isfinite().all()


def test_one_chair_has_no_others():
    alone = Witnesses.joined([cell(1)], ARMS)
    assert alone.recovery(ARMS[0], "parts").isnan().all()


# -- what is told --------------------------------------------------------------------------------------------


def study(count=60, **planted):
    config = StudyAgree(out=Path("out"), layers=("relu5", "fc8"), chairs=count)
    return AgreeStudy(config, "posenet", Witnesses.joined([cell(count, **planted)], ARMS))


def planted_study(count=60):
    """At fc8 the needed parts come back, at relu5 any; with random weights any."""
    needed = drawn(count, 1)
    quality = torch.stack([drawn(count, k) for k in range(10, 10 + len(ARMS))])
    quality[ARMS.index(Arm("fc8"))] = needed
    return study(count, quality=quality, needed=needed)


@pytest.mark.slow
def test_the_answer_is_computed():
    planted = planted_study()
    page = agree_report(planted).markdown()
    assert "needs come back best at `fc8`, by a reader of parts (ρ = 0." in page
    assert "Attributions (integrated) fall on the parts that it needs: ρ = 1.00" in page
    assert "This is a trial, not the registered test" in page
    table = planted.registered_table()
    verdicts = [row[-1] for row in table.rows]
    assert verdicts[0] == verdicts[2] == verdicts[3] == "holds"
    assert verdicts[1] in {"none shown", "none beyond ±0.2"}


@pytest.mark.slow
def test_what_is_refuted_is_said():
    needed = drawn(60, 1)
    quality = (1 - needed).expand(len(ARMS), -1, -1)
    against = study(60, quality=quality, needed=needed)
    assert [row[-1] for row in against.registered_table().rows][:2] == ["refuted: the other way", "refuted"]
    assert "come back worst at `relu5`, by a reader of parts (ρ = -" in agree_report(against).markdown()


def test_of_few_chairs_nothing_is_claimed():
    page = agree_report(study(ENOUGH - 1)).markdown()
    assert f"Nothing is claimed of {ENOUGH - 1} chairs: {ENOUGH} are needed" in page
    assert "ρ =" not in page
    rows = study(ENOUGH - 1).agreements().plain()["rows"]
    assert {row["rho size"] for row in rows} == {"not enough"}


def test_only_the_plan_is_the_registered_test():
    plan = AGREE
    assert plan.seed == 9010
    names = ("preset", "steps", "method", "samples", "chairs", "seed")
    config = StudyAgree(out=Path("out"), **{name: getattr(plan, name) for name in names})
    arms = tuple(Arm(layer) for layer in plan.layers)
    own = Witnesses.joined([cell(2)], arms)
    assert AgreeStudy(config, "posenet", own).registered
    assert not AgreeStudy(replace(config, steps=99), "posenet", own).registered
    assert not AgreeStudy(replace(config, weights="random"), "posenet", own).registered
    assert not AgreeStudy(config, "posenet-only", own).registered
    assert not AgreeStudy(config, "posenet", replace(own, arms=arms[:1])).registered


# -- the command ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_study_of_three_chairs(command, tmp_path):
    out = tmp_path / "out"
    words = ("study", "agree", "--layers", "fc8", "relu4", "--chairs", 3, "--steps", 3, "--learned", 20)
    assert command(*words, "--samples", 2, "--batch", 2, "--seed", 101, "--out", out).code == 0
    page = (out / "report.md").read_text()
    assert "Nothing is claimed of 3 chairs" in page
    assert "Not decoded, for no shipped decoder fits: `relu4`" in page
    rows = list(csv.DictReader(io.StringIO((out / "chairs.csv").read_text())))
    assert {row["part"] for row in rows} <= set(PARTS)
    assert len({row["chair"] for row in rows}) == 3
    assert float(rows[0]["fc8, decoded: overlap"]) >= 0
    assert read_json(out / "manifest.json")["chairs"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--network", "hog"), "reads no poses"),
        (("--layers", "fc9"), "fc9"),
        (("--layers", "fc8", "fc8"), "names one twice"),
        (("--preset", "ijcv17"), "ijcv17"),
        (("--method", "gradients"), "gradients"),
    ],
)
def test_bad_input(words, said, command, tmp_path):
    found = command("study", "agree", *words, "--out", tmp_path / "out")
    assert found.code == 2
    assert said in found.err
    assert not (tmp_path / "out").exists()
