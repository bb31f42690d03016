from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from netinvert import Encoder, load_network, read_image
from netinvert.io.files import load_tensors

KEYS = {
    "network", "layer", "code_shape", "errors", "psnr", "ssim", "seconds", "steps", "seed", "versions",
    "weights_sha256", "preset", "prior", "recipe", "command", "inputs", "samples", "reference", "threads",
    "resumed", "device", "format", "code_error", "files", "contents", "command_line",
}  # fmt: skip


def manifest_in(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_a_folder_of_images(cli, net, pictures, tmp_path):
    out = tmp_path / "out"
    said = cli("invert", pictures, *net, "--steps", 12, "--restarts", 2, "--batch", 3, "--seed", 7, "-o", out)
    assert said.exit_code == 0, said.output
    assert {path.name for path in out.iterdir()} == {
        "a.png", "a-2.png", "b.png", "b-2.png", "original-a.png", "original-b.png", "losses.csv", "loss.png",
        "contact-sheet.png", "tensors.safetensors", "report.html", "manifest.json",
    }  # fmt: skip
    manifest = manifest_in(out)
    assert set(manifest) >= KEYS
    assert [sample["seed"] for sample in manifest["samples"]] == [7, 8, 7, 8]
    assert set(manifest["errors"]) == {"cvpr15", "ijcv16", "cvpr16"}
    assert all(0 < error < 1 for error in manifest["errors"].values())
    assert manifest["psnr"] > 5
    assert manifest["code_shape"] == [8, 10, 12]
    assert manifest["steps"] == 12
    assert set(manifest["versions"]) == {"netinvert", "torch", "numpy", "python", "platform"}
    name, _, weight = manifest["prior"].partition("=")
    assert (name, len(weight) <= 8) == ("tv-isotropic", True)
    assert 0 < float(weight) < 0.1  # fitted to the code
    assert [(source["option"], source["name"]) for source in manifest["inputs"]] == [
        ("input", str(pictures / n)) for n in ("a.png", "b.png")
    ]
    tensors, texts = load_tensors(out / "tensors.safetensors")
    assert tensors["image"].shape == (4, 3, 20, 24)
    assert tensors["image_code"].shape == (4, 8, 10, 12)
    assert tensors["code"].shape == (2, 8, 10, 12)
    assert not torch.equal(tensors["image"][0], tensors["image"][1])
    assert json.loads(texts["netinvert"])["names"] == ["a", "b"]
    with Image.open(out / "a.png") as shown:
        assert shown.size == (24, 20)
    assert (out / "losses.csv").read_text().count("\n") == 1 + 4 * 12
    assert re.search(r"a-2 +\d\.\d{3}", said.stdout)


def test_batches_give_what_single_runs_give(cli, net, pictures, tmp_path):
    for batch in (1, 2):
        cli("invert", pictures, *net, "--steps", 5, "--batch", batch, "-o", tmp_path / str(batch))
    one, two = (load_tensors(tmp_path / n / "tensors.safetensors")[0]["image"] for n in "12")
    assert torch.allclose(one, two, atol=1e-3)


@pytest.mark.parametrize("kind", ["npy", "safetensors", "pt"])
def test_bare_codes(cli, net, pictures, tmp_path, kind):
    if kind == "pt":
        encoder = Encoder(load_network(net[1]), "2")
        torch.save(encoder(read_image(pictures / "a.png"))[0], tmp_path / "code.pt")
    else:
        cli("encode", pictures, *net, "--out", tmp_path / f"code.{kind}")
    out = tmp_path / "out"
    said = cli("invert", tmp_path / f"code.{kind}", *net, "--steps", 3, "-o", out, "--json")
    manifest = json.loads(said.stdout)
    assert manifest["psnr"] is None
    assert manifest["ssim"] is None
    assert manifest["errors"]["cvpr15"] > 0
    names = {"npy": ["code-1", "code-2"], "safetensors": ["a", "b"], "pt": ["code"]}[kind]
    assert [sample["name"] for sample in manifest["samples"]] == names
    assert not list(out.glob("original-*"))
    assert {key: value for key, value in manifest.items() if key != "folder"} == manifest_in(out)
    assert (out / "report.html").exists()


def test_a_code_of_another_layer_of_the_same_shape_is_remarked(cli, net, pictures, tmp_path):
    cli("encode", pictures, *net, "--out", tmp_path / "code.safetensors")
    said = cli("invert", tmp_path / "code.safetensors", *net[:3], "3", "--steps", 2, "-o", tmp_path / "out")
    assert said.exit_code == 0
    assert "codes of layer 2, not 3" in said.output


def test_options_reach_the_recipe(cli, net, pictures, tmp_path):
    options = ["--steps", 4, "--canvas", "pixels", "--prior", "tv-anisotropic=0.5", "--data-weight", 3]
    options += ["--start", pictures / "b.png", "--reference", pictures, "--threads", 1]
    said = cli("invert", pictures / "a.png", *net, *options, "-o", tmp_path / "out", "--json")
    manifest = json.loads(said.stdout)
    recipe = manifest["recipe"]
    assert recipe["canvas"] == "Pixels"
    assert recipe["data_weight"] == 3
    tv = {"weight": 0.5, "type": "TotalVariation", "beta": 1, "isotropic": False, "name": "tv"}
    assert tv in recipe["priors"]
    assert recipe["stages"][-1]["optimizer"]["type"] == "LBFGS"
    assert manifest["prior"] == "tv-anisotropic=0.5"
    sources = {(source["option"], source["name"].rpartition("/")[2]) for source in manifest["inputs"]}
    assert sources == {("input", "a.png"), ("start", "b.png"), ("reference", "a.png"), ("reference", "b.png")}
    assert "2 images" in manifest["reference"]
    assert manifest["command"]["canvas"] == "pixels"


@pytest.mark.parametrize("preset", ["fourier-adam", "cvpr15", "ijcv16"])
def test_presets(cli, net, pictures, tmp_path, preset):
    said = cli("invert", pictures, *net, "--preset", preset, "--steps", 6, "-o", tmp_path / "out")
    assert said.exit_code == 0, said.output
    assert manifest_in(tmp_path / "out")["preset"] == preset


def test_a_glob_and_names_that_collide(cli, net, pictures, tmp_path):
    (pictures / "more").mkdir()
    for name in ("a.png", "loss.png"):
        (pictures / "more" / name).write_bytes((pictures / "b.png").read_bytes())
    said = cli("invert", f"{pictures}/**/*.png", *net, "--steps", 2, "-o", tmp_path / "out", "--json")
    names = [sample["name"] for sample in json.loads(said.stdout)["samples"]]
    assert names == ["pictures-a", "b", "more-a", "loss~2"]


def test_a_grey_network_has_the_photographs_in_grey_as_reference(cli, pictures, tmp_path):
    (tmp_path / "grey.py").write_text(
        "import torch\nfrom netinvert import Network, Preprocessing\n"
        "def make():\n    torch.manual_seed(0)\n"
        "    return Network('grey', torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3)).eval(),"
        " Preprocessing((16, 17), (0.,), (1.,)))\n"
    )
    options = ["--network", f"module:{tmp_path / 'grey.py'}:make", "--layer", "0", "--steps", 3]
    said = cli("invert", pictures / "a.png", *options, "-o", tmp_path / "out", "--json")
    manifest = json.loads(said.stdout)
    assert manifest["reference"] == "the 7 photographs of netinvert"
    assert manifest["errors"]["cvpr15"] > 0
    assert manifest["errors"]["ijcv16"] > 0
    with Image.open(tmp_path / "out" / "a.png") as shown:
        assert shown.mode == "L"


@pytest.mark.slow
def test_the_chair(cli, tmp_path):
    code = tmp_path / "chair.npy"
    options = ["--network", "objectron-chair", "--layer", "blocks.7"]
    from netinvert.io import assets as samples

    chair = samples.chair()
    Image.fromarray((chair.image[0].permute(1, 2, 0) * 255).byte().numpy()).save(tmp_path / "chair.png")
    said = cli("invert", tmp_path / "chair.png", *options, "--steps", 8, "-o", tmp_path / "out", "--json")
    pose = json.loads(said.stdout)["samples"][0]["pose"]
    assert abs(pose["original"]["azimuth"] - chair.azimuth) < 8
    assert set(pose["reconstruction"]) == {"azimuth", "elevation", "presence"}
    assert pose["rotation_difference"] >= 0
    np.save(code, load_tensors(tmp_path / "out" / "tensors.safetensors")[0]["code"].numpy())
    said = cli("invert", code, *options, "--steps", 2, "-o", tmp_path / "bare")
    assert said.exit_code == 0
    assert manifest_in(tmp_path / "bare")["samples"][0]["pose"]["original"] is None


@pytest.mark.slow
def test_workers_give_the_same_bits(cli, net, pictures, tmp_path):
    for workers in (1, 2):
        options = ["--steps", 5, "--batch", 1, "--threads", 1, "--workers", workers]
        said = cli("invert", pictures, *net, *options, "-o", tmp_path / str(workers))
        assert said.exit_code == 0, said.stderr
    one, two = (tmp_path / name for name in "12")
    for name in ("a.png", "b.png", "losses.csv", "tensors.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_the_precision_that_auto_is_goes_to_other_processes(cli, net, pictures, tmp_path, monkeypatch):
    """They may run on machines where it is another."""
    monkeypatch.setattr("netinvert.models.precision.has_bfloat16", lambda device: True)  # here alone
    made = {}
    for precision in ("float32", "bfloat16", "auto"):
        out = tmp_path / precision
        more = ("--precision", precision, "--batch", 1, "--workers", 2, "-o", out)
        said = cli("invert", pictures, *net, "--steps", 8, *more)
        assert said.exit_code == 0, said.output
        made[precision] = load_tensors(out / "tensors.safetensors")[0]["image"]
        stages = manifest_in(out)["recipe"]["stages"]
        assert any("rounded" in stage for stage in stages) == (precision != "float32")
    assert torch.equal(made["auto"], made["bfloat16"])
    assert not torch.equal(made["auto"], made["float32"])


def test_an_auto_that_is_another_is_no_resumption(cli, net, pictures, tmp_path, monkeypatch):
    out = tmp_path / "out"
    asked = ("invert", pictures, *net, "--steps", 8, "--precision", "auto", "-o", out)
    monkeypatch.setattr("netinvert.models.precision.has_bfloat16", lambda device: False)
    assert cli(*asked).exit_code == 0
    monkeypatch.setattr("netinvert.models.precision.has_bfloat16", lambda device: True)
    said = cli(*asked)
    assert said.exit_code == 2
    assert "holds another run" in said.output
