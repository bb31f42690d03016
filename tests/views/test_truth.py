"""What a generator's file tells of its training, and answers without a network."""

import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.models.generator import Generator, load_generator
from netinvert.training.views.turntables import rendered_ring
from netinvert.views.truth import RING_AZIMUTH, Truth, interpolated, nearest_view, neighbours, on_paper
from small_generator import small_generator


def known_of(*views):
    known = torch.zeros(62, dtype=torch.bool)
    known[list(views)] = True
    return known


@pytest.mark.parametrize(
    ("known", "view", "expected"),
    [
        ((0, 10), 4, (0, 10, 0.4)),
        ((0, 10), 29, (10, 0, 19 / 21)),  # around the circle
        ((0, 10), 10, (10, 10, 0.0)),
        ((3,), 20, (3, 3, 17 / 31)),
        ((0, 10), 31 + 4, (0, 10, 0.4)),  # none at its own elevation
        ((0, 31), 31 + 4, (31, 31, 4 / 31)),
    ],
)
def test_neighbours(known, view, expected):
    before, after, share = neighbours(known_of(*known), view)
    assert (before, after, pytest.approx(share)) == expected


def test_no_known_view():
    with pytest.raises(ConfigError, match="no view of the object is known"):
        neighbours(known_of(), 3)


def test_interpolation_is_linear_in_azimuth_and_keeps_what_is_known():
    ring = torch.arange(62, dtype=torch.uint8)[:, None, None, None].expand(62, 4, 2, 2)
    known = known_of(0, 10, 20)
    for view in (0, 4, 10, 17):
        assert interpolated(ring, known, view)[0, 0, 0].item() == pytest.approx(view / 255)
    assert [round(255 * nearest_view(ring, known, view).mean().item()) for view in (4, 6, 10)] == [0, 10, 10]


def test_the_file_tells_what_can_be_rendered_again(tmp_path):
    generator = load_generator(small_generator(tmp_path / "small.safetensors"))
    truth = Truth.of(generator)
    assert truth.held_out == (1, 3)
    assert truth.known[1].sum() == 16
    view = truth.view(3, 40)
    assert torch.equal(view, rendered_ring(truth.plan, truth.thing(3), [40])[0])
    camera = truth.camera(truth.thing(3), 40)
    assert camera.azimuth == pytest.approx(RING_AZIMUTH[40].item(), abs=1e-3)
    assert on_paper(view[None] / 255).shape == (1, 3, 16, 16)


def test_files_that_do_not_tell(tmp_path):
    generator = load_generator(small_generator(tmp_path / "small.safetensors"))
    facts = generator.facts
    plan = facts["data"]["plan"]
    for other in (
        {},
        {**facts, "objects": [0]},
        {**facts, "data": {"plan": {**plan, "lights": "random"}}},
        {**facts, "data": {"plan": {**plan, "objects": str(tmp_path)}}},  # a file is data: it names no file
        {**facts, "data": {"plan": {**plan, "unknown": 1}}},
        {**facts, "data": "chairs"},
    ):
        with pytest.raises(ConfigError, match="render --views 62"):
            Truth.of(Generator("odd", generator.module, other))
    everything = load_generator(small_generator(tmp_path / "all.safetensors", known_azimuths=31))
    with pytest.raises(ConfigError, match="--known-azimuths 16"):
        _ = Truth.of(everything).held_out
