"""The importer against outputs of TensorFlow Lite itself (stored by tflite_writer.py)."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from netinvert.errors import MissingExtraError, NetworkError
from netinvert.models.layers import list_layers
from netinvert.models.registry import load_network

pytest.importorskip("tflite")
from tflite_writer import Writer, operators_file, waves

DATA = Path(__file__).parent.parent / "data"
FILES = {"operators": (4, 9, 10), "face_detection_short_range": (3, 128, 128), "hand_recrop": (3, 256, 256)}


def outputs(module, image):
    result = module(image)
    return result if isinstance(result, dict) else {next(iter(module.exits)): result}


@pytest.mark.parametrize("name", FILES)
def test_outputs_are_tensorflow_lites(name):
    network = load_network(f"tflite:{DATA / name}.tflite")
    channels, height, width = FILES[name]
    assert network.preprocessing.size == (height, width)
    assert network.preprocessing.channels == channels
    assert not network.module.training
    with torch.inference_mode():
        found = outputs(network.module, torch.from_numpy(waves(channels, height, width, count=2)))
    with np.load(DATA / f"{name}.npz") as expected:
        assert set(found) == set(expected.files)
        for key in expected.files:
            assert found[key].shape == expected[key].shape, key
            scale = np.abs(expected[key]).max()
            assert np.abs(found[key].numpy() - expected[key]).max() < 3e-6 * scale, key


def test_image_has_a_gradient_and_batches_are_single_images():
    module = load_network(f"tflite:{DATA / 'operators.tflite'}").module
    images = torch.from_numpy(waves(4, 9, 10, count=3)).requires_grad_()
    together = outputs(module, images)
    sum(value.square().sum() for value in together.values()).backward()
    assert bool(images.grad.isfinite().all())
    assert all(float(gradient.norm()) > 0 for gradient in images.grad)
    alone = outputs(module, images[1:2])
    for key, value in alone.items():
        assert torch.allclose(together[key][1:2], value, atol=1e-5), key


def test_layers_are_of_types_that_say_what_they_are():
    # Suggested layers are found by "Pool" in the type, networks with classes by a last "Softmax".
    kinds = {layer.type for layer in list_layers(load_network(f"tflite:{DATA / 'operators.tflite'}"))}
    assert {"Pool", "Mean", "Reshape", "Concatenate", "Pad", "Softmax", "Slice", "ResizeBilinear"} <= kinds
    assert "Plain" not in kinds


def test_every_operator_is_a_layer_with_a_readable_name():
    module = load_network(f"tflite:{DATA / 'face_detection_short_range.tflite'}").module
    names = [name for name, _ in module.named_children()]
    assert {"conv_0", "depthwise_0", "add_0", "maxpool_0", "pad_0", "concat_1"} <= set(names)
    seen = {}
    hook = module.get_submodule("conv_0").register_forward_hook(lambda m, i, o: seen.update(shape=o.shape))
    module(torch.zeros(1, 3, 128, 128))
    hook.remove()
    assert seen["shape"] == (1, 24, 64, 64)


def write(tmp_path, writer):
    path = tmp_path / "net.tflite"
    path.write_bytes(writer.finish())
    return f"tflite:{path}"


def test_all_unsupported_operators_are_named(tmp_path):
    writer = Writer((1, 4, 4, 3))
    first = writer.operator("SIN", [writer.image], (1, 4, 4, 3))
    writer.output(writer.operator("FLOOR", [first], (1, 4, 4, 3)))
    with pytest.raises(NetworkError, match="FLOOR, SIN"):
        load_network(write(tmp_path, writer))


def test_quantised_files_are_refused(tmp_path):
    writer = Writer((1, 4, 4, 3))
    weight = writer.constant(np.ones((2, 1, 1, 3), dtype=np.int8))
    bias = writer.constant(np.zeros(2, dtype=np.float32))
    writer.output(
        writer.operator("CONV_2D", [writer.image, weight, bias], (1, 4, 4, 2), "Conv2DOptions", StrideH=1)
    )
    with pytest.raises(NetworkError, match=r"quantised.*INT8"):
        load_network(write(tmp_path, writer))


SPARSE = {
    # row by row, the places of each row's numbers
    "rows": ((0, 1), (), (4, ([0, 2, 3, 3, 4], [0, 3, 1, 2])), [1, 2, 3, 4]),
    # column by column
    "columns": ((1, 0), (), (4, ([0, 1, 2, 3, 4], [0, 1, 3, 0])), [1, 3, 4, 2]),
    # the example of TensorFlow Lite's schema: blocks of 2 x 2, of which three are there
    "blocks": ((0, 1, 2, 3), (0, 1), (2, ([0, 2, 3], [0, 1, 1]), 2, 2), [1, 0, 0, 3, 0, 2, 0, 0, 0, 0, 4, 0]),
}


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_sparse_weights(tmp_path, kind, dtype):
    full = {(0, 0): 1, (0, 3): 2, (1, 1): 3, (3, 2): 4}
    weight = np.zeros((4, 4), dtype=np.float32)
    for place, value in full.items():
        weight[place] = value
    *sparsity, values = SPARSE[kind]
    writer = Writer((1, 2, 2, 1))
    content = np.array(values, dtype=dtype).tobytes()
    packed = writer.tensor("packed", (4, 4), dtype, content, sparsity)
    matrix = writer.operator("DENSIFY", [packed], (4, 4))
    if dtype == "float16":
        matrix = writer.operator("DEQUANTIZE", [matrix], (4, 4))
    writer.output(writer.operator("FULLY_CONNECTED", [writer.image, matrix, -1], (1, 4)))
    module = load_network(write(tmp_path, writer)).module
    image = torch.rand(3, 1, 2, 2)
    assert torch.allclose(module(image), image.flatten(1) @ torch.from_numpy(weight).T)


def test_channels_first_as_of_networks_of_torch(tmp_path):
    writer = Writer((1, 3, 6, 8))
    perm = writer.constant(np.array([0, 2, 3, 1], dtype=np.int32))
    last = writer.operator("TRANSPOSE", [writer.image, perm], (1, 6, 8, 3), "TransposeOptions")
    weight = np.random.default_rng(0).normal(size=(2, 1, 1, 3)).astype(np.float32)
    options = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    conv = [last, writer.constant(weight), writer.constant(np.zeros(2, dtype=np.float32))]
    writer.output(writer.operator("CONV_2D", conv, (1, 6, 8, 2), "Conv2DOptions", **options))
    network = load_network(write(tmp_path, writer))
    assert (network.preprocessing.channels, network.preprocessing.size) == (3, (6, 8))
    image = torch.rand(2, 3, 6, 8)
    want = torch.einsum("nchw,oc->nhwo", image, torch.from_numpy(weight[:, 0, 0]))
    assert torch.allclose(network.module(image), want, atol=1e-6)


def test_a_free_size_is_said(tmp_path):
    writer = Writer((1, 1, 1, 3))
    writer.output(writer.operator("RELU", [writer.image], (1, 1, 1, 3)))
    with pytest.raises(NetworkError, match="fixed input size"):
        load_network(write(tmp_path, writer))


def test_what_is_behind_a_whole_file_is_no_damage(tmp_path):
    content = operators_file().finish()
    path = tmp_path / "net.tflite"
    image = torch.from_numpy(waves(4, 9, 10))
    path.write_bytes(content)
    want = load_network(f"tflite:{path}").module(image)
    path.write_bytes(content + b"PK\x03\x04 the zip archive that metadata has here")
    found = load_network(f"tflite:{path}").module(image)
    assert all(map(torch.equal, found.values(), want.values()))


def test_a_file_cut_anywhere_is_refused_or_the_same(tmp_path):
    content = operators_file().finish()
    path = tmp_path / "cut.tflite"
    image = torch.from_numpy(waves(4, 9, 10))
    path.write_bytes(content)
    want = load_network(f"tflite:{path}").module(image)
    for keep in range(8, len(content), 97):
        path.write_bytes(content[:keep])
        with contextlib.suppress(NetworkError):
            found = load_network(f"tflite:{path}").module(image)
            assert all(map(torch.equal, found.values(), want.values())), keep


def test_mixing_the_batch_is_refused(tmp_path):
    writer = Writer((1, 4, 4, 3))
    shape = writer.constant(np.array([16, 3], dtype=np.int32))
    writer.output(writer.operator("RESHAPE", [writer.image, shape], (16, 3), "ReshapeOptions"))
    with pytest.raises(NetworkError, match="mixes images"):
        load_network(write(tmp_path, writer))


def test_nan_weights_are_refused(tmp_path):
    writer = Writer((1, 4, 4, 3))
    slope = writer.constant(np.full((1, 1, 3), np.nan, dtype=np.float32))
    writer.output(writer.operator("PRELU", [writer.image, slope], (1, 4, 4, 3)))
    with pytest.raises(NetworkError, match="NaN"):
        load_network(write(tmp_path, writer))


@pytest.mark.parametrize("keep", [0, 3, 8, 40, 500, 2000, 0.3, 0.9])
def test_truncated_files_are_network_errors(tmp_path, keep):
    content = operators_file().finish()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(NetworkError):
        load_network(f"tflite:{path}")


def test_garbage_behind_the_mark_is_a_network_error(tmp_path):
    path = tmp_path / "noise.tflite"
    for seed in range(30):
        noise = np.random.default_rng(seed).bytes(4000)
        path.write_bytes(noise[:4] + b"TFL3" + noise[8:])
        with pytest.raises(NetworkError):
            load_network(f"tflite:{path}")
    content = operators_file().finish()
    for seed in range(60):  # single bytes changed: loads, or says what is wrong
        numbers = np.random.default_rng(seed)
        broken = bytearray(content)
        for place in numbers.integers(8, len(content), 20):
            broken[place] = numbers.integers(256)
        path.write_bytes(bytes(broken))
        try:
            load_network(f"tflite:{path}")
        except NetworkError:
            continue


def test_missing_file_and_random_weights(tmp_path):
    with pytest.raises(NetworkError, match="check the path"):
        load_network(f"tflite:{tmp_path / 'none.tflite'}")
    with pytest.raises(NetworkError, match="its own weights"):
        load_network(f"tflite:{DATA / 'operators.tflite'}", weights="random")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tflite", None)
    with pytest.raises(MissingExtraError, match=r"netinvert\[tflite\]"):
        load_network(f"tflite:{DATA / 'operators.tflite'}")
