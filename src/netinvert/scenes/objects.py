"""A 3-D object: a triangle mesh whose every face knows its part and its material."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from netinvert.errors import NetinvertError

Array = NDArray[np.float32]
Value = str | int | float | bool


class MeshError(NetinvertError):
    """A mesh that cannot be read or rendered."""


@dataclass(frozen=True)
class Material:
    """What a surface is made of.

    ``colour`` is linear RGB in [0, 1]; ``texture`` (S, S, 3) linear RGB multiplies it and repeats;
    ``gloss`` in [0, 1] is the strength of the highlight.
    """

    kind: str
    colour: tuple[float, float, float]
    texture: Array | None = None
    gloss: float = 0.0


@dataclass(frozen=True)
class Object3D:
    """A mesh of F triangles in the PASCAL3D+ frame: z up, front towards -y.

    The bounding box has its centre at the origin and diagonal 1 (``normalised``). ``vertices`` (V, 3);
    ``faces`` (F, 3), counter-clockwise from outside; ``normals`` (F, 3, 3), unit, one a corner; ``uv``
    (F, 3, 2), in repeats of the texture; ``part`` (F,) and ``material`` (F,) are indices into ``parts``
    and ``materials``. ``symmetry`` is how many turns about z leave the shape as it is (1: none, 0: any
    turn). ``parameters`` says what the object was made of.
    """

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
        return replace(
            self,
            faces=self.faces[kept],
            normals=self.normals[kept],
            uv=self.uv[kept],
            part=self.part[kept],
            material=self.material[kept],
        )
