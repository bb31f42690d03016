"""Networks from TensorFlow Lite files, as differentiable torch modules: ``tflite:FILE``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from netinvert.errors import NetinvertError, NetworkError
from netinvert.networks.network import Network, Preprocessing
from netinvert.networks.tflite_build import NAMES, Site, build_operator, unsupported
from netinvert.networks.tflite_file import Array, TFLiteFile, read_tflite
from netinvert.networks.tflite_ops import to_nhwc
from netinvert.networks.weights import load_weights

INTEGER_WEIGHTS = ("INT8", "UINT8", "INT16", "INT4")


class TFLiteModule(nn.Module):
    """The operators of a file in their order, each a submodule (``conv_0``, ``depthwise_0``, ``add_0``, …).

    Image (N, C, H, W) to the file's output, or to a dict of outputs by name if it has several. Layers are
    NCHW; outputs have the file's order of axes (NHWC), with any batch size.
    """

    def __init__(self, file: TFLiteFile) -> None:
        """Every operator of ``file`` has to have a builder."""
        super().__init__()
        constants = {
            index: tensor.data for index, tensor in enumerate(file.tensors) if tensor.data is not None
        }
        self.steps: list[tuple[str, tuple[int, ...], int]] = []
        self.entry = file.inputs[0]
        self.exits = {file.tensors[index].name: index for index in file.outputs}
        counts: Counter[str] = Counter()
        for operator in file.operators:
            if operator.kind == "DEQUANTIZE":
                _dequantize(operator.inputs[0], operator.outputs[0], constants)
                continue
            base = NAMES.get(operator.kind, operator.kind.lower())
            name = f"{base}_{counts[base]}"
            counts[base] += 1
            self.add_module(name, build_operator(Site(operator, file.tensors, constants)))
            computed = tuple(index for index in operator.inputs if index >= 0 and index not in constants)
            self.steps.append((name, computed, operator.outputs[0]))

    def forward(self, image: Tensor) -> Tensor | dict[str, Tensor]:
        """Run every operator; (N, C, H, W) to the outputs."""
        values = {self.entry: image}
        for name, inputs, output in self.steps:
            values[output] = self.get_submodule(name)(*(values[index] for index in inputs))
        results = {name: to_nhwc(values[index]) for name, index in self.exits.items()}
        return results if len(results) > 1 else next(iter(results.values()))


def tflite_module(path: str | Path) -> tuple[TFLiteModule, tuple[int, int, int]]:
    """The module of a file and its input's (channels, height, width).

    Raises:
        MissingExtraError: the package ``tflite`` is not installed.
        NetworkError: not a usable file: damaged, quantised, or with operators unknown here.
    """
    file = read_tflite(path)
    missing = unsupported(file)
    if missing:
        raise NetworkError(
            f"{path}: operators not supported: {', '.join(missing)}. Convert the network to ONNX"
        )
    quantised = sorted({tensor.kind for tensor in file.tensors if tensor.kind in INTEGER_WEIGHTS})
    if quantised:
        raise NetworkError(
            f"{path}: the network is quantised to {', '.join(quantised)}, which has no gradient: "
            "export it with float32 or float16 weights"
        )
    inputs = [file.tensors[index] for index in file.inputs]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].kind != "FLOAT32":
        found = ", ".join(f"{tensor.kind} {tensor.shape}" for tensor in inputs) or "none"
        raise NetworkError(
            f"{path}: needs one float32 image input (1, H, W, C), the file's inputs are: {found}"
        )
    try:
        module = TFLiteModule(file)
    except NetinvertError as error:
        raise NetworkError(f"{path}: {error}") from error
    except (ValueError, IndexError, KeyError, TypeError, RuntimeError, ZeroDivisionError) as error:
        # shapes and indices that no converter writes
        raise NetworkError(f"{path} is damaged ({type(error).__name__}: {error}): fetch it again") from error
    for name, tensor in module.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise NetworkError(f"{path}: {name} has NaN or infinite values: fetch the file again")
    _, height, width, channels = inputs[0].shape
    return module, (channels, height, width)


def load_tflite(path: str, weights: str | None = None) -> Network:
    """The network in a .tflite file, with images in [0, 1] as they are.

    Raises:
        MissingExtraError: the package ``tflite`` is not installed.
        NetworkError: the file or the weights cannot be used.
    """
    if weights == "random":
        raise NetworkError("a .tflite file brings its own weights: leave weights out")
    module, (channels, height, width) = tflite_module(path)
    if weights is not None:
        load_weights(module, weights)
    return Network(
        name=f"tflite:{path}",
        module=module.eval(),
        preprocessing=Preprocessing((height, width), mean=(0.0,) * channels, std=(1.0,) * channels),
        source=str(path),
    )


def _dequantize(source: int, result: int, constants: dict[int, Array]) -> None:
    if source not in constants:
        raise NetworkError("DEQUANTIZE of computed values: the network is quantised, export it as float")
    # float16 to float32 is exact
    constants[result] = constants[source].astype(np.float32)
