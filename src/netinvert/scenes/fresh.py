"""Views of objects rendered in memory: fresh objects, cameras, light and backgrounds."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netinvert.scenes.backgrounds import composite, named_background, random_background
from netinvert.scenes.catalogue import ObjectSource
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import image_maker
from netinvert.scenes.furniture import FRONTLESS, has_word

UPRIGHT: Mapping[str, Any] = {"elevation": (10.0, 35.0), "in_plane": 0.0, "lights": "studio"}
"""Of a plan: furniture as it stands before whoever sits down, in studio light."""


@dataclass(frozen=True, eq=False)
class TestViews:
    """N images (N, 3, H, W) in [0, 1] with what is known of them."""

    __test__ = False  # pytest: no test case
    images: Tensor
    rotation: Tensor
    symmetry: Tensor
    identity: Tensor
    elevation: Tensor
    parameters: tuple[Mapping[str, Any], ...]

    @property
    def scored(self) -> Tensor:
        """Which (N,) show an object whose pose is known: all but those of a library that are called by a word
        of ``furniture.FRONTLESS``, whose symmetry nothing tells."""
        return torch.tensor([not has_word(str(one.get("name", "")), FRONTLESS) for one in self.parameters])

    @property
    def frontless(self) -> Tensor:
        """Which (N,) show an object that looks the same from several sides, or is called so."""
        return (self.symmetry != 1) | ~self.scored

    def only(self, chosen: Tensor) -> TestViews:
        """Those that are chosen, (N,) bool."""
        rows = {one.name: getattr(self, one.name) for one in fields(self)}
        some = {name: value[chosen] for name, value in rows.items() if isinstance(value, Tensor)}
        kept = zip(self.parameters, chosen.tolist(), strict=True)
        return TestViews(**some, parameters=tuple(one for one, here in kept if here))

    @classmethod
    def joined(cls, parts: list[TestViews]) -> TestViews:
        """All together; the identities of each come after those of the one before."""
        start, identities = 0, []
        for one in parts:
            identities.append(one.identity + start)
            start += int(one.identity.max()) + 1
        names = ("images", "rotation", "symmetry", "elevation")
        rows = {name: torch.cat([getattr(one, name) for one in parts]) for name in names}
        told = tuple(facts for one in parts for facts in one.parameters)
        return cls(**rows, identity=torch.cat(identities), parameters=told)


@dataclass(frozen=True, eq=False)
class TransparentViews:
    """A plan's views before backgrounds: ``rgba`` (N, H, W, 4) uint8, the rest as in ``TestViews``; and what
    is random about each from here on."""

    rgba: NDArray[np.uint8]
    rotation: Tensor
    symmetry: Tensor
    identity: Tensor
    elevation: Tensor
    parameters: tuple[Mapping[str, Any], ...]
    random: tuple[np.random.Generator, ...]

    def before(self, background: str) -> TestViews:
        """On backgrounds, as of ``named_background``; always the same ones. Raises ConfigError."""
        kind, photographs = named_background(background)
        size = self.rgba.shape[1]
        images = [
            composite(rgba, random_background(copy.deepcopy(rng), size, kind, photographs))
            for rgba, rng in zip(self.rgba, self.random, strict=True)
        ]
        known = ("rotation", "symmetry", "identity", "elevation", "parameters")
        return TestViews(
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255,
            **{name: getattr(self, name) for name in known},
        )


def rendered_views(
    plan: DatasetConfig,
    source: ObjectSource | None = None,
    identities: Iterable[int] | None = None,
) -> TransparentViews:
    """Render a plan's views in memory; ``source`` replaces the plan's own; ``identities`` are some of them.

    Raises MissingExtraError: the extra scenes, or mitsuba for path tracing, is not installed; MeshError: a
    file cannot be read."""
    rows = []
    source = plan.source() if source is None else source
    for identity in range(plan.identities) if identities is None else identities:
        thing = source.make(plan.object_seed(identity), identity)
        render = image_maker(plan, thing)
        for view in range(plan.views):
            rng = plan.generator(identity, view)
            camera = plan.camera(thing.vertices, view, rng)
            seen = render(camera, plan.light(rng), view).rgba
            facts = thing.parameters
            rows.append((seen, camera.rotation, thing.symmetry, identity, camera.elevation, facts, rng))
    rgba, rotations, symmetries, identities, elevations, parameters, random = zip(*rows, strict=True)
    return TransparentViews(
        np.stack(rgba),
        torch.from_numpy(np.stack(rotations)).float(),
        torch.tensor(symmetries),
        torch.tensor(identities),
        torch.tensor(elevations),
        parameters,
        random,
    )


def fresh_views(plan: DatasetConfig) -> TestViews:
    """A plan's views on its backgrounds (all kinds if it names none). Raises as ``rendered_views``, and
    ConfigError: an unknown background."""
    return rendered_views(plan).before(plan.background)
