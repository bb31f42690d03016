"""Up-convolutional networks: from a code to an image (Dosovitskiy & Brox 2016, section 3.2)."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinvert.errors import ConfigError

Drawing = TypeVar("Drawing", bound=nn.Module)
UPSAMPLINGS = ("nearest", "transposed")
FIRST_SIDE = 4  # pixels of the map that the fully connected layers give
KERNEL = 5  # of the paper's up-convolutions
CONVOLUTIONS = 3  # of a decoder of feature maps, before its up-convolutions
FULLY_CONNECTED = 3
ROUNDING = 1e-6  # deviation of a number, as a share of its size, that float32 makes of a constant


@dataclass(frozen=True)
class Widths:
    """Channels of a decoder: ``hidden`` of the fully connected layers, ``first`` of the map they give and of
    the convolutions on feature maps; each up-convolution has half of the one before, ``least`` at least.
    ``refined``: with a 3×3 convolution before the last of them."""

    hidden: int
    first: int
    least: int
    slope: float = 0.2
    refined: bool = False


WIDTHS = {
    "small": Widths(hidden=512, first=192, least=32, refined=True),  # for two cores
    "paper": Widths(hidden=4096, first=256, least=32),  # Dosovitskiy & Brox 2016, tables 7 and 8
}


@dataclass(frozen=True)
class Architecture:
    """What decoder to build: for codes (``*code_shape``), images (``channels``, *``size``), and a mask if
    wished. A code of one number after the other is a vector, one of three dimensions a feature map (C, H, W)
    unless it has one place only, one of two a row of tokens (T, D)."""

    code_shape: tuple[int, ...]
    size: tuple[int, int]
    channels: int = 3
    widths: str = "small"
    upsampling: str = "nearest"
    mask: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "code_shape", tuple(self.code_shape))
        object.__setattr__(self, "size", tuple(self.size))
        if not self.code_shape or min(self.code_shape) < 1:
            raise ConfigError(f"a code of shape {self.code_shape} cannot be decoded")
        if len(self.size) != 2 or self.channels < 1:
            raise ConfigError(
                f"images have height and width, and channels, not {self.size} and {self.channels}"
            )
        if min(self.size) < 2 * FIRST_SIDE:
            raise ConfigError(f"a decoder gives images of {2 * FIRST_SIDE} pixels or more, not {self.size}")
        if self.widths not in WIDTHS:
            raise ConfigError(f"no decoder width {self.widths!r}: there are {', '.join(WIDTHS)}")
        if self.upsampling not in UPSAMPLINGS:
            raise ConfigError(f"no upsampling {self.upsampling!r}: there are {', '.join(UPSAMPLINGS)}")

    @property
    def grid(self) -> tuple[int, int] | None:
        """Height and width of the feature map that the code is, if it is one."""
        if len(self.code_shape) == 3 and math.prod(self.code_shape[1:]) > 1:
            return (self.code_shape[1], self.code_shape[2])
        if len(self.code_shape) == 2 and (side := math.isqrt(self.code_shape[0])) > 1:
            return (side, side)
        return None

    @property
    def features(self) -> int:
        """Channels of the feature map, or numbers of the vector, that the network sees."""
        if self.grid is None:
            return math.prod(self.code_shape)
        if len(self.code_shape) == 3:
            return self.code_shape[0]
        tokens, width = self.code_shape
        return width * (1 + tokens - math.prod(self.grid))


def as_features(code: Tensor, architecture: Architecture) -> Tensor:
    """Codes (N, *code_shape) as vectors (N, F) or maps (N, F, h, w).

    Tokens that stand before the grid (a class token) become channels of every place."""
    grid = architecture.grid
    if grid is None:
        return code.flatten(1)
    if code.ndim == 4:
        return code
    before = code.shape[1] - math.prod(grid)
    maps = code[:, before:].transpose(1, 2).reshape(len(code), -1, *grid)
    if not before:
        return maps
    everywhere = code[:, :before].reshape(len(code), -1, 1, 1).expand(-1, -1, *grid)
    return torch.cat([maps, everywhere], 1)


class Standardise(nn.Module):
    """(code - mean) / std, a unit or a channel; dead units (constant ones) give nothing."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) or (N, F, h, w) to the same."""
        shape = (1, -1, *[1] * (features.ndim - 2))
        speaks = self.std > 0
        scale = torch.where(speaks, 1 / torch.where(speaks, self.std, torch.ones_like(self.std)), 0.0)
        return (features - self.mean.view(shape)) * scale.view(shape)


def _spread() -> Tensor:
    """(9, 16): which weights of a 3×3 convolution add up to those of the 4×4 kernel below."""
    along = [[float(y + i in (2, 3)) for y in range(4)] for i in range(3)]
    # not by torch's products: on meta they import its compiler, which takes seconds
    return torch.tensor([[a * b for a in rows for b in columns] for rows in along for columns in along])


class UpConvolution(nn.Module):
    """Each pixel four times, then a 3×3 convolution: no checkerboards (Odena et al. 2016).

    Computed as the transposed convolution 4×4 of stride 2 that it equals, which needs 16 products where the
    other way needs 36."""

    spread: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.register_buffer("spread", _spread(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, D, 2h, 2w)."""
        return F.conv_transpose2d(x, self.kernel(), self.convolution.bias, stride=2, padding=1)

    def kernel(self) -> Tensor:
        """The 4×4 kernel (C, D, 4, 4): how much an input pixel adds to the outputs around it."""
        weight = self.convolution.weight
        return (weight.flatten(2) @ self.spread).view(*weight.shape[:2], 4, 4).transpose(0, 1)


def up_convolution(inputs: int, outputs: int, how: str) -> nn.Module:
    """Twice the size: upsample-and-convolve, or the paper's transposed convolution 5×5 of stride 2."""
    if how == "nearest":
        return UpConvolution(inputs, outputs)
    margin = (KERNEL - 1) // 2
    return nn.ConvTranspose2d(inputs, outputs, KERNEL, 2, margin, output_padding=1)


class UpConvolutional(nn.Module):
    """Codes (N, *code_shape) to images (N, channels, H, W) in (0, 1), with mask logits behind if wished."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths = WIDTHS[architecture.widths]
        self.standardise = Standardise(architecture.features)
        self.base, ups = _stages(architecture)
        self.reach = tuple(n * 2**ups / m for n, m in zip(self.base, architecture.size, strict=True))
        self.head = _head(architecture, widths, self.base)
        outputs = architecture.channels + architecture.mask
        self.ups = up_path(widths, ups, outputs, architecture.upsampling)
        self.to(memory_format=torch.channels_last)
        initialise(self, widths.slope)

    def forward(self, code: Tensor) -> Tensor:
        """Images, with mask logits as one more channel where the architecture has a mask."""
        x = self.head(self.standardise(as_features(code, self.architecture)))
        x = _placed(x, self.base, self.reach)
        x = self.ups(x.contiguous(memory_format=torch.channels_last))
        size, channels = self.architecture.size, self.architecture.channels
        top, left = ((have - want) // 2 for have, want in zip(x.shape[-2:], size, strict=True))
        x = x[..., top : top + size[0], left : left + size[1]]
        images = torch.sigmoid(x[:, :channels])
        return torch.cat([images, x[:, channels:]], 1) if self.architecture.mask else images

    def standardised(self, code: Tensor) -> Tensor:
        """Codes (N, *code_shape) as the network sees them, flat: (N, D)."""
        standard: Tensor = self.standardise(as_features(code, self.architecture))
        return standard.flatten(1)

    @property
    def numbers(self) -> int:
        """How many numbers ``standardised`` gives."""
        return self.architecture.features * math.prod(self.architecture.grid or (1, 1))

    def features_statistics(self, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and deviation (F,) of the features of codes, batches of (N, *code_shape), for
        ``set_statistics``: 0 where only rounding moves them. One batch at a time is in memory."""
        count = 0
        mean = squares = torch.zeros((), dtype=torch.float64)
        for codes in batches:
            features = as_features(codes, self.architecture).transpose(0, 1).flatten(1).double()
            more = features.shape[1]
            centre = features.mean(1)
            squares = squares + (features - centre[:, None]).square().sum(1)
            squares = squares + (centre - mean).square() * (count * more / (count + more))
            mean = mean + (centre - mean) * (more / (count + more))
            count += more
        std = (squares / max(count - 1, 1)).sqrt()
        return mean, torch.where(std > ROUNDING * mean.abs(), std, 0.0)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Those of the codes' features, (F,) each."""
        self.standardise.mean.copy_(mean)
        self.standardise.std.copy_(std)


def initialise(module: nn.Module, slope: float) -> None:
    """He's initialisation for leaky ReLUs, zero biases; from torch's generator."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            transposed = isinstance(part, nn.ConvTranspose2d)
            nn.init.kaiming_normal_(part.weight, slope, "fan_out" if transposed else "fan_in", "leaky_relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _stages(architecture: Architecture) -> tuple[tuple[int, int], int]:
    """The size of the map before the first up-convolution, and how many there are."""
    height, width = architecture.size
    if architecture.grid is None:
        ups = max(1, round(math.log2(min(architecture.size) / FIRST_SIDE)))
    else:
        ratio = max(height / architecture.grid[0], width / architecture.grid[1])
        ups = max(0, round(math.log2(ratio)))  # the nearest: a map made much smaller loses what it knows
    return (math.ceil(height / 2**ups), math.ceil(width / 2**ups)), ups


def _head(architecture: Architecture, widths: Widths, base: tuple[int, int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    if architecture.grid is not None:
        for before, after in itertools.pairwise([architecture.features, *[widths.first] * CONVOLUTIONS]):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.LeakyReLU(widths.slope)]
        return nn.Sequential(*layers)
    sizes = [architecture.features, *[widths.hidden] * (FULLY_CONNECTED - 1)]
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LeakyReLU(widths.slope)]
    layers.append(nn.Linear(widths.hidden, widths.first * math.prod(base)))
    layers.append(nn.Unflatten(1, (widths.first, *base)))
    return nn.Sequential(*layers, nn.LeakyReLU(widths.slope))


def fully_connected(*sizes: int, slope: float) -> nn.Sequential:
    """Layers from one of these sizes to the next, a leaky ReLU behind each."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers)


def up_path(widths: Widths, ups: int, outputs: int, upsampling: str = "nearest") -> nn.Sequential:
    """So many up-convolutions from a map of ``widths.first`` channels on, the last one to ``outputs``."""
    if ups == 0:
        return nn.Sequential(nn.Conv2d(widths.first, outputs, 3, padding=1))
    channels = [widths.first]
    while len(channels) < ups:
        channels.append(max(widths.least, widths.first // 2 ** len(channels)))
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers += [up_convolution(before, after, upsampling), nn.LeakyReLU(widths.slope)]
    if widths.refined:
        layers += [nn.Conv2d(channels[-1], channels[-1], 3, padding=1), nn.LeakyReLU(widths.slope)]
    layers.append(up_convolution(channels[-1], outputs, upsampling))
    return nn.Sequential(*layers)


def _placed(x: Tensor, base: tuple[int, int], reach: tuple[float, ...]) -> Tensor:
    """A feature map of an image as one of ``base`` places for ``reach`` times the image, about its middle:
    what is made of it is larger than the image, and cropped."""
    if max(reach) == 1:
        return x if x.shape[-2:] == base else F.interpolate(x, base, mode="bilinear", align_corners=False)
    scale = torch.tensor([[reach[1], 0, 0], [0, reach[0], 0]], dtype=x.dtype, device=x.device)
    grid = F.affine_grid(scale.expand(len(x), 2, 3), [len(x), 1, *base], align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def made_quick(network: Drawing) -> Drawing:
    """The same function for evaluation: the kernels of its up-convolutions are made once."""
    quick = copy.deepcopy(network).eval()
    for parent in [part for part in quick.modules() if isinstance(part, nn.Sequential)]:
        for name, part in list(parent.named_children()):
            if isinstance(part, UpConvolution):
                convolution = part.convolution
                transposed = nn.ConvTranspose2d(convolution.in_channels, convolution.out_channels, 4, 2, 1)
                transposed.weight.data = part.kernel().detach()
                transposed.bias = convolution.bias
                setattr(parent, name, transposed)
    return quick.requires_grad_(False).to(memory_format=torch.channels_last)
