"""AlexNet: the network of 2012 with its two groups, and torchvision's of one tower, under the same names.

Krizhevsky, Sutskever & Hinton 2012; Krizhevsky 2014 (arXiv 1404.5997) for the single tower. Weights are the
user's: none come with netinvert."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.models.checkpoints import fitting
from netinvert.models.network import (
    GIVE_WEIGHTS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Network,
    Preprocessing,
    built,
    load_state,
    read_weights,
)

LAYERS = ("conv1", "relu1", "pool2", "relu3", "relu4", "relu5", "pool5", "relu6", "relu7", "fc8")
CAFFE_MEAN = (104.0, 117.0, 123.0)
"""Blue, green, red of the ILSVRC mean image; bvlc_alexnet and the caffe reference network subtract it."""
TORCHVISION = {f"features.{place}": f"conv{index}" for index, place in enumerate((0, 3, 6, 8, 10), 1)}
TORCHVISION |= {f"classifier.{place}": f"fc{index}" for index, place in enumerate((1, 4, 6), 6)}


class AlexNet2012(nn.Sequential):
    """Images (N, 3, 227, 227) to logits (N, 1000): grouped conv2, conv4, conv5, response normalisation.

    As published: the normalisation over n = 5 channels with k = 2, α = 1e-4, β = 0.75, where α multiplies the
    sum of squares, and before the pooling. torch divides α by n, so it is given n times as much."""

    def __init__(self) -> None:
        layers = _convolutions(
            nn.Conv2d(3, 96, 11, 4),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),
            normalised=True,
        )
        super().__init__(layers | _classifier())


class AlexNetCaffe(AlexNet2012):
    """The same as Caffe's bvlc_alexnet computes it: k = 1, and α = 1e-4 divided by n, as torch has it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.norm2 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)


class AlexNet(nn.Sequential):
    """torchvision's AlexNet, images (N, 3, 224, 224) to logits (N, 1000), its layers named as in 2012."""

    def __init__(self) -> None:
        layers = _convolutions(
            nn.Conv2d(3, 64, 11, 4, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.Conv2d(256, 256, 3, padding=1),
        )
        layers["average"] = nn.AdaptiveAvgPool2d((6, 6))
        super().__init__(layers | _classifier())


def _convolutions(*convolutions: nn.Conv2d, normalised: bool = False) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, convolution in enumerate(convolutions, 1):
        layers[f"conv{index}"] = convolution
        layers[f"relu{index}"] = nn.ReLU()
        if normalised and index < 3:
            layers[f"norm{index}"] = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        if index in (1, 2, 5):
            layers[f"pool{index}"] = nn.MaxPool2d(3, 2)
    return layers


def _classifier() -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        flatten=nn.Flatten(),
        fc6=nn.Linear(256 * 6 * 6, 4096),
        relu6=nn.ReLU(),
        fc7=nn.Linear(4096, 4096),
        relu7=nn.ReLU(),
        fc8=nn.Linear(4096, 1000),
    )


_CAFFE = Preprocessing((227, 227), CAFFE_MEAN, (1.0, 1.0, 1.0), 255.0, "BGR")
VARIANTS: Mapping[str, tuple[type[nn.Module], Preprocessing]] = {
    "alexnet": (AlexNet, Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD)),
    "alexnet-2012": (AlexNet2012, _CAFFE),
    "alexnet-caffe": (AlexNetCaffe, _CAFFE),
}

WHERE = {
    "alexnet": "torchvision's file alexnet-owt-7be5be79.pth fits",
    "alexnet-2012": "those of 2012 were not published; train it, or take alexnet-caffe",
    "alexnet-caffe": "those of BVLC's bvlc_alexnet.caffemodel fit, saved as conv1.weight to fc8.bias",
}
"""Where weights are to be had."""


def load_alexnet(name: str, weights: str | None = None) -> Network:
    """An AlexNet of VARIANTS with weights from a file, named as here or as torchvision names them. Raises
    NetworkError: no weights given, or they do not fit."""
    factory, preprocessing = VARIANTS[name]
    if weights is None:
        raise NetworkError(f"{name} comes without weights ({WHERE[name]}): {GIVE_WEIGHTS}")
    module = built(factory)
    if weights != "random":
        theirs = [f"{layer}.{kind}" for layer in TORCHVISION for kind in ("weight", "bias")]
        load_state(module, renamed(fitting(read_weights(weights), theirs, weights)), weights)
    return Network(name, module.eval(), preprocessing, licence="of the weights", source="you", layers=LAYERS)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names of AlexNet's tensors as conv1 to fc8; any others as they are."""
    split = [(name.rpartition("."), tensor) for name, tensor in state.items()]
    return {f"{TORCHVISION.get(layer, layer)}.{kind}": tensor for (layer, _, kind), tensor in split}
