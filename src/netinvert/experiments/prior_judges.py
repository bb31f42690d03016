"""Who looks at the images of ``netinvert study priors``, and the natural images that they are held
against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.metrics import ssim
from netinvert.evaluation.observer import Observer, chosen_share, observers
from netinvert.evaluation.part_reader import PartReader, part_maps, part_overlap
from netinvert.evaluation.readers import RIGHT, LearnedViews, PoseReader, held_out_readers
from netinvert.experiments.configs.priors import StudyPriors
from netinvert.experiments.configs.studies import CHAIRS
from netinvert.experiments.held_out_chairs import FreshChairs, fresh_chairs
from netinvert.experiments.inputs import Source, image_paths, names_of, sources_of, unique_stems
from netinvert.explain.top_patches import TOP
from netinvert.io.cells import Cell, Cells
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
        every = torch.ones(len(chairs.images), dtype=torch.bool)
        return {
            one.name: one.errors(chairs.images, chairs.rotation, chairs.symmetry) < RIGHT
            if one.limited
            else every
            for one in self.readers
        }

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
    learned = kept.keep("learned", lambda: Cell(vars(LearnedViews.rendered(config.learned))))
    readers = held_out_readers(network, LearnedViews(**learned.tensors))
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
