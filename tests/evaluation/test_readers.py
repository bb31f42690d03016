"""Readers of poses that take no part in making an image."""

import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.evaluation.readers import (
    FOREIGN,
    LearnedViews,
    held_out_readers,
    network_reader,
    read_images,
    with_margin,
)
from netinvert.models.registry import load_network
from netinvert.models.zoo.pose import load_pose_file, save_pose_network
from netinvert.scenes.cameras import geodesic_degrees, is_rotation, rotation_from_angles


@pytest.fixture(scope="module")
def learned():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, 3, 64, 64), generator=generator, dtype=torch.uint8)
    azimuth = 15.0 * torch.arange(24)
    turns = rotation_from_angles(azimuth, torch.full((24,), 20.0), torch.zeros(24))
    return LearnedViews(images, turns)


def test_what_was_learned_is_read_again(learned):
    hog, pixels, always = learned.readers()
    for reader in (hog, pixels):
        assert geodesic_degrees(reader(learned.images / 255), learned.rotation).max() < 0.1
    assert (hog.limited, pixels.limited) == (True, False)
    said = always.read(learned.images / 255)
    assert torch.equal(said.rotation[0], said.rotation[7])
    assert is_rotation(said.rotation[0])


def test_hog_reads_in_any_light(learned):
    """It sees gradients over their surroundings' strength."""
    hog, *_ = learned.readers()
    assert geodesic_degrees(hog(0.2 + 0.5 * learned.images / 255), learned.rotation).max() < 1


def test_images_of_any_size_and_a_file_of_weights(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_pose_network(path, load_pose_file("posenet"))
    network = load_network("posenet")
    images = torch.rand(2, 3, 150, 150, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network_reader(str(path))(images), read_images(network, images).rotation)
    parts = torch.cat([read_images(network, one).rotation for one in images.split(1)])
    assert torch.allclose(parts, read_images(network, images).rotation, atol=1e-4)


def test_the_foreign_reader_sees_a_margin():
    assert with_margin(torch.rand(1, 3, 64, 64)).shape == (1, 3, 92, 92)
    reader = network_reader(FOREIGN)
    assert reader.limited
    assert reader(torch.rand(1, 3, 64, 64)).shape == (1, 3, 3)


def test_three_share_nothing_with_a_network(learned):
    names = [one.name for one in held_out_readers(load_network("posenet"), learned)]
    assert names == ["posenet-judge", FOREIGN, "HOG, nearest views"]
    names = [one.name for one in held_out_readers(load_network(FOREIGN), learned)]
    assert names == ["posenet-judge", "HOG, nearest views"]


def test_who_reads_no_poses():
    with pytest.raises(ConfigError, match="reads no poses"):
        network_reader("hog")
    with pytest.raises(ConfigError, match="too few"):
        LearnedViews.rendered(4)
