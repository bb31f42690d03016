"""The procedural objects: deterministic, distinct, closed, and as symmetric as they say."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netinvert.errors import ConfigError
from netinvert.scenes.cameras import Camera
from netinvert.scenes.catalogue import CATEGORIES, make_chair, make_object
from netinvert.scenes.chair_kinds import KINDS, NEW_SHARE, chair_parts, kind_of
from netinvert.scenes.chair_parts import plan_chair
from netinvert.scenes.objects import MeshError
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import Light

EVEN = Light((0, 0, 1), (0, 0, 0), (0.5, 0.5, 0.5), shadow=False)
SEEDS = st.integers(0, 10**9)
PARTS = ("seat", "back", "legs", "arms")
PLAIN = {0: "d550cb0308b6", 1: "aae48cfcb6c1", 3: "9f75ecfdaa02", 2: "ea2d2fae3f12"}
"""Of vertices, made before there were other kinds."""


def outline(renderer, azimuth, elevation=20.0, size=64):
    return renderer.render(Camera.orbit(azimuth, elevation, 0, 2.2, size=size), EVEN).mask.astype(float) / 255


def overlap(one, other):
    return np.minimum(one, other).sum() / np.maximum(one, other).sum()


@pytest.mark.parametrize(
    "category",
    [name if name == "tables" else pytest.param(name, marks=pytest.mark.slow) for name in CATEGORIES],
)
@given(seed=SEEDS)
@settings(max_examples=20)
def test_objects_are_well_formed(category, seed):
    thing = make_object(category, seed)
    again = make_object(category, seed)
    for name in ("vertices", "faces", "normals", "uv", "part", "material"):
        assert np.array_equal(getattr(thing, name), getattr(again, name))
    low, high = thing.vertices.min(axis=0), thing.vertices.max(axis=0)
    assert np.allclose(low + high, 0, atol=1e-5)
    assert np.linalg.norm(high - low) == pytest.approx(1, abs=1e-5)
    assert np.allclose(np.linalg.norm(thing.normals, axis=-1), 1, atol=1e-3)
    corners = thing.vertices[thing.faces].astype(float)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.linalg.norm(normal, axis=1) > 0).mean() > 0.99
    # the shading normals lie on the side that the face looks to
    assert (np.einsum("ij,ij->i", normal, thing.normals.mean(axis=1)) > -1e-9).mean() > 0.99
    assert thing.part.max() < len(thing.parts)
    assert thing.material.max() < len(thing.materials)
    assert all(0 <= value <= 1 for material in thing.materials for value in material.colour)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", *KINDS])
@given(seed=SEEDS)
@settings(max_examples=30)
def test_chairs_are_put_together_from_closed_pieces(kind, seed):
    rng = np.random.default_rng([7, seed])
    parts = chair_parts(plan_chair(rng)) if kind == "plain" else KINDS[kind][1](rng)[1]
    for piece, _ in [worn for part in parts.values() for worn in part]:
        one, two, three = (piece.corners[:, k] for k in range(3))
        areas = np.cross(two - one, three - one) / 2
        # of a closed surface the areas, as vectors, cancel; slivers of no size may be missing
        assert np.linalg.norm(areas.sum(axis=0)) < 1e-3 * np.linalg.norm(areas, axis=1).sum()
        assert np.einsum("ij,ij->", one, np.cross(two, three)) > 0  # faces look outwards


@pytest.mark.slow
def test_chairs_know_their_parts():
    things = [make_chair(seed) for seed in range(60)]
    assert all(thing.parts == PARTS for thing in things)
    for thing in things:
        there = {thing.parts[k] for k in np.unique(thing.part)}
        absent = {name for name in ("back", "arms") if thing.parameters[name] == "none"}
        assert there == set(PARTS) - absent
        heights = {n: thing.vertices[thing.only(n).faces][..., 2].mean() for n in there}
        lowest = {n: thing.vertices[thing.only(n).faces][..., 2].min() for n in there}
        assert lowest["legs"] <= lowest["seat"]
        assert heights["legs"] < heights["seat"] or thing.parameters["kind"] in ("deck", "folding")
        assert heights.get("back", 1) > heights["seat"]
        if "back" in there:  # behind the seat, which is +y
            assert thing.vertices[thing.only("back").faces][..., 1].mean() > 0.02
    for kind in ("legs", "back", "seat"):
        assert len({thing.parameters[kind] for thing in things}) >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_chairs_are_of_the_size_of_furniture(kind):
    for seed in range(12):
        plan, parts = KINDS[kind][1](np.random.default_rng([7, seed, 1]))
        again = KINDS[kind][1](np.random.default_rng([7, seed, 1]))[1]
        assert tuple(parts) == PARTS
        assert (plan.arms == "none", plan.back == "none") == (not parts["arms"], not parts["back"])
        assert plan.back != "none" or kind == "bench"
        corners = {name: [piece.corners for piece, _ in own] for name, own in parts.items()}
        twice = [piece.corners for own in again.values() for piece, _ in own]
        every = [piece.corners for own in parts.values() for piece, _ in own]
        assert all(np.array_equal(one, other) for one, other in zip(every, twice, strict=True))
        points = np.concatenate(every).reshape(-1, 3)
        low, high = points.min(axis=0), points.max(axis=0)
        assert low[2] == pytest.approx(0, abs=0.04)  # on the floor
        assert (high - low > 0.3).all()
        assert high[2] < 1.6
        assert (high - low)[:2].max() < 2.6
        assert low[0] == pytest.approx(-high[0], abs=0.1)  # the sides alike, but for a swivel's five feet
        seat = np.concatenate(corners["seat"])
        assert 0.1 < seat[..., 2].max() < 1.1
        if parts["back"]:  # behind the seat's middle, and higher
            back = np.concatenate(corners["back"])
            assert back[..., 1].mean() > seat[..., 1].mean()
            assert back[..., 2].max() > np.median(seat[..., 2])


def test_kinds_are_drawn_as_often_as_they_say():
    kinds = [kind_of(np.random.default_rng([7, seed, 1])) for seed in range(2000)]
    assert set(kinds) == {"plain", *KINDS}
    assert np.mean([kind != "plain" for kind in kinds]) == pytest.approx(NEW_SHARE, abs=0.04)
    assert sum(share for share, _ in KINDS.values()) == pytest.approx(1)


@pytest.mark.parametrize(("seed", "digest"), PLAIN.items())
def test_plain_chairs_are_what_they_were_before_there_were_kinds(seed, digest):
    thing = make_chair(seed)
    assert thing.parameters["kind"] == "plain"
    assert hashlib.sha256(np.round(thing.vertices, 3).tobytes()).hexdigest()[:12] == digest


def test_parts_can_be_taken_away_and_recoloured():
    thing = make_chair(3)
    bare = thing.without("back", "arms")
    assert set(np.unique(bare.part)) == {0, 2}
    assert np.array_equal(bare.vertices, thing.vertices)  # the rest stays where it was
    red = thing.recoloured({"seat": (1.0, 0.0, 0.0)})
    image = Renderer(red).render(Camera.orbit(20, 40, 0, 2.2), EVEN)
    seat = (image.parts == 1) & (image.mask == 255)
    red_part, rest = image.rgba[seat][:, 0], image.rgba[seat][:, 1:3]
    assert np.median(red_part) > 100
    assert np.median(rest) == 0  # but for pixels on the edges of legs
    with pytest.raises(MeshError, match="no part 'wings'"):
        thing.without("wings")
    with pytest.raises(MeshError, match="nothing"):
        thing.without(*PARTS)


@pytest.mark.slow
def test_seeds_are_visibly_different_chairs():
    images = np.stack([outline(Renderer(make_chair(seed)), 40, size=48) for seed in range(60)])
    flat = images.reshape(60, -1)
    shared = np.minimum(flat[:, None], flat[None]).sum(-1) / np.maximum(flat[:, None], flat[None]).sum(-1)
    shared[np.diag_indices(60)] = 0
    assert np.median(shared.max(axis=1)) < 0.85  # even of the most alike outlines
    assert shared.max() < 0.97


@pytest.mark.slow
@pytest.mark.parametrize("category", CATEGORIES)
def test_objects_are_as_symmetric_as_they_say(category):
    seen = set()
    for seed in range(80):
        thing = make_object(category, seed)
        if (thing.symmetry in seen and category != "chairs") or (thing.symmetry == 1 and 1 in seen):
            continue
        seen.add(thing.symmetry)
        renderer = Renderer(thing)
        if thing.symmetry == 1:
            alike = [overlap(outline(renderer, a), outline(renderer, a + 180)) for a in (20, 70)]
            assert min(alike) < 0.97, (seed, alike)
            continue
        step = 360 / thing.symmetry if thing.symmetry else 40
        for azimuth in (10, 75):
            assert overlap(outline(renderer, azimuth), outline(renderer, azimuth + step)) > 0.985, seed
    assert {"chairs": {1}, "cars": {1}, "mugs": {0, 1}, "tables": {0, 2, 4}}[category] <= seen


def test_cars_are_alike_on_both_sides():
    renderer = Renderer(make_object("cars", 5))
    assert overlap(outline(renderer, 50), outline(renderer, -50)[:, ::-1]) > 0.985


def test_unknown_categories_are_named():
    with pytest.raises(ConfigError, match="did you mean chairs"):
        make_object("chair", 0)
