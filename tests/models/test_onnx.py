"""ONNX files written with onnx.helper against the torch network that they spell out."""

import numpy as np
import pytest
import torch
from torch import nn

from netinvert.errors import MissingExtraError, NetworkError
from netinvert.models.registry import load_network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2torch")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def write(tmp_path, nodes, constants=None, opset=13, shape=("N", 3, 16, 16), rank=4):
    """An ONNX file from image to "out"; returns its name for load_network."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))
    return f"onnx:{path}"


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 5)
    ).eval()


def small_onnx(tmp_path, opset):
    conv, *_, linear = small_network()
    constants = {"w": conv.weight, "b": conv.bias, "u": linear.weight, "c": linear.bias}
    nodes = [
        helper.make_node(
            "Conv", ["image", "w", "b"], ["conv"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("AveragePool", ["relu"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "u", "c"], ["out"], transB=1),
    ]
    return write(
        tmp_path, nodes, {key: value.detach().numpy() for key, value in constants.items()}, opset, rank=2
    )


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_small_network_comes_back(tmp_path, opset):
    network = load_network(small_onnx(tmp_path, opset))
    assert network.preprocessing.size == (16, 16)
    assert network.preprocessing.channels == 3
    assert not network.module.training
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    result = network.module(image)
    assert torch.allclose(result, small_network()(image), atol=1e-6)
    result.sum().backward()
    assert float(image.grad.norm()) > 0


def test_old_slices_are_converted(tmp_path):
    # Slice of opset 9 has its bounds as attributes, which onnx2torch does not know
    node = helper.make_node("Slice", ["image"], ["out"], axes=[2, 3], starts=[1, 2], ends=[9, 12])
    module = load_network(write(tmp_path, [node], opset=9, shape=(1, 3, 16, 16))).module
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(module(image), image[:, :, 1:9, 2:12])


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1, 2], [9, 12], [2, 3], [1, 2]),
        ([0], [2**40], [-1], [3]),
        ([-1], [-9], [2], [-2]),
        ([-5], [-1], [3], [1]),
    ],
)
def test_slices_cut_as_numpy_does(tmp_path, starts, ends, axes, steps):
    constants = {key: np.array(v) for key, v in zip("seat", (starts, ends, axes, steps), strict=True)}
    name = write(tmp_path, [helper.make_node("Slice", ["image", *"seat"], ["out"])], constants)
    image = torch.rand(2, 3, 16, 16)
    index = [slice(None)] * 4
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(start, end, step)
    assert np.array_equal(load_network(name).module(image).numpy(), image.numpy()[tuple(index)])


def test_free_sizes_get_a_default(tmp_path):
    network = load_network(
        write(tmp_path, [helper.make_node("Relu", ["image"], ["out"])], shape=("N", 1, "H", "W"))
    )
    assert network.preprocessing.size == (224, 224)
    assert network.preprocessing.mean == (0.0,)


def test_all_unsupported_operators_are_named(tmp_path):
    nodes = [helper.make_node("Hardmax", ["image"], ["a"]), helper.make_node("Det", ["a"], ["out"])]
    with pytest.raises(NetworkError, match="Det, Hardmax"):
        load_network(write(tmp_path, nodes))


def test_what_onnx2torch_refuses_is_a_network_error(tmp_path):
    node = helper.make_node("Reshape", ["image", "s"], ["out"], allowzero=1)
    with pytest.raises(NetworkError, match="onnx2torch cannot convert"):
        load_network(write(tmp_path, [node], {"s": np.array([1, -1, 15, 15])}, 14, shape=(1, 3, 15, 15)))


def test_inputs_that_are_no_image(tmp_path):
    with pytest.raises(NetworkError, match="one image input"):
        load_network(write(tmp_path, [helper.make_node("Relu", ["image"], ["out"])], shape=(1, 10), rank=2))


@pytest.mark.parametrize("content", [b"", b"no onnx at all", bytes(range(256)) * 4])
def test_damaged_files(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(NetworkError):
        load_network(f"onnx:{path}")


def test_truncated_files(tmp_path):
    name = small_onnx(tmp_path, 13)
    path = tmp_path / "net.onnx"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(NetworkError, match="export it again"):
        load_network(name)


def test_missing_file_and_random_weights(tmp_path):
    with pytest.raises(NetworkError, match="check the path"):
        load_network(f"onnx:{tmp_path / 'none.onnx'}")
    with pytest.raises(NetworkError, match="its own weights"):
        load_network(small_onnx(tmp_path, 13), weights="random")


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx2torch", None)
    with pytest.raises(MissingExtraError, match=r"netinvert\[onnx\]"):
        load_network(f"onnx:{tmp_path / 'net.onnx'}")
