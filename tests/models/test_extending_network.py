"""What a user writes for a network of one's own."""

import importlib.metadata

import pytest
import torch
from torch import nn

import netinvert as ni
from netinvert.models import registry
from netinvert.models.registry import NetworkCard, register_network


@pytest.fixture(autouse=True)
def own_names(monkeypatch):
    monkeypatch.setattr(registry.NETWORKS, "_things", dict(registry.NETWORKS._things))


def test_a_network_of_ones_own():
    @register_network("mine", preprocessing=ni.Preprocessing(32, mean=(0.5,), std=(0.25,)))
    def mine() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10)).eval()

    encoder = ni.Encoder(ni.load_network("mine"), "1")
    assert encoder.code_shape == (4, 30, 30)
    assert encoder.size == (32, 32)
    assert "mine" in [card.name for card in ni.list_networks()]


def test_a_factory_may_give_a_network_and_layers():
    @register_network("whole", layers=("0",))
    def whole():
        return ni.Network("whole", nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), ni.Preprocessing(16))

    assert ni.load_network("whole").layers == ("0",)
    other = ni.Preprocessing((16, 20))
    assert ni.load_network("whole", preprocessing=other).preprocessing == other


def test_names_are_given_once_and_typable():
    for name in ("posenet", "a:b", "a b", ""):
        with pytest.raises(ni.ConfigError, match="name"):
            register_network(name)(nn.Identity)


def test_a_module_without_preprocessing_says_so():
    register_network("bare")(nn.Identity)
    with pytest.raises(ni.NetworkError, match=r"how does bare want its images.*--size"):
        ni.load_network("bare")
    assert ni.load_network("bare", preprocessing=ni.Preprocessing(8)).name == "bare"


def test_networks_of_packages_are_found_through_entry_points(monkeypatch):
    loaded = []

    class Point:
        name = "theirs"

        def load(self):
            loaded.append(self.name)
            return lambda: ni.Network("theirs", nn.Conv2d(3, 2, 3).eval(), ni.Preprocessing(16))

    def entry_points(group, name=None):
        return [Point()] if group == "netinvert.networks" and name in (None, "theirs") else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert "theirs" in [card.name for card in ni.list_networks()]
    ni.load_network("hog")
    assert loaded == []
    assert ni.load_network("theirs").preprocessing.size == (16, 16)
    assert loaded == ["theirs"]


def test_cards_know_what_is_installed():
    card = NetworkCard("x", "", "", "")
    assert card.installed
    assert not NetworkCard("x", "", "", "", packages=("torch", "no_such_package")).installed


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "vit_b_16"])
def test_names_of_other_packages_are_told_with_their_prefix(name):
    with pytest.raises(ni.NetworkError, match=f"did you mean .*torchvision:{name} or timm:{name}"):
        ni.load_network(name)


def test_weights_are_moved_with_the_image():
    encoder = ni.Encoder(ni.load_network("posenet"), "relu5")
    assert encoder.to("cpu") is encoder
    assert encoder.to(torch.device("cpu", 0)) is encoder
