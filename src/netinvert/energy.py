"""What is minimised: weighted terms, each one value a sample."""

from __future__ import annotations

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
