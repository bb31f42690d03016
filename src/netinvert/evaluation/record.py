"""What is known of a finished run of images: the results, how good they are, and what a page says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from netinvert.evaluation.evaluate import Metrics, Reference
from netinvert.inversion.result import Result
from netinvert.models.encoder import Encoder


@dataclass(frozen=True)
class Sample:
    """One image: its file name without ``.png``, that of its original, and its seed if known."""

    name: str
    stem: str
    seed: int | None


@dataclass(frozen=True, eq=False)
class Attained:
    """What was made large (``more``) or small: its name and meaning, a value a sample, and what other images
    have of it, a value a sample too."""

    name: str
    about: str
    values: Sequence[float]
    floors: Mapping[str, Sequence[float]]
    more: bool = True


@dataclass(frozen=True, eq=False)
class Record:
    """A finished run. Samples with the same stem are restarts.

    ``originals`` (N, C, H, W); ``tensors`` are kept with the images, for a rerun. ``what`` is what the images
    are called; ``shown`` (N, C, H, W) are those of the report where they are not the result's;
    ``steps_to_take`` are sentences and commands.
    """

    result: Result
    samples: tuple[Sample, ...]
    metrics: Sequence[Metrics]
    encoder: Encoder | None = None
    originals: Tensor | None = None
    reference: Reference | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    attained: Attained | None = None
    command: str = ""
    notes: tuple[str, ...] = ()
    steps_to_take: tuple[tuple[str, str], ...] = ()
    what: str = "reconstruction"
    shown: Tensor | None = None

    @property
    def images(self) -> Tensor:
        """What the report shows."""
        return self.result.image if self.shown is None else self.shown

    @property
    def groups(self) -> dict[str, list[int]]:
        """The samples of each input."""
        groups: dict[str, list[int]] = {}
        for index, sample in enumerate(self.samples):
            groups.setdefault(sample.stem, []).append(index)
        return groups

    def showing(self, images: Tensor, note: str) -> Record:
        """The same with other images in the report."""
        return dataclasses.replace(self, shown=images, notes=(*self.notes, note))
