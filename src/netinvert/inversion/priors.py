"""Image priors: functions of an image alone, one value a sample, averaged over pixels.

Averages, not sums, so that a weight means the same at every resolution. Images are (N, C, H, W).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import avg_pool2d
from torch.nn.modules.batchnorm import _BatchNorm

from netinvert.errors import ConfigError
from netinvert.inversion.objectives import AnyEncoder, Code, Term, Terms, parts_of, term_name
from netinvert.io.config import Registry
from netinvert.models.cut import LayerCut
from netinvert.models.encoder import Encoder
from netinvert.models.sound import unwrapped

# Keeps the gradient of |d|^beta finite at d = 0 for beta < 2: a thousandth of the range, squared.
SMOOTHING = 1e-6


@dataclass(frozen=True)
class TotalVariation:
    """TV^beta averaged over pixels and summed over channels.

    Isotropic: (dx² + dy²)^(beta/2). Anisotropic: |dx|^beta + |dy|^beta. Forward differences, zero at the
    last row and column (Mahendran & Vedaldi 2015, section 3; the difference scheme of their code).
    """

    beta: float = 1.0
    isotropic: bool = True
    name: Literal["tv"] = "tv"

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        value: Tensor = _TotalVariation.apply(image, self.beta, self.isotropic)
        return value


class _TotalVariation(torch.autograd.Function):
    """Value and gradient in one pass, for autograd's own way through the differences is slower."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, beta: float, isotropic: bool) -> Tensor:  # noqa: ANN401
        down = image[..., 1:, :] - image[..., :-1, :]
        right = image[..., 1:] - image[..., :-1]
        if isotropic and beta != 2:
            squared = torch.full_like(image, SMOOTHING)
            squared[..., :-1, :].addcmul_(down, down)
            squared[..., :-1].addcmul_(right, right)
            value, slope = _smooth_power(squared, beta)
            down_slope, right_slope = slope[..., :-1, :], slope[..., :-1]
        else:  # for beta = 2 both kinds are the same sum
            down_value, down_slope = _smooth_power(down.square().add_(SMOOTHING), beta)
            right_value, right_slope = _smooth_power(right.square().add_(SMOOTHING), beta)
            value = down_value + right_value
        pixels = image.shape[-2] * image.shape[-1]
        if ctx.needs_input_grad[0]:
            pull_down, pull_right = down.mul_(down_slope), right.mul_(right_slope)
            gradient = torch.zeros_like(image)
            gradient[..., 1:, :] = pull_down
            gradient[..., :-1, :] -= pull_down
            gradient[..., 1:] += pull_right
            gradient[..., :-1] -= pull_right
            ctx.save_for_backward(gradient.mul_(beta / pixels))
        return (value / pixels).to(image.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return gradients[0].view(-1, 1, 1, 1) * gradient, None, None


def _smooth_power(smoothed: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """From squares with SMOOTHING added: the sum over a sample of their powers beta/2 less what SMOOTHING
    alone would give, (N,) in float64, and the derivative by the root, over beta and the root."""
    floor = smoothed.new_tensor(SMOOTHING)
    if beta == 1:
        power, floor = smoothed.sqrt(), floor.sqrt()
        slope = power.reciprocal()
    elif beta == 2:
        power, slope = smoothed, torch.ones_like(smoothed)
    else:
        power, floor = smoothed.pow(beta / 2), floor.pow(beta / 2)
        slope = power / smoothed
    # In float64 a sum of equal float32 numbers is exact, so that a constant image gives exactly 0.
    total = power.flatten(1).sum(1, dtype=torch.float64) - floor.double() * power[0].numel()
    return total, slope


@dataclass(frozen=True)
class AlphaNorm:
    """Mean over pixels of the alpha-th power of a pixel's difference from ``centre`` (one number a channel).

    ``colour``: of the norm of the pixel's colour vector (Mahendran & Vedaldi 2016); otherwise of each
    channel's absolute value, summed over channels (Mahendran & Vedaldi 2015).
    """

    centre: tuple[float, ...]
    alpha: float = 6.0
    colour: bool = True
    name: Literal["alpha"] = "alpha"

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        centre = torch.tensor(self.centre, dtype=image.dtype, device=image.device).view(-1, 1, 1)
        squared = (image - centre).square()
        if self.colour:
            squared = squared.sum(1, keepdim=True)
        if self.alpha < 2:
            floor: float = SMOOTHING ** (self.alpha / 2)
            return _per_pixel((squared + SMOOTHING).pow(self.alpha / 2) - floor, image)
        return _per_pixel(squared.pow(self.alpha / 2), image)


@dataclass(frozen=True)
class HuberVariation:
    """Total variation that is quadratic below ``delta`` and grows like TV above.

    Mean over pixels of h(√(dx² + dy²)) with h(d) = d² / (2 delta) up to delta and d - delta / 2 beyond: no
    staircases in smooth shading, edges as with TV.
    """

    delta: float = 0.02
    name: Literal["tv-huber"] = "tv-huber"

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        down = nn.functional.pad((image[..., 1:, :] - image[..., :-1, :]).square(), (0, 0, 0, 1))
        right = nn.functional.pad((image[..., 1:] - image[..., :-1]).square(), (0, 1))
        squared, delta = down + right, self.delta
        # √ only where it is differentiable: below delta, d² is used as it is.
        root = squared.clamp_min(delta * delta).sqrt()
        return _per_pixel(
            torch.where(squared < delta * delta, squared / (2 * delta), root - delta / 2), image
        )


@dataclass(frozen=True)
class SecondOrderVariation:
    """Frobenius norm of the Hessian, averaged over pixels, summed over channels.

    Costs nothing for linear shading, which total variation makes flat in steps (Lysaker et al. 2003).
    """

    name: Literal["second-order"] = "second-order"

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        down, right = image.diff(dim=-2), image.diff(dim=-1)
        twice_down, twice_right = down.diff(dim=-2)[..., 1:-1], right.diff(dim=-1)[..., 1:-1, :]
        across = down.diff(dim=-1)[..., 1:, 1:]
        squared = twice_down.square() + twice_right.square() + 2 * across.square() + SMOOTHING
        return _per_pixel(squared.sqrt() - SMOOTHING**0.5, image)


def _per_pixel(values: Tensor, image: Tensor) -> Tensor:
    pixels: int = image.shape[-2] * image.shape[-1]
    return values.flatten(1).sum(1) / pixels


class BatchNormStatistics:
    """How far mean and deviation of every channel are from those of the training images.

    After DeepInversion (Yin et al. 2020, equation 4), but over the positions of one image instead of a batch,
    and in units of the deviations kept: the mean over layers and channels of ((μ - μ̂) / σ̂)² + (σ / σ̂ - 1)².
    Runs the network to the encoder's layer once more, without the folding that takes BatchNorm out.

    Raises ConfigError if no BatchNorm with statistics runs before the encoder's layer.
    """

    name: Literal["batchnorm"] = "batchnorm"

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        module = copy.deepcopy(unwrapped(encoder.network.module)).requires_grad_(False)
        self._tap = LayerCut(module, encoder.trace.layer)
        probe = torch.full((1, encoder.preprocessing.channels, *encoder.size), 0.5)
        with torch.no_grad():
            found = self._statistics(probe.to(encoder.device, encoder.dtype))
        if not found:
            raise ConfigError(
                f"no BatchNorm runs before layer '{encoder.layer}' of {encoder.network.name} (folded into "
                "the convolutions, perhaps); choose another prior"
            )

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        return torch.stack(self._statistics(image)).mean(0)

    def _statistics(self, image: Tensor) -> list[Tensor]:
        """One (N,) a BatchNorm layer."""
        found: list[Tensor] = []

        def observe(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(part, _BatchNorm)
            maps = inputs[0]
            if part.running_mean is None or part.running_var is None or maps.ndim != 4:
                return
            deviation = (part.running_var + part.eps).sqrt()
            spread, mean = torch.var_mean(maps, dim=(2, 3), correction=0)
            off = ((mean - part.running_mean) / deviation).square()
            found.append((off + ((spread + part.eps).sqrt() / deviation - 1).square()).mean(1))

        norms = [part for part in self._tap.module.modules() if isinstance(part, _BatchNorm)]
        handles = [part.register_forward_pre_hook(observe) for part in norms]
        try:
            self._tap(self._encoder.network_input(self._encoder.fit(image)))
        finally:
            for handle in handles:
                handle.remove()
        return found


PARTS = 4


@dataclass(frozen=True)
class Exposure:
    """Squared distance of an image's mean and local deviation from given ones, over ``deviation``².

    The deviation is the root mean square of that within each of 4 × 4 parts of the image: of the whole, it
    would be had for next to nothing by a slow change from black to white, with the contents as faint as
    before. The defaults are about what photographs have, in [0, 1]. HOG and SIFT are the same for
    ``a · image + b`` (a > 0); total variation alone would shrink a towards zero, and nothing would hold b.
    """

    mean: float = 0.5
    deviation: float = 0.15
    name: ClassVar[str] = "exposure"

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ConfigError(f"an image's deviation is above zero, got {self.deviation}")

    def __call__(self, image: Tensor, code: Code) -> Tensor:
        """One value a sample, (N,)."""
        part = (max(image.shape[-2] // PARTS, 1), max(image.shape[-1] // PARTS, 1))
        # About the middle, where squares lose no digits.
        centred = image - self.mean
        means = avg_pool2d(centred, part)
        variance = (avg_pool2d(centred.square(), part) - means.square()).flatten(1).mean(1)
        # The root's derivative at zero would be infinite.
        deviation = (variance.clamp_min(0) + 1e-8).sqrt()
        off = centred.flatten(1).mean(1).square() + (deviation - self.deviation).square()
        return off / self.deviation**2


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
# The weights were found by eye and by error on photographs, for maps of classifiers.
PRIORS.add("tv-isotropic", _plain(TotalVariation(beta=1, isotropic=True), 0.1))
PRIORS.add("tv-anisotropic", _plain(TotalVariation(beta=1, isotropic=False), 0.1))
PRIORS.add("tv-quadratic", _plain(TotalVariation(beta=2), 0.1))
PRIORS.add("tv-huber", _plain(HuberVariation(), 0.1))
PRIORS.add("second-order", _plain(SecondOrderVariation(), 0.1))
PRIORS.add("batchnorm", Prior(BatchNormStatistics, 0.01))


def register_prior(name: str, term: Term | None = None, weight: float = 1.0) -> Callable[[Term], Term]:
    """Give a prior, a function (image, code) -> (N,), a name for ``prior=`` and ``--prior``.

    A decorator, or a call with the term. ``weight`` is that beside a data term of weight 1, where the user
    gives none; presets that fit their priors to the code take a share of it. One that needs the
    encoder: ``PRIORS.add(name, Prior(make, weight))``. Raises ConfigError.

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
        own = float(f"{data_weight * prior.weight:.6g}")  # short in texts
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
