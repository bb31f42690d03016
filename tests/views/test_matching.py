"""Exact correspondences, and optical flow."""

import builtins
from dataclasses import replace

import numpy as np
import pytest
import torch

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.scenes.cameras import Camera
from netinvert.scenes.catalogue import make_chair
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO
from netinvert.views.matching import (
    FLOWS,
    boxes_aligned,
    exact_matches,
    flow_between,
    followed,
    optical_flow,
)

CAMERA = Camera.orbit(30, 20, distance=1.9, size=32)
CHAIR = make_chair(3)


def test_an_object_matches_itself_pixel_by_pixel():
    points, targets = exact_matches(CHAIR, CHAIR, (CAMERA, CAMERA))
    torch.testing.assert_close(points, targets, atol=1e-3, rtol=0)
    seen = Renderer(CHAIR).render(CAMERA, STUDIO)
    assert 0.9 * (seen.mask == 255).sum() <= len(points) <= (seen.mask == 255).sum()


def test_a_larger_image_moves_every_place_in_proportion():
    points, targets = exact_matches(CHAIR, CHAIR, (CAMERA, CAMERA.resized(64, 64)))
    assert len(points) > 50
    torch.testing.assert_close(targets, 2 * points, atol=1e-3, rtol=0)


def test_a_wider_object_is_matched_where_it_is_wider():
    """Seen from far, so that the image is all but parallel: across grows, and up stays."""
    camera = Camera.orbit(0, 0, distance=200, fov=0.3, size=32)
    wide = replace(CHAIR, vertices=CHAIR.vertices * np.float32([1.5, 1, 1]))
    points, targets = exact_matches(CHAIR, wide, (camera, camera))
    assert len(points) > 50
    expected = torch.stack([16 + 1.5 * (points[:, 0] - 16), points[:, 1]], 1)
    torch.testing.assert_close(targets, expected, atol=0.05, rtol=0)


def test_parts_match_parts_of_the_same_name_alone():
    other = replace(CHAIR, parts=tuple(f"other {name}" for name in CHAIR.parts))
    points, targets = exact_matches(CHAIR, other, (CAMERA, CAMERA))
    assert points.shape == targets.shape == (0, 2)
    only = CHAIR.only("seat")
    points, _ = exact_matches(CHAIR, only, (CAMERA, CAMERA))
    parts = Renderer(CHAIR).render(CAMERA, STUDIO).parts
    column, row = points.long().T
    assert set(parts[row, column].tolist()) == {1 + CHAIR.part_index("seat")}


def test_points_follow_flows_one_after_another():
    size = 20
    centre = torch.tensor([10.0, 10.0])
    place = torch.stack(torch.meshgrid(*[torch.arange(size) + 0.5] * 2, indexing="xy"))
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    field = torch.einsum("ij,jhw->ihw", turn, place - centre[:, None, None]) + centre[:, None, None] - place
    points = torch.tensor([[12.3, 9.1], [8.0, 13.7]])
    expected = (points - centre) @ (turn @ turn).T + centre
    torch.testing.assert_close(followed(points, [field, field]), expected, atol=1e-4, rtol=0)
    assert torch.equal(followed(points, []), points)


@pytest.mark.parametrize("name", FLOWS)
def test_flow_says_where_pixels_of_the_first_image_go(name):
    down, right = torch.meshgrid(torch.linspace(0, 12, 48), torch.linspace(0, 12, 48), indexing="ij")

    def blob(across, below):
        x, y = right - 6 - across / 4, down - 6 - below / 4
        return torch.exp(-(x**2 + y**2) / 4) * (1.5 + torch.sin(2 * x) + torch.cos(3 * y)) / 3.5

    images = torch.stack([blob(0, 0), blob(2, 1)])[:, None]
    (flow,) = flow_between(images, optical_flow(name))
    inner = flow[:, 18:30, 18:30].flatten(1).mean(1)
    torch.testing.assert_close(inner, torch.tensor([2.0, 1.0]), atol=0.35, rtol=0)


def test_bounding_boxes_are_laid_on_one_another():
    masks = torch.zeros(2, 10, 10)
    masks[0, 2:4, 2:6] = 1
    masks[1, 4:8, 1:9] = 1
    points = torch.tensor([[2.0, 2.0], [6.0, 4.0], [4.0, 3.0]])
    expected = torch.tensor([[1.0, 4.0], [9.0, 8.0], [5.0, 6.0]])
    torch.testing.assert_close(boxes_aligned(points, masks), expected)


def test_no_such_flow_and_no_package(monkeypatch):
    with pytest.raises(ConfigError, match="tvl1 or ilk"):
        optical_flow("farneback")
    found = builtins.__import__

    def without(name, *words, **more):
        if name.startswith("skimage"):
            raise ImportError(name)
        return found(name, *words, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"netinvert\[views\]"):
        optical_flow("tvl1")
