"""Image priors by name, with the weights at which they go beside a data term of weight 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from netinvert.errors import ConfigError
from netinvert.inversion.objectives import Term
from netinvert.inversion.priors import (
    BatchNormStatistics,
    HuberVariation,
    SecondOrderVariation,
    TotalVariation,
)
from netinvert.models.encoder import Encoder


@dataclass(frozen=True)
class PriorKind:
    """``make`` gives the term for an encoder; ``weight`` was found by eye and by error on photographs."""

    make: Callable[[Encoder], Term]
    weight: float


def _always(term: Term) -> Callable[[Encoder], Term]:
    return lambda encoder: term


PRIORS: dict[str, PriorKind] = {
    "tv-isotropic": PriorKind(_always(TotalVariation(beta=1, isotropic=True)), 0.3),
    "tv-anisotropic": PriorKind(_always(TotalVariation(beta=1, isotropic=False)), 0.3),
    "tv-quadratic": PriorKind(_always(TotalVariation(beta=2)), 0.3),
    "tv-huber": PriorKind(_always(HuberVariation()), 0.3),
    "second-order": PriorKind(_always(SecondOrderVariation()), 0.3),
    "batchnorm": PriorKind(BatchNormStatistics, 0.01),
}
NONE = "none"


@dataclass(frozen=True)
class PriorChoice:
    """Priors by name with their weights; None takes the recipe's own weight. No parts are no prior."""

    parts: tuple[tuple[str, float | None], ...]

    def __post_init__(self) -> None:
        for name, weight in self.parts:
            if name not in PRIORS:
                raise ConfigError(f"there is no prior '{name}'; choose from {', '.join((NONE, *PRIORS))}")
            if weight is not None and not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"the weight of a prior is a number of at least 0, got {weight}")

    @classmethod
    def parse(cls, text: str) -> PriorChoice:
        """From ``name``, ``name=weight``, several of them with ``+`` between, or ``none``."""
        return cls(() if text == NONE else tuple(_part(part) for part in text.split("+")))

    def terms(
        self, encoder: Encoder, data_weight: float, tv_weight: Callable[[TotalVariation], float] | None = None
    ) -> tuple[tuple[float, Term], ...]:
        """(weight, term) of each part; ``tv_weight`` is a recipe's own weight for a total variation."""
        found: list[tuple[float, Term]] = []
        for name, weight in self.parts:
            kind = PRIORS[name]
            term = kind.make(encoder)
            own = data_weight * kind.weight
            if tv_weight is not None and isinstance(term, TotalVariation):
                own = tv_weight(term)
            found.append((own if weight is None else weight, term))
        return tuple(found)

    def text(self, terms: tuple[tuple[float, Term], ...]) -> str:
        """As :meth:`parse` takes it, with the weights of the terms that :meth:`terms` gave."""
        named = zip(self.parts, terms, strict=False)
        return "+".join(f"{name}={weight!r}" for (name, _), (weight, _) in named) or NONE


def _part(text: str) -> tuple[str, float | None]:
    name, equals, weight = text.partition("=")
    try:
        return name, float(weight) if equals else None
    except ValueError:
        raise ConfigError(
            f"'{text}' is not a prior; write name or name=weight, the weight a number"
        ) from None
