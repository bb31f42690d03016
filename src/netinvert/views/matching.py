"""Which place of an object is which of another: as their parts say, which are known, and by optical flow
along a morph (Dosovitskiy et al. 2015, section 5.5)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.scenes.cameras import Camera
from netinvert.scenes.objects import Object3D
from netinvert.scenes.render import Renderer, Rendering
from netinvert.scenes.shading import STUDIO

FLOWS = ("tvl1", "ilk")
TOLERANCE = 0.03
"""Of the object's diagonal: how far along the ray a place may be from the surface that is seen there."""
Flow = Callable[[Tensor, Tensor], Tensor]


def exact_matches(first: Object3D, second: Object3D, cameras: tuple[Camera, Camera]) -> tuple[Tensor, Tensor]:
    """Pixels (M, 2) of the first object's image, x right and y down, centres at +0.5, and where in the second
    one's the same places are: those of the part of the same name, at the same share of its bounding box along
    each axis. Only places that are seen in both images.

    Raises MissingExtraError: embreex is not installed; MeshError, CameraError: nothing to render."""
    seen = [
        Renderer(one).render(camera, STUDIO) for one, camera in zip((first, second), cameras, strict=True)
    ]
    row, column = np.nonzero(seen[0].mask == 255)
    pixels = np.column_stack([column, row]) + 0.5
    points = cameras[0].position + cameras[0].directions(pixels) * seen[0].depth[row, column, None]
    part = seen[0].parts[row, column]
    found, places = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for name in set(first.parts) & set(second.parts):
        here = part == 1 + first.part_index(name)
        boxes = [_box(one, name) for one in (first, second)]
        if not here.any() or None in boxes:
            continue
        (low, size), (other_low, other_size) = (box for box in boxes if box is not None)
        targets, depth = cameras[1].project(other_low + (points[here] - low) / size * other_size)
        visible = _visible(seen[1], targets, depth, 1 + second.part_index(name))
        found.append(pixels[here][visible])
        places.append(targets[visible])
    ordered = np.lexsort(np.concatenate(found).T)
    start, end = (torch.from_numpy(np.concatenate(one)[ordered]).float() for one in (found, places))
    return start, end


def _box(thing: Object3D, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The lowest corner and the sides of a part's bounding box; None where the object has an empty part."""
    corners = thing.vertices[thing.faces[thing.part == thing.part_index(name)]].reshape(-1, 3).astype(float)
    return (corners.min(0), np.maximum(np.ptp(corners, axis=0), 1e-6)) if len(corners) else None


def _visible(
    seen: Rendering, pixels: NDArray[np.float64], depth: NDArray[np.float64], part: int
) -> NDArray[np.bool_]:
    """Which places are on the surface that is seen at their pixels, and of that part."""
    height, width = seen.parts.shape
    column, row = np.floor(pixels).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = column.clip(0, width - 1), row.clip(0, height - 1)
    near = np.abs(seen.depth[row, column] - depth) < TOLERANCE
    return np.asarray(inside & near & (seen.parts[row, column] == part))


def optical_flow(name: str) -> Flow:
    """A method of FLOWS: of images (H, W), (2, H, W), by how many pixels right and down each pixel of the
    first moves to the second. Raises ConfigError: no such method; MissingExtraError: without scikit-image."""
    if name not in FLOWS:
        raise ConfigError(f"optical flow is by {' or '.join(FLOWS)}, not {name!r}")
    try:
        from skimage.registration import optical_flow_ilk, optical_flow_tvl1
    except ImportError as error:
        raise MissingExtraError("optical flow", "views") from error
    method = optical_flow_tvl1 if name == "tvl1" else optical_flow_ilk

    def flow(first: Tensor, second: Tensor) -> Tensor:
        down, right = method(first.numpy(), second.numpy(), dtype=np.float32)
        return torch.from_numpy(np.stack([right, down]))

    return flow


def followed(points: Tensor, flows: Sequence[Tensor]) -> Tensor:
    """Where points (M, 2) are after flows (2, H, W), one after another, read between pixels linearly.

    >>> followed(torch.tensor([[1.5, 2.5]]), [torch.ones(2, 8, 8), torch.ones(2, 8, 8)]).tolist()
    [[3.5, 4.5]]
    """
    for flow in flows:
        size = torch.tensor([flow.shape[2], flow.shape[1]])
        grid = (2 * points / size - 1)[None, None]
        moved = F.grid_sample(flow[None], grid, padding_mode="border", align_corners=False)
        points = points + moved[0, :, 0].T
    return points


def flow_between(images: Tensor, flow: Flow) -> list[Tensor]:
    """The flows between neighbours of images (N, C, H, W), by their mean over channels."""
    grey = images.mean(1)
    return [flow(one, other) for one, other in itertools.pairwise(grey)]


def boxes_aligned(points: Tensor, masks: Tensor) -> Tensor:
    """Points (M, 2) where the bounding box of the first of two masks (2, H, W) is laid on the second's."""
    corners = []
    for mask in masks > 0.5:
        place = mask.nonzero().flip(1).float()
        corners.append((place.amin(0), place.amax(0) + 1))
    (low, high), (other_low, other_high) = corners
    moved: Tensor = other_low + (points - low) / (high - low) * (other_high - other_low)
    return moved
