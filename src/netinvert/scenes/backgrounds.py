"""What stands behind an object: plain colours, gradients, noise, checks, blocks, or photographs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from netinvert.errors import ConfigError
from netinvert.io.assets import DATA
from netinvert.io.images import image_files, read_image

Pixels = NDArray[np.uint8]
Grid = NDArray[np.float64]
KINDS = ("plain", "gradient", "noise", "checks", "blocks")
PAPER = (206, 212, 218)
"""Of the kind "paper", which is no part of "mixed"."""
PHOTOGRAPHS = "photographs"


def random_background(
    rng: np.random.Generator, size: int, kind: str = "mixed", photographs: Sequence[Pixels] = ()
) -> Pixels:
    """A background (size, size, 3) sRGB of a kind in KINDS, "photographs", any of them ("mixed"), or "paper".

    ``photographs`` (H, W, 3) each give a random square crop. Raises ConfigError: an unknown kind, or no
    photographs to choose from."""
    if kind == "mixed":
        kind = str(rng.choice([*KINDS, *([PHOTOGRAPHS] if len(photographs) else [])]))
    if kind == PHOTOGRAPHS:
        return _crop(rng, size, photographs)
    if kind == "paper":
        return np.full((size, size, 3), PAPER, np.uint8)
    makers = {"plain": _plain, "gradient": _gradient, "noise": _noise, "checks": _checks, "blocks": _blocks}
    if kind not in makers:
        raise ConfigError(f"no background {kind!r}: there are mixed, paper, photographs, {', '.join(KINDS)}")
    return np.asarray((makers[kind](rng, size).clip(0, 1) * 255).round(), np.uint8)


def read_photographs(folder: str | Path) -> tuple[Pixels, ...]:
    """The images of a folder, in the order of their names. Raises ConfigError: no such folder, or no image in
    it."""
    paths = image_files(folder, below=False) if Path(folder).is_dir() else []
    if not paths:
        raise ConfigError(
            f"no background {str(folder)!r}: give none, mixed, {', '.join(KINDS)}, or a folder of images"
        )
    photographs = []
    for path in paths:
        image = read_image(path)[0].permute(1, 2, 0)
        photographs.append(np.asarray((image * 255).round().numpy(), np.uint8))
    return tuple(photographs)


def named_background(name: str) -> tuple[str, tuple[Pixels, ...]]:
    """The kind and the photographs that ``random_background`` takes, of a kind's name ("none" is "mixed",
    "photographs" are those that ship) or a folder of photographs. Raises ConfigError: neither."""
    if name == PHOTOGRAPHS:
        with as_file(DATA / "photographs") as folder:
            return PHOTOGRAPHS, read_photographs(folder)
    if name in ("mixed", "paper", *KINDS):
        return name, ()
    return ("mixed", ()) if name == "none" else (PHOTOGRAPHS, read_photographs(name))


def composite(rgba: Pixels, background: Pixels) -> Pixels:
    """A straight-alpha image (H, W, 4) over a background (H, W, 3), blended in sRGB."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    mixed = rgba[..., :3] * alpha + background * (1 - alpha)
    return np.asarray(mixed.round(), np.uint8)


def _colour(rng: np.random.Generator) -> Grid:
    """Any colour, greyish ones more often."""
    grey = rng.uniform(0.05, 0.98)
    return np.asarray(np.clip(grey + rng.normal(size=3) * rng.choice([0.02, 0.1, 0.3]), 0, 1))


def _plain(rng: np.random.Generator, size: int) -> Grid:
    return np.ones((size, size, 1)) * _colour(rng)


def _gradient(rng: np.random.Generator, size: int) -> Grid:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j] - 0.5
    share = (0.5 + (x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.7, 3)).clip(0, 1)
    return _mix(share, _colour(rng), _colour(rng))


def _noise(rng: np.random.Generator, size: int) -> Grid:
    y, x = np.meshgrid(np.fft.fftfreq(size) * size, np.fft.rfftfreq(size) * size, indexing="ij")
    frequency = np.hypot(x, y)
    frequency[0, 0] = np.inf
    spectrum = (
        rng.normal(size=(3, *x.shape)) + 1j * rng.normal(size=(3, *x.shape))
    ) / frequency ** rng.uniform(0.8, 2.2)
    clouds = np.fft.irfft2(spectrum, s=(size, size))
    clouds /= np.maximum(clouds.std(axis=(1, 2), keepdims=True), 1e-12)  # of one pixel it is 0
    mixed = rng.uniform(0, 1)  # from one shade to three independent channels
    clouds = (1 - mixed) * clouds[:1] + mixed * clouds
    return _colour(rng) + rng.uniform(0.05, 0.3) * clouds.transpose(1, 2, 0)


def _checks(rng: np.random.Generator, size: int) -> Grid:
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.08, 0.5) * size
    y, x = np.mgrid[0:size, 0:size]
    along, across = _turned(x, y, angle)
    u, v = along / period + rng.random(), across / period + rng.random()
    share = np.floor(u) % 2
    if rng.random() < 0.6:
        share = (share + np.floor(v)) % 2
    return _mix(share, _colour(rng), _colour(rng))


def _blocks(rng: np.random.Generator, size: int) -> Grid:
    """Clutter: rectangles and discs of many colours over one another."""
    image = np.array(_gradient(rng, size))
    y, x = np.mgrid[0:size, 0:size]
    for _ in range(int(rng.integers(3, 14))):
        cx, cy = rng.uniform(0, size, 2)
        w, h = rng.uniform(0.04, 0.35, 2) * size
        angle = rng.uniform(0, np.pi)
        u, v = _turned(x - cx, y - cy, angle)
        inside = (np.abs(u) < w) & (np.abs(v) < h) if rng.random() < 0.7 else np.hypot(u / w, v / h) < 1
        image[inside] = _colour(rng)
    return image


def _crop(rng: np.random.Generator, size: int, photographs: Sequence[Pixels]) -> Pixels:
    if not len(photographs):
        raise ConfigError("backgrounds of photographs: give a folder with at least one image")
    from PIL import Image

    photograph = photographs[int(rng.integers(len(photographs)))]
    height, width = photograph.shape[:2]
    side = int(min(height, width) * rng.uniform(0.3, 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    cut = Image.fromarray(photograph[top : top + side, left : left + side])
    return np.asarray(cut.resize((size, size), Image.Resampling.BOX))


def _turned(x: Grid, y: Grid, angle: float) -> tuple[Grid, Grid]:
    """Coordinates along and across a direction, ``angle`` in radians."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _mix(share: Grid, one: Grid, other: Grid) -> Grid:
    return share[..., None] * one + (1 - share[..., None]) * other


def occluded(
    rng: np.random.Generator, image: Pixels, mask: Pixels, parts: Pixels, share: float
) -> tuple[Pixels, Pixels, Pixels]:
    """Hide up to ``share`` of an image (H, W, 3) behind a bar, a disc or a board; mask and parts follow.

    A ``share`` of 0 leaves everything as it is and draws nothing from the generator."""
    if share == 0:
        return image, mask, parts
    height, width = mask.shape
    area = rng.uniform(0, share) * height * width
    hidden = _shape(rng, (height, width), area)
    surface = random_background(rng, max(height, width))[:height, :width]
    return (
        np.where(hidden[..., None], surface, image),
        np.where(hidden, np.uint8(0), mask),
        np.where(hidden, np.uint8(0), parts),
    )


def _shape(rng: np.random.Generator, size: tuple[int, int], area: float) -> NDArray[np.bool_]:
    """A turned rectangle, long or squat, or a disc, of at most ``area`` pixels."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    cx, cy, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, np.pi)
    if rng.random() < 0.3:
        return np.asarray(np.hypot(x - cx, y - cy) <= np.sqrt(area / np.pi))
    aspect = np.exp(rng.uniform(-2, 2))
    u, v = _turned(x - cx, y - cy, angle)
    half = np.sqrt(area * aspect) / 2, np.sqrt(area / aspect) / 2
    return np.asarray((np.abs(u) <= half[0]) & (np.abs(v) <= half[1]))
