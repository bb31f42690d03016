"""What a dataset of renders consists of: every sample follows from the plan and its place in it.

Neither torch nor NumPy is imported before a camera or a split is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from netinvert.errors import ConfigError
from netinvert.io.config import COMMAND, Config, Option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from netinvert.scenes.cameras import Camera
    from netinvert.scenes.catalogue import ObjectSource
    from netinvert.scenes.objects import Array
    from netinvert.scenes.shading import Light

CHAIRS62 = "chairs62"
"""31 azimuths at elevations 20 and 30 degrees (Aubry et al. 2014, Dosovitskiy et al. 2015)."""
RING = tuple((360 / 31 * (view % 31), (20.0, 30.0)[view // 31]) for view in range(62))
"""Azimuth and elevation of each of its views."""
PROTOCOLS = ("random", CHAIRS62)
LIGHTS = ("random", "studio")
RAY, PATH_TRACED = RENDERERS = ("ray", "path-traced")
SPLITS = ("train", "validation", "test")
IDENTITIES_A_SEED = 1_000_000
OBJECTS = Option(
    "A category (chairs, cars, mugs, tables), a mesh file, a folder of them, or sh3f:FILE, a furniture "
    "library of Sweet Home 3D, or a folder of them."
)
CATEGORY = Option(
    "Of a furniture library, the models that have this word in their name or tags: chair, sofa, bed, car, …",
    metavar="WORD",
)
UP = Option(
    "The axis that points up in mesh files; auto is y for glTF, .obj and .stl, z for .ply and .off.",
    choices=("auto", "x", "y", "z"),
    metavar="auto|x|y|z",
)


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(Config):
    """Render a dataset of objects seen from many sides, with known cameras.

    Every sample follows from these settings and its place in the dataset; splits share no object. Raises
    ConfigError: settings that cannot be; it names the options of ``netinvert scenes render``."""

    command: ClassVar[str] = "scenes render"

    objects: Annotated[str, OBJECTS] = "chairs"
    category: Annotated[str | None, CATEGORY] = None
    up: Annotated[str, UP] = "auto"
    identities: Annotated[
        int, Option("How many objects.", name="count", also=("identities",), min=1, max=IDENTITIES_A_SEED)
    ] = 100
    views: Annotated[int, Option("Views of each; chairs62 has 62.", min=1)] = 20
    size: Annotated[int, Option("Pixels a side.", name="pixels", also=("size",), min=8, max=4096)] = 128
    seed: Annotated[int, Option("Objects, cameras and lights follow from it.", short="s", min=0)] = 0
    protocol: Annotated[
        str, Option("Random views, or 31 azimuths at elevations of 20 and 30 degrees.", choices=PROTOCOLS)
    ] = "random"
    elevation: Annotated[tuple[float, float], Option("Lowest and highest, in degrees.", min=-90, max=90)] = (
        -5.0,
        50.0,
    )
    in_plane: Annotated[float, Option("Greatest in-plane rotation, in degrees.", min=0, max=180)] = 15.0
    fov: Annotated[float, Option("The angle across the image, in degrees.", above=0, max=170)] = 35.0
    fill: Annotated[
        tuple[float, float],
        Option("Least and greatest share of the image that an object spans.", above=0, max=4),
    ] = (0.82, 0.96)
    lights: Annotated[str, Option("Random lights, or always the same.", choices=LIGHTS)] = "random"
    renderer: Annotated[
        str,
        Option(
            "What makes the images: ray casting, or Mitsuba's path tracing (extra mitsuba; no shadow on the "
            "ground).",
            choices=RENDERERS,
        ),
    ] = RAY
    background: Annotated[
        str,
        Option(
            "none (transparent), mixed, plain, gradient, noise, checks, blocks, or a folder of photographs."
        ),
    ] = "none"
    occlusion: Annotated[
        float, Option("Greatest share of the image that something hides, below 1.", min=0)
    ] = 0.0
    splits: Annotated[
        tuple[float, float, float], Option("Shares of the objects for training, validation and test.", min=0)
    ] = (0.9, 0.05, 0.05)
    identities_a_shard: Annotated[int, Option("Objects in each file.", min=1)] = 50

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        for flag, (low, high) in (("--elevation", self.elevation), ("--fill", self.fill)):
            if low > high:
                raise ConfigError(f"{flag} is the lower number first, got {low:g} {high:g}")
        if self.occlusion >= 1:
            raise ConfigError(f"--occlusion is below 1, got {self.occlusion:g}")
        if abs(sum(self.splits) - 1) > 1e-9:
            raise ConfigError(f"--splits are three shares that sum to 1, got {self.splits}")
        if self.protocol == CHAIRS62 and self.views != 62:
            raise ConfigError(f"the protocol {CHAIRS62} has 62 views, not {self.views}: give --views 62")

    def source(self) -> ObjectSource:
        """Where the objects come from. Raises ConfigError, MeshError."""
        from netinvert.scenes.catalogue import object_source

        return object_source(self.objects, self.up, self.category)

    def split_of(self, identity: int) -> str:
        """The split that an identity belongs to, whatever the number of identities."""
        import numpy as np

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
        import numpy as np

        return np.random.default_rng([self.seed, identity, 2, view])

    def camera(self, vertices: Array, view: int, rng: np.random.Generator) -> Camera:
        """The camera of a view; it looks at the object's centre, from so far that the object fills it. In
        CHAIRS62 all views of an object are from one distance, as on a turntable."""
        if self.protocol == CHAIRS62:
            from netinvert.scenes.cameras import Camera, fitting_distance

            fill = sum(self.fill) / 2
            distance = max(fitting_distance(vertices, turn, self.fov, fill) for turn in _ring())
            return Camera.orbit(*RING[view], 0.0, distance, self.fov, self.size)
        azimuth, elevation = rng.uniform(0, 360), rng.uniform(*self.elevation)
        in_plane, fill = rng.uniform(-self.in_plane, self.in_plane), rng.uniform(*self.fill)
        return self._fitted(vertices, (azimuth, elevation, in_plane), fill)

    def camera_at(self, vertices: Array, azimuth: float, elevation: float) -> Camera:
        """A camera of the plan's size and field of view at these angles (degrees), the object filling it."""
        return self._fitted(vertices, (azimuth, elevation, 0.0), sum(self.fill) / 2)

    def _fitted(self, vertices: Array, angles: tuple[float, float, float], fill: float) -> Camera:
        from netinvert.scenes.cameras import Camera, fitting_distance, rotation_from_angles

        distance = fitting_distance(vertices, rotation_from_angles(*angles), self.fov, fill)
        return Camera.orbit(*angles, distance, self.fov, self.size)

    def light(self, rng: np.random.Generator) -> Light:
        """The light of a view."""
        from netinvert.scenes.shading import STUDIO, random_light

        return random_light(rng) if self.lights == "random" else STUDIO

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values. The renderer only if it is another than when there was but one: so
        datasets of that time are still the same."""
        facts = self.to_facts().items()
        return {
            name: value for name, value in facts if name != COMMAND and (name, value) != ("renderer", RAY)
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DatasetConfig:
        """The config of ``to_json``."""
        return cls(**values)


@cache
def _ring() -> tuple[NDArray[np.float64], ...]:
    """The rotations of RING."""
    from netinvert.scenes.cameras import rotation_from_angles

    return tuple(rotation_from_angles(*angles) for angles in RING)
