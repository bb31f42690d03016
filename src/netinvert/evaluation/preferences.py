"""Which images people prefer, and a machine in their place.

Observers say which of two natural images is shown, the task of Borowski et al. (ICLR 2021): beside pictures
that explain a unit, or the picture that was made of a code, people choose between two natural images.
Zimmermann et al. (2024) found that the likeness of images to a network chooses much as people do. The network
here is another than the one that is explained: a picture made for a network may say something to that network
alone. Strengths say, by the votes of people who compared two at a time, how strong each of several is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.readers import CHUNK, bystander, hog_features
from netinvert.evaluation.report import Estimate
from netinvert.io.images import fit
from netinvert.models.network import Network

HOG_OBSERVER = "HOG"


@dataclass(frozen=True, eq=False)
class Observer:
    """``features`` (N, D) of images (N, 3, H, W) in [0, 1], whose products are likenesses, 1 for the same."""

    name: str
    features: Callable[[Tensor], Tensor]

    def likeness(self, images: Tensor, others: Tensor) -> Tensor:
        """Of each image (N, 3, H, W) to each of the others (M, 3, H, W), (N, M)."""
        return self.seen(images) @ self.seen(others).T

    @torch.no_grad()
    def seen(self, images: Tensor) -> Tensor:
        """The features (N, D) of images of any values and number."""
        return torch.cat([self.features(part.clamp(0, 1)) for part in torch.split(images, CHUNK)])


def chosen_share(likeness: Tensor, own: Tensor) -> Tensor:
    """How often the right image is chosen: of pictures' likenesses (N, M) to M natural images, of which
    ``own`` (N,) is the right one, the share (N,) of the others that are less like it; equal ones count half.
    1 is always right, 0.5 chance. Raises ConfigError: there is no other.

    Example:
        >>> chosen_share(torch.tensor([[0.9, 0.2, 0.9, 0.95, 0.1]]), torch.tensor([0])).item()
        0.625
    """
    if likeness.shape[1] < 2:
        raise ConfigError("a choice is between two images or more: give more images")
    right = likeness.gather(1, own[:, None])
    wins = (right > likeness).double() + 0.5 * (right == likeness).double()
    return (wins.sum(1) - 0.5) / (likeness.shape[1] - 1)  # it is as like as itself


def network_observer(explained: Network) -> Observer:
    """As of :func:`.bystander`: at each place of each layer the angle between the two images' features
    counts, as in LPIPS (Zhang et al. 2018) without its fitted weights.

    Raises MissingExtraError without the extra imagenet."""
    encoder = bystander(explained)

    def features(images: Tensor) -> Tensor:
        codes = encoder(fit(images, encoder.size).to(encoder.dtype))
        shares = [F.normalize(code, dim=1).flatten(1) / code[0, 0].numel() ** 0.5 for code in codes.values()]
        joined: Tensor = torch.cat(shares, 1) / len(shares) ** 0.5
        return joined

    return Observer(encoder.network.name, features)


def observers(explained: Network) -> list[Observer]:
    """The network that observes, and one without a network, by HOG. Raises MissingExtraError."""
    hog = Observer(HOG_OBSERVER, lambda images: F.normalize(hog_features(images), dim=1))
    return [network_observer(explained), hog]


# -- votes of people -----------------------------------------------------------------------------------

FIRST, SECOND, TIE = 0, 1, 2
BOOTSTRAPPED = 400
STRENGTHS, RATERS = 3.0, 0.5
"""Standard deviations, about 0, of strengths and of the logarithms of raters' sureness: who wins every time,
or is asked once, keeps finite figures."""


@dataclass(frozen=True)
class Votes:
    """Of V votes what was shown ``first`` and ``second``, by number, the ``answer`` (FIRST, SECOND or TIE),
    who said so, and about which picture; all (V,)."""

    first: Tensor
    second: Tensor
    answer: Tensor
    rater: Tensor
    picture: Tensor


@dataclass(frozen=True)
class Strengths:
    """Of each thing its strength (their mean is 0), with its interval; ``tie``: the weight of a tie between
    equals, of which 1 + 1 + tie shares; how sure each rater is (1 is the mean)."""

    things: Sequence[Estimate]
    tie: float
    raters: Sequence[float]


def strengths(votes: Votes, things: int) -> Strengths:
    """By the model of Bradley & Terry (1952) with the ties of Davidson (1970), and a sureness of each rater
    that multiplies differences: someone who answers at random has 0. Intervals are 95 % of the bootstrap that
    draws pictures and raters.

    Raises ConfigError: there are no votes.

    Example:
        >>> won = torch.tensor([FIRST] * 6 + [SECOND] * 2 + [TIE] * 4)
        >>> none = torch.zeros(12, dtype=torch.long)
        >>> found = strengths(Votes(none, none + 1, won, none, torch.arange(12)), 2)
        >>> found.things[0].value > 0 > found.things[1].value
        True
    """
    if not len(votes.answer):
        raise ConfigError("strengths are by votes, and there are none")
    source = torch.Generator().manual_seed(0)
    drawn = torch.ones(BOOTSTRAPPED, len(votes.answer), dtype=torch.float64)
    for groups in (votes.picture, votes.rater):
        place = torch.unique(groups, return_inverse=True)[1]
        count = int(place.max()) + 1
        if count > 1:
            some = torch.randint(count, (BOOTSTRAPPED, count), generator=source)
            drawn *= F.one_hot(some, count).sum(1)[:, place]
    raters = int(votes.rater.max()) + 1
    start = torch.zeros(1, things + 1 + raters, dtype=torch.float64)
    whole = _fitted(votes, things, torch.ones_like(drawn[:1]), start)
    strength, tie, sure = _parts(whole, things)
    spread = _parts(_fitted(votes, things, drawn, whole.expand(len(drawn), -1)), things)[0]
    low, high = torch.quantile(spread, torch.tensor([0.025, 0.975], dtype=torch.float64), 0)
    rows = zip(strength[0].tolist(), low.tolist(), high.tolist(), strict=True)
    return Strengths([Estimate(*row) for row in rows], tie[0].exp().item(), sure[0].exp().tolist())


def _parts(state: Tensor, things: int) -> tuple[Tensor, Tensor, Tensor]:
    """Strengths (B, things), and the logarithms of ties (B, 1) and of how sure raters are (B, R)."""
    strength, tie, sure = state[:, :things], state[:, things : things + 1], state[:, things + 1 :]
    return strength - strength.mean(1, keepdim=True), tie, sure - sure.mean(1, keepdim=True)


def _fitted(votes: Votes, things: int, weights: Tensor, start: Tensor) -> Tensor:
    """What is most likely (B, things + 1 + R) by so many weightings (B, V), all at once."""
    state = start.clone().requires_grad_()
    sign = torch.where(votes.answer == SECOND, -1.0, 1.0) * (votes.answer != TIE)
    tied = (votes.answer == TIE).double()

    def loss() -> Tensor:
        strength, tie, sure = _parts(state, things)
        half = sure[:, votes.rater].exp() * (strength[:, votes.first] - strength[:, votes.second]) / 2
        whole = torch.logaddexp(torch.logaddexp(half, -half), tie.expand_as(half))
        likelihood = (weights * (sign * half + tied * tie - whole)).sum()
        kept = [(strength / STRENGTHS), (tie / STRENGTHS), (sure / RATERS)]
        return sum((one.square().sum() for one in kept), -2 * likelihood) / 2

    method = torch.optim.LBFGS([state], max_iter=60, history_size=20, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        method.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    method.step(step)  # type: ignore[no-untyped-call]
    return state.detach()
