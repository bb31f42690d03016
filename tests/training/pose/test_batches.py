import numpy as np
import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.scenes.cameras import Camera, geodesic_degrees
from netinvert.scenes.dataset_reader import Views, background_pool, load_arrays, mirrored
from netinvert.training.pose.train import PoseBatches, recoloured


@pytest.fixture(scope="module")
def views(dataset):
    return Views.of(load_arrays(dataset, "train"))


@pytest.fixture(scope="module")
def batches(views):
    return PoseBatches(views, 8, seed=1)


def test_a_batch_follows_from_seed_and_step_alone(views, batches):
    first = batches(5)
    batches(6)
    again = PoseBatches(views, 8, seed=1)(5)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.rotation, again.rotation)
    assert not torch.equal(first.rotation, batches(6).rotation)


def test_other_seeds_show_other_views_mirrored_and_shifted_otherwise(views):
    drawn = [PoseBatches(views, 8, seed)(5).rotation for seed in (1, 2, 99, 1 + (1 << 32))]
    for place, one in enumerate(drawn):
        assert not any(torch.equal(one, other) for other in drawn[:place])


def test_images_are_images_and_rotations_are_rotations(batches):
    for step in range(4):
        batch = batches(step)
        assert batch.images.shape == (8, 3, 64, 64)
        assert batch.images.dtype == torch.float32
        assert batch.images.min() >= 0
        assert batch.images.max() <= 1
        eye = batch.rotation @ batch.rotation.mT
        assert torch.allclose(eye, torch.eye(3).expand_as(eye), atol=1e-5)
        assert (torch.linalg.det(batch.rotation) > 0).all()  # a mirrored pose is no mirror image


def test_views_2k_and_2k_plus_1_show_one_object_and_others_another(views, batches):
    # with one colour an identity, and nothing random, the colours tell the identities
    table = {int(index): k for k, row in enumerate(views.table.tolist()) for index in row}
    for step in range(3):
        batch = batches(step)
        known = [_closest(views, rotation) for rotation in batch.rotation]
        identities = [table[index] for index in known]
        assert identities[0::2] == identities[1::2]
        assert len(set(identities[0::2])) == 4


def test_both_views_of_a_pair_get_the_same_colours_and_other_pairs_others():
    grey = torch.full((8, 3, 2, 2), 0.3)
    coloured = recoloured(grey, torch.Generator().manual_seed(0))
    assert torch.equal(coloured[0::2], coloured[1::2])
    assert len(coloured[:, :, 0, 0].unique(dim=0)) == 4


def _closest(views, rotation):
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    errors = torch.minimum(
        geodesic_degrees(views.rotation, rotation), geodesic_degrees(flip @ views.rotation @ flip, rotation)
    )
    return int(errors.argmin())


def test_a_mirrored_image_shows_the_mirrored_object_in_the_pose_m_r_m():
    camera = Camera.orbit(40, 20, 10, 2.0, size=64)
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (6, 3))
    seen, _ = camera.project(points)
    rgba = torch.zeros(200, 4, 2, 2)
    rgba[..., 0] = 1
    rotation = torch.from_numpy(camera.rotation).float().expand(200, 3, 3)
    pictures, turned = mirrored(rgba, rotation, torch.Generator().manual_seed(0))
    flipped = pictures[:, 0, 0, 1] == 1
    assert 60 < flipped.sum() < 140
    assert torch.equal(turned[~flipped], rotation[~flipped])
    own = turned[flipped][0].double().numpy()
    image = Camera(own, 2.0 * own[2], camera.intrinsics, camera.size)
    assert np.allclose(image.project(points * [-1, 1, 1])[0], [64, 0] + seen * [-1, 1], atol=1e-4)


def test_backgrounds_are_a_pool_of_a_seed():
    assert torch.equal(background_pool(1, 16, 5), background_pool(1, 16, 5))
    assert not torch.equal(background_pool(1, 16, 5), background_pool(2, 16, 5))


def test_batches_that_cannot_be_made(dataset, views):
    with pytest.raises(ConfigError, match="multiple of 4"):
        PoseBatches(views, 6, 0)
    with pytest.raises(ConfigError, match="identities"):
        PoseBatches(views, 64, 0)
    arrays = load_arrays(dataset, "train")
    alone = type(arrays)(
        *(getattr(arrays, n)[:1] for n in ("rgba", "mask", "parts", "rotation", "symmetry", "identity")),
        arrays.records[:1],
    )
    with pytest.raises(ConfigError, match="two views"):
        Views.of(alone)
