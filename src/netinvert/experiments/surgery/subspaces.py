"""Subspaces of a layer's codes: those that carry the pose, by three definitions, and controls of the same
dimension."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError
from netinvert.evaluation.probes import r2
from netinvert.models.cut import LayerName
from netinvert.models.encoder import Encoder
from netinvert.models.zoo.pose_topologies import AZIMUTHS, ROTATION

ROTATION_HEAD, POSE_HEADS = "rotation head", "all pose heads"
PROBES, ERASED, HARMONICS = "probes (INLP)", "erasure (LEACE)", "erasure of four harmonics"
CARRIERS = (ROTATION_HEAD, POSE_HEADS, PROBES, ERASED, HARMONICS)
"""What carries the pose: what the head reads that gives the rotation; what that and the logits of the azimuth
read; what linear probes find, round after round; what has to go so that none finds anything; and the same for
probes that ask for the azimuth's harmonics, too, which what is read from codes by more than lines may use."""
RANDOM, PRINCIPAL = "random", "principal components"
"""Controls of the same dimension."""
ORDER = 4
"""Of the highest harmonic, chosen on a tuning seed among 1, 2, 4 and 8."""
SHARE = 0.95
"""Of the mean squared gradient that the directions which a head behind other layers reads hold."""
ROUNDS = 100
"""Of probes, at most."""
CHANCE = 0.02
"""A probe of which R² on held-out codes is below this is no better than chance."""
PENALTY = 1e-2
"""Of the probes, times the mean variance of a number of the code."""
SEEN = 256
"""Codes at which gradients are taken, at most."""
FOLD = 5
"""Every fifth code is held out to say when probes are at chance."""


@dataclass(frozen=True, eq=False)
class Subspace:
    """A part of codes (N, D): ``name``; ``mean`` (D,), which stands for a part that is taken away; and the
    projector ``out @ into.T`` with ``into`` and ``out`` (D, k), where ``into.T @ out`` is the identity. An
    orthogonal one has both alike.

    >>> axis = torch.eye(3)[:, :1]
    >>> first = Subspace("the first number", torch.zeros(3), axis, axis)
    >>> code = torch.tensor([[1.0, 2.0, 3.0]])
    >>> first.removed(code), first.kept(code)
    (tensor([[0., 2., 3.]]), tensor([[1., 0., 0.]]))
    """

    name: str
    mean: Tensor
    into: Tensor
    out: Tensor

    @property
    def size(self) -> int:
        """Its dimension."""
        return self.into.shape[1]

    def part(self, codes: Tensor) -> Tensor:
        """What of codes (N, D), about the mean, lies in it."""
        found: Tensor = (codes - self.mean) @ self.into @ self.out.T
        return found

    def removed(self, codes: Tensor) -> Tensor:
        """Codes whose part in it is the mean's."""
        return codes - self.part(codes)

    def kept(self, codes: Tensor) -> Tensor:
        """Codes of which all but their part in it is the mean's."""
        return self.mean + self.part(codes)

    def swapped(self, codes: Tensor, donors: Tensor) -> Tensor:
        """Codes with the part of ``donors`` (N, D) in place of their own."""
        return self.removed(codes) + self.part(donors)

    def variance(self, codes: Tensor) -> float:
        """The share of the variance of codes that its part of them has. An oblique part may have more than
        leaves with it, for the rest takes some along."""
        return float(self.part(codes).square().sum() / (codes - self.mean).square().sum())


def pose_targets(azimuth: Tensor, elevation: Tensor, order: int = 1) -> Tensor:
    """What probes read (N, 2 order + 1), from angles (N,) in degrees: sine and cosine of the azimuth, of
    twice the azimuth, up to ``order`` times; and the elevation, in units of 30°."""
    turned = [torch.deg2rad(times * azimuth) for times in range(1, order + 1)]
    return torch.stack([*(wave(one) for one in turned for wave in (torch.sin, torch.cos)), elevation / 30], 1)


# -- what the heads read ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _replaced(encoder: Encoder, codes: Tensor) -> Iterator[None]:
    """While it lasts, the encoder's layer gives these codes, whatever the image."""
    module = encoder.network.module  # whole: the encoder's copy lacks what is behind the layer
    name = LayerName.parse(encoder.layer, module)
    part = name.module_of(module)
    if part is None or name.call or name.items:
        raise ConfigError(f"codes cannot be put back at '{encoder.layer}': choose a layer that runs once")
    handle = part.register_forward_hook(lambda module, inputs, output: codes)
    try:
        yield
    finally:
        handle.remove()


def outputs_of(encoder: Encoder, codes: Tensor) -> Tensor:
    """What the network's heads say of codes (N, D) of the encoder's layer, (N, outputs), with gradients where
    codes have some. Raises ConfigError: a layer that codes cannot be put back at."""
    height, width = encoder.size
    image = torch.zeros(len(codes), encoder.preprocessing.channels, height, width)
    with _replaced(encoder, codes):
        found: Tensor = encoder.network.module(image)
    return found


def heads_of(encoder: Encoder) -> Mapping[str, slice]:
    """The places of the outputs of a pose network that carry the pose, by name. Raises ConfigError: a network
    that reads none by linear heads."""
    head = encoder.network.pose_head
    if head is None:
        raise ConfigError(
            f"{encoder.network.name} has no head of which the codes' part could be known: give decoders of "
            "posenet, or of a network of 'netinvert pose train'"
        )
    if head.name == "view":
        return {ROTATION_HEAD: slice(ROTATION), POSE_HEADS: slice(ROTATION + AZIMUTHS)}
    return {POSE_HEADS: slice(head.outputs)}


def read_directions(encoder: Encoder, codes: Tensor, outputs: slice) -> Tensor:
    """The orthonormal directions (D, k) along which outputs change most over codes (N, D): eigenvectors of
    the mean outer product of their gradients (active subspaces: Constantine 2015, chapter 3). Where the layer
    feeds the outputs linearly, all that there are: the row space of their weights. Elsewhere as few as hold
    SHARE of the mean squared gradient."""
    some = codes[:SEEN].clone().requires_grad_()
    said = outputs_of(encoder, some)[:, outputs]
    each = [torch.autograd.grad(one.sum(), some, retain_graph=True)[0] for one in said.unbind(1)]
    gradients = torch.stack(each, 1).double()  # (N, outputs, D)
    linear = bool((gradients - gradients[:1]).abs().max() <= 1e-6 * gradients.abs().max())
    rows = gradients[0] if linear else gradients.flatten(0, 1)
    sizes, directions = torch.linalg.eigh(rows.T @ rows)
    sizes, directions = sizes.flip(0).clamp_min(0), directions.flip(1)
    if linear:
        count = int((sizes > 1e-10 * sizes[0]).sum())
    else:
        count = int((sizes.cumsum(0) < SHARE * sizes.sum()).sum()) + 1
    found: Tensor = directions[:, :count]
    return found


# -- what probes read ------------------------------------------------------------------------------------


def probe_weights(codes: Tensor, targets: Tensor) -> Tensor:
    """The weights (D, T) of ridge regression of targets (N, T) on codes (N, D), both about their means."""
    centred, wanted = codes - codes.mean(0), targets - targets.mean(0)
    covariance = centred.T @ centred / len(codes)
    covariance += PENALTY * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)
    found: Tensor = torch.linalg.solve(covariance, centred.T @ wanted / len(codes))
    return found


def null_space_rounds(codes: Tensor, targets: Tensor, rounds: int = ROUNDS) -> tuple[Tensor, list[float]]:
    """Orthonormal directions (D, k) that linear probes for targets (N, T) find in codes (N, D), and R² of
    each round's probe on the codes that none was fitted on (every fifth).

    Iterative null-space projection (Ravfogel et al. 2020, algorithm 1): fit a probe, project its directions
    away, fit another, until it is at chance."""
    held = torch.arange(len(codes)) % FOLD == FOLD - 1
    codes, targets = codes.double(), targets.double()
    left, found, scores = codes.clone(), codes.new_zeros(codes.shape[1], 0), list[float]()
    for _ in range(rounds):
        weights = probe_weights(left[~held], targets[~held])
        mean, middle = left[~held].mean(0), targets[~held].mean(0)
        scores.append(r2((left[held] - mean) @ weights + middle, targets[held]))
        if scores[-1] < CHANCE:
            break
        found, _ = torch.linalg.qr(torch.cat([found, weights / weights.norm(dim=0)], 1))
        left = codes - codes @ found @ found.T
    return found, scores


def erasure(codes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """``into`` and ``out`` (D, k) of the smallest change of codes (N, D) after which no linear probe says
    anything of targets (N, T): LEACE (Belrose et al. 2023, section 4). The covariance that says what is
    small is shrunk (Ledoit & Wolf 2004): with few codes it would say nothing."""
    from sklearn.covariance import ledoit_wolf

    codes, targets = codes.double(), targets.double()
    centred, wanted = codes - codes.mean(0), targets - targets.mean(0)
    covariance = torch.from_numpy(ledoit_wolf(centred.numpy(), assume_centered=True)[0])
    sizes, axes = torch.linalg.eigh(covariance)
    sizes = sizes.clamp_min(1e-9 * sizes[-1])
    whiten, back = ((axes * sizes**power) @ axes.T for power in (-0.5, 0.5))
    found, _ = torch.linalg.qr(whiten @ (centred.T @ wanted))
    return whiten @ found, back @ found


# -- all of a layer --------------------------------------------------------------------------------------


def random_directions(size: int, count: int, seed: int) -> Tensor:
    """Orthonormal directions (size, count), uniformly random."""
    source = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, count, generator=source, dtype=torch.float64)
    found: Tensor = torch.linalg.qr(drawn)[0]
    return found


def control_of(carrier: str, kind: str) -> str:
    """The name of a carrier's control, RANDOM or PRINCIPAL."""
    return f"{kind}, as many as {carrier}"


@dataclass(frozen=True, eq=False)
class PoseSubspaces:
    """The ``subspaces`` of a layer's codes by name: CARRIERS, and both controls of each. ``scores`` are R² of
    the rounds of probes."""

    subspaces: Mapping[str, Subspace]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, encoder: Encoder, codes: Tensor, angles: tuple[Tensor, Tensor], seed: int) -> PoseSubspaces:
        """From codes (N, D) of views whose azimuth and elevation (N,) in degrees are ``angles``.

        Raises ConfigError: a network that reads no poses by heads; CodeError: codes that are no vectors, or
        of so few numbers that the heads read them all."""
        if codes.ndim != 2:
            raise CodeError(
                f"'{encoder.layer}' gives maps {encoder.code_shape}, of which a part is not known: give "
                "decoders of vectors, such as posenet-fc6"
            )
        found = {name: (one, one) for name, one in _heads(encoder, codes).items()}
        inlp, scores = null_space_rounds(codes, pose_targets(*angles))
        found[PROBES] = (inlp, inlp)
        for name, order in ((ERASED, 1), (HARMONICS, ORDER)):
            found[name] = erasure(codes, pose_targets(*angles, order))
        mean = codes.mean(0)
        principal = torch.linalg.svd((codes - mean).double(), full_matrices=False)[2].T
        for place, (name, (into, _)) in enumerate(list(found.items())):
            size = into.shape[1]
            drawn = random_directions(codes.shape[1], size, seed + place)
            found[control_of(name, RANDOM)] = (drawn, drawn)
            found[control_of(name, PRINCIPAL)] = (principal[:, :size], principal[:, :size])
        made = {name: Subspace(name, mean, into.float(), out.float()) for name, (into, out) in found.items()}
        return cls(made, tuple(scores))


def _heads(encoder: Encoder, codes: Tensor) -> dict[str, Tensor]:
    found = {name: read_directions(encoder, codes, place) for name, place in heads_of(encoder).items()}
    if any(one.shape[1] >= codes.shape[1] for one in found.values()):
        raise CodeError(
            f"the heads read all {codes.shape[1]} numbers of '{encoder.layer}', so nothing is left without "
            "them: give decoders of a layer before, such as posenet-fc7"
        )
    return found
