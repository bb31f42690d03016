"""Our renderer and Mitsuba's path tracer, which know nothing of each other, must agree."""

from dataclasses import replace

import numpy as np
import pytest

from netinvert.scenes.cameras import Camera, CameraError
from netinvert.scenes.catalogue import make_object
from netinvert.scenes.path_traced import PathTracer
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO

HARD = replace(STUDIO, softness=0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("category", "seed"), [("chairs", 3), ("mugs", 1)])
def test_both_renderers_show_the_same_image(category, seed):
    thing = make_object(category, seed)
    camera = Camera.orbit(35, 20, 10, distance=2.0, size=96)
    ours, theirs = Renderer(thing).render(camera, HARD), PathTracer(thing, samples=64).render(camera, HARD)
    assert np.abs(ours.mask.astype(int) - theirs[..., 3]).mean() < 1  # of 255
    inside = (ours.mask == 255) & (theirs[..., 3] == 255)
    one, other = ours.rgba[inside, :3].astype(int), theirs[inside, :3].astype(int)
    assert np.abs(one.mean(axis=0) - other.mean(axis=0)).max() < 5
    assert np.abs(one - other).mean() < 8
    assert all(np.corrcoef(one[:, k], other[:, k])[0, 1] > 0.9 for k in range(3))


def test_the_same_seed_gives_the_same_image():
    tracer = PathTracer(make_object("mugs", 2), samples=4)
    camera = Camera.orbit(0, 20, size=32)
    first = tracer.render(camera, STUDIO)
    assert np.array_equal(first, tracer.render(camera, STUDIO))
    assert not np.array_equal(first, tracer.render(camera, STUDIO, seed=1))


def test_a_camera_inside_the_object():
    tracer = PathTracer(make_object("mugs", 2), samples=4)
    with pytest.raises(CameraError, match="inside"):
        tracer.render(Camera.orbit(0, 0, distance=0.1), STUDIO)
