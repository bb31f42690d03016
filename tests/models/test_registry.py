import subprocess
import sys

import pytest

from netinvert.errors import NetworkError
from netinvert.models.registry import list_networks, load_network

BUILT_IN = [card for card in list_networks() if ":" not in card.name]


def test_all_families_have_a_card():
    names = [card.name for card in list_networks()]
    assert len(names) == len(set(names)) == 26
    assert {name.partition(":")[0] for name in names if ":" in name} == {
        "torchvision",
        "timm",
        "transformers",
        "diffusers",
        "onnx",
        "tflite",
        "module",
    }


@pytest.mark.parametrize("card", BUILT_IN, ids=lambda card: card.name)
def test_cards_tell_the_truth(card):
    if card.parameters is None and not card.installed:
        pytest.skip(f"the packages of {card.name} are not installed")
    network = load_network(card.name, "random" if card.parameters else None)
    modules = dict(network.module.named_modules())
    assert network.name == card.name
    assert network.preprocessing.size == card.size
    assert network.layers == card.layers
    assert set(card.layers) <= set(modules)
    assert len(card.layers) >= 5
    count = sum(parameter.numel() for parameter in network.module.parameters())
    assert card.parameters in (count, None)  # of a graph's constants nobody knows which were trained
    assert network.licence == card.licence
    assert network.source == card.source
    assert (network.read_pose is not None) == card.name.startswith(("objectron", "posenet"))


def test_nearest_names_are_offered():
    with pytest.raises(NetworkError, match="did you mean objectron-chair"):
        load_network("objectron-chiar")
    with pytest.raises(NetworkError, match=r"did you mean mobilenet-v2.*\? 'netinvert networks' lists all"):
        load_network("mobilenetv2")


@pytest.mark.parametrize("name", ["", ":", "xyzzy", "nope:thing", "tflite:"])
def test_unknown_names(name):
    with pytest.raises(NetworkError, match="no network"):
        load_network(name)


@pytest.mark.slow
def test_importing_the_catalogue_imports_no_optional_package():
    code = (
        "import sys, netinvert.models.registry; "
        "print({'tflite', 'onnx', 'onnx2torch', 'timm', 'torchvision', 'transformers', 'diffusers'} "
        "& set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
