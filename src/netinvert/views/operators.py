"""Turning an object in code space: along directions that follow the pose, or by an operator for each angle.

Both are fitted on codes of objects that are known from all sides; the second as colour changes were found to
act on codes, by orthogonal maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError

HARMONICS = 2
"""Of the azimuth, in the linear model of codes: two humps a turn, at most."""
ENERGY = 0.99
"""The share of the codes' variance that operators act on; what is beyond stays as it is."""
RIDGE = 1e-2
"""Of the mean variance of the directions: keeps linear operators from noise."""


@dataclass(frozen=True, eq=False)
class PoseDirections:
    """How codes follow the pose: ``weights`` (F, D) of the numbers of a pose, ``features``."""

    weights: Tensor

    @classmethod
    def fitted(cls, codes: Tensor, azimuth: Tensor, elevation: Tensor) -> PoseDirections:
        """By least squares over codes (N, D) of objects seen from angles (N,) in degrees."""
        known = pose_features(azimuth, elevation).double()
        if len(known) < known.shape[1]:
            raise ConfigError(f"{len(known)} codes are too few for pose directions: give more views")
        return cls(torch.linalg.lstsq(known, codes.double()).solution.float())

    def turned(self, codes: Tensor, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
        """Codes (N, D) moved from poses to others, each azimuth and elevation (N,) in degrees."""
        step = pose_features(*after) - pose_features(*before)
        return codes + step @ self.weights


def pose_features(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Numbers (N, F) that linear models of codes take for a pose: 1, sines and cosines of the azimuth, the
    elevation, and both together."""
    turns = [azimuth.deg2rad() * k for k in range(1, HARMONICS + 1)]
    waves = torch.stack([wave for turn in turns for wave in (turn.sin(), turn.cos())], 1)
    height = (elevation / 30)[:, None]
    return torch.cat([torch.ones_like(height), waves, height, height * waves], 1)


@dataclass(frozen=True, eq=False)
class TurnOperator:
    """An affine map of codes that turns the object by one angle: the mean of codes ``before`` (D,) becomes
    that ``after``, and in the principal directions ``basis`` (D, K) deviations from it are mapped by
    ``matrix`` (K, K); beyond these they stay."""

    before: Tensor
    after: Tensor
    basis: Tensor
    matrix: Tensor

    @classmethod
    def fitted(cls, before: Tensor, after: Tensor, orthogonal: bool) -> TurnOperator:
        """Of pairs of codes (N, D): the orthogonal map that brings the first nearest to the second
        (Procrustes; Schönemann 1966), or any linear one, by ridge regression.

        Raises ConfigError: not as many codes before as after, or fewer than two.
        """
        if before.shape != after.shape or len(before) < 2:
            raise ConfigError("an operator is fitted on two pairs of codes or more, as many before as after")
        means = [one.double().mean(0) for one in (before, after)]
        off = [one.double() - mean for one, mean in zip((before, after), means, strict=True)]
        # principal directions by the covariance, which is small where pairs are many
        energy, directions = (one.flip(-1) for one in torch.linalg.eigh(sum(one.T @ one for one in off)))
        share = energy.clamp_min(0).cumsum(0) / energy.clamp_min(0).sum()
        count = min(int((share < ENERGY).sum()) + 1, len(energy))
        basis = directions[:, :count]
        x, y = (one @ basis for one in off)
        if orthogonal:
            left, _, right = torch.linalg.svd(x.T @ y)
            matrix = left @ right
        else:
            gram = x.T @ x
            damped = gram + RIDGE * gram.diagonal().mean() * torch.eye(count, dtype=gram.dtype)
            matrix = torch.linalg.solve(damped, x.T @ y)
        return cls(means[0].float(), means[1].float(), basis.float(), matrix.float())

    def __call__(self, codes: Tensor) -> Tensor:
        """Codes (N, D) of the turned objects."""
        inner = (codes - self.before) @ self.basis
        return codes + self.after - self.before + (inner @ self.matrix - inner) @ self.basis.T


@dataclass(frozen=True, eq=False)
class Turns:
    """Linear operators for all angles of a ring; for the angles between, what lies between. They act on codes
    less their ``mean`` (D,) in the ``basis`` (D, K) of those that are known; beyond it codes stay."""

    mean: Tensor
    basis: Tensor
    operators: tuple[Callable[[Tensor], Tensor], ...]

    @classmethod
    def fitted(cls, rings: Tensor) -> Turns:
        """Of codes (N, S, D) of objects seen from S sides, at equal angles. Raises ConfigError: of fewer than
        two codes."""
        known = rings.flatten(0, 1)
        mean = known.mean(0)
        basis = torch.linalg.svd(known - mean, full_matrices=False)[2].T
        inner = (rings - mean) @ basis
        afters = (inner.roll(-k, 1).flatten(0, 1) for k in range(1, rings.shape[1]))
        found = (TurnOperator.fitted(inner.flatten(0, 1), one, orthogonal=False) for one in afters)
        return cls(mean, basis, (lambda codes: codes, *found))

    def __call__(self, codes: Tensor, degrees: float) -> Tensor:
        """Codes (N, D) of the objects turned by an angle."""
        sides = len(self.operators)
        whole, share = divmod(degrees % 360 * sides / 360, 1)
        inner = (codes - self.mean) @ self.basis
        one, other = (self.operators[(int(whole) + k) % sides](inner) for k in (0, 1))
        return codes + (one.lerp(other, share) - inner) @ self.basis.T


@dataclass(frozen=True, eq=False)
class IdentityMap:
    """A linear map from codes and the pose they are seen in to a generator's embeddings."""

    mean: Tensor
    weights: Tensor
    directions: PoseDirections

    @classmethod
    def fitted(
        cls, codes: Tensor, azimuth: Tensor, elevation: Tensor, embeddings: Tensor, ridge: float = 1.0
    ) -> IdentityMap:
        """By ridge regression from codes (N, D), less what follows the pose, to embeddings (N, E); ``ridge``
        in units of the codes' mean variance."""
        directions = PoseDirections.fitted(codes, azimuth, elevation)
        rest = (codes - pose_features(azimuth, elevation) @ directions.weights).double()
        mean = embeddings.double().mean(0)
        gram = rest.T @ rest
        damped = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weights = torch.linalg.solve(damped, rest.T @ (embeddings.double() - mean))
        return cls(mean.float(), weights.float(), directions)

    def __call__(self, codes: Tensor, azimuth: Tensor, elevation: Tensor) -> Tensor:
        """Embeddings (N, E)."""
        rest = codes - pose_features(azimuth, elevation) @ self.directions.weights
        return self.mean + rest @ self.weights
