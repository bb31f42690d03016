"""A 3-D object: a triangle mesh whose every face knows its part and its material; colours and textures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netinvert.errors import NetinvertError

Array = NDArray[np.float32]
Value = str | int | float | bool


class MeshError(NetinvertError):
    """A mesh that cannot be read or rendered."""


@dataclass(frozen=True)
class Material:
    """What a surface is made of.

    ``colour`` is linear RGB in [0, 1]; ``texture`` (S, S, 3) linear RGB multiplies it and repeats; ``gloss``
    in [0, 1] is the strength of the highlight."""

    kind: str
    colour: tuple[float, float, float]
    texture: Array | None = None
    gloss: float = 0.0


@dataclass(frozen=True)
class Object3D:
    """A mesh of F triangles in the PASCAL3D+ frame: z up, front towards -y.

    The bounding box has its centre at the origin and diagonal 1 (``normalised``). ``vertices`` (V, 3);
    ``faces`` (F, 3), counter-clockwise from outside; ``normals`` (F, 3, 3), unit, one a corner; ``uv`` (F, 3,
    2), in repeats of the texture; ``part`` (F,) and ``material`` (F,) are indices into ``parts`` and
    ``materials``. ``symmetry`` is how many turns about z leave the shape as it is (1: none, 0: any turn).
    ``parameters`` says what the object was made of."""

    name: str
    category: str
    vertices: Array
    faces: NDArray[np.int32]
    normals: Array
    uv: Array
    part: NDArray[np.uint8]
    material: NDArray[np.uint8]
    parts: tuple[str, ...]
    materials: tuple[Material, ...]
    symmetry: int = 1
    parameters: Mapping[str, Value] = field(default_factory=dict)

    def normalised(self) -> Object3D:
        """The object with its bounding box centred at the origin and of diagonal 1."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        scale = float(np.linalg.norm(high - low))
        return replace(self, vertices=((self.vertices - (low + high) / 2) / scale).astype(np.float32))

    def recoloured(self, colours: Mapping[str, tuple[float, float, float]]) -> Object3D:
        """The object with the named parts in plain linear RGB colours."""
        materials, material = list(self.materials), self.material.copy()
        for name, colour in colours.items():
            material[self.part == self.part_index(name)] = len(materials)
            materials.append(Material("plain", colour))
        return replace(self, materials=tuple(materials), material=material)

    def without(self, *names: str) -> Object3D:
        """The object without the named parts; what remains stays where it is."""
        return self._keeping(~np.isin(self.part, [self.part_index(name) for name in names]), names)

    def only(self, *names: str) -> Object3D:
        """The named parts alone, where they are in the object."""
        return self._keeping(np.isin(self.part, [self.part_index(name) for name in names]), names)

    def part_index(self, name: str) -> int:
        """The number of a part in ``part``. Raises MeshError: the object has no such part."""
        if name not in self.parts:
            raise MeshError(f"{self.name} has no part {name!r}: there are {', '.join(self.parts)}")
        return self.parts.index(name)

    def _keeping(self, kept: NDArray[np.bool_], names: tuple[str, ...]) -> Object3D:
        if not kept.any():
            raise MeshError(f"nothing of {self.name} is left after the choice of {', '.join(names)}")
        columns = {name: getattr(self, name)[kept] for name in ("faces", "normals", "uv", "part", "material")}
        return replace(self, **columns)


RGB = tuple[float, float, float]
DARKEST, BRIGHTEST = 0.01, 0.78
"""Of surfaces, linear: none so bright that light burns it white."""


def linear_to_srgb(linear: ArrayLike) -> NDArray[np.float64]:
    """Linear light to sRGB, both in [0, 1] (IEC 61966-2-1); what is brighter is cut.

    Example:
        >>> linear_to_srgb([0.0, 0.5, 1.0]).round(3)
        array([0.   , 0.735, 1.   ])
    """
    value = np.clip(np.asarray(linear, float), 0, 1)
    bright = 1.055 * np.maximum(value, 1e-8) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(value <= 0.0031308, 12.92 * value, bright))


def srgb_to_linear(srgb: ArrayLike) -> NDArray[np.float64]:
    """sRGB to linear light, both in [0, 1] (IEC 61966-2-1).

    Example:
        >>> srgb_to_linear([0.0, 0.5, 1.0]).round(3)
        array([0.   , 0.214, 1.   ])
    """
    value = np.asarray(srgb, float)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def paint(rng: np.random.Generator, darkest: float = 0.05) -> RGB:
    """A random colour of paint, linear RGB."""
    return surface_colour(random_hue(rng, 1.5, darkest))


def random_hue(rng: np.random.Generator, dull: float, darkest: float = 0.05) -> NDArray[np.float64]:
    """Any hue (3,), linear RGB, its value above ``darkest``; the higher ``dull``, the less saturated."""
    hue, saturation, value = rng.random(), rng.beta(2, dull), rng.uniform(darkest, 0.75)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return np.asarray(value * (1 - saturation + saturation * wheel))


def surface_colour(colour: NDArray[Any]) -> RGB:
    """Linear RGB (3,) within what surfaces send back."""
    red, green, blue = np.clip(colour, DARKEST, BRIGHTEST).tolist()
    return red, green, blue


TEXELS = 64
FABRICS = ("plain", "stripes", "check", "dots", "melange", "zigzag")


def _noise(rng: np.random.Generator, falloff: float, stretch: tuple[float, float] = (1, 1)) -> Array:
    """Smooth noise (TEXELS, TEXELS) that repeats, of mean 0 and deviation 1; spectrum 1 / f**falloff."""
    y, x = np.meshgrid(np.fft.fftfreq(TEXELS) * TEXELS, np.fft.rfftfreq(TEXELS) * TEXELS, indexing="ij")
    frequency = np.hypot(x * stretch[0], y * stretch[1])
    frequency[0, 0] = np.inf
    spectrum = (rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape)) / frequency**falloff
    noise = np.fft.irfft2(spectrum, s=(TEXELS, TEXELS))
    return np.asarray(noise / noise.std(), np.float32)


def _tinted(strength: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> Array:
    share = strength[..., None].clip(0, 1)
    return np.asarray(low * (1 - share) + high * share, np.float32)


def wood(rng: np.random.Generator) -> Array:
    """Grain along the texture's second axis."""
    warp = _noise(rng, 2.0, (1, 3)) * 0.05
    x = np.arange(TEXELS, dtype=np.float32)[None, :] / TEXELS
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.integers(4, 9) * x + 2.2 * warp))
    fibre = _noise(rng, 0.8, (1, 8))
    value = 1 - rng.uniform(0.25, 0.5) * rings + 0.08 * fibre
    return np.asarray(np.repeat(value[..., None], 3, axis=2).clip(0.3, 1.3), np.float32)


def fabric(rng: np.random.Generator, kind: str) -> Array:
    """Cloth of a pattern in FABRICS; the second colour is a random tint of the first."""
    y, x = np.meshgrid(np.arange(TEXELS), np.arange(TEXELS), indexing="ij")
    repeats = int(rng.choice([2, 4, 8]))
    width = TEXELS // repeats
    weave = 1 + 0.06 * _noise(rng, 0.3)
    other = rng.uniform(0.25, 1.6, 3)
    share: NDArray[Any]
    if kind == "stripes":
        share = (x % width < width * rng.uniform(0.3, 0.7)).astype(np.float32)
    elif kind == "check":
        share = 0.5 * (x % width < width / 2) + 0.5 * (y % width < width / 2)
    elif kind == "dots":
        share = (np.hypot(x % width - width / 2, y % width - width / 2) < 0.3 * width).astype(np.float32)
    elif kind == "zigzag":
        share = ((x + np.abs(y % width - width // 2)) % width < width / 2).astype(np.float32)
    elif kind == "melange":
        share = 0.5 + 0.35 * _noise(rng, 1.2)
    else:
        share = np.zeros((TEXELS, TEXELS))
    return np.asarray(
        _tinted(np.asarray(share, np.float32), np.ones(3), other) * weave[..., None], np.float32
    )


def leather(rng: np.random.Generator) -> Array:
    """Fine creases and slow changes of shade."""
    value = 1 + 0.07 * _noise(rng, 0.6) + 0.08 * _noise(rng, 1.8)
    return np.asarray(np.repeat(value[..., None], 3, axis=2), np.float32)
