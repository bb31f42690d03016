"""Occlusion: what changes in a network's answer when a square hides part of the image (Zeiler & Fergus 2013,
section 4.2), in the three views of their figure 7."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netinvert.errors import ConfigError, MissingExtraError
from netinvert.explain.deconvnet import images_for
from netinvert.explain.targets import Target
from netinvert.io.images import ImageLike
from netinvert.models.encoder import Encoder
from netinvert.models.private_copy import plain_torch
from netinvert.scenes.cameras import angles_from_rotation

FILLS = ("grey", "mean", "border", "inpaint")
"""What hides: the grey 0.5, the image's mean colour, that of its border (of an object before one colour, what
is seen without it), or the surroundings continued (Telea 2004)."""
WINDOW, STRIDE = 7, 28
"""By which the image's shorter side is divided, where nothing else is asked for: 32 and 8 pixels of 224."""


@dataclass(frozen=True, eq=False)
class Occluded:
    """What a square at each place does, (rows, columns): squares of ``window`` pixels with their upper left
    corners at ``tops`` × ``lefts``; the last ones end at the border.

    ``values`` are the target's, ``strengths`` the sums over the feature map ``channel`` that is strongest in
    the bare image, ``answers`` what the network says: the likeliest class, or the azimuth in degrees. The
    same of the ``bare`` image. None: not asked for, or there is no such thing.
    """

    size: tuple[int, int]
    window: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    values: Tensor
    bare: float
    strengths: Tensor | None = None
    bare_strength: float | None = None
    channel: int | None = None
    answers: Tensor | None = None
    bare_answer: float | None = None

    def per_pixel(self, values: Tensor) -> Tensor:
        """The mean of values (rows, columns) over all squares that hide a pixel, (H, W); 0 if none does."""
        total, times = torch.zeros(2, *self.size, dtype=torch.float64).unbind()
        for row, top in enumerate(self.tops):
            for column, left in enumerate(self.lefts):
                at = slice(top, top + self.window), slice(left, left + self.window)
                total[at] += float(values[row, column])
                times[at] += 1
        mean: Tensor = total / times.clamp_min(1)
        return mean

    @property
    def importance(self) -> Tensor:
        """How much the target falls where a pixel is hidden, (H, W)."""
        return self.per_pixel(self.bare - self.values)


@dataclass(frozen=True)
class Occluder:
    """A square of ``window`` pixels that moves by ``stride`` (None: a seventh and a 28th of the image's
    shorter side) and is filled by one of FILLS; ``batch`` images at once. Raises ConfigError,
    MissingExtraError: ``inpaint`` without OpenCV.

    >>> from netinvert.explain.targets import parse_target
    >>> from netinvert.models.registry import load_network
    >>> pose = parse_target(load_network("posenet"), "pose")
    >>> Occluder(window=64, stride=32)(pose, torch.rand(1, 3, 128, 128)).values.shape
    torch.Size([3, 3])
    """

    window: int | None = None
    stride: int | None = None
    fill: str = "grey"
    batch: int = 32

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise ConfigError(f"there is no fill '{self.fill}'; choose from {', '.join(FILLS)}")
        if any(one is not None and one < 1 for one in (self.window, self.stride, self.batch)):
            raise ConfigError("window, stride and batch are 1 or more")
        if self.fill == "inpaint":
            opencv()

    def squares(self, size: tuple[int, int]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Side, tops and lefts for images of a size (H, W). Raises ConfigError."""
        window = max(1, min(size) // WINDOW) if self.window is None else self.window
        stride = max(1, min(size) // STRIDE) if self.stride is None else self.stride
        if window > min(size):
            raise ConfigError(f"the window is at most the image's side, {min(size)} pixels, got {window}")
        tops, lefts = (tuple(sorted({*range(0, side - window, stride), side - window})) for side in size)
        return window, tops, lefts

    @plain_torch()
    @torch.no_grad()
    def __call__(
        self, target: Target, image: ImageLike, layer: str | None = None, fixed: Tensor | None = None
    ) -> Occluded:
        """Of one image (1, C, H, W): about what is ``fixed``, by default what is read of the bare image.
        ``layer`` has the feature maps of ``strengths``. Raises ConfigError, ImageError, LayerError."""
        encoder = target.encoder
        bare = images_for(encoder, image)
        if len(bare) != 1:
            raise ConfigError(f"occlusion is of one image at a time, got {len(bare)}")
        window, tops, lefts = self.squares(encoder.size)
        read = encoder
        if layer not in (None, encoder.layer):  # both by one forward pass
            names = [encoder.layer, layer]
            read = Encoder(encoder.network, layers=names, size=encoder.size, fast=encoder.fast)
        channel = -1
        rows: list[Tensor] = []
        for images in [bare, *self._hidden(bare, window, tops, lefts)]:
            found = read(images)
            own, maps = (found, found) if read is encoder else (found[encoder.layer], found[layer])
            fixed = target.read(own) if fixed is None else fixed
            row = [target.value(own, fixed.expand(len(images), *fixed.shape[1:])), _answers(target, own)]
            if layer is not None:
                totals = maps_of(maps, layer).flatten(2).sum(2)
                channel = int(totals.argmax()) if images is bare else channel
                row.append(totals[:, channel])
            rows.append(torch.stack([one.double().cpu() for one in row]))
        found = torch.cat(rows, 1)  # of values, answers and strengths, the bare image first
        (bare_value, bare_answer, *bare_strength), maps = found[:, 0].tolist(), found[:, 1:]
        values, answers, *strengths = maps.reshape(len(maps), len(tops), len(lefts))
        result = Occluded(encoder.size, window, tops, lefts, values, bare_value)
        if not math.isnan(bare_answer):
            result = replace(result, answers=answers, bare_answer=bare_answer)
        if layer is None:
            return result
        return replace(result, strengths=strengths[0], bare_strength=bare_strength[0], channel=channel)

    def _hidden(
        self, bare: Tensor, window: int, tops: tuple[int, ...], lefts: tuple[int, ...]
    ) -> Iterator[Tensor]:
        """The image with its squares, row by row, in batches."""
        corners = [(top, left) for top in tops for left in lefts]
        mean = bare.mean((2, 3), keepdim=True)
        edge = torch.cat([bare[..., [0, -1], :].flatten(2), bare[..., [0, -1]].flatten(2)], 2).mean(2)
        colour = {"mean": mean, "border": edge[..., None, None]}.get(self.fill, torch.full_like(mean, 0.5))
        for start in range(0, len(corners), self.batch):
            some = corners[start : start + self.batch]
            images = bare.repeat(len(some), 1, 1, 1)
            for one, (top, left) in zip(images, some, strict=True):
                at = (..., slice(top, top + window), slice(left, left + window))
                inpaint = self.fill == "inpaint"
                one[at] = inpainted(bare[0], top, left, window)[at] if inpaint else colour[0]
            yield images


def maps_of(codes: Tensor, layer: str) -> Tensor:
    """Codes that are feature maps (N, C, H, W). Raises ConfigError for others."""
    if codes.ndim != 4 or codes.shape[-2] * codes.shape[-1] == 1:
        raise ConfigError(
            f"layer '{layer}' has codes of shape {(*codes.shape[1:],)}, without rows and columns: name a "
            "layer of feature maps, as netinvert layers lists them with a stride"
        )
    return codes


def _answers(target: Target, code: Tensor) -> Tensor:
    """What the network says, (N,): azimuths of poses, the likeliest of the classes; NaN for others."""
    read = target.read(code)
    if read.shape[1:] == (3, 3):
        return angles_from_rotation(read)[0]
    return code.argmax(1) if code.ndim == 2 and target.signed else code.new_full((len(code),), math.nan)


def opencv() -> Any:  # noqa: ANN401
    """The module ``cv2``. Raises MissingExtraError."""
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("filling in and cutting out", "explain") from None
    return cv2


def inpainted(image: Tensor, top: int, left: int, window: int) -> Tensor:
    """An image (C, H, W), of 1 or 3 channels, whose square is continued from its surroundings, in bytes.
    Raises ConfigError, MissingExtraError."""
    if image.shape[0] not in (1, 3):
        raise ConfigError(f"images of {image.shape[0]} channels cannot be inpainted: choose another fill")
    cv2 = opencv()
    pixels = (255 * image.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[top : top + window, left : left + window] = 1
    filled = cv2.inpaint(pixels, mask, 3, cv2.INPAINT_TELEA).reshape(pixels.shape)
    return torch.from_numpy(filled).permute(2, 0, 1).to(image) / 255
