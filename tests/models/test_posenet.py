"""Pose networks: their layers, their files, what they read."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from netinvert import Encoder, invert, recipe
from netinvert.errors import NetworkError
from netinvert.evaluation.evaluate import read_poses
from netinvert.io.assets import chair
from netinvert.models.network import Preprocessing
from netinvert.models.registry import load_network
from netinvert.models.zoo.pose import (
    POSE_NETWORKS,
    TOPOLOGIES,
    PoseFile,
    read_pose_network,
    save_pose_network,
)
from netinvert.models.zoo.pose_heads import SiameseHead
from netinvert.models.zoo.pose_topologies import POSENET_LAYERS, PoseNet, PoseResNet, folded
from netinvert.scenes.cameras import matrix_to_6d, rotation_from_angles

DOUBLE = torch.float64
CONTROLS = ("posenet-only", "posenet-match", "posenet-plain")


# -- topology ------------------------------------------------------------------------------------------


def test_the_layers_of_alexnet_in_their_order():
    names = [name for name, _ in PoseNet(norm=False).named_children()]
    expected = "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 flatten"
    assert names == [*expected.split(), "fc6", "relu6", "fc7", "relu7", "fc8", "azimuth", "turns"]
    pools = [part for part in PoseNet().children() if isinstance(part, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride) for pool in pools] == [(3, 2)] * 3  # overlapping
    assert set(POSENET_LAYERS) <= set(names)


def test_the_output_is_that_of_the_three_heads():
    network = PoseNet(norm=False).eval()
    image = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    code = network.code(image)
    rotation, azimuth, turns = network(image).split([6, 24, 4], 1)
    for head, said in (("fc8", rotation), ("azimuth", azimuth), ("turns", turns)):
        torch.testing.assert_close(network.get_submodule(head)(code), said)
    assert code.shape == (2, network.code_size) == (2, 512)
    assert PoseNet(code=40, norm=False).code_size == 40


@pytest.mark.parametrize(
    ("network", "layer", "side"), [(PoseNet(), "relu7", 128), (PoseResNet(50), "relu5", 64)]
)
def test_codes_are_those_of_their_layer(network, layer, side):
    network.eval()
    image = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    code = network.code(image)
    torch.testing.assert_close(network.outputs(code), network(image))
    encoder = Encoder(network, layer, Preprocessing((side, side)))
    # the encoder folds BatchNorm into the layers before it, which rounds otherwise
    torch.testing.assert_close(code, encoder(image), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("network", "side"), [(PoseNet(), 128), (PoseResNet(50), 64)])
def test_folding_changes_nothing_but_the_number_of_layers(network, side):
    network = network.double()
    with torch.no_grad():
        for _ in range(3):
            network.train()(1 + 2 * torch.randn(8, 3, side, side, dtype=DOUBLE))
        network.eval()
        image = torch.randn(2, 3, side, side, dtype=DOUBLE)
        bare = folded(network)
        torch.testing.assert_close(bare(image), network(image), rtol=1e-10, atol=1e-10)
    assert not any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in bare.modules())
    assert any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in network.modules())


# -- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CONTROLS, "posenet"])
def test_posenet_and_its_controls_are_of_one_form(name):
    network = load_network(name)
    assert network.preprocessing.size == (128, 128)
    assert network.layers == POSENET_LAYERS
    assert network.held_out_pose_estimator == "posenet-judge"
    assert Encoder(network, "fc8").code_shape == (6,)  # the rotation alone
    picture = chair((128, 128))
    reading = read_poses(Encoder(network, "relu7"), picture.image.repeat(2, 1, 1, 1))
    for said in (reading.confidence, reading.frontless):
        assert said.shape == (2,)
        assert bool(((said >= 0) & (said <= 1)).all())


def test_each_of_them_is_another_network():
    outputs = []
    for name in (*CONTROLS, "posenet"):
        network = load_network(name)
        with torch.no_grad():
            outputs.append(network.module(torch.zeros(1, 3, 128, 128)))
    assert len({tuple(one.flatten().tolist()) for one in outputs}) == 4


@pytest.mark.parametrize("name", ["posenet", "posenet-judge"])
def test_random_networks_repeat_and_differ_by_their_seed(name):
    def weights(text):
        return torch.cat([value.flatten() for value in load_network(name, text).module.state_dict().values()])

    first = weights("random")
    assert torch.equal(first, weights("random:0"))
    assert torch.equal(weights("random:7"), weights("random:7"))
    assert not torch.equal(first, weights("random:7"))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert not torch.equal(first, weights("random:8"))
    assert torch.equal(torch.rand(1), expected)


def test_a_random_network_may_be_a_control_and_says_so():
    network = load_network("posenet-only", "random:3")
    assert network.name == "posenet-only"
    with pytest.raises(NetworkError, match="does not exist"):
        load_network("posenet", "random:x")


# -- files ---------------------------------------------------------------------------------------------


def written(path, half=False, **facts):
    network = PoseNet(norm=False).eval()
    content = PoseFile(network, SiameseHead().eval(), "posenet", facts)
    save_pose_network(path, content, half)
    return network


@pytest.mark.parametrize("half", [True, False])
def test_a_pose_network_comes_back_from_its_file(tmp_path, half):
    path = tmp_path / "net.safetensors"
    network = written(path, half=half, seed=3)
    content = read_pose_network(path)
    assert content.facts == {"seed": 3}
    assert content.head.name == "view"
    assert content.calibration == (0.0, 1.0)
    tolerance = 1e-3 if half else 0
    for ours, theirs in zip(content.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    loaded = load_network("posenet", path)
    assert loaded.read_pose(loaded.module(torch.zeros(2, 3, 128, 128))).rotation.shape == (2, 3, 3)
    with pytest.raises(NetworkError, match="holds a posenet, not a posenet-judge"):
        load_network("posenet-judge", path)
    assert load_network("posenet-plain", path).name == "posenet-plain"  # another training of its topology


def test_the_calibration_moves_the_confidence_and_nothing_else(tmp_path):
    path = tmp_path / "net.safetensors"
    output = torch.randn(5, 34, generator=torch.Generator().manual_seed(1))
    readings = []
    for calibration in ((0.0, 1.0), (-1.0, 1.0), (0.5, 2.0), (-100.0, 1.0)):
        torch.manual_seed(0)
        written(path, calibration=calibration)
        assert read_pose_network(path).calibration == calibration
        readings.append(load_network("posenet", path).read_pose(output))
    plain, lower, steeper, none = (torch.logit(one.confidence.double()) for one in readings)
    torch.testing.assert_close(lower, plain - 1, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(steeper, 2 * plain + 0.5, rtol=1e-4, atol=1e-4)
    assert none.max() < -80
    for one in readings:
        assert torch.equal(one.rotation, readings[0].rotation)
        assert torch.equal(one.frontless, readings[0].frontless)


def test_an_output_that_is_sure_has_a_confidence_short_of_one():
    output = torch.zeros(2, 34)
    output[:, :6] = matrix_to_6d(rotation_from_angles(*torch.zeros(3)))  # azimuth 0
    output[0, 6] = output[0, 29] = 1000.0  # right beside it
    output[1, 17] = 1000.0  # behind
    reading = load_network("posenet", "random").read_pose(output)
    right, wrong = torch.logit(reading.confidence.double()).tolist()
    assert right == pytest.approx(13.9, abs=0.1)  # of 1 - 2^-20
    assert wrong == pytest.approx(-13.9, abs=0.1)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(NetworkError, match="does not exist"):
        read_pose_network(tmp_path / "none.safetensors")

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(NetworkError, match="no pose network of netinvert"):
        read_pose_network(tmp_path / "other.safetensors")


def test_every_name_has_a_topology():
    assert set(POSE_NETWORKS.values()) == set(TOPOLOGIES)


def test_a_pose_networks_code_can_be_inverted():
    encoder = Encoder(load_network("posenet", "random"), "pool2")
    image = torch.rand(1, 3, 128, 128)
    result = invert(encoder, encoder(image), preset=recipe("default", encoder).with_steps(40), seed=0)
    assert result.image.shape == (1, 3, 128, 128)
    assert result.error.item() < 0.5
