"""PoseNet: AlexNet's topology at 64 pixels, trained to read the 3-D pose of an object."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

SIZE = (64, 64)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5", "pool5", "relu6", "relu7", "fc8")
CODE = 512
WIDTHS = (40, 80, 144, 144, 112)
Tower = TypeVar("Tower", bound=nn.Module)


class PoseNet(nn.Sequential):
    """Five convolutions with ReLU, three overlapping max-pools, fc6, fc7, fc8 (Krizhevsky et al. 2012).

    Takes preprocessed images (N, 3, 64, 64) and gives (N, ``outputs``); ``relu7`` is the code (N, ``code``).
    With ``norm`` every convolution and fully connected layer but the last is followed by BatchNorm, which
    training needs (no unit of the code dies); ``folded`` takes it out again."""

    fc8: nn.Linear

    def __init__(self, outputs: int = 6, code: int = CODE, norm: bool = True) -> None:
        one, two, three, four, five = WIDTHS
        layers: OrderedDict[str, nn.Module] = OrderedDict()

        def add(index: int, layer: nn.Module, channels: int, pool: bool = False) -> None:
            kind = "conv" if isinstance(layer, nn.Conv2d) else "fc"
            layers[f"{kind}{index}"] = layer
            if norm:
                layers[f"norm{index}"] = (nn.BatchNorm2d if kind == "conv" else nn.BatchNorm1d)(channels)
            layers[f"relu{index}"] = nn.ReLU()
            if pool:
                layers[f"pool{index}"] = nn.MaxPool2d(3, 2, padding=1)

        add(1, nn.Conv2d(3, one, 5, 2, 2), one, pool=True)
        add(2, nn.Conv2d(one, two, 5, padding=2), two, pool=True)
        add(3, nn.Conv2d(two, three, 3, padding=1), three)
        add(4, nn.Conv2d(three, four, 3, padding=1), four)
        add(5, nn.Conv2d(four, five, 3, padding=1), five, pool=True)
        layers["flatten"] = nn.Flatten()
        add(6, nn.Linear(five * 4 * 4, 512), 512)
        add(7, nn.Linear(512, code), code)
        layers["fc8"] = nn.Linear(code, outputs)
        super().__init__(layers)
        initialise_pose_network(self)

    def codes_and_outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The code (N, code) after relu7, and the output (N, outputs)."""
        code = images
        for module in list(self.children())[:-1]:
            code = module(code)
        return code, self.fc8(code)


def initialise_pose_network(module: nn.Module) -> None:
    """He's initialisation, zero biases; from torch's generator."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def folded(network: Tower) -> Tower:
    """The same function of a PoseNet or PoseResNet without BatchNorm: each is folded into the layer before
    it, whose number it has (``conv1``, ``norm1``)."""
    *_, last = network.modules()
    assert isinstance(last, nn.Linear)
    bare: Tower = type(network)(last.out_features, last.in_features, norm=False).to(last.weight)
    state: dict[str, Tensor] = {}
    for name, part in network.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            parent, _, own = name.rpartition(".")
            norm = "stem_norm" if own == "stem" else f"norm{own[-1]}"
            fused = _fused(part, getattr(network.get_submodule(parent), norm, None))
            state |= {f"{name}.{kind}": value for kind, value in fused.state_dict().items()}
    bare.load_state_dict(state)
    return bare.eval()


def _fused(layer: nn.Module, norm: nn.Module | None) -> nn.Module:
    """A layer and the BatchNorm behind it, as in evaluation, as one new layer."""
    layer, norm = copy.deepcopy(layer).eval(), copy.deepcopy(norm)
    if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        return fuse_conv_bn_eval(layer, norm.eval())
    if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
        return fuse_linear_bn_eval(layer, norm.eval())
    return layer
