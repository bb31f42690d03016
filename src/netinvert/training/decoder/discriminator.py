"""The adversarial part of DeePSiM (Dosovitskiy & Brox 2016, NIPS, section 3.2 and table 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinvert.models.upconv import initialise

CONVOLUTIONS = ((7, 4, 32), (5, 1, 64), (3, 2, 128), (3, 1, 256), (3, 2, 256))
"""Kernel, stride, channels, for images of 227 pixels."""
HIDDEN = 512
SLOPE = 0.3
SKIP_BELOW = 0.1
"""The discriminator rests while its loss is below this share of the generator's."""
SMALL_IMAGES = 128


class Discriminator(nn.Module):
    """Images (N, C, H, W) and their codes, ``numbers`` long, to logits (N,) of being real.

    Images below 128 pixels keep more of their size: the first stride is 2.
    """

    def __init__(self, channels: int, numbers: int, size: tuple[int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for index, (kernel, stride, width) in enumerate(CONVOLUTIONS):
            step = 2 if index == 0 and min(size) < SMALL_IMAGES else stride
            layers += [nn.Conv2d(before, width, kernel, step, kernel // 2), nn.LeakyReLU(SLOPE)]
            before = width
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.of_code = nn.Sequential(
            nn.Linear(numbers, HIDDEN), nn.LeakyReLU(SLOPE), nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(SLOPE)
        )
        self.classify = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(before + HIDDEN, HIDDEN),
            nn.LeakyReLU(SLOPE),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN, 1),
        )
        self.to(memory_format=torch.channels_last)
        initialise(self, SLOPE)

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:
        """Logits (N,). ``codes`` (N, numbers) are standardised."""
        seen = self.convolutions((images - 0.5).contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.classify(torch.cat([seen, self.of_code(codes)], 1))
        return logits.squeeze(1)

    def loss(self, real: Tensor, made: Tensor, codes: Tensor) -> Tensor:
        """Binary cross-entropy of telling real images from made ones, summed over both."""
        real_loss = F.softplus(-self(real, codes)).mean()
        return real_loss + F.softplus(self(made, codes)).mean()

    def fooled(self, made: Tensor, codes: Tensor) -> Tensor:
        """The generator's loss: -log of the probability that made images are real."""
        return F.softplus(-self(made, codes)).mean()
