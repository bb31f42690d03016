"""Polygons of mesh files as triangles: trimesh fans them from their first corner, which is wrong for concave
ones."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLAT = 1e-9
"""The least turn at a corner, as a share of the polygon's area."""


Triangles = list[tuple[int, int, int]]
Polygon = Sequence[int] | NDArray[Any]


def triangulated(vertices: NDArray[Any], polygons: Sequence[Polygon]) -> list[Triangles]:
    """Of each polygon, its triangles, by the places of their corners in it. They cover it, whether it is
    concave, has corners on a straight line, or is not quite flat."""
    result: list[Triangles] = [[] for _ in polygons]
    counts = np.array([len(polygon) for polygon in polygons], int)
    for count in np.unique(counts[counts > 2]):
        places = np.flatnonzero(counts == count)
        fan = [(0, k, k + 1) for k in range(1, count - 1)]
        corners = np.asarray(vertices, float)[np.array([polygons[int(place)] for place in places])]
        corners = corners - corners[:, :1]
        area = np.cross(corners[:, 1:-1], corners[:, 2:]).sum(axis=1)
        length = np.maximum(np.linalg.norm(area, axis=1), np.finfo(float).tiny)
        steps = np.roll(corners, -1, axis=1) - corners
        turns = np.einsum(
            "ijk,ik->ij", np.cross(np.roll(steps, 1, axis=1), steps), area / length[:, None] ** 2
        )
        convex = (turns > FLAT).all(axis=1)
        for row, place in enumerate(places):
            whole = convex[row] or count == 3
            result[place] = fan if whole else _ears(_flattened(corners[row], area[row]))
    return result


def _flattened(corners: NDArray[Any], area: NDArray[Any]) -> NDArray[Any]:
    """Corners (n, 3) as (n, 2), counter-clockwise, seen along the axis that the polygon faces most."""
    axis = int(np.abs(area).argmax())
    flat = corners[:, [(axis + 1) % 3, (axis + 2) % 3]]
    return flat if area[axis] > 0 else flat[:, ::-1]


def _cross(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _ears(flat: NDArray[Any]) -> Triangles:
    """The triangles of a simple polygon (n, 2), counter-clockwise: one corner after another that has no other
    within its triangle is cut off."""
    left, triangles = list(range(len(flat))), []
    least = FLAT * np.ptp(flat, axis=0).max() ** 2
    while len(left) > 3:
        before, after = np.roll(left, 1), np.roll(left, -1)
        turns = _cross(flat[left] - flat[before], flat[after] - flat[left])
        ear = int(turns.argmax())  # of a polygon that crosses itself
        for k in np.flatnonzero(turns > least):
            a, b, c = (flat[index] for index in (before[k], left[k], after[k]))
            others = flat[left]
            sides = [_cross(q - p, others - p) >= -least for p, q in ((a, b), (b, c), (c, a))]
            corner = np.any([(others == p).all(axis=1) for p in (a, b, c)], axis=0)
            if not (np.all(sides, axis=0) & ~corner).any():
                ear = int(k)
                break
        triangles.append((int(before[ear]), left[ear], int(after[ear])))
        del left[ear]
    return [*triangles, (left[0], left[1], left[2])]


_FACE = re.compile(r"^[ \t]*f((?:[ \t]+[-\d/]+)+)[^\S\n]*(?:#.*)?$", re.MULTILINE)
_PLACES = [re.compile(rf"^[ \t]*{name}[ \t]+(.*)$", re.MULTILINE) for name in ("v", "vt", "vn")]


def triangulated_obj(text: str) -> tuple[str, bool]:
    """The text of an OBJ file with triangles for its polygons and no index that counts back, which trimesh
    does from the file's end, or comment, at which it stops; and whether its vertices have colours."""
    text = text.replace("\r\n", "\n").replace("\\\n", " ")
    found = [
        (match, corners)
        for match in _FACE.finditer(text)
        if len(corners := match[1].split()) > 3 or set("-#") & set(match[0])
    ]
    first = _PLACES[0].search(text)
    coloured = first is not None and len(first[1].split("#")[0].split()) >= 6
    if not found:
        return text, coloured
    starts = [np.array([place.start() for place in pattern.finditer(text)]) for pattern in _PLACES]
    vertices = np.array([row.split()[:3] for row in _PLACES[0].findall(text)], float)
    corners_of = []
    for match, corners in found:
        if "-" in match[1]:
            seen = [int(np.searchsorted(each, match.start())) for each in starts]
            corners = [_counted(corner, seen) for corner in corners]  # noqa: PLW2901
        corners_of.append(corners)
    polygons = [[int(corner.split("/")[0]) - 1 for corner in corners] for corners in corners_of]
    several = triangulated(vertices, polygons)
    pieces, end = [], 0
    for (match, _), corners, triangles in zip(found, corners_of, several, strict=True):
        lines = (f"f {corners[a]} {corners[b]} {corners[c]}" for a, b, c in triangles)
        pieces += [text[end : match.start()], "\n".join(lines)]
        end = match.end()
    return "".join([*pieces, text[end:]]), coloured


def _counted(corner: str, seen: list[int]) -> str:
    """A corner such as -1/-1, counted from the start; ``seen`` vertices, texture coordinates and normals are
    before it."""
    numbers = (
        str(count + 1 + int(text)) if text.startswith("-") else text
        for text, count in zip(corner.split("/"), seen, strict=False)
    )
    return "/".join(numbers)


def from_polygons(vertices: NDArray[Any], polygons: Sequence[Polygon], looks: Mapping[str, Any]) -> Any:  # noqa: ANN401  (trimesh is not typed)
    """A trimesh mesh. ``looks`` may hold vertex_colors (V, 3), face_colors (polygons, 3), or an image and uv
    of all polygons' corners one after another."""
    import trimesh

    meshes: Any = trimesh
    several = triangulated(vertices, polygons)
    owner = np.repeat(np.arange(len(polygons)), [len(triangles) for triangles in several])
    starts = np.cumsum([0, *map(len, polygons)])
    corner = starts[owner][:, None] + np.array([one for triangles in several for one in triangles], int)
    faces = np.concatenate([np.asarray(polygon, int) for polygon in polygons])[corner]
    if looks.get("image") is not None and looks.get("uv") is not None:
        visual = meshes.visual.TextureVisuals(uv=looks["uv"][corner.ravel()], image=looks["image"])
        whole = vertices[faces.ravel()]
        return meshes.Trimesh(whole, np.arange(len(whole)).reshape(-1, 3), visual=visual, process=False)
    colours = {
        "vertex_colors": looks.get("vertex_colors"),
        "face_colors": None if looks.get("face_colors") is None else looks["face_colors"][owner],
    }
    return meshes.Trimesh(vertices, faces, **colours, process=False)


_OLD = "char uchar short ushort int uint float double"
_NEW = "int8 uint8 int16 uint16 int32 uint32 float32 float64"
_CODES = {name: code for names in (_OLD, _NEW) for name, code in zip(names.split(), "bBhHiIfd", strict=True)}
"""Of the types of numbers in PLY files, for struct."""


def ply_text(content: bytes) -> bytes:
    """A binary PLY file as text: trimesh reads only binary files whose polygons all have as many corners."""
    end = content.index(b"\n", content.index(b"end_header")) + 1
    header, place, rows = content[:end].decode("ascii").splitlines(), end, list[str]()
    order = ">" if "big" in header[1] else "<"
    elements: list[tuple[int, list[list[str]]]] = []
    for words in map(str.split, header):
        if words[:1] == ["element"]:
            elements.append((int(words[2]), []))
        elif words[:1] == ["property"]:
            elements[-1][1].append(words[1:-1])

    def read(kind: str, count: int = 1) -> tuple[Any, ...]:
        nonlocal place
        form = f"{order}{count}{_CODES[kind]}"
        place += struct.calcsize(form)
        return struct.unpack_from(form, content, place - struct.calcsize(form))

    for count, properties in elements:
        for _ in range(count):
            row: list[Any] = []
            for kind in properties:
                row += read(kind[0]) if len(kind) == 1 else (size := read(kind[1])) + read(kind[2], size[0])
            rows.append(" ".join(map(repr, row)))
    header[1] = "format ascii 1.0"
    return "\n".join([*header, *rows, ""]).encode()


def has_vertex_colours(mesh: Any) -> bool:  # noqa: ANN401
    """Whether the PLY file that trimesh read a mesh from has them."""
    return "red" in _columns(mesh.metadata.get("_ply_raw", {}).get("vertex", {}).get("data"))


def with_ply_polygons(mesh: Any) -> Any:  # noqa: ANN401
    """A mesh that trimesh read from a PLY file, made anew if the file has polygons."""
    raw = mesh.metadata.get("_ply_raw", {})
    vertex, face = (_columns(raw.get(name, {}).get("data")) for name in ("vertex", "face"))
    polygons: Sequence[Polygon] = next(
        (face[name] for name in ("vertex_indices", "vertex_index") if name in face), []
    )
    if max(map(len, polygons), default=0) <= 3:
        return mesh
    looks: dict[str, Any] = {"image": getattr(getattr(mesh.visual, "material", None), "image", None)}
    for name, columns in (("vertex_colors", vertex), ("face_colors", face)):
        if "red" in columns:
            looks[name] = np.column_stack([columns[colour] for colour in ("red", "green", "blue")])
    if "texcoord" in face:
        looks["uv"] = np.concatenate([np.reshape(row, (-1, 2)) for row in face["texcoord"]])
    for u, v in (("texture_u", "texture_v"), ("u", "v"), ("s", "t")):
        if u in vertex:
            each = np.column_stack([vertex[u], vertex[v]])
            looks.setdefault("uv", each[np.concatenate([np.asarray(row, int) for row in polygons])])
    vertices = np.column_stack([vertex[axis] for axis in "xyz"]).astype(float)
    return from_polygons(vertices, [np.asarray(row, int) for row in polygons], looks)


def _columns(data: Any) -> dict[str, Any]:  # noqa: ANN401
    """The columns of an element of a PLY file, however trimesh keeps it."""
    if data is None:
        return {}
    names = data.dtype.names if isinstance(data, np.ndarray) else data
    columns = {name: data[name] for name in names or ()}
    return {name: each["f1"] if each.dtype.names else each for name, each in columns.items()}


def read_off(text: str) -> Any:  # noqa: ANN401
    """The trimesh mesh of an OFF file, with the colours of its vertices (COFF) or faces."""
    rows = [row for row in (line.split("#")[0].split() for line in text.splitlines()) if row]
    head = rows[0][0].upper()
    kind, counts = (head, rows[0][1:]) if head.endswith("OFF") else ("OFF", rows[0])
    if kind not in ("OFF", "COFF"):
        raise ValueError(f"{kind} is not read, only OFF and COFF")
    rows = rows[1:]
    if not counts:
        counts, rows = rows[0], rows[1:]
    points, faces = int(counts[0]), int(counts[1])
    if len(rows) < points + faces:
        raise ValueError(f"it has fewer than {points} vertices and {faces} faces")
    table = np.array([[float(text) for text in row] for row in rows[:points]])
    face_rows = rows[points : points + faces]
    polygons = [[int(text) for text in row[1 : 1 + int(row[0])]] for row in face_rows]
    looks = {}
    if kind == "COFF" and table.shape[1] >= 6:
        looks["vertex_colors"] = _bytes_of(table[:, 3:6])
    tails = [row[1 + int(row[0]) :] for row in face_rows]
    if min(map(len, tails), default=0) >= 3:
        looks["face_colors"] = _bytes_of(np.array([row[:3] for row in tails], float))
    return from_polygons(table[:, :3], polygons, looks)


def _bytes_of(colours: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((colours if colours.max() > 1 else colours * 255).clip(0, 255).round(), np.uint8)
