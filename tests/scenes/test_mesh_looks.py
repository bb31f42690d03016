"""What mesh files look like: polygons of every shape, colours of glTF, and what is told that is not read."""

import base64
import io
import itertools
import json
import struct
import zlib

import numpy as np
import pytest
import trimesh
from PIL import Image, ImageCms, ImageFile

from netinvert.scenes.catalogue import object_source
from netinvert.scenes.mesh_files import MeshOptions, guessed_up, read_object
from netinvert.scenes.objects import MeshError, srgb_to_linear
from netinvert.scenes.polygons import triangulated

SHAPES = {
    "an L": [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)],
    "an L from its inner corner": [(1, 1), (1, 2), (0, 2), (0, 0), (2, 0), (2, 1)],
    "an L the other way": [(0, 2), (1, 2), (1, 1), (2, 1), (2, 0), (0, 0)],
    "an arrow head": [(0, 0), (2, 1), (0, 2), (0.7, 1)],
    "corners on straight lines": [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1)],
    "a comb": [
        (0, 0),
        (5, 0),
        (5, 3),
        (4, 3),
        (4, 1),
        (3, 1),
        (3, 3),
        (2, 3),
        (2, 1),
        (1, 1),
        (1, 3),
        (0, 3),
    ],
    "a spiral": [
        (0, 0),
        (5, 0),
        (5, 5),
        (1, 5),
        (1, 2),
        (3, 2),
        (3, 3),
        (2, 3),
        (2, 4),
        (4, 4),
        (4, 1),
        (0, 1),
    ],
    "a hole by a cut": [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)],
    "a corner twice": [(0, 0), (2, 0), (2, 0), (2, 2), (0, 2)],
}


def shoelace(points) -> float:
    x, y = np.array(points, float).T
    return float(0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def in_space(points) -> np.ndarray:
    """A plane that no axis lies in."""
    turn = trimesh.transformations.euler_matrix(0.4, 0.7, 0.3)[:3, :3]
    return np.c_[np.array(points, float), np.zeros(len(points))] @ turn.T + (1, -2, 3)


def areas(corners) -> np.ndarray:
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


@pytest.mark.parametrize("name", SHAPES)
def test_polygons_are_covered_once(name):
    points = SHAPES[name]
    (triangles,) = triangulated(in_space(points), [range(len(points))])
    assert len(triangles) == len(points) - 2
    flat = np.array(points, float)[np.array(triangles)]
    assert np.isclose(areas(in_space(points)[np.array(triangles)]).sum(), shoelace(points))
    planar = np.array(points, float)
    x, y = np.moveaxis(flat, -1, 0)
    turns = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    whole = np.dot(planar[:, 0], np.roll(planar[:, 1], -1)) - np.dot(planar[:, 1], np.roll(planar[:, 0], -1))
    assert (turns * np.sign(whole) >= -1e-9).all()  # none is turned over


def test_random_stars_are_covered_once():
    rng = np.random.default_rng(0)
    stars = []
    for count in rng.integers(4, 40, 60):
        angle = np.sort(rng.uniform(0, 2 * np.pi, count))
        if np.diff([*angle, angle[0] + 2 * np.pi]).max() < np.pi:
            stars.append(np.c_[np.cos(angle), np.sin(angle)] * rng.uniform(0.1, 1, count)[:, None])
    assert len(stars) > 40
    starts = np.cumsum([0, *map(len, stars)])
    vertices = in_space(np.concatenate(stars))
    polygons = [range(a, b) for a, b in itertools.pairwise(starts)]
    for star, polygon, triangles in zip(stars, polygons, triangulated(vertices, polygons), strict=True):
        corners = vertices[np.array(polygon)[np.array(triangles)]]
        assert np.isclose(areas(corners).sum(), shoelace(star))


def test_quads_that_are_not_flat_keep_their_corners():
    vertices = np.array([[0, 0, 0], [1, 0, 0.3], [1, 1, 0], [0, 1, 0.3], [0.9, 0.6, 0]])
    flat, concave = triangulated(vertices, [[0, 1, 2, 3], [0, 1, 4, 3]])
    assert flat == [(0, 1, 2), (0, 2, 3)]
    assert len(concave) == 2


def in_format(suffix, points) -> bytes:
    """A polygon, a triangle beside it, in a file of this format."""
    vertices = [*in_space(points).tolist(), *in_space([(9, 9), (10, 9), (9, 10)]).tolist()]
    count = len(points)
    rows = "".join(f"{x} {y} {z}\n" for x, y, z in vertices)
    faces = [list(range(count)), [count, count + 1, count + 2]]
    listed = "".join(f"{len(face)} {' '.join(map(str, face))}\n" for face in faces)
    if suffix == "off":
        return f"OFF # a comment\n{len(vertices)} 2 0\n\n{rows}{listed}".encode()
    if suffix == "ply":
        head = f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
        head += "property float z\nelement face 2\nproperty list uchar int vertex_indices\nend_header\n"
        return (head + rows + listed).encode()
    text = "".join(f"v {row}\n" for row in rows.splitlines())
    if suffix == "obj from the end":
        first = "".join(f"v {row}\n" for row in rows.splitlines()[:count])
        rest = "".join(f"v {row}\n" for row in rows.splitlines()[count:])
        return f"{first}f {' '.join(str(k - count) for k in range(count))}\n{rest}f -3 -2 -1\n".encode()
    if suffix == "obj with normals":
        lines = ["f " + " ".join(f"{k + 1}//1" for k in face) for face in faces]
        return (text + "vn 0 0 1\n" + "\n".join(lines)).encode()
    lines = ["f " + " ".join(str(k + 1) for k in face) for face in faces]
    return (
        (text + "\n".join(lines).replace(" 3 ", " 3 \\\n ") + " # the end\n").replace("\n", "\r\n").encode()
    )


@pytest.mark.parametrize("suffix", ["obj", "obj from the end", "obj with normals", "ply", "off"])
@pytest.mark.parametrize("name", ["an L", "an arrow head", "corners on straight lines", "a comb"])
def test_polygons_of_files(tmp_path, suffix, name):
    path = tmp_path / f"a.{suffix.split()[0]}"
    path.write_bytes(in_format(suffix, SHAPES[name]))
    thing = read_object(path, MeshOptions(up="z"))
    share = areas(thing.vertices[thing.faces].astype(float))
    beside = np.linalg.norm(thing.vertices[thing.faces].mean(axis=1), axis=1).argmax()
    assert np.isclose(share.sum() / share[beside], shoelace(SHAPES[name]) / 0.5 + 1, rtol=1e-4)
    assert thing.parameters["dropped_faces"] == 0


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("mixed", [False, True])
def test_polygons_of_binary_ply(tmp_path, order, mixed):
    points, sign = in_space([*SHAPES["an L"], (5, 5), (6, 5), (5, 6)]), "<" if order == "little" else ">"
    head = f"ply\nformat binary_{order}_endian 1.0\nelement vertex 9\nproperty float x\nproperty float y\n"
    head += f"property float z\nelement face {1 + mixed}\nproperty list uchar int vertex_indices\n"
    head += "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    body = points.astype(f"{sign}f4").tobytes() + struct.pack(f"{sign}B6i3B", 6, *range(6), 255, 0, 0)
    body += struct.pack(f"{sign}B3i3B", 3, 6, 7, 8, 0, 0, 255) if mixed else b""
    (tmp_path / "a.ply").write_bytes(head.encode() + body)
    thing = read_object(tmp_path / "a.ply")
    scale = np.linalg.norm(np.ptp(points[: 9 if mixed else 6], axis=0))
    share = areas(thing.vertices[thing.faces].astype(float)) * scale**2
    red = np.array([thing.materials[k].colour == (1, 0, 0) for k in thing.material])
    assert np.isclose(share[red].sum(), 3, rtol=1e-4)
    assert np.isclose(share[~red].sum(), 0.5 * mixed, rtol=1e-4)
    (tmp_path / "cut.ply").write_bytes(head.encode() + body[:-5])
    with pytest.raises(MeshError, match="export it again"):
        read_object(tmp_path / "cut.ply")


def test_colours_stay_with_their_polygons(tmp_path):
    rows = "0 0 0\n2 0 0\n2 1 0\n1 1 0\n1 2 0\n0 2 0\n5 0 0\n6 0 0\n5 1 0\n"
    (tmp_path / "a.off").write_text(f"OFF\n9 2 0\n{rows}6 0 1 2 3 4 5 255 0 0\n3 6 7 8 0 0 255\n")
    (tmp_path / "b.off").write_text(f"OFF\n9 2 0\n{rows}3 6 7 8 0.0 0.0 1.0\n6 0 1 2 3 4 5 1.0 0.0 0.0\n")
    head = "ply\nformat ascii 1.0\nelement vertex 9\nproperty float x\nproperty float y\nproperty float z\n"
    head += (
        "element face 2\nproperty list uchar int vertex_indices\nproperty uchar red\nproperty uchar green\n"
    )
    head += "property uchar blue\nend_header\n"
    (tmp_path / "c.ply").write_text(f"{head}{rows}6 0 1 2 3 4 5 255 0 0\n3 6 7 8 0 0 255\n")
    for name in ("a.off", "b.off", "c.ply"):
        thing = read_object(tmp_path / name)
        share = areas(thing.vertices[thing.faces].astype(float))
        red = np.array([thing.materials[k].colour[0] == 1 for k in thing.material])
        assert (red.sum(), (~red).sum()) == (4, 1)
        assert np.isclose(share[red].sum() / share[~red].sum(), 6, rtol=1e-4)
    with_corners = rows.replace("\n", " 0 255 0\n")
    (tmp_path / "d.off").write_text(f"COFF\n9 2 0\n{with_corners}6 0 1 2 3 4 5\n3 6 7 8\n")
    assert [each.colour for each in read_object(tmp_path / "d.off").materials] == [(0, 1, 0)]


def gltf(path, material=None, attributes=None, image=None, texture=None, **more):
    """A triangle; attributes (3, n) as floats or unsigned integers."""
    places = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    views, accessors, data, names = [], [], b"", {}
    for name, values in {"POSITION": places, **(attributes or {})}.items():
        kind = {np.dtype(np.float32): 5126, np.dtype(np.uint8): 5121, np.dtype(np.uint16): 5123}[values.dtype]
        names[name] = len(accessors)
        accessors.append(
            {"bufferView": len(views), "componentType": kind, "count": 3, "type": f"VEC{values.shape[1]}",
             **({} if kind == 5126 else {"normalized": True})}
        )  # fmt: skip
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": values.nbytes})
        data += values.tobytes() + bytes(-values.nbytes % 4)
    header = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": names, **({} if material is None else {"material": 0})}]}],
        "accessors": accessors, "bufferViews": views, **more,
    }  # fmt: skip
    uri = "data:application/octet-stream;base64,"
    if material is not None:
        header["materials"] = [material]
    if image is not None:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        header["images"] = [{"uri": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()}]
        header["textures"] = [{"source": 0}]
    if texture is not None:
        header["images"], header["textures"] = [{"uri": texture}], [{"source": 0}]
    if path.suffix == ".gltf":
        header["buffers"] = [{"byteLength": len(data), "uri": uri + base64.b64encode(data).decode()}]
        path.write_text(json.dumps(header))
    else:
        header["buffers"] = [{"byteLength": len(data)}]
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 4)
        chunks = (
            struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
        )
        path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)
    return read_object(path)


def rgb(*values, kind=np.float32):
    return np.tile(np.array(values, kind), (3, 1))


@pytest.mark.parametrize("suffix", ["gltf", "glb"])
def test_numbers_of_gltf_are_linear(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    factor = {"pbrMetallicRoughness": {"baseColorFactor": [1.0, 0.2157, 0.0031, 1.0]}}
    assert np.allclose(gltf(path, factor).materials[0].colour, (1, 0.2157, 0.0031), atol=1e-6)
    for values in (
        rgb(0.25, 0.5, 0.01),
        rgb(64, 128, 3, kind=np.uint8),
        rgb(16384, 32768, 655, 9, kind=np.uint16),
    ):
        whole = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
        found = gltf(path, None, {"COLOR_0": values}).materials[0].colour
        assert np.allclose(found, values[0, :3] / whole, atol=2e-4)
    found = gltf(path, factor, {"COLOR_0": rgb(0.25, 0.5, 1)}).materials[0].colour
    assert np.allclose(found, (0.25, 0.10785, 0.0031), atol=2e-4)
    assert np.allclose(
        gltf(path, {}, {"COLOR_0": rgb(0.25, 0.5, 1)}).materials[0].colour, (0.25, 0.5, 1), atol=2e-4
    )
    assert gltf(path, {"name": "white"}).materials[0].colour == (1, 1, 1)  # the default of the definition
    glossy = {"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": [0.3, 0.2, 0.1, 1]}}}
    assert np.allclose(gltf(path, glossy).materials[0].colour, (0.3, 0.2, 0.1), atol=1e-6)


def textured(**info):
    return {
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0, **info}, "baseColorFactor": [0.5, 1, 1, 1]}
    }


def test_textures_of_gltf(tmp_path):
    image = np.full((4, 4, 3), (188, 128, 0), np.uint8)
    uv = np.array([[0, 0.25], [0.5, 0.5], [1, 0.75]], np.float32)
    attributes = {"TEXCOORD_0": uv, "TEXCOORD_1": uv[::-1].copy(), "COLOR_0": rgb(1, 0.5, 1)}
    thing = gltf(tmp_path / "a.glb", textured(), attributes, image)
    assert np.allclose(thing.materials[0].texture[0, 0], srgb_to_linear(image[0, 0] / 255), atol=1e-6)
    assert np.allclose(thing.materials[0].colour, (0.5, 0.5, 1), atol=2e-4)
    assert np.allclose(thing.uv[0], uv)
    assert (thing.parameters["missing_textures"], thing.parameters["unread"]) == (0, "none")
    assert np.allclose(gltf(tmp_path / "a.glb", textured(texCoord=1), attributes, image).uv[0], uv[::-1])

    def moved(**how):
        return gltf(
            tmp_path / "a.glb", textured(extensions={"KHR_texture_transform": how}), attributes, image
        ).uv[0]

    assert np.allclose(moved(offset=[0.5, 0.25]), uv + np.array([0.5, 0.25]))
    assert np.allclose(moved(scale=[2, 3], offset=[0.5, 0]), uv * (2, 3) + np.array([0.5, 0]))
    assert np.allclose(moved(rotation=np.pi / 2), np.c_[uv[:, 1], -uv[:, 0]], atol=1e-6)
    assert np.allclose(moved(texCoord=1), uv[::-1])

    for kind in (np.uint8, np.uint16):
        whole = np.iinfo(kind).max
        found = gltf(
            tmp_path / "a.gltf", textured(), {"TEXCOORD_0": (uv * whole).round().astype(kind)}, image
        )
        assert np.allclose(found.uv[0], uv, atol=0.6 / whole)


def test_what_gltf_has_that_is_not_read_is_named(tmp_path):
    uv = {"TEXCOORD_0": np.zeros((3, 2), np.float32)}
    thing = gltf(tmp_path / "a.glb", textured(), uv, texture="gone.png")
    assert thing.parameters["missing_textures"] == 1
    assert np.allclose(thing.materials[0].colour, (0.5, 1, 1))
    assert (
        gltf(tmp_path / "a.glb", textured(), {}, np.zeros((2, 2, 3), np.uint8)).parameters["missing_textures"]
        == 1
    )
    with pytest.raises(MeshError, match="coordinates"):
        read_object(tmp_path / "a.glb", MeshOptions(missing_textures="refuse"))
    thing = gltf(tmp_path / "a.glb", {}, extensionsUsed=["KHR_materials_clearcoat", "KHR_texture_transform"])
    assert thing.parameters["unread"] == "KHR_materials_clearcoat"
    with pytest.raises(MeshError, match="EXT_meshopt_compression"):
        gltf(tmp_path / "a.glb", extensionsUsed=["EXT_meshopt_compression"])


def test_vertex_colours_beside_a_material_of_obj_are_named(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\n")
    text = "mtllib a.mtl\nv 0 0 0 0 1 0\nv 1 0 0 0 1 0\nv 0 1 0 0 1 0\n"
    (tmp_path / "a.obj").write_text(f"{text}usemtl red\nf 1 2 3\n")
    thing = read_object(tmp_path / "a.obj")
    assert thing.parameters["unread"] == "vertex colours beside a material"
    assert thing.materials[0].colour == (1, 0, 0)
    (tmp_path / "b.obj").write_text(f"{text}f 1 2 3\n")
    thing = read_object(tmp_path / "b.obj")
    assert (thing.parameters["unread"], thing.materials[0].colour) == ("none", (0, 1, 0))


@pytest.mark.parametrize(
    ("up", "axis", "front"), [("x", 0, (0, -1, 0)), ("y", 1, (0, 0, 1)), ("z", 2, (0, -1, 0))]
)
def test_any_axis_can_point_up(tmp_path, up, axis, front):
    tall = np.ones(3)
    tall[axis] = 4
    box = trimesh.creation.box(tall)
    nose = trimesh.creation.box((0.2, 0.2, 0.2)).apply_translation(np.array(front) * 0.6)
    trimesh.util.concatenate([box, nose]).export(tmp_path / "a.obj")
    thing = read_object(tmp_path / "a.obj", MeshOptions(up=up))
    assert int(np.ptp(thing.vertices, axis=0).argmax()) == 2
    middle = thing.vertices[np.abs(thing.vertices[:, 2]) < 0.1]
    assert middle[:, 1].min() < -0.1  # the nose is in front
    corners = thing.vertices[thing.faces].astype(float)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()
    assert volume > 0  # nothing is mirrored
    assert thing.parameters["up"] == up


def test_what_points_up_is_guessed_by_the_format_and_told(tmp_path):
    guesses = {"a.glb": None, "a.gltf": None, "a.obj": "y", "a.STL": "y", "a.ply": "z", "a.off": "z"}
    assert {name: guessed_up(name) for name in guesses} == guesses
    for suffix in ("obj", "ply", "glb"):
        trimesh.creation.box((1, 4, 1)).export(tmp_path / f"a.{suffix}")
    told = object_source(str(tmp_path)).guess
    assert told == "taken to point up: y in .obj files, z in .ply files; --up says otherwise"
    assert object_source(str(tmp_path), "y").guess is None
    assert object_source(str(tmp_path / "a.glb")).guess is None
    assert object_source("chairs").guess is None
    for up, longest in (("auto", 2), ("z", 1)):
        thing = object_source(str(tmp_path / "a.obj"), up).make(0, 0)
        assert int(np.ptp(thing.vertices, axis=0).argmax()) == longest


def png(width, height, damage=None, **info):
    """A PNG file of a red image; by its header of another size, cut off, or of a colour profile."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (188, 0, 0)).save(buffer, "PNG", **info)
    content = buffer.getvalue()
    if damage == "bomb":
        head = b"IHDR" + struct.pack(">II", 12_000, 12_000) + content[24:29]
        content = content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    return content[: len(content) // 2] if damage == "cut" else content


def boxed(tmp_path, suffix, content):
    """A triangle with a texture in its file, or a square with one beside it."""
    if suffix == "obj":
        (tmp_path / "t.png").write_bytes(content)
        (tmp_path / "a.mtl").write_text("newmtl m\nKd 0 1 0\nmap_Kd t.png\n")
        (tmp_path / "a.obj").write_text(
            "mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"
        )
        return read_object(tmp_path / "a.obj")
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    uv = {"TEXCOORD_0": np.zeros((3, 2), np.float32)}
    green = {"baseColorTexture": {"index": 0}, "baseColorFactor": [0, 1, 0, 1]}
    return gltf(tmp_path / f"a.{suffix}", {"pbrMetallicRoughness": green}, uv, texture=uri)


@pytest.mark.parametrize("suffix", ["gltf", "glb", "obj"])
@pytest.mark.parametrize("damage", ["bomb", "cut"])
def test_textures_that_no_image_may_be_are_missing(tmp_path, suffix, damage):
    thing = boxed(tmp_path, suffix, png(400, 300, damage))
    assert thing.parameters["missing_textures"] == 1
    assert [(one.colour, one.texture) for one in thing.materials] == [((0, 1, 0), None)]


@pytest.mark.parametrize("suffix", ["gltf", "glb", "obj"])
def test_textures_are_reduced_as_they_are_read_and_their_colour_profiles_do_not_count(tmp_path, suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    thing = boxed(tmp_path, suffix, png(2048, 1024, icc_profile=profile))
    assert thing.parameters["missing_textures"] == 0
    (material,) = thing.materials
    assert material.texture.shape == (256, 512, 3)
    assert np.allclose(material.texture, srgb_to_linear(np.array([188, 0, 0]) / 255), atol=1e-6)


def test_other_textures_are_not_decoded(tmp_path, monkeypatch):
    material = {"normalTexture": {"index": 0}, "emissiveTexture": {"index": 0}}
    uri = "data:image/png;base64," + base64.b64encode(png(8, 8)).decode()
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    thing = gltf(tmp_path / "a.glb", material, {"TEXCOORD_0": np.zeros((3, 2), np.float32)}, texture=uri)
    assert thing.materials[0].texture is None


def test_textures_of_16_bits_keep_their_shades(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), 0x4080, np.uint16)).save(buffer, "PNG")
    (material,) = boxed(tmp_path, "glb", buffer.getvalue()).materials
    assert np.allclose(material.texture, srgb_to_linear(np.full(3, 0x40 / 255)), atol=1e-6)
