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
from netinvert.models.generator import Generator
from netinvert.scenes.backgrounds import PAPER
from netinvert.training.decoder.train import in_chunks
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
CEILINGS, FLOORS = (TRUE, DECODED, ORACLE), (SAME, MEAN, NEAREST)
METHODS = (DIRECTIONS, LINEAR, ORTHOGONAL, MAPPED, FITTED)


@dataclass(frozen=True, eq=False)
class NovelViews:
    """Unseen ``objects``, each shown in the view ``start`` (N,) of the first 31, and what there is to turn
    them: the objects ``known`` to the ``generator`` from all sides, by their ``places`` (M,) in it, an
    ``encoder`` and a ``decoder`` of its codes. The poses of all images are known, as in a dataset with
    cameras."""

    objects: Turntables
    start: Tensor
    known: Turntables
    places: Tensor
    generator: Generator
    encoder: Encoder
    decoder: Decoder

    def images(self, method: str, steps: int) -> Tensor:
        """What a method makes of all objects turned by so many 31ths of a turn, (N, 3, H, W). Raises
        ConfigError: no such method."""
        makers: dict[str, Callable[[int], Tensor]] = {
            TRUE: self.true,
            DECODED: lambda k: self._decoded(self._codes(self.true(k))),
            ORACLE: self._oracle,
            SAME: lambda k: self.sources,
            MEAN: self._mean,
            NEAREST: lambda k: self.known.images(self.nearest, self.target(k), GROUND),
            DIRECTIONS: self._along_directions,
            LINEAR: lambda k: self._operated(k, orthogonal=False),
            ORTHOGONAL: lambda k: self._operated(k, orthogonal=True),
            MAPPED: lambda k: self._drawn(self.mapped, k),
            FITTED: lambda k: self._drawn(self.fitted, k),
        }
        if method not in makers:
            raise ConfigError(f"no way {method!r} to a new view: there are {', '.join(makers)}")
        with torch.no_grad():
            return makers[method](steps).clamp(0, 1)

    def target(self, steps: int) -> Tensor:
        """The views (N,) after so many steps."""
        return (self.start + steps) % AZIMUTHS

    def true(self, steps: int) -> Tensor:
        """The true images (N, 3, H, W)."""
        return self.objects.images(torch.arange(len(self.start)), self.target(steps), GROUND)

    def masks(self, steps: int) -> Tensor:
        """Where the objects truly are, (N, 1, H, W)."""
        planes = self.objects.planes[torch.arange(len(self.start)), self.target(steps)]
        return planes[:, 3:].float() / 255

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

    def _decoded(self, codes: Tensor) -> Tensor:
        """On the paper of the others where the decoder tells the object from its background: of that the
        code of a turned object says nothing."""
        planes = self._decoded_planes(codes)
        return planes[:, :3] + (1 - planes[:, 3:]) * GROUND

    def _decoded_planes(self, codes: Tensor) -> Tensor:
        """Colours multiplied by the mask, and the mask, (N, 4, H, W); of a decoder without masks all."""
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

    def turned_planes(self, who: int) -> Tensor:
        """The ring of an object's code turned by linear operators and decoded, (31, 4, H, W): colours
        multiplied by the mask, and the mask."""
        own = self._codes(self.sources[who : who + 1])
        start = int(self.start[who])
        turns = [(view - start) % AZIMUTHS for view in range(AZIMUTHS)]
        codes = [self._operator(turn, False)(own) if turn else own for turn in turns]
        with torch.no_grad():
            return self._decoded_planes(self._possible(torch.cat(codes)))

    def _operated(self, steps: int, orthogonal: bool) -> Tensor:
        return self._decoded(self._possible(self._operator(steps, orthogonal)(self._codes(self.sources))))

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

    def _mean(self, steps: int) -> Tensor:
        planes = self.known.planes[:, self.target(steps)].float().mean(0) / 255
        return planes[:, :3] + (1 - planes[:, 3:]) * GROUND

    def _oracle(self, steps: int) -> Tensor:
        """The known object most like the true view, pixel by pixel."""
        every, chosen = torch.arange(len(self.known.planes)), []
        for image, view in zip(self.true(steps), self.target(steps).tolist(), strict=True):
            others = self.known.images(every, torch.full_like(every, view), GROUND)
            chosen.append(int((others - image).square().sum((1, 2, 3)).argmin()))
        return self.known.images(torch.tensor(chosen), self.target(steps), GROUND)

    def _drawn(self, embeddings: Tensor, steps: int) -> Tensor:
        azimuth, elevation = self._angles(self.target(steps))
        parts = zip(*(torch.split(one, 64) for one in (embeddings, azimuth, elevation)), strict=True)
        return torch.cat([self.generator(who, a, e, paper=GROUND) for who, a, e in parts])


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
