"""Objects turned and mixed by their codes: what must hold whatever was learned."""

from __future__ import annotations

import pytest
import torch

from netinvert.io.assets import unseen_chairs
from netinvert.models.decoder import load_decoder
from netinvert.models.generator import load_generator
from netinvert.views.novel import GROUND
from netinvert.views.turner import LARGEST, Turned, Turner


@pytest.fixture(scope="module")
def turner() -> Turner:
    shares: list[float] = []
    made = Turner.fitted(load_decoder("posenet-fc6"), load_generator("chairs"), 3, shares.append)
    assert shares == [1 / 3, 2 / 3, 1.0]
    return made


@pytest.fixture(scope="module")
def chairs(turner) -> list[Turned]:
    return [turner.seen(image[None]) for image in unseen_chairs().images[:3]]


def same(one: Turned, other: Turned) -> None:
    torch.testing.assert_close(one.code, other.code, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.embedding, other.embedding, rtol=1e-4, atol=1e-4)


def test_an_object_in_its_own_pose_is_itself(turner, chairs):
    for one in chairs:
        same(turner.mixed([(1.0, one)], one.azimuth, one.elevation), one)


def test_once_around_is_where_it_began(turner, chairs):
    one = chairs[0]
    same(turner.mixed([(1.0, one)], one.azimuth + 360, one.elevation), one)
    turned = turner.mixed([(1.0, one)], one.azimuth + 180, one.elevation)
    assert (turned.code - one.code).norm() > 0.01 * one.code.norm()


def test_a_morph_ends_at_both_and_sums_cancel(turner, chairs):
    a, b, c = chairs
    alone = [turner.mixed([(1.0, one)], 40.0, 20.0) for one in chairs]
    same(turner.mixed([(1.0, a), (0.0, b)], 40.0, 20.0), alone[0])
    same(turner.mixed([(0.0, a), (1.0, b)], 40.0, 20.0), alone[1])
    same(turner.mixed([(1.0, a), (-1.0, a), (1.0, c)], 40.0, 20.0), alone[2])


def test_directions_are_one_deviation_long_the_largest_first(turner, chairs):
    lengths = turner.directions.norm(dim=1)
    assert len(lengths) == LARGEST
    assert (lengths.diff() <= 1e-5).all()
    same(turner.moved(chairs[0], [0.0] * LARGEST), chairs[0])
    moved = turner.moved(chairs[0], [0.0, 2.0])
    torch.testing.assert_close(moved.code - chairs[0].code, 2 * turner.directions[1:2], rtol=1e-4, atol=1e-4)


def test_images_stay_images_however_far_the_code_is_moved(turner, chairs):
    far = turner.moved(turner.mixed([(1.0, chairs[0])], 40.0, 20.0), [1e3] * LARGEST)
    for image in (turner.decoded(far), turner.drawn(far)):
        assert image.shape == (1, 3, 128, 128)
        assert 0 <= image.min() <= image.max() <= 1


def test_codes_are_turned_as_the_generator_s_chairs_turn(turner):
    """A chair that it learned from, at an angle that no operator has: nearer to the truth than unturned."""
    pictures = turner.generator(1, torch.tensor([20.0, 125.0]), 25.0, paper=GROUND)
    codes = turner.encoder(pictures).flatten(1)
    known = Turned(codes[:1], 20.0, 25.0, turner.generator.embedded([1]))
    found = turner.mixed([(1.0, known)], 125.0, 25.0).code
    assert (found - codes[1:]).norm() < 0.6 * (codes[:1] - codes[1:]).norm()


def test_decoded_chairs_stand_on_paper(turner, chairs):
    corner = turner.decoded(turner.mixed([(1.0, chairs[0])], 120.0, 20.0))[..., :4, :4]
    assert (corner - GROUND).abs().max() < 0.1


def test_the_pose_is_what_the_network_reads(turner, chairs):
    network = turner.encoder.network
    image = turner.encoder.fit(unseen_chairs().images[:1])
    read = network.read_pose(network.module(turner.encoder.network_input(image)))
    assert chairs[0].azimuth == pytest.approx(float(read.azimuth) % 360, abs=1e-3)
    assert chairs[0].elevation == pytest.approx(float(read.elevation), abs=1e-3)
