"""Codes in files: what they may be, and that nothing that is read can run code."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from netinvert.errors import CodeError
from netinvert.io.codes import read_code
from netinvert.io.files import save_tensors

in_one_folder = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@in_one_folder
@given(
    hnp.arrays(
        st.sampled_from(["?", "i1", "u1", "u2", "i8", "f2", "f4", "f8", ">f4", ">i4"]),
        hnp.array_shapes(max_dims=4, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False, "min_value": 0, "max_value": 100},
        fill=st.nothing(),
    ).filter(lambda array: array.size > 0)
)
def test_npy_codes_of_any_type_and_shape(tmp_path, array):
    np.save(tmp_path / "code.npy", array)
    code = read_code(tmp_path / "code.npy")
    assert code.dtype == torch.float32
    assert np.array_equal(code.numpy(), array.astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_orders_and_scalars(tmp_path, order):
    array = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    np.save(tmp_path / "code.npy", array)
    assert read_code(tmp_path / "code.npy").tolist() == array.tolist()
    np.save(tmp_path / "code.npy", np.float64(3))
    assert read_code(tmp_path / "code.npy").shape == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.bool])
@pytest.mark.parametrize("name", ["code.pt", "code.pth", "code.safetensors"])
def test_tensor_codes(tmp_path, dtype, name):
    code = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    stored = {"code": code, "other": torch.zeros(3)}
    if name.endswith("safetensors"):
        save_tensors(tmp_path / name, stored)
    else:
        torch.save(stored, tmp_path / name)
    read = read_code(tmp_path / name)
    assert read.dtype == torch.float32
    assert read.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    "stored",
    [
        torch.ones(3),
        {"anything": torch.ones(3)},
        {"anything": torch.ones(3), "layer": "fc6"},
        torch.nn.Parameter(torch.ones(3)),
        [torch.ones(3)],
        (torch.ones(3),),
        {"code": [torch.ones(3)], "layer": "fc6", "other": torch.ones(1)},
    ],
)
def test_the_only_tensor_is_the_code(tmp_path, stored):
    torch.save(stored, tmp_path / "code.pt")
    code = read_code(tmp_path / "code.pt")
    assert torch.equal(code, torch.ones(3))
    assert not code.requires_grad


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({"a": torch.ones(3), "b": torch.ones(3)}, r"2 tensors \(a, b\)"),
        ({"layer": "fc6"}, "0 tensors"),
        ([torch.ones(3), torch.ones(3)], "list of 2: torch.stack them, or save one tensor"),
        ([], "save one tensor"),
        ("a text", "holds a str: save one tensor"),
        (torch.ones(3) * 1j, "real numbers"),
        (torch.eye(3).to_sparse(), "dense"),
        (torch.tensor([1.0, float("nan"), float("inf")]), "2 of 3 values"),
        (torch.tensor([1e300], dtype=torch.float64), "infinite as float32"),
        (torch.zeros(0, 4), "empty code"),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_pt_codes_that_are_refused(tmp_path, stored, says):
    torch.save(stored, tmp_path / "code.pt")
    with pytest.raises(CodeError, match=says):
        read_code(tmp_path / "code.pt")


def test_several_tensors_in_safetensors(tmp_path):
    save_tensors(tmp_path / "code.safetensors", {"a": torch.ones(1), "b": torch.ones(1)})
    with pytest.raises(CodeError, match=r"\(a, b\)"):
        read_code(tmp_path / "code.safetensors")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([1.0, np.nan]), "1 of 2 values"),
        (np.array([1e300]), "infinite as float32"),
        (np.zeros((0, 3)), "empty code"),
        (np.array(["a"]), "real numbers"),
        (np.array([1j]), "real numbers"),
        (np.zeros(2, dtype=[("a", "f4")]), "real numbers"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "real numbers"),
        (np.array([{}], dtype=object), "damaged"),
    ],
)
def test_npy_codes_that_are_refused(tmp_path, array, says):
    np.save(tmp_path / "code.npy", array)
    with pytest.raises(CodeError, match=says):
        read_code(tmp_path / "code.npy")


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        return (open, (self.target, "w"))


@pytest.mark.parametrize("name", ["code.npy", "code.pt", "code.pth", "code.safetensors"])
@pytest.mark.parametrize("how", ["pickle", "torch", "old torch", "numpy"])
def test_a_malicious_pickle_runs_nothing(tmp_path, name, how):
    attack = Attack(tmp_path / "attacked")
    with (tmp_path / name).open("wb") as file:
        if how == "pickle":
            pickle.dump(attack, file)
        elif how == "numpy":
            np.save(file, np.array([attack], dtype=object), allow_pickle=True)
        else:
            torch.save({"code": attack}, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(CodeError):
        read_code(tmp_path / name)
    assert not (tmp_path / "attacked").exists()


def test_the_old_layout_of_torch_is_not_opened_at_all(tmp_path):
    torch.save(torch.ones(3), tmp_path / "code.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CodeError, match="layout before"):
        read_code(tmp_path / "code.pt")


def test_the_attack_would_work(tmp_path):
    pickle.loads(pickle.dumps(Attack(tmp_path / "attacked"))).close()
    assert (tmp_path / "attacked").exists()


@pytest.mark.parametrize("name", ["code.npy", "code.pt", "code.safetensors"])
@pytest.mark.parametrize("part", [0.03, 0.5, 0.95])
def test_truncated_codes(tmp_path, name, part):
    code = torch.rand(200)
    if name.endswith("npy"):
        np.save(tmp_path / name, code.numpy())
    elif name.endswith("pt"):
        torch.save(code, tmp_path / name)
    else:
        save_tensors(tmp_path / name, {"code": code})
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * part)])
    with pytest.raises(CodeError, match=r"damaged|whole"):
        read_code(tmp_path / name)


def test_archives_and_other_files_are_no_codes(tmp_path):
    np.savez(tmp_path / "code.npz", a=np.ones(3))
    (tmp_path / "code.npz").rename(tmp_path / "code.npy")
    with zipfile.ZipFile(tmp_path / "code.pt", "w") as archive:
        archive.writestr("a", "b")
    (tmp_path / "code.png").write_bytes(b"x")
    for name, says in (("code.npy", "npz"), ("code.pt", "damaged"), ("code.png", "encode an image")):
        with pytest.raises(CodeError, match=says):
            read_code(tmp_path / name)
