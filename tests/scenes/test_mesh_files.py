"""Objects from mesh files of every kind, and from files that are broken."""

import io
import tarfile

import numpy as np
import pytest
import trimesh
from PIL import Image

from netinvert.errors import ConfigError
from netinvert.scenes.cameras import Camera
from netinvert.scenes.catalogue import object_source
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import shard_bytes
from netinvert.scenes.mesh_files import MeshOptions, list_objects, read_object
from netinvert.scenes.objects import MeshError
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import Light

EVEN = Light((0, 0, 1), (0, 0, 0), (0.5, 0.5, 0.5), bounce=(0.5, 0.5, 0.5), shadow=False)
CARD = """mtllib card.mtl
v -1 0 -1
v 1 0 -1
v 1 0 1
v -1 0 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl red
f 1/1 2/2 3/3
f 1/1 3/3 4/4
"""


def wedge():
    """A body that no turn or mirror leaves as it is: 1 deep (y), 2 wide (x), 3 high (z), a corner cut off."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-0.5, 0.5) for z in (-1.5, 1.5)], float)
    corners[-1] = (0.2, 0.5, 0.4)
    return trimesh.convex.convex_hull(corners)


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "off", "glb"])
def test_every_format_gives_the_same_object(tmp_path, suffix):
    mesh = wedge()
    if suffix == "glb":  # y up, front +z
        turned = mesh.copy()
        turned.vertices = mesh.vertices[:, [0, 2, 1]] * (1, 1, -1)
        turned.export(tmp_path / "wedge.glb")
    else:
        mesh.export(tmp_path / f"wedge.{suffix}")
    thing = read_object(tmp_path / f"wedge.{suffix}", MeshOptions(up=None if suffix == "glb" else "z"))
    extent = np.ptp(thing.vertices, axis=0)
    assert np.allclose(extent, np.array([2, 1, 3]) / np.sqrt(14), atol=1e-5)
    assert (thing.parameters["watertight"], thing.parameters["dropped_faces"]) == (True, 0)
    nearest = np.abs(thing.vertices - np.array([0.2, 0.5, 0.4]) / np.sqrt(14)).sum(axis=1).min()
    assert nearest < 1e-5  # the cut corner is where it was
    corners = thing.vertices[thing.faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("ij,ij->i", flat, corners.mean(axis=1)) > 0).all()  # faces look outwards


def test_the_axis_that_points_up_can_be_told(tmp_path):
    wedge().export(tmp_path / "wedge.obj")
    tall = read_object(tmp_path / "wedge.obj", MeshOptions(up="y"))
    assert np.allclose(np.ptp(tall.vertices, axis=0), np.array([2, 3, 1]) / np.sqrt(14), atol=1e-5)


def test_textures_and_colours(tmp_path):
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "card.mtl").write_text("newmtl red\nmap_Kd red.png\n")
    (tmp_path / "card.obj").write_text(CARD)
    image = Renderer(read_object(tmp_path / "card.obj", MeshOptions("z"))).render(
        Camera.orbit(0, 0, size=16), EVEN
    )
    red, green, blue, alpha = image.rgba[8, 8]
    assert alpha == 255
    assert red > 100 > 20 > max(green, blue)

    green_box = trimesh.creation.box()
    green_box.visual.face_colors = [0, 255, 0, 255]
    green_box.export(tmp_path / "box.ply")
    image = Renderer(read_object(tmp_path / "box.ply")).render(Camera.orbit(0, 0, size=16), EVEN)
    assert image.rgba[8, 8, 1] > 100 > image.rgba[8, 8, 0]


def test_missing_textures_are_replaced_and_told_or_refused(tmp_path):
    (tmp_path / "card.mtl").write_text("newmtl red\nKd 0.8 0.1 0.1\nmap_Kd gone.png\n")
    (tmp_path / "card.obj").write_text(CARD)
    assert read_object(tmp_path / "card.obj").parameters["missing_textures"] == 1
    with pytest.raises(MeshError, match="texture"):
        read_object(tmp_path / "card.obj", MeshOptions(missing_textures="refuse"))


def test_meshes_with_holes_or_without_normals_render(tmp_path):
    mesh = trimesh.creation.icosphere(subdivisions=2)
    mesh.update_faces(np.arange(len(mesh.faces)) > 12)
    mesh.export(tmp_path / "open.stl")
    thing = read_object(tmp_path / "open.stl")
    assert thing.parameters["watertight"] is False
    assert np.allclose(np.linalg.norm(thing.normals, axis=-1), 1, atol=1e-4)
    assert Renderer(thing).render(Camera.orbit(0, 0, size=16), EVEN).mask.max() == 255


def test_faces_without_area_are_dropped_and_counted(tmp_path):
    text = "v 0 0 0\nv 1 0 0\nv 0 0 1\nv 2 0 0\nf 1 2 3\nf 1 2 4\n"
    (tmp_path / "flat.obj").write_text(text)
    thing = read_object(tmp_path / "flat.obj")
    assert (thing.parameters["dropped_faces"], len(thing.faces)) == (1, 1)


def test_scenes_keep_their_geometries_as_parts(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box(), node_name="low", geom_name="low")
    scene.add_geometry(
        trimesh.creation.box(),
        node_name="high",
        geom_name="high",
        transform=trimesh.transformations.translation_matrix([0, 3, 0]),
    )
    scene.export(tmp_path / "two.glb")
    thing = read_object(tmp_path / "two.glb")
    assert sorted(thing.parts) == ["high", "low"]
    heights = {name: thing.vertices[thing.only(name).faces][..., 2].mean() for name in thing.parts}
    assert heights["high"] > heights["low"] + 0.5


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.obj", "", "empty"),
        ("a.obj", "v 0 0 0\nv 1 0 0\n", "faces|read"),
        ("a.obj", "v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN"),
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "read|not"),
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "area"),
        ("a.glb", "glTF nonsense", "read"),
        ("a.ply", "ply\nformat ascii 1.0\nelement vertex 3\n", "read|faces"),
        ("a.stl", "solid x\nfacet", "read|faces|empty"),
        ("a.step", "ISO-10303-21;", "no mesh that is known"),
    ],
)
def test_broken_meshes(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(MeshError, match=said) as caught:
        read_object(tmp_path / name)
    assert name in str(caught.value)


def test_meshes_that_are_too_large_or_missing(tmp_path):
    wedge().export(tmp_path / "wedge.obj")
    with pytest.raises(MeshError, match="more than 5"):
        read_object(tmp_path / "wedge.obj", MeshOptions(limit=5))
    with pytest.raises(MeshError, match="does not exist"):
        read_object(tmp_path / "gone.obj")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MeshError, match="no mesh"):
        list_objects(tmp_path / "empty")


def test_a_folder_of_meshes_is_a_dataset_s_source(tmp_path):
    wedge().export(tmp_path / "b.obj")
    trimesh.creation.box().export(tmp_path / "a.stl")
    source = object_source(str(tmp_path))
    assert (source.count, source.make(0, 0).name, source.make(0, 1).name) == (2, "a", "b")
    plan = DatasetConfig(objects=str(tmp_path), identities=2, views=1, size=16)
    with tarfile.open(fileobj=io.BytesIO(shard_bytes(plan, [1]))) as shard:
        names = shard.getnames()
    assert names == [f"000001_000.{ending}" for ending in ("rgba.png", "mask.png", "parts.png", "json")]
    with pytest.raises(ConfigError, match="category"):
        object_source(str(tmp_path / "gone"))
