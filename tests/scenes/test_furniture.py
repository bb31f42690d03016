import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from netinvert.cli.app import main
from netinvert.errors import ConfigError
from netinvert.io.files import read_json
from netinvert.scenes import furniture
from netinvert.scenes.catalogue import object_source
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import read_shard, shard_paths
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.scenes.furniture import CATALOGUE, read_library
from netinvert.scenes.objects import MeshError

# A wedge: the corner at x = 1, y = 2 (up), z = 3 (front), in the file's own frame.
WEDGE = """mtllib wedge.mtl
v 0 0 0
v 1 0 0
v 0 2 0
v 0 0 3
v 1 2 3
vt 0 0
vt 1 0
vt 0 1
usemtl wood
f 1/1 3/2 2/3
f 1/1 2/2 4/3
f 1/1 4/2 3/3
f 2/1 3/2 5/3
f 2/1 5/2 4/3
f 3/1 4/2 5/3
"""
HEADER = "id=test\nlicense=CC0 \\u00e9\n"


def entry(number, **facts):
    known = {"name": "Chair", "tags": "Wood, Seat", "model": f"/lib/m%20{number}/wedge.obj", "creator": "Zoé"}
    known |= {"width": "1", "depth": "3", "height": "2"} | facts
    return "".join(f"{key}#{number}={value}\n" for key, value in known.items())


def library(path, catalogue, models=(1,), **members):
    texture = io.BytesIO()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(texture, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        if catalogue is not None:
            archive.writestr(CATALOGUE, catalogue.encode("latin-1"))
        for number in models:
            archive.writestr(f"lib/m {number}/wedge.obj", WEDGE)
            archive.writestr(f"lib/m {number}/wedge.mtl", "newmtl wood\nmap_Kd wood.png\n")
            archive.writestr(f"lib/m {number}/wood.png", texture.getvalue())
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_what_a_catalogue_says(tmp_path):
    text = HEADER + entry(2, name="Armchair", license="by hand") + entry(1, tags="Lamp", name="Light")
    found = read_library(library(tmp_path / "a.sh3f", text, (1, 2)))
    assert [one.name for one in found] == ["Light", "Armchair"]
    assert found[0].credit == {
        "library": "a.sh3f",
        "model": "lib/m 1/wedge.obj",
        "name": "Light",
        "creator": "Zoé",
        "licence": "CC0 é",
    }
    assert found[1].licence == "by hand"
    assert [one.name for one in read_library(tmp_path / "a.sh3f", "CHAIR")] == ["Armchair"]
    assert [one.name for one in read_library(tmp_path / "a.sh3f", "lamp")] == ["Light"]


def test_a_model_stands_upright_in_its_proportions_and_with_its_texture(tmp_path):
    (one,) = read_library(library(tmp_path / "a.sh3f", HEADER + entry(1)))
    thing = one.read()
    np.testing.assert_allclose(np.ptp(thing.vertices, axis=0), np.array([1, 3, 2]) / 14**0.5, atol=1e-5)
    # The corner that is at the right, above and in front: z up, and the front towards -y.
    corner = thing.vertices[np.argmax(thing.vertices @ [1, -1, 1])]
    np.testing.assert_allclose(corner * 14**0.5, [0.5, -1.5, 1], atol=1e-5)
    told = thing.parameters
    assert (thing.category, told["creator"], told["missing_textures"]) == ("furniture", "Zoé", 0)
    assert thing.materials[0].texture is not None
    np.testing.assert_allclose(np.linalg.norm(thing.normals, axis=-1), 1, atol=1e-5)


def test_a_catalogue_turns_and_stretches(tmp_path):
    # A quarter turn about the vertical axis: what the file has to the right (+x) comes to the front (+z).
    text = entry(1, modelRotation="0 0 -1 0 1 0 1 0 0", width="30", depth="10", height="20")
    (one,) = read_library(library(tmp_path / "a.sh3f", HEADER + text))
    thing = one.read()
    extent = np.ptp(thing.vertices, axis=0)
    np.testing.assert_allclose(extent / extent[1], [3, 1, 2], rtol=1e-5)
    corner = thing.vertices[np.argmax(thing.vertices @ [-1, -1, 1])]  # at the left now
    np.testing.assert_allclose(corner * [-1, -1, 1], extent / 2, rtol=1e-5)
    # The normals belong to the faces still.
    a, b, c = (thing.vertices[thing.faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    assert (np.einsum("fi,fki->fk", flat, thing.normals) > 0.3).all()


@pytest.mark.parametrize(
    ("catalogue", "says"),
    [
        (None, "no furniture library"),
        (HEADER, "none of its 0 models"),
        (HEADER + entry(1, model="/lib/gone.obj"), "not in it"),
        (HEADER + entry(1, model="http://a/b.obj"), "not in it"),
        (HEADER + entry(1, modelRotation="1 0 0"), "rotation of model 1"),
        (HEADER + entry(1, modelRotation="1 0 0 0 1 0 0 0 -1"), "rotation of model 1"),
        (HEADER + entry(1, modelRotation="a b"), "fetch the library again"),
        (HEADER + entry(1, width="0"), "three lengths"),
        (HEADER + entry(1, width=""), "three lengths"),
        (HEADER + entry(1, width="1e-300"), "three lengths"),
        (HEADER + "name#1=\\u12\n", "fetch the library again"),
    ],
)
def test_libraries_that_are_refused(tmp_path, catalogue, says):
    with pytest.raises(MeshError, match=says) as caught:
        read_library(library(tmp_path / "a.sh3f", catalogue))
    assert "a.sh3f" in str(caught.value)


def test_a_word_is_a_tag_or_ends_a_name(tmp_path):
    names = {
        "Armchair": "Seat",
        "Door": "Adjustable",
        "Side tables": "",
        "Tablet": "",
        "Desk": "Office table",
    }
    text = "".join(
        entry(number, name=name, tags=tags, model="/lib/m%201/wedge.obj")
        for number, (name, tags) in enumerate(names.items(), 1)
    )
    path = library(tmp_path / "a.sh3f", HEADER + text)
    assert [one.name for one in read_library(path, "TABLE")] == ["Side tables", "Desk"]
    assert [one.name for one in read_library(path, "chair")] == ["Armchair"]
    with pytest.raises(MeshError, match=r"none of its 5 models has '\(' in"):
        read_library(path, "(")


def test_a_model_may_be_in_no_folder(tmp_path):
    text = HEADER + entry(1, model="/wedge.obj") + entry(2)
    materials = {"wedge.obj": WEDGE, "wedge.mtl": "newmtl wood\nKd 1 0 0\n"}
    alone, _ = read_library(library(tmp_path / "a.sh3f", text, (2,), **materials))
    assert [one.kind for one in alone.read().materials] == ["wood"]


def test_a_folder_of_libraries_is_all_of_them(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("b", "a"):
        library(tmp_path / "more" / f"{name}.sh3f", HEADER + entry(1, name=f"Chair {name}"))
    found = read_library(tmp_path / "more", "chair a")
    assert [one.name for one in read_library(tmp_path / "more")] == ["Chair a", "Chair b"]
    assert [one.name for one in found] == ["Chair a"]
    source = object_source(f"sh3f:{tmp_path / 'more'}")
    assert [path.name for path in source.files] == ["a.sh3f", "b.sh3f"]
    (tmp_path / "none").mkdir()
    with pytest.raises(MeshError, match="a folder without furniture libraries"):
        read_library(tmp_path / "none")


def test_no_library_and_no_such_word(tmp_path):
    (tmp_path / "a.sh3f").write_bytes(b"PK nothing")
    with pytest.raises(MeshError, match="which is a zip"):
        read_library(tmp_path / "a.sh3f")
    with pytest.raises(MeshError, match="does not exist"):
        read_library(tmp_path / "b.sh3f")
    with pytest.raises(MeshError, match="has 'sofa' in its name or tags: choose one of Seat, Wood"):
        read_library(library(tmp_path / "a.sh3f", HEADER + entry(1)), "sofa")


def test_models_unpack_into_their_folder_and_within_a_budget(tmp_path, monkeypatch):
    text = HEADER + entry(1, model="/lib/m%201/../../../wedge.obj")
    path = library(tmp_path / "a.sh3f", text, (), **{"lib/m 1/../../../wedge.obj": WEDGE})
    (one,) = read_library(path)
    with pytest.raises(MeshError, match="leads out of it"):
        one.read()
    (one,) = read_library(library(path, HEADER + entry(1)))
    monkeypatch.setattr(furniture, "LARGEST", 100)
    with pytest.raises(MeshError, match="unpacked, more than"):
        one.read()


def test_a_damaged_model_names_its_library(tmp_path):
    path = library(tmp_path / "a.sh3f", HEADER + entry(1))
    (one,) = read_library(path)
    path.write_bytes(path.read_bytes().replace(b"v 1 2 3", b"v 1 2 4"))  # its checksum is of the other
    with pytest.raises(MeshError, match=r"a\.sh3f.*fetch the library again"):
        one.read()
    (one,) = read_library(library(path, HEADER + entry(1), (), **{"lib/m 1/wedge.obj": "v 0 0 0\n"}))
    with pytest.raises(MeshError, match=r"^\S*a\.sh3f: lib/m 1/wedge\.obj has no faces"):
        one.read()


def test_only_libraries_have_categories_and_no_axis(tmp_path):
    path = library(tmp_path / "a.sh3f", HEADER + entry(1))
    with pytest.raises(ConfigError, match="--category"):
        object_source("chairs", category="chair")
    with pytest.raises(ConfigError, match="leave it out for all"):
        object_source(f"sh3f:{path}", category=" ")
    with pytest.raises(ConfigError, match=f"give --objects sh3f:{path}"):
        object_source(str(path))
    with pytest.raises(ConfigError, match="names no library"):
        object_source("sh3f:")
    with pytest.raises(ConfigError, match="leave out --up"):
        object_source(f"sh3f:{path}", "y")


def test_a_dataset_says_whose_its_models_are(tmp_path):
    text = HEADER + entry(1) + entry(2, name="Sofa") + entry(3) + entry(4)
    path = library(tmp_path / "a.sh3f", text, (1, 2, 3, 4))
    plan = DatasetConfig(
        objects=f"sh3f:{path}", category="chair", identities=2, views=1, size=16, splits=(1.0, 0.0, 0.0)
    )
    render_dataset(plan, tmp_path / "data")
    told = read_json(tmp_path / "data" / "manifest.json")["objects"]
    assert [one["model"] for one in told] == ["lib/m 1/wedge.obj", "lib/m 3/wedge.obj"]  # not m 4
    (shard,) = shard_paths(tmp_path / "data", "train")
    assert [one["json"]["parameters"]["model"] for one in read_shard(shard)] == [one["model"] for one in told]
    shown = f"scenes show --objects sh3f:{path} --category sofa --count 1 --views 1 --pixels 16"
    assert main([*shown.split(), "--out", str(tmp_path / "show")]) == 0
    assert "Sofa" in (tmp_path / "show" / "report.html").read_text()
    assert main(["scenes", "show", str(tmp_path / "data"), "--out", str(tmp_path / "shown")]) == 0
    assert "Chair by Zoé, CC0 é" in (tmp_path / "shown" / "report.html").read_text()


def test_a_library_that_was_replaced_is_another(tmp_path, capsys):
    path = library(tmp_path / "a.sh3f", HEADER + entry(1))
    words = f"scenes render --objects sh3f:{path} --count 1 --views 1 --pixels 16 --workers 1 --out".split()
    shows = f"scenes show --objects sh3f:{path} --count 1 --views 1 --pixels 16 --out".split()
    data, shown = str(tmp_path / "data"), str(tmp_path / "shown")
    assert main([*words, data]) == main([*shows, shown]) == 0
    assert main([*words, data]) == 0
    assert main(["rerun", data, "--out", str(tmp_path / "again")]) == 0
    assert "bit-identical" in capsys.readouterr().out
    library(path, HEADER + entry(1, name="Other"))
    for line, says in (
        ([*words, data], "different objects"),
        ([*shows, shown], "holds another run"),
        (["rerun", data, "--out", str(tmp_path / "third")], "is gone or has changed since"),
    ):
        assert main(line) == 2
        assert says in capsys.readouterr().err
