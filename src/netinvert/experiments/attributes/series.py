"""Images of held-out chairs in which one attribute varies by known amounts and nothing else does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.experiments.attributes.changes import contrasted, moved, painted, resized
from netinvert.experiments.held_out_chairs import ELEVATION, PAPER, before_colour
from netinvert.scenes.cameras import Camera
from netinvert.scenes.catalogue import make_object
from netinvert.scenes.chair_parts import BACKS
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.objects import Object3D
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO

SIZE = 64
SETTINGS = 4
"""Of each attribute for each chair. The second differs from the first by the attribute's ``step``, the others
are drawn at random."""
LIGHTNESS = 0.4
"""Mean of the painted chairs whose hue varies."""
SMALL_SIDE = 46
"""Of 64 pixels, for chairs that move further than the trained 3 pixels and are not to be cut."""
Kind = Literal["value", "angle", "class"]


@dataclass(frozen=True)
class VariedAttribute:
    """``values`` are compared about each chair's mean, ``angle``s and ``class``es as they are."""

    label: str
    kind: Kind
    unit: str
    step: str


ATTRIBUTES: Mapping[str, VariedAttribute] = {
    "hue": VariedAttribute("object hue", "angle", "°", "90°"),
    "lightness": VariedAttribute("object lightness", "value", "", "0.40 to 0.25"),
    "background": VariedAttribute("background colour", "value", "", "paper to any colour"),
    "contrast": VariedAttribute("contrast (log)", "value", "", "× 0.7"),
    "position": VariedAttribute("position, ±3 px", "value", " px", "3 px"),
    "far": VariedAttribute("position, ±8 px", "value", " px", "8 px"),
    "scale": VariedAttribute("scale (log)", "value", "", "× 0.84"),
    "azimuth": VariedAttribute("azimuth", "angle", "°", "20°"),
    "elevation": VariedAttribute("elevation", "value", "°", "10°"),
    "arms": VariedAttribute("arms or none", "class", "", "arms taken off"),
    "back": VariedAttribute("kind of back", "class", "", "another chair, same view"),
}


@dataclass(frozen=True, eq=False)
class AttributeSeries:
    """N chairs at K settings of one attribute (of kinds of backs: at their own).

    ``images`` (N, K, 3, H, W) in [0, 1], ``alpha`` (N, K, 1, H, W) with shadows, ``truth`` (N, K, T): of
    angles the cosine and sine times a constant, of classes one column each. ``pair``: images (M, 3, H, W),
    and the same a step away, if these are not the first and second setting.
    """

    name: str
    images: Tensor
    alpha: Tensor
    truth: Tensor
    pair: tuple[Tensor, Tensor] | None = None

    @property
    def steps(self) -> tuple[Tensor, Tensor]:
        """Images (M, 3, H, W), and the same a step away."""
        return (self.images[:, 0], self.images[:, 1]) if self.pair is None else self.pair

    @property
    def chairs(self) -> Tensor:
        """Which chair each of the N K images shows."""
        count, settings = self.truth.shape[:2]
        return torch.arange(count).repeat_interleave(settings)


@dataclass(frozen=True, eq=False)
class ChairRenders:
    """RGBA of chairs with a back: of N ``front`` (N, 4, H, W), and with as much again on all sides ``wide``
    (N, 4, 2 H, 2 W); ``turned`` and ``tipped`` (N, K, 4, H, W) at
    ``azimuth`` and ``elevation`` (N, K) in degrees; of those with arms ``armed`` (M, K, 4, H, W), by turns
    with and without them. ``kinds`` (K N, 4, H, W) are others, one view each, and ``back`` (K N,) theirs in
    BACKS; ``next`` (N, 4, H, W) the first N of these, seen as the N chairs are."""

    front: Tensor
    wide: Tensor
    turned: Tensor
    azimuth: Tensor
    tipped: Tensor
    elevation: Tensor
    armed: Tensor
    next: Tensor
    kinds: Tensor
    back: Tensor


def render_chairs(count: int, seed: int) -> ChairRenders:
    """So many chairs of a seed that look alike from no two sides.

    Raises:
        MissingExtraError: without the extra scenes.
        ConfigError: fewer than ten chairs.
    """
    if count < 10:
        raise ConfigError(f"{count} chairs are too few to measure on: give 10 or more")
    plan = DatasetConfig(views=1, size=SIZE, seed=seed, elevation=ELEVATION, in_plane=0, lights="studio")
    things = _chairs(plan)
    found: dict[str, list[Tensor]] = {name: [] for name in ChairRenders.__dataclass_fields__}
    views = []
    for _ in range(count):
        thing, rng = next(things)
        azimuth = np.r_[rng.uniform(0, 360) + np.array([0, 20]), rng.uniform(0, 360, SETTINGS - 2)] % 360
        elevation = np.r_[rng.uniform(*ELEVATION) + np.array([0, 10]), rng.uniform(0, 45, SETTINGS - 2)]
        views.append((float(azimuth[0]), float(elevation[0])))
        turned = [plan.camera_at(thing.vertices, float(a), elevation[0]) for a in azimuth]
        tipped = [plan.camera_at(thing.vertices, azimuth[0], float(e)) for e in elevation]
        images = _rendered(thing, turned + tipped)
        found["front"].append(images[0])
        found["wide"].append(_rendered(thing, [_wider(turned[0])])[0])
        found["turned"].append(images[:SETTINGS])
        found["tipped"].append(images[SETTINGS:])
        found["azimuth"].append(torch.from_numpy(azimuth).float())
        found["elevation"].append(torch.from_numpy(elevation).float())
        if thing.parameters["arms"] != "none":
            some = [turned[0], *turned[2 : 1 + SETTINGS // 2]]
            bare = _rendered(thing.without("arms"), some)
            found["armed"].append(torch.stack([_rendered(thing, some), bare], 1).flatten(0, 1))
    for index in range(SETTINGS * count):
        thing, rng = next(things)
        cameras = [plan.camera_at(thing.vertices, rng.uniform(0, 360), rng.uniform(*ELEVATION))]
        if index < count:
            cameras.append(plan.camera_at(thing.vertices, *views[index]))
        images = _rendered(thing, cameras)
        found["kinds"].append(images[0])
        found["next"] += images[1:]
        found["back"].append(torch.tensor(BACKS.index(str(thing.parameters["back"]))))
    return ChairRenders(**{name: torch.stack(values) for name, values in found.items()})


def _chairs(plan: DatasetConfig) -> Iterator[tuple[Object3D, np.random.Generator]]:
    """The plan's chairs that have a back, with what is random about each."""
    for identity in itertools.count():
        thing = make_object(plan.objects, plan.object_seed(identity))
        if thing.parameters["back"] != "none" and thing.symmetry == 1:
            yield thing, plan.generator(identity, 0)


def _wider(camera: Camera) -> Camera:
    """The same view with half of its width and height more on all sides."""
    width, height = camera.size
    more = np.array([[0, 0, width / 2], [0, 0, height / 2], [0, 0, 0]])
    return replace(camera, intrinsics=camera.intrinsics + more, size=(2 * width, 2 * height))


def _rendered(thing: Object3D, cameras: list[Camera]) -> Tensor:
    renderer = Renderer(thing)
    rgba = np.stack([renderer.image(camera, STUDIO).rgba for camera in cameras])
    return torch.from_numpy(rgba).permute(0, 3, 1, 2).float() / 255


def attribute_series(renders: ChairRenders, name: str, seed: int) -> AttributeSeries:
    """The images of an attribute in ATTRIBUTES."""
    generator = torch.Generator().manual_seed(seed)
    return _MAKERS[name](renders, generator)


# -- one maker an attribute ----------------------------------------------------------------------------


def _hue(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    degrees = _drawn(renders, generator, 0, 360)
    degrees[:, 1] = degrees[:, 0] + 90
    lightness = torch.full((degrees.numel(),), LIGHTNESS)
    rgba = painted(_repeated(renders.front), lightness, degrees.flatten())
    return _series("hue", rgba, LIGHTNESS * 0.6 * _on_circle(degrees))


def _lightness(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    values = _drawn(renders, generator, 0.15, 0.5)
    values[:, 0], values[:, 1] = 0.4, 0.25
    return _series("lightness", painted(_repeated(renders.front), values.flatten()), values[..., None])


def _background(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    colours = torch.rand(len(renders.front), SETTINGS, 3, generator=generator)
    colours[:, 0] = torch.tensor(PAPER) / 255
    rgba = _repeated(renders.front)
    images = before_colour(rgba, colours.flatten(0, 1))
    return AttributeSeries("background", _by_chair(images), _by_chair(rgba[:, 3:]), colours)


def _contrast(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    factor = _drawn(renders, generator, 0.4, 1.0)
    factor[:, 0], factor[:, 1] = 1.0, 0.7
    plain = _series("contrast", _repeated(renders.front), factor[..., None].log())
    images = contrasted(plain.images.flatten(0, 1), factor.flatten())
    return AttributeSeries("contrast", _by_chair(images), plain.alpha, plain.truth)


def _position(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    return _shifted("position", _repeated(renders.wide), 3, generator)


def _far(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    rgba, side = _repeated(renders.wide), 2 * SMALL_SIDE
    return _shifted("far", resized(rgba, torch.full((len(rgba),), side), side), 8, generator)


def _shifted(name: str, rgba: Tensor, reach: int, generator: torch.Generator) -> AttributeSeries:
    pixels = torch.randint(-reach, reach + 1, (len(rgba) // SETTINGS, SETTINGS, 2), generator=generator)
    sign = 2 * torch.randint(0, 2, (len(pixels),), generator=generator) - 1
    pixels[:, :2] = 0
    pixels[:, 1, 0] = reach * sign
    return _series(name, moved(rgba, pixels.flatten(0, 1), SIZE), pixels.float())


def _scale(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    sides = 2 * torch.randint(22, 37, (len(renders.front), SETTINGS), generator=generator)
    sides[:, 0], sides[:, 1] = SIZE, 54
    rgba = resized(_repeated(renders.wide), 2 * sides.flatten(), SIZE)
    return _series("scale", rgba, (sides[..., None] / SIZE).log())


def _azimuth(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    return _series("azimuth", renders.turned.flatten(0, 1), _on_circle(renders.azimuth))


def _elevation(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    return _series("elevation", renders.tipped.flatten(0, 1), renders.elevation[..., None])


def _arms(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    truth = torch.eye(2).repeat(SETTINGS // 2, 1).expand(len(renders.armed), SETTINGS, 2)
    return _series("arms", renders.armed.flatten(0, 1), truth)


def _back(renders: ChairRenders, generator: torch.Generator) -> AttributeSeries:
    truth = torch.eye(len(BACKS))[renders.back][:, None]
    images, alpha = _on_paper(renders.kinds)[:, None], renders.kinds[:, None, 3:]
    return AttributeSeries("back", images, alpha, truth, (_on_paper(renders.front), _on_paper(renders.next)))


_MAKERS: Mapping[str, Callable[[ChairRenders, torch.Generator], AttributeSeries]] = {
    "hue": _hue,
    "lightness": _lightness,
    "background": _background,
    "contrast": _contrast,
    "position": _position,
    "far": _far,
    "scale": _scale,
    "azimuth": _azimuth,
    "elevation": _elevation,
    "arms": _arms,
    "back": _back,
}


def _series(name: str, rgba: Tensor, truth: Tensor) -> AttributeSeries:
    return AttributeSeries(name, _by_chair(_on_paper(rgba)), _by_chair(rgba[:, 3:]), truth)


def _on_paper(rgba: Tensor) -> Tensor:
    return before_colour(rgba, torch.tensor(PAPER) / 255)


def _repeated(rgba: Tensor) -> Tensor:
    return rgba.repeat_interleave(SETTINGS, 0)


def _by_chair(batch: Tensor) -> Tensor:
    return batch.reshape(-1, SETTINGS, *batch.shape[1:])


def _drawn(renders: ChairRenders, generator: torch.Generator, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(len(renders.front), SETTINGS, generator=generator)


def _on_circle(degrees: Tensor) -> Tensor:
    angle = degrees * (math.pi / 180)
    return torch.stack([angle.cos(), angle.sin()], -1)
