"""Who looks at the images of ``netinvert study priors``, and the natural images that they are held against;
and priors at equal code error: each picture's measures between the weights, what may be claimed of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.metrics import ssim
from netinvert.evaluation.preferences import Observer, chosen_share, observers
from netinvert.evaluation.readers import (
    RIGHT,
    LearnedViews,
    PartReader,
    PoseReader,
    held_out_readers,
    part_maps,
    part_overlap,
)
from netinvert.evaluation.report import Estimate
from netinvert.evaluation.statistics import PairedTest, compared, estimate, holm
from netinvert.experiments.configs.looks import CHAIRS
from netinvert.experiments.configs.studies import StudyPriors
from netinvert.experiments.held_out_chairs import FreshChairs, fresh_chairs
from netinvert.experiments.inputs import Source, image_paths, names_of, sources_of, unique_stems
from netinvert.experiments.registered import ALPHA, ENOUGH
from netinvert.explain.top_patches import TOP
from netinvert.io.cells import Cells
from netinvert.io.files import Tell
from netinvert.io.images import fit, read_image
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.train import in_chunks

NINE, NEAREST_ONE, NINE_RANDOM = "the nine nearest natural", "the nearest natural", "nine natural at random"
OTHER_PICTURE, ITSELF = "another picture", "the picture itself"
ALIKE = ("alike", "alike_other")
"""The first observer's likeness of an image to its own original, and to ``Judges.other``."""
HARD = 9
"""A choice is between the right picture and each of so many that look most like it to the observer: among
pictures at random it is too easy, and every prior is right."""


@dataclass(frozen=True, eq=False)
class NaturalImages:
    """``images`` (N, 3, H, W) by ``names`` whose codes are inverted, and others (B, 3, H, W), the ``bank``;
    where they are rendered ``chairs``, what is known of them."""

    images: Tensor
    bank: Tensor
    names: tuple[str, ...]
    chairs: FreshChairs | None = None
    sources: tuple[Source, ...] = ()

    @classmethod
    def of(cls, config: StudyPriors, encoder: Encoder, tell: Tell) -> NaturalImages:
        """As the encoder sees them. Raises ImageError; ConfigError: too few, or not in colour;
        MissingExtraError: chairs are rendered."""
        if encoder.preprocessing.channels != 3:
            raise ConfigError(
                f"observers look at colours, and {encoder.network.name} takes none: choose another"
            )
        count, wanted = config.count, config.count + config.bank
        if config.images == CHAIRS:
            tell(f"rendering {report.counted(wanted, 'chair')}")
            chairs = fresh_chairs(wanted, config.seed, max(encoder.size))
            images = fit(chairs.images, encoder.size)
            first = FreshChairs(**{name: value[:count] for name, value in vars(chairs).items()})
            return cls(images[:count], images[count:], tuple(names_of("chair", count)), first)
        paths = image_paths(config.images, tell)[:wanted]
        if len(paths) < count + TOP:
            raise ConfigError(
                f"{config.images} holds {len(paths)} images, and {count} to invert and {TOP} others are "
                "needed: add some, or take fewer with --count"
            )
        images = torch.cat([encoder.fit(read_image(path)) for path in paths])
        names = unique_stems(paths[:count])
        return cls(images[:count], images[count:], names, sources=sources_of("images", paths))

    def nearest(self, encoder: Encoder) -> Tensor:
        """Which of the bank have the codes nearest to each image's, (N, TOP)."""
        codes, others = (natural_codes(encoder, one).flatten(1) for one in (self.images, self.bank))
        return torch.cdist(codes, others).topk(TOP, largest=False)[1]


@dataclass(frozen=True, eq=False)
class Judges:
    """Who looks at images, and at what was to be shown; ``parts`` and their ``truth`` (N, h, w) of chairs."""

    natural: NaturalImages
    observers: tuple[Observer, ...]
    readers: tuple[PoseReader, ...] = ()
    parts: PartReader | None = None
    truth: Tensor | None = None

    @cached_property
    def originals(self) -> dict[str, Tensor]:
        """What each observer sees of the pictures, (N, D)."""
        return {one.name: one.seen(self.natural.images) for one in self.observers}

    def near(self, observer: Observer) -> Tensor:
        """Of each picture the numbers (N, 1 + HARD) of itself and of the others that look most like it."""
        seen = self.originals[observer.name]
        like = (seen @ seen.T).fill_diagonal_(torch.inf)
        return like.topk(min(1 + HARD, len(like)))[1]

    @cached_property
    def other(self) -> Tensor:
        """Of each picture (N,) the one that people may take for it in a choice."""
        return self.near(self.observers[0])[:, 1]

    @cached_property
    def asked(self) -> dict[str, Tensor]:
        """By reader, about which chairs (N,) it is asked: of limited ones those that it reads right."""
        chairs = self.natural.chairs
        assert chairs is not None
        truth = (chairs.images, chairs.rotation, chairs.symmetry)
        return {one.name: one.asked(*truth) for one in self.readers}

    def choices(self, images: Tensor, own: Tensor) -> dict[str, Tensor]:
        """How often each observer chooses the right one of two natural images (M,); by images (M, 3, H, W),
        or several references each (M, R, 3, H, W); and ALIKE."""
        found = {}
        for one in self.observers:
            like = one.seen(images.reshape(-1, *images.shape[-3:])) @ self.originals[one.name].T
            like = like.reshape(len(own), -1, like.shape[1]).mean(1)
            found[f"{one.name} chooses"] = chosen_share(
                like.gather(1, self.near(one)[own]), torch.zeros_like(own)
            )
            if one is self.observers[0]:
                for name, place in zip(ALIKE, (own, self.other[own]), strict=True):
                    found[name] = like.gather(1, place[:, None])[:, 0].double()
        return found

    def measured(self, images: Tensor, own: Tensor) -> dict[str, Tensor]:
        """Of images (M, 3, H, W) of the pictures ``own`` (M,), every measure (M,)."""
        found = {**self.choices(images, own), "ssim": ssim(images, self.natural.images[own]).double()}
        chairs = self.natural.chairs
        for one in self.readers if chairs is not None else ():
            assert chairs is not None
            right = one.errors(images, chairs.rotation[own], chairs.symmetry[own]) < RIGHT
            found[f"{one.name} reads"] = torch.where(self.asked[one.name][own], right.double(), torch.nan)
        if self.parts is not None and self.truth is not None:
            labels, truth = self.parts.labels(images), self.truth[own]
            found["parts"] = part_overlap(labels, truth)
            found["whole"] = part_overlap((labels > 0).long(), (truth > 0).long())
        return found


def natural_codes(encoder: Encoder, images: Tensor) -> Tensor:
    """On the CPU."""
    return in_chunks(lambda part: encoder(part.to(encoder.device, encoder.dtype)).cpu(), images)


def judges_of(
    natural: NaturalImages, encoder: Encoder, config: StudyPriors, kept: Cells, tell: Tell
) -> Judges:
    """Of chairs also readers of poses and parts, who learn first. Raises MissingExtraError."""
    network, watching = encoder.network, tuple(observers(encoder.network))
    if natural.chairs is None:
        return Judges(natural, watching)
    tell(f"rendering {report.counted(config.learned, 'view')} for the readers")
    readers = held_out_readers(network, LearnedViews.kept(kept, config.learned))
    fitting = part_maps((config.learned + 1) // 2, size=max(encoder.size))
    parts = PartReader.fitted(network, fitting)
    truth = part_maps(config.count, config.seed, max(encoder.size), parts.names).shares.argmax(1)
    return Judges(natural, watching, tuple(readers), parts, truth)


def baselines_of(judges: Judges, nearest: Tensor, seed: int) -> dict[str, Mapping[str, Tensor]]:
    """Of images that nobody made, by their names, the measures picture by picture (N,): natural ones, those
    of the ``nearest`` codes (N, TOP) and at random; another picture, and as a ceiling the picture itself. Of
    nine images together only choices are known."""
    natural, own = judges.natural, torch.arange(len(judges.natural.images))
    source = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(natural.bank), nearest.shape, generator=source)
    return {
        NINE: judges.choices(natural.bank[nearest], own),
        NEAREST_ONE: judges.measured(natural.bank[nearest[:, 0]], own),
        NINE_RANDOM: judges.choices(natural.bank[drawn], own),
        OTHER_PICTURE: judges.measured(natural.images.roll(1, 0), own),
        ITSELF: judges.measured(natural.images, own),
    }


# -- at equal code error -------------------------------------------------------------------------------

MARGINS = {"ssim": 0.01}
OTHER_MARGIN = 0.05
"""Smaller differences do not matter: of SSIM, and of shares (5 points)."""
Verdict = Literal["better", "worse", "equivalent", "undecided", "not enough"]


@dataclass(frozen=True, eq=False)
class Curve:
    """A prior on a canvas at a layer, at W ``weights`` (the least first; 0 is without it): ``errors`` (W, M),
    and by measure ``values`` (W, M), of M images; ``pictures`` (M,) says of which code each is."""

    layer: str
    prior: str
    canvas: str
    weights: tuple[float, ...]
    errors: Tensor
    values: Mapping[str, Tensor]
    pictures: Tensor

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.prior}, {self.canvas}"

    def at(self, measure: str, level: Tensor) -> Tensor:
        """The measure (M,) where the image's own curve has a code error (M,); NaN where it has not."""
        return at_error(self.errors, self.values[measure], level)

    def nearest(self, level: Tensor) -> Tensor:
        """The places (M,) of the weights whose images are nearest to these code errors."""
        off = (self.errors.clamp_min(1e-9) / level).log().abs()
        return off.nan_to_num(torch.inf).argmin(0)


def at_error(errors: Tensor, values: Tensor, level: Tensor) -> Tensor:
    """Values (W, M) along the weights, where the errors (W, M) are those of ``level`` (M,): between two
    weights straight over the errors' logarithm; where a curve comes by several times, the mean; NaN where it
    never does. Nothing is extrapolated.

    Example:
        >>> errors, values = torch.tensor([[0.1], [0.4]]), torch.tensor([[0.0], [1.0]])
        >>> [round(at_error(errors, values, torch.tensor([level])).item(), 3) for level in (0.2, 0.5)]
        [0.5, nan]
    """
    logs, wanted = errors.double().clamp_min(1e-9).log(), level.double().clamp_min(1e-9).log()
    values = values.double()
    if len(logs) == 1:
        return torch.where(logs[0] == wanted, values[0], torch.nan)
    first, second = logs[:-1], logs[1:]
    level_way = second == first
    share = torch.where(level_way, 0.5, (wanted - first) / torch.where(level_way, 1.0, second - first))
    here = (torch.minimum(first, second) <= wanted) & (wanted <= torch.maximum(first, second))
    between = values[:-1] + share * (values[1:] - values[:-1])
    found = torch.where(here, between, 0.0).sum(0) / here.sum(0)
    return torch.where(here.any(0), found, torch.nan)


def common_place(curves: Sequence[Curve]) -> int:
    """The weight of the first curve, the reference, at whose code errors a layer's curves are compared: that
    which most images of all curves reach; of equal ones the nearest to the middle. No measure has a say."""
    first = curves[0]
    above = [place for place, weight in enumerate(first.weights) if weight > 0] or [0]
    middle = above[len(above) // 2]

    def reached(place: int) -> tuple[float, int]:
        there = [at_error(one.errors, one.errors, first.errors[place]).isfinite() for one in curves]
        return float(torch.stack(there).double().mean()), -abs(place - middle)

    return max(above, key=reached)


@dataclass(frozen=True, eq=False)
class Claim:
    """A curve against the reference of its layer by a measure, at the reference's own code error: the
    ``comparison`` (None: too few pictures), and p-values corrected for the family (Holm)."""

    curve: Curve
    measure: str
    comparison: PairedTest | None
    p: float = 1.0
    p_apart: float = 1.0

    @property
    def verdict(self) -> Verdict:
        """``equivalent``: surely nearer than the margin, also where surely not the same."""
        if self.comparison is None:
            return "not enough"
        if self.p_apart < ALPHA:
            return "equivalent"
        if self.p < ALPHA:
            return "better" if self.comparison.apart.value > 0 else "worse"
        return "undecided"


def claims(layers: Mapping[str, Sequence[Curve]], measure: str) -> list[Claim]:
    """Of every layer's curves but the first, which is the reference; all are one family of tests."""
    made = []
    for reference, *others in layers.values():
        place = common_place([reference, *others])
        for curve in others:
            if measure in curve.values:
                theirs = reference.values[measure][place].double()
                apart = _paired(curve, measure, reference.errors[place], theirs)
                made.append(Claim(curve, measure, apart))
    known = [one for one in made if one.comparison is not None]
    both = [holm([getattr(one.comparison, name) for one in known]) for name in ("p", "p_apart")]
    corrected = dict(zip(map(id, known), zip(*both, strict=True), strict=True))
    return [Claim(one.curve, one.measure, one.comparison, *corrected.get(id(one), ())) for one in made]


def figure_of(values: Tensor, pictures: Tensor) -> Estimate | None:
    """The mean over images (M,), with its interval over pictures; None where nothing is known."""
    known = ~values.isnan()
    return estimate(values[known], pictures[known]) if bool(known.any()) else None


def _paired(curve: Curve, measure: str, level: Tensor, theirs: Tensor) -> PairedTest | None:
    """A curve at a code error (M,) against other values (M,); None: too few pictures have both."""
    values = curve.at(measure, level)
    both = ~(values.isnan() | theirs.isnan())
    if len(set(curve.pictures[both].tolist())) < ENOUGH:
        return None
    return compared(values, theirs, curve.pictures, MARGINS.get(measure, OTHER_MARGIN))


def winner(found: Sequence[Claim], level: Tensor) -> Claim | None:
    """Of one layer's claims by one measure that which is surely better than the reference, and, at the code
    errors ``level`` (M,), surely better than every other that is (Holm over these tests); None if there is
    none, or if it is undecided which."""
    better = [one for one in found if one.verdict == "better"]
    better.sort(key=lambda one: -one.comparison.apart.value if one.comparison else 0.0)
    if not better:
        return None
    best, *others = better
    tests = [_paired(best.curve, one.measure, level, one.curve.at(one.measure, level)) for one in others]
    known = [one for one in tests if one is not None and one.apart.value > 0]
    sure = len(known) == len(others) and all(p < ALPHA for p in holm([one.p for one in known]))
    return best if sure else None
