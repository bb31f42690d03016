"""Damaged files that were found to raise other errors, to hang, to crash, or to ask for all the memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from readers import READERS

from netinvert.errors import NetinvertError


def sample(name: str) -> bytes:
    return next(iter(READERS[name].samples().values()))


def with_text(data: bytes, change: Callable[[dict], object]) -> bytes:
    """A safetensors file whose texts are changed."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[end:]


def architecture(**changes: object) -> bytes:
    def change(texts: dict) -> None:
        texts["architecture"] = json.dumps(json.loads(texts["architecture"]) | changes)

    return with_text(sample("decoders"), change)


def pose(change: Callable[[dict], object]) -> bytes:
    return with_text(sample("pose networks"), change)


def model(change: Callable[[onnx.ModelProto], object]) -> bytes:
    made = onnx.ModelProto.FromString(sample("ONNX"))
    change(made)
    return made.SerializeToString()


def opset(made: onnx.ModelProto) -> None:
    made.opset_import[0].version = 2**31 - 1


def sides(made: onnx.ModelProto) -> None:
    for axis in made.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_value = 60_000


def filled(made: onnx.ModelProto) -> None:
    made.graph.initializer[2].raw_data = np.array([1 << 30, 1 << 30]).tobytes()


def manifest(**changes: object) -> bytes:
    whole = json.loads(sample("manifests of runs"))
    whole["command"] |= changes
    return json.dumps(whole).encode()


def nested_matlab() -> bytes:
    """A field whose parts stand twice: it ended the process in scipy's reader."""
    whole = sample("PASCAL3D+")
    at = whole.index(b"\x0e\x00\x00\x008\x00\x00\x00") + 28
    return whole[:at] + whole[at - 28 : at + 8] + whole[at:]


FOUND: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "a header of NumPy that ends early": (
        "codes in arrays",
        "a.npy",
        lambda: (
            b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,".ljust(118)
        ),
    ),
    "an expanded tensor": (
        "codes in torch files",
        "a.pt",
        lambda: (torch.save(torch.ones(1).expand(1 << 40), made := io.BytesIO()), made.getvalue())[1],
    ),
    "no head": (
        "pose networks",
        "a.safetensors",
        lambda: pose(lambda texts: texts.pop("head")),
    ),
    "facts": (
        "pose networks",
        "a.safetensors",
        lambda: pose(lambda texts: texts.update(facts="{")),
    ),
    "channels": ("decoders", "a.safetensors", lambda: architecture(channels=2**63)),
    "sides": ("decoders", "a.safetensors", lambda: architecture(size=[2**31, 2**31])),
    "codes": ("decoders", "a.safetensors", lambda: architecture(code_shape=[2**40])),
    "large images": ("ONNX", "a.onnx", lambda: model(sides)),
    "a large constant": ("ONNX", "a.onnx", lambda: model(filled)),
    "a late opset": (
        "ONNX",
        "a.onnx",
        lambda: model(opset),
    ),
    "odd numbers": ("OBJ", "a.obj", lambda: b"v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n"),
    "a field twice": ("PASCAL3D+", "a.mat", nested_matlab),
    "restarts": ("manifests of runs", "manifest.json", lambda: manifest(restarts=2**63)),
    "threads": ("manifests of runs", "manifest.json", lambda: manifest(threads=2**63)),
    "steps": ("manifests of runs", "manifest.json", lambda: manifest(steps=10**30)),
}


@pytest.mark.parametrize("name", FOUND)
def test_is_refused(name, tmp_path):
    reader, file, content = FOUND[name]
    for other, data in READERS[reader].beside().items():
        (tmp_path / other).write_bytes(data)
    (tmp_path / file).write_bytes(content())
    with pytest.raises(NetinvertError, match=file):
        READERS[reader].read(tmp_path / file)


@pytest.mark.parametrize(
    ("key", "value"),
    [("symmetry", None), ("identity", 1e308), ("rotation", [1, 2]), ("rotation", [[float("nan")] * 3] * 3)],
)
def test_records_of_shards(key, value, tmp_path):
    path = tmp_path / "train-000.tar"
    old = json.dumps({"rotation": np.eye(3).tolist(), "symmetry": 1, "identity": 3, "view": 0}).encode()
    new = json.dumps({**json.loads(old), key: value}).encode()
    data = sample("shards")
    at = data.index(old)
    whole = bytearray(data)
    whole[at : at + 512] = new.ljust(512, b" ")
    path.write_bytes(bytes(whole))
    with pytest.raises(NetinvertError, match=path.name):
        list(READERS["shards"].read(path))
