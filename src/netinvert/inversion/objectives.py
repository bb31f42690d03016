"""What is minimised: weighted terms, each one value a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError


class Term(Protocol):
    """Maps a batch of images (N, C, H, W) and their codes (N, ...) to one value a sample, (N,)."""

    @property
    def name(self) -> str:
        """Under which the value is recorded."""

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """The values to make small, (N,)."""


@dataclass(frozen=True)
class Energy:
    """A sum of (weight, term). Samples never share a value, so none influences another's gradient."""

    terms: tuple[tuple[float, Term], ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ConfigError("an energy needs at least one (weight, term)")

    @property
    def names(self) -> tuple[str, ...]:
        """The terms' names, in order."""
        return tuple(term.name for _, term in self.terms)

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """Weighted values, (T, N): one row a term. Their sum over rows is the energy of each sample."""
        rows = []
        for weight, term in self.terms:
            value = term(image, code)
            if value.shape != image.shape[:1]:
                raise ConfigError(
                    f"the term '{term.name}' returned shape {tuple(value.shape)}; it has to return one value "
                    f"a sample, ({image.shape[0]},): average over pixels and channels, never over the batch"
                )
            rows.append(weight * value)
        return torch.stack(rows)


@dataclass(frozen=True, eq=False)
class Match:
    """Squared code error over the target's squared norm (Mahendran & Vedaldi 2015, equation 3).

    ``target`` (N, ...); ``mask`` (same shape, or one that broadcasts) restricts error and norm to a part.
    """

    target: Tensor
    mask: Tensor | None = None
    name: Literal["code"] = "code"

    def __post_init__(self) -> None:
        if bool((self._norms == 0).any()):
            raise CodeError(
                "a code that is zero everywhere cannot be matched relative to its norm: the layer is dead "
                "for this image; choose another layer (one before its ReLU, say) or another mask"
            )

    @cached_property
    def _norms(self) -> Tensor:
        masked = self.target if self.mask is None else self.target * self.mask
        norms: Tensor = torch.linalg.vector_norm(masked.flatten(1), dim=1, keepdim=True, dtype=torch.float64)
        return norms

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """One value a sample, (N,): 0 is a perfect match, 1 the error of an all-zero code."""
        difference = code - self.target
        if self.mask is not None:
            difference = difference * self.mask
        # Divided before it is squared: the squares of very large or small codes are no numbers.
        error: Tensor = (difference.flatten(1) / self._norms.to(code.dtype)).square().sum(1)
        return error


@dataclass(frozen=True, eq=False)
class Activate:
    """-⟨w, Φ⟩: the more of a direction w in the code, the better (Simonyan et al. 2013, section 2).

    ``direction`` (N or 1, *code_shape); :mod:`netinvert.directions` makes them for units and channels.
    """

    direction: Tensor
    name: Literal["activation"] = "activation"

    def __post_init__(self) -> None:
        _check_direction(self.direction)

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """One value a sample, (N,)."""
        return -(code * self.direction).flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class Caricature:
    """More of what the code says, in its own direction (Mahendran & Vedaldi 2016, section 4.3).

    -⟨w, Φ⟩ with w = max(Φ0, 0) / ‖max(Φ0, 0)‖², so that the image itself has -1 where codes are never below
    zero. ``power`` p multiplies by max(0.1, cos(Φ, Φ0))^p: more of it and of nothing else (Olah et al. 2017).
    """

    target: Tensor
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
        # In float64, for the squares of very large or small codes are no numbers.
        norm = torch.linalg.vector_norm(above, dim=1, keepdim=True, dtype=torch.float64)
        positive: Tensor = norm.to(above.dtype).clamp_min(torch.finfo(above.dtype).tiny)
        return positive

    @cached_property
    def _direction(self) -> Tensor:
        direction: Tensor = self.target.clamp_min(0).flatten(1) / self._norm / self._norm
        return direction

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """One value a sample, (N,)."""
        flat = code.flatten(1)
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

    rotation: Tensor
    error: Callable[[Tensor, Tensor], Tensor]
    name: Literal["pose"] = "pose"

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """One value a sample, (N,)."""
        return self.error(code, self.rotation.to(code).expand(code.shape[0], 3, 3))


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

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
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
