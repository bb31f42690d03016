"""``netinvert study features``: changes, controls, what is made of the readings."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.evaluation.statistics import means_and_tests
from netinvert.experiments.configs.studies import StudyFeatures
from netinvert.experiments.features import registration as named
from netinvert.experiments.features.changes import (
    ChangedScene,
    CutOut,
    StudiedView,
    edges_alone,
    elsewhere,
    high_pass,
    low_pass,
    with_turned_part,
    without_outline,
    without_texture,
)
from netinvert.experiments.features.measures import OCTANTS, FeatureReadings
from netinvert.experiments.features.report import features_report
from netinvert.experiments.features.tables import Studied
from netinvert.experiments.registered import ENOUGH, FEATURES
from netinvert.io.cells import Cell
from netinvert.io.files import read_json
from netinvert.scenes.cameras import Camera, turn_about
from netinvert.scenes.catalogue import make_object
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO

CHAIR = make_object("chairs", 101_000_000)
CAMERA = Camera.orbit(12.7, 20.0, distance=1.9, size=64)


@pytest.fixture(scope="module")
def changes():
    view = StudiedView(CHAIR, CAMERA, STUDIO, np.random.default_rng(0))
    return {one.name: one for one in view.changes()}


# -- changes and their controls ------------------------------------------------------------------------------


def test_a_control_covers_as_much_elsewhere():
    mask = torch.rand(40, 40, generator=torch.Generator().manual_seed(0))
    part = torch.zeros(40, 40, dtype=torch.bool)
    part[5:20, 8:20] = True
    for seed in range(5):
        other = elsewhere(mask, part, np.random.default_rng(seed))
        assert not (other & part).any()
        assert abs(float((mask * other).sum() - (mask * part).sum())) <= 0.5
    assert elsewhere(mask, ~part, np.random.default_rng(0)) is None


def test_what_is_done_to_a_part_is_done_to_nothing_else(changes):
    bare = changes[named.NO_SHADOW].cut
    for part in named.PARTS:
        for change in (named.covered(part), named.repainted(part)):
            own, other = changes[change], changes[named.control(change)]
            assert own.share == pytest.approx(other.share, abs=1 / float(bare.mask.sum()))
            touched = [(one.cut.colour - bare.colour).abs().sum(0) > 0 for one in (own, other)]
            assert touched[0].any()
            assert not (touched[0] & touched[1]).any()
        assert torch.equal(changes[named.repainted(part)].cut.mask, bare.mask)
        left = changes[named.removed(part)].cut
        assert left.mask.sum() < bare.mask.sum()
        assert (left.mask <= bare.mask + 0.51).all()  # as antialiasing allows


def test_only_a_whole_object_keeps_its_shadow(changes):
    assert changes[named.UNCHANGED].cut.shadow.max() > 0.3
    assert changes[named.UNSHADED].cut.shadow.max() > 0.3
    assert not any(changes[named.removed(part)].cut.shadow.any() for part in named.PARTS)
    assert not changes[named.SILHOUETTE].cut.shadow.any()
    paper = torch.full((3, 64, 64), 0.8)
    same = changes[named.UNCHANGED].before(paper) - changes[named.NO_SHADOW].before(paper)
    assert same.max() <= 0.01  # a shadow makes nothing brighter
    assert same.min() < -0.3


def test_all_parts_turned_are_the_object_seen_in_the_pose_that_is_told():
    turned = CHAIR
    for part in CHAIR.parts:
        turned = with_turned_part(turned, part, 90)
    pose = np.asarray(CAMERA.rotation @ turn_about(90.0, 2))
    other = replace(CAMERA, rotation=pose, position=pose[2] * CAMERA.distance)
    light = replace(STUDIO, shadow=False)
    one, two = Renderer(turned).image(CAMERA, light), Renderer(CHAIR).image(other, light)
    assert np.abs(one.mask.astype(int) - two.mask.astype(int)).mean() < 0.5
    assert np.abs(one.mask.astype(int) - Renderer(CHAIR).image(CAMERA, light).mask.astype(int)).mean() > 5


def test_a_part_is_turned_alone():
    turned = with_turned_part(CHAIR, "back", 180)
    back = CHAIR.part == CHAIR.part_index("back")
    before, after = CHAIR.vertices[CHAIR.faces], turned.vertices[turned.faces]
    np.testing.assert_allclose(after[~back], before[~back])
    np.testing.assert_allclose(after[back], before[back] * [-1, -1, 1], atol=1e-6)


def test_flat_surfaces_have_one_colour():
    plain = CHAIR.recoloured(dict.fromkeys(CHAIR.parts, (0.2, 0.4, 0.1)))
    view = StudiedView(plain, CAMERA, STUDIO, np.random.default_rng(0))
    found = {one.name: one.cut for one in view.changes()}
    inside = found[named.UNCHANGED].mask == 1
    spread = {name: found[name].colour[:, inside].std(1).max() for name in (named.UNCHANGED, named.UNSHADED)}
    assert spread[named.UNSHADED] < 0.25 * spread[named.UNCHANGED]


def test_texture_off_keeps_the_mean():
    plain = without_texture(CHAIR)
    assert all(one.texture is None for one in plain.materials)
    for own, flat in zip(CHAIR.materials, plain.materials, strict=True):
        mean = 1 if own.texture is None else own.texture.mean((0, 1))
        np.testing.assert_allclose(flat.colour, own.colour * np.asarray(mean), rtol=1e-5)


def test_the_interior_alone_has_no_step_where_the_object_ends():
    mask = torch.zeros(32, 32)
    mask[8:20, 10:24] = 1
    colour = torch.tensor([0.9, 0.3, 0.1])[:, None, None] * mask
    found = without_outline(CutOut(colour, mask, 0 * mask))
    image = found.before(torch.zeros(3, 32, 32))
    assert (image[:, found.mask == 1] - torch.tensor([0.9, 0.3, 0.1])[:, None]).abs().max() < 1e-4
    assert (found.mask == 1).sum() > 1.5 * mask.sum()


def test_filters_pass_half_at_their_cutoff_and_miss_nothing_together():
    x = torch.arange(64) + 0.5
    wave = 0.5 + 0.4 * torch.cos(2 * math.pi * 8 * x / 64).expand(1, 3, 64, 64)
    low = low_pass(wave, 8)
    middle = np.s_[..., 16:-16]  # the border is continued by reflection
    torch.testing.assert_close(low[middle] - 0.5, 0.5 * (wave[middle] - 0.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(low + high_pass(wave, 8) - 0.5, wave)
    flat = torch.full((1, 3, 17, 17), 0.3)
    torch.testing.assert_close(low_pass(flat, 4), flat)
    assert edges_alone(flat).min() == 1


def test_mirroring_mirrors_the_pose(changes):
    azimuth = [
        float(torch.atan2(*one.rotation[2, :2])) for one in (changes["unchanged"], changes["mirrored"])
    ]
    assert azimuth[0] == pytest.approx(-azimuth[1], abs=1e-6)


# -- what is made of the readings --------------------------------------------------------------------------


def cell(count, error, azimuth=None, share=0.25):
    """One background; the changes of ``error``, whose columns are readers."""
    names = list(error)
    values = torch.tensor([error[name] for name in names]).expand(count, 2, -1, -1)
    read = torch.zeros_like(values) if azimuth is None else torch.tensor(azimuth)[:, None].expand_as(values)
    flat = torch.full((count, len(names)), 0.0)
    tensors = {"error": values, "azimuth": read, "truth": flat, "other": flat + 180, "share": flat + share}
    return Cell(tensors, {"changes": names, "names": ["a chair"] * count})


def readings(count=ENOUGH, limited=(False, False)):
    one = cell(count, {named.UNCHANGED: [5.0, 60.0], named.SILHOUETTE: [10.0, 60.0]})
    back = named.turned("back", 180)
    two = cell(1, {named.UNCHANGED: [5.0, 60.0], back: [170.0, 60.0]}, [0.0, 175.0], 0.4)
    return FeatureReadings.joined([one, two], ["net", "none"], limited)


def test_effects_are_paired_and_what_an_object_lacks_is_left_out():
    found = readings()
    assert found.changes == (named.UNCHANGED, named.SILHOUETTE, "back turned by 180°")
    effect = found.effects(named.SILHOUETTE, named.UNCHANGED, "ratio")
    assert effect[:-1, :, 0].exp() == pytest.approx(2)
    assert effect[:-1, :, 1].exp() == pytest.approx(1)
    assert effect[-1].isnan().all()
    assert found.effects("no such change", named.UNCHANGED, "ratio").isnan().all()
    assert found.effects(named.SILHOUETTE, named.UNCHANGED, "degrees")[0, 0].tolist() == [5.0, 0.0]
    assert set(found.octants().tolist()) == {OCTANTS.index("front")}


def test_who_follows_a_turned_part():
    found = readings()
    assert found.follows("back turned by 180°")[-1].eq(1).all()
    assert found.over_area("back turned by 180°")[-1, 0, 0] == pytest.approx(0.6)
    assert found.measured("back turned by 180°", "flips")[-1].eq(1).all()


WHOLE = {key: [10.0] for key in (named.UNCHANGED, named.SILHOUETTE, named.INTERIOR, named.NO_SHADOW)}


def studied_of(errors, count=2 * ENOUGH, read=None):
    """Of the first reader: all objects are alike but for the ``errors`` (N,), and the azimuths that are
    ``read`` (N,), by change; a turned part has a tenth of the pixels."""
    found = cell(count, {key: [1.0] for key in errors}, share=0.1)
    zero = torch.zeros(count)
    for name, values in (("error", errors), ("azimuth", read or {})):
        each = [torch.as_tensor(values.get(key, zero)).expand(count) for key in errors]
        found.tensors[name] = torch.stack(each, 1)[:, None, :, None].expand(-1, 2, -1, -1)
    readings = FeatureReadings.joined([found], ["net"], [False])
    return Studied(readings, "net", 0, StudyFeatures(out=Path("out")), count)


def page_of(studied):
    empty = torch.zeros(8, 8)
    scene = ChangedScene(named.UNCHANGED, CutOut(empty.expand(3, -1, -1), empty, empty), torch.eye(3))
    return features_report(studied, [scene], [torch.zeros(3, 8, 8)] * 2).markdown()


def test_what_reads_nothing_follows_no_part():
    """Half of its readings are nearer to any azimuth, turned or not."""
    asked = next(one for one in named.HYPOTHESES if one.measure == "follows")
    errors = {**WHOLE, asked.change: [10.0], named.covered("back"): [10.0]}
    anything = torch.linspace(-180, 171, 2 * ENOUGH)
    blind = studied_of(errors, read={asked.change: anything, named.NO_SHADOW: anything.roll(7)})
    assert blind.readings.follows(asked.change).mean() == pytest.approx(0.5, abs=0.03)
    assert blind.readings.tested(asked, None).found.value < 0
    sees = studied_of(errors, read={asked.change: torch.tensor(175.0)})
    assert sees.readings.tested(asked, None).found.value == pytest.approx(0.9)
    assert "turned round by itself" not in page_of(blind)
    assert (
        "turned round by itself, the back takes the azimuth with it in 100 % of readings "
        "(0 % where it is not turned), being 10 % of the object's pixels"
    ) in page_of(sees)


@pytest.mark.parametrize(
    ("change", "times", "verdict"),
    [
        (named.MIRRORED, 0.5, "holds"),  # no worse
        (named.MIRRORED, 1.02, "differs, by less than 15 %"),
        (named.MIRRORED, 1.5, "refuted"),
        (named.UNTEXTURED, 0.5, "refuted"),  # no difference
        (named.UNTEXTURED, 1.02, "differs, by less than 15 %"),
        (named.UNTEXTURED, 1.0, "no difference beyond 15 %"),
        (named.UNSHADED, 1.5, "holds"),  # worse
        (named.UNSHADED, 0.5, "refuted: the other way"),
    ],
)
def test_verdicts_say_what_contradicts_the_sentence(change, times, verdict):
    studied = studied_of({named.UNCHANGED: [10.0], change: [10.0 * times]})
    says = next(one.says for one in named.HYPOTHESES if one.change == change)
    (line,) = [one for one in page_of(studied).splitlines() if says in one]
    assert line.split("|")[-2].strip() == verdict


@pytest.mark.parametrize(
    ("spread", "times", "said"),
    [
        (0.0, 1.5, "`net` reads the orientation of a chair above all from its back: without its back"),
        (0.0, 1.0, "`net` is thrown off by no part of a chair by more than 15 % above as many pixels"),
        (2.0, 1.0, "Of no part of a chair is it shown that `net` is thrown off more without it: without"),
    ],
)
def test_what_is_not_shown_is_not_denied(spread, times, said):
    away = torch.linspace(-1, 1, 2 * ENOUGH).mul(spread).exp()
    covered = named.covered("back")
    pairs = {named.control(covered): [10.0], covered: [10.0], named.removed("back"): 10 * times * away}
    assert said in page_of(studied_of(WHOLE | pairs))


def test_limited_readers_are_asked_only_where_they_read_the_original():
    found = readings(limited=(False, True))
    assert found.error[..., 0].isfinite().any()
    assert found.error[..., 1].isnan().all()


def test_of_few_objects_nothing_is_claimed():
    asked = named.Hypothesis("worse", named.SILHOUETTE, named.UNCHANGED, expected=1)
    test = readings().tested(asked, None)
    assert (math.exp(test.found.value), test.count) == (pytest.approx(2), ENOUGH)
    assert test.p < 0.001
    assert readings(ENOUGH - 1).tested(asked, None) is None
    blind = replace(asked, measure="gain")
    assert readings().tested(blind, 1).found.value == pytest.approx(math.log(2))
    assert readings().tested(blind, None) is None


def test_means_need_values():
    with pytest.raises(ConfigError, match="some"):
        means_and_tests(torch.full((4, 1), torch.nan), 10)


def test_what_is_registered_is_of_the_test_seed():
    assert FEATURES.seed == 9006
    assert named.HYPOTHESES[0].change == "back removed"
    assert len({one.says for one in named.HYPOTHESES}) == len(named.HYPOTHESES)


# -- the command ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_study_of_two_chairs(command, tmp_path):
    out = tmp_path / "out"
    words = ("study", "features", "--network", "posenet-judge", "--chairs", 2, "--learned", 20, "--seed", 101)
    assert command(*words, "--out", out).code == 0
    page = (out / "report.md").read_text()
    assert "This is a trial" in page
    assert "not enough" in page
    assert "Not measured, for 20 objects are needed: back (in sight of 2 objects" in page
    rows = list(csv.DictReader(io.StringIO((out / "chairs.csv").read_text())))
    assert {row["background"] for row in rows} == set(named.BACKGROUNDS)
    assert {"unchanged", "back removed", "high-pass, 32 cycles"} <= {row["change"] for row in rows}
    assert float(rows[0]["posenet-judge: error"]) < 60
    assert {row["object"] for row in rows} == {"chair 101000000", "chair 101000001"}
    assert list(read_json(out / "manifest.json")["weights_sha256"]) == ["posenet-judge", "random:0"]


@pytest.mark.slow
def test_objects_without_parts(command, tmp_path):
    mesh = tmp_path / "box.obj"
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\n")
    words = ("study", "features", "--objects", mesh, "--network", "posenet-judge", "--learned", 20)
    assert command(*words, "--out", tmp_path / "out").code == 0
    page = (tmp_path / "out" / "report.md").read_text()
    assert "What parts carry was not measured" in page
    assert "silhouette alone" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--networks", "posenet", "hog"), "these do: posenet, posenet-only"),
        (("--networks", "posenet", "posenet"), "names one twice"),
        (("--objects", "chair"), "no objects 'chair'"),
    ],
)
def test_bad_input(words, said, command, tmp_path):
    found = command("study", "features", *words, "--out", tmp_path / "out")
    assert found.code == 2
    assert said in found.err
