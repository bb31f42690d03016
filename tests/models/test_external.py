"""Networks of other packages; nothing here reaches for the internet."""

import importlib
import sys
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file

from netinvert.errors import MissingExtraError, NetworkError
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.network import Preprocessing
from netinvert.models.registry import load_network

FACTORY = """
import torch
from netinvert import Network, Preprocessing

def trains():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))

def whole():
    return Network("mine", torch.nn.Identity().eval(), Preprocessing((32, 48), (0.5,), (0.25,)))

def nothing():
    return 3

def fails():
    raise RuntimeError("no such file on my disk")
"""


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FACTORY)
    return f"module:{path}"


def no_internet(*_, **__):
    raise URLError("no route to host")


def test_torchvision_with_its_preprocessing():
    pytest.importorskip("torchvision")
    network = load_network("torchvision:resnet18", weights="random")
    assert network.preprocessing.size == (224, 224)
    assert network.preprocessing.mean == (0.485, 0.456, 0.406)
    assert not network.module.training
    larger = load_network("torchvision:efficientnet_b1@IMAGENET1K_V2", weights="random")
    assert larger.preprocessing.size == (240, 240)


def test_torchvision_weights_from_a_file(tmp_path):
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(5)
    reference = models.squeezenet1_1(weights=None)
    save_file(reference.state_dict(), tmp_path / "w.safetensors")
    network = load_network("torchvision:squeezenet1_1", weights=tmp_path / "w.safetensors")
    assert weights_sha256(network.module) == weights_sha256(reference)


def test_pretrained_is_the_default(monkeypatch):
    models = pytest.importorskip("torchvision").models
    asked = []
    real = models.get_model

    def spy(name, weights):
        asked.append(weights)
        return real(name, weights=None)

    monkeypatch.setattr(models, "get_model", spy)
    load_network("torchvision:squeezenet1_1")
    assert asked == [models.SqueezeNet1_1_Weights.DEFAULT]


def test_torchvision_without_internet_says_what_to_do(monkeypatch, tmp_path):
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", no_internet)
    with pytest.raises(
        NetworkError, match=r'no route to host.*weights=FILE\.safetensors.*weights="random"'
    ) as caught:
        load_network("torchvision:resnet18")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_unknown_torchvision_names():
    pytest.importorskip("torchvision")
    with pytest.raises(NetworkError, match=r"list_models\(\)"):
        load_network("torchvision:resnet19")
    with pytest.raises(NetworkError, match="no weights 'NOPE', only IMAGENET1K_V1"):
        load_network("torchvision:resnet18@NOPE")


def test_timm_with_its_preprocessing():
    pytest.importorskip("timm")
    network = load_network("timm:test_vit2", weights="random")
    assert network.preprocessing.size == (160, 160)
    assert network.preprocessing.mean == (0.5, 0.5, 0.5)
    assert not network.module.training


def test_timm_without_internet_says_what_to_do(monkeypatch):
    timm = pytest.importorskip("timm")
    real = timm.create_model

    def create(name, pretrained):
        return no_internet() if pretrained else real(name)

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(NetworkError, match=r'no route to host.*weights="random"'):
        load_network("timm:resnet18")
    with pytest.raises(NetworkError, match=r"list_models\(\)"):
        load_network("timm:resnet19000")


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_without_the_package_the_extra_is_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"netinvert\[{package}\]"):
        load_network(f"{package}:resnet18")


FORM = Preprocessing((32, 48), (0.5, 0.4, 0.3), (0.25, 0.25, 0.25))


def test_factories_in_files_keep_their_mode(factory):
    network = load_network(f"{factory}:trains", preprocessing=FORM)
    assert network.module.training  # the encoder tells the user, who may have meant it
    assert network.preprocessing == FORM
    assert network.name == f"{factory}:trains"


def test_a_bare_module_without_preprocessing_is_refused(factory):
    with pytest.raises(
        NetworkError, match=r"how does module:.*:trains want its images.*Preprocessing.*--size"
    ):
        load_network(f"{factory}:trains")


def test_preprocessing_that_is_told_replaces_a_networks_own(factory):
    assert load_network(f"{factory}:whole", preprocessing=FORM).preprocessing == FORM


def test_factories_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "nets_of_mine.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert load_network("module:nets_of_mine:whole").name == "mine"
    assert sys.path == path
    with pytest.raises(NetworkError, match=r"module:nets_of_mine\.py:whole\?"):
        load_network("nets_of_mine.py:whole")
    del sys.modules["nets_of_mine"]


def test_factories_may_give_a_network(factory):
    network = load_network(f"{factory}:whole")
    assert network.name == "mine"
    assert network.preprocessing.size == (32, 48)


def test_factories_in_packages(tmp_path, monkeypatch):
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "nets.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert isinstance(load_network("module:somebody.nets:trains", None, FORM).module, torch.nn.Sequential)


def test_weights_go_into_a_factorys_module(factory, tmp_path):
    module = load_network(f"{factory}:trains", None, FORM).module
    state = {key: torch.ones_like(value) for key, value in module.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = load_network(f"{factory}:trains", tmp_path / "w.safetensors", FORM).module
    assert bool((loaded[0].weight == 1).all())


def test_a_factorys_weights_are_its_own_affair(factory):
    with pytest.raises(NetworkError, match="leave weights out"):
        load_network(f"{factory}:trains", weights="random")


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (":nothing", "gave a int"),
        (":fails", "RuntimeError: no such file on my disk"),
        (":absent", "no function 'absent'"),
        ("", "names no factory|has no function|no file"),
    ],
)
def test_bad_factories(factory, ending, message):
    with pytest.raises(NetworkError, match=message):
        load_network(factory + ending)


def test_modules_that_are_not_there_or_do_not_run(tmp_path):
    with pytest.raises(NetworkError, match="cannot import no_such_package"):
        load_network("module:no_such_package:f")
    with pytest.raises(NetworkError, match="check the path"):
        load_network(f"module:{tmp_path / 'none.py'}:f")
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(NetworkError, match="SyntaxError"):
        load_network(f"module:{tmp_path / 'broken.py'}:f")
    assert "netinvert_factory_broken" not in sys.modules
