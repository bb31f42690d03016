"""Renderings of an object with one thing changed: a part, the outline, texture, shading, light, frequencies.

A change of a part has a control: the same done to as many visible pixels elsewhere on the object, those that
are nearest to a point drawn at random. In both the ground has no shadow, for it would tell of the part."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.evaluation.readers import LUMINANCE
from netinvert.experiments.features import registration as named
from netinvert.explain.part_truth import LEAST_SEEN
from netinvert.scenes.backgrounds import named_background, random_background
from netinvert.scenes.cameras import Camera, turn_about
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.objects import Material, Object3D, linear_to_srgb, paint, srgb_to_linear
from netinvert.scenes.render import RenderedImage, Renderer
from netinvert.scenes.shading import Light, direction

GREY = 0.3
"""sRGB of a silhouette."""
COLOURS = 12
"""Of so many random paints a part gets the one farthest from the object's mean colour."""
SKY = Light((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), shadow=False)
"""The same from all sides: a surface sends back its colour times what it sees of the sky."""
MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
OF_CHANGES = 3
"""Of the seeds of what is drawn for a view: ``DatasetConfig`` has 1 and 2."""
FULL = 0.5
"""A pixel is inside the object if more of it is covered."""
Finish = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class CutOut:
    """An object without what is behind it: ``colour`` (3, H, W) sRGB times the covered share; that share,
    ``mask`` (H, W); and how dark the ground's ``shadow`` is (H, W)."""

    colour: Tensor
    mask: Tensor
    shadow: Tensor

    @classmethod
    def of(cls, image: RenderedImage) -> CutOut:
        """From a rendering."""
        rgba = torch.from_numpy(image.rgba).permute(2, 0, 1).float() / 255
        mask = torch.from_numpy(image.mask).float() / 255
        return cls(rgba[:3] * rgba[3:], mask, (rgba[3] - mask).clamp_min(0))

    def before(self, background: Tensor) -> Tensor:
        """The image (3, H, W) in front of another."""
        behind = (1 - self.mask - self.shadow).clamp_min(0)
        return (self.colour + behind * background).clamp(0, 1)

    def without_shadow(self) -> CutOut:
        """With nothing on the ground."""
        return replace(self, shadow=torch.zeros_like(self.shadow))

    def covered(self, region: Tensor) -> CutOut:
        """With the background in a region (H, W) bool."""
        return replace(self, colour=self.colour * ~region, mask=self.mask * ~region)

    def taking(self, region: Tensor, other: CutOut) -> CutOut:
        """With another's pixels in a region (H, W) bool."""
        colour, mask = (
            torch.where(region, other.colour, self.colour),
            torch.where(region, other.mask, self.mask),
        )
        return replace(self, colour=colour, mask=mask)

    def straight(self) -> Tensor:
        """Linear colours (3, H, W) of the object, not weighted by how much it covers; 0 where it is not."""
        srgb = (self.colour / self.mask.clamp_min(1e-3)) * (self.mask > 0)
        return torch.from_numpy(srgb_to_linear(srgb.double().numpy())).float()


@dataclass(frozen=True, eq=False)
class ChangedScene:
    """``finish`` is what is still to be done to the image before a background. ``rotation`` (3, 3) is the
    pose to be read. Of a part's change: the ``share`` of the object's visible pixels that it touches, and the
    pose of that part where it is turned, ``other``."""

    name: str
    cut: CutOut
    rotation: Tensor
    finish: Finish | None = None
    share: float = math.nan
    other: Tensor | None = None

    def before(self, background: Tensor) -> Tensor:
        """The image (3, H, W)."""
        image = self.cut.before(background)
        return image if self.finish is None else self.finish(image[None])[0]


@dataclass(frozen=True, eq=False)
class StudiedView:
    """An object, the camera and light that show it, and what is random about its changes."""

    thing: Object3D
    camera: Camera
    light: Light
    random: np.random.Generator

    @classmethod
    def of(cls, plan: DatasetConfig, thing: Object3D, identity: int) -> tuple[StudiedView, list[Tensor]]:
        """The first view of a plan's object, and what it stands before: (3, H, W) of each of BACKGROUNDS."""
        rng = plan.generator(identity, 0)
        camera = plan.camera(thing.vertices, 0, rng)
        light = plan.light(rng)
        backgrounds = []
        for name in named.BACKGROUNDS:
            pixels = random_background(copy.deepcopy(rng), plan.size, *named_background(name))
            backgrounds.append(torch.tensor(pixels).permute(2, 0, 1).float() / 255)
        own = np.random.default_rng([plan.seed, identity, OF_CHANGES])
        return cls(thing, camera, light, own), backgrounds

    def changes(self) -> Iterator[ChangedScene]:
        """All of them, the unchanged one first; of the parts those in sight, if there are two or more."""
        pose = torch.from_numpy(self.camera.rotation).float()
        image = Renderer(self.thing).image(self.camera, self.light)
        whole = CutOut.of(image)
        for name, cut in self._wholes(whole).items():
            yield ChangedScene(name, cut, pose)
        for name, finish in _finishes().items():
            yield ChangedScene(name, whole, pose, finish)
        yield ChangedScene(named.MIRRORED, whole, MIRROR @ pose @ MIRROR, lambda image: image.flip(-1))
        seen = self._in_sight(image)
        if len(seen) > 1:
            yield from self._parts(whole.without_shadow(), seen, pose)

    def removals(self) -> tuple[dict[str, Tensor], list[ChangedScene]]:
        """Where each part in sight is seen (H, W) bool; and the unchanged object, then by part what is left
        without it and, unless the part is too large for one, its control: as of ``changes``, in few
        renderings; the pixels of a control are drawn anew."""
        pose = torch.from_numpy(self.camera.rotation).float()
        image = Renderer(self.thing).image(self.camera, self.light)
        seen, whole = self._in_sight(image), CutOut.of(image)
        scenes, bare = [ChangedScene(named.UNCHANGED, whole, pose)], whole.without_shadow()
        for part, region in seen.items():
            share = float((bare.mask * region).sum() / bare.mask.sum())
            left = self._shown(self.thing.without(part)).without_shadow()
            scenes.append(ChangedScene(named.removed(part), left, pose, share=share))
            other = elsewhere(bare.mask, region, self.random)
            if other is not None:
                name = named.control(named.covered(part))
                scenes.append(ChangedScene(name, bare.covered(other), pose, share=share))
        return seen, scenes

    def _in_sight(self, image: RenderedImage) -> dict[str, Tensor]:
        mask = torch.from_numpy(image.mask).float() / 255
        regions = part_regions(image, self.thing.parts)
        return {name: one for name, one in regions.items() if (mask * one).mean() >= LEAST_SEEN}

    def _shown(self, thing: Object3D, light: Light | None = None) -> CutOut:
        return CutOut.of(Renderer(thing).image(self.camera, light or self.light))

    def _wholes(self, whole: CutOut) -> dict[str, CutOut]:
        """Changes of the whole object."""
        bare = whole.without_shadow()
        key = np.array(self.light.direction)
        turned = direction(math.degrees(math.atan2(key[0], -key[1])) + 90, math.degrees(math.asin(key[2])))
        untextured = self._shown(without_texture(self.thing))
        return {
            named.UNCHANGED: whole,
            named.NO_SHADOW: bare,
            named.SILHOUETTE: replace(bare, colour=GREY * bare.mask.expand(3, -1, -1)),
            named.INTERIOR: without_outline(bare),
            named.UNTEXTURED: replace(untextured, shadow=whole.shadow),
            named.UNSHADED: self._unshaded(whole),
            named.RELIT: self._shown(self.thing, replace(self.light, direction=turned)),
        }

    def _unshaded(self, whole: CutOut) -> CutOut:
        """The surfaces' own colours, as bright in the mean as before: what they send back of an even sky,
        over what white ones would."""
        white = replace(self.thing, materials=(Material("white", (1, 1, 1)),) * len(self.thing.materials))
        own, sky = self._shown(self.thing, SKY).straight(), self._shown(white, SKY).straight()
        flat = own / sky.clamp_min(0.02)
        before, after = ((one.mean(0) * whole.mask).sum() for one in (whole.straight(), flat))
        srgb = linear_to_srgb((flat * before / after.clamp_min(1e-6)).clamp(0, 1).double().numpy())
        return replace(whole, colour=torch.from_numpy(srgb).float() * whole.mask)

    def _parts(self, bare: CutOut, seen: dict[str, Tensor], pose: Tensor) -> Iterator[ChangedScene]:
        painted = self._shown(self._painted(bare)).without_shadow()
        total = float(bare.mask.sum())
        for part, region in seen.items():
            share = float((bare.mask * region).sum()) / total
            left = self._shown(self.thing.without(part)).without_shadow()
            changed = {
                named.removed(part): left,
                named.covered(part): bare.covered(region),
                named.repainted(part): bare.taking(region, painted),
            }
            for name, cut in changed.items():
                yield ChangedScene(name, cut, pose, share=share)
            other = elsewhere(bare.mask, region, self.random)
            if other is not None:
                as_much = float((bare.mask * other).sum()) / total
                controls = {
                    named.covered(part): bare.covered(other),
                    named.repainted(part): bare.taking(other, painted),
                }
                for name, cut in controls.items():
                    yield ChangedScene(named.control(name), cut, pose, share=as_much)
            for degrees in named.TURNS:
                yield self._turned(part, degrees, pose)

    def _painted(self, bare: CutOut) -> Object3D:
        """All in one plain colour, far from its own."""
        mean = bare.straight().mul(bare.mask).sum((1, 2)) / bare.mask.sum()
        paints = [paint(self.random) for _ in range(COLOURS)]
        far = max(paints, key=lambda one: float((torch.tensor(one) - mean).abs().sum()))
        return replace(self.thing, materials=(Material("plain", far),) * len(self.thing.materials))

    def _turned(self, part: str, degrees: int, pose: Tensor) -> ChangedScene:
        image = Renderer(with_turned_part(self.thing, part, degrees)).image(self.camera, self.light)
        cut = CutOut.of(image).without_shadow()
        region = part_regions(image, self.thing.parts)[part]
        share = float((cut.mask * region).sum() / cut.mask.sum())
        own = pose @ torch.as_tensor(turn_about(float(degrees), 2)).float()
        return ChangedScene(named.turned(part, degrees), cut, pose, share=share, other=own)


def _finishes() -> dict[str, Finish]:
    """Changes of the image with its background."""
    found: dict[str, Finish] = {named.EDGES: edges_alone}
    for cutoff in named.CUTOFFS:
        for keeps in ("low", "high"):
            found[filtered(keeps, cutoff)] = _band(keeps == "low", cutoff)
    return found


def filtered(keeps: str, cutoff: int) -> str:
    """The name of a filter that keeps "low" or "high" frequencies, in cycles per image."""
    return f"{keeps}-pass, {cutoff} cycles"


def _band(low: bool, cutoff: int) -> Finish:
    return lambda images: low_pass(images, cutoff) if low else high_pass(images, cutoff)


# -- regions and parts -----------------------------------------------------------------------------------


def part_regions(image: RenderedImage, parts: tuple[str, ...]) -> dict[str, Tensor]:
    """The pixels (H, W) bool in which each part is seen; pixels of the outline, which the part covers in
    part, are among them."""
    label = torch.from_numpy(image.parts).float()
    spread = F.max_pool2d(label[None], 3, 1, 1)[0]
    label = torch.where((label == 0) & torch.from_numpy(image.mask > 0), spread, label)
    return {name: label == 1 + place for place, name in enumerate(parts)}


def elsewhere(mask: Tensor, region: Tensor, rng: np.random.Generator) -> Tensor | None:
    """A region (H, W) bool that covers as much of the object as another, to half a pixel, and shares no pixel
    with it: the object's pixels that are nearest to a random one. None if not so much is left.

    Example:
        >>> mask, part = torch.ones(8, 8), torch.zeros(8, 8, dtype=torch.bool)
        >>> part[:2] = True
        >>> other = elsewhere(mask, part, np.random.default_rng(0))
        >>> int(other.sum()), bool((other & part).any())
        (16, False)
    """
    area = float((mask * region).sum())
    rows, columns = ((mask > 0) & ~region).nonzero(as_tuple=True)
    if float(mask[rows, columns].sum()) < area:
        return None
    solid = (mask[rows, columns] > FULL).nonzero()[:, 0]
    centre = solid[int(rng.integers(len(solid)))] if len(solid) else torch.tensor(0)
    order = ((rows - rows[centre]).square() + (columns - columns[centre]).square()).argsort(stable=True)
    grown = mask[rows, columns][order].cumsum(0)
    chosen = order[: int((grown - area).abs().argmin()) + 1]
    found = torch.zeros_like(region)
    found[rows[chosen], columns[chosen]] = True
    return found


def with_turned_part(thing: Object3D, name: str, degrees: float) -> Object3D:
    """The object with one part turned about its vertical axis, counter-clockwise from above."""
    turn = np.asarray(turn_about(degrees, 2), np.float32)
    own = thing.part == thing.part_index(name)
    faces, normals = thing.faces.copy(), thing.normals.copy()
    faces[own] += len(thing.vertices)
    normals[own] = normals[own] @ turn.T
    vertices = np.concatenate([thing.vertices, thing.vertices @ turn.T]).astype(np.float32)
    return replace(thing, vertices=vertices, faces=faces, normals=normals)


def without_texture(thing: Object3D) -> Object3D:
    """The object with each material in its texture's mean colour."""
    plain = []
    for one in thing.materials:
        mean = np.ones(3) if one.texture is None else one.texture.mean((0, 1))
        red, green, blue = (np.array(one.colour) * mean).tolist()
        plain.append(replace(one, texture=None, colour=(red, green, blue)))
    return replace(thing, materials=tuple(plain))


# -- outlines, edges and frequencies -----------------------------------------------------------------------


def without_outline(cut: CutOut) -> CutOut:
    """The interior alone: within a disc around the object its own colours go on outwards, so that where it
    ended no contrast is left."""
    rows, columns = (cut.mask > 0).nonzero(as_tuple=True)
    side = cut.mask.shape[-1]
    middle = torch.stack([rows, columns]).float().aminmax(dim=1)
    y, x = ((middle.min + middle.max) / 2).tolist()
    radius = float(torch.hypot(rows - y, columns - x).max()) + 2
    grid = torch.arange(side)
    away = torch.hypot((grid - y)[:, None], (grid - x)[None])
    disc = (radius + 0.5 - away).clamp(0, 1)
    colour = cut.colour + (1 - cut.mask) * _outwards(cut.colour[None], cut.mask[None, None])[0]
    return replace(cut, colour=colour * disc, mask=disc)


def _outwards(colour: Tensor, mask: Tensor) -> Tensor:
    """Colours (1, 3, H, W) where the mask (1, 1, H, W) is 0, of what lies near: a pyramid of means."""
    known = colour / mask.clamp_min(1e-3)
    if min(mask.shape[-2:]) == 1:
        return known
    halves = (F.avg_pool2d(one, 2, ceil_mode=True, count_include_pad=False) for one in (colour, mask))
    small, weight = halves
    solid = (4 * weight).clamp_max(1)  # one covered pixel of four is enough
    coarse = _outwards(small / weight.clamp_min(1e-3) * solid, solid)
    far = F.interpolate(coarse, mask.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(mask > FULL, known, far)


def edges_alone(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) as dark lines on white, as dark as the luminance changes; the 99th percentile of
    each is black."""
    weights = torch.tensor(LUMINANCE)[None, :, None, None]
    grey = F.pad((images * weights).sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    across, down = F.conv2d(grey, torch.stack([kernel, kernel.T])[:, None]).unbind(1)
    strength = torch.hypot(across, down)
    most = strength.flatten(1).quantile(0.99, dim=1).clamp_min(1e-6)
    return (1 - strength / most[:, None, None]).clamp(0, 1)[:, None].expand(-1, 3, -1, -1)


def low_pass(images: Tensor, cutoff: float) -> Tensor:
    """Images (N, 3, H, W) through a Gaussian filter that passes half at so many cycles per image; they are
    continued by reflection."""
    side = images.shape[-1]
    wide = F.pad(images, (side // 2,) * 4, mode="reflect")
    y, x = (torch.fft.fftfreq(wide.shape[axis])[:, None] * side for axis in (-2, -1))
    passes = torch.exp(-math.log(2) * (y.square() + x.T.square()) / cutoff**2)
    found: Tensor = torch.fft.ifft2(torch.fft.fft2(wide) * passes).real
    return found[..., side // 2 : -(side // 2), side // 2 : -(side // 2)].clamp(0, 1)


def high_pass(images: Tensor, cutoff: float) -> Tensor:
    """What ``low_pass`` takes away, about a mid grey."""
    return (0.5 + images - low_pass(images, cutoff)).clamp(0, 1)
