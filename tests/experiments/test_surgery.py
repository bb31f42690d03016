"""``netinvert study surgery``: subspaces of codes, edits, what is measured and told."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netinvert import Encoder, load_network
from netinvert.errors import CodeError, ConfigError
from netinvert.evaluation.probes import r2
from netinvert.evaluation.readers import PoseReader
from netinvert.evaluation.report import Estimate
from netinvert.experiments.configs.studies import StudySurgery
from netinvert.experiments.held_out_chairs import FreshChairs
from netinvert.experiments.registered import ENOUGH, SURGERY
from netinvert.experiments.surgery import measures as edits
from netinvert.experiments.surgery import subspaces as parts
from netinvert.experiments.surgery.measures import (
    CODE,
    DECODE,
    DONOR,
    KEPT,
    MEAN_CODE,
    ORIGINAL,
    REMOVED,
    SWAPPED,
    UNTOUCHED,
    LayerCodes,
    Patients,
    SurgeryKey,
    donors_of,
    keys_of,
    random_keys,
)
from netinvert.experiments.surgery.registration import SURGERY_HYPOTHESES, SurgeryHypothesis
from netinvert.experiments.surgery.report import surgery_report
from netinvert.experiments.surgery.subspaces import (
    CARRIERS,
    ERASED,
    HARMONICS,
    PRINCIPAL,
    RANDOM,
    ROTATION_HEAD,
    PoseSubspaces,
    Subspace,
    control_of,
    erasure,
    null_space_rounds,
    outputs_of,
    pose_targets,
    probe_weights,
    read_directions,
)
from netinvert.experiments.surgery.tables import Operated, surgery_verdict
from netinvert.io.cells import Cell
from netinvert.scenes.cameras import rotation_from_angles


@pytest.fixture(scope="module")
def encoder():
    return Encoder(load_network("posenet"), "relu7")


@pytest.fixture(scope="module")
def angles():
    drawn = torch.rand(2, 400, generator=torch.Generator().manual_seed(0))
    return 360 * drawn[0], 10 + 25 * drawn[1]


@pytest.fixture(scope="module")
def codes(angles):
    """Codes (400, 512) in which three directions say the pose, and all else is noise."""
    source = torch.Generator().manual_seed(1)
    mix = torch.randn(3, 512, generator=source)
    return pose_targets(*angles) @ mix + torch.randn(400, 512, generator=source)


@pytest.fixture(scope="module")
def found(encoder, codes, angles):
    return PoseSubspaces.of(encoder, codes, angles, seed=0)


# -- subspaces ---------------------------------------------------------------------------------------------


def test_removed_and_kept_are_the_whole_and_do_nothing_twice(found, codes):
    names = [control_of(one, kind) for one in CARRIERS for kind in (RANDOM, PRINCIPAL)]
    assert set(found.subspaces) == {*CARRIERS, *names}
    close = {"atol": 2e-3, "rtol": 1e-3}
    for one in found.subspaces.values():
        torch.testing.assert_close(one.removed(codes) + one.kept(codes) - one.mean, codes, **close)
        torch.testing.assert_close(one.kept(one.kept(codes)), one.kept(codes), **close)
        torch.testing.assert_close(one.removed(one.removed(codes)), one.removed(codes), **close)
        torch.testing.assert_close(one.kept(one.removed(codes)), one.mean.expand_as(codes), **close)
        torch.testing.assert_close(one.swapped(codes, codes), codes, **close)
        torch.testing.assert_close(one.into.T @ one.out, torch.eye(one.size), atol=1e-4, rtol=0)


def test_controls_have_the_same_dimension(found):
    for name in CARRIERS:
        sizes = {
            found.subspaces[one].size for one in (name, control_of(name, RANDOM), control_of(name, PRINCIPAL))
        }
        assert len(sizes) == 1
    drawn = [found.subspaces[control_of(one, RANDOM)] for one in (ERASED, ROTATION_HEAD)]
    assert (drawn[0].into[:, 0] - drawn[1].into[:, 0]).abs().max() > 0.01  # each a draw of its own
    held = {kind: found.subspaces[control_of(HARMONICS, kind)] for kind in (RANDOM, PRINCIPAL)}
    data = torch.randn(300, 512, generator=torch.Generator().manual_seed(3)) * torch.linspace(0.1, 3, 512)
    assert held[RANDOM].variance(data) < 0.1
    assert held[RANDOM].variance(data) != held[PRINCIPAL].variance(data)


def test_codes_put_back_say_what_the_image_said(encoder):
    """At a layer before a ReLU, too; and the network is left as it was."""
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    truth = encoder.network.module(encoder.network_input(images))
    for layer in ("relu6", "relu7"):
        here = Encoder(encoder.network, layer)
        torch.testing.assert_close(outputs_of(here, here(images)), truth, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(encoder.network.module(encoder.network_input(images)), truth)


@pytest.mark.slow
def test_what_a_linear_head_reads_is_the_row_space_of_its_weights(encoder, codes):
    module = encoder.network.module
    directions = read_directions(encoder, codes.clamp_min(0), slice(6)).float()
    assert directions.shape == (512, 6)
    weights = module.fc8.weight.detach()
    torch.testing.assert_close(weights @ directions @ directions.T, weights, atol=1e-4, rtol=1e-4)
    both = read_directions(encoder, codes.clamp_min(0), slice(30)).float()
    assert both.shape == (512, 30)
    away = codes - codes @ directions @ directions.T
    said = outputs_of(encoder, away)[:, :6].detach()
    torch.testing.assert_close(said, module.fc8.bias.detach().expand_as(said), atol=1e-3, rtol=0)


def test_behind_a_relu_the_directions_hold_the_gradients(encoder):
    before = Encoder(encoder.network, "relu6")
    images = torch.rand(24, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    seen = before(images * torch.linspace(0.1, 1, 24)[:, None, None, None])
    directions = read_directions(before, seen, slice(6))
    seen = seen.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(outputs_of(before, seen)[:, 0].sum(), seen)
    inside = gradient.double() @ directions
    assert 6 <= directions.shape[1] < 512
    assert inside.square().sum() > 0.8 * gradient.square().sum()


def test_after_the_rounds_a_probe_is_at_chance(codes, angles):
    targets = pose_targets(*angles).double()
    directions, scores = null_space_rounds(codes, targets)
    assert scores[0] > 0.9
    assert scores[-1] < parts.CHANCE
    torch.testing.assert_close(directions.T @ directions, torch.eye(directions.shape[1]).double())
    left = codes.double() - codes.double() @ directions @ directions.T
    held = torch.arange(400) % parts.FOLD == parts.FOLD - 1
    weights = probe_weights(left[~held], targets[~held])
    read = (left[held] - left[~held].mean(0)) @ weights + targets[~held].mean(0)
    assert r2(read, targets[held]) < parts.CHANCE
    few, _ = null_space_rounds(codes, targets, rounds=1)
    assert few.shape[1] == 3


def test_after_erasure_no_line_says_anything(codes, angles):
    """The covariance with what is erased is nil (Belrose et al. 2023), by the fewest dimensions; and the
    change is smaller than that of an orthogonal projection which does as much."""
    targets = pose_targets(*angles, order=4).double()
    into, out = erasure(codes, targets)
    assert into.shape == (512, 9)
    centred = codes.double() - codes.double().mean(0)
    left = centred - centred @ into @ out.T
    covariance = left.T @ (targets - targets.mean(0)) / len(codes)
    assert covariance.abs().max() < 1e-9


def test_erasure_changes_less_than_a_projection_that_erases_as_much():
    source = torch.Generator().manual_seed(2)
    said = torch.randn(20_000, 1, generator=source, dtype=torch.float64)
    codes = torch.randn(20_000, 4, generator=source, dtype=torch.float64) @ torch.randn(
        4, 4, generator=source, dtype=torch.float64
    )
    codes[:, :1] += said
    into, out = erasure(codes, said)
    centred = codes - codes.mean(0)
    across = torch.nn.functional.normalize(centred.T @ (said - said.mean(0)), dim=0)
    change, other = (centred @ into @ out.T).square().sum(), (centred @ across).square().sum()
    assert change < 0.99 * other


def test_harmonics_of_the_azimuth():
    azimuth, elevation = torch.tensor([0.0, 30.0]), torch.tensor([15.0, 30.0])
    plain, fourth = (pose_targets(azimuth, elevation, order) for order in (1, 4))
    torch.testing.assert_close(plain[1], torch.tensor([0.5, 3**0.5 / 2, 1.0]))
    assert fourth.shape == (2, 9)
    torch.testing.assert_close(fourth[1, 6:8], torch.tensor([3**0.5 / 2, -0.5]))  # of 120°


def test_what_has_no_part_is_refused(encoder, codes, angles):
    fc8 = Encoder(encoder.network, "fc8")
    with pytest.raises(CodeError, match="read all 6 numbers of 'fc8'"):
        PoseSubspaces.of(fc8, codes[:, :6], angles, 0)
    maps = Encoder(encoder.network, "relu5")
    with pytest.raises(CodeError, match="gives maps"):
        PoseSubspaces.of(maps, torch.zeros(4, 112, 8, 8), angles, 0)
    with pytest.raises(ConfigError, match="objectron-chair has no head"):
        parts.heads_of(Encoder(load_network("objectron-chair"), "blocks.14"))


# -- edits and measures ------------------------------------------------------------------------------------


def first_number(size=4):
    axis = torch.eye(size)[:, :1]
    return Subspace(HARMONICS, torch.full((size,), 0.5), axis, axis)


def test_edits_do_what_they_say():
    one = first_number()
    layer = LayerCodes({HARMONICS: one}, torch.zeros(0, 4), torch.zeros(0, 3))
    codes, donors = torch.ones(2, 4), torch.full((2, 4), 3.0)

    def edited(edit):
        return layer.edited(SurgeryKey("x", DECODE, edit, HARMONICS), codes, donors)[0].tolist()

    assert edited(UNTOUCHED) == edited(ORIGINAL) == [1, 1, 1, 1]
    assert edited(MEAN_CODE) == [0.5] * 4
    assert edited(REMOVED) == [0.5, 1, 1, 1]
    assert edited(KEPT) == [1, 0.5, 0.5, 0.5]
    assert edited(SWAPPED) == [3, 1, 1, 1]


def test_a_fresh_probe_reads_what_is_left(codes, angles):
    """It is fitted on codes to which the same was done."""
    codes = codes[:, :48]
    targets = pose_targets(*angles)
    into, out = erasure(codes[:200], targets[:200])
    one = Subspace(ERASED, codes[:200].mean(0), into.float(), out.float())
    layer = LayerCodes({ERASED: one}, codes[200:300], targets[200:300])
    azimuth = angles[0][300:]
    off = {}
    for edit in (UNTOUCHED, REMOVED, KEPT):
        key = SurgeryKey("x", CODE, edit, ERASED)
        read = layer.probed(key, layer.edited(key, codes[300:], codes[300:]))
        off[edit] = (torch.remainder(read - azimuth + 180, 360) - 180).abs().median()
    assert off[UNTOUCHED] < 10
    assert off[KEPT] < 10
    assert off[REMOVED] > 25


def test_a_donor_is_another_chair_some_way_round():
    azimuth = torch.tensor([10.0, 350.0, 100.0, 190.0, 280.0, 60.0])
    donors = donors_of(azimuth)
    assert sorted(donors.tolist()) == list(range(6))
    apart = (torch.remainder(azimuth[donors] - azimuth + 180, 360) - 180).abs()
    assert apart.min() >= 60
    assert donors_of(torch.zeros(3)).tolist() != [0, 1, 2]


def patients(count=6, side=32):
    """Blocks of one colour each before grey, at azimuths all round."""
    azimuth = torch.linspace(0, 360, count + 1)[:-1]
    rgba = torch.zeros(count, 4, side, side)
    rgba[:, :3, 8:24, 8:24] = torch.rand(count, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    rgba[:, 3, 8:24, 8:24] = 1
    images = rgba[:, :3] + 0.9 * (1 - rgba[:, 3:])
    rotation = rotation_from_angles(azimuth, torch.full_like(azimuth, 20.0), torch.zeros_like(azimuth))
    ones = torch.ones(count, dtype=torch.long)
    return Patients(
        FreshChairs(rgba, images, rotation, ones, azimuth, torch.full_like(azimuth, 20.0)), images.roll(1, 0)
    )


def always(rotation, limited=False):
    from netinvert.scenes.poses import PoseReading

    return PoseReader("reader", lambda images: PoseReading.of_rotations(rotation[: len(images)]), limited)


def test_the_original_is_without_fault_and_a_swap_has_two_truths():
    some = patients()
    chairs = some.chairs
    own = some.of_images(
        chairs.images, SurgeryKey("x", DECODE, ORIGINAL), some.asked([always(chairs.rotation)])
    )
    assert own["on_chair"].abs().max() == 0
    assert own["ssim"].min() > 0.999
    assert own["colour"].max() < 0.1
    assert own["reader"].abs().max() < 0.1
    same = some.of_images(some.posed, SurgeryKey("x", DECODE, KEPT), [])
    assert same["on_mean"].max() < 1e-5
    assert same["on_chair"].min() > 0.1
    donors = some.donors
    seen = some.of_images(
        chairs.images[donors],
        SurgeryKey("x", DECODE, SWAPPED, HARMONICS),
        some.asked([always(chairs.rotation[donors])]),
    )
    assert seen[f"{DONOR}reader"].max() < 0.1
    assert seen["reader"].min() > 30
    assert (seen[f"{DONOR}colour"] < seen["colour"]).all()


def test_limited_readers_tell_nothing_where_they_cannot_read():
    some = patients()
    wrong = some.chairs.rotation.clone()
    wrong[0] = some.chairs.rotation[3]
    found = some.of_images(
        some.chairs.images, SurgeryKey("x", DECODE, UNTOUCHED), some.asked([always(wrong, limited=True)])
    )
    assert found["reader"].isnan().tolist() == [True] + [False] * 5


# -- what is told ------------------------------------------------------------------------------------------


def operated(count=2 * ENOUGH, without=90.0):
    """Of a decoder "posenet-fc7": whole and part alone are read 5° off; ``without`` the harmonics."""
    names = [name for one in CARRIERS for name in (one, control_of(one, RANDOM), control_of(one, PRINCIPAL))]
    config = StudySurgery(out=Path("out"), decoders=("posenet-fc7",))
    some = patients(count, 16)
    cells = {}
    for key in [*keys_of("posenet-fc7", names, False), *random_keys("posenet-fc7", names)]:
        noise = torch.rand(count, generator=torch.Generator().manual_seed(0)).double()
        if key.method == CODE:
            cells[key] = Cell({edits.PROBE: 10 + noise, edits.FROM_CODE: 10 + noise})
            continue
        off = without if (key.edit, key.subspace) == (REMOVED, HARMONICS) else 5.0
        off = 70.0 if (key.edit, key.subspace) == (KEPT, control_of(HARMONICS, RANDOM)) else off
        measured = dict.fromkeys(("on_chair", "on_mean", "ssim", "ssim_mean", "colour"), 0.2 + noise / 10)
        measured |= {"posenet-judge": off + noise, "images": torch.zeros(min(8, count), 3, 8, 8)}
        if key.edit == SWAPPED:
            measured |= {"posenet-judge": 100 + noise, "donor: posenet-judge": 6 + noise}
            measured["donor: colour"] = 0.9 + noise
        cells[key] = Cell(measured)
    facts = {"numbers": 512, "shares": dict.fromkeys(names, 0.25), "scores": [0.9, 0.0]}
    both = [("posenet-fc7", random) for random in (False, True)]
    return Operated(
        config,
        cells,
        dict.fromkeys(both, facts),
        dict.fromkeys(both, dict.fromkeys(names, 9)),
        ("posenet-judge",),
        (),
        some,
    )


def test_the_answer_comes_first_and_from_the_tables():
    page = surgery_report(operated()).markdown()
    lead = page.split("##")[0]
    assert "9 of the 512 dimensions of the code carry the pose" in lead
    assert "reads the decoded image 90° off, 0 % within 30° (chance: 5°, 100 %); with them alone 5°" in lead
    assert "They have 25 % of the code's variance" in lead
    assert "This is a trial" in lead
    row = next(one for one in page.splitlines() if one.startswith("| posenet-fc7: without the harmonics"))
    assert row.endswith("| holds |")
    assert row.split("|")[2].strip().startswith("85.00")
    other = next(one for one in page.splitlines() if one.startswith("| posenet-fc6: without the harmonics"))
    assert "not enough" in other  # was not measured


def test_what_is_not_more_than_by_chance_is_not_claimed():
    lead = surgery_report(operated(without=5.0)).markdown().split("##")[0]
    assert "it is not shown that 9 of the 512 dimensions of the code carry the pose more than" in lead


def test_of_few_chairs_nothing_is_claimed():
    page = surgery_report(operated(ENOUGH - 1)).markdown()
    assert f"Nothing is claimed of {ENOUGH - 1} chairs: {ENOUGH} are needed." in page
    assert "carry the pose. Without" not in page
    assert "| holds |" not in page


@pytest.mark.parametrize(
    ("expected", "found", "p", "said"),
    [
        (1, Estimate(9.0, 8.0, 10.0), 0.01, "holds"),
        (1, Estimate(-9.0, -10.0, -8.0), 0.01, "refuted: the other way"),
        (1, Estimate(9.0, -1.0, 10.0), 0.2, "not shown"),
        (-1, Estimate(-9.0, -10.0, -8.0), 0.01, "holds"),
        (0, Estimate(1.0, -1.0, 4.0), 0.5, "holds"),
        (0, Estimate(4.0, 2.0, 7.0), 0.01, "not shown"),
        (0, Estimate(9.0, 8.0, 10.0), 0.01, "refuted"),
    ],
)
def test_verdicts(expected, found, p, said):
    asked = SurgeryHypothesis("", "x", "posenet-judge", (REMOVED, HARMONICS), None, expected, 5.0)
    assert surgery_verdict(asked, found, p) == said


def test_the_registered_test_is_of_the_test_seed():
    assert SURGERY.seed == 9011
    assert len({one.says for one in SURGERY_HYPOTHESES}) == len(SURGERY_HYPOTHESES)
    plan = operated()
    asked = replace(
        plan.config,
        decoders=SURGERY.decoders,
        chairs=SURGERY.chairs,
        others=SURGERY.others,
        seed=SURGERY.seed,
    )
    assert replace(plan, config=asked).registered
    assert not replace(plan, config=replace(asked, chairs=99)).registered


# -- the command -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_study_of_three_chairs(command, tmp_path):
    out = tmp_path / "out"
    words = ("study", "surgery", "--decoders", "posenet-fc7", "--chairs", 3, "--others", 48, "--learned", 20)
    words += ("--steps", 2, "--seed", 101, "--threads", 1, "--out", out)
    assert command(*words).code == 0
    page = (out / "report.md").read_text()
    assert "Nothing is claimed of 3 chairs" in page
    rows = list(csv.DictReader(io.StringIO((out / "chairs.csv").read_text())))
    assert {row["edit"] for row in rows} == {ORIGINAL, UNTOUCHED, MEAN_CODE, REMOVED, KEPT, SWAPPED}
    assert {row["part"] for row in rows} > {"", *CARRIERS}
    whole = [row for row in rows if (row["way"], row["edit"]) == (CODE, UNTOUCHED)]
    assert all(float(row["own reading of the code"]) < 40 for row in whole if "random" not in row["decoder"])
    assert {row["decoder"] for row in rows} == {"posenet-fc7", "posenet-fc7 (random weights)"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--decoders", "posenet-fc7", "posenet-fc7"), "names one twice"),
        (("--decoders", "objectron-chair"), "has no head"),
        (("--decoders", "posenet-fc7", "--chairs", "2"), "--chairs is at least 3"),
    ],
)
def test_what_cannot_be(command, tmp_path, words, said):
    found = command("study", "surgery", *words, "--out", tmp_path / "out")
    assert found.code != 0
    assert said in found.err
    assert not (tmp_path / "out").exists()
