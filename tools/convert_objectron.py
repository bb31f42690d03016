"""Make the Objectron weights from the published .tflite files and print how well they agree.

usage: python tools/convert_objectron.py FOLDER [--check]

FOLDER holds object_detection_3d_{chair,camera,cup,sneakers}.tflite (``npm pack
@mediapipe/objectron@0.4.1675468480``). With --check the weights are compared, not written. Needs
``pip install 'netinvert[tflite]'``, and ``ai-edge-litert`` for the parity figures.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from netinvert.models.importers.tflite import tflite_module
from netinvert.models.zoo.mobile import OBJECTS, Objectron

WEIGHTS = Path(__file__).parent.parent / "src" / "netinvert" / "data" / "weights"


def affine(module: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """The convolutions and linear maps of a module in the order they run."""
    return [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def convert(path: Path) -> dict[str, Tensor]:
    """The float16 state dict of an ``Objectron`` from a .tflite file."""
    source, _ = tflite_module(path)
    state: dict[str, Tensor] = {}
    for (name, target), (_, part) in zip(affine(Objectron()), affine(source), strict=True):
        assert target.weight.shape == part.weight.shape, name
        for kind in ("weight", "bias"):
            exact: Tensor = getattr(part, kind).detach()
            half = exact.half()
            assert torch.equal(half.float(), exact), f"{name}.{kind} is not float16 in the file"
            state[f"{name}.{kind}"] = half.contiguous()
    return state


def inputs(count: int = 5) -> Tensor:
    """Deterministic pictures (count, 3, 224, 224): smooth waves, then noise."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 224), torch.linspace(0, 1, 224), indexing="ij")
    waves = [
        torch.stack([(k + 1) * x + c * y for c in range(3)]).mul(6).sin().mul(0.5).add(0.5) for k in range(2)
    ]
    noise = [torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(k)) for k in range(count - 2)]
    return torch.stack(waves + noise)


def parity(path: Path, state: dict[str, Tensor]) -> str:
    """Largest difference of the outputs from the original interpreter's."""
    from ai_edge_litert.interpreter import Interpreter

    module = Objectron()
    module.load_state_dict(state)
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    details = {entry["name"]: entry["index"] for entry in interpreter.get_output_details()}
    pixels = presence = 0.0
    for image in inputs():
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], np.ascontiguousarray(image.permute(1, 2, 0))[None]
        )
        interpreter.invoke()
        with torch.inference_mode():
            output = module.eval()(image[None])
        pixels = max(
            pixels,
            float(np.abs(interpreter.get_tensor(details["Identity_1"]) - output["keypoints"].numpy()).max()),
        )
        presence = max(
            presence,
            float(np.abs(interpreter.get_tensor(details["Identity"]) - output["presence"].numpy()).max()),
        )
    return f"keypoints {pixels:.2e} px, presence {presence:.2e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--check", action="store_true", help="compare with the shipped weights, write nothing"
    )
    arguments = parser.parse_args()
    for name in OBJECTS:
        path = arguments.folder / f"object_detection_3d_{name}.tflite"
        state = convert(path)
        target = WEIGHTS / f"objectron-{name}.safetensors"
        if arguments.check:
            shipped = load_file(target)
            assert shipped.keys() == state.keys(), name
            assert all(torch.equal(shipped[key], state[key]) for key in state), name
        else:
            save_file(state, target, metadata={"source": path.name, "licence": "Apache-2.0"})
        numbers = sum(tensor.numel() for tensor in state.values())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{name}: {numbers} parameters, source sha256 {digest}")
        try:
            print(f"  against ai-edge-litert: {parity(path, state)}")
        except ImportError:
            print("  ai-edge-litert is not installed: no parity figures")


if __name__ == "__main__":
    main()
