"""One object turned by its code and by a generator, mixed with others: what a page with sliders asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import NetworkError
from netinvert.io.images import fit
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.models.generator import Generator
from netinvert.views.novel import GROUND, fitted_embeddings
from netinvert.views.operators import IdentityMap, Turns, pose_features

OBJECTS, SIDES = 40, 12
"""Of the generator, from which it is learned how codes follow the pose."""
LARGEST = 5
"""Directions that are told."""


@dataclass(frozen=True, eq=False)
class Turned:
    """An object by its ``code`` (1, D), the pose in which it was seen, in degrees, and its ``embedding``
    (1, E) in the generator."""

    code: Tensor
    azimuth: float
    elevation: float
    embedding: Tensor


@dataclass(frozen=True, eq=False)
class Turner:
    """Turns and mixes objects. ``directions`` (K, D) are those in which codes of known objects, less what
    follows the pose, differ most, each as long as one deviation; ``low`` and ``high`` (D,) are bounds of
    what the units say of known objects.

    >>> from netinvert.models.decoder import load_decoder
    >>> from netinvert.models.generator import load_generator
    >>> turner = Turner.fitted(load_decoder("posenet-fc6"), load_generator("chairs"), objects=4)
    >>> chair = turner.seen(torch.rand(1, 3, 128, 128))
    >>> turner.decoded(turner.mixed([(1.0, chair)], 90.0, 20.0)).shape
    torch.Size([1, 3, 128, 128])
    """

    encoder: Encoder
    decoder: Decoder
    generator: Generator
    identity: IdentityMap
    turns: Turns
    directions: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    @torch.no_grad()
    def fitted(
        cls,
        decoder: Decoder,
        generator: Generator,
        objects: int = OBJECTS,
        told: Callable[[float], object] = lambda share: None,
    ) -> Turner:
        """From the codes of a generator's objects from all sides; ``told`` how much of them is there. Raises
        NetworkError: the decoder's network tells no pose."""
        encoder = decoder.encoder()
        if encoder.network.read_pose is None:
            raise NetworkError(f"{encoder.network.name} tells no pose: give a decoder of a pose network")
        azimuth = torch.arange(SIDES) * (360 / SIDES)
        low, high = generator.elevations
        codes = []
        for k in range(objects):
            elevation = torch.full((SIDES,), low + (high - low) * k / max(1, objects - 1))
            images = generator(k, azimuth, elevation, paper=GROUND)
            codes.append((encoder(images).flatten(1), azimuth + 0.0, elevation))
            told((k + 1) / objects)
        known, sides, heights = (torch.cat(part) for part in zip(*codes, strict=True))
        who = torch.arange(objects).repeat_interleave(SIDES)
        identity = IdentityMap.fitted(known, sides, heights, generator.embedded(who))
        rest = known - pose_features(sides, heights) @ identity.directions.weights
        _, scale, main = torch.linalg.svd(rest - rest.mean(0), full_matrices=False)
        directions = (scale[:LARGEST, None] / len(rest) ** 0.5) * main[:LARGEST]
        turns = Turns.fitted(known.reshape(objects, SIDES, -1))
        return cls(encoder, decoder, generator, identity, turns, directions, known.amin(0), known.amax(0))

    @torch.no_grad()
    def seen(self, image: Tensor) -> Turned:
        """What an image (1, 3, H, W) shows, by the network's own reading of the pose."""
        network, images = self.encoder.network, self.encoder.fit(image)
        assert network.read_pose is not None
        pose = network.read_pose(network.module(self.encoder.network_input(images)))
        code = self.encoder(images).flatten(1)
        embedding = self.identity(code, pose.azimuth, pose.elevation)
        return Turned(code, float(pose.azimuth) % 360, float(pose.elevation), embedding)

    def refined(self, image: Tensor, seen: Turned) -> Turned:
        """With the embedding with which the generator draws the image best: some seconds."""
        size = self.generator.module.form.size
        small = fit(image, (size, size))
        angles = torch.tensor([seen.azimuth]), torch.tensor([seen.elevation])
        embedding = fitted_embeddings(self.generator, small, angles, seen.embedding)
        return Turned(seen.code, seen.azimuth, seen.elevation, embedding)

    def mixed(self, parts: list[tuple[float, Turned]], azimuth: float, elevation: float) -> Turned:
        """The sum of objects, each times its weight, after all were turned to one pose: a morph has weights
        1 − t and t, arithmetic 1, −1 and 1."""
        turned = [weight * self._turned(one, azimuth, elevation) for weight, one in parts]
        embedding = torch.stack([weight * one.embedding for weight, one in parts]).sum(0)
        return Turned(torch.stack(turned).sum(0), azimuth, elevation, embedding)

    def _turned(self, one: Turned, azimuth: float, elevation: float) -> Tensor:
        """The code by the operators of azimuths, which turn far, and for the elevation along directions."""
        code = self.turns(one.code, azimuth - one.azimuth)
        side, before, after = (torch.tensor([angle]) for angle in (azimuth, one.elevation, elevation))
        return self.identity.directions.turned(code, (side, before), (side, after))

    def moved(self, what: Turned, amounts: list[float]) -> Turned:
        """Along the largest directions, by so many deviations each; the generator's object as what the code
        then tells of it."""
        step = torch.tensor([amounts]) @ self.directions[: len(amounts)]
        embedding = what.embedding + step @ self.identity.weights
        return Turned(what.code + step, what.azimuth, what.elevation, embedding)

    @torch.no_grad()
    def decoded(self, what: Turned) -> Tensor:
        """The decoder's image (1, 3, H, W), of a code within the bounds; on paper where it tells the object
        from its background, of which the code of a turned object says nothing."""
        code = torch.maximum(torch.minimum(what.code, self.high), self.low).reshape(
            -1, *self.encoder.code_shape
        )
        image = self.decoder(code)
        return image if not self.decoder.has_mask else GROUND + (image - GROUND) * self.decoder.mask(code)

    @torch.no_grad()
    def drawn(self, what: Turned) -> Tensor:
        """The generator's image (1, 3, H, W)."""
        return self.generator(what.embedding, what.azimuth, what.elevation, paper=GROUND)
