"""What a generator learned, rendered again, and what can be said of a view without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.files import refusing
from netinvert.models.generator import Generator
from netinvert.scenes.cameras import Camera
from netinvert.scenes.catalogue import CATEGORIES
from netinvert.scenes.dataset_config import CHAIRS62, RING, DatasetConfig
from netinvert.scenes.objects import Object3D
from netinvert.training.views.turntables import AZIMUTHS, KnownViews, rendered_ring

WHITE = (1.0, 1.0, 1.0)
RING_AZIMUTH, RING_ELEVATION = torch.tensor(RING).unbind(1)
"""Of the 62 views, in degrees."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The ``plan`` of the dataset that a generator learned, which ``identities`` of it its objects are, and
    which of their views it ``known`` (I, 62)."""

    plan: DatasetConfig
    identities: tuple[int, ...]
    known: Tensor

    @classmethod
    def of(cls, generator: Generator) -> Truth:
        """As far as the generator's file tells, which names no file. Raises ConfigError: it was trained on
        something else than 62 views of procedural objects in studio light."""
        facts = generator.facts
        with refusing(
            generator.name,
            ConfigError,
            "tells of no 62 views that can be rendered again",
            "train on a dataset of 'netinvert scenes render --views 62 --lights studio'",
        ):
            plan, learned = DatasetConfig.from_json(facts["data"]["plan"]), facts["plan"]
            identities = tuple(int(one) for one in facts["objects"])
            if (plan.protocol, plan.lights) != (CHAIRS62, "studio") or plan.objects not in CATEGORIES:
                raise ValueError(f"{plan.protocol} views of {plan.objects} in {plan.lights} light")
            if len(identities) != generator.module.form.identities or plan.size != generator.module.form.size:
                raise ValueError("others than its own")
            known = KnownViews(int(learned["known_azimuths"]), not learned["one_elevation"])
        return cls(plan, identities, known.mask(len(identities)))

    @property
    def held_out(self) -> tuple[int, ...]:
        """The generator's numbers of the objects of which it does not know all views. Raises ConfigError:
        there are none."""
        found = tuple((~self.known.all(1)).nonzero().flatten().tolist())
        if not found:
            raise ConfigError("the generator knows all views: train another with --known-azimuths 16, say")
        return found

    def thing(self, who: int) -> Object3D:
        """The object of a number."""
        identity = self.identities[who]
        return self.plan.source().make(self.plan.object_seed(identity), identity)

    def camera(self, thing: Object3D, view: int) -> Camera:
        """The camera of one of an object's views."""
        return self.plan.camera(thing.vertices, view, self.plan.generator(0, view))

    def distance(self, who: int) -> float:
        """Of the cameras from an object."""
        return float(np.linalg.norm(self.camera(self.thing(who), 0).position))

    def ring(self, who: int) -> Tensor:
        """The 62 views of an object, uint8 (62, 4, H, W), as ``Turntables``. Raises MissingExtraError."""
        return rendered_ring(self.plan, self.thing(who))

    def view(self, who: int, view: int) -> Tensor:
        """One of them, uint8 (4, H, W)."""
        return rendered_ring(self.plan, self.thing(who), [view])[0]


def on_paper(planes: Tensor, colour: Sequence[float] = WHITE) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] of colours multiplied by the mask, and the mask, (N, 4, H, W) in [0, 1],
    before paper of a colour."""
    return (planes[:, :3] + (1 - planes[:, 3:]) * torch.tensor(colour)[:, None, None]).clamp(0, 1)


def neighbours(known: Tensor, view: int) -> tuple[int, int, float]:
    """The known views (62,) that are next to one, at its elevation where any are, else at the other: before
    and after it in azimuth, and where between them it lies, 0 to 1. Raises ConfigError: none is known."""
    rows, row, place = known.reshape(-1, AZIMUTHS), *divmod(view, AZIMUTHS)
    row = row if rows[row].any() else 1 - row
    places = rows[row].nonzero().flatten()
    if not len(places):
        raise ConfigError("no view of the object is known: there is nothing to go by")
    back, on = (place - places) % AZIMUTHS, (places - place) % AZIMUTHS
    before, after = int(places[back.argmin()]), int(places[on.argmin()])
    gap = int(back.min()) + int(on.min())
    share = int(back.min()) / gap if gap else 0.0
    return before + row * AZIMUTHS, after + row * AZIMUTHS, share


def interpolated(ring: Tensor, known: Tensor, view: int) -> Tensor:
    """A view as the linear mixture of the two known ones next to it, (4, H, W) in [0, 1]."""
    before, after, share = neighbours(known, view)
    return torch.lerp(ring[before].float(), ring[after].float(), share) / 255


def nearest_view(ring: Tensor, known: Tensor, view: int) -> Tensor:
    """The known view nearest to one, (4, H, W) in [0, 1]."""
    before, after, share = neighbours(known, view)
    return ring[before if share <= 0.5 else after].float() / 255
