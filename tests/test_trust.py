"""Files are data: whatever they name, no code runs, nothing outside is read or written, nothing is fetched.

Every door at which a file is read, by every kind of name that a file could hold against us.
"""

from __future__ import annotations

import json
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from scipy.io import savemat

from netinvert import Encoder, write_png
from netinvert.cli.app import parse
from netinvert.errors import NetinvertError, NetworkError
from netinvert.experiments.commands import perform, run_rerun
from netinvert.experiments.configs.images import Rerun
from netinvert.experiments.inputs import read_inputs
from netinvert.io.files import inside, save_tensors
from netinvert.io.rundir import RunDir
from netinvert.models.decoder import DecoderFile, load_autoencoder, load_decoder, save_decoder
from netinvert.models.network import as_network, built, sidecar
from netinvert.models.registry import check_named, load_network, untrusted_in
from netinvert.models.upconv import Architecture, UpConvolutional
from netinvert.scenes.annotations import load_annotations
from netinvert.scenes.dataset_reader import read_shard
from netinvert.scenes.mesh_files import MeshOptions, read_object
from netinvert.training.config import TrainingRun
from netinvert.training.loop import fit_trainee
from tiny import PLAIN, plain, seeded

URL = "https://example.invalid/a.png"
CODE = (
    "from pathlib import Path\nPath(__file__).with_name('RAN').touch()\n\ndef make():\n    raise SystemExit\n"
)
REFUSED = (
    r"\.json: it names |names the network|is no name for a file|--name is|holds no pose network|"
    r"preprocessing has|transformers:.* cannot be had|cannot be read: put textures|is a link or no file"
)
KINDS = ("code", "outside", "absolute", "URL", "link")


class Place:
    """A folder of somebody else's, whose files name what lies beside it, which is the user's."""

    def __init__(self, root: Path) -> None:
        self.root, self.given, self.out = root, root / "given", root / "out"
        self.given.mkdir()
        (root / "net.py").write_text(CODE)
        write_png(torch.rand(3, 8, 8), root / "a.png")
        (self.given / "link.png").symlink_to(root / "a.png")
        (self.given / "links").symlink_to(root)
        self.before = self.contents()

    def contents(self) -> dict[str, bytes]:
        """All that is the user's."""
        return {path.name: path.read_bytes() for path in self.root.iterdir() if path.is_file()}

    def file(self, kind: str) -> str:
        """The name of a file."""
        names = {"code": "../net.py", "outside": "../a.png", "absolute": str(self.root / "a.png")}
        return {**names, "URL": URL, "link": "link.png"}[kind]

    def network(self, kind: str) -> str:
        """The name of a network."""
        names = {
            "code": f"module:{self.root}/net.py:make",
            "outside": "onnx:../a.png",
            "link": "onnx:link.png",
        }
        return {**names, "absolute": f"tflite:{self.root}/a.png", "URL": f"transformers:{URL}"}[kind]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    def connect(*_: object) -> None:
        raise AssertionError("something connects to the internet")

    monkeypatch.setattr(socket.socket, "connect", connect)
    found = Place(tmp_path)
    monkeypatch.chdir(found.given)
    return found


DOORS: dict[str, Callable[[Place, str], object]] = {}


def door(open_it: Callable[[Place, str], object]) -> Callable[[Place, str], object]:
    DOORS[open_it.__name__] = open_it
    return open_it


# -- manifests -----------------------------------------------------------------------------------------


def rerun(place: Place, command: str, **facts: object) -> None:
    whole = {"command": {"command": command, "out": "o", **facts}, "files": {"a.png": "0"}}
    (place.given / "manifest.json").write_text(json.dumps(whole))
    run_rerun(Rerun(manifest=place.given, out=place.out), print)


@door
def manifest_network(place: Place, kind: str) -> None:
    rerun(place, "invert", network=place.network(kind), layer="2", input="link.png")


@door
def manifest_judge(place: Place, kind: str) -> None:
    more = {"network": "posenet", "layer": "fc6", "codes": "codes.npy", "images": "i", "judge_layer": "1"}
    rerun(place, "audit", judge_network=place.network(kind), **more)


@door
def manifest_loss(place: Place, kind: str) -> None:
    loss = f"pixel=1+feature:{place.network(kind)}/0=0.1"
    rerun(place, "decoder train", network="posenet", layer="fc6", data="photographs", loss=loss)


@door
def manifest_name_of_a_decoder(place: Place, kind: str) -> None:
    name = "../a" if kind == "link" else place.file(kind).removesuffix(".png")
    rerun(place, "decoder train", network="posenet", layer="fc6", data="photographs", name=name)


@door
def manifest_cluster(place: Place, kind: str) -> None:
    rerun(place, "invert", network="posenet", layer="fc6", input="link.png", ray=place.file(kind))


# -- decoders ------------------------------------------------------------------------------------------


def decoder(place: Place, kind: str) -> str:
    module = built(lambda: UpConvolutional(Architecture((6,), (16, 16)))).eval()
    path, state = place.given / "decoder.safetensors", plain().state_dict()
    save_decoder(path, DecoderFile(module, place.network(kind), "8", "0" * 64, {}, encoder_state=state))
    return str(path)


@door
def decoder_of_a_network(place: Place, kind: str) -> None:
    load_decoder(decoder(place, kind)).encoder()


@door
def autoencoder(place: Place, kind: str) -> None:
    load_autoencoder(decoder(place, kind))


def command(place: Place, *words: str) -> None:
    perform(parse([*words, "--out", str(place.out)]), print)


@door
def decode(place: Place, kind: str) -> None:
    np.save("code.npy", np.zeros(6, np.float32))
    command(place, "decode", "code.npy", "--decoder", decoder(place, kind))


@door
def decoder_evaluate(place: Place, kind: str) -> None:
    command(place, "decoder", "evaluate", decoder(place, kind))


@door
def study_iterate(place: Place, kind: str) -> None:
    command(place, "study", "iterate", "--decoders", decoder(place, kind))


@door
def study_methods(place: Place, kind: str) -> None:
    command(place, "study", "methods", "--decoders", decoder(place, kind))


# -- weights, sidecars, networks in files ------------------------------------------------------------------


@door
def weights_of_a_pose_network(place: Place, kind: str) -> None:
    path = place.given / "pose.safetensors"
    save_tensors(path, {"a": torch.ones(1)}, {"topology": place.network(kind), "head": place.network(kind)})
    load_network("posenet", path)


@door
def sidecar_of_a_network(place: Place, kind: str) -> None:
    (place.given / "net.json").write_text(json.dumps({"network": place.network(kind)}))
    sidecar(place.given / "net.onnx", (8, 8), 3)


@door
def onnx_data(place: Place, kind: str) -> None:
    shape = [1, 3, 8, 8]
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name in "xy"]
    weight = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=1)
    weight.external_data.add(key="location", value=place.file(kind))
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
    (place.given / "net.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    load_network("onnx:net.onnx")


@door
def transformers_folder(place: Place, kind: str) -> None:
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "configuration.Mine"}}
    if kind == "code":
        (place.given / "configuration.py").write_text(CODE)
    else:
        config["auto_map"]["AutoConfig"] = f"{place.file(kind)}--configuration.Mine"
    (place.given / "config.json").write_text(json.dumps(config))
    load_network(f"transformers:{place.given}")


# -- scenes --------------------------------------------------------------------------------------------


@door
def colmap(place: Place, kind: str) -> None:
    (place.given / "cameras.txt").write_text("1 PINHOLE 8 8 8 8 4 4\n")
    (place.given / "images.txt").write_text(f"1 1 0 0 0 0 0 1 1 {place.file(kind)}\n")
    load_annotations(place.given / "images.txt")


@door
def nerf(place: Place, kind: str) -> None:
    frame = {"file_path": place.file(kind), "transform_matrix": np.eye(4).tolist()}
    (place.given / "transforms.json").write_text(json.dumps({"camera_angle_x": 1, "frames": [frame]}))
    load_annotations(place.given / "transforms.json")


@door
def pascal3d(place: Place, kind: str) -> None:
    whole = {"filename": place.file(kind), "size": {"width": 8, "height": 8}, "objects": np.array([])}
    savemat(place.given / "a.mat", {"record": whole})
    load_annotations(place.given / "a.mat")


@door
def obj_textures(place: Place, kind: str) -> None:
    (place.given / "a.mtl").write_text(f"newmtl m\nmap_Kd {place.file(kind)}\n")
    faces = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"
    (place.given / "a.obj").write_text("mtllib a.mtl\n" + faces)
    read_object(place.given / "a.obj", MeshOptions(missing_textures="refuse"))


@door
def gltf_buffers(place: Place, kind: str) -> None:
    whole = {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": place.file(kind), "byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
    }
    (place.given / "a.gltf").write_text(json.dumps(whole))
    read_object(place.given / "a.gltf")


@door
def shard(place: Place, kind: str) -> None:
    with tarfile.open(place.given / "train-0.tar", "w") as tar:
        info = tarfile.TarInfo("000000.rgba.png")
        info.type, info.linkname = tarfile.SYMTYPE, place.file(kind)
        tar.addfile(info)
    list(read_shard(place.given / "train-0.tar"))


# -- what is written -------------------------------------------------------------------------------------


@door
def run_directory(place: Place, kind: str) -> None:
    with RunDir(place.given / "run", {"a": 1}, staged=False) as run:
        (run.out / "link.png").symlink_to(place.root / "a.png")
        run.path(place.file(kind)).write_bytes(b"written")


@door
def training_directory(place: Place, kind: str) -> None:
    for name in {"code": ["checkpoint.safetensors"], "outside": ["logs"]}.get(kind, [".training.lock"]):
        (place.given / name).symlink_to(place.root / "a.png")
    fit_trainee(None, None, None, TrainingRun(place.given, progress=False))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DOORS)
def test_nothing(place: Place, name: str, kind: str) -> None:
    with pytest.raises(NetinvertError, match=REFUSED):
        DOORS[name](place, kind)
    assert place.contents() == place.before
    assert not list(place.root.rglob("RAN"))


def test_names_in_files_of_codes_stay_names(place):
    encoder = Encoder(tiny_network(), "8")
    names = [place.file(kind) for kind in KINDS] + ["..", "a\nb", ""]
    facts = json.dumps({"names": names})
    save_tensors("codes.safetensors", {"code": torch.rand(len(names), 5)}, {"netinvert": facts})
    with RunDir(place.out, {}) as run:
        for stem in read_inputs("codes.safetensors", encoder).stems:
            assert run.path(f"{stem}.png").parent.name == "files"


def tiny_network():
    return as_network(seeded(plain, dtype=torch.float32), PLAIN, "tiny")


def test_what_is_trusted(place):
    """The table above refuses; the same files are taken where the user says so."""
    for name in ("posenet", "torchvision:resnet18@DEFAULT", "timm:resnet18.a1_in1k"):
        check_named(name, "a.json")
        assert untrusted_in(name) == ""
    with pytest.raises(NetworkError, match="trust=True"):
        load_decoder(decoder(place, "code")).encoder()
    with pytest.raises(SystemExit):
        load_decoder(decoder(place, "code"), trust=True).encoder()
    assert (place.root / "RAN").exists()


def test_the_path_is_shown(place):
    with pytest.raises(NetinvertError, match=rf"\({place.root / 'net.py'}\)"):
        rerun(place, "invert", network="module:../net.py:make", layer="2", input="link.png")


def test_a_file_inside_is_found(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "c").symlink_to(tmp_path / "b")
    for name in ("a.png", "b/a.png", "c/a.png", "b/../a.png", "new/a.png"):
        assert inside(tmp_path, name) == tmp_path / name
