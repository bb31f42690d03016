"""A residual network that reads poses: held out to check what PoseNet's reconstructions show."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netinvert.models.zoo.posenet import initialise_pose_network

LAYERS = ("stage1", "stage2", "stage3", "stage4", "relu5", "fc6")
WIDTHS = (24, 48, 96, 160)


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
    """Takes preprocessed images (N, 3, 64, 64) and gives (N, ``outputs``): a stem of stride 2, four stages of
    residual blocks at 32, 16, 8 and 4 pixels, and two fully connected layers."""

    def __init__(self, outputs: int = 50, code: int = 256, norm: bool = True) -> None:
        super().__init__()
        one, two, three, four = WIDTHS
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

    def codes_and_outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The code (N, code) after relu5, and the output (N, outputs)."""
        x = torch.relu(self.stem_norm(self.stem(images)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        code = self.relu5(self.norm5(self.fc5(x.flatten(1))))
        return code, self.fc6(code)

    def forward(self, images: Tensor) -> Tensor:
        """The output (N, outputs)."""
        return self.codes_and_outputs(images)[1]
