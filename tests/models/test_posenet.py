from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from netinvert import Encoder, invert, recipe
from netinvert.errors import ConfigError, NetworkError
from netinvert.models.network import Preprocessing
from netinvert.models.registry import load_network
from netinvert.models.zoo.pose import (
    HEADS,
    LAYERS,
    PoseFile,
    PoseNet,
    PoseResNet,
    SiameseHead,
    folded,
    read_pose_network,
    relative_loss,
    relative_rotation,
    rotation_head,
    rotation_loss,
    save_pose_network,
)
from netinvert.scenes.cameras import (
    angles_from_rotation,
    geodesic_degrees,
    matrix_to_6d,
    rotation_from_6d,
    rotation_from_angles,
    turn_about,
)

DOUBLE = torch.float64


def views(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    azimuth = 360 * torch.rand(count, generator=generator, dtype=DOUBLE)
    elevation = 90 * torch.rand(count, generator=generator, dtype=DOUBLE) - 20
    in_plane = 40 * torch.rand(count, generator=generator, dtype=DOUBLE) - 20
    return rotation_from_angles(azimuth, elevation, in_plane)


def perfect(head, rotation):
    """Outputs that say exactly this."""
    if head.name == "6d":
        return matrix_to_6d(rotation)

    azimuth, elevation, in_plane = angles_from_rotation(rotation)
    place = azimuth / head.width - 0.5
    centres = torch.arange(head.count, dtype=rotation.dtype)
    distance = torch.remainder(place[:, None] - centres + head.count / 2, head.count) - head.count / 2
    rest = torch.stack([elevation / 30, in_plane / 30], dim=1)
    return torch.cat([-2 * distance.square(), distance, rest], dim=1)


# -- topology ------------------------------------------------------------------------------------------


def test_the_layers_of_alexnet_in_their_order():
    names = [name for name, _ in PoseNet(norm=False).named_children()]
    expected = "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 flatten"
    assert names == [*expected.split(), "fc6", "relu6", "fc7", "relu7", "fc8"]
    pools = [part for part in PoseNet().children() if isinstance(part, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride) for pool in pools] == [(3, 2)] * 3  # overlapping
    assert set(LAYERS["posenet"]) <= set(names)


@pytest.mark.parametrize(("network", "layer"), [(PoseNet(), "relu7"), (PoseResNet(50), "relu5")])
def test_codes_are_those_of_their_layer(network, layer):
    network.eval()
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    code, output = network.codes_and_outputs(image)
    torch.testing.assert_close(output, network(image))
    encoder = Encoder(network, layer, Preprocessing((64, 64)))
    # the encoder folds BatchNorm into the layers before it, which rounds otherwise
    torch.testing.assert_close(code, encoder(image), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("network", [PoseNet(), PoseResNet(50)])
def test_folding_changes_nothing_but_the_number_of_layers(network):
    network = network.double()
    with torch.no_grad():
        for _ in range(5):
            network.train()(1 + 2 * torch.randn(16, 3, 64, 64, dtype=DOUBLE))
        network.eval()
        image = torch.randn(4, 3, 64, 64, dtype=DOUBLE)
        bare = folded(network)
        torch.testing.assert_close(bare(image), network(image), rtol=1e-10, atol=1e-10)
    assert not any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in bare.modules())
    assert any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in network.modules())


# -- heads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_reads_what_perfect_outputs_say(head):
    rotation = views(50)
    assert geodesic_degrees(head.rotation(perfect(head, rotation)), rotation).max() < 1e-4


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_no_output_near_the_perfect_one_has_less_loss(head):
    rotation = views(50)
    right = perfect(head, rotation)
    least = head.error(right, rotation)
    for scale in (0.03, 0.3):
        other = right + scale * torch.randn(
            right.shape, generator=torch.Generator().manual_seed(2), dtype=DOUBLE
        )
        assert (head.error(other, rotation) >= least - 1e-9).all()


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_symmetric_objects_cost_the_least_over_their_turns(head):
    rotation = views(6)
    symmetry = torch.tensor([1, 2, 4, 1, 2, 4])
    output = perfect(head, rotation)
    base = rotation_loss(head, output, rotation, symmetry)
    turned = rotation @ turn_about(360 / symmetry.to(DOUBLE), 2)
    torch.testing.assert_close(rotation_loss(head, output, turned, symmetry), base)
    alone = torch.ones(6, dtype=torch.long)
    assert (rotation_loss(head, output, turned, alone)[symmetry > 1] > base[symmetry > 1] + 0.5).all()


def test_of_a_body_of_revolution_only_the_axis_counts():
    head = rotation_head("6d")
    rotation = views(4)
    turned = rotation @ turn_about(torch.tensor(70.0, dtype=DOUBLE), 2)
    none = torch.zeros(4, dtype=torch.long)
    assert rotation_loss(head, perfect(head, rotation), turned, none).max() < 0.01


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_gradients_are_finite_at_a_perfect_answer(head):
    rotation = views(8)
    output = perfect(head, rotation).requires_grad_()
    rotation_loss(head, output, rotation, torch.tensor([1, 2, 4, 0, 1, 2, 4, 0])).sum().backward()
    assert torch.isfinite(output.grad).all()


def test_heads_are_found_by_name():
    assert rotation_head("6d").outputs == 6
    with pytest.raises(ConfigError, match="there are 6d, bins"):
        rotation_head("euler")


# -- pairs ---------------------------------------------------------------------------------------------


def test_the_relative_rotation_takes_one_camera_to_the_other():
    first, second = views(5, 1), views(5, 2)
    point = torch.randn(3, dtype=DOUBLE)
    torch.testing.assert_close(
        relative_rotation(first, second) @ (first @ point)[..., None], (second @ point)[..., None]
    )


def test_zamirs_loss_is_square_up_to_one_and_logarithmic_after():
    truth = torch.eye(3).expand(3, 3, 3)
    exact = matrix_to_6d(truth)
    shifts = torch.tensor([0.5, 1.0, 3.0])
    wrong = exact + torch.nn.functional.one_hot(torch.tensor([0, 0, 0]), 6) * shifts[:, None]
    expected = torch.tensor([0.25, 1.0, 1 + torch.log(torch.tensor(9.0))])
    torch.testing.assert_close(relative_loss(wrong, truth), expected)
    torch.testing.assert_close(rotation_from_6d(exact), truth)


def test_the_pair_head_tells_first_from_second():
    head = SiameseHead(8)
    one, two = torch.randn(2, 5, 8).unbind(0)
    (forward, _), (back, _) = head(one, two), head(two, one)
    assert not torch.allclose(forward, back)


def test_the_pair_head_learns_to_tell_objects_apart():
    torch.manual_seed(0)
    head = SiameseHead(8, hidden=32, embedding=4)
    objects = torch.randn(12, 4)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)

    def views():  # what the object is, and what only the view decides
        return torch.cat([objects, 3 * torch.randn(12, 4, generator=generator)], dim=1)

    for _ in range(200):
        optimizer.zero_grad()
        head.match_loss(views(), views()).backward()
        optimizer.step()
    head.eval()
    first, second = views(), views()
    _, same = head(first, second)
    _, other = head(first, second.roll(1, 0))
    assert (same > 0).float().mean() > 0.9
    assert (other < 0).float().mean() > 0.9
    assert torch.allclose(head.embedding(first).norm(dim=1), torch.ones(12), atol=1e-5)


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [True, False])
def test_a_pose_network_comes_back_from_its_file(tmp_path, half):
    network = PoseNet(norm=False).eval()
    path = tmp_path / "net.safetensors"
    save_pose_network(
        path, PoseFile(network, SiameseHead().eval(), "posenet", rotation_head("6d"), {"seed": 3}), half
    )
    content = read_pose_network(path)
    assert content.facts == {"seed": 3}
    assert content.head.name == "6d"
    tolerance = 1e-3 if half else 0
    for ours, theirs in zip(content.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    loaded = load_network("posenet", path)
    assert loaded.read_pose(loaded.module(torch.zeros(2, 3, 64, 64))).rotation.shape == (2, 3, 3)
    with pytest.raises(NetworkError, match="holds a posenet, not a posenet-judge"):
        load_network("posenet-judge", path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(NetworkError, match="does not exist"):
        read_pose_network(tmp_path / "none.safetensors")

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(NetworkError, match="no pose network of netinvert"):
        read_pose_network(tmp_path / "other.safetensors")


def test_a_pose_networks_code_can_be_inverted():
    encoder = Encoder(load_network("posenet", "random"), "pool2")
    image = torch.rand(1, 3, 64, 64)
    result = invert(encoder, encoder(image), preset=recipe("default", encoder).with_steps(40), seed=0)
    assert result.image.shape == (1, 3, 64, 64)
    assert result.error.item() < 0.5
