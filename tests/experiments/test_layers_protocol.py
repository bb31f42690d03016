import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netinvert import CodeError, ConfigError, Encoder, LayerError, Network, TotalVariation, recipe
from netinvert.evaluation.metrics import error_cvpr15, error_cvpr16, naturalness, spread, ssim
from netinvert.experiments import inversions, layers
from netinvert.experiments.configs.studies import StudyLayers
from netinvert.experiments.inversions import mean_and_deviation
from netinvert.experiments.layers import (
    PROTOCOLS,
    LayerTable,
    cvpr15_recipe,
    default_recipe,
    has_classes,
    ijcv16_recipe,
    layers_page,
    layers_sheet,
    run_layers,
    values_of,
)
from netinvert.inversion.objectives import code_error
from netinvert.inversion.presets.mahendran15 import CVPR15_LAMBDA_TV
from netinvert.io.files import read_json
from tiny import PLAIN, images, plain, seeded, smooth

CLASSES = Network("tiny", seeded(plain), PLAIN)
NAMES, IMAGES = ("a", "b", "c"), images(3)


def asked(out: Path = Path("out"), **options: object) -> StudyLayers:
    quick = {"layers": ("1", "4"), "values": ("1", "300", "none"), "restarts": 2, "steps": 6, "batch": 4}
    return StudyLayers(network="tiny", out=out, **{**quick, **options})


def made(patched: pytest.MonkeyPatch, config: StudyLayers, network: Network = CLASSES) -> LayerTable:
    """The table of a run on a network that is no file."""
    found = []
    real = layers.layers_page
    patched.setattr(layers, "layers_page", lambda table: (found.append(table), real(table))[1])
    for place in (inversions, layers):
        patched.setattr(place, "open_network", lambda config, device, tell=None: network)
    patched.setattr(layers, "study_images", lambda config, network, tell: (NAMES, IMAGES, ()))
    run_layers(config, lambda text: None)
    return found[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The table of a quick run, and its folder; not to be changed."""
    out = tmp_path_factory.mktemp("layers") / "out"
    with pytest.MonkeyPatch.context() as patched:
        return made(patched, asked(out)), out


# -- the papers' settings --------------------------------------------------------------------------------


def test_the_papers_values():
    assert PROTOCOLS["cvpr15"].values == (1, 10, 100)
    assert PROTOCOLS["ijcv16"].values == (1, 20, 100, 300)
    assert values_of(asked(values=())) == (1, 20, 100, 300, None)


def test_lambda_scales_the_total_variation_and_nothing_else():
    encoder = Encoder(CLASSES, "1")
    own = recipe("cvpr15", encoder)
    hows = [cvpr15_recipe(encoder, value) for value in CVPR15_LAMBDA_TV]
    weights = [{type(term): weight for weight, term in how.priors} for how in hows]
    assert [one[TotalVariation] / weights[0][TotalVariation] for one in weights] == pytest.approx(
        [1, 10, 100]
    )
    assert any(how.priors == own.priors for how in hows)
    rest = [[pair for pair in how.priors if not isinstance(pair[1], TotalVariation)] for how in hows]
    assert rest[0] == rest[1] == rest[2] != []
    assert {how.stages for how in hows} == {own.stages}


def test_c_is_the_weight_of_the_code_error():
    encoder = Encoder(CLASSES, "1")
    own = recipe("ijcv16", encoder)
    how = ijcv16_recipe(encoder, 20)
    assert (how.data_weight, how.priors, how.stages) == (20, own.priors, own.stages)


def test_no_regulariser_is_as_in_the_authors_experiment():
    how = ijcv16_recipe(Encoder(CLASSES, "4"), None)
    assert how.priors == ()
    assert how.data_weight == 1
    assert all(stage.jitter == 1 and not stage.projections for stage in how.stages)
    assert cvpr15_recipe(Encoder(CLASSES, "4"), None).priors == ()
    assert default_recipe(Encoder(CLASSES, "4"), None).priors == ()


def test_the_defaults_knob_is_its_priors_weight():
    how = default_recipe(Encoder(CLASSES, "4"), 0.07)
    assert [weight for weight, term in how.priors if isinstance(term, TotalVariation)] == [0.07]


# -- the figures -----------------------------------------------------------------------------------------


def test_every_figure_is_that_of_its_image(whole):
    found, _ = whole
    encoder = Encoder(CLASSES, "4")
    targets = encoder(IMAGES)
    twice = [0, 0, 1, 1, 2, 2]
    for cell in found.rows["4"]:
        assert cell.found.images.shape == (6, *IMAGES.shape[1:])
        codes = encoder(cell.found.images)
        assert cell.found.measured["ijcv16"] == pytest.approx(code_error(codes, targets[twice]).tolist())
        # the pairs are those of the photographs, each once, however many restarts there are
        assert cell.found.measured["cvpr15"] == pytest.approx(
            error_cvpr15(codes, targets[twice], targets).tolist()
        )
        assert cell.found.measured["cvpr16"] == pytest.approx(
            error_cvpr16(codes, targets[twice], targets).tolist()
        )
        natural = naturalness(cell.found.images, IMAGES[twice])
        assert cell.found.measured["naturalness"] == pytest.approx(natural.tolist())
        assert cell.found.measured["ssim"] == pytest.approx(ssim(cell.found.images, IMAGES[twice]).tolist())
        tops = [CLASSES.module(some).argmax(1) for some in (cell.found.images.clamp(0, 1), IMAGES[twice])]
        assert cell.same_class == tuple((tops[0] == tops[1]).tolist())
    assert found.reference == "the inverted images themselves"


def test_restarts_have_seeds_of_their_own_and_the_spread_is_between_them(whole, tmp_path, monkeypatch):
    found, _ = whole
    for cell in found.cells:
        pairs = cell.found.images.view(3, 2, *cell.found.images.shape[1:]).clamp(0, 1)
        apart = (pairs[:, 0] - pairs[:, 1]).square().mean((1, 2, 3)).sqrt()
        assert (apart > 0).all()
        assert cell.spread["distance"] == pytest.approx(apart.tolist())
        assert cell.spread["ssim"] == pytest.approx(ssim(pairs[:, 0], pairs[:, 1]).tolist())
    one = made(monkeypatch, asked(tmp_path / "out", restarts=1, layers=("1",)))
    assert one.cells[0].spread is None
    # The first restart is the run with one; to rounding, which differs with the batch.
    assert torch.allclose(one.cells[0].found.images, found.cells[0].found.images[::2], atol=1e-6)


def test_spread_of_equal_inversions():
    same = images(2)[:, None].expand(-1, 3, -1, -1, -1)
    assert spread(same)["distance"] == [0, 0]
    assert spread(same)["ssim"] == pytest.approx([1, 1])
    with pytest.raises(ConfigError, match="restarts"):
        spread(same[:, :1])


def test_mean_and_deviation_is_over_n_minus_one():
    values = [1.0, 2.0, 4.0]
    assert mean_and_deviation(values) == pytest.approx((statistics.mean(values), statistics.stdev(values)))
    assert mean_and_deviation([3.0]) == (3, 0)
    assert mean_and_deviation([1.0, None]) is None
    assert mean_and_deviation([1.0, float("nan")]) is None


def test_what_ends_in_classes():
    assert has_classes(CLASSES)
    assert not has_classes(Network("maps", seeded(smooth), PLAIN))
    assert not has_classes(replace(CLASSES, read_pose=lambda output: output))


# -- stopping and going on -------------------------------------------------------------------------------


@pytest.mark.drawn
def test_a_stopped_run_goes_on_where_it_was(whole, tmp_path, monkeypatch):
    table, folder = whole
    real, done = inversions.optimised, []

    def optimised(*arguments):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(arguments)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(inversions, "optimised", optimised)
        with pytest.raises(KeyboardInterrupt, match="5 of 12 batches are done"):
            made(patched, asked(tmp_path / "out"))
    done.clear()
    monkeypatch.setattr(inversions, "optimised", lambda *given: (done.append(given), real(*given))[1])
    again = made(monkeypatch, asked(tmp_path / "out"))
    assert len(done) == 12 - 5
    assert [cell.found.measured for cell in again.cells] == [cell.found.measured for cell in table.cells]
    for name in ("layers.json", "contact-sheet.png"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


# -- the report ------------------------------------------------------------------------------------------


def test_tables_and_record(whole):
    found, folder = whole
    text = (folder / "report.md").read_text()
    assert text.index("`ijcv16`") < text.index("## Code error `cvpr15`")  # the protocol's own error first
    for title in ("Same first class", "Naturalness", "Spread", "`cvpr16`", "netinvert study layers"):
        assert title in text
    assert "Pose" not in text
    cells = found.rows["4"]
    means = [[statistics.mean(cell.found.measured["ijcv16"][k : k + 2]) for k in (0, 2, 4)] for cell in cells]
    shown = [f"{100 * statistics.mean(m):.1f} ± {100 * statistics.stdev(m):.1f}" for m in means]
    best = min(range(2), key=lambda k: statistics.mean(means[k]))  # the third has no regulariser
    shown[best] = f"**{shown[best]}**"
    floors = [f"{100 * one.code_error:.1f}" for one in found.floors["4"]]
    assert f"| 4 | 8×8×8 | {' | '.join([*shown, *floors])} |" in text
    record = read_json(folder / "layers.json")
    assert record["cells"][0]["measured"]["ijcv16"] == found.cells[0].found.measured["ijcv16"]
    manifest = read_json(folder / "manifest.json")
    assert manifest["command"]["values"] == ["1", "300", "none"]
    assert {"report.html", "report.md", "contact-sheet.png"} < set(manifest["files"])
    assert len(layers_sheet(found, 1).rows[0].tiles) == 4


def test_divergence_is_told(tmp_path, monkeypatch):
    broken = asked(tmp_path / "out", protocol="cvpr15", values=("1e12",), restarts=1, steps=12, layers=("1",))
    found = made(monkeypatch, broken)
    assert found.cells[0].found.diverged == 3
    assert "3 of 3 inversions diverged" in layers_page(found).markdown()


# -- bad input, before any work --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"protocol": "cvpr17"}, "cvpr15, ijcv16, default"),
        ({"restarts": 0}, "--restarts"),
        ({"values": ("-1",)}, "above 0"),
        ({"values": ("0",)}, "above 0"),
        ({"values": ("nan",)}, "above 0"),
        ({"layers": ("1", "1")}, "twice"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ConfigError, match=text):
        asked(**options)


def test_everything_is_checked_before_the_first_inversion(tmp_path, monkeypatch):
    maps = Network("maps", seeded(smooth), PLAIN)
    for options, network, error in (
        ({"layers": ("1", "no such")}, CLASSES, LayerError),
        ({"steps": 1}, CLASSES, ConfigError),  # two stages
        ({"show": 4}, CLASSES, ConfigError),
        ({"layers": ("0",), "classes": "yes"}, maps, CodeError),
    ):
        with pytest.raises(error):
            made(monkeypatch, asked(tmp_path / "out", **options), network)
    assert not list(tmp_path.iterdir())
