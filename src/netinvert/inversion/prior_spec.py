"""Image priors by name, with the weights at which they go beside a data term of weight 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from netinvert.errors import ConfigError
from netinvert.inversion.codes import AnyEncoder
from netinvert.inversion.objectives import Term, Terms, parts_of, term_name
from netinvert.inversion.priors import (
    BatchNormStatistics,
    HuberVariation,
    SecondOrderVariation,
    TotalVariation,
)
from netinvert.io.config import Registry

NONE = "none"


@dataclass(frozen=True)
class Prior:
    """``make`` gives the term for an encoder."""

    make: Callable[[AnyEncoder], Term]
    weight: float


def _plain(term: Term, weight: float = 1.0) -> Prior:
    return Prior(lambda encoder: term, weight)


class _Priors(Registry[Prior]):
    """An entry point may name a plain term, too."""

    def add(self, name: str, thing: Prior | Term) -> None:
        super().add(name, thing if isinstance(thing, Prior) else _plain(thing))


PRIORS = _Priors("prior", "netinvert.priors")
# The weights were found by eye and by error on photographs.
PRIORS.add("tv-isotropic", Prior(lambda encoder: TotalVariation(beta=1, isotropic=True), 0.3))
PRIORS.add("tv-anisotropic", Prior(lambda encoder: TotalVariation(beta=1, isotropic=False), 0.3))
PRIORS.add("tv-quadratic", Prior(lambda encoder: TotalVariation(beta=2), 0.3))
PRIORS.add("tv-huber", Prior(lambda encoder: HuberVariation(), 0.3))
PRIORS.add("second-order", Prior(lambda encoder: SecondOrderVariation(), 0.3))
PRIORS.add("batchnorm", Prior(BatchNormStatistics, 0.01))


def register_prior(name: str, term: Term | None = None, weight: float = 1.0) -> Callable[[Term], Term]:
    """Give a prior, a function (image, code) -> (N,), a name for ``prior=`` and ``--prior``.

    A decorator, or a call with the term. ``weight`` is that beside a data term of weight 1, where the user
    gives none. One that needs the encoder: ``PRIORS.add(name, Prior(make, weight))``. Raises ConfigError.

    >>> @register_prior("doctest-dark", weight=0.1)
    ... def dark(image, code):
    ...     return image.mean((1, 2, 3))
    >>> PRIORS["doctest-dark"].weight
    0.1
    >>> PRIORS.remove("doctest-dark")
    """

    def keep(term: Term) -> Term:
        PRIORS.add(name, _plain(term, weight))
        return term

    if term is not None:
        keep(term)
    return keep


def parse_prior(given: Terms) -> list[tuple[str, float | None, Prior]]:
    """(name, the user's weight or None, prior) of each part; ``none`` has none. Raises ConfigError.

    Text is ``name``, ``name=weight``, or several of these with ``+`` between.
    """
    found: list[tuple[str, float | None, Prior]] = []
    for weight, part in parts_of(given):
        if not isinstance(part, str):
            found.append((term_name(part), weight, _plain(part)))
        elif part != NONE:
            for name, own in map(_piece, part.split("+")):
                found.append((name, weight if own is None else own, _known(name)))
    return found


def weigh_priors(
    given: Terms,
    encoder: AnyEncoder,
    data_weight: float = 1.0,
    tv_weight: Callable[[TotalVariation], float] | None = None,
) -> tuple[tuple[tuple[float, Term], ...], str]:
    """(weight, term) of each part, and the text that gives the same; no parts are no prior, ``none``.

    ``tv_weight`` is a recipe's own weight for a total variation. Raises ConfigError.
    """
    priors: list[tuple[float, Term]] = []
    texts = []
    for name, weight, prior in parse_prior(given):
        term = prior.make(encoder)
        own = data_weight * prior.weight
        if tv_weight is not None and isinstance(term, TotalVariation):
            own = tv_weight(term)
        priors.append((own if weight is None else weight, term))
        texts.append(f"{name}={priors[-1][0]!r}")
    return tuple(priors), "+".join(texts) or NONE


def _piece(text: str) -> tuple[str, float | None]:
    name, equals, number = text.partition("=")
    try:
        weight = float(number) if equals else None
    except ValueError:
        raise ConfigError(
            f"'{text}' is not a prior; write name or name=weight, the weight a number"
        ) from None
    if weight is not None and not (math.isfinite(weight) and weight >= 0):
        raise ConfigError(f"the weight of a prior is a number of at least 0, got {weight}")
    return name, weight


def _known(name: str) -> Prior:
    if name not in PRIORS:
        raise ConfigError(f"there is no prior '{name}'; choose from {', '.join((NONE, *PRIORS))}")
    return PRIORS[name]
