"""Two topologies of networks that read the pose of an object."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

CODE = 512
POSENET_LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5", "pool5", "relu6", "relu7", "fc8")
RESNET_LAYERS = ("stage1", "stage2", "stage3", "stage4", "relu5", "fc6")
ROTATION, AZIMUTHS, TURNS = 6, 24, 4
"""Numbers that PoseNet's three heads give: a rotation, logits of bins of azimuth, logits of symmetries."""
AnyModule = TypeVar("AnyModule", bound=nn.Module)


class PoseNet(nn.Module):
    """AlexNet's topology (Krizhevsky et al. 2012) at 128 pixels, with its own first step of 11×11 and
    stride 4: five convolutions with ReLU, three max-pools that overlap, fc6, fc7, and three heads.

    Takes preprocessed images (N, 3, 128, 128) and gives (N, 34): ``fc8`` (the rotation, 6), ``azimuth`` (24
    logits) and ``turns`` (4 logits), see :class:`netinvert.models.zoo.pose_heads.ViewHead`; ``relu7`` is the
    code (N, ``code``). With ``norm`` every convolution and fully connected layer but the heads is followed by
    BatchNorm, which training needs (no unit of the code dies); ``folded`` takes it out again."""

    fc8: nn.Linear

    def __init__(self, outputs: int = ROTATION, code: int = CODE, norm: bool = True) -> None:
        super().__init__()
        shapes: list[tuple[int, ...]] = [(3, 40, 11, 4, 5), (40, 80, 5, 1, 2), (80, 144, 3, 1, 1)]
        shapes += [(144, 144, 3, 1, 1), (144, 112, 3, 1, 1), (112 * 4 * 4, 512), (512, code)]
        for index, numbers in enumerate(shapes, 1):
            if index == 6:
                self.flatten = nn.Flatten()
            kind = "conv" if index < 6 else "fc"
            layer = nn.Conv2d(*numbers) if kind == "conv" else nn.Linear(*numbers)  # type: ignore[arg-type]
            self.add_module(f"{kind}{index}", layer)
            if norm:
                normed = (nn.BatchNorm2d if kind == "conv" else nn.BatchNorm1d)(numbers[1])
                self.add_module(f"norm{index}", normed)
            self.add_module(f"relu{index}", nn.ReLU())
            if index in (1, 2, 5):
                self.add_module(f"pool{index}", nn.MaxPool2d(3, 2, padding=1))
        self.fc8 = nn.Linear(code, outputs)
        self.azimuth, self.turns = nn.Linear(code, AZIMUTHS), nn.Linear(code, TURNS)
        initialise_pose_network(self)

    @property
    def code_size(self) -> int:
        """How many numbers the code has."""
        return self.fc8.in_features

    def code(self, images: Tensor) -> Tensor:
        """The code (N, code) after relu7."""
        for name, module in self.named_children():
            if name == "fc8":
                break
            images = module(images)
        return images

    def outputs(self, code: Tensor) -> Tensor:
        """What the heads make of codes: (N, 34)."""
        return torch.cat([self.fc8(code), self.azimuth(code), self.turns(code)], 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 34)."""
        return self.outputs(self.code(images))


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection around them (He et al. 2016)."""

    def __init__(self, channels: int, out: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1)
        self.norm1 = nn.BatchNorm2d(out) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1)
        self.norm2 = nn.BatchNorm2d(out) if norm else nn.Identity()
        self.short = nn.Identity() if (channels, stride) == (out, 1) else nn.Conv2d(channels, out, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, out, H / stride, W / stride)."""
        inner = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return torch.relu(inner + self.short(x))


class PoseResNet(nn.Module):
    """A residual network, held out to check what PoseNet's reconstructions show.

    Takes preprocessed images (N, 3, 64, 64) and gives (N, ``outputs``): a stem of stride 2, four stages of
    residual blocks at 32, 16, 8 and 4 pixels, and two fully connected layers."""

    def __init__(self, outputs: int = 50, code: int = 256, norm: bool = True) -> None:
        super().__init__()
        one, two, three, four = 24, 48, 96, 160
        self.stem = nn.Conv2d(3, one, 5, 2, 2)
        self.stem_norm = nn.BatchNorm2d(one) if norm else nn.Identity()
        self.stage1 = Residual(one, one, 1, norm)
        self.stage2 = nn.Sequential(Residual(one, two, 2, norm), Residual(two, two, 1, norm))
        self.stage3 = nn.Sequential(Residual(two, three, 2, norm), Residual(three, three, 1, norm))
        self.stage4 = Residual(three, four, 2, norm)
        self.fc5 = nn.Linear(four * 4 * 4, code)
        self.norm5 = nn.BatchNorm1d(code) if norm else nn.Identity()
        self.relu5 = nn.ReLU()
        self.fc6 = nn.Linear(code, outputs)
        initialise_pose_network(self)

    @property
    def code_size(self) -> int:
        """How many numbers the code has."""
        return self.fc6.in_features

    def code(self, images: Tensor) -> Tensor:
        """The code (N, code) after relu5."""
        x = torch.relu(self.stem_norm(self.stem(images)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        code: Tensor = self.relu5(self.norm5(self.fc5(x.flatten(1))))
        return code

    def outputs(self, code: Tensor) -> Tensor:
        """What the head makes of codes: (N, outputs)."""
        found: Tensor = self.fc6(code)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """The output (N, outputs)."""
        return self.outputs(self.code(images))


Tower = PoseNet | PoseResNet


def initialise_pose_network(module: nn.Module) -> None:
    """He's initialisation, zero biases; from torch's generator."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def folded(network: AnyModule) -> AnyModule:
    """The same function of a PoseNet or PoseResNet without BatchNorm: each is folded into the layer before
    it, whose number it has (``conv1``, ``norm1``)."""
    last = network.fc8 if isinstance(network, PoseNet) else network.fc6
    assert isinstance(last, nn.Linear)
    bare: AnyModule = type(network)(last.out_features, last.in_features, norm=False).to(last.weight)
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
