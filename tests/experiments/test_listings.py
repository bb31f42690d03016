"""Tables of networks and layers: what they show, that they fit, and what is worth inverting."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from torch import nn

from netinvert.cli.app import main
from netinvert.evaluation.report import Table
from netinvert.experiments import listings
from netinvert.models.layers import architecture, list_layers, suggested_layers
from netinvert.models.network import Network, Preprocessing
from netinvert.models.registry import list_networks

OWN = """
from torch import nn
def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(900, 3)).eval()
"""


def said(capsys, *words):
    assert main(words) == 0
    return capsys.readouterr().out


def test_networks(capsys):
    facts = json.loads(said(capsys, "networks", "--json"))["networks"]
    assert {"objectron-chair", "mobilenet-v2", "timm:NAME"} <= {card["name"] for card in facts}
    assert all(card["licence"] and card["installed"] in (True, False) for card in facts)
    text = said(capsys, "networks")
    for card in list_networks():
        assert card.name in text
        assert all(layer in text for layer in card.layers)
    assert "  posenet-fc7: relu7 of posenet\n" in text
    decoders = json.loads(said(capsys, "networks", "--json"))["decoders"]
    assert {"name": "posenet-pose", "network": "posenet", "layer": "fc8"} in decoders


def test_extras_that_are_missing_are_told_with_the_remedy(capsys, monkeypatch):
    cards = [replace(card, packages=(*card.packages, "no_such_package")) for card in list_networks()]
    monkeypatch.setattr(listings, "list_networks", lambda: [card for card in cards if card.extra != "timm"])
    text = said(capsys, "networks")
    assert "imagenet ✗" in text
    assert "torchvision" in text.splitlines()[-1]
    assert text.splitlines()[-1].startswith("✗ not installed: pip install 'netinvert[")
    assert "timm" not in text.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [["networks"], ["layers", "hog"], pytest.param(["layers", "mobilenet-v2"], marks=pytest.mark.slow)],
)
def test_listings_fit_80_columns(capsys, words):
    assert max(map(len, said(capsys, *words).splitlines())) <= 80


def test_wide_tables_are_reflowed_and_lose_nothing():
    table = Table(["name", "more"], [("a" * 60, "b" * 60), ("c", "d")])
    lines = listings.fitted(table).splitlines()
    assert lines == ["name", "    more", "a" * 60, "    " + "b" * 60, "c", "    d"]
    assert listings.fitted(Table(["name"], [("a",)])) == "name\na"


def test_layers(capsys):
    facts = json.loads(said(capsys, "layers", "posenet", "--json"))
    assert facts["size"] == [128, 128]
    assert facts["suggested"] == list(architecture("posenet").layers)
    assert facts["layers"][0] == {
        "name": "conv1",
        "type": "Conv2d",
        "code_shape": [40, 32, 32],
        "stride": 4,
        "receptive_field": 11,
    }
    starred = [
        line.split()[0] for line in said(capsys, "layers", "posenet").splitlines() if line.endswith(" *")
    ]
    assert starred == facts["suggested"] * 2  # of a long list, they stand at its end once more


@pytest.mark.slow
def test_many_layers_end_with_those_worth_inverting_under_their_heads(capsys):
    _, _, last = said(capsys, "layers", "objectron-chair").partition("worth inverting\n")
    assert last.split()[:5] == ["name", "type", "code", "stride", "field"]
    assert [line.split()[0] for line in last.splitlines()[1:-1]] == list(
        architecture("objectron-chair").layers
    )


def test_layers_of_an_own_module(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    where = f"module:{tmp_path / 'mine.py'}:network"
    facts = json.loads(said(capsys, "layers", where, "--size", "32", "--mean", "0.5", "--json"))
    assert facts["suggested"] == ["1", "output"]
    assert main(["layers", where]) == 2
    assert "--size" in capsys.readouterr().err


def suggested(module, size=32):
    network = Network("mine", module.eval(), Preprocessing(size))
    return suggested_layers(network, list_layers(network))


class Block(nn.Module):
    def __init__(self, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, stride, 1)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.conv(x))


def test_blocks_are_suggested_at_every_stride():
    stages = nn.Sequential(Block(), Block(), Block(2), Block(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert suggested(stages) == ("1", "2", "3", "4", "output")
    deep = nn.Sequential(*[nn.Sequential(Block(2), *[Block() for _ in range(9)]) for _ in range(3)])
    assert suggested(deep) == ("0", "1", "2", "output")
    flat = nn.Sequential(*[Block() for _ in range(12)])
    assert suggested(flat) == ("1", "3", "5", "7", "9", "11", "output")


def test_without_blocks_activations_and_poolings_are():
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.GELU())
    assert suggested(plain) == ("1", "2", "4", "output")
    assert suggested(nn.Sequential(nn.Conv2d(3, 4, 3))) == ("output",)
