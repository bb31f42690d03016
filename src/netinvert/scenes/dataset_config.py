"""What a dataset of renders consists of: every sample follows from the plan and its place in it.

Torch is not imported before a camera is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from netinvert.errors import ConfigError
from netinvert.scenes.lights import STUDIO, Light, random_light
from netinvert.scenes.objects import Array

if TYPE_CHECKING:
    from netinvert.scenes.cameras import Camera

CHAIRS62 = "chairs62"
"""31 azimuths at elevations 20 and 30 degrees (Aubry et al. 2014, Dosovitskiy et al. 2015)."""
PROTOCOLS = ("random", CHAIRS62)
LIGHTS = ("random", "studio")
SPLITS = ("train", "validation", "test")
FILL = (0.82, 0.96)
IDENTITIES_A_SEED = 1_000_000


@dataclass(frozen=True)
class DatasetConfig:
    """A dataset of ``identities`` objects seen from ``views`` sides at ``size`` pixels.

    ``objects`` is a category, a mesh file or a folder of them. Angles in degrees: ``elevation`` (low, high),
    ``in_plane`` at most so much either way. ``fill`` (low, high) is how much of the image the object
    spans. ``background`` is "none" (transparent) or a kind of ``backgrounds``, or a folder of photographs.
    ``splits`` are the shares of train, validation and test; they share no identity.
    """

    objects: str = "chairs"
    identities: int = 100
    views: int = 20
    size: int = 64
    seed: int = 0
    protocol: str = "random"
    elevation: tuple[float, float] = (-5.0, 50.0)
    in_plane: float = 15.0
    fov: float = 35.0
    fill: tuple[float, float] = FILL
    lights: str = "random"
    background: str = "none"
    occlusion: float = 0.0
    splits: tuple[float, float, float] = (0.9, 0.05, 0.05)
    identities_a_shard: int = 50

    def __post_init__(self) -> None:
        checks = {
            "identities": 1 <= self.identities <= IDENTITIES_A_SEED,
            "views": self.views >= 1,
            "size": 8 <= self.size <= 4096,
            "seed": self.seed >= 0,
            "protocol": self.protocol in PROTOCOLS,
            "elevation": -90 <= self.elevation[0] <= self.elevation[1] <= 90,
            "in_plane": 0 <= self.in_plane <= 180,
            "fov": 0 < self.fov < 170,
            "fill": 0 < self.fill[0] <= self.fill[1] <= 4,
            "lights": self.lights in LIGHTS,
            "occlusion": 0 <= self.occlusion < 1,
            "splits": min(self.splits) >= 0 and abs(sum(self.splits) - 1) < 1e-9,
            "identities_a_shard": self.identities_a_shard >= 1,
        }
        wrong = [name for name, good in checks.items() if not good]
        if wrong:
            values = ", ".join(f"{name} = {getattr(self, name)!r}" for name in wrong)
            raise ConfigError(f"a dataset cannot have {values}: see DatasetConfig for what each may be")
        if self.protocol == CHAIRS62 and self.views != 62:
            raise ConfigError(f"the protocol {CHAIRS62} has 62 views, not {self.views}: give --views 62")

    def split_of(self, identity: int) -> str:
        """The split that an identity belongs to, whatever the number of identities."""
        share = np.random.default_rng([self.seed, identity, 1]).random()
        return SPLITS[int(np.searchsorted(np.cumsum(self.splits)[:2], share, side="right"))]

    def shards(self) -> dict[str, list[int]]:
        """File names and the identities in each; a shard belongs to one split."""
        groups: dict[str, list[int]] = {}
        counts = dict.fromkeys(SPLITS, 0)
        for identity in range(self.identities):
            split = self.split_of(identity)
            name = f"{split}-{counts[split] // self.identities_a_shard:06d}.tar"
            groups.setdefault(name, []).append(identity)
            counts[split] += 1
        return groups

    def object_seed(self, identity: int) -> int:
        """The seed of an identity's object; no two datasets share one."""
        return self.seed * IDENTITIES_A_SEED + identity

    def generator(self, identity: int, view: int) -> np.random.Generator:
        """All that is random about a view."""
        return np.random.default_rng([self.seed, identity, 2, view])

    def camera(self, vertices: Array, view: int, rng: np.random.Generator) -> Camera:
        """The camera of a view; it looks at the object's centre, from so far that the object fills it."""
        if self.protocol == CHAIRS62:
            azimuth, elevation = 360 / 31 * (view % 31), (20.0, 30.0)[view // 31]
            in_plane, fill = 0.0, sum(self.fill) / 2
        else:
            azimuth, elevation = rng.uniform(0, 360), rng.uniform(*self.elevation)
            in_plane, fill = rng.uniform(-self.in_plane, self.in_plane), rng.uniform(*self.fill)
        return self._fitted(vertices, (azimuth, elevation, in_plane), fill)

    def camera_at(self, vertices: Array, azimuth: float, elevation: float) -> Camera:
        """A camera of the plan's size and field of view at these angles (degrees), the object filling it."""
        return self._fitted(vertices, (azimuth, elevation, 0.0), sum(self.fill) / 2)

    def _fitted(self, vertices: Array, angles: tuple[float, float, float], fill: float) -> Camera:
        from netinvert.scenes.cameras import Camera, fitting_distance
        from netinvert.scenes.rotations import rotation_from_angles

        distance = fitting_distance(vertices, rotation_from_angles(*angles), self.fov, fill)
        return Camera.orbit(*angles, distance, self.fov, self.size)

    def light(self, rng: np.random.Generator) -> Light:
        """The light of a view."""
        return random_light(rng) if self.lights == "random" else STUDIO

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DatasetConfig:
        """The plan of ``to_json``."""
        known: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**known)
