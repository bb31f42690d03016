from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from netinvert import PRESETS, PRIORS, ConfigError, Encoder, OutputError, Preprocessing, invert, recipe
from netinvert.evaluation.save_results import save_result
from netinvert.experiments.inputs import unique_stems
from netinvert.inversion.canvases import with_canvas
from netinvert.inversion.schedule import describe_recipe
from netinvert.io.files import load_tensors, plain_json


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(nn.Sequential(nn.Conv2d(3, 4, 3, stride=2)).eval(), "0", Preprocessing((16, 18)))


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 18, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def result(encoder, images):
    return invert(encoder, encoder(images), preset=PRESETS["default"](encoder, None).with_steps(4))


@pytest.mark.slow
def test_save_needs_nothing_else(result, tmp_path):
    folder = save_result(result, tmp_path / "out")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["errors"]["ijcv16"] == pytest.approx(result.error.mean().item())
    assert manifest["network"] is None
    assert manifest["samples"][0]["seed"] is None
    tensors, _ = load_tensors(folder / "tensors.safetensors")
    assert torch.equal(tensors["image"], result.image)
    assert torch.equal(tensors["code"], result.target)
    assert (folder / "reconstruction-2.png").exists()
    assert (folder / "loss.png").exists()
    assert "<img" in (folder / "report.html").read_text()
    assert save_result(result, folder) == folder  # which is there already
    other = replace(result, image=1 - result.image)
    with pytest.raises(OutputError, match=r"another run.*in Python overwrite=True"):
        save_result(other, folder)
    save_result(other, folder, overwrite=True)
    assert torch.equal(load_tensors(folder / "tensors.safetensors")[0]["image"], other.image)


@pytest.mark.slow
def test_results_of_several_layers_are_saved(tmp_path, images):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Tanh(), nn.Conv2d(4, 2, 3)).eval()
    encoder = Encoder(network, layers=["1", "2"], preprocessing=Preprocessing((16, 18)))
    folder = save_result(invert(encoder, encoder(images), steps=3), tmp_path / "out", encoder, images)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["code_shape"] == {"1": [4, 7, 8], "2": [2, 5, 6]}
    assert manifest["code_error"] > 0
    tensors, _ = load_tensors(folder / "tensors.safetensors")
    assert tensors["code/2"].shape == tensors["image_code/2"].shape == (2, 2, 5, 6)


def test_save_with_encoder_and_original(encoder, images, result, tmp_path):
    folder = save_result(result, tmp_path / "out", encoder, images)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["layer"] == "0"
    assert manifest["psnr"] > 0
    assert manifest["weights_sha256"] == encoder.weights_sha256()
    assert all(manifest["errors"].values())
    assert (folder / "original-reconstruction-1.png").exists()
    with pytest.raises(ConfigError, match="give the encoder too"):
        save_result(result, tmp_path / "other", original=images)
    assert not (tmp_path / "other").exists()


def stems(*names, restarts=1):
    return list(unique_stems([Path(name) for name in names], restarts))


def test_names():
    assert stems("x/a.png", "x/b.png") == ["a", "b"]
    assert stems("x/a.png", "y/a.png", "y/b.png") == ["x-a", "y-a", "b"]
    assert stems("x/a.png", "x/A.PNG", "x/a.jpg") == ["x-a", "x-A~2", "x-a~3"]
    assert stems("x/loss.png", "x/contact-sheet.png") == ["loss~2", "contact-sheet~2"]
    assert stems("x/.hidden.png", "x/" + "long" * 60 + ".png") == ["hidden", "long" * 15]
    assert stems("x/a.png", "x/original-a.png") == ["a", "original-a~2"]


def test_names_of_restarts_do_not_collide_either():
    assert stems("x/a.png", "x/a-2.png", restarts=2) == ["a", "a-2~2"]
    assert stems("x/a.png", "x/a-2.png") == ["a", "a-2"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("prior", [None, "none", *sorted(set(PRIORS) - {"batchnorm"})])
def test_recipes_as_json(encoder, preset, prior):
    how = recipe(preset, encoder, prior)
    described = describe_recipe(how, how.canvas(encoder, [0], None))
    assert json.loads(json.dumps(plain_json(described)))["name"] == preset
    assert sum(stage["steps"] for stage in described["stages"]) == how.steps
    assert prior is None or how.prior.startswith(prior)
    weight = how.prior.partition("=")[2]
    assert not weight or recipe(preset, encoder, how.prior).priors[0][0] == pytest.approx(float(weight))


def test_canvases(encoder, images):
    how = recipe("default", encoder)
    pixels = with_canvas(how, "pixels").canvas(encoder, [0, 1], None)
    assert type(pixels).__name__ == "Pixels"
    assert pixels().shape == (2, 3, 16, 18)
    assert not torch.equal(pixels()[0], pixels()[1])
    assert torch.allclose(with_canvas(how, "pixels").canvas(encoder, [0, 1], images)(), images, atol=1e-6)
    assert type(with_canvas(how, "fourier").canvas(encoder, [0], None)).__name__ == "Fourier"
    paper = recipe("cvpr15", encoder)
    assert with_canvas(paper, "pixels") is paper
    with pytest.raises(ConfigError, match=r"pixels in 0\.\.255"):
        with_canvas(paper, "fourier")
    with pytest.raises(ConfigError, match="no canvas 'oil'"):
        with_canvas(how, "oil")
    result = invert(encoder, encoder(images), preset=with_canvas(how, "pixels").with_steps(40))
    assert (result.error < 0.2).all()
