"""An object seen from a new side, from one image of it: by its code, turned and decoded; by a generator,
whose identity for it is sought; and without any of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.metrics import ssim
from netinvert.io.images import fit
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.models.generator import Generator, view_numbers
from netinvert.scenes.backgrounds import PAPER
from netinvert.training.decoder.train import in_chunks
from netinvert.training.views.encoder_decoder import EncoderDecoder
from netinvert.training.views.turntables import AZIMUTHS, Turntables
from netinvert.views.operators import IdentityMap, PoseDirections, TurnOperator

GROUND = sum(PAPER) / (3 * 255)
"""The grey before which objects stand."""
FIT_STEPS, FIT_RATE = 150, 0.05
"""Of Adam, in a generator's embedding."""
TYPICAL = 1e-3
"""The weight of an embedding's distance from those of known objects."""
TRUE, DECODED, ORACLE = (
    "the true view",
    "the code of the true view, decoded",
    "the known object nearest to it",
)
SAME, MEAN, NEAREST = "the image itself", "the mean object in that view", "the nearest known object, turned"
DIRECTIONS, LINEAR, ORTHOGONAL = (
    "code along pose directions, decoded",
    "code by a linear operator, decoded",
    "code by an orthogonal operator, decoded",
)
MAPPED, FITTED = "code mapped to the generator", "fitted in the generator"
TOLD = "encoder-decoder, told the view"
CEILINGS, FLOORS = (TRUE, DECODED, ORACLE), (SAME, MEAN, NEAREST)
METHODS = (DIRECTIONS, LINEAR, ORTHOGONAL, MAPPED, FITTED, TOLD)


@dataclass(frozen=True, eq=False)
class NovelViews:
    """Unseen ``objects``, each shown in the view ``start`` (N,) of the first 31, and what there is to turn
    them: the objects ``known`` to the ``generator`` from all sides, by their ``places`` (M,) in it, a
    ``decoder`` of codes, and an ``encoder_decoder``. The poses of all images are known, as in a dataset with
    cameras; the last does not ask for that of the given image."""

    objects: Turntables
    start: Tensor
    known: Turntables
    places: Tensor
    generator: Generator
    decoder: Decoder
    encoder_decoder: EncoderDecoder

    def planes(self, method: str, steps: int) -> Tensor:
        """What a method makes of all objects turned by so many 31ths of a turn: colours multiplied by the
        mask, and the mask, (N, 4, H, W) in [0, 1]. Raises ConfigError: no such method."""
        makers: dict[str, Callable[[int], Tensor]] = {
            TRUE: self._true,
            DECODED: lambda k: self._decoded(self._codes(self.true(k))),
            ORACLE: lambda k: self._known(self._most_like(k), k),
            SAME: lambda k: self._true(0),
            MEAN: lambda k: self.known.planes[:, self.target(k)].float().mean(0) / 255,
            NEAREST: lambda k: self._known(self.nearest, k),
            DIRECTIONS: self._along_directions,
            LINEAR: lambda k: self._operated(k, orthogonal=False),
            ORTHOGONAL: lambda k: self._operated(k, orthogonal=True),
            MAPPED: lambda k: self._drawn(self.mapped, k),
            FITTED: lambda k: self._drawn(self.fitted, k),
            TOLD: self._told,
        }
        if method not in makers:
            raise ConfigError(f"no way {method!r} to a new view: there are {', '.join(makers)}")
        with torch.no_grad():
            return makers[method](steps).clamp(0, 1)

    def images(self, method: str, steps: int) -> Tensor:
        """The same before paper, (N, 3, H, W)."""
        planes = self.planes(method, steps)
        return (planes[:, :3] + (1 - planes[:, 3:]) * GROUND).clamp(0, 1)

    def ring(self, method: str) -> Tensor:
        """What a method makes of each object in each of the first 31 views, uint8 (N, 31, 4, H, W)."""
        size, every = self.objects.size, torch.arange(len(self.start))
        found = torch.empty((len(every), AZIMUTHS, 4, size, size), dtype=torch.uint8)
        for steps in range(AZIMUTHS):
            found[every, self.target(steps)] = (255 * self.planes(method, steps)).round().to(torch.uint8)
        return found

    def target(self, steps: int) -> Tensor:
        """The views (N,) after so many steps."""
        return (self.start + steps) % AZIMUTHS

    def true(self, steps: int) -> Tensor:
        """The true images (N, 3, H, W)."""
        return self.images(TRUE, steps)

    def masks(self, steps: int) -> Tensor:
        """Where the objects truly are, (N, 1, H, W)."""
        return self._true(steps)[:, 3:]

    @cached_property
    def encoder(self) -> Encoder:
        """Of the codes that are turned."""
        return self.decoder.encoder()

    @cached_property
    def sources(self) -> Tensor:
        """The images that are given, (N, 3, H, W)."""
        return self.true(0)

    @cached_property
    def known_codes(self) -> Tensor:
        """(M, 31, D) of the known objects."""
        count = len(self.known.planes)
        who = torch.arange(count).repeat_interleave(AZIMUTHS)
        view = torch.arange(AZIMUTHS).repeat(count)
        parts = zip(torch.split(who, 256), torch.split(view, 256), strict=True)
        codes = torch.cat([self._codes(self.known.images(*part, GROUND)) for part in parts])
        return codes.reshape(count, AZIMUTHS, -1)

    @cached_property
    def nearest(self) -> Tensor:
        """Which known object (N,) is most like each by its code in the given view."""
        return (self.known_codes[:, self.start] - self._codes(self.sources)).square().sum(2).argmin(0)

    @cached_property
    def mapped(self) -> Tensor:
        """Embeddings (N, E) by a linear map from the codes of the images that are given."""
        azimuth, elevation = self._angles(torch.arange(AZIMUTHS))
        count = len(self.places)
        embeddings = self.generator.embedded(self.places).repeat_interleave(AZIMUTHS, 0)
        found = IdentityMap.fitted(
            self.known_codes.flatten(0, 1), azimuth.repeat(count), elevation.repeat(count), embeddings
        )
        return found(self._codes(self.sources), *self._angles(self.start))

    @cached_property
    def fitted(self) -> Tensor:
        """Embeddings (N, E) with which the generator draws the images that are given, and which are not far
        from those of known objects."""
        return fitted_embeddings(self.generator, self.sources, self._angles(self.start), self.mapped)

    def _angles(self, view: Tensor) -> tuple[Tensor, Tensor]:
        return self.objects.azimuth[view], self.objects.elevation[view]

    def _codes(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return in_chunks(self.encoder, images).flatten(1)

    def _true(self, steps: int) -> Tensor:
        return self.objects.planes[torch.arange(len(self.start)), self.target(steps)].float() / 255

    def _known(self, which: Tensor, steps: int) -> Tensor:
        return self.known.planes[which, self.target(steps)].float() / 255

    def _decoded(self, codes: Tensor) -> Tensor:
        """Of a decoder that does not tell the object from its background, all counts as the object."""
        codes = codes.reshape(-1, *self.encoder.code_shape)
        made = in_chunks(self.decoder, codes)
        mask = torch.ones_like(made[:, :1])
        if self.decoder.has_mask:
            mask = in_chunks(self.decoder.mask, codes)
        return fit(torch.cat([made * mask, mask], 1), (self.objects.size, self.objects.size))

    def _along_directions(self, steps: int) -> Tensor:
        count = len(self.known.planes)
        azimuth, elevation = self._angles(torch.arange(AZIMUTHS))
        along = PoseDirections.fitted(
            self.known_codes.flatten(0, 1), azimuth.repeat(count), elevation.repeat(count)
        )
        ends = (self._angles(view) for view in (self.start, self.target(steps)))
        return self._decoded(self._possible(along.turned(self._codes(self.sources), *ends)))

    def _operated(self, steps: int, orthogonal: bool) -> Tensor:
        codes = self._codes(self.sources)
        turned = self._operator(steps, orthogonal)(codes) if steps % AZIMUTHS else codes
        return self._decoded(self._possible(turned))

    def _operator(self, steps: int, orthogonal: bool) -> TurnOperator:
        """Of pairs of all known objects, from every side, turned by the angle."""
        key = (steps, orthogonal)
        if key not in self._operators:
            after = self.known_codes.roll(-steps, 1)
            pairs = self.known_codes.flatten(0, 1), after.flatten(0, 1)
            self._operators[key] = TurnOperator.fitted(*pairs, orthogonal)
        return self._operators[key]

    @cached_property
    def _operators(self) -> dict[tuple[int, bool], TurnOperator]:
        """Those that were fitted."""
        return {}

    def _possible(self, codes: Tensor) -> Tensor:
        """Codes within what the units say of known objects: no less than 0 behind a ReLU, say."""
        low, high = self.known_codes.amin((0, 1)), self.known_codes.amax((0, 1))
        return torch.maximum(torch.minimum(codes, high), low)

    def _most_like(self, steps: int) -> Tensor:
        """The known objects (N,) that are most like the true views, pixel by pixel."""
        every, chosen = torch.arange(len(self.known.planes)), []
        for image, view in zip(self.true(steps), self.target(steps).tolist(), strict=True):
            others = self.known.images(every, torch.full_like(every, view), GROUND)
            chosen.append(int((others - image).square().sum((1, 2, 3)).argmin()))
        return torch.tensor(chosen)

    def _told(self, steps: int) -> Tensor:
        view = view_numbers(*self._angles(self.target(steps)))
        parts = zip(torch.split(self.sources, 64), torch.split(view, 64), strict=True)
        return fit(
            torch.cat([self.encoder_decoder(*part) for part in parts]),
            (self.objects.size, self.objects.size),
        )

    def _drawn(self, embeddings: Tensor, steps: int) -> Tensor:
        azimuth, elevation = self._angles(self.target(steps))
        parts = zip(*(torch.split(one, 64) for one in (embeddings, azimuth, elevation)), strict=True)
        return torch.cat([self.generator.layers(*part) for part in parts])


def fitted_embeddings(
    generator: Generator, images: Tensor, angles: tuple[Tensor, Tensor], start: Tensor
) -> Tensor:
    """Embeddings (N, E) with which a generator draws images (N, 3, H, W) that are seen from angles (N,) in
    degrees: least squares by Adam from ``start``, with their distance from the mean of the known objects, in
    deviations of these."""
    table = generator.embedded(torch.arange(generator.module.form.identities))
    mean, deviation = table.mean(0), table.std(0).clamp_min(1e-6)
    found = []
    with torch.enable_grad():
        for part in torch.split(torch.arange(len(images)), 16):
            embedding = start[part].clone().requires_grad_(True)
            optimizer = torch.optim.Adam([embedding], FIT_RATE)
            for _ in range(FIT_STEPS):
                drawn = generator(embedding, angles[0][part], angles[1][part], paper=GROUND)
                off = (drawn - images[part]).square().mean((1, 2, 3))
                far = ((embedding - mean) / deviation).square().mean(1)
                optimizer.zero_grad()
                torch.autograd.backward((off + TYPICAL * far).sum())
                optimizer.step()
            found.append(embedding.detach())
    return torch.cat(found)


def view_measures(images: Tensor, true: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Of images (N, 3, H, W) against true ones, image by image (N,): the mean absolute error over the
    object's pixels, and SSIM where all around the object is as it should be."""
    inside = masks * (images - true).abs()
    around = masks * images + (1 - masks) * true
    return {
        "l1": inside.sum((1, 2, 3)) / (3 * masks.sum((1, 2, 3))).clamp_min(1),
        "ssim": ssim(around, true),
    }
