"""Objects from mesh files: their geometry, normals, materials and textures."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netinvert.errors import MissingExtraError
from netinvert.scenes.objects import Array, Material, MeshError, Object3D, srgb_to_linear

CREASE = 40.0
"""Degrees between neighbouring faces up to which an edge is shaded as round."""
SMALLEST = 1e-12


def spots_of(mesh: Any) -> NDArray[np.int64]:  # noqa: ANN401
    """Faces (F, 3) by where their corners are: corners at one spot are one, though files often part them
    (STL always, others along a texture's seam)."""
    _, spot = np.unique(mesh.vertices.round(9), axis=0, return_inverse=True)
    return np.asarray(spot.ravel()[mesh.faces])


def is_closed(spots: NDArray[np.int64]) -> bool:
    """Whether every edge of the faces (F, 3) belongs to two of them."""
    edges = np.sort(spots[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())


def corner_normals(mesh: Any, spots: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: ANN401
    """Unit normals (F, 3, 3): the mean of the faces around a corner that lie within CREASE of its own."""
    flat, spot = mesh.face_normals, spots.ravel()
    order = np.argsort(spot, kind="stable")
    owner = np.repeat(np.arange(len(spots)), 3)[order]
    starts = np.searchsorted(spot[order], np.arange(spot.max() + 2))
    weighted = flat * mesh.area_faces[:, None]
    mean = np.zeros((len(spot), 3))
    corners = np.arange(len(spot))
    reach = int((starts[1:] - starts[:-1]).max())
    for k in range(min(reach, 64)):  # the k-th face around every corner at once
        index = starts[spot] + k
        inside = index < starts[spot + 1]
        other = owner[index[inside]]
        near = np.einsum("ij,ij->i", flat[corners[inside] // 3], flat[other]) > np.cos(np.radians(CREASE))
        mean[corners[inside][near]] += weighted[other[near]]
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    normals = np.where(
        length > SMALLEST**2, mean / np.maximum(length, SMALLEST**2), np.repeat(flat, 3, axis=0)
    )
    return normals.reshape(-1, 3, 3)


TEXTURE = 512
"""The greatest side of a texture in pixels; images of objects are small."""
GREY = (0.4, 0.4, 0.4)
MOST_COLOURS = 64


@dataclass(frozen=True, eq=False)
class Surface:
    """``materials``, which of them each face wears ``material`` (F,), texture coordinates ``uv`` (F, 3, 2),
    and how many textures were ``missing`` their coordinates."""

    materials: list[Material]
    material: NDArray[np.int64]
    uv: NDArray[np.float64]
    missing: int = 0


def surface_of(mesh: Any, file: Path, refuse_missing: bool) -> Surface:  # noqa: ANN401  (trimesh is not typed)
    """The surface of a trimesh mesh; grey where the file says nothing. Raises MeshError: a texture's
    coordinates are missing and that is to be refused."""
    count = len(mesh.faces)
    zeros = np.zeros((count, 3, 2))
    visual = mesh.visual
    if visual.kind == "texture":
        return _textured(mesh, file, refuse_missing)
    if visual.kind in ("face", "vertex"):
        colours = (
            visual.face_colors if visual.kind == "face" else visual.vertex_colors[mesh.faces].mean(axis=1)
        )
        shades, index = _palette(np.asarray(colours)[:, :3])
        materials = [Material("coloured", tuple(srgb_to_linear(shade / 255).tolist())) for shade in shades]
        return Surface(materials, index, zeros)
    return Surface([Material("plain", GREY)], np.zeros(count, np.int64), zeros)


def _textured(mesh: Any, file: Path, refuse_missing: bool) -> Surface:  # noqa: ANN401
    material = mesh.visual.material
    count = len(mesh.faces)
    uv = mesh.visual.uv
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    factor = getattr(material, "baseColorFactor", None)
    if factor is None:
        factor = getattr(material, "diffuse", None)
    colour = GREY if factor is None else tuple(srgb_to_linear(_bytes(factor)[:3] / 255).tolist())
    kind = str(getattr(material, "name", None) or "material")
    if image is None or uv is None:
        missing = int(image is not None)
        if missing and refuse_missing:
            raise MeshError(f"{file} has a texture but no texture coordinates: export it with them")
        return Surface([Material(kind, colour)], np.zeros(count, np.int64), np.zeros((count, 3, 2)), missing)
    texture = _texture(image)
    white = (1.0, 1.0, 1.0)
    tint = colour if getattr(material, "baseColorFactor", None) is not None else white
    # Images count rows from above, texture coordinates from below.
    coordinates = np.asarray(uv)[mesh.faces] * (1, -1) + (0, 1)
    finite = np.nan_to_num(coordinates)
    return Surface([Material(kind, tint, texture)], np.zeros(count, np.int64), finite)


def _bytes(colour: Any) -> NDArray[np.float64]:  # noqa: ANN401
    """A colour as 0 to 255, whether the file has floats or bytes."""
    values = np.asarray(colour)
    return values * 255.0 if values.dtype.kind == "f" and values.max() <= 1 else values.astype(float)


def _texture(image: Image.Image) -> Array:
    image = image.convert("RGB")
    if max(image.size) > TEXTURE:
        scale = TEXTURE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
    return np.asarray(srgb_to_linear(np.asarray(image) / 255), np.float32)


def _palette(colours: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """At most MOST_COLOURS shades and the nearest of them for each face; exact where there are no more."""
    shades, index = np.unique(colours.astype(np.uint8), axis=0, return_inverse=True)
    step = 8
    while len(shades) > MOST_COLOURS:
        shades, index = np.unique(
            (colours // step * step + step // 2).astype(np.uint8), axis=0, return_inverse=True
        )
        step *= 2
    return shades, index.ravel().astype(np.int64)


SUFFIXES = (".obj", ".glb", ".gltf", ".ply", ".stl", ".off")
Y_UP = (".glb", ".gltf")
"""Formats whose definition has y up and the front towards +z (glTF 2.0, section 3.4)."""
MOST_FACES = 2_000_000


@dataclass(frozen=True)
class MeshOptions:
    """How a mesh file is read.

    ``up`` is the file's axis that points up: "z" (front -y, as everywhere here) or "y" (front +z); None goes
    by the format. ``limit`` is the greatest number of faces. ``missing_textures`` are replaced by the
    material's colour ("replace", noted in the parameters) or refused ("refuse")."""

    up: Literal["y", "z"] | None = None
    limit: int = MOST_FACES
    missing_textures: Literal["replace", "refuse"] = "replace"


def list_objects(folder: str | Path) -> list[Path]:
    """The mesh files of a folder and the folders in it, in the order of their names. Raises MeshError: there
    is none."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise MeshError(f"{folder} holds no mesh: give a folder with {', '.join(SUFFIXES)} files")
    return paths


def read_object(path: str | Path, options: MeshOptions | None = None) -> Object3D:
    """The object in a mesh file; each of its geometries is a part.

    ``parameters`` tells how many faces it has, how many had no area and were dropped, whether it is
    watertight (other meshes render too, but show their inside), and whether a texture was missing. Raises
    MissingExtraError: trimesh is not installed; MeshError: no mesh, an empty or damaged one, NaN, or too many
    faces."""
    options = options or MeshOptions()
    file = Path(path)
    geometries, missing = _load(file)
    if missing and options.missing_textures == "refuse":
        raise MeshError(f"{file}: {', '.join(missing)} cannot be read: put it beside the mesh")
    total = sum(len(mesh.faces) for _, mesh in geometries)
    if total == 0:
        raise MeshError(f"{file} has no faces: give a mesh of triangles, not points or lines")
    if total > options.limit:
        raise MeshError(
            f"{file} has {total:,} faces, more than {options.limit:,}: simplify it (trimesh: "
            "simplify_quadric_decimation) or give a higher limit"
        )
    return _assembled(file, geometries, options, len(missing))


def _load(file: Path) -> tuple[list[tuple[str, Any]], list[str]]:
    """The file's meshes with their names, and the names of the files beside it that cannot be read."""
    try:
        import trimesh
    except ImportError as error:
        raise MissingExtraError("reading mesh files", "scenes") from error
    if not file.is_file():
        raise MeshError(f"{file} does not exist or is no file: check the path")
    if file.suffix.lower() not in SUFFIXES:
        raise MeshError(f"{file} is no mesh that is known here: give one of {', '.join(SUFFIXES)}")
    if file.stat().st_size == 0:
        raise MeshError(f"{file} is empty: export it again")
    missing: list[str] = []

    class Files(trimesh.resolvers.FilePathResolver):
        """trimesh passes over files that it cannot read; this remembers them."""

        def get(self, name: str) -> bytes:
            try:
                content = bytes(super().get(name))
                if Path(name).suffix.lower() in Image.registered_extensions():
                    Image.open(io.BytesIO(content)).verify()
            except Exception:
                missing.append(name)
                raise
            return content

    with _silence():
        try:
            scene = trimesh.load_scene(file, resolver=Files(str(file)), process=False)
            geometries = _placed(scene, trimesh.Trimesh)
        except Exception as error:  # trimesh's readers raise whatever their parsers do
            raise MeshError(
                f"{file} cannot be read ({error or type(error).__name__}): export it again"
            ) from error
    for name, mesh in geometries:
        if not np.isfinite(mesh.vertices).all():
            raise MeshError(f"{file}: {name} has NaN or infinite vertices: repair it and export it again")
        if len(mesh.faces) and (mesh.faces.max() >= len(mesh.vertices) or mesh.faces.min() < 0):
            raise MeshError(f"{file}: {name} has faces of vertices that it has not: export it again")
    return geometries, missing


def _placed(scene: Any, kind: Any) -> list[tuple[str, Any]]:  # noqa: ANN401  (trimesh is not typed)
    """Every mesh of a scene where the scene puts it."""
    result = []
    for node in sorted(scene.graph.nodes_geometry):
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if isinstance(mesh, kind):
            own = mesh.copy()
            own.apply_transform(transform)
            result.append((str(node), own))
    return result


def _assembled(file: Path, geometries: list[tuple[str, Any]], options: MeshOptions, missing: int) -> Object3D:
    columns: dict[str, list[NDArray[Any]]] = {n: [] for n in ("corners", "normals", "uv", "part", "material")}
    names: list[str] = []
    materials: list[Material] = []
    dropped, watertight = 0, True
    for name, mesh in geometries:
        solid = mesh.area_faces > SMALLEST * max(mesh.scale, SMALLEST) ** 2
        dropped += int((~solid).sum())
        if not solid.any():
            continue
        spots = spots_of(mesh)
        watertight &= is_closed(spots)
        surface = surface_of(mesh, file, options.missing_textures == "refuse")
        missing += surface.missing
        columns["corners"].append(mesh.vertices[mesh.faces[solid]])
        columns["normals"].append(corner_normals(mesh, spots)[solid])
        columns["uv"].append(surface.uv[solid])
        columns["part"].append(np.full(int(solid.sum()), min(len(names), 254)))
        columns["material"].append(surface.material[solid] + len(materials))
        names.append(name)
        materials += surface.materials
    if not names:
        raise MeshError(f"{file} has only faces without area: give a mesh with surfaces")
    if len(materials) > 255:
        raise MeshError(f"{file} has {len(materials)} materials, more than 255: join some of them")
    corners, normals = (np.concatenate(columns[name]) for name in ("corners", "normals"))
    if (options.up or ("y" if file.suffix.lower() in Y_UP else "z")) == "y":
        corners, normals = (values[..., [0, 2, 1]] * (1, -1, 1) for values in (corners, normals))
    if np.ptp(corners.reshape(-1, 3), axis=0).max() == 0:
        raise MeshError(f"{file} is a single point: give a mesh with an extent")
    vertices, inverse = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    return Object3D(
        name=file.stem,
        category="mesh",
        vertices=vertices.astype(np.float32),
        faces=inverse.reshape(-1, 3).astype(np.int32),
        normals=normals.astype(np.float32),
        uv=np.concatenate(columns["uv"]).astype(np.float32),
        part=np.concatenate(columns["part"]).astype(np.uint8),
        material=np.concatenate(columns["material"]).astype(np.uint8),
        parts=tuple(names[:255]),
        materials=tuple(materials),
        parameters={
            "file": file.name,
            "faces": len(corners),
            "dropped_faces": dropped,
            "watertight": watertight,
            "missing_textures": missing,
        },
    ).normalised()


@contextmanager
def _silence() -> Iterator[None]:
    """Keep trimesh's warnings and log lines to itself; what matters is raised or kept as a parameter."""
    logger = logging.getLogger("trimesh")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
