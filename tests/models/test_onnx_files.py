"""ONNX files as exporters write them, against onnx's own reference evaluator."""

import numpy as np
import pytest
import torch

from netinvert import Encoder
from netinvert.errors import NetworkError
from netinvert.models.layers import list_layers
from netinvert.models.registry import load_network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2torch")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

NUMBERS = np.random.default_rng(0)
WEIGHT = NUMBERS.normal(size=(6, 3, 3, 3)).astype(np.float32)
TURNED = NUMBERS.normal(size=(6, 4, 3, 3)).astype(np.float32)
ONES = np.ones(6, np.float32)
node = helper.make_node


def write(tmp_path, nodes, constants=None, opset=17, shape=("N", 3, "H", "W"), kind=1, rank=4):
    """A file from "x" to "y", of this rank unless onnx knows better."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    model.graph.output[0].CopyFrom(onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output[0])
    if not model.graph.output[0].type.tensor_type.HasField("shape"):
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank))
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))
    return path


def agrees(path, size, shape=None):
    """Whether images of this size give what onnx's evaluator gives, two at once what each gives alone."""
    module = load_network(f"onnx:{path}").module
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = module(images).detach().numpy()
    evaluate = ReferenceEvaluator(str(path))
    for image, one in zip(images[:, None], found, strict=True):
        given = (image if shape is None else image.permute(shape)).numpy()
        want = evaluate.run(None, {"x": given})[0].reshape(one.shape)
        assert np.abs(one - want).max() < 1e-5 * max(1, np.abs(want).max())
    return found


CONV = node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1])
NEW = {
    "pooling": [CONV, node("MaxPool", ["a"], ["y"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
    "mean": [CONV, node("ReduceMean", ["a", "axes"], ["y"], keepdims=0)],
    "reflected": [node("Pad", ["x", "sides"], ["b"], mode="reflect"), node("Conv", ["b", "w"], ["y"])],
    "parts": [
        CONV,
        node("Split", ["a"], ["b", "c", "d"], axis=1, num_outputs=3),
        node("Concat", ["d", "c", "b"], ["y"], axis=1),
    ],
    "uneven parts": [
        CONV,
        node("Split", ["a"], ["b", "c"], axis=3, num_outputs=2),
        node("Concat", ["c", "b"], ["y"], axis=3),
    ],
    "Gelu": [CONV, node("Gelu", ["a"], ["y"])],
    "Gelu by tanh": [CONV, node("Gelu", ["a"], ["y"], approximate="tanh")],
    "Mish": [CONV, node("Mish", ["a"], ["y"])],
    "GroupNormalization": [CONV, node("GroupNormalization", ["a", "s", "s"], ["y"], num_groups=2)],
    "flat": [CONV, node("Flatten", ["a"], ["y"])],
}


@pytest.mark.parametrize("opset", [20, 22, 23, 24])
@pytest.mark.parametrize("kind", NEW)
def test_new_opsets_are_brought_to_older_ones(tmp_path, kind, opset):
    if kind == "GroupNormalization" and opset < 21:
        pytest.skip("meant something else then")
    constants = {"w": WEIGHT, "axes": [2, 3], "sides": [0, 0, 2, 1, 0, 0, 1, 2], "s": ONES}
    agrees(write(tmp_path, NEW[kind], constants, opset), (9, 11))


def test_what_cannot_be_brought_to_an_older_opset_is_said(tmp_path):
    pools = node("AveragePool", ["a"], ["y"], kernel_shape=[2, 2], dilations=[2, 2])
    with pytest.raises(NetworkError, match="dilations"):
        load_network(f"onnx:{write(tmp_path, [CONV, pools], {'w': WEIGHT}, 20)}")
    resize = node("Resize", ["x", "", "s"], ["y"], mode="linear", antialias=1)
    with pytest.raises(NetworkError, match=r"opset 22.*antialias.*Or rebuild"):
        load_network(f"onnx:{write(tmp_path, [resize], {'s': np.array([1, 1, 2, 2], np.float32)}, 22)}")


def test_weights_may_be_constants_cast_and_turned(tmp_path):
    half = numpy_helper.from_array(WEIGHT.transpose(2, 3, 1, 0).astype(np.float16))
    nodes = [
        node("Constant", [], ["h"], value=half),
        node("Cast", ["h"], ["f"], to=TensorProto.FLOAT),
        node("Transpose", ["f"], ["w"], perm=[3, 2, 0, 1]),
        node("Constant", [], ["bias"], value_floats=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        node("Conv", ["x", "w", "bias"], ["a"]),
        node("Constant", [], ["shape"], value_ints=[0, -1]),
        node("Reshape", ["a", "shape"], ["y"]),
    ]
    path = write(tmp_path, nodes)
    assert agrees(path, (8, 9)).shape == (2, 6 * 6 * 7)
    kinds = {type(part).__name__ for part in load_network(f"onnx:{path}").module.modules()}
    assert {"Conv2d", "OnnxReshape"} < kinds
    assert not {"OnnxConstant", "OnnxCast", "OnnxTranspose"} & kinds


def padded(auto):
    pooling = {"kernel_shape": [3, 2], "strides": [2, 3], "auto_pad": auto}
    return {
        "Conv": ([node("Conv", ["x", "w"], ["y"], strides=[2, 2], auto_pad=auto)], {"w": WEIGHT}),
        "dilated": (
            [node("Conv", ["x", "w"], ["y"], strides=[1, 2], dilations=[2, 3], auto_pad=auto)],
            {"w": WEIGHT},
        ),
        "MaxPool": ([CONV, node("MaxPool", ["a"], ["y"], **pooling)], {"w": WEIGHT}),
        "AveragePool": ([CONV, node("AveragePool", ["a"], ["y"], **pooling)], {"w": WEIGHT}),
        "counted": (
            [CONV, node("AveragePool", ["a"], ["y"], count_include_pad=1, **pooling)],
            {"w": WEIGHT},
        ),
        "ConvTranspose": (
            [CONV, node("ConvTranspose", ["a", "v"], ["y"], strides=[1, 1], auto_pad=auto)],
            {"w": WEIGHT, "v": TURNED},
        ),
    }


@pytest.mark.parametrize("kind", padded(""))
@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("free", [True, False])
def test_padding_that_depends_on_the_size(tmp_path, kind, auto, free):
    if (kind, auto) == ("MaxPool", "SAME_LOWER"):
        pytest.skip("onnx's evaluator gives too few columns: see the next test")
    nodes, constants = padded(auto)[kind]
    shape = ("N", 3, "H", "W") if free else (1, 3, 12, 13)
    path = write(tmp_path, nodes, constants, shape=shape)
    for size in ((12, 13), (15, 16), (17, 14)):
        agrees(path, size)


def test_the_odd_pixel_of_same_lower_goes_before(tmp_path):
    pools = node("MaxPool", ["x"], ["y"], kernel_shape=[3, 2], strides=[2, 3], auto_pad="SAME_LOWER")
    module = load_network(f"onnx:{write(tmp_path, [pools])}").module
    image = torch.rand(1, 3, 12, 13)
    # 6 rows need 13 pixels, one more than there are; 5 columns 14
    padded = torch.nn.functional.pad(image, (1, 0, 1, 0), value=float("-inf"))
    assert torch.equal(module(image), torch.nn.functional.max_pool2d(padded, (3, 2), (2, 3)))


@pytest.mark.parametrize("counted", [0, 1])
def test_averages_with_other_padding_on_each_side(tmp_path, counted):
    options = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 1, 1, 0]}
    pools = node("AveragePool", ["a"], ["y"], count_include_pad=counted, **options)
    found = agrees(write(tmp_path, [CONV, pools], {"w": WEIGHT}), (11, 13))
    a = torch.nn.functional.conv2d(
        torch.rand(2, 3, 11, 13, generator=torch.Generator().manual_seed(0)),
        torch.from_numpy(WEIGHT),
        padding=1,
    )
    corner = a[:, :, -1, 0] / (4 if counted else 1)  # alone in its window
    assert np.allclose(found[:, :, -1, 0], corner.numpy(), atol=1e-5)


@pytest.mark.parametrize("shape", [("N", 20, 24, 3), ("N", "H", "W", 3), (1, None, None, None)])
def test_channels_may_come_last(tmp_path, shape):
    nodes = [node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), node("Conv", ["t", "w"], ["y"])]
    path = write(tmp_path, nodes, {"w": WEIGHT}, shape=shape)
    network = load_network(f"onnx:{path}")
    assert network.preprocessing.channels == 3
    assert network.preprocessing.size == ((20, 24) if shape[1] == 20 else (224, 224))
    agrees(path, (20, 24), (0, 2, 3, 1))
    # also where nothing but the numbers says so
    path = write(tmp_path, [node("Relu", ["x"], ["y"])], shape=(1, 224, 192, 3))
    assert load_network(f"onnx:{path}").preprocessing.size == (224, 192)


def test_channels_that_are_free_are_the_convolutions(tmp_path):
    nodes = [node("Neg", ["x"], ["n"]), node("Conv", ["n", "w"], ["y"])]
    path = write(tmp_path, nodes, {"w": WEIGHT[:, :1]}, shape=("N", None, None, None))
    assert load_network(f"onnx:{path}").preprocessing.channels == 1
    path = write(tmp_path, [node("Relu", ["x"], ["y"])], shape=("N", None, None, None))
    with pytest.raises(NetworkError, match="how many channels"):
        load_network(f"onnx:{path}")


@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("kind", ["Reshape", "Squeeze", "twice"])
def test_reshapes_to_one_row_take_any_batch(tmp_path, batch, kind):
    first = batch if isinstance(batch, int) else 1
    nodes = {
        "Reshape": [CONV, node("Reshape", ["a", "row"], ["y"])],
        "Squeeze": [CONV, node("GlobalAveragePool", ["a"], ["p"]), node("Squeeze", ["p"], ["y"])],
        "twice": [
            CONV,
            node("Reshape", ["a", "halves"], ["h"]),
            node("Transpose", ["h"], ["t"], perm=[0, 2, 1]),
            node("Reshape", ["t", "row"], ["y"]),
        ],
    }[kind]
    constants = {"w": WEIGHT, "row": [first, -1], "halves": [first, 6, 80]}
    path = write(tmp_path, nodes, constants, opset=12, shape=(batch, 3, 8, 10), rank=2)
    module = load_network(f"onnx:{path}").module
    images = torch.rand(5, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    found = module(images).detach()
    assert found.shape == (5, 6 if kind == "Squeeze" else 480)
    want = ReferenceEvaluator(str(path)).run(None, {"x": images[:first].numpy()})[0]
    assert np.allclose(found[:first].numpy(), want.reshape(first, -1), atol=1e-5)
    assert torch.allclose(module(images[3:4]), found[3:4], atol=1e-5)
    assert Encoder(load_network(f"onnx:{path}"), "output").code_shape == tuple(found.shape[1:])


def test_reshapes_of_other_axes_stay(tmp_path):
    nodes = [
        CONV,
        node("Transpose", ["a"], ["t"], perm=[1, 0, 2, 3]),
        node("Reshape", ["t", "row"], ["y"]),  # one row of six channels, not of one image
    ]
    path = write(tmp_path, nodes, {"w": WEIGHT, "row": [1, -1]}, shape=(1, 3, 8, 10))
    image = torch.rand(1, 3, 8, 10)
    want = ReferenceEvaluator(str(path)).run(None, {"x": image.numpy()})[0]
    assert np.allclose(load_network(f"onnx:{path}").module(image).detach().numpy(), want, atol=1e-5)


def test_images_of_bytes_are_refused(tmp_path):
    path = write(tmp_path, [node("Cast", ["x"], ["y"], to=1)], shape=(1, 8, 8, 3), kind=TensorProto.UINT8)
    with pytest.raises(NetworkError, match=r"UINT8.*float input"):
        load_network(f"onnx:{path}")


def test_bookkeeping_is_no_layer_unless_asked_for(tmp_path):
    nodes = [
        CONV,
        node("Shape", ["a"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axis"], ["u"]),
        node("Concat", ["u", "rest"], ["t"], axis=0),
        node("Reshape", ["a", "t"], ["r"]),
        node("Relu", ["r"], ["y"]),
    ]
    constants = {"w": WEIGHT, "zero": 0, "axis": [0], "rest": [-1]}
    network = load_network(f"onnx:{write(tmp_path, nodes, constants, shape=('N', 3, 8, 8), rank=2)}")
    kinds = [layer.type for layer in list_layers(network)]
    assert kinds[:2] == ["Conv2d", "OnnxReshape"]
    assert kinds[2] == "ReLU"
    every = list_layers(network, everything=True)
    assert {"OnnxShape", "OnnxGather", "OnnxConcat"} < {layer.type for layer in every}
    assert set(list_layers(network)) < set(every)


def test_a_class_token_is_for_every_image(tmp_path):
    nodes = [
        CONV,
        node("Reshape", ["a", "rows"], ["r"]),
        node(
            "ConstantOfShape",
            ["shape"],
            ["token"],
            value=numpy_helper.from_array(np.array([2.0], np.float32)),
        ),
        node("Concat", ["token", "r"], ["y"], axis=1),
    ]
    constants = {"w": WEIGHT, "rows": [1, 6, -1], "shape": [1, 1, 80]}
    found = agrees(write(tmp_path, nodes, constants, 20, shape=(1, 3, 8, 10)), (8, 10))
    assert found.shape == (2, 7, 80)
