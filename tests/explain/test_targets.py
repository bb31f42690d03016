"""What can be asked of a network, and what its values and components are."""

import math

import pytest
import torch
from torch import nn

import tiny
from netinvert.errors import ConfigError, LayerError
from netinvert.explain.targets import POSES, parse_target, pose_kinds
from netinvert.inversion.objectives import code_error
from netinvert.models.network import Network, Preprocessing
from netinvert.models.registry import load_network
from netinvert.models.zoo.pose_heads import azimuth_target
from netinvert.scenes.cameras import angles_from_rotation, geodesic_degrees, matrix_to_6d, rotation_from_6d

POSENET = load_network("posenet")
IMAGES = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
TINY = Network("tiny", tiny.seeded(tiny.plain), tiny.PLAIN)


def test_units_are_what_the_layer_gives():
    images = tiny.images(3)
    logits = TINY.module(images)
    torch.testing.assert_close(parse_target(TINY, "class:2")(images), logits[:, 2])
    torch.testing.assert_close(parse_target(TINY, "class")(images), logits.amax(1))
    maps = TINY.module[:5](images)
    torch.testing.assert_close(parse_target(TINY, "4/channel:1")(images), maps[:, 1].mean((1, 2)))
    torch.testing.assert_close(parse_target(TINY, "4/neuron:1@2,3")(images), maps[:, 1, 2, 3])


def test_the_likeliest_class_is_kept_when_the_image_changes():
    target, images = parse_target(TINY, "class"), tiny.images(2)
    fixed, other = target.fixed(images), tiny.images(2, seed=8)
    torch.testing.assert_close(target(other, fixed), TINY.module(other).gather(1, fixed)[:, 0])


def test_codes_are_matched_and_followed(tmp_path):
    images = tiny.images(2)
    codes = TINY.module(images)
    target = parse_target(TINY, "match")
    other = tiny.images(2, seed=8)
    torch.testing.assert_close(target(other, target.fixed(images)), -code_error(TINY.module(other), codes))
    file = tmp_path / "code.pt"
    torch.save(codes[:1].detach(), file)
    matched = parse_target(TINY, f"match:{file}")(images)
    assert matched[0].abs() < 1e-6
    assert matched[1] < -0.005
    torch.testing.assert_close(parse_target(TINY, f"code:{file}")(images), codes @ codes[0])


def test_components_of_a_match_have_the_size_of_its_code_error():
    target, images = parse_target(TINY, "5/match"), tiny.images(40)
    fixed, near = target.fixed(images), images + 1e-4 * tiny.images(40, seed=9)
    ratio = target.components(near, fixed).norm(dim=1) / -target(near, fixed)
    assert 0.85 < ratio.square().mean().sqrt() < 1.15


@pytest.mark.parametrize("kind", POSES)
def test_poses_are_about_what_was_read(kind):
    target = parse_target(POSENET, f"pose:{kind}")
    fixed, other = target.fixed(IMAGES), IMAGES.flip(0)
    reading = POSENET.read_pose(POSENET.module((IMAGES - 0.5) / 0.25))
    torch.testing.assert_close(fixed, reading.rotation, atol=1e-4, rtol=0)
    turned = POSENET.read_pose(POSENET.module((other - 0.5) / 0.25)).rotation
    value, logits = target(other, fixed), POSENET.module((other - 0.5) / 0.25)
    angles = [angles_from_rotation(one) for one in (turned, fixed)]
    apart = [-(torch.remainder(a - b + 180, 360) - 180).abs() for a, b in zip(*angles, strict=True)]
    expected = {
        "geodesic": -geodesic_degrees(turned, fixed),
        "likelihood": (
            azimuth_target(angles[1][0], torch.ones(3, dtype=torch.long)) * logits[:, 6:30].log_softmax(1)
        ).sum(1),
        "strength": (matrix_to_6d(fixed) * logits[:, :6]).sum(1),
        **dict(zip(("azimuth", "elevation", "in-plane"), apart, strict=True)),
    }
    torch.testing.assert_close(value, expected[kind], atol=1e-3, rtol=1e-4)


def test_the_strength_is_most_for_what_says_the_pose_itself():
    """Of all six numbers of a length those are strongest that Gram-Schmidt leaves as they are."""
    target, fixed = parse_target(POSENET, "pose:strength"), rotation_from_6d(torch.randn(4, 6))
    values = target.value(torch.cat([matrix_to_6d(fixed), torch.zeros(4, 28)], 1), fixed)
    torch.testing.assert_close(values, torch.full((4,), 2.0))


def test_a_distance_is_the_norm_of_its_components_near_the_reading():
    for kind in ("geodesic", "azimuth", "elevation", "in-plane"):
        target = parse_target(POSENET, f"pose:{kind}")
        fixed, near = target.fixed(IMAGES), (IMAGES + 5e-3 * IMAGES.flip(0)).clamp(0, 1)
        away = target.components(near, fixed).norm(dim=1)
        torch.testing.assert_close(away, -target(near, fixed), rtol=0.01, atol=2e-3)
        assert away.max() > 0.01


def test_the_pose_of_a_box_has_the_gradient_of_its_keypoints():
    network = load_network("objectron-chair")
    target = parse_target(network, "pose")
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1), requires_grad=True)
    fixed = target.fixed(image)
    (slope,) = torch.autograd.grad(target.components(image, fixed)[:, 1].sum(), image)
    step = 1e-3 * slope / slope.norm()
    ahead, behind = (target.components(image.detach() + way * step, fixed)[0, 1] for way in (1, -1))
    assert math.isclose((ahead - behind).item() / 2e-3, slope.norm().item(), rel_tol=0.05)


def test_keypoints_are_places_in_pixels():
    network = load_network("objectron-chair")
    target, images = parse_target(network, "keypoint:3"), torch.rand(2, 3, 224, 224)
    places = network.module(images)["keypoints"][:, 6:8]
    torch.testing.assert_close(target.fixed(images), places, atol=0.02, rtol=1e-3)
    apart = -(places - places.flip(0)).norm(dim=1)
    torch.testing.assert_close(target(images.flip(0), target.fixed(images)), apart, atol=0.05, rtol=1e-2)


@pytest.mark.parametrize(
    ("network", "text", "error", "says"),
    [
        (POSENET, "pose:roll", ConfigError, "pose:KIND \\(strength, likelihood, geodesic"),
        (load_network("posenet-judge"), "pose:strength", ConfigError, "pose:KIND \\(likelihood, geodesic"),
        (POSENET, "relu5/pose", ConfigError, "output"),
        (POSENET, "keypoint:0", ConfigError, "no keypoints"),
        (POSENET, "nonsense", ConfigError, "channel:K"),
        (POSENET, "channel:99", ConfigError, "0 to 33"),
        (POSENET, "relu5/class", ConfigError, "channel:K"),
        (POSENET, "relu9/channel:0", LayerError, "relu"),
        (TINY, "pose", ConfigError, "no 'pose'"),
    ],
)
def test_what_a_network_has_not_is_refused(network, text, error, says):
    with pytest.raises(error, match=says):
        parse_target(network, text)


def test_only_networks_that_read_poses_have_kinds_of_them():
    assert pose_kinds(POSENET) == POSES
    assert pose_kinds(load_network("objectron-chair")) == ("geodesic", "azimuth", "elevation", "in-plane")
    assert pose_kinds(Network("bare", nn.Flatten().eval(), Preprocessing((8, 8)))) == ()


def test_a_network_of_poses_has_no_classes():
    network = load_network("posenet")
    with pytest.raises(ConfigError, match="tells poses and no classes") as told:
        parse_target(network, "class")
    assert "class," not in str(told.value)
