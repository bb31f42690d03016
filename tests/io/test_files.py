"""Files: whole or absent."""

import dataclasses
import errno
import hashlib
import json
import math
import os
import stat
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netinvert.errors import CodeError, OutputError
from netinvert.io.codes import read_code
from netinvert.io.files import (
    FileError,
    load_tensors,
    read_json,
    save_tensors,
    sha256_of,
    write_atomic,
    write_json,
)

in_one_folder = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def failing(number: int):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


# --- write_atomic ------------------------------------------------------------------------------


def test_write_atomic_replaces_and_keeps_nothing_else(tmp_path):
    write_atomic(tmp_path / "a", b"old")
    write_atomic(str(tmp_path / "a"), b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_write_atomic_leaves_the_usual_permissions(tmp_path):
    write_atomic(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_write_atomic_follows_links(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, where, number, says):
    write_atomic(tmp_path / "a", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(where, failing(number))
        with pytest.raises(OutputError, match=says):
            write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_ctrl_c_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", b"new")
    assert not list(tmp_path.iterdir())


def test_write_atomic_refuses_places(tmp_path):
    (tmp_path / "file").touch()
    for path, says in (
        (tmp_path, "is a folder"),
        (tmp_path / "missing" / "a", "create it first"),
        (tmp_path / "file" / "a", "is a file, not a folder"),
        (tmp_path / ("x" * 300), "too long"),
        (tmp_path / "nul\0", "another name"),
        (Path("/dev/null"), "device"),
    ):
        with pytest.raises(OutputError, match=says):
            write_atomic(path, b"x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_write_atomic_into_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        write_atomic(tmp_path / "a", b"x")


# --- tensors -----------------------------------------------------------------------------------


def test_tensors_round_trip(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "view": base.T,
        "shared": base,
        "slice": base[1:, ::2],
        "half": base.half().requires_grad_(),
        "flags": base > 3,
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
    }
    save_tensors(tmp_path / "a.safetensors", tensors, {"seed": "3", "λ": "σ"})
    loaded, metadata = load_tensors(tmp_path / "a.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype
    assert metadata == {"seed": "3", "λ": "σ"}


def test_the_same_tensors_and_texts_are_the_same_bytes(tmp_path):
    tensors = {"b": torch.arange(3), "a": torch.eye(2, dtype=torch.float16)}
    texts = {f"ü{k}": f"{k}\n" for k in range(8)}
    found = set()
    for k in range(6):
        save_tensors(tmp_path / f"{k}", tensors, dict(sorted(texts.items(), key=lambda one: hash((k, one)))))
        found.add((tmp_path / f"{k}").read_bytes())
    (data,) = found
    assert int.from_bytes(data[:8], "little") % 8 == 0  # tensors begin at whole words
    kept, read = load_tensors(tmp_path / "0")
    assert read == texts
    assert all(torch.equal(kept[name], tensors[name]) for name in tensors)


def test_loaded_tensors_outlive_the_file(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"a": torch.arange(9.0)})
    loaded, metadata = load_tensors(tmp_path / "a.safetensors")
    with (tmp_path / "a.safetensors").open("r+b") as file:
        file.write(b"\0" * (tmp_path / "a.safetensors").stat().st_size)
    assert torch.equal(loaded["a"], torch.arange(9.0))
    assert metadata == {}


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"a": [1.0]}, None),
        ({"a": torch.eye(3).to_sparse()}, None),
        ({"a": torch.eye(3)}, {"seed": 3}),
    ],
)
def test_what_safetensors_cannot_hold(tmp_path, tensors, metadata):
    with pytest.raises(OutputError, match="safetensors holds"):
        save_tensors(tmp_path / "a.safetensors", tensors, metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_damaged_safetensors(tmp_path, part):
    save_tensors(tmp_path / "a.safetensors", {"a": torch.rand(50)})
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(FileError, match="damaged or cut off"):
        load_tensors(tmp_path / "a.safetensors")


def test_missing_folder_and_empty_files(tmp_path):
    (tmp_path / "empty").touch()
    for name, says in (("missing", "does not exist"), ("", "is a folder"), ("empty", "is empty")):
        for read in (load_tensors, read_json):
            with pytest.raises(FileError, match=says):
                read(tmp_path / name)
        with pytest.raises(CodeError, match=says):
            read_code(tmp_path / name)
    for name in ("missing", ""):
        with pytest.raises(FileError, match="cannot be read"):
            sha256_of(tmp_path / name)


# --- JSON --------------------------------------------------------------------------------------


class Prior(Enum):
    TV = "tv"


@dataclasses.dataclass
class Config:
    size: tuple[int, int]
    out: Path
    prior: Prior = Prior.TV


def test_json_holds_what_a_manifest_needs(tmp_path):
    value = {
        "z": Config((3, 4), Path("a") / "b"),
        "a": [0.1, float("nan"), -float("inf"), np.float32(0.5), np.int64(3), np.bool_(True)],
        "λ": np.array([1.0, np.nan]),
        "t": torch.tensor([1, 2]),
        3: None,
        "yes": True,
    }
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "λ" in text
    assert text.startswith('{\n  "z"')
    assert text.endswith("}\n")
    read = read_json(tmp_path / "a.json")
    assert list(read) == ["z", "a", "λ", "t", "3", "yes"]
    assert read["z"] == {"size": [3, 4], "out": str(Path("a") / "b"), "prior": "tv"}
    assert read["a"] == [0.1, None, None, 0.5, 3, True]
    assert read["λ"] == [1.0, None]
    assert read["t"] == [1, 2]


@in_one_folder
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_json_round_trip(tmp_path, value):
    def finite(item):
        if isinstance(item, float) and not math.isfinite(item):
            return None
        if isinstance(item, list):
            return [finite(part) for part in item]
        if isinstance(item, dict):
            return {name: finite(part) for name, part in item.items()}
        return item

    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == finite(value)


def test_file_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "a.json", {"image": Path(name)})
    assert read_json(tmp_path / "a.json") == {"image": name}


@pytest.mark.parametrize("bad", [object(), 1j, {(1, 2): 3}, {1: "a", "1": "b"}, {True: 1}, np.array([1j])])
def test_what_json_cannot_hold(tmp_path, bad):
    with pytest.raises(OutputError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": bad})
    assert not list(tmp_path.iterdir())


def test_a_value_that_holds_itself(tmp_path):
    loop: list = []
    loop.append(loop)
    with pytest.raises(OutputError):
        write_json(tmp_path / "a.json", loop)


@pytest.mark.parametrize("text", [b'{"a": 1', b"\xff\xfe\xfa", b"[" * 200_000])
def test_damaged_json(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(FileError, match="not valid JSON"):
        read_json(tmp_path / "a.json")


def test_json_of_windows_editors(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps([1]).encode())
    assert read_json(tmp_path / "a.json") == [1]


def test_sha256(tmp_path):
    data = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(data)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()
