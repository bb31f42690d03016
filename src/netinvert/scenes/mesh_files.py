"""Objects from mesh files: their geometry, normals, materials and textures."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netinvert.errors import MissingExtraError
from netinvert.io.files import guarded, inside, refusing
from netinvert.io.folders import paths_in
from netinvert.scenes.mesh_surfaces import Gltf, Surface, decode_textures, surface_of
from netinvert.scenes.objects import Material, MeshError, Object3D, Value
from netinvert.scenes.polygons import (
    has_vertex_colours,
    ply_text,
    read_off,
    triangulated_obj,
    with_ply_polygons,
)

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


SUFFIXES = (".obj", ".glb", ".gltf", ".ply", ".stl", ".off")
GLTF = (".glb", ".gltf")
"""Formats whose definition has y up and the front towards +z (glTF 2.0, section 3.4)."""
Y_UP = (*GLTF, ".obj", ".stl")
"""Formats that are taken to have y up; of all but glTF that is a guess."""
AXES = {"x": ((2, -1), (1, 1), (0, 1)), "y": ((0, 1), (2, -1), (1, 1)), "z": ((0, 1), (1, 1), (2, 1))}
"""By the axis that points up: of which of the file's axes x, y and z are, and their signs."""
MOST_FACES = 2_000_000


@dataclass(frozen=True)
class MeshOptions:
    """How a mesh file is read.

    ``up`` is the file's axis that points up: "z" (front -y, as everywhere here), "y" (front +z) or "x" (front
    -y); None goes by the format, see `guessed_up`. ``limit`` is the greatest number of faces.
    ``missing_textures`` are replaced by the material's colour ("replace", noted in the parameters) or refused
    ("refuse")."""

    up: Literal["x", "y", "z"] | None = None
    limit: int = MOST_FACES
    missing_textures: Literal["replace", "refuse"] = "replace"


def guessed_up(path: str | Path) -> str | None:
    """The axis that is taken to point up in a mesh file; None where its format says it."""
    suffix = Path(path).suffix.lower()
    return None if suffix in GLTF else "y" if suffix in Y_UP else "z"


def list_objects(folder: str | Path) -> list[Path]:
    """The mesh files of a folder and the folders in it, in the order of their names. Raises MeshError: there
    is none."""
    paths = [path for path in paths_in(Path(folder), "**/*", MeshError) if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise MeshError(f"{folder} holds no mesh: give a folder with {', '.join(SUFFIXES)} files")
    return paths


@guarded(MeshError, "export it again")
def read_object(path: str | Path, options: MeshOptions | None = None) -> Object3D:
    """The object in a mesh file; each of its geometries is a part.

    ``parameters`` tells how many faces it has, how many had no area and were dropped, whether it is
    watertight (other meshes render too, but show their inside), which axis pointed up, how many textures were
    missing, and by name what else the file has that is not read. Raises
    MissingExtraError: trimesh is not installed; MeshError: no mesh, an empty or damaged one, NaN, or too many
    faces."""
    options = options or MeshOptions()
    file = Path(path)
    geometries, missing, unread, surface = _load(file)
    total = sum(len(mesh.faces) for _, mesh in geometries)
    if total == 0:
        raise MeshError(f"{file} has no faces: give a mesh of triangles, not points or lines")
    if total > options.limit:
        raise MeshError(
            f"{file} has {total:,} faces, more than {options.limit:,}: simplify it (trimesh: "
            "simplify_quadric_decimation) or give a higher limit"
        )
    surfaces = [surface(mesh) for _, mesh in geometries]
    missing |= {name for each in surfaces for name in each.missing}
    if missing and options.missing_textures == "refuse":
        raise MeshError(
            f"{file}: {', '.join(sorted(missing))} cannot be read: put textures beside the mesh, and export "
            "it with their coordinates"
        )
    thing = _assembled(file, geometries, surfaces, options.up or guessed_up(file) or "y")
    found: dict[str, Value] = {
        "missing_textures": len(missing),
        "unread": ", ".join(sorted(unread)) or "none",
    }
    return replace(thing, parameters={**thing.parameters, **found})


class Loaded(NamedTuple):
    """The meshes of a file with their names, the names of the files beside it that cannot be read, what else
    is not read, and what tells the surface of a mesh."""

    meshes: list[tuple[str, Any]]
    missing: set[str]
    unread: set[str]
    surface: Callable[[Any], Surface]


def _load(file: Path) -> Loaded:
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
    missing = set[str]()

    class Files(trimesh.resolvers.FilePathResolver):
        """trimesh passes over files that it cannot read; this remembers them."""

        def get(self, name: str) -> bytes:
            try:
                content = inside(file.parent, name.strip()).read_bytes()
                if Path(name).suffix.lower() in Image.registered_extensions():
                    Image.open(io.BytesIO(content)).verify()
            except Exception:
                missing.add(name)
                raise
            return content

    with _silence(), refusing(file, MeshError, "cannot be read", "export it again"):
        loaded = _read(file, Files(str(file)), missing)
    for name, mesh in loaded.meshes:
        if not np.isfinite(mesh.vertices).all():
            raise MeshError(f"{file}: {name} has NaN or infinite vertices: repair it and export it again")
        if len(mesh.faces) and (mesh.faces.max() >= len(mesh.vertices) or mesh.faces.min() < 0):
            raise MeshError(f"{file}: {name} has faces of vertices that it has not: export it again")
    return loaded


def _read(file: Path, resolver: Any, missing: set[str]) -> Loaded:  # noqa: ANN401
    """The meshes; textures that cannot be read join those that are ``missing``."""
    import trimesh

    content, suffix, coloured = file.read_bytes(), file.suffix.lower(), False
    unread, surface = set[str](), surface_of
    if suffix == ".off":
        meshes = [(file.name, read_off(content.decode("utf-8", "replace")))]
        return Loaded(meshes, missing, unread, surface)
    if suffix == ".obj":
        text, coloured = triangulated_obj(content.decode("utf-8", "surrogateescape"))
        content = text.encode("utf-8", "surrogateescape")
    elif suffix in GLTF:
        gltf = Gltf(content)
        content, unread, surface = gltf.content, gltf.unread, gltf.surface_of
    try:
        scene = trimesh.load_scene(io.BytesIO(content), suffix[1:], resolver, process=False)
    except ValueError:
        if suffix != ".ply" or b"format binary" not in content[:1000]:
            raise
        scene = trimesh.load_scene(io.BytesIO(ply_text(content)), "ply", resolver, process=False)
    for mesh in scene.geometry.values():
        named = decode_textures(mesh)
        if suffix not in GLTF:  # whose surfaces tell what is missing
            missing |= {f"the texture of {name}" for name in named}
    if suffix == ".ply":
        for name, mesh in scene.geometry.items():
            coloured |= has_vertex_colours(mesh)
            scene.geometry[name] = with_ply_polygons(mesh)
    geometries = _placed(scene, trimesh.Trimesh)
    if coloured and any(mesh.visual.kind == "texture" for _, mesh in geometries):
        unread.add("vertex colours beside a material")
    return Loaded(geometries, missing, unread, surface)


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


def _assembled(file: Path, geometries: list[tuple[str, Any]], surfaces: list[Surface], up: str) -> Object3D:
    columns: dict[str, list[NDArray[Any]]] = {n: [] for n in ("corners", "normals", "uv", "part", "material")}
    names: list[str] = []
    materials: list[Material] = []
    dropped, watertight = 0, True
    for (name, mesh), surface in zip(geometries, surfaces, strict=True):
        solid = mesh.area_faces > SMALLEST * max(mesh.scale, SMALLEST) ** 2
        dropped += int((~solid).sum())
        if not solid.any():
            continue
        spots = spots_of(mesh)
        watertight &= is_closed(spots)
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
    axes, signs = zip(*AXES[up], strict=True)
    corners, normals = (values[..., axes] * signs for values in (corners, normals))
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
            "up": up,
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
