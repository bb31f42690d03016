"""The experiments on codes with decoders."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netinvert import Encoder, load_network
from netinvert.cli.app import main
from netinvert.errors import CodeError, ConfigError, NetworkError
from netinvert.experiments.codes import experiments, study
from netinvert.experiments.codes.experiments import (
    EDITS,
    INTERPOLATE,
    ITERATE,
    MIXED,
    ORIGINAL,
    OTHER,
    PERTURB,
    RANDOM,
    STEPS,
    pairs,
    path_figures,
)
from netinvert.experiments.codes.study import EXPERIMENTS
from netinvert.experiments.configs import studies
from netinvert.experiments.held_out_chairs import CodeSubject, FreshChairs
from netinvert.io.files import read_json
from netinvert.io.images import read_image
from netinvert.models.decoder import DecoderFile, save_decoder
from netinvert.models.upconv import Architecture, UpConvolutional
from netinvert.scenes.poses import PoseReading

SIDE = 64


def untrained(layer: str) -> DecoderFile:
    encoder = Encoder(load_network("posenet"), layer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = UpConvolutional(Architecture(encoder.code_shape, (SIDE, SIDE), mask=True))
    return DecoderFile(module, "posenet", layer, encoder.weights_sha256(), {})


def blocks(count: int) -> FreshChairs:
    """Bright blocks before grey instead of chairs, which would have to be rendered."""
    source = torch.Generator().manual_seed(1)
    rgba = torch.zeros(count, 4, SIDE, SIDE)
    for one in rgba:
        top, left = torch.randint(5, 30, (2,), generator=source).tolist()
        one[:3, top : top + 25, left : left + 20] = torch.rand(3, 1, 1, generator=source)
        one[3, top : top + 25, left : left + 20] = 1
    images = rgba[:, :3] * rgba[:, 3:] + 0.8 * (1 - rgba[:, 3:])
    angles = torch.arange(float(count)) * 40
    symmetry = torch.ones(count, dtype=torch.long)
    symmetry[-1] = 4
    return FreshChairs(rgba, images, torch.eye(3).expand(count, 3, 3), symmetry, angles, angles / 10)


@pytest.fixture(scope="module", params=[pytest.param("fc8", marks=pytest.mark.slow), "relu5"])
def subject(request) -> CodeSubject:
    decoder = untrained(request.param).decoder("try")
    encoder, judge = decoder.encoder(), Encoder(load_network("posenet-judge"), "fc6")
    others = torch.rand(20, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    return CodeSubject(decoder, encoder, judge, blocks(5), encoder(others))


ASKED = {"decoders": ("x",), "out": Path("out"), "seed": 0}


@pytest.mark.slow
def test_an_unchanged_code_is_the_measure_of_all_edits(subject, monkeypatch):
    few = ("as it is", "half left out", "noise ¼ σ", "noise ½ σ", OTHER)
    monkeypatch.setattr(experiments, "EDITS", {name: EDITS[name] for name in few})
    found = PERTURB.measure(subject, studies.StudyPerturb(**ASKED))
    rows = {row["code"]: row for row in found.rows}
    assert list(rows) == [ORIGINAL, *few]
    assert set(rows["as it is"]) == set(PERTURB.columns)
    for name in ("changed", "moved"):
        none, less, more = (rows[edit][name] for edit in ("as it is", "noise ¼ σ", "noise ½ σ"))
        assert none.value == none.low == none.high == 0
        assert more.value > less.value > less.low > 0
    assert rows["as it is"]["ratio"] == 1
    assert rows["as it is"]["turned"].value == pytest.approx(0, abs=1e-3)
    again = PERTURB.measure(subject, studies.StudyPerturb(**ASKED | {"seed": 1}))
    other = {row["code"]: row for row in again.rows}
    assert other["as it is"] == rows["as it is"]
    assert other["half left out"] != rows["half left out"]
    assert rows[OTHER]["image error"].low > 0
    assert rows[ORIGINAL]["pose"] == subject.pose_figures(subject.originals)["pose"]
    assert "half left out" in PERTURB.sentence(found.rows) or "noise" in PERTURB.sentence(found.rows)
    assert all(len(images) == len(few) + 1 for _, images in found.images)


def test_the_first_round_is_the_decoded_image(subject):
    found = ITERATE.measure(subject, studies.StudyIterate(**ASKED, rounds=3))
    original, first, second, third = found.rows
    assert [row["round"] for row in found.rows] == [0, 1, 2, 3]
    assert all(original[name].value == 0 for name in ("image error", "on the chair", "code error"))
    assert original["spread"] == 1
    assert first["moved"].value == 0
    assert first["image error"] == first["step"]
    errors = subject.image_errors(subject.decoded, subject.originals)
    assert first["image error"].value == pytest.approx(errors.mean().item())
    assert errors.min() <= first["image error"].low < first["image error"].high <= errors.max()
    assert second["moved"] == second["step"]
    assert 0 < third["moved"].value <= second["step"].value + third["step"].value + 1e-9
    assert set(first) == set(ITERATE.columns)
    assert "to 3 rounds" in ITERATE.sentence(found.rows)


def test_random_codes_against_the_chairs_own(subject):
    found = RANDOM.measure(subject, studies.StudyRandom(**ASKED))
    own, *drawn = found.rows
    assert own["codes"] == "of chairs"
    assert own["norm"] == 1
    assert len(drawn) == 3
    for row in found.rows:
        assert set(row) == set(RANDOM.columns)
        assert 3 / 24 <= row["sure"].low <= row["sure"].high <= 1
        assert 0 <= row["nearest code"].value <= 1


def test_paths_between_codes(subject):
    found = INTERPOLATE.measure(subject, studies.StudyInterpolate(**ASKED))
    for path in ("straight", "on the sphere", MIXED):
        rows = [row for row in found.rows if row["path"] == path]
        assert sum(row["pairs"] for row in rows) == 4  # one of five has no front
        for row in rows:
            assert set(row) == set(INTERPOLATE.columns)
            assert 1 / STEPS <= row["largest step"].value <= 1
            assert 0 <= row["straightness"].value <= 1
    assert all(len(images) == STEPS + 3 for _, images in found.images)


def test_errors_on_the_chair_do_not_see_the_background(subject):
    originals, masks = subject.originals, subject.chairs.masks
    assert torch.equal(subject.chair_errors(originals), torch.zeros(5))
    assert torch.equal(subject.chair_errors(originals * masks), torch.zeros(5))
    wrong = subject.chair_errors(originals - 0.1 * masks)
    assert (wrong > 0).all()
    torch.testing.assert_close(subject.chair_errors(originals + 0.3 * masks), 3 * wrong)


def test_the_overlap_of_masks_is_that_of_sets(subject):
    masks = subject.decoder.mask(subject.codes) > 0.5
    true = subject.chairs.masks > 0.5
    by_hand = [float((a & b).sum() / (a | b).sum().clamp_min(1)) for a, b in zip(masks, true, strict=True)]
    assert subject.overlap(subject.codes).value == pytest.approx(sum(by_hand) / 5)


def test_a_subject_needs_two_chairs_and_its_own_encoder(subject):
    with pytest.raises(ConfigError, match="two chairs or more"):
        CodeSubject(subject.decoder, subject.encoder, subject.estimator, blocks(1), subject.bank)
    with pytest.raises(CodeError, match="belongs to layer"):
        CodeSubject(
            subject.decoder,
            Encoder(load_network("posenet"), "relu6"),
            subject.estimator,
            blocks(2),
            subject.bank,
        )


def test_sureness_is_the_confidence_of_the_estimator(subject):
    sure = subject.sureness(subject.originals)
    assert sure.shape == (len(subject.originals),)
    assert bool(((sure > 0) & (sure < 1)).all())

    def reads(output: torch.Tensor) -> PoseReading:
        return PoseReading.of_rotations(torch.eye(3).expand(len(output), 3, 3))

    quiet = dataclasses.replace(subject.estimator.network, read_pose=reads)
    silent = dataclasses.replace(subject, estimator=Encoder(quiet, "output"))
    with pytest.raises(NetworkError, match="how sure"):
        silent.sureness(subject.originals)


def test_pairs_are_of_chairs_with_one_front():
    symmetry = torch.tensor([1, 4, 1, 1, 0, 2, 1])
    first, second = pairs(symmetry, 5)
    assert sorted(first.tolist()) == sorted(second.tolist()) == [0, 2, 3, 6]
    assert (first != second).all()
    with pytest.raises(ConfigError, match="two with one front"):
        pairs(torch.tensor([1, 4]), 0)


@given(st.floats(1, 170), st.booleans())
def test_an_even_turn(whole, back):
    turns = torch.full((1, 8), (-whole if back else whole) / 8)
    found = path_figures(turns)
    for name, value in (("one way", 1.0), ("straightness", 1.0), ("largest step", 1 / 8), ("midway", 0.5)):
        assert found[name].item() == pytest.approx(value, abs=1e-5)


def test_uneven_turns():
    jump, zigzag, nothing = torch.zeros(1, 8), torch.tensor([[20.0, -10.0] * 4]), torch.zeros(1, 8)
    jump[0, 6] = -90
    found = path_figures(torch.cat([jump, zigzag, nothing]))
    assert found["one way"].tolist() == [1, 0, 1]
    torch.testing.assert_close(found["straightness"], torch.tensor([1, 1 / 3, 0]))
    torch.testing.assert_close(found["largest step"], torch.tensor([1, 1 / 6, 0]))
    torch.testing.assert_close(found["midway"], torch.tensor([0, 0.5, 0]))


@pytest.mark.slow
def test_all_commands_leave_a_report_and_are_repeated_to_the_bit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "FEW", 3)
    monkeypatch.setattr(study, "fresh_chairs", lambda count, seed, side: blocks(count))
    path = tmp_path / "try.safetensors"
    save_decoder(path, untrained("fc8"))
    for command in ("perturb", "interpolate", "random", "iterate"):
        out = tmp_path / command
        words = ["study", command, "--decoder", str(path), "--chairs", "3", "--out", str(out)]
        assert main(words) == 0
        said = capsys.readouterr()
        assert "try (fc8)" in said.out
        assert f"open {(out / 'report.html').resolve()}" in said.out
        manifest, table = read_json(out / "manifest.json"), read_json(out / "report.json")
        assert (manifest["command"]["command"], manifest["command"]["chairs"]) == (f"study {command}", 3)
        assert manifest["decoders"][0]["layer"] == "fc8"
        rows = [{**dict.fromkeys(EXPERIMENTS[f"study {command}"].columns), **row} for row in manifest["rows"]]
        assert table["data"]["try"]["rows"] == [
            {name: value for name, value in row.items() if name != "decoder"} for row in rows
        ]
        assert "try (fc8)" in (out / "report.html").read_text()
        assert read_image(out / "sheet.png").shape[2] > 200
    assert main(["rerun", str(out), "--out", str(tmp_path / "again")]) == 0
    assert "\nbit-identical" in capsys.readouterr().out
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["perturb", "--chairs", "1"], "--chairs is at least 2, got 1"),
        (["random", "--data", "nowhere"], "no dataset at"),
        (["iterate", "--rounds", "0"], "at least 1, got 0"),
    ],
)
def test_bad_input(tmp_path, capsys, words, message):
    path = tmp_path / "try.safetensors"
    save_decoder(path, untrained("fc8"))
    assert main(["study", *words, "--decoder", str(path), "--out", str(tmp_path / "a")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_decoder_that_is_not_there(tmp_path, capsys):
    assert main(["study", "random", "-D", str(tmp_path / "no.safetensors"), "-o", str(tmp_path / "a")]) == 2
    assert "does not exist" in capsys.readouterr().err
