"""``netinvert views``: what its commands write, and what bad input gets."""

import json

import pytest
import torch
from PIL import Image

from netinvert.errors import ConfigError
from netinvert.experiments.configs.views import ViewsEvaluate, ViewsGenerate, ViewsTransfer
from netinvert.experiments.views.arithmetic import LEAST, Triples
from netinvert.experiments.views.draw import transform_of
from netinvert.experiments.views.morph import MorphedPairs, half_there
from netinvert.io.files import read_json
from netinvert.models.generator import (
    GeneratorFile,
    load_generator,
    read_generator,
    save_generator,
    transformation,
)
from small_generator import small_generator

FEW = ("--learned", 20)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return small_generator(tmp_path_factory.mktemp("generator") / "small.safetensors", objects=24)


def test_generate_a_sheet_and_an_image_each(command, generator, tmp_path):
    out = tmp_path / "out"
    words = ("--objects", 0, 3, "--azimuths", 30, "--elevations", 20, 30, "--transforms", "turn=10,zoom=1.2")
    assert command("views", "generate", "--generator", generator, *words, "--out", out).code == 0
    names = {path.name for path in out.iterdir()}
    assert {f"object-{k}-a30-e{e}-turn=10,zoom=1.2.png" for k in (0, 3) for e in (20, 30)} <= names
    assert {"sheet.png", "report.html", "manifest.json"} <= names
    done = command("rerun", out, "--out", tmp_path / "again")
    assert (done.code, "bit-identical" in done.out) == (0, True)


@pytest.mark.slow
def test_new_objects_with_poses_and_their_nearest(command, generator, tmp_path):
    out = tmp_path / "out"
    words = ("--random", 3, "--azimuths", 30, *FEW)
    assert command("views", "generate", "--generator", generator, *words, "--out", out).code == 0
    (table,) = (one for one in read_json(out / "report.json")["data"].values() if "columns" in one)
    assert [row["objects"] for row in table["rows"]] == ["new", "known"]
    assert all(row["far"]["value"] > 0 for row in table["rows"])
    assert len([*out.glob("new-*.png")]) == 3


def test_a_turntable_is_a_gif_and_a_page_that_turns(command, generator, tmp_path):
    out = tmp_path / "out"
    words = ("--objects", 2, "--frames", 5)
    assert command("views", "turntable", "--generator", generator, *words, "--out", out).code == 0
    with Image.open(out / "object-2.gif") as gif:
        assert (gif.n_frames, gif.size) == (5, (16, 16))
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert 'data-turn=""' in page
    assert "script-src 'unsafe-inline'" in page
    assert "default-src 'none'" in page


def test_a_morph_is_a_gif_there_and_back(command, generator, tmp_path):
    out = tmp_path / "out"
    words = ("--objects", 1, 2, "--steps", 4)
    said = command("views", "morph", "--generator", generator, *words, "--out", out)
    assert (said.code, "Objects 1 and 2" in said.out) == (0, True)
    with Image.open(out / "morph.gif") as gif:
        assert gif.n_frames == 8
    (plot,) = read_json(out / "report.json")["data"].values()
    for series in plot["panels"][0]["series"]:
        assert series["y"][0] == series["y"][-1] == 0
    assert read_json(out / "manifest.json")["largest_step"] >= 1


def test_half_of_two_images_is_half_there_and_what_is_decided_is_not():
    one, other = torch.zeros(2, 4, 8, 8).unbind(0)
    one[3, :4], other[3, 4:] = 1.0, 1.0
    found = half_there(torch.stack([one, torch.lerp(one, other, 0.5), torch.lerp(one, other, 0.25)]))
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 0.75], dtype=torch.float64))


def test_pairs_and_their_mixtures_begin_and_end_with_the_same_objects(generator):
    drawn_by = load_generator(str(generator))
    morphed = MorphedPairs.of(drawn_by, 3, 0)
    assert torch.equal(morphed.drawn, MorphedPairs.of(drawn_by, 3, 0).drawn)
    assert not torch.equal(morphed.pairs, MorphedPairs.of(drawn_by, 3, 1).pairs)
    for end in (0, -1):
        torch.testing.assert_close(morphed.mixed[:, end], morphed.drawn[:, end])
        (azimuth, elevation), who = morphed.views[1].tolist(), [int(morphed.pairs[1, end])]
        alone = drawn_by.layers(who, azimuth, elevation)
        torch.testing.assert_close(morphed.drawn[1, end], alone[0], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_what_lies_between_many_pairs_beside_mixtures(command, generator, tmp_path):
    out = tmp_path / "out"
    words = ("--steps", 2, "--pairs", 3, *FEW)
    said = command("views", "morph", "--generator", generator, *words, "--out", out)
    assert (said.code, "between two, drawn" in said.out) == (0, True), said.err
    (table,) = (one for one in read_json(out / "report.json")["data"].values() if "columns" in one)
    drawn, mixed, ends = table["rows"]
    assert drawn["more"]["value"] == pytest.approx(drawn["half"]["value"] - mixed["half"]["value"])
    assert mixed["more"] is None
    assert {"posenet-judge", "objectron-chair"} < set(ends)


@pytest.mark.slow
def test_evaluate_and_write_the_card(command, generator, tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(generator.read_bytes())
    words = (
        "views",
        "evaluate",
        "--generator",
        file,
        "--chairs",
        2,
        *FEW,
        "--card",
        "--out",
        tmp_path / "out",
    )
    said = command(*words)
    assert said.code == 0, said.err
    manifest = read_json(tmp_path / "out" / "manifest.json")
    figures, rows = manifest["figures"], {row["method"]: row for row in manifest["rows"]}
    assert list(rows) == ["drawn", "linear interpolation", "nearest known view", "mean chair"]
    assert rows["linear interpolation"]["l1_on_object"]["value"] < figures["l1_on_object"]  # random weights
    assert rows["linear interpolation"]["more"]["value"] < 0
    assert figures["pose_posenet_judge_of_truth_deg"] <= figures["pose_posenet_judge_deg"]
    assert set(manifest["chairs"]) <= set(range(1, 24, 2))
    card = file.with_suffix(".md").read_text()
    assert "netinvert views evaluate --generator mine.safetensors --chairs 2 --seed 0" in card
    assert f"{figures['l1_on_object']:.4g}" in card
    assert read_generator(file).facts["test"]["figures"]["ms_one"] > 0


@pytest.mark.slow
def test_arithmetic_beside_its_control(command, generator, tmp_path):
    words = ("--triples", 4, "--out", tmp_path / "out")
    said = command("views", "arithmetic", "--generator", generator, *words)
    assert said.code == 0, said.err
    rows = {row["space"]: row for row in read_json(tmp_path / "out" / "manifest.json")["rows"]}
    assert list(rows) == [
        *("embedding", "identity 1", "identity 2", "joint 1", "joint 2", "c alone", "a alone")
    ]
    assert rows["a alone"]["nearest"]["value"] == 1  # its nearest object is a itself
    assert rows["c alone"]["nearest"]["value"] == 0


def test_triples_share_no_object_with_those_the_classifier_learns_from():
    has = torch.arange(40) % 3 == 0
    triples = Triples.of(has, 50, 0)
    used = set(triples.told.flatten().tolist()) | set(triples.control.flatten().tolist())
    assert not used & set(triples.others.tolist())
    assert has[triples.told].tolist() == [[True, False, False]] * 50
    assert not has[triples.control].any()
    assert torch.equal(triples.told[:, 2], triples.control[:, 2])
    assert all(len(set(row)) == 3 for row in [*triples.told.tolist(), *triples.control.tolist()])
    assert has[triples.others].float().mean() == 0.5
    with pytest.raises(ConfigError, match=f"{2 * LEAST} each are needed"):
        Triples.of(torch.arange(40) < LEAST, 50, 0)


@pytest.mark.slow
def test_match_pairs_of_chairs(command, generator, tmp_path):
    words = ("--pairs", 2, "--steps", 2, "--flow", "ilk", "--out", tmp_path / "out")
    said = command("views", "match", "--generator", generator, *words)
    assert said.code == 0, said.err
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert [row["method"] for row in manifest["rows"]] == [
        *("along the morph", "direct", "bounding boxes", "no motion")
    ]
    assert len(manifest["pairs"]) == 2
    assert all(pair["first"] != pair["second"] for pair in manifest["pairs"])


@pytest.mark.slow
def test_transfer_between_halves(command, tmp_path):
    words = ("--chairs", 4, "--pixels", 16, "--known", 2, "--samples", 8, "--batch", 4)
    out = tmp_path / "out"
    said = command("views", "transfer", *words, "--out", out)
    assert said.code == 0, said.err
    rows = read_json(out / "manifest.json")["rows"]
    assert {row["known"] for row in rows} == {"2 azimuths", "one elevation"}
    assert len(rows) == 10
    by = {(row["known"], row["method"]): row["l1_on_object"]["value"] for row in rows}
    assert by["2 azimuths", "linear interpolation"] != by["2 azimuths", "nearest known view"]
    assert by["one elevation", "linear interpolation"] == by["one elevation", "nearest known view"]
    assert by["one elevation", "nearest known view"] < by["2 azimuths", "nearest known view"]


def test_a_transformation_as_text():
    assert torch.equal(transform_of("turn=7.5, zoom=1.25"), transformation(turn=7.5, zoom=1.25))
    for text, said in (
        ("turn", "NAME=NUMBER"),
        ("turn=nan", "finite"),
        ("zoom=0", "above 0"),
        ("count=2", "no transformation"),
        ("spin=1", "no transformation"),
    ):
        with pytest.raises(ConfigError, match=said):
            transform_of(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "--objects", 24), "objects 0 to 23"),
        (("turntable", "--objects", 30), "objects 0 to 23"),
        (("morph", "--objects", 0, 99), "objects 0 to 23"),
        (("morph", "--objects", 0), "--objects"),
        (("generate", "--transforms", "spin=2"), "no transformation 'spin'"),
        (("generate", "--azimuths", "nan"), "nan"),
        (("match", "--flow", "farneback"), "tvl1"),
        (("arithmetic", "--attribute", "wheels"), "arms, swivel, stretcher"),
    ],
)
def test_bad_input_before_any_work(command, generator, tmp_path, words, said):
    done = command("views", *words, "--generator", generator, "--out", tmp_path / "out")
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_settings_that_cannot_be(tmp_path):
    with pytest.raises(ConfigError, match="leave out --objects"):
        ViewsGenerate(objects=(1,), random=2, out=tmp_path)
    with pytest.raises(ConfigError, match="give that, not a name"):
        ViewsEvaluate(card=True, out=tmp_path)
    with pytest.raises(ConfigError, match="a power of two"):
        ViewsTransfer(pixels=48, out=tmp_path)


@pytest.mark.parametrize("name", ["evaluate", "match", "arithmetic"])
def test_a_generator_whose_file_tells_nothing(command, generator, tmp_path, name):
    content = read_generator(generator)
    save_generator(tmp_path / "bare.safetensors", GeneratorFile(content.module, {}))
    words = ("--generator", tmp_path / "bare.safetensors", "--out", tmp_path / "out")
    done = command("views", name, *words)
    assert (done.code, "render --views 62" in done.err) == (2, True)


def test_an_elevation_outside_the_training_warns(command, generator, tmp_path):
    words = ("--azimuths", 30, "--elevations", 60, "--out", tmp_path / "out")
    said = command("views", "generate", "--generator", generator, *words)
    assert (said.code, said.err.count("the nearest that it knows is 30°")) == (0, 1)


def test_generators_are_listed(command):
    assert "generators" in command("networks").out
    assert "chairs" in json.loads(command("networks", "--json").out)["generators"]
