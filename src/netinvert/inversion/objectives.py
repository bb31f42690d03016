"""What is minimised: weighted terms of an image and its code, each one value a sample.

Codes of one layer are a tensor (N, ...), those of several a dict of such.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError
from netinvert.models.encoder import Encoder

Code = Tensor | dict[str, Tensor]
AnyEncoder = Encoder[Any, Any]
"""Of one layer or of several."""


def layers_of(code: Code) -> dict[str, Tensor]:
    """The codes by layer; a single one goes by the empty name."""
    return code if isinstance(code, dict) else {"": code}


def map_code(change: Callable[[Tensor], Tensor], code: Code) -> Code:
    """The change of every layer's code."""
    return {name: change(one) for name, one in code.items()} if isinstance(code, dict) else change(code)


def count_of(code: Code) -> int:
    """How many samples there are."""
    return next(iter(layers_of(code).values())).shape[0]


def shapes_of(encoder: AnyEncoder) -> list[tuple[int, ...]]:
    """The shape of each layer's codes, without the sample."""
    shape = encoder.code_shape
    return list(shape.values()) if isinstance(shape, dict) else [shape]


def one_layer(code: Code, what: str) -> Tensor:
    """The code of an encoder with one layer. Raises ConfigError."""
    if isinstance(code, dict):
        raise ConfigError(f"{what} is of one layer, not of {', '.join(code)}; use an encoder of one of them")
    return code


def paired(code: Code, target: Code) -> list[tuple[str, Tensor, Tensor]]:
    """Name, code and target of each layer of the target. Raises CodeError."""
    ours, theirs = layers_of(code), layers_of(target)
    if not theirs.keys() <= ours.keys():
        raise CodeError(
            f"the target is of the layers {', '.join(theirs) or 'of no name'}, the code of "
            f"{', '.join(ours) or 'no name'}; use an encoder with all of the target's layers"
        )
    return [(name, ours[name], theirs[name]) for name in theirs]


def code_error(code: Code, target: Code) -> Tensor:
    """The code error ‖Φ - Φ0‖ / ‖Φ0‖ of each sample, (N,) (Mahendran & Vedaldi 2016, section 5).

    Of several layers, the root of the mean of their squares: each counts as much as any other.

    >>> code_error(torch.tensor([[3.0, 0.0]]), torch.tensor([[3.0, 4.0]])).tolist()
    [0.8]
    """
    pairs = paired(code, target)
    errors = [_norms(one.double() - wanted.double()) / _norms(wanted.double()) for _, one, wanted in pairs]
    return errors[0] if len(errors) == 1 else torch.stack(errors).square().mean(0).sqrt()


def _norms(codes: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(codes.flatten(1), dim=1)
    return norms


Term = Callable[[Tensor, Any], Tensor]
"""Maps images (N, C, H, W) and their codes (N, ...), or a dict of them by layer, to one value each, (N,).

A plain function or an ``nn.Module`` will do. It is recorded under its ``name``, if it has one.
"""
Terms = str | Term | Sequence[Any]
"""What users give: a name, a term, (weight, either), or several of these."""


def term_name(term: Term) -> str:
    """Under which a term's values are recorded."""
    name = getattr(term, "name", None) or getattr(term, "__name__", type(term).__name__)
    return str(name).strip("<>")


def parts_of(given: Terms) -> list[tuple[float | None, str | Term]]:
    """(weight, name or term) of each part; None where no weight is given. Raises ConfigError."""
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], int | float):
        weight, term = given
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"the weight of a prior or objective is a number of at least 0, got {weight}")
        if not (isinstance(term, str) or callable(term)):
            raise ConfigError(f"(weight, term) needs a name or a callable for a term, got {term!r}")
        return [(float(weight), term)]
    if isinstance(given, str) or callable(given):
        return [(None, given)]
    if isinstance(given, list | tuple):
        return [part for one in given for part in parts_of(one)]
    raise ConfigError(
        f"{given!r} is neither a prior nor an objective: give a name, a function (image, code) -> (N,), "
        "(weight, either), or a list of these"
    )


@dataclass(frozen=True)
class Energy:
    """A sum of (weight, term). Samples share no value, so none influences another's gradient, unless a term
    is about several of them (:class:`PairwiseDiversity`).
    """

    terms: tuple[tuple[float, Term], ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ConfigError("an energy needs at least one (weight, term)")

    @property
    def names(self) -> tuple[str, ...]:
        """The terms' names, in order."""
        return tuple(term_name(term) for _, term in self.terms)

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """Weighted values, (T, N): one row a term. Their sum over rows is the energy of each sample."""
        rows = []
        for weight, term in self.terms:
            value = term(image, code)
            if not isinstance(value, Tensor) or value.shape != image.shape[:1]:
                got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise ConfigError(
                    f"the term '{term_name(term)}' returned {got}; it has to return one value a sample, "
                    f"({image.shape[0]},): average over pixels and channels, never over the batch"
                )
            rows.append(weight * value)
        return torch.stack(rows)


@dataclass(frozen=True, eq=False)
class Match:
    """Squared code error over the target's squared norm (Mahendran & Vedaldi 2015, equation 3).

    ``target`` (N, ...); ``mask`` (same shape, or one that broadcasts) restricts error and norm to a part.
    Both may be dicts by layer; the value is then the mean over the target's layers.

    >>> Match(torch.tensor([[3.0, 4.0]]))(torch.zeros(1, 3, 8, 8), torch.tensor([[3.0, 9.0]])).tolist()
    [1.0]
    """

    target: Code = field(repr=False)
    mask: Code | None = field(default=None, repr=False)
    name: Literal["code"] = "code"

    def __post_init__(self) -> None:
        if any(bool((norms == 0).any()) for norms in self._norms.values()):
            raise CodeError(
                "a code that is zero everywhere cannot be matched relative to its norm: the layer is dead "
                "for this image; choose another layer (one before its ReLU, say) or another mask"
            )

    def _masked(self, layer: str, values: Tensor) -> Tensor:
        mask = None if self.mask is None else layers_of(self.mask).get(layer)
        return values if mask is None else values * mask

    @cached_property
    def _norms(self) -> dict[str, Tensor]:
        masked = {layer: self._masked(layer, one).flatten(1) for layer, one in layers_of(self.target).items()}
        return {
            layer: torch.linalg.vector_norm(one, dim=1, keepdim=True, dtype=torch.float64)
            for layer, one in masked.items()
        }

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,): 0 is a perfect match, 1 the error of an all-zero code."""
        errors = []
        for layer, one, target in paired(code, self.target):
            difference = self._masked(layer, one - target).flatten(1)
            # Divided before it is squared: the squares of very large or small codes overflow.
            errors.append((difference / self._norms[layer].to(one.dtype)).square().sum(1))
        return errors[0] if len(errors) == 1 else torch.stack(errors).mean(0)


@dataclass(frozen=True, eq=False)
class Activate:
    """-⟨w, Φ⟩: the more of a direction w in the code, the better (Simonyan et al. 2013, section 2).

    ``direction`` (N or 1, *code_shape); ``channel`` and ``neuron`` make them.

    >>> Activate(torch.tensor([[0.0, 2.0]]))(torch.zeros(1, 3, 8, 8), torch.tensor([[5.0, 3.0]])).tolist()
    [-6.0]
    """

    direction: Tensor = field(repr=False)
    name: Literal["activation"] = "activation"

    def __post_init__(self) -> None:
        _check_direction(self.direction)

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        return -(one_layer(code, "an activation") * self.direction).flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class Caricature:
    """More of what the code says, in its own direction (Mahendran & Vedaldi 2016, section 4.3).

    -⟨w, Φ⟩ with w = max(Φ0, 0) / ‖max(Φ0, 0)‖², so that the image itself has -1 where codes are never below
    zero. ``power`` p multiplies by max(0.1, cos(Φ, Φ0))^p: more of it and of nothing else (Olah et al. 2017).
    """

    target: Tensor = field(repr=False)
    power: float = 0.0
    name: Literal["caricature"] = "caricature"

    def __post_init__(self) -> None:
        if bool((self._direction == 0).flatten(1).all(1).any()):
            raise CodeError(
                "a code that is nowhere above zero cannot be exaggerated: choose another layer, or the one "
                "before its activation function"
            )

    @cached_property
    def _norm(self) -> Tensor:
        above = self.target.clamp_min(0).flatten(1)
        # In float64, for the squares of very large or small codes overflow.
        norm = torch.linalg.vector_norm(above, dim=1, keepdim=True, dtype=torch.float64)
        positive: Tensor = norm.to(above.dtype).clamp_min(torch.finfo(above.dtype).tiny)
        return positive

    @cached_property
    def _direction(self) -> Tensor:
        direction: Tensor = self.target.clamp_min(0).flatten(1) / self._norm / self._norm
        return direction

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        flat = one_layer(code, "a caricature").flatten(1)
        more = (flat * self._direction).sum(1)
        if self.power == 0:
            return -more
        target = self.target.flatten(1)
        alike = torch.nn.functional.cosine_similarity(flat / self._norm, target / self._norm, dim=1)
        return -more * alike.clamp_min(0.1).pow(self.power)


@dataclass(frozen=True, eq=False)
class PoseTowards:
    """How far the network's output is from saying these rotations (N or 1, 3, 3): the image that most does.

    For an encoder cut at the network's output; ``error`` maps (output, rotation) to (N,)
    (``Network.pose_error``).
    """

    rotation: Tensor = field(repr=False)
    error: Callable[[Tensor, Tensor], Tensor]
    name: Literal["pose"] = "pose"

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        output = one_layer(code, "a pose")
        return self.error(output, self.rotation.to(output).expand(output.shape[0], 3, 3))


@dataclass(frozen=True)
class PairwiseDiversity:
    """How alike the images of a group are: the mean cosine of their differences from ``centre``.

    A batch is groups of ``size`` neighbouring samples, which are to differ as much as they can. Each sample
    sees the others as they are now, so they move together; groups do not see one another. ``blur`` (a divisor
    of the image's sides, or as near as it goes) leaves out noise, by which all images differ.
    """

    size: int
    centre: tuple[float, ...]
    blur: int = 4
    name: Literal["alike"] = "alike"

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ConfigError(f"only two images or more can differ, got groups of {self.size}")

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        if image.shape[0] % self.size:
            raise ConfigError(f"a batch of {image.shape[0]} images has no whole groups of {self.size}")
        centre = torch.tensor(self.centre, dtype=image.dtype, device=image.device).view(-1, 1, 1)
        coarse = torch.nn.functional.avg_pool2d(image - centre, min(self.blur, *image.shape[-2:]))
        flat = torch.nn.functional.normalize(coarse.flatten(1), dim=1).view(-1, self.size, coarse[0].numel())
        cosines = flat @ flat.detach().transpose(1, 2)  # to the others as they are: each moves itself alone
        others = 1 - torch.eye(self.size, dtype=image.dtype, device=image.device)
        return (cosines * others).sum(2).flatten() / (self.size - 1)


def _check_direction(direction: Tensor) -> None:
    if not bool(torch.isfinite(direction).all()):
        raise CodeError("the direction holds NaN or infinite values; compute or load it again")
    if bool((direction == 0).flatten(1).all(1).any()):
        raise CodeError("a direction that is zero everywhere asks for nothing; choose another")
