"""Preprocessing: what is refused, and what it is made of."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from netinvert import ConfigError, Encoder, Network, NetworkError, Preprocessing
from netinvert.models.network import PreprocessingWarning, as_network, sidecar
from netinvert.models.registry import load_network

DATA = Path(__file__).parent.parent / "data"

IMAGENET = Preprocessing((224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_one_number_is_both_sides_and_what_is_left_out_is_plain():
    assert Preprocessing(224) == Preprocessing((224, 224), (0.0,) * 3, (1.0,) * 3)
    assert Preprocessing((8, 9), std=(0.5,)) == Preprocessing((8, 9), (0.0,), (0.5,))
    assert Preprocessing([8, 9], [1, 2]).std == (1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (224, 224, 3)}, "height, width"),
        ({"size": (0, 5)}, "height, width"),
        ({"size": (224.0, 224.0)}, "height, width"),
        ({"mean": (0.5,), "std": (1, 1, 1)}, "one number a channel each, got 1 and 3"),
        ({"mean": 0.5}, "one number a channel"),
        ({"mean": (float("nan"),) * 3}, "NaN"),
        ({"std": (0.5, 0.0, 0.5)}, "above 0"),
        ({"scale": 0}, "scale"),
        ({"scale": float("inf")}, "scale"),
        ({"order": "GBR"}, "order"),
        ({"order": "BGR", "mean": (0.5,)}, "order"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Preprocessing(**{"size": (8, 8), **change})


def test_torchvisions_transforms():
    models = pytest.importorskip("torchvision").models
    transforms = pytest.importorskip("torchvision").transforms
    assert Preprocessing.of(models.ResNet18_Weights.DEFAULT.transforms()) == IMAGENET
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    last = transforms.Normalize(IMAGENET.mean, IMAGENET.std)
    assert Preprocessing.of(transforms.Compose([*steps, last])) == IMAGENET


def test_timms_config():
    timm = pytest.importorskip("timm")
    module = timm.create_model("test_vit2")
    assert Preprocessing.of(module.pretrained_cfg) == Preprocessing(160, (0.5,) * 3, (0.5,) * 3)


def test_facts_and_files(tmp_path):
    form = Preprocessing((20, 30), (104, 117, 123), (1, 1, 1), 255, "BGR")
    assert Preprocessing.of(form) is form
    assert Preprocessing.of(json.loads(json.dumps(form.to_json()))) == form
    file = tmp_path / "model.json"
    file.write_text(json.dumps(form.to_json()))
    assert Preprocessing.of(file) == form
    assert sidecar(tmp_path / "model.onnx", (9, 8), 3) == (form, False)
    (tmp_path / "model.onnx.json").write_text('{"size": 64}')
    assert sidecar(tmp_path / "model.onnx", (9, 8), 3) == (Preprocessing(64), False)
    (tmp_path / "model.onnx.json").write_text('{"mean": [0.5], "std": [0.25]}')
    assert sidecar(tmp_path / "model.onnx", (9, 8), 1) == (Preprocessing((9, 8), (0.5,), (0.25,)), False)
    with pytest.raises(NetworkError, match="have 3 channels"):
        sidecar(tmp_path / "model.onnx", (9, 8), 3)
    assert sidecar(tmp_path / "other.onnx", (9, 8), 1) == (Preprocessing((9, 8), (0,)), True)
    (tmp_path / "model.onnx.json").write_text('{"size": 64, "means": [0.5]}')
    with pytest.raises(NetworkError, match=r"model\.onnx\.json: preprocessing has.*means"):
        sidecar(tmp_path / "model.onnx", (9, 8), 3)
    with pytest.raises(ConfigError, match="does not tell"):
        Preprocessing.of(SimpleNamespace(mean=(0.5,)))


def test_options_of_the_command_line():
    assert Preprocessing.of_options() is None
    assert Preprocessing.of_options((32,), (0.5,)) == Preprocessing(32, (0.5,))
    full = Preprocessing.of_options((32, 48), (1, 2, 3), (1, 1, 1), "BGR", 255.0)
    assert full == Preprocessing((32, 48), (1, 2, 3), (1, 1, 1), 255.0, "BGR")
    with pytest.raises(ConfigError, match="need --size"):
        Preprocessing.of_options(mean=(0.5,))


def test_modules_of_timm_bring_their_own():
    timm = pytest.importorskip("timm")
    encoder = Encoder(timm.create_model("test_vit2").eval(), "blocks.0")
    assert encoder.preprocessing == Preprocessing(160, (0.5,) * 3, (0.5,) * 3)


def test_networks_that_normalise_themselves():
    pytest.importorskip("torchvision")
    form = load_network("torchvision:ssdlite320_mobilenet_v3_large", "random").preprocessing
    assert (form.mean, form.std) == ((0.0,) * 3, (1.0,) * 3)


def test_a_size_alone_is_of_as_many_channels_as_the_network_has():
    grey = Network("grey", nn.Flatten().eval(), Preprocessing(8, (0.5,)))
    assert as_network(grey, Preprocessing(16)).preprocessing == Preprocessing(16, (0.0,))
    assert as_network(grey, Preprocessing(16, (0.25,))).preprocessing.mean == (0.25,)
    colour = Network("colour", nn.Flatten().eval(), Preprocessing(8))
    assert as_network(colour, Preprocessing(16)).preprocessing == Preprocessing(16)


def test_what_is_assumed_is_told_until_it_is_said(tmp_path):
    name, beside = f"tflite:{tmp_path / 'net.tflite'}", tmp_path / "net.json"
    pytest.importorskip("tflite")
    (tmp_path / "net.tflite").write_bytes((DATA / "operators.tflite").read_bytes())
    with pytest.warns(PreprocessingWarning, match=r"assumed: images of 9 x 10 pixels, in \[0, 1\] as they"):
        network = load_network(name)
    assert network.facts()["preprocessing_assumed"]["size"] == (9, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = load_network(name, preprocessing=Preprocessing((9, 10), (0.5,) * 4))
        assert told.facts() == {"network": name}
        beside.write_text('{"mean": [0.5, 0.5, 0.5, 0.5]}')
        assert load_network(name).preprocessing == told.preprocessing
