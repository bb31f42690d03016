"""What codes keep: known changes, what is measured of them, and what probes read."""

import math

import pytest
import torch

from netinvert import Network, Preprocessing
from netinvert.cli.app import main
from netinvert.errors import CodeError, ConfigError
from netinvert.experiments import attributes
from netinvert.experiments.attribute_measures import (
    MEASURES,
    AttributeReader,
    agreement,
    background_colour,
    centroid,
    checked_decoders,
    found_alpha,
    log_size,
    mean_code_distance,
    score_attribute,
    shuffled,
)
from netinvert.experiments.attribute_report import (
    PIXELS,
    RANDOM,
    AttributeFindings,
    attributes_answer,
    attributes_report,
    gain_table,
    probe_table,
    scores_by_chair,
)
from netinvert.experiments.attribute_series import (
    ATTRIBUTES,
    SETTINGS,
    SIZE,
    attribute_series,
    chroma,
    contrasted,
    hue_rotated,
    moved,
    painted,
    render_chairs,
    resized,
)
from netinvert.experiments.configs.studies import StudyAttributes
from netinvert.io.files import read_json
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def things(count: int = 3, side: int = 64, wide: int = 1) -> torch.Tensor:
    """RGBA of coloured blobs in the middle, with a soft border and a shadow beside them."""
    rgba = torch.zeros(count, 4, side * wide, side * wide)
    middle = side * wide // 2
    rgba[:, :3, middle - 9 : middle + 11, middle - 7 : middle + 6] = 0.25 + 0.4 * torch.rand(
        count, 3, 20, 13, generator=source()
    )
    rgba[:, 3, middle - 9 : middle + 11, middle - 7 : middle + 6] = 1
    rgba[:, 3, middle - 9, middle - 7 : middle + 6] = 0.8
    rgba[:, 3, middle + 11 : middle + 13, middle - 7 : middle + 6] = 0.5  # the shadow
    return rgba


# -- changes -------------------------------------------------------------------------------------------


def test_hues_come_back_after_a_whole_turn_and_turn_by_what_is_asked():
    rgba = things()
    once = hue_rotated(rgba, torch.full((3,), 360.0))
    assert torch.allclose(once, rgba, atol=1e-6)
    half = hue_rotated(hue_rotated(rgba, torch.full((3,), 20.0)), torch.full((3,), 340.0))
    assert torch.allclose(half, rgba, atol=1e-5)
    red = torch.tensor([0.6, 0.3, 0.3])
    image = torch.cat([red, torch.ones(1)])[None, :, None, None].expand(1, 4, 2, 2)
    turned = hue_rotated(image, torch.tensor([120.0]))[0, :3, 0, 0]
    assert torch.allclose(turned, red[[1, 0, 2]], atol=1e-6)  # red to green
    assert torch.allclose(turned.mean(), red.mean())


@pytest.mark.parametrize("hue", [0.0, 77.0, 215.0])
def test_painted_objects_have_the_hue_and_lightness_they_were_given(hue):
    rgba = painted(things(), torch.full((3,), 0.35), torch.full((3,), hue))
    found = MEASURES["hue"](rgba[:, :3], rgba[:, 3:])
    angle = torch.rad2deg(torch.atan2(found[:, 1], found[:, 0])) % 360
    assert torch.allclose(angle, torch.full((3,), hue), atol=0.01)
    assert torch.allclose(found.norm(dim=1), torch.full((3,), 0.35 * 0.6), atol=1e-4)
    assert torch.allclose(
        MEASURES["lightness"](rgba[:, :3], rgba[:, 3:]), torch.full((3, 1), 0.35), atol=1e-4
    )
    grey = painted(things(), torch.full((3,), 0.35))
    assert chroma(grey[:, :3].movedim(1, -1)).abs().max() < 1e-6


def test_shadows_stay_black_when_objects_are_painted():
    rgba = painted(things(), torch.full((3,), 0.35), torch.full((3,), 90.0))
    shadow = rgba[:, 3] == 0.5
    assert shadow.any()
    assert rgba[:, :3].movedim(1, -1)[shadow].abs().max() == 0


def test_the_centroid_moves_by_exactly_as_much_as_the_image():
    rgba = things(4)
    pixels = torch.tensor([[0, 0], [3, -2], [-8, 5], [8, 8]])
    after = moved(rgba, pixels, 64)
    assert torch.equal(after[0], rgba[0])
    shift = centroid(after, after[:, 3:]) - centroid(rgba, rgba[:, 3:])
    assert torch.allclose(shift, pixels.float(), atol=1e-4)


def test_a_window_of_a_larger_image_shows_what_was_outside():
    wide = torch.rand(2, 4, 32, 32, generator=source())
    assert torch.equal(moved(wide, torch.zeros(2, 2), 16), wide[:, :, 8:24, 8:24])
    there = moved(wide, torch.tensor([[3, 0], [0, -2]]), 16)
    assert torch.equal(there[0], wide[0, :, 8:24, 5:21])
    assert torch.equal(there[1], wide[1, :, 10:26, 8:24])


def test_sizes_are_measured_as_they_were_made():
    wide = things(3, wide=2)
    sides = torch.tensor([128, 96, 144])
    rgba = resized(wide, sides, 64)
    assert torch.allclose(rgba[0], wide[0, :, 32:96, 32:96] * (wide[0, 3:, 32:96, 32:96] > 0), atol=1e-5)
    measured = log_size(rgba[:, :3], rgba[:, 3:])[:, 0]
    # soft borders count less where the image is small
    assert torch.allclose(measured - measured[0], (sides / 128).log(), atol=0.06)
    with pytest.raises(ConfigError, match="even"):
        resized(wide, torch.tensor([127, 96, 128]), 64)


def test_contrast_is_about_the_mean():
    images = 0.3 + 0.4 * torch.rand(2, 3, 8, 8, generator=source())
    half = contrasted(images, torch.tensor([0.5, 1.0]))
    assert torch.allclose(half[1], images[1])
    assert torch.allclose(half[0].mean(), images[0].mean(), atol=1e-6)
    change = MEASURES["contrast"](half, images[:, :1]) - MEASURES["contrast"](images, images[:, :1])
    assert torch.allclose(change[:, 0], torch.tensor([math.log(0.5), 0.0]), atol=1e-5)


# -- measures ------------------------------------------------------------------------------------------


def test_the_background_is_measured_beside_the_object_and_its_shadow():
    rgba, colour = things(1), torch.tensor([0.1, 0.5, 0.8])
    images = colour[None, :, None, None] + rgba[:, 3:] * (rgba[:, :3] - colour[None, :, None, None])
    assert torch.allclose(background_colour(images, rgba[:, 3:])[0], colour)
    everywhere = torch.ones_like(rgba[:, 3:])
    assert bool(background_colour(images, everywhere).isfinite().all())
    found = found_alpha(images)
    assert found[0, 0, :8].max() == 0
    assert found[0, 0, 26:40, 28:36].mean() > 0.9
    assert torch.allclose(centroid(images, found), centroid(images, rgba[:, 3:]), atol=1.0)


def test_an_empty_mask_is_measured_as_something_finite():
    images, nothing = torch.rand(2, 3, 8, 8, generator=source()), torch.zeros(2, 1, 8, 8)
    for measure in MEASURES.values():
        assert bool(measure(images, nothing).isfinite().all())


def test_agreement_of_the_truth_of_half_of_it_and_of_noise():
    truth = torch.randn(50, 4, 2, generator=source())
    same = agreement(truth, truth, "value", source(1))
    assert (same.r2, same.line, same.slope, same.error) == pytest.approx((1, 1, 1, 0))
    assert same.error_baseline > 1
    of_chair = 5 * torch.randn(50, 1, 2, generator=source(3))
    faint = agreement(0.5 * truth + of_chair, truth, "value", source(1))
    assert (faint.r2, faint.line, faint.slope) == pytest.approx((0.75, 1, 0.5), abs=1e-4)
    noise = agreement(torch.randn(50, 4, 2, generator=source(2)), truth, "value", source(1))
    assert noise.r2 < -0.5
    assert noise.line < 0.05
    assert noise.error == pytest.approx(noise.error_baseline, rel=0.2)


def test_agreement_of_angles_and_classes():
    degrees = 360 * torch.rand(40, 4, generator=source())
    circle = torch.stack([torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()], -1)
    off = torch.deg2rad(degrees + 10)
    found = agreement(0.3 * torch.stack([off.cos(), off.sin()], -1), circle, "angle", source(1))
    assert found.error == pytest.approx(10, abs=1e-3)
    assert 70 < found.error_baseline < 110
    classes = torch.eye(4)[torch.randint(0, 4, (200, 1), generator=source())]
    right = agreement(classes, classes, "class", source(1))
    assert right.accuracy == 1
    assert right.accuracy_baseline == pytest.approx(0.25, abs=0.12)


def test_shuffled_labels_are_the_same_labels():
    truth = torch.arange(24.0).reshape(6, 4, 1)
    mixed = shuffled(truth, source())
    assert sorted(mixed.flatten().tolist()) == truth.flatten().tolist()
    assert not torch.equal(mixed, truth)
    assert not torch.equal(mixed[:, 0] % 4, truth[:, 0] % 4)  # settings too


# -- scenes and the whole ------------------------------------------------------------------------------


COUNT = 10


@pytest.fixture(scope="module")
def renders():
    pytest.importorskip("embreex")
    return render_chairs(COUNT, 404)


@pytest.mark.slow
def test_every_attribute_varies_as_it_says_and_alone(renders):
    for name, attribute in ATTRIBUTES.items():
        one = attribute_series(renders, name, 0)
        count, settings = one.truth.shape[:2]
        assert one.images.shape == (count, settings, 3, SIZE, SIZE), name
        assert one.alpha.shape == (count, settings, 1, SIZE, SIZE), name
        assert bool((one.images >= 0).all() and (one.images <= 1).all()), name
        if name in MEASURES:
            measured = MEASURES[name](one.images.flatten(0, 1), one.alpha.flatten(0, 1))
            found = agreement(measured.reshape(count, settings, -1), one.truth, attribute.kind, source())
            assert found.r2 > 0.95, name
            # thin legs lose more than their share of a small image
            assert found.slope == pytest.approx(1, abs=0.15 if name == "scale" else 0.06), name
        if name in ("hue", "lightness", "background", "contrast"):
            assert torch.equal(one.alpha[:, 0], one.alpha[:, 1]), name
        if name not in ("arms", "back"):
            before, after = one.steps
            assert bool(((before - after).abs().amax((1, 2, 3)) > 0.02).all()), name


@pytest.mark.slow
def test_the_wide_image_is_the_same_view(renders):
    middle = renders.wide[:, :, SIZE // 2 : 3 * SIZE // 2, SIZE // 2 : 3 * SIZE // 2]
    assert (middle - renders.front).abs().mean() < 1e-3
    assert renders.azimuth.shape == (COUNT, SETTINGS)
    step = (renders.azimuth[:, 1] - renders.azimuth[:, 0]) % 360
    assert torch.allclose(step, torch.full((COUNT,), 20.0), atol=1e-3)


def tiny() -> Network:
    """Colour by places: codes that keep much."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(192, 20)
        ).eval()
    return Network("tiny", module, Preprocessing((SIZE, SIZE)), layers=("1", "2"))


def blurred(layer: str = "1", mask: bool = False) -> Decoder:
    """The right inverse of the first layers: pooled colours, each spread over its place."""
    module = torch.nn.Sequential(torch.nn.Unflatten(1, (3, 8, 8)), torch.nn.Upsample(scale_factor=8))
    shape = (192,) if layer == "1" else (20,)
    return Decoder("blurred", "tiny", layer, shape, (SIZE, SIZE), module, has_mask=mask)


def measured(encoder, renders, names, decoder=None):
    made = {name: attribute_series(renders, name, 0) for name in names}
    reader = AttributeReader.of(Encoder(tiny(), "1"), made)
    distance = mean_code_distance(encoder, made)
    scores = {name: score_attribute(encoder, one, decoder, reader, distance, 0) for name, one in made.items()}
    return scores, {name: reader.of_originals(one, 0) for name, one in made.items()}


@pytest.mark.slow
def test_what_a_pooled_image_keeps(renders):
    names = ("hue", "background", "position", "arms")
    first, originals = measured(Encoder(tiny(), "1"), renders, names, blurred())
    assert first["background"].probe > 0.8
    assert first["background"].decoded.r2 > 0.95
    assert first["hue"].decoded.line > 0.8
    assert first["hue"].decoded.error < 20 < first["hue"].decoded.error_baseline
    assert first["position"].decoded.line > 0.5
    assert first["background"].permutation_baseline < 0.2
    assert 0 < first["position"].sensitivity < first["background"].sensitivity
    assert 0 <= first["arms"].accuracy <= 1
    assert originals["position"].r2 == pytest.approx(1, abs=1e-4)
    assert measured(Encoder(tiny(), "2"), renders, ("hue",))[0]["hue"].decoded is None


@pytest.mark.slow
def test_the_report_says_what_the_figures_say(renders):
    layers, originals = {}, {}
    for layer, decoder in (("1", blurred()), ("2", None)):
        layers[layer], originals = measured(Encoder(tiny(), layer), renders, ("hue", "back"), decoder)
    distances, counts = {"1": 1.5, "2": 2.5}, {"hue": COUNT, "back": 4 * COUNT}
    pixels, _ = measured(torch.nn.Flatten(), renders, ("hue", "back"))
    controls = {f"1{RANDOM}": layers["2"], PIXELS: pixels}
    found = AttributeFindings("tiny", layers, originals, {"1": "blurred"}, distances, counts, controls)
    config = StudyAttributes(network="tiny", out="out", chairs=COUNT)
    page = attributes_report(found, [], config)
    text = page.markdown()
    assert "40 for kind of back" in text
    assert f"R² {min(layers['2'][name].probe for name in ('hue', 'back')):.2f}" in text
    tables = page.data()["data"]
    rows = tables["figures"]["rows"]
    assert [row["layer"] for row in rows] == ["1", "1", "2", "2", "originals", "originals"]
    assert rows[0]["quadratic_kernel"] == layers["1"]["hue"].quadratic_kernel
    assert rows[0]["decoded slope"] == layers["1"]["hue"].decoded.slope
    floor = probe_table(found).plain()["rows"][-1]
    assert floor["layer"] == "shuffled labels"
    assert floor["hue"] == max(scores["hue"].permutation_baseline for scores in layers.values())
    assert floor["back"] == max(scores["back"].accuracy_baseline for scores in layers.values())
    assert tables["decoded"]["rows"][-1]["hue"] == originals["hue"].r2
    for scores in (*layers.values(), pixels):
        assert scores["hue"].figure.value == pytest.approx(scores["hue"].probe, abs=1e-6)
        assert scores["back"].figure.value == pytest.approx(scores["back"].accuracy)
    first, of_pixels, _ = gain_table(found).plain()["rows"]
    assert (first["less"], of_pixels["less"]) == ("random weights", "pixels")
    assert first["hue"].value == pytest.approx(layers["1"]["hue"].probe - layers["2"]["hue"].probe, abs=1e-6)
    assert "against random weights" in text
    assert attributes_answer(found).startswith("At `1`, training ")
    bare = AttributeFindings("tiny", layers, originals, {}, distances, counts)
    assert gain_table(bare) is None
    assert "cannot be said without controls" in attributes_answer(bare)
    assert len(scores_by_chair(found).rows) == 4 * (COUNT + 4 * COUNT)


@pytest.mark.slow
def test_the_command_leaves_a_report_and_is_repeated_to_the_bit(renders, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(attributes, "render_chairs", lambda *what: asked.append(what) or renders)
    out = tmp_path / "out"
    words = ["study", "attributes", "--network", "posenet", "--layers", "fc8", "--decoders", "posenet-pose"]
    words += ["--attributes", "hue", "--attributes", "azimuth", "--chairs", str(COUNT), "--out", str(out)]
    assert main(words) == 0
    assert [what[:2] for what in asked] == [(COUNT, 404)]
    said = capsys.readouterr()
    assert "shuffled labels" in said.out
    assert read_json(out / "manifest.json")["answer"].startswith("At `fc8`, training ")
    (turns,) = read_json(out / "report.json")["data"]["turns"]["rows"]
    assert turns["azimuth"] == 1 < 1 / turns["hue"]
    assert {"report.html", "report.json", "figures.csv", "curves.png", "sheet-hue.png", "manifest.json"} <= {
        path.name for path in out.iterdir()
    }
    assert main(["rerun", str(out), "--out", str(tmp_path / "again")]) == 0
    assert "\nbit-identical" in capsys.readouterr().out


def test_bad_input(tmp_path, capsys):
    with pytest.raises(ConfigError, match="there is no 'smell'"):
        StudyAttributes(network="posenet", out=tmp_path / "out", attributes=("smell",))
    with pytest.raises(ConfigError, match="--chairs is at least 10"):
        StudyAttributes(network="posenet", out=tmp_path / "out", chairs=3)
    words = ["study", "attributes", "-n", "posenet", "-l", "fc8", "-D", "posenet-fc6", "-o"]
    words.append(str(tmp_path / "out"))
    assert main(words) == 2
    assert "name that among the --layers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    encoders = {"1": Encoder(tiny(), "1")}
    with pytest.raises(ConfigError, match="among the --layers"):
        checked_decoders(encoders, [blurred("2")])
    with pytest.raises(ConfigError, match="two decoders"):
        checked_decoders(encoders, [blurred(), blurred()])
    alien = Decoder("alien", "posenet", "1", (192,), (SIZE, SIZE), blurred().module)
    with pytest.raises(CodeError, match="belongs to layer"):
        checked_decoders(encoders, [alien])
