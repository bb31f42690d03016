"""Every reader, with small files that it reads, and how to make them odd."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import torch
import trimesh
from mutations import (
    Mutation,
    in_bytes,
    in_glb,
    in_json,
    in_metadata,
    in_numbers,
    in_onnx,
    in_safetensors,
    in_tar,
    in_zip,
)
from PIL import Image
from safetensors.torch import save
from scipy.io import savemat
from torch import nn

from netinvert.evaluation.attributes import read_attributes
from netinvert.experiments import commands
from netinvert.experiments.configs.images import Rerun
from netinvert.io.codes import read_code
from netinvert.io.files import load_tensors
from netinvert.io.images import read_image
from netinvert.io.manifest import Outcome
from netinvert.models.decoder import DecoderFile, read_decoder, save_decoder
from netinvert.models.network import built, load_weights, shipped, sidecar
from netinvert.models.registry import load_network
from netinvert.models.upconv import Architecture, UpConvolutional
from netinvert.models.zoo.pose import read_pose_network
from netinvert.scenes.annotations import load_annotations, sequence_message
from netinvert.scenes.dataset_reader import load_arrays, read_shard, shard_hashes
from netinvert.scenes.furniture import CATALOGUE, read_library
from netinvert.scenes.mesh_files import read_object

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Reader:
    """``samples`` are whole files by name, which ``read`` reads; ``beside`` lies in the same folder. The
    short form reads ``count`` odd ones."""

    samples: Callable[[], dict[str, bytes]]
    read: Callable[[Path], object]
    mutations: Sequence[Mutation] = (in_bytes,)
    count: int = 100
    beside: Callable[[], dict[str, bytes]] = dict


def _images() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
    found = {}
    for suffix, kind in {".png": "PNG", ".jpg": "JPEG", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF",
                         ".webp": "WEBP", ".ppm": "PPM"}.items():  # fmt: skip
        Image.fromarray(pixels).save(made := io.BytesIO(), kind)
        found[f"a{suffix}"] = made.getvalue()
    return found


def _torch(content: object) -> bytes:
    torch.save(content, made := io.BytesIO())
    return made.getvalue()


def _npy() -> dict[str, bytes]:
    np.save(made := io.BytesIO(), np.arange(6, dtype=np.float32).reshape(2, 3))
    return {"a.npy": made.getvalue()}


def _net() -> nn.Module:
    return built(lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))


def _decoder() -> dict[str, bytes]:
    module = built(lambda: UpConvolutional(Architecture((6,), (16, 16), mask=True))).eval()
    with tempfile.TemporaryDirectory() as folder:
        content = DecoderFile(module, "posenet", "fc6", "0", {"a": 1})
        save_decoder(file := Path(folder) / "a.safetensors", content)
        return {file.name: file.read_bytes()}


def _pose() -> dict[str, bytes]:
    with shipped("weights", "posenet") as path:
        return {"a.safetensors": path.read_bytes()}


def _onnx() -> dict[str, bytes]:
    make, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    weights = {"w": np.ones((4, 3, 3, 3), np.float32), "s": np.array([0, -1]), "f": np.array([5, 7])}
    nodes = [
        make("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        make("Relu", ["a"], ["b"]),
        make("Reshape", ["b", "s"], ["y"]),
        make("ConstantOfShape", ["f"], ["z"]),
    ]
    ends = [("x", [1, 3, 8, 8]), ("y", [1, 256])]
    infos = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in ends]
    graph = onnx.helper.make_graph(
        nodes, "g", infos[:1], infos[1:], [array(one, name) for name, one in weights.items()]
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    return {"a.onnx": onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()}


def _meshes(*suffixes: str) -> dict[str, bytes]:
    box = trimesh.creation.box()
    found = {}
    for suffix in suffixes:
        made = box.export(file_type=suffix)
        made = made["model.gltf"] if isinstance(made, dict) else made
        found[f"a.{suffix}"] = made.encode() if isinstance(made, str) else bytes(made)
    return found


OBJ = b"mtllib a.mtl\nv 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\nv 0 0 1\nvt 0 0\nvt 1 0\nvn 0 0 1\n\
usemtl m\nf 1/1/1 2/2/1 3/1/1\nf 1 2 4\nf 1 3 4\nf 1 2 3 4\no b\nf -1 -2 -3\n"


def _shard() -> dict[str, bytes]:
    pixels = np.full((8, 8, 4), 200, np.uint8)
    record = {"rotation": np.eye(3).tolist(), "symmetry": 1, "identity": 3, "view": 0}
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for key in ("000003_000", "000003_001"):
            parts = {"rgba": pixels, "mask": pixels[..., 0], "parts": pixels[..., 0]}
            for name, image in parts.items():
                Image.fromarray(image).save(made := io.BytesIO(), "PNG")
                _add(tar, f"{key}.{name}.png", made.getvalue())
            _add(tar, f"{key}.json", json.dumps(record).encode())
    return {"train-000.tar": target.getvalue()}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _run_manifest() -> dict[str, bytes]:
    command = {"command": "invert", "input": "a.png", "network": "posenet", "layer": "relu7",
               "out": "o", "steps": 3, "restarts": 1, "threads": 1, "size": [64, 64],
               "data_weight": 2.0, "seed": 1}  # fmt: skip
    whole = {
        "format": 2, "command": command, "threads": 1, "files": {"a.png": "0"}, "contents": {"a.png": "0"},
        "inputs": [], "versions": {"torch": "2"}, "run": {"format": 2, "identity": "0"},
    }  # fmt: skip
    return {"manifest.json": json.dumps(whole).encode()}


def _rerun(path: Path) -> None:
    asked = Rerun(manifest=path, out=path.parent / "out")
    with patch.object(commands, "perform", lambda config, tell: Outcome({"versions": {"torch": "2"}})):
        commands.run_rerun(asked, lambda text: None)


def _nerf() -> dict[str, bytes]:
    frame = {"file_path": "a", "transform_matrix": np.eye(4).tolist(), "fl_x": 8.0}
    whole = {"camera_angle_x": 1.0, "w": 8, "h": 8, "cx": 4.0, "k1": 0.0, "frames": [frame, frame]}
    return {"transforms.json": json.dumps(whole).encode()}


def _pascal3d() -> dict[str, bytes]:
    names = ("azimuth", "elevation", "theta", "distance", "focal", "px", "py")
    thing = {"class": "chair", "viewpoint": dict.fromkeys(names, 2.0), "bbox": np.array([1.0, 1, 5, 5])}
    size = {"width": 8, "height": 8}
    savemat(made := io.BytesIO(), {"record": {"filename": "a.png", "size": size, "objects": thing}})
    return {"a.mat": made.getvalue()}


def _objectron() -> dict[str, bytes]:
    message = sequence_message()()
    message.objects.add(
        id=1, category="chair", rotation=np.eye(3).ravel(), translation=[0, 0, 9], scale=[1] * 3
    )
    frame = message.frame_annotations.add(frame_id=2)
    frame.annotations.add(object_id=1, visibility=0.5)
    frame.camera.image_resolution_width, frame.camera.image_resolution_height = 8, 6
    frame.camera.projection_matrix.extend(np.eye(4).ravel())
    frame.camera.view_matrix.extend(np.eye(4).ravel())
    return {"a.pbdata": message.SerializeToString()}


def _library() -> dict[str, bytes]:
    model = "model#1=/a/a.obj\nwidth#1=1\ndepth#1=2.5\nheight#1=3\nmodelRotation#1=0 0 1 0 1 0 -1 0 0\n"
    with zipfile.ZipFile(made := io.BytesIO(), "w") as archive:
        archive.writestr(CATALOGUE, f"license=CC0 \\u00e9\nname#1=Chair\ntags#1=Seat\n{model}")
        archive.writestr("a/a.obj", OBJ)
        archive.writestr("a/a.mtl", "newmtl m\nmap_Kd a.png\n")
        archive.writestr("a/a.png", _images()["a.png"])
    return {"a.sh3f": made.getvalue()}


CAMERAS = b"1 PINHOLE 8 8 8 8 4 4\n"
REGISTERED = b"1 1 0 0 0 0 0 1 1 a.png\n1 1 -1\n2 1 0 0 0 0 0 2 1 b.png\n\n"
STREET = b"d 1 2 3 4 47.1 8.2 0 0 1 0 47.1 8.2 2 12 30 2 1\np 1 2\na 3 4\n"
TABLE = b"name,age,smiles\na,31,yes\nb,22,no\nc,,yes\n"


def _state() -> dict[str, bytes]:
    state = _net().state_dict()
    return {"a.safetensors": save(state), "a.pt": _torch({"model": state, "epoch": 3})}


READERS = {
    "images": Reader(_images, read_image, count=300),
    "codes in arrays": Reader(_npy, read_code, (in_bytes, in_numbers), 400),
    "codes in torch files": Reader(
        lambda: {"a.pt": _torch({"code": torch.ones(2, 3)})}, read_code, count=200
    ),
    "codes in safetensors": Reader(
        lambda: {"a.safetensors": save({"code": torch.ones(2, 3)}, {"netinvert": "{}"})},
        read_code,
        (in_bytes, in_safetensors),
        400,
    ),
    "tensors": Reader(
        lambda: {"a.safetensors": save({"a": torch.ones(2)}, {"b": '{"c": 1}'})},
        load_tensors,
        (in_safetensors,),
        300,
    ),
    "weights in torch files": Reader(
        lambda: {"a.pt": _state()["a.pt"]}, lambda path: load_weights(_net(), path), count=200
    ),
    "weights in safetensors": Reader(
        lambda: {"a.safetensors": _state()["a.safetensors"]},
        lambda path: load_weights(_net(), path),
        (in_bytes, in_safetensors),
        200,
    ),
    "pose networks": Reader(_pose, read_pose_network, (in_metadata, in_metadata, in_safetensors), 20),
    "decoders": Reader(_decoder, read_decoder, (in_metadata, in_metadata, in_safetensors), 40),
    "ONNX": Reader(_onnx, lambda path: load_network(f"onnx:{path}"), (in_bytes, in_onnx, in_onnx), 60),
    "TFLite": Reader(
        lambda: {"a.tflite": (DATA / "operators.tflite").read_bytes()},
        lambda path: load_network(f"tflite:{path}"),
        count=120,
    ),
    "sidecars": Reader(
        lambda: {"a.json": b'{"size": [8, 8], "mean": [0.5, 0, 0], "std": [1, 1, 1], "order": "RGB"}'},
        lambda path: sidecar(path.with_suffix(".onnx"), (8, 8), 3),
        (in_bytes, in_json),
        300,
    ),
    "meshes": Reader(partial(_meshes, "ply", "stl", "off", "glb"), read_object, count=120),
    "OBJ": Reader(
        lambda: {"a.obj": OBJ},
        read_object,
        (in_bytes, in_numbers),
        120,
        lambda: {"a.mtl": b"newmtl m\nKd 1 0 0\n"},
    ),
    "glTF": Reader(partial(_meshes, "glb"), read_object, (in_glb,), 120),
    "furniture libraries": Reader(
        _library, lambda path: [one.read() for one in read_library(path)], (in_bytes, in_zip, in_zip), 80
    ),
    "shards": Reader(_shard, lambda path: list(read_shard(path)), (in_bytes, in_tar), 200),
    "datasets": Reader(_shard, lambda path: load_arrays(path.parent, "train"), (in_tar,), 100),
    "manifests of datasets": Reader(
        lambda: {"manifest.json": b'{"shards": [{"name": "train-000.tar", "sha256": "0"}]}'},
        lambda path: shard_hashes(path.parent),
        (in_bytes, in_json),
        300,
    ),
    "manifests of runs": Reader(_run_manifest, _rerun, (in_bytes, in_json), 300),
    "COLMAP": Reader(
        lambda: {"images.txt": REGISTERED},
        load_annotations,
        (in_bytes, in_numbers),
        200,
        lambda: {"cameras.txt": CAMERAS},
    ),
    "COLMAP's cameras": Reader(
        lambda: {"cameras.txt": CAMERAS},
        lambda path: load_annotations(path.with_name("images.txt")),
        (in_bytes, in_numbers),
        200,
        lambda: {"images.txt": REGISTERED},
    ),
    "NeRF": Reader(_nerf, load_annotations, (in_bytes, in_json), 300),
    "PASCAL3D+": Reader(_pascal3d, load_annotations, count=150),
    "Objectron": Reader(_objectron, load_annotations, count=200),
    "Street View": Reader(
        lambda: {"a.txt": STREET}, partial(load_annotations, kind="street-view"), (in_bytes, in_numbers), 200
    ),
    "attributes": Reader(
        lambda: {"a.csv": TABLE},
        lambda path: read_attributes(path, ["a", "b", "c"]),
        (in_bytes, in_numbers),
        200,
    ),
}
