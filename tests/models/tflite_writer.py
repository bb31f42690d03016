"""Small .tflite files for the tests, written operator by operator.

``python tests/networks/tflite_writer.py`` writes tests/data/operators.tflite and, with ai-edge-litert,
the reference outputs beside it.
"""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
import tflite

DATA = Path(__file__).parent.parent / "data"
KINDS = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "int32": tflite.TensorType.INT32,
}
KINDS |= {"int8": tflite.TensorType.INT8}


class Writer:
    """Collects tensors and operators, then gives the bytes of a file with one image input."""

    def __init__(self, shape):
        self.builder = flatbuffers.Builder(1024)
        self.buffers = [self._buffer(b"")]
        self.tensors, self.operators, self.codes, self.outputs = [], [], [], []
        self.image = self.tensor("image", shape)

    def _vector(self, start, offsets):
        start(self.builder, len(offsets))
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def _numbers(self, values):
        return self.builder.CreateNumpyVector(np.asarray(values, dtype=np.int32))

    def _buffer(self, content):
        data = self.builder.CreateByteVector(content) if content else None
        tflite.BufferStart(self.builder)
        if data is not None:
            tflite.BufferAddData(self.builder, data)
        return tflite.BufferEnd(self.builder)

    def _sparsity(self, order, blocks, levels):
        """``levels``: a length, or (segments, indices) of a sparse axis."""
        rows = []
        for level in levels:
            tables = []
            if not isinstance(level, int):
                for values in level:
                    numbers = self._numbers(values)
                    tflite.Int32VectorStart(self.builder)
                    tflite.Int32VectorAddValues(self.builder, numbers)
                    tables.append(tflite.Int32VectorEnd(self.builder))
            tflite.DimensionMetadataStart(self.builder)
            if isinstance(level, int):
                tflite.DimensionMetadataAddDenseSize(self.builder, level)
            else:
                tflite.DimensionMetadataAddFormat(self.builder, tflite.DimensionType.SPARSE_CSR)
                kind = tflite.SparseIndexVector.Int32Vector
                tflite.DimensionMetadataAddArraySegmentsType(self.builder, kind)
                tflite.DimensionMetadataAddArraySegments(self.builder, tables[0])
                tflite.DimensionMetadataAddArrayIndicesType(self.builder, kind)
                tflite.DimensionMetadataAddArrayIndices(self.builder, tables[1])
            rows.append(tflite.DimensionMetadataEnd(self.builder))
        metadata = self._vector(tflite.SparsityParametersStartDimMetadataVector, rows)
        order, blocks = self._numbers(order), self._numbers(blocks)
        tflite.SparsityParametersStart(self.builder)
        tflite.SparsityParametersAddTraversalOrder(self.builder, order)
        tflite.SparsityParametersAddBlockMap(self.builder, blocks)
        tflite.SparsityParametersAddDimMetadata(self.builder, metadata)
        return tflite.SparsityParametersEnd(self.builder)

    def tensor(self, name, shape, kind="float32", content=b"", sparsity=None):
        """Declare a tensor; returns its index."""
        sparsity = None if sparsity is None else self._sparsity(*sparsity)
        buffer = 0
        if content:
            buffer = len(self.buffers)
            self.buffers.append(self._buffer(content))
        text, axes = self.builder.CreateString(name), self._numbers(shape)
        tflite.TensorStart(self.builder)
        tflite.TensorAddShape(self.builder, axes)
        tflite.TensorAddType(self.builder, KINDS[kind])
        tflite.TensorAddBuffer(self.builder, buffer)
        tflite.TensorAddName(self.builder, text)
        if sparsity is not None:
            tflite.TensorAddSparsity(self.builder, sparsity)
        self.tensors.append(tflite.TensorEnd(self.builder))
        return len(self.tensors) - 1

    def constant(self, array, name="constant"):
        """Declare a constant tensor."""
        array = np.asarray(array)
        return self.tensor(name, array.shape, str(array.dtype), array.tobytes())

    def operator(self, kind, inputs, shape, options=None, **values):
        """Add an operator (``values`` are its options); returns its output's index."""
        code = getattr(tflite.BuiltinOperator, kind)
        table = None
        if options:
            getattr(tflite, f"{options}Start")(self.builder)
            for name, value in values.items():
                getattr(tflite, f"{options}Add{name}")(self.builder, value)
            table = getattr(tflite, f"{options}End")(self.builder)
        output = self.tensor(f"{kind}_{len(self.operators)}", shape)
        taken, given = self._numbers(inputs), self._numbers([output])
        tflite.OperatorCodeStart(self.builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(self.builder, min(code, 127))
        tflite.OperatorCodeAddBuiltinCode(self.builder, code)
        tflite.OperatorCodeAddVersion(self.builder, 1)
        self.codes.append(tflite.OperatorCodeEnd(self.builder))
        tflite.OperatorStart(self.builder)
        tflite.OperatorAddOpcodeIndex(self.builder, len(self.codes) - 1)
        tflite.OperatorAddInputs(self.builder, taken)
        tflite.OperatorAddOutputs(self.builder, given)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(self.builder, getattr(tflite.BuiltinOptions, options))
            tflite.OperatorAddBuiltinOptions(self.builder, table)
        self.operators.append(tflite.OperatorEnd(self.builder))
        return output

    def output(self, *indices):
        """Name the outputs of the file."""
        self.outputs += indices

    def finish(self):
        """The bytes of the file."""
        b = self.builder
        tensors = self._vector(tflite.SubGraphStartTensorsVector, self.tensors)
        operators = self._vector(tflite.SubGraphStartOperatorsVector, self.operators)
        inputs, outputs = self._numbers([self.image]), self._numbers(self.outputs)
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors)
        tflite.SubGraphAddInputs(b, inputs)
        tflite.SubGraphAddOutputs(b, outputs)
        tflite.SubGraphAddOperators(b, operators)
        graph = tflite.SubGraphEnd(b)
        graphs = self._vector(tflite.ModelStartSubgraphsVector, [graph])
        codes = self._vector(tflite.ModelStartOperatorCodesVector, self.codes)
        buffers = self._vector(tflite.ModelStartBuffersVector, self.buffers)
        text = b.CreateString("netinvert test")
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, codes)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddDescription(b, text)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())


def operators_file():
    """A file with one output for each operator, on a 9 x 10 image of 4 channels."""
    numbers = np.random.default_rng(0)

    def draw(*shape, kind=np.float32):
        return w.constant(numbers.normal(size=shape).astype(kind))

    w = Writer((1, 9, 10, 4))
    image = w.image
    sides = {"StrideH": 2, "StrideW": 2}
    conv, pool = "Conv2DOptions", "Pool2DOptions"
    one = {"DilationHFactor": 1, "DilationWFactor": 1}
    half = w.operator("DEQUANTIZE", [draw(6, 3, 3, 4, kind=np.float16)], (6, 3, 3, 4))
    w.output(
        w.operator(
            "CONV_2D", [image, half, draw(6)], (1, 5, 5, 6), conv, **sides, **one, FusedActivationFunction=3
        )
    )
    w.output(
        w.operator(
            "CONV_2D",
            [image, draw(5, 3, 2, 4), draw(5)],
            (1, 7, 9, 5),
            conv,
            StrideH=1,
            StrideW=1,
            **one,
            Padding=1,
        )
    )
    dilated = {"DilationHFactor": 2, "DilationWFactor": 2, "StrideH": 1, "StrideW": 1}
    w.output(w.operator("CONV_2D", [image, draw(2, 3, 3, 4), draw(2)], (1, 9, 10, 2), conv, **dilated))
    deep = "DepthwiseConv2DOptions"
    w.output(
        w.operator(
            "DEPTHWISE_CONV_2D",
            [image, draw(1, 5, 3, 8), draw(8)],
            (1, 5, 5, 8),
            deep,
            **sides,
            **one,
            DepthMultiplier=2,
        )
    )
    transposed = "TransposeConvOptions"
    for padding, size in ((0, (18, 20)), (0, (17, 19)), (1, (19, 21))):
        shape = w.constant(np.array([1, *size, 3], dtype=np.int32))
        w.output(
            w.operator(
                "TRANSPOSE_CONV",
                [shape, draw(3, 3, 3, 4), image],
                (1, *size, 3),
                transposed,
                **sides,
                Padding=padding,
            )
        )
    w.output(w.operator("ADD", [image, image], (1, 9, 10, 4), "AddOptions", FusedActivationFunction=1))
    w.output(w.operator("ADD", [image, draw(4)], (1, 9, 10, 4), "AddOptions"))
    w.output(w.operator("SUB", [draw(1, 1, 1, 4), image], (1, 9, 10, 4), "SubOptions"))
    scale = w.operator(
        "MEAN",
        [image, w.constant(np.array([1, 2], dtype=np.int32))],
        (1, 1, 1, 4),
        "ReducerOptions",
        KeepDims=True,
    )
    w.output(w.operator("MUL", [image, scale], (1, 9, 10, 4), "MulOptions"))
    w.output(scale)
    flat = w.operator("MEAN", [image, w.constant(np.array([1, 2], dtype=np.int32))], (1, 4), "ReducerOptions")
    w.output(flat)
    offsets = w.constant(np.array([2, -9, 1], dtype=np.float32))
    w.output(
        w.operator(
            "FULLY_CONNECTED",
            [flat, draw(3, 4), offsets],
            (1, 3),
            "FullyConnectedOptions",
            FusedActivationFunction=1,
        )
    )
    w.output(w.operator("FULLY_CONNECTED", [image, draw(2, 360), draw(2)], (1, 2), "FullyConnectedOptions"))
    windows = {"FilterHeight": 3, "FilterWidth": 3, **sides}
    w.output(w.operator("AVERAGE_POOL_2D", [image], (1, 5, 5, 4), pool, **windows))
    w.output(w.operator("AVERAGE_POOL_2D", [image], (1, 4, 4, 4), pool, **windows, Padding=1))
    w.output(w.operator("MAX_POOL_2D", [image], (1, 5, 5, 4), pool, **windows))
    for kind in ("LOGISTIC", "RELU", "RELU6", "TANH", "HARD_SWISH"):
        wide = w.operator(
            "MUL", [image, w.constant(np.full(4, 9, dtype=np.float32))], (1, 9, 10, 4), "MulOptions"
        )
        w.output(w.operator(kind, [wide], (1, 9, 10, 4)))
    w.output(w.operator("PRELU", [image, draw(1, 1, 4)], (1, 9, 10, 4)))
    w.output(w.operator("SOFTMAX", [image], (1, 9, 10, 4), "SoftmaxOptions", Beta=1.0))
    pads = w.constant(np.array([[0, 0], [1, 2], [0, 3], [2, 1]], dtype=np.int32))
    w.output(w.operator("PAD", [image, pads], (1, 12, 13, 7)))
    shape = w.constant(np.array([1, 18, 20], dtype=np.int32))
    w.output(w.operator("RESHAPE", [image, shape], (1, 18, 20), "ReshapeOptions"))
    w.output(w.operator("CONCATENATION", [image, image], (1, 9, 20, 4), "ConcatenationOptions", Axis=2))
    w.output(w.operator("CONCATENATION", [image, image], (1, 9, 10, 8), "ConcatenationOptions", Axis=-1))
    for size in ((18, 15), (5, 4)):
        for options in ({}, {"AlignCorners": True}, {"HalfPixelCenters": True}):
            target = w.constant(np.array(size, dtype=np.int32))
            w.output(
                w.operator(
                    "RESIZE_BILINEAR", [image, target], (1, *size, 4), "ResizeBilinearOptions", **options
                )
            )
    corners = [w.constant(np.array(v, dtype=np.int32)) for v in ([0, 1, 0, 1], [1, 8, -1, 2], [1, 2, 3, 1])]
    w.output(w.operator("STRIDED_SLICE", [image, *corners], (1, 4, 3, 1), "StridedSliceOptions"))
    return w


def waves(channels, height, width, count=1):
    """Deterministic pictures (count, C, H, W) in [-1, 1], by formula."""
    n, c, y, x = np.meshgrid(*(np.arange(k) for k in (count, channels, height, width)), indexing="ij")
    return np.sin(0.37 * x + 0.91 * c + 1.7 * n).astype(np.float32) * np.cos(0.23 * y - 0.5 * c).astype(
        np.float32
    )


def references(path, images):
    """What ai-edge-litert says, by output name."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    results = {}
    for image in images:
        entry = interpreter.get_input_details()[0]["index"]
        interpreter.set_tensor(entry, np.ascontiguousarray(image.transpose(1, 2, 0))[None])
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            results.setdefault(detail["name"], []).append(interpreter.get_tensor(detail["index"]).copy())
    return {name: np.concatenate(parts) for name, parts in results.items()}


def main():
    """Write the fixtures; other .tflite files in the folder get their references too."""
    (DATA / "operators.tflite").write_bytes(operators_file().finish())
    for name, shape in (
        ("operators", (4, 9, 10)),
        ("face_detection_short_range", (3, 128, 128)),
        ("hand_recrop", (3, 256, 256)),
    ):
        outputs = references(DATA / f"{name}.tflite", waves(*shape, count=2))
        np.savez_compressed(DATA / f"{name}.npz", **outputs)


if __name__ == "__main__":
    main()
