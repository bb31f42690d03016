import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netinvert import CodeError, ConfigError, Encoder, LayerError, Network, Run, TotalVariation, recipe
from netinvert.evaluation.metrics import error_cvpr15, error_cvpr16, spread, ssim
from netinvert.evaluation.naturalness import naturalness
from netinvert.experiments import inversions
from netinvert.experiments import layers_report as layer_report
from netinvert.experiments.inversions import Task, mean_and_deviation, perform
from netinvert.experiments.layers import (
    PROTOCOLS,
    Photographs,
    Settings,
    cvpr15_recipe,
    default_recipe,
    has_classes,
    ijcv16_recipe,
    run,
)
from netinvert.inversion.codes import code_error
from netinvert.inversion.presets.mahendran15 import CVPR15_LAMBDA_TV
from netinvert.io.files import plain_json
from tiny import PLAIN, images, plain, seeded, smooth

CLASSES = Network("tiny", seeded(plain), PLAIN)
SHOWN = Photographs(("a", "b", "c"), images(3))
QUICK = Settings("ijcv16", (1.0, 300.0, None), restarts=2, steps=6, batch=4)


def table(tmp_path: Path, settings: Settings = QUICK, layers: tuple[str, ...] = ("1", "4")):
    lines: list[str] = []
    return run(CLASSES, layers, SHOWN, settings, tmp_path / "kept", lines.append), lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The table of QUICK; not to be changed."""
    return table(tmp_path_factory.mktemp("layers"))[0]


# -- the papers' settings --------------------------------------------------------------------------------


def test_the_papers_values():
    assert PROTOCOLS["cvpr15"].values == (1, 10, 100)
    assert PROTOCOLS["ijcv16"].values == (1, 20, 100, 300)
    assert Settings("ijcv16").values == (1, 20, 100, 300, None)


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
    found = whole
    encoder = Encoder(CLASSES, "4")
    targets = encoder(SHOWN.images)
    twice = [0, 0, 1, 1, 2, 2]
    for cell in found.row("4"):
        assert cell.outcome.images.shape == (6, *SHOWN.images.shape[1:])
        codes = encoder(cell.outcome.images)
        assert cell.outcome.measured["ijcv16"] == pytest.approx(code_error(codes, targets[twice]).tolist())
        # the pairs are those of the photographs, each once, however many restarts there are
        assert cell.outcome.measured["cvpr15"] == pytest.approx(
            error_cvpr15(codes, targets[twice], targets).tolist()
        )
        assert cell.outcome.measured["cvpr16"] == pytest.approx(
            error_cvpr16(codes, targets[twice], targets).tolist()
        )
        natural = naturalness(cell.outcome.images, SHOWN.images[twice])
        assert cell.outcome.measured["naturalness"] == pytest.approx(natural.tolist())
        assert cell.outcome.measured["ssim"] == pytest.approx(
            ssim(cell.outcome.images, SHOWN.images[twice]).tolist()
        )
        tops = [
            CLASSES.module(some).argmax(1) for some in (cell.outcome.images.clamp(0, 1), SHOWN.images[twice])
        ]
        assert cell.same_class == tuple((tops[0] == tops[1]).tolist())
    assert found.reference == "the inverted photographs themselves"


def test_restarts_have_seeds_of_their_own_and_the_spread_is_between_them(whole, tmp_path):
    found = whole
    for cell in found.cells:
        pairs = cell.outcome.images.view(3, 2, *cell.outcome.images.shape[1:]).clamp(0, 1)
        apart = (pairs[:, 0] - pairs[:, 1]).square().mean((1, 2, 3)).sqrt()
        assert (apart > 0).all()
        assert cell.spread["distance"] == pytest.approx(apart.tolist())
        assert cell.spread["ssim"] == pytest.approx(ssim(pairs[:, 0], pairs[:, 1]).tolist())
    one, _ = table(tmp_path, replace(QUICK, restarts=1), ("1",))
    assert one.cells[0].spread is None
    # The first restart is the run with one; to rounding, which differs with the batch.
    assert torch.allclose(one.cells[0].outcome.images, found.cells[0].outcome.images[::2], atol=1e-6)


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


def test_finished_cells_are_not_made_again(tmp_path, monkeypatch):
    first, lines = table(tmp_path, layers=("1",))
    assert len(lines) == len(first.cells) == 3

    def refuse(*arguments: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(inversions, "prepare", refuse)
    again, _ = table(tmp_path, layers=("1",))
    assert [cell.outcome.measured for cell in again.cells] == [cell.outcome.measured for cell in first.cells]
    with pytest.raises(AssertionError, match="made again"):
        table(tmp_path, replace(QUICK, seed=1), ("1",))


def test_a_damaged_file_is_made_again(tmp_path):
    first, _ = table(tmp_path, layers=("1",))
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    again, _ = table(tmp_path, layers=("1",))
    assert [cell.outcome.measured for cell in again.cells] == [cell.outcome.measured for cell in first.cells]


def test_a_stopped_task_goes_on(tmp_path, monkeypatch):
    encoder = Encoder(CLASSES, "1")
    task = Task(encoder, recipe("ijcv16", encoder).with_steps(6), encoder(SHOWN.images), (0, 0, 0))
    whole = perform(task, tmp_path / "whole.safetensors")

    def stop(snapshot: object) -> None:
        if snapshot.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        inversions, "Run", lambda seed, checkpoint: Run(seed, checkpoint=checkpoint, callback=stop)
    )
    with pytest.raises(KeyboardInterrupt):
        perform(task, tmp_path / "half.safetensors")
    assert not (tmp_path / "half.safetensors").exists()
    monkeypatch.undo()
    assert torch.equal(perform(task, tmp_path / "half.safetensors").result.image, whole.result.image)


# -- the report ------------------------------------------------------------------------------------------


def test_tables_and_record(whole):
    found = whole
    text = layer_report.markdown(found, "the command")
    assert text.index("`ijcv16`:") < text.index("`cvpr15`:")  # the protocol's own error first
    assert "`the command`" in text
    for title in ("Same first class", "Naturalness", "Spread", "`cvpr16`"):
        assert title in text
    assert "Pose" not in text
    cells = found.row("4")
    means = [
        [statistics.mean(cell.outcome.measured["ijcv16"][k : k + 2]) for k in (0, 2, 4)] for cell in cells
    ]
    shown = [f"{100 * statistics.mean(m):.1f}" for m in means]
    deviations = [f"{100 * statistics.stdev(m):.1f}" for m in means]
    best = min(range(2), key=lambda k: statistics.mean(means[k]))  # the third has no regulariser
    shown[best] = f"**{shown[best]}**"
    line = " | ".join(f"{mean} ± {deviation}" for mean, deviation in zip(shown, deviations, strict=True))
    assert f"| 4 | 8×8×8 | {line} |" in text
    record = json.loads(json.dumps(plain_json(layer_report.record(found, "the command"))))
    assert record["cells"][0]["measured"]["ijcv16"] == found.cells[0].outcome.measured["ijcv16"]
    assert record["settings"]["values"] == [1, 300, None]
    assert layer_report.sheet(found, 1).width > 4 * 100


def test_divergence_is_told(tmp_path):
    broken = replace(QUICK, protocol="cvpr15", values=(1e12,), restarts=1, steps=12)
    found, _ = table(tmp_path, broken, ("1",))
    assert found.cells[0].outcome.diverged == 3
    assert "3 of 3 inversions diverged" in layer_report.markdown(found, "")


# -- bad input, before any work --------------------------------------------------------------------------


def test_bad_settings():
    with pytest.raises(ConfigError, match="cvpr15, ijcv16, default"):
        Settings("cvpr17")
    with pytest.raises(ConfigError, match="restarts"):
        Settings(restarts=0)
    for value in (-1.0, 0.0, float("nan")):
        with pytest.raises(ConfigError, match="above 0"):
            Settings(values=(value,))


def test_everything_is_checked_before_the_first_inversion(tmp_path):
    for layers, settings, error in (
        (("1", "no such"), QUICK, LayerError),
        (("1",), replace(QUICK, steps=1), ConfigError),  # two stages
    ):
        with pytest.raises(error):
            table(tmp_path, settings, layers)
    with pytest.raises(CodeError, match="score a class"):
        run(
            Network("maps", seeded(smooth), PLAIN),
            ("0",),
            SHOWN,
            replace(QUICK, classes=True),
            tmp_path / "kept",
        )
    assert not (tmp_path / "kept").exists()
