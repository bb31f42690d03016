import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.scenes.cameras import Camera, CameraError
from netinvert.scenes.catalogue import make_object
from netinvert.scenes.objects import Material, MeshError, Object3D
from netinvert.scenes.rays import PixelRays
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO, Light, direction, random_light

pytest.importorskip("embreex")

WHITE = Material("plain", (1.0, 1.0, 1.0))
SIGNS = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], float)
QUADS = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
BOX_FACES = np.array([face for a, b, c, d in QUADS for face in ((a, b, c), (a, c, d))], np.int32)


def thing(vertices, faces, parts=("all",), part=0, materials=(WHITE,), **changes):
    corners = np.asarray(vertices, np.float32)[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    count = len(faces)
    made = Object3D(
        name="test",
        category="tests",
        vertices=np.asarray(vertices, np.float32),
        faces=np.asarray(faces, np.int32),
        normals=np.repeat(flat[:, None], 3, axis=1).astype(np.float32),
        uv=np.zeros((count, 3, 2), np.float32),
        part=np.full(count, part, np.uint8) if np.isscalar(part) else np.asarray(part, np.uint8),
        material=np.zeros(count, np.uint8),
        parts=parts,
        materials=materials,
    )
    return replace(made, **changes)


def boxes(*centres_and_halves, **changes):
    """One box a part."""
    vertices = np.concatenate([np.asarray(centre) + SIGNS * half for centre, half in centres_and_halves])
    count = len(centres_and_halves)
    faces = np.concatenate([BOX_FACES + 8 * k for k in range(count)])
    parts = tuple(f"box{k}" for k in range(count))
    return thing(vertices, faces, parts=parts, part=np.repeat(np.arange(count), 12), **changes)


def ball(radius, rings=60):
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, rings + 1), np.arange(2 * rings) * np.pi / rings, indexing="ij"
    )
    unit = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1)
    index = np.arange(unit[..., 0].size).reshape(polar.shape)
    a, b, c, d = index[:-1], index[1:], np.roll(index, -1, 1)[1:], np.roll(index, -1, 1)[:-1]
    faces = np.concatenate(
        [np.stack([a, b, c], -1)[:-1].reshape(-1, 3), np.stack([a, c, d], -1)[1:].reshape(-1, 3)]
    )
    made = thing(radius * unit.reshape(-1, 3), faces)
    return replace(made, normals=unit.reshape(-1, 3)[faces].astype(np.float32))


def centroid(values):
    rows, columns = np.indices(values.shape) + 0.5
    return np.array([(columns * values).sum(), (rows * values).sum()]) / values.sum()


DARK = replace(STUDIO, shadow=False)
ANGLE = {"allow_nan": False, "allow_infinity": False}


@settings(max_examples=25, deadline=None)
@given(
    azimuth=st.floats(0, 360, **ANGLE),
    elevation=st.floats(-89, 89, **ANGLE),
    in_plane=st.floats(-180, 180, **ANGLE),
    distance=st.floats(1.2, 4, **ANGLE),
    fov=st.floats(20, 60, **ANGLE),
    shift=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    place=st.tuples(*[st.floats(-0.15, 0.15)] * 3),
)
def test_projection_is_where_the_renderer_draws(azimuth, elevation, in_plane, distance, fov, shift, place):
    camera = Camera.orbit(azimuth, elevation, in_plane, distance, fov, 96)
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2, 2] += shift
    camera = replace(camera, intrinsics=intrinsics)
    image = Renderer(boxes((place, 0.02))).render(camera, DARK)
    expected, depth = camera.project([place])
    if (expected < 8).any() or (expected > 88).any():
        return
    assert np.linalg.norm(centroid(image.mask.astype(float)) - expected[0]) < 0.5
    assert abs(np.median(image.depth[image.mask > 0]) - depth[0]) < 0.04


def test_corners_bound_the_mask():
    box = boxes(((0, 0, 0), (0.3, 0.2, 0.25)))
    for azimuth in (10, 130, 250):
        camera = Camera.orbit(azimuth, 25, 12, 2.0, size=128)
        rows, columns = np.nonzero(Renderer(box).render(camera, DARK).mask)
        pixels, _ = camera.project(box.vertices)
        seen = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
        assert np.abs(seen - [pixels.min(axis=0), pixels.max(axis=0)]).max() < 1


def test_coverage_of_a_ball_is_its_analytic_area():
    radius, distance = 0.4, 2.0
    for size in (32, 64):
        camera = Camera.orbit(20, 30, 0, distance, size=size)
        image = Renderer(ball(radius)).render(camera, DARK)
        seen = camera.intrinsics[0, 0] * np.tan(np.arcsin(radius / distance))
        assert image.mask.sum() / 255 == pytest.approx(np.pi * seen**2, rel=0.005)
        assert len(np.unique(image.mask)) > 8


def test_coverage_at_an_edge_is_the_share_covered():
    for half in (0.2, 0.203, 0.207, 0.21):
        camera = Camera.orbit(0, 0, 0, 2.0, size=64)
        image = Renderer(boxes(((0, 0, 0), (half, 0.1, half)))).render(camera, DARK)
        edge = camera.project([[half, -0.1, 0]])[0][0, 0]
        share = image.mask[32] / 255
        assert abs(share[32:].sum() - (edge - 32)) <= 1 / 8 + 1e-3
        assert (share[33 : int(edge)] == 1).all()


def test_refinement_agrees_with_many_samples_everywhere():
    poles = boxes(*(((x, 0.1 * x, 0), (0.008, 0.008, 0.4)) for x in np.linspace(-0.3, 0.3, 7)))
    camera = Camera.orbit(15, 20, 10, 2.0, size=64)
    renderer = Renderer(poles)
    mask = renderer.render(camera, DARK).mask
    directions = PixelRays.of(camera).grid((0, 64, 0, 64), 4)
    hit = renderer._tracer.nearest(camera.position.astype(np.float32), directions).face >= 0
    full = hit.reshape(64, 4, 64, 4).mean(axis=(1, 3)) * 255
    assert np.abs(mask - full).mean() < 0.3
    assert mask.sum() == pytest.approx(full.sum(), rel=0.01)


def test_depth_and_normals_of_a_face_seen_straight():
    image = Renderer(boxes(((0, 0, 0), (0.3, 0.1, 0.3)))).render(Camera.orbit(0, 0, 0, 2.0), DARK)
    inside = image.mask == 255
    assert inside.sum() > 300
    assert np.allclose(image.depth[inside], 1.9, atol=1e-5)
    assert np.allclose(image.normals[inside], [0, 0, 1], atol=1e-5)
    assert np.isinf(image.depth[image.mask == 0]).all()
    assert not image.normals[image.mask == 0].any()


def test_depth_and_normals_of_a_ball():
    radius = 0.4
    camera = Camera.orbit(70, 35, 20, 2.0, size=64)
    image = Renderer(ball(radius)).render(camera, DARK)
    rows, columns = np.nonzero(image.mask == 255)
    rays = camera.directions(np.stack([columns, rows], -1) + 0.5)
    a, b = (rays**2).sum(1), rays @ camera.position
    t = (-b - np.sqrt(np.maximum(b**2 - a * (camera.position @ camera.position - radius**2), 0))) / a
    nearest = image.depth[rows, columns]
    inner = t < 1.8  # at the rim the nearest sample of a pixel is much nearer than its centre
    assert np.abs(nearest - t)[inner].max() < 0.02
    assert (nearest - t < 1e-3).all()
    normals = image.normals[rows, columns]
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    expected = (camera.position + rays * t[:, None]) / radius @ camera.rotation.T
    assert (normals * expected).sum(1)[inner].min() > 0.995
    assert (-(rays @ camera.rotation.T) * normals).sum(1).min() > -1e-3


def test_back_faces_are_lit_as_seen_from_their_side():
    plate = thing(
        [[-0.3, 0, -0.3], [0.3, 0, -0.3], [0.3, 0, 0.3], [-0.3, 0, 0.3]], np.array([[0, 1, 2], [0, 2, 3]])
    )
    for azimuth in (0, 180):
        camera = Camera.orbit(azimuth, 0, 0, 2.0)
        light = Light(direction(azimuth, 45), shadow=False)
        image = Renderer(plate).render(camera, light)
        assert np.allclose(image.normals[32, 32], [0, 0, 1], atol=1e-5)
        assert image.rgba[32, 32, 0] > 150


def test_parts_are_where_they_are():
    two = boxes(((-0.2, 0, 0), 0.1), ((0.2, 0, 0), 0.1), ((0, 0, 0.3), 0.02))
    image = Renderer(two).render(Camera.orbit(0, 0, 0, 2.0), DARK)
    assert set(np.unique(image.parts)) == {0, 1, 2, 3}
    assert (image.parts[:, :32] != 2).all()
    assert (image.parts[:, 32:] != 1).all()
    assert (image.parts[image.mask == 255] > 0).all()
    assert (image.parts[image.mask == 0] == 0).all()
    assert set(np.unique(Renderer(two.only("box1")).render(Camera.orbit(0, 0), DARK).parts)) == {0, 2}


def test_brightness_is_lamberts():
    for elevation, key, sky in ((30, 0.6, 0.0), (60, 0.9, 0.0), (40, 0.3, 0.5)):
        light = Light(direction(0, elevation), (key,) * 3, (sky,) * 3, (0.1,) * 3, 0.0, shadow=False)
        white = replace(WHITE, colour=(0.8, 0.4, 0.2))
        box = boxes(((0, 0, 0), (0.3, 0.1, 0.3)), materials=(white,))
        seen = Renderer(box).render(Camera.orbit(0, 0), light).rgba[32, 32, :3]
        arriving = key * np.cos(np.radians(elevation)) + 0.5 * sky + 0.5 * 0.1
        # IEC 61966-2-1, written down once more, so that a wrong curve is seen in the image
        srgb = 1.055 * (np.array(white.colour) * arriving) ** (1 / 2.4) - 0.055
        assert np.abs(seen - 255 * srgb).max() <= 1


def test_texture_repeats_and_is_the_right_way_round():
    texture = np.zeros((2, 2, 3), np.float32)
    texture[0, 0], texture[0, 1], texture[1, 0] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    plate = thing(
        [[-0.4, 0, -0.4], [0.4, 0, -0.4], [0.4, 0, 0.4], [-0.4, 0, 0.4]],
        np.array([[0, 1, 2], [0, 2, 3]]),
        materials=(replace(WHITE, texture=texture),),
        uv=np.array([[[0, 0], [2, 0], [2, 1]], [[0, 0], [2, 1], [0, 1]]], np.float32),
    )
    camera = Camera.orbit(0, 0, 0, 2.0)
    rgb = Renderer(plate).render(camera, Light(direction(0, 10), shadow=False)).rgba[..., :3] > 60
    for u, v, expected in (
        (0.25, 0.25, (1, 0, 0)),
        (0.75, 0.25, (0, 1, 0)),
        (0.25, 0.75, (0, 0, 1)),
        (1.25, 0.25, (1, 0, 0)),
        (1.75, 0.75, (0, 0, 0)),
    ):
        (column, row), _ = (values[0] for values in camera.project([[-0.4 + 0.4 * u, 0, -0.4 + 0.8 * v]]))
        assert tuple(rgb[int(row), int(column)]) == expected


def test_shadow_lies_where_the_light_throws_it():
    # a cube in the air; a flake far off makes the ground lie lower
    made = boxes(((0, 0, 0.1), 0.05), ((0.3, 0.3, -0.3), (0.001, 0.001, 0.001)))
    camera = Camera.orbit(0, 60, 0, 3.0, size=128)
    light = Light(direction(70, 50), softness=0.0)
    image = Renderer(made).render(camera, light)
    shadow = np.where(image.mask == 0, image.rgba[..., 3], 0).astype(float)
    towards = np.array(light.direction)
    ground = made.vertices[:, 2].min()
    spot = np.array([0, 0, 0.1]) - towards * (0.1 - ground) / towards[2]
    expected, _ = camera.project([spot])
    assert np.linalg.norm(centroid(shadow) - expected[0]) < 0.7
    assert shadow.max() == 153
    assert not image.rgba[..., :3][image.mask == 0].any()


def test_shadow_can_be_left_out():
    image = Renderer(boxes(((0, 0, 0), 0.2))).render(Camera.orbit(30, 30), DARK)
    assert np.array_equal(image.rgba[..., 3], image.mask)


def test_soft_light_has_half_shadows_and_hard_light_few():
    box = boxes(((0, 0, 0), (0.1, 0.1, 0.4)))
    camera = Camera.orbit(0, 60, 0, 2.5, size=128)

    def half(softness):
        image = Renderer(box).render(camera, Light(direction(90, 40), softness=softness))
        alpha = image.rgba[..., 3][image.mask == 0]
        return int(((alpha > 0) & (alpha < 153)).sum())

    assert half(0.15) > 3 * half(0.0)


def test_low_soft_light_does_not_cut_its_shadow_off():
    box = boxes(((0, 0, 0), (0.05, 0.05, 0.4)))
    renderer = Renderer(box)
    light = Light(direction(90, 25), softness=0.15)
    shadow = renderer._ground.shadow(light)
    first, last = shadow.first, shadow.last
    z = float(box.vertices[:, 2].min())
    tips = np.array([0.05, 0, 0.4]) - light.directions * ((0.4 - z) / light.directions[:, 2:])
    assert (tips[:, 0] >= first[0] - 1e-4).all()
    assert (tips[:, 0] <= last[0] + 1e-4).all()


def test_roof_shades_the_floor_and_corners_are_darker():
    floor, roof = ((0, 0, -0.3), (0.4, 0.4, 0.02)), ((0, 0, 0.3), (0.4, 0.4, 0.02))
    camera = Camera.orbit(0, 20, 0, 2.5, size=96)
    light = Light(direction(0, 80), softness=0.0)
    open_floor, covered = (Renderer(boxes(*b)).render(camera, light).rgba for b in ((floor,), (floor, roof)))
    (column, row), _ = (values[0] for values in camera.project([[0, -0.2, -0.28]]))
    assert int(covered[int(row), int(column), 0]) < int(open_floor[int(row), int(column), 0]) - 50
    wall = boxes(floor, ((0, 0.3, 0), (0.4, 0.02, 0.3)))
    rgba = Renderer(wall).render(camera, Light(direction(0, 80), (0, 0, 0), (0.8,) * 3, (0, 0, 0))).rgba
    pixels, _ = camera.project([[0, 0.27, -0.28], [0, -0.35, -0.28]])
    near, far = (int(rgba[int(y), int(x), 0]) for x, y in pixels)
    assert near < far - 10


def test_same_bytes_again():
    def bytes_of(order):
        renderer = Renderer(make_object("chairs", 3))
        rng = np.random.default_rng(0)
        lights = [random_light(rng) for _ in range(3)]
        images = {k: renderer.render(Camera.orbit(100 * k, 20, 5, 1.8), lights[k]) for k in order}
        return [
            getattr(images[k], n).tobytes()
            for k in range(3)
            for n in ("rgba", "mask", "depth", "normals", "parts")
        ]

    assert bytes_of((0, 1, 2)) == bytes_of((2, 0, 1))


def test_views_that_are_not_square_off_the_object_or_very_near():
    renderer = Renderer(boxes(((0, 0, 0), 0.2)))
    wide = renderer.render(Camera.orbit(0, 10, size=64).resized(96, 48), STUDIO)
    assert wide.rgba.shape == (48, 96, 4)
    assert wide.mask.any()
    away = Camera.orbit(0, 0)
    away = replace(away, position=-away.position)  # looks away from the object
    nothing = renderer.render(away, STUDIO)
    assert not nothing.mask.any()
    assert not nothing.rgba.any()
    near = renderer.render(Camera.orbit(40, 0, distance=0.3), STUDIO)
    assert (near.mask == 255).mean() > 0.9
    below = renderer.render(Camera.orbit(0, -60), STUDIO)
    assert np.array_equal(below.rgba[..., 3], below.mask)


def test_random_lights_leave_white_unburnt_and_differ():
    rng = np.random.default_rng(0)
    lights = [random_light(rng) for _ in range(40)]
    assert len(set(lights)) == 40
    assert all(light.direction[2] > 0.4 for light in lights)
    renderer = Renderer(ball(0.4, rings=20))
    burnt = [(renderer.render(Camera.orbit(0, 20), light).rgba[..., :3] == 255).mean() for light in lights]
    assert np.mean(burnt) < 0.06
    assert lights == [random_light(again) for again in [np.random.default_rng(0)] for _ in range(40)]


def test_bad_input():
    box = boxes(((0, 0, 0), 0.2))
    with pytest.raises(MeshError, match="no faces"):
        Renderer(replace(box, faces=box.faces[:0], normals=box.normals[:0], uv=box.uv[:0]))
    vertices = box.vertices.copy()
    vertices[3, 1] = np.nan
    with pytest.raises(MeshError, match="NaN"):
        Renderer(replace(box, vertices=vertices))
    with pytest.raises(MeshError, match="parts"):
        Renderer(replace(box, parts=tuple(str(k) for k in range(256))))
    renderer = Renderer(box)
    with pytest.raises(CameraError, match="larger distance"):
        renderer.render(Camera.orbit(0, 0, distance=0.1), STUDIO)
    camera = Camera.orbit(0, 0)
    with pytest.raises(CameraError, match="NaN"):
        renderer.render(replace(camera, position=np.full(3, np.nan)), STUDIO)
    with pytest.raises(CameraError, match="pixels"):
        renderer.render(replace(camera, size=(0, 64)), STUDIO)


@pytest.mark.parametrize(
    "bad", [{"direction": (0, 0, 2)}, {"key": (-1, 0, 0)}, {"sky": (float("nan"), 0, 0)}, {"softness": -0.1}]
)
def test_lights_that_cannot_be(bad):
    with pytest.raises(ConfigError):
        replace(STUDIO, **bad)


def test_missing_embree_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    with pytest.raises(MissingExtraError, match="scenes"):
        Renderer(boxes(((0, 0, 0), 0.2)))
