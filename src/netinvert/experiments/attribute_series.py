"""Images of held-out chairs in which one attribute varies by known amounts and nothing else does.

What is changed after rendering is changed in RGBA images (N, 4, H, W) in [0, 1], straight alpha. Hues are
angles in the plane of colours across grey, 0 degrees at red, in which a turn by any angle is linear and
leaves the mean of red, green and blue as it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.experiments.held_out_chairs import before_colour, object_weights
from netinvert.scenes.backgrounds import PAPER
from netinvert.scenes.cameras import Camera
from netinvert.scenes.catalogue import make_object
from netinvert.scenes.chair_parts import BACKS
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.fresh import UPRIGHT
from netinvert.scenes.objects import Object3D
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import DARKNESS, STUDIO

SIZE = 64
"""Pixels in which places and sizes are told here; images have as many, or a multiple."""
SETTINGS = 4
"""Of each attribute for each chair. The second differs from the first by the attribute's ``step``, the others
are drawn at random."""
LIGHTNESS = 0.4
"""Mean of the painted chairs whose hue varies."""
SATURATION = 0.6
"""Of painted ones: how long their mean chroma is, over their lightness."""
SHADES = 0.6
"""How much of a painted object's own light and dark is left."""
SMALL_SIDE = 46
"""Of 64 pixels, for chairs that move further than the trained 3 pixels and are not to be cut."""
Kind = Literal["value", "angle", "class"]


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

    @property
    def side(self) -> int:
        """Pixels of the images, but for the wide ones."""
        return self.front.shape[-1]


def render_chairs(count: int, seed: int, size: int = SIZE) -> ChairRenders:
    """So many chairs of a seed that look alike from no two sides, in images of ``size`` pixels.

    Raises:
        MissingExtraError: without the extra scenes.
        ConfigError: fewer than ten chairs.
    """
    if count < 10:
        raise ConfigError(f"{count} chairs are too few to measure on: give 10 or more")
    plan = DatasetConfig(views=1, size=size, seed=seed, **UPRIGHT)
    things = _chairs(plan)
    found: dict[str, list[Tensor]] = {name: [] for name in ChairRenders.__dataclass_fields__}
    views = []
    for _ in range(count):
        thing, rng = next(things)
        azimuth = np.r_[rng.uniform(0, 360) + np.array([0, 20]), rng.uniform(0, 360, SETTINGS - 2)] % 360
        elevation = np.r_[rng.uniform(*plan.elevation) + np.array([0, 10]), rng.uniform(0, 45, SETTINGS - 2)]
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
        cameras = [plan.camera_at(thing.vertices, rng.uniform(0, 360), rng.uniform(*plan.elevation))]
        if index < count:
            cameras.append(plan.camera_at(thing.vertices, *views[index]))
        images = _rendered(thing, cameras)
        found["kinds"].append(images[0])
        found["next"] += images[1:]
        found["back"].append(torch.tensor(BACKS.index(str(thing.parameters["back"]))))
    return ChairRenders(**{name: torch.stack(values) for name, values in found.items()})


def _chairs(plan: DatasetConfig) -> Iterator[tuple[Object3D, np.random.Generator]]:
    """The plan's plain chairs that have a back, of those in BACKS, with what is random about each."""
    for identity in itertools.count():
        thing = make_object(plan.objects, plan.object_seed(identity))
        about = thing.parameters
        if about["kind"] == "plain" and about["back"] != "none" and thing.symmetry == 1:
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


# -- changes by known amounts --------------------------------------------------------------------------


def chroma(colour: Tensor) -> Tensor:
    """The coloured part (..., 2) of colours (..., 3): its length says how strong, its angle is the hue."""
    return colour @ _plane(colour).mT


def hue_rotated(rgba: Tensor, degrees: Tensor) -> Tensor:
    """All hues turned by (N,) degrees; what leads out of [0, 1] is clipped."""
    colour = rgba[:, :3].movedim(1, -1)
    grey = colour.mean(-1, keepdim=True)
    cosine, sine = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    turns = torch.stack([torch.stack([cosine, sine], -1), torch.stack([-sine, cosine], -1)], -2)
    turned = grey + (chroma(colour) @ turns[:, None]) @ _plane(colour)
    return torch.cat([turned.movedim(-1, 1).clamp(0, 1), rgba[:, 3:]], 1)


def painted(rgba: Tensor, lightness: Tensor, hue: Tensor | None = None) -> Tensor:
    """The objects in one colour: of a mean ``lightness`` (N,), grey or of a ``hue`` (N,) in degrees.

    Their shading stays, SHADES of it. The mean chroma is ``lightness * SATURATION`` long. Shadows stay black.
    """
    weights = object_weights(rgba[:, 3:])
    grey = rgba[:, :3].mean(1, keepdim=True)
    mean = (weights * grey).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp_min(1e-6)
    shade = 1 - SHADES + SHADES * grey / mean.clamp_min(1e-6).reshape(-1, 1, 1, 1)
    tint = torch.ones(len(rgba), 3)
    if hue is not None:
        angle = torch.deg2rad(hue)
        tint = 1 + SATURATION * torch.stack([angle.cos(), angle.sin()], 1) @ _plane(tint)
    colour = shade * (lightness[:, None] * tint)[:, :, None, None]
    shadow = (rgba[:, 3:] <= DARKNESS) & (grey < 0.02)
    return torch.cat([torch.where(shadow, rgba[:, :3], colour.clamp(0, 1)), rgba[:, 3:]], 1)


def moved(rgba: Tensor, pixels: Tensor, side: int) -> Tensor:
    """Windows (N, 4, ``side``, ``side``) of the middle of larger images, in which these have moved by whole
    pixels (N, 2), right and down; transparent where nothing is known."""
    reach = int(pixels.abs().max())
    padded = F.pad(rgba, (reach,) * 4)
    top, left = ((length - side) // 2 + reach for length in rgba.shape[-2:])
    return torch.stack(
        [
            one[:, top - y : top - y + side, left - x : left - x + side]
            for one, (x, y) in zip(padded, pixels.long().tolist(), strict=True)
        ]
    )


def resized(rgba: Tensor, sides: Tensor, side: int) -> Tensor:
    """Windows (N, 4, ``side``, ``side``) of the middle of square images resampled to ``sides`` (N,);
    transparent where nothing is known.

    Raises ConfigError for sides that differ from ``side`` by odd numbers, which would move the centre.
    """
    if bool(((sides - side) % 2 != 0).any()):
        raise ConfigError("the centre stays only where the sides differ by even numbers of pixels")
    mixed = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    found = []
    for one, each in zip(mixed, sides.long().tolist(), strict=True):
        scaled = F.interpolate(one[None], (each, each), mode="bilinear", antialias=True)
        found.append(F.pad(scaled, ((side - each) // 2,) * 4))
    both = torch.cat(found).clamp(0, 1)
    return torch.cat([both[:, :3] / both[:, 3:].clamp_min(1e-6), both[:, 3:]], 1).clamp(0, 1)


def contrasted(images: Tensor, factor: Tensor) -> Tensor:
    """Images (N, 3, H, W) with (N,) times their contrast about their own mean."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + factor.reshape(-1, 1, 1, 1) * (images - mean)).clamp(0, 1)


def _plane(like: Tensor) -> Tensor:
    """Two unit vectors (2, 3) across grey, the first towards red."""
    rows = [[2 / math.sqrt(6), -1 / math.sqrt(6), -1 / math.sqrt(6)], [0, math.sqrt(0.5), -math.sqrt(0.5)]]
    return torch.tensor(rows, dtype=like.dtype)


# -- the attributes -------------------------------------------------------------------------------------


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
    "position": VariedAttribute("position, ±3 of 64 px", "value", " px", "3 of 64 px"),
    "far": VariedAttribute("position, ±8 of 64 px", "value", " px", "8 of 64 px"),
    "scale": VariedAttribute("scale (log)", "value", "", "× 0.84"),
    "azimuth": VariedAttribute("azimuth", "angle", "°", "20°"),
    "elevation": VariedAttribute("elevation", "value", "°", "10°"),
    "arms": VariedAttribute("arms or none", "class", "", "arms taken off"),
    "back": VariedAttribute("kind of back", "class", "", "another chair, same view"),
}


def attribute_series(renders: ChairRenders, name: str, seed: int) -> AttributeSeries:
    """The images of an attribute in ATTRIBUTES."""
    generator, count = torch.Generator().manual_seed(seed), len(renders.front)
    front, wide = (each.repeat_interleave(SETTINGS, 0) for each in (renders.front, renders.wide))
    paper, size, unit = torch.tensor(PAPER) / 255, renders.side, renders.side // SIZE

    def drawn(low: float, high: float, *first_two: float) -> Tensor:
        values = low + (high - low) * torch.rand(count, SETTINGS, generator=generator)
        values[:, : len(first_two)] = torch.tensor(first_two)
        return values

    def on_circle(degrees: Tensor) -> Tensor:
        return torch.stack([(degrees * (math.pi / 180)).cos(), (degrees * (math.pi / 180)).sin()], -1)

    images, pair = None, None
    match name:
        case "hue":
            degrees = drawn(0, 360)
            degrees[:, 1] = degrees[:, 0] + 90
            rgba = painted(front, torch.full((degrees.numel(),), LIGHTNESS), degrees.flatten())
            truth = LIGHTNESS * SATURATION * on_circle(degrees)
        case "lightness":
            lightness = drawn(0.15, 0.5, 0.4, 0.25)
            rgba, truth = painted(front, lightness.flatten()), lightness[..., None]
        case "background":
            truth = torch.rand(count, SETTINGS, 3, generator=generator)
            truth[:, 0] = paper
            rgba, images = front, before_colour(front, truth.flatten(0, 1))
        case "contrast":
            factor = drawn(0.4, 1.0, 1.0, 0.7)
            rgba, truth = front, factor[..., None].log()
            images = contrasted(before_colour(front, paper), factor.flatten())
        case "position" | "far":
            reach, side = (3 if name == "position" else 8), 2 * SMALL_SIDE * unit
            if name == "far":
                wide = resized(wide, torch.full((len(wide),), side), side)
            pixels = torch.randint(-reach, reach + 1, (count, SETTINGS, 2), generator=generator)
            sign = 2 * torch.randint(0, 2, (count,), generator=generator) - 1
            pixels[:, :2], pixels[:, 1, 0] = 0, reach * sign
            rgba, truth = moved(wide, unit * pixels.flatten(0, 1), size), (unit * pixels).float()
        case "scale":
            sides = 2 * torch.randint(22, 37, (count, SETTINGS), generator=generator)
            sides[:, 0], sides[:, 1] = SIZE, 54
            rgba, truth = (
                resized(wide, 2 * unit * sides.flatten(), size),
                (sides[..., None] / SIZE).log(),
            )
        case "azimuth":
            rgba, truth = renders.turned.flatten(0, 1), on_circle(renders.azimuth)
        case "elevation":
            rgba, truth = renders.tipped.flatten(0, 1), renders.elevation[..., None]
        case "arms":
            rgba = renders.armed.flatten(0, 1)
            truth = torch.eye(2).repeat(SETTINGS // 2, 1).expand(len(renders.armed), SETTINGS, 2)
        case _:  # the back, one setting a chair
            rgba, truth = renders.kinds, torch.eye(len(BACKS))[renders.back][:, None]
            pair = (before_colour(renders.front, paper), before_colour(renders.next, paper))
    images = before_colour(rgba, paper) if images is None else images
    shown, alpha = (each.reshape(-1, truth.shape[1], *each.shape[1:]) for each in (images, rgba[:, 3:]))
    return AttributeSeries(name, shown, alpha, truth, pair)
