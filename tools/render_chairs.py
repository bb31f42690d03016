"""Make the test chairs: two wooden chairs built from rounded pieces, path traced from twelve sides.

    python tools/render_chairs.py --out tests/data/chairs --cover src/netinvert/data

Needs ``pip install mitsuba numpy pillow scipy``. Objects are in metres, z up, front towards -y, the
bounding box's centre at the origin. A camera at azimuth a and elevation e stands at
d (cos e sin a, -cos e cos a, sin e) and looks at the origin (PASCAL3D+); d makes the projected 3-D box,
enlarged ENLARGE times, fill the picture. Keypoints are Objectron's: the centre, then the box's corners in
the frame x_o = x, y_o = z, z_o = -y with x_o slowest, in pixels (x right, y down, edges at 0 and 224).
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise, product
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.optimize import brentq
from scipy.spatial import ConvexHull

Array = NDArray[np.float64]
Primitive = tuple[
    str, Array, Array, Array
]  # material, corners (F, 3, 3), normals (F, 3, 3), texture (F, 3, 2)

SIZE, FOV, ENLARGE, ELEVATION = 224, 35.0, 1.5, 20.0
SIGNS = np.array(list(product((-1.0, 1.0), repeat=3)))
BOX_TO_OBJECT = np.array(
    [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
)  # row vectors: box (x, y, z) -> object (x, -z, y)
MATERIALS = {  # linear RGB, strength of the texture
    "oak": ((0.47, 0.235, 0.085), 0.26),
    "walnut": ((0.165, 0.066, 0.028), 0.36),
    "teal": ((0.045, 0.15, 0.18), 0.09),
    "cream": ((0.60, 0.49, 0.35), 0.06),
}


def sphere(n: int) -> Array:
    """Directions that contain the six axes, so that a rounded box keeps flat faces."""
    v, u = np.meshgrid(np.linspace(0, np.pi, n + 1), np.linspace(0, 2 * np.pi, 2 * n + 1)[:-1])
    return np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], axis=-1).reshape(-1, 3)


def hull(material: str, points: Array, normals: Array, whole: Array) -> Primitive:
    """The convex hull of points that know their normals; the grain runs along ``whole``'s longest axis."""
    faces = ConvexHull(points).simplices
    corners, shading = points[faces], normals[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    turned = (flat * shading.sum(1)).sum(1) < 0
    corners[turned], shading[turned] = corners[turned, ::-1], shading[turned, ::-1]
    order = np.argsort(-np.ptp(whole, axis=0))
    axes = np.array([[k for k in order if k != a] for a in range(3)])[np.abs(flat).argmax(1)]
    shift = np.abs(np.sin(whole.mean(0) * 91.7)).sum()  # every part is cut from another place of the board
    return material, corners, shading, np.take_along_axis(corners, axes[:, None], axis=2) * 2 + shift


def bar(
    material: str, path: ArrayLike, half: ArrayLike, end: ArrayLike = (), r: float = 0.007
) -> list[Primitive]:
    """A rounded bar along a path of points; ``half`` is its half section, ``end`` the one it tapers to."""
    path, directions = np.asarray(path, float), sphere(16)
    halves = np.linspace(np.asarray(half, float), np.asarray(end or half, float), len(path)) - r
    pieces = []
    for (a, ha), (b, hb) in pairwise(zip(path, halves.clip(0), strict=True)):
        centres = np.unique(np.concatenate([a + SIGNS * ha, b + SIGNS * hb]).round(9), axis=0)
        points = (centres[:, None] + r * directions).reshape(-1, 3)
        pieces.append(hull(material, points, np.tile(directions, (len(centres), 1)), path))
    return pieces


def cushion(material: str, centre: ArrayLike, half: ArrayLike, tilt: float = 0) -> list[Primitive]:
    """A superellipsoid, roundest in its thin direction, leaning back by ``tilt`` degrees."""
    half, directions = np.asarray(half, float), sphere(48)
    powers = np.where(np.arange(3) == half.argmin(), 2.4, 9.0)
    unit = np.sign(directions) * np.abs(directions) ** (2 / powers)  # sum |x|^p = 1
    normals = np.sign(unit) * powers * np.abs(unit) ** (powers - 1) / half
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    turn = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    points = np.asarray(centre, float) + (unit * half) @ turn.T
    return [hull(material, points, normals @ turn.T, points)]


def mirror(pieces: list[Primitive]) -> list[Primitive]:
    """The pieces and their images on the other side, x -> -x."""
    flip = np.array([-1.0, 1.0, 1.0])
    return pieces + [(m, (v * flip)[:, ::-1], (n * flip)[:, ::-1], t[:, ::-1]) for m, v, n, t in pieces]


def dining_chair() -> list[Primitive]:
    """A plain chair of oak with an upholstered seat and back."""
    w, bends = "oak", ((0.255, 0), (0.215, 0.25), (0.205, 0.45), (0.235, 0.68), (0.29, 0.92))
    side = bar(w, [(0.205, -0.215, 0), (0.205, -0.205, 0.455)], (0.014, 0.014, 0), (0.021, 0.021, 0))
    side += bar(w, [(0.195, *bend) for bend in bends], (0.016, 0.019, 0), (0.014, 0.014, 0))
    side += bar(w, [(0.203, -0.2, 0.415), (0.197, 0.2, 0.415)], (0.011, 0, 0.034))
    side += bar(w, [(0.2, -0.2, 0.2), (0.195, 0.21, 0.2)], (0.009, 0, 0.014))
    pieces = mirror(side)
    for y, z, half in ((-0.205, 0.415, 0.034), (0.2, 0.415, 0.034), (0.0, 0.2, 0.014), (0.219, 0.58, 0.02)):
        pieces += bar(w, [(-0.195, y, z), (0.195, y, z)], (0, 0.0105, half))
    rail = [(x, 0.285 + 0.016 * np.cos(np.pi * x / 0.4), 0.9) for x in np.linspace(-0.2, 0.2, 9)]
    pieces += bar(w, rail, (0, 0.011, 0.028))
    pieces += bar(w, [(0, -0.2, 0.43), (0, 0.2, 0.43)], (0.195, 0, 0.01))
    pieces += cushion("teal", (0, -0.012, 0.462), (0.232, 0.238, 0.044))
    return pieces + cushion("teal", (0, 0.242, 0.735), (0.186, 0.03, 0.15), tilt=12)


def carver_chair() -> list[Primitive]:
    """A slatted chair of walnut with arms and a pale cushion."""

    def lean(x: float, z: float) -> float:  # the back is hollow and bends backwards
        return 0.245 - 0.03 * (x / 0.225) ** 2 + 0.26 * (z - 0.45) ** 1.25

    w, levels = "walnut", (0.55, 0.7, 0.85, 1.0)
    post = [(0.225, 0.275, 0), (0.225, 0.215, 0.42), *((0.225, lean(0.225, z), z) for z in levels)]
    side = bar(w, post, (0.018, 0.021, 0), (0.015, 0.016, 0))
    side += bar(w, [(0.25, -0.235, 0), (0.25, -0.225, 0.665)], (0.014, 0.014, 0), (0.02, 0.02, 0))
    side += bar(w, [(0.246, -0.22, 0.4), (0.23, 0.21, 0.4)], (0.012, 0, 0.036))
    side += bar(w, [(0.25, -0.225, 0.17), (0.228, 0.245, 0.17)], (0.01, 0, 0.015))
    arm = [(0.252, -0.27, 0.672), (0.262, -0.15, 0.68), (0.256, 0, 0.684), (0.228, lean(0.225, 0.69), 0.69)]
    pieces = mirror(side + bar(w, arm, (0.031, 0.012, 0.014), (0.018, 0.012, 0.014), r=0.011))
    for x, y, z, half in ((0.24, -0.225, 0.4, 0.036), (0.22, 0.21, 0.4, 0.036), (0.24, 0.01, 0.17, 0.015)):
        pieces += bar(w, [(-x, y, z), (x, y, z)], (0, 0.011, half))
    for z, half in ((0.55, 0.02), (0.965, 0.04)):
        pieces += bar(w, [(x, lean(x, z), z) for x in np.linspace(-0.23, 0.23, 13)], (0, 0.011, half))
    for x in np.linspace(-0.148, 0.148, 5):
        pieces += bar(w, [(x, lean(x, z), z) for z in (0.55, 0.7, 0.85, 0.95)], (0.019, 0.006, 0), r=0.005)
    pieces += bar(w, [(0, -0.215, 0.425), (0, 0.21, 0.425)], (0.225, 0, 0.01))
    return pieces + cushion("cream", (0, -0.008, 0.462), (0.222, 0.225, 0.046))


def build(name: str) -> tuple[list[Primitive], Array]:
    """A chair with its bounding box's centre at the origin, and the box's size."""
    pieces = {"dining": dining_chair, "carver": carver_chair}[name]()
    points = np.concatenate([corners.reshape(-1, 3) for _, corners, _, _ in pieces])
    low, high = points.min(0), points.max(0)
    return [(m, v - (low + high) / 2, n, t) for m, v, n, t in pieces], high - low


def keypoints3d(box: Array) -> Array:
    return np.concatenate([np.zeros((1, 3)), (SIGNS @ BOX_TO_OBJECT) * box / 2])


def position(azimuth: float, distance: float) -> Array:
    a, e = np.radians(azimuth), np.radians(ELEVATION)
    return distance * np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)])


def project(points: Array, azimuth: float, distance: float) -> Array:
    """Object points to pixels as in PASCAL3D+: R = Rx(e - 90) Rz(-a), camera axes x right, y up, z back."""
    a, t = np.radians(azimuth), np.radians(ELEVATION - 90)
    rz = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    rx = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])
    x, y, z = (rx @ rz) @ (points - position(azimuth, distance)).T
    return SIZE / 2 * (1 + np.stack([-x / z, y / z], axis=1) / np.tan(np.radians(FOV) / 2))


def fitting_distance(box: Array, azimuth: float) -> float:
    def excess(distance: float) -> float:
        return float(np.ptp(project(keypoints3d(box), azimuth, distance), axis=0).max()) - SIZE / ENLARGE

    return float(brentq(excess, np.linalg.norm(box), 50 * np.linalg.norm(box)))


def surface(material: str, seed: int, n: int = 512) -> mi.BSDF:
    """Wood has long streaks under a thin varnish, cloth a fine weave; the texture repeats without a seam."""
    colour, strength = MATERIALS[material]
    wood = material in ("oak", "walnut")
    along, across, power = (1.2, 14, 0.75) if wood else (60, 60, 1)
    f, g = np.meshgrid(np.fft.fftfreq(n) * n, np.fft.fftfreq(n) * n)
    spectrum = (1 + (f / along) ** 2 + (g / across) ** 2) ** -power
    spectrum[0, 0] = 0
    noise = np.fft.ifft2(np.fft.fft2(np.random.default_rng(seed).normal(size=(n, n))) * spectrum).real
    values = np.exp(strength * noise / noise.std())[..., None] * np.array(colour)
    texture = {"type": "bitmap", "bitmap": mi.Bitmap(values.clip(0.01, 0.85).astype(np.float32)), "raw": True}
    varnish = {"type": "roughplastic", "alpha": 0.22, "specular_reflectance": 0.6}
    return mi.load_dict(
        {**varnish, "diffuse_reflectance": texture} if wood else {"type": "diffuse", "reflectance": texture}
    )


def mesh(name: str, pieces: list[Primitive], bsdf: mi.BSDF) -> mi.Mesh:
    corners, normals, uv = (np.concatenate([p[k] for p in pieces]).astype(np.float32) for k in (1, 2, 3))
    props = mi.Properties()
    props["bsdf"] = bsdf
    made = mi.Mesh(
        name, 3 * len(corners), len(corners), props, has_vertex_normals=True, has_vertex_texcoords=True
    )
    parameters = mi.traverse(made)
    for key, value in (("positions", corners), ("normals", normals), ("texcoords", uv)):
        parameters[f"vertex_{key}"] = value.ravel()
    parameters["faces"] = np.arange(3 * len(corners), dtype=np.uint32)
    parameters.update()
    return made


def sky() -> mi.Bitmap:
    """Soft light: a pale sky, a large lamp over the camera's left shoulder, a weaker one on its right."""
    v, u = np.meshgrid(
        (np.arange(128) + 0.5) / 128 * np.pi, (np.arange(256) + 0.5) / 128 * np.pi, indexing="ij"
    )
    directions = np.stack([np.sin(v) * np.sin(u), np.sin(v) * np.cos(u), np.cos(v)], axis=-1)  # z up
    light = np.array([0.66, 0.69, 0.73]) * (0.7 + 0.3 * directions[..., 2:])
    key, fill = ((-0.62, -0.5, 0.85), 60, (15.5, 14.8, 13.8)), ((0.8, -0.55, 0.5), 14, (0.8, 0.83, 0.88))
    for where, sharpness, colour in (key, fill):
        cosine = directions @ np.array(where) / np.linalg.norm(where)
        light = light + np.exp(sharpness * (cosine[..., None] - 1)) * np.array(colour)
    return mi.Bitmap(light.astype(np.float32))


def render(shapes: dict, azimuth: float, distance: float, spp: int, seed: int) -> Array:
    """Linear RGBA; the light turns with the camera, as if the chair stood on a turntable."""
    t, film = mi.ScalarTransform4f, {"type": "hdrfilm", "width": SIZE, "height": SIZE, "pixel_format": "rgba"}
    camera = t().look_at(origin=list(position(azimuth, distance)), target=[0, 0, 0], up=[0, 0, 1])
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 6, "hide_emitters": True},
        "sensor": {
            "type": "perspective",
            "fov": FOV,
            "to_world": camera,
            "film": film | {"rfilter": {"type": "box"}},
            "sampler": {"type": "multijitter", "sample_count": spp},
        },
        "light": {
            "type": "envmap",
            "bitmap": sky(),
            "to_world": t().rotate([0, 0, 1], azimuth).rotate([1, 0, 0], 90),
        },
    }
    return np.array(mi.render(mi.load_dict(scene | shapes), spp=spp, seed=seed), dtype=float)


def worst_projection_error(box: Array, azimuth: float, distance: float) -> float:
    """Pixels between the projected keypoints and the pictures of small balls at the same places."""
    rows, columns = np.indices((SIZE, SIZE)) + 0.5
    seen = []
    for point in keypoints3d(box):
        ball = {"ball": {"type": "sphere", "center": list(point), "radius": 0.012}}
        alpha = render(ball, azimuth, distance, 16, 0)[..., 3]
        seen.append([(columns * alpha).sum() / alpha.sum(), (rows * alpha).sum() / alpha.sum()])
    expected = project(keypoints3d(box), azimuth, distance)
    return float(np.linalg.norm(np.array(seen) - expected, axis=1).max())


def picture(name: str, azimuth: float, file: Path, spp: int, seed: int) -> dict:
    """Render one view, write it, and return its camera."""
    pieces, box = build(name)
    distance = fitting_distance(box, azimuth)
    shapes = {
        m: mesh(m, [p for p in pieces if p[0] == m], surface(m, seed)) for m in sorted({p[0] for p in pieces})
    }
    shapes["ground"] = {
        "type": "disk",
        "to_world": mi.ScalarTransform4f().translate([0, 0, -box[2] / 2]).scale(200),
        "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.6, 0.635, 0.68]}},
    }
    linear = render(shapes, azimuth, distance, spp, seed)[..., :3].clip(1e-9, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((srgb * 255).round().astype(np.uint8)).save(file, optimize=True)
    error = worst_projection_error(box, azimuth, distance)
    print(f"{file.name}: brightest {srgb.max():.3f}, balls within {error:.3f} px of the keypoints")
    return {
        "chair": name,
        "azimuth": azimuth,
        "elevation": ELEVATION,
        "in_plane_rotation": 0.0,
        "distance": round(distance, 6),
        "field_of_view": FOV,
        "box": box.round(6).tolist(),
        "keypoints": project(keypoints3d(box), azimuth, distance).round(3).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for the 24 pictures and cameras.json")
    parser.add_argument(
        "--cover", type=Path, help="folder for a three-quarter view, chair.png and chair.json"
    )
    parser.add_argument(
        "--spp", type=int, default=576, help="samples a pixel (four times as many for the cover)"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    mi.set_variant("scalar_rgb")
    dr.set_thread_count(1)
    if arguments.cover:
        file = arguments.cover / "chair.png"
        camera = picture("carver", 35.0, file, 4 * arguments.spp, arguments.seed)
        file.with_suffix(".json").write_text(json.dumps(camera) + "\n")
    if arguments.out:
        views = [(n, float(a), f"{n}-{a:03d}.png") for n in ("dining", "carver") for a in range(0, 360, 30)]
        cameras = {f: picture(n, a, arguments.out / f, arguments.spp, arguments.seed) for n, a, f in views}
        lines = ",\n".join(f"{json.dumps(file)}: {json.dumps(camera)}" for file, camera in cameras.items())
        (arguments.out / "cameras.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
