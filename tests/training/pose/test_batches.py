import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from netinvert.errors import ConfigError
from netinvert.scenes.cameras import Camera, geodesic_degrees
from netinvert.scenes.dataset_reader import SHIFT, Views, background_pool, jittered, jittered_by, load_arrays
from netinvert.training.pose.batches import (
    PAPER,
    PHOTOGRAPHS,
    PLAIN,
    SURROUNDINGS,
    SYMMETRIC,
    TEXTURES,
    PoseBatches,
    composed,
    surroundings_pool,
)


@pytest.fixture(scope="module")
def batches(views):
    return PoseBatches(views, 8, seed=1)


def flat_views(identities=40, each=3, side=8, symmetric=0):
    """Opaque views of one grey each, which tells the identity; the last ``symmetric`` have no front."""
    shade = torch.arange(identities).repeat_interleave(each).to(torch.uint8)
    rgba = torch.full((len(shade), 4, side, side), 255, dtype=torch.uint8)
    rgba[:, :3] = shade[:, None, None, None]
    symmetry = torch.where(shade < identities - symmetric, 1, 0)
    counts = torch.full((identities,), each)
    rotation = torch.eye(3).expand(len(shade), 3, 3)
    return Views(rgba, rotation, symmetry, rgba[:, 3:], torch.arange(identities) * each, counts)


def test_a_batch_follows_from_seed_and_step_alone(views, batches):
    first = batches(5)
    batches(6)
    again = PoseBatches(views, 8, seed=1)(5)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.rotation, again.rotation)
    assert not torch.equal(first.rotation, batches(6).rotation)
    assert not torch.equal(first.images, PoseBatches(views, 8, seed=2, pool=batches.pool)(5).images)


def test_other_seeds_show_other_views_mirrored_and_shifted_otherwise(views, batches):
    seeds = (1, 2, 99, 1 + (1 << 32))
    drawn = [PoseBatches(views, 8, seed, pool=batches.pool)(5).rotation for seed in seeds]
    for place, one in enumerate(drawn):
        assert not any(torch.equal(one, other) for other in drawn[:place])


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_batches_moved_to_a_device_have_the_same_bits(views, surroundings):
    wanted = PoseBatches(views, 8, 1, surroundings)(3)
    found = PoseBatches(views, 8, 1, surroundings).to(torch.device("cpu"))(3).to(torch.device("cpu"))
    for name in ("images", "rotation", "symmetry"):
        assert torch.equal(getattr(found, name), getattr(wanted, name))


def test_images_are_images_and_rotations_are_rotations(batches):
    for step in range(4):
        batch = batches(step)
        assert batch.images.shape == (8, 3, 128, 128)
        assert batch.images.dtype == torch.float32
        assert batch.images.min() >= 0
        assert batch.images.max() <= 1
        eye = batch.rotation @ batch.rotation.mT
        assert torch.allclose(eye, torch.eye(3).expand_as(eye), atol=1e-5)
        assert (torch.linalg.det(batch.rotation) > 0).all()  # a mirrored pose is no mirror image


def test_views_2k_and_2k_plus_1_are_two_of_one_object_and_others_of_another(views, batches):
    starts = views.starts.tolist()
    for step in range(3):
        known = [_closest(views, rotation) for rotation in batches(step).rotation]
        identities = [sum(start <= index for start in starts) for index in known]
        assert identities[0::2] == identities[1::2]
        assert len(set(identities[0::2])) == 4
        assert all(one != other for one, other in zip(known[0::2], known[1::2], strict=True))


def _closest(views, rotation):
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    errors = torch.minimum(
        geodesic_degrees(views.rotation, rotation), geodesic_degrees(flip @ views.rotation @ flip, rotation)
    )
    return int(errors.argmin())


def test_objects_with_many_views_and_those_without_a_front_are_shown_more_often():
    few = flat_views(40, symmetric=10)
    batches = PoseBatches(few, 4, 0, PLAIN)
    shown = torch.cat([batches(step).symmetry[0::2] for step in range(200)])
    share = (shown != 1).float().mean()  # 400 draws
    wanted = 10 * SYMMETRIC / (10 * SYMMETRIC + 30)
    assert abs(share - wanted) < 0.08  # about three deviations; of the objects they are a quarter
    more = replace(few, counts=torch.where(torch.arange(40) < 5, 3, 2))
    weights = PoseBatches(more, 4, 0, PLAIN).weights
    assert weights.tolist() == [3.0] * 5 + [2.0] * 25 + [2 * SYMMETRIC] * 10


def test_both_views_of_a_pair_get_the_same_colours_and_other_pairs_others():
    batches = PoseBatches(flat_views(), 8, 0, TEXTURES)
    colours = batches._drawn(torch.arange(8), torch.Generator().manual_seed(0)).colours
    assert torch.equal(colours[0::2], colours[1::2])
    assert len(colours.flatten(1).unique(dim=0)) == 4


def test_images_are_composed_as_an_image_at_a_time(views):
    batches = PoseBatches(views, 8, 0, TEXTURES)
    drawn = batches._drawn(torch.arange(40) % len(views.rgba), torch.Generator().manual_seed(3))
    assert 0 < int((drawn.covered.amax(1) > 0).sum()) < 20
    assert 0 < int(drawn.blurred.sum()) < 20
    found = composed(views.rgba, batches.pool, batches.noise, drawn)
    for k in range(40):
        rgba = jittered_by(
            views.rgba, drawn.index[k : k + 1], drawn.flipped[k : k + 1], drawn.places[k : k + 1]
        )[0]
        behind = batches.pool[drawn.behind[k]][drawn.order[k]] / 255
        behind = behind.flip(-1) if drawn.turned[k] else behind
        colour = (drawn.colours[k] @ rgba[:3].flatten(1)).view_as(rgba[:3]).clamp(0, 1)
        image = rgba[3] * colour + (1 - rgba[3]) * behind
        top, left, bottom, right = (math.ceil(value) for value in drawn.covered[k].tolist())
        image[:, top:bottom, left:right] = batches.pool[drawn.over[k]][:, top:bottom, left:right] / 255
        image = (image - 0.5) * drawn.contrast[k] + drawn.shift[k]
        if drawn.blurred[k]:
            rim = np.pad(image.numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
            image = torch.from_numpy(uniform_filter(rim, (1, 3, 3))[:, 1:-1, 1:-1])
        image = (image + drawn.strength[k] * batches.noise[drawn.frames[k]]).clamp(0, 1)
        torch.testing.assert_close(found[k], image, atol=2e-5, rtol=0)


# -- surroundings --------------------------------------------------------------------------------------


def straight(views, surroundings):
    """Batches of which only what stands behind, and the colours, are random: pictures (B, 3, H, W)."""
    made = PoseBatches(views, 8, 2, surroundings)
    made.noise = torch.zeros_like(made.noise)
    made.compose = lambda planes, pool, noise, drawn: composed(
        planes, pool, noise, replace(drawn, covered=torch.zeros_like(drawn.covered))
    )
    return made


def shades(images):
    """The colours (B, 3) of flat images, without contrast and brightness, which are the images' own."""
    middle = images[:, :, images.shape[-2] // 2, images.shape[-1] // 2]
    return middle - middle.mean(1, keepdim=True)


def test_plain_views_keep_their_colours_before_grey_paper():
    assert surroundings_pool(PLAIN, 0, 4)[0, :, 2, 3].tolist() == list(PAPER)
    assert torch.equal(surroundings_pool(PLAIN, 0, 4), surroundings_pool(PLAIN, 9, 4))
    grey = straight(flat_views(), PLAIN)
    coloured = straight(flat_views(), TEXTURES)
    assert max(shades(grey(step).images).abs().max() for step in range(4)) < 1e-6
    assert shades(coloured(0).images).abs().max() > 0.02
    empty = flat_views()
    empty.rgba.zero_()
    images = straight(empty, PLAIN)(0).images
    spread = shades(images[images.flatten(1).amax(1) < 1])  # not too bright
    assert len(spread) > 4
    paper = torch.tensor(PAPER) / 255 - sum(PAPER) / 765
    scale = spread[:, 2] / paper[2]  # of the contrast
    torch.testing.assert_close(spread, scale[:, None] * paper, atol=1e-6, rtol=0)
    assert bool(((scale > 0.74) & (scale < 1.26)).all())


def test_before_photographs_colours_are_kept_too():
    assert shades(straight(flat_views(), PHOTOGRAPHS)(0).images).abs().max() < 1e-6


def test_pools_differ_and_follow_from_their_seed():
    textures, photographs = (surroundings_pool(one, 3, 16) for one in (TEXTURES, PHOTOGRAPHS))
    assert textures.shape[1:] == photographs.shape[1:] == (3, 16, 16)
    plain = (photographs == photographs[:, :, :1, :1]).flatten(1).all(1).float().mean()
    assert plain == 0.25  # a quarter has one colour, a quarter is a gradient
    assert not torch.equal(textures[:4], photographs[:4])
    for one, known in ((TEXTURES, textures), (PHOTOGRAPHS, photographs)):
        assert torch.equal(surroundings_pool(one, 3, 16), known)
        assert not torch.equal(surroundings_pool(one, 4, 16), known)


def test_a_pool_at_hand_is_taken(views, batches):
    black = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    empty = replace(views, rgba=torch.zeros_like(views.rgba))
    images = straight(empty, TEXTURES)
    images.pool = black
    assert torch.equal(PoseBatches(views, 8, 1, pool=black).pool, black)
    assert all(len(one.unique()) == 1 for one in images(0).images)
    assert len(batches.pool) > 1


def test_backgrounds_are_a_pool_of_a_seed():
    assert torch.equal(background_pool(1, 16, 5), background_pool(1, 16, 5))
    assert not torch.equal(background_pool(1, 16, 5), background_pool(2, 16, 5))


# -- mirrors and shifts --------------------------------------------------------------------------------


def slowly_jittered(planes, rotation, index, generator):
    """``jittered``, an image at a time: the mirror image, then a window of it with a rim of nothing."""
    tall, wide = planes.shape[-2:]
    amount = round(SHIFT * wide / 64)
    flipped = torch.rand(len(index), generator=generator) < 0.5
    places = torch.randint(-amount, amount + 1, (len(index), 2), generator=generator)
    mirror = np.diag([-1.0, 1.0, 1.0])
    images, turned = [], []
    for which, flip, (down, right), known in zip(
        index.tolist(), flipped.tolist(), places.tolist(), rotation.numpy(), strict=True
    ):
        image = planes[which].numpy() / np.float32(255)
        image = image[:, :, ::-1] if flip else image
        rim = np.pad(image, ((0, 0), (amount, amount), (amount, amount)))
        top, left = amount + down, amount + right
        images.append(rim[:, top : top + tall, left : left + wide])
        turned.append(mirror @ known @ mirror if flip else known)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(turned)).float()


@pytest.mark.parametrize("size", [(64, 64), (20, 48)])
def test_mirrors_and_shifts_are_those_of_a_slow_reference(size):
    source = torch.Generator().manual_seed(1)
    planes = torch.randint(256, (5, 5, *size), generator=source).to(torch.uint8)
    rotation = torch.linalg.qr(torch.randn(40, 3, 3, generator=source))[0]
    index = torch.randint(5, (40,), generator=source)
    before = planes.clone()
    found, wanted = (
        make(planes, rotation, index, torch.Generator().manual_seed(7))
        for make in (jittered, slowly_jittered)
    )
    assert torch.equal(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1])
    assert torch.equal(planes, before)
    other, _ = jittered(planes, rotation, index, torch.Generator().manual_seed(8))
    assert not torch.equal(other, found[0])


def test_a_mirrored_image_shows_the_mirrored_object_in_the_pose_m_r_m():
    camera = Camera.orbit(40, 20, 10, 2.0, size=64)
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (6, 3))
    seen, _ = camera.project(points)
    planes = torch.zeros(1, 4, 2, 2, dtype=torch.uint8)  # too small to be shifted
    planes[..., 0] = 255
    rotation = torch.from_numpy(camera.rotation).float().expand(200, 3, 3)
    index = torch.zeros(200, dtype=torch.long)
    pictures, turned = jittered(planes, rotation, index, torch.Generator().manual_seed(0))
    flipped = pictures[:, 0, 0, 1] == 1
    assert 60 < flipped.sum() < 140
    assert torch.equal(turned[~flipped], rotation[~flipped])
    own = turned[flipped][0].double().numpy()
    image = Camera(own, 2.0 * own[2], camera.intrinsics, camera.size)
    assert np.allclose(image.project(points * [-1, 1, 1])[0], [64, 0] + seen * [-1, 1], atol=1e-4)


# -- datasets ------------------------------------------------------------------------------------------


def of_identities(arrays, *identities, order=None):
    """Samples of a dataset, with these identities, in any order."""
    rows = np.arange(len(identities)) if order is None else np.array(order)
    names = ("rgba", "mask", "parts", "rotation", "symmetry")
    some = {name: getattr(arrays, name)[rows] for name in names}
    return replace(
        arrays, **some, identity=np.array(identities), records=tuple(arrays.records[k] for k in rows)
    )


def test_views_stand_object_after_object_whatever_their_order(dataset):
    arrays = load_arrays(dataset, "train")
    found = Views.of(of_identities(arrays, 7, 2, 7, 2, 7))
    assert found.starts.tolist() == [0, 2]
    assert found.counts.tolist() == [2, 3]
    own = torch.from_numpy(arrays.rgba).permute(0, 3, 1, 2)
    assert torch.equal(found.rgba, own[[1, 3, 0, 2, 4]])
    assert torch.equal(found.rotation, torch.from_numpy(arrays.rotation)[[1, 3, 0, 2, 4]])
    masks = torch.from_numpy(arrays.mask)[[1, 3, 0, 2, 4]]
    assert torch.equal(found.masks[:, 0] == 255, masks > 0)
    assert set(found.masks.unique().tolist()) == {0, 255}


def test_views_of_two_datasets_are_those_of_one_and_then_the_other(dataset):
    arrays = load_arrays(dataset, "train")
    one, other = of_identities(arrays, 5, 5, 9, 9), of_identities(arrays, 5, 5, 5, order=[4, 5, 6])
    parts, found = (Views.of(one), Views.of(other)), Views.of(one, other)
    assert found.counts.tolist() == [2, 2, 3]  # one identity's name is two objects
    assert found.starts.tolist() == [0, 2, 4]
    for name in ("rgba", "rotation", "symmetry", "masks"):
        assert torch.equal(getattr(found, name), torch.cat([getattr(each, name) for each in parts]))


def test_batches_that_cannot_be_made(dataset, views):
    with pytest.raises(ConfigError, match="multiple of 4"):
        PoseBatches(views, 6, 0)
    with pytest.raises(ConfigError, match="identities"):
        PoseBatches(views, 64, 0)
    arrays = load_arrays(dataset, "train")
    with pytest.raises(ConfigError, match="two views"):
        Views.of(of_identities(arrays, 1, 1, 2))
    small = replace(arrays, rgba=arrays.rgba[:, ::2, ::2], mask=arrays.mask[:, ::2, ::2])
    with pytest.raises(ConfigError, match=r"\(64, 64\) and \(128, 128\) pixels: render one size"):
        Views.of(arrays, small)
