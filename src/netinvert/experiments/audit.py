"""What a privacy audit is of, and what it found."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError, NetworkError
from netinvert.evaluation.attributes import Attribute
from netinvert.evaluation.metrics import error_cvpr16
from netinvert.evaluation.probes import Question, Reading, probe, question_of
from netinvert.evaluation.retrieval import METRICS, Retrieval, duplicates, retrieve
from netinvert.experiments.inversions import Task, perform
from netinvert.inversion.codes import code_error
from netinvert.inversion.objectives import Match
from netinvert.inversion.presets.by_name import PRESETS, recipe
from netinvert.io.images import fit
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder

STORED, ORIGINAL = "stored codes", "originals"
OPTIMISED, DECODED = "optimised", "decoded"


@dataclass(frozen=True)
class Settings:
    """How to audit. ``steps`` of the optimisation (the preset's own if None); ``sample``: how many codes are
    reconstructed, drawn by the seed if there are more; ``shuffles`` of the labels, for the chance level."""

    preset: str = "default"
    steps: int | None = None
    sample: int = 64
    seed: int = 0
    batch: int = 8
    shuffles: int = 200

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(f"there is no preset '{self.preset}'; choose from {', '.join(PRESETS)}")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"--steps is at least 1, got {self.steps}")
        if self.sample < 2 or self.batch < 1 or self.shuffles < 20:
            raise ConfigError("an audit needs a sample of 2, a batch of 1 and 20 shuffles at least")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"a seed is a whole number from 0 to 2**63 - 1, got {self.seed}")


@dataclass(frozen=True, eq=False)
class Subject:
    """What is audited: ``codes`` (N, ...) of the encoder, with a name each, and what is known of them:
    the originals (N, C, *size), a ``judge`` (an encoder that took no part), attributes, the attribute whose
    equal values keep codes together in a fold. Raises CodeError, ConfigError for what cannot be audited."""

    encoder: Encoder
    codes: Tensor
    names: tuple[str, ...]
    originals: Tensor | None = None
    judge: Encoder | None = None
    attributes: tuple[Attribute, ...] = ()
    groups: Attribute | None = None

    def __post_init__(self) -> None:
        codes = self.encoder.check_code(self.codes)
        if len(codes) < 2:
            raise CodeError(
                "an audit compares codes with one another and needs two at least; for one code, use "
                "netinvert invert"
            )
        if len(duplicates(codes)[1]) < 2:
            raise CodeError(f"all {len(codes)} codes are equal, so none can be told from another")
        Match(codes)  # refuses codes that cannot be matched
        if len(self.names) != len(codes):
            raise ConfigError(f"{len(self.names)} names for {len(codes)} codes: give one each")
        if self.judge is not None:
            self._check_judge(self.judge)
        if self.groups is not None and None in self.groups.values:
            raise ConfigError(f"the groups '{self.groups.name}' are unknown for some codes: fill them in")

    def _check_judge(self, judge: Encoder) -> None:
        if self.originals is None:
            raise ConfigError("a judge reads the originals too: give --images, or leave out --judge-network")
        if judge.weights_sha256() == self.encoder.weights_sha256():
            raise ConfigError("a judge that is the audited network is no judge: choose another network")
        if judge.preprocessing.channels != self.encoder.preprocessing.channels:
            raise ConfigError(
                f"{judge.network.name} takes images of {judge.preprocessing.channels} channels, the audited "
                f"network of {self.encoder.preprocessing.channels}: choose another judge"
            )


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Images (n, C, *size) that one method made of the sampled codes; ``code_error`` (n,) is that of
    Mahendran & Vedaldi 2016, ``image_error`` (n,) over pairs of originals (Dosovitskiy & Brox 2016). Seconds
    by the clock of the processor."""

    method: str
    what: str
    images: Tensor
    code_error: Tensor
    image_error: Tensor | None
    cpu_seconds: float


@dataclass(frozen=True)
class Reader:
    """Who reads codes of pictures: ``independent`` if it took no part in making them."""

    name: str
    what: str
    independent: bool


@dataclass(frozen=True)
class Identification:
    """How often the reader finds the right original of a method's reconstructions."""

    method: str
    reader: Reader
    found: Retrieval


@dataclass(frozen=True)
class ProbeRow:
    """What a probe read of ``attribute``: from codes of ``learned`` to those of ``tested``."""

    attribute: str
    measure: str
    codes: int
    classes: int
    reader: Reader
    learned: str
    tested: str
    reading: Reading
    remark: str = ""


@dataclass(frozen=True, eq=False)
class Audit:
    """All of it. ``rows`` are the sampled codes; ``groups_of_equal`` (how many groups, codes in them)."""

    subject: Subject
    settings: Settings
    rows: tuple[int, ...]
    groups_of_equal: tuple[int, int]
    reconstructions: tuple[Reconstruction, ...]
    identifications: tuple[Identification, ...]
    probes: tuple[ProbeRow, ...]
    notes: tuple[str, ...]


CHUNK = 16
PIXELS = 32
"""Side of the pictures that are compared pixel by pixel: layout and colour, not detail."""

Place = Callable[[str], Path]
Progress = Callable[[str], None]


def audit(
    subject: Subject, settings: Settings, decoder: Decoder | None, place: Place, progress: Progress = print
) -> Audit:
    """Reconstruct, re-identify, probe. What is optimised is kept at ``place(digest)``, to go on from.

    Raises ConfigError, CodeError (the decoder is of another layer), NetworkError (nothing could be made);
    KeyboardInterrupt at Ctrl-C.
    """
    if decoder is not None:
        decoder.check_encoder(subject.encoder)
    rows, notes = _sampled(len(subject.codes), settings), []
    questions, skipped = _questions(subject, rows, settings)
    notes += skipped
    made: list[Reconstruction] = []
    try:
        images, seconds = _optimised(subject, settings, rows, place, progress)
        how = recipe(settings.preset, subject.encoder)
        steps = how.steps if settings.steps is None else settings.steps
        what = f"optimisation, preset {settings.preset}, {steps} steps"
        made.append(_reconstruction(subject, rows, (OPTIMISED, what), images, seconds))
    except NetworkError as error:  # no gradient; a decoder may do without
        if decoder is None:
            raise
        notes.append(f"nothing could be optimised: {error}")
    if decoder is not None:
        began = time.process_time()
        images = _in_chunks(decoder, subject.encoder.check_code(subject.codes)[list(rows)])
        seconds = time.process_time() - began
        made.append(_reconstruction(subject, rows, (DECODED, f"decoder {decoder.name}"), images, seconds))
    progress("comparing and probing")
    identifications: list[Identification] = []
    probes: list[ProbeRow] = []
    for reader, read, gallery in _readers(subject):
        seen = {one.method: _in_chunks(read, one.images) for one in made}
        own = torch.tensor(rows, device=gallery.device)
        identifications += [
            Identification(method, reader, retrieve(codes, gallery, own, metric))
            for method, codes in seen.items()
            for metric in METRICS
        ]
        probes += _probes(questions, reader, gallery[own], seen)
    sizes = duplicates(subject.codes)[1]
    equal = (int((sizes > 1).sum()), int(sizes[sizes > 1].sum()))
    return Audit(
        subject, settings, rows, equal, tuple(made), tuple(identifications), tuple(probes), tuple(notes)
    )


def _sampled(count: int, settings: Settings) -> tuple[int, ...]:
    if count <= settings.sample:
        return tuple(range(count))
    source = torch.Generator().manual_seed(settings.seed)
    return tuple(sorted(torch.randperm(count, generator=source)[: settings.sample].tolist()))


def _questions(subject: Subject, rows: Sequence[int], settings: Settings) -> tuple[list[Question], list[str]]:
    groups = None if subject.groups is None else subject.groups.of(rows)
    asked = [
        question_of(attribute.of(rows), groups, settings.shuffles, settings.seed)
        for attribute in subject.attributes
    ]
    if not asked:
        return [], ["no attributes were given, so nothing was probed"]
    return [one for one in asked if isinstance(one, Question)], [
        f"not probed: {one}" for one in asked if isinstance(one, str)
    ]


def _optimised(
    subject: Subject, settings: Settings, rows: Sequence[int], place: Place, progress: Progress
) -> tuple[Tensor, float]:
    """Images (n, C, *size), and the CPU seconds they took (when they were made, if that was before)."""
    how = recipe(settings.preset, subject.encoder)
    how = how if settings.steps is None else how.with_steps(settings.steps)
    codes = subject.encoder.check_code(subject.codes)
    images, seconds, cpu = [], 0.0, 0.0
    for start in range(0, len(rows), settings.batch):
        part = list(rows[start : start + settings.batch])
        task = Task(subject.encoder, how, codes[part], tuple(settings.seed + row for row in part))
        done = perform(task, place(task.digest()))
        if done.result is None:
            raise NetworkError(done.failure or "the optimisation failed")
        images.append(done.result.image)
        seconds += done.result.seconds
        cpu += done.cpu_seconds
        ready = start + len(part)
        left = seconds / ready * (len(rows) - ready)
        progress(f"optimised {ready} of {len(rows)} codes, {left:.0f} s left")
    return torch.cat(images).clamp(0, 1), cpu


def _reconstruction(
    subject: Subject, rows: Sequence[int], method: tuple[str, str], images: Tensor, seconds: float
) -> Reconstruction:
    encoder, chosen = subject.encoder, list(rows)
    target = encoder.check_code(subject.codes)[chosen]
    again = _in_chunks(_as_read(encoder), images)
    error = None
    if subject.originals is not None:
        size = (images.shape[-2], images.shape[-1])
        originals = fit(subject.originals, size).to(images)
        if not bool((originals == originals[0]).all()):
            error = error_cvpr16(images, originals[chosen], originals)
    return Reconstruction(*method, images, code_error(again, target), error, seconds)


def _readers(subject: Subject) -> list[tuple[Reader, Callable[[Tensor], Tensor], Tensor]]:
    """Each reader, how it reads pictures, and its codes (N, ...) of all originals."""
    encoder = subject.encoder
    same = Reader(_title(encoder), "the audited network itself: its codes are what was matched", False)
    readers = [(same, _as_read(encoder), encoder.check_code(subject.codes))]
    if subject.originals is None:
        return readers
    if subject.judge is not None:
        judge = _as_read(subject.judge)
        other = Reader(_title(subject.judge), "another network, which took no part", True)
        readers.append((other, judge, _in_chunks(judge, subject.originals)))
    pixels = Reader("pixels", f"the pictures themselves at {PIXELS} × {PIXELS}, no network", True)
    readers.append((pixels, _small, _small(subject.originals)))
    return readers


def _title(encoder: Encoder) -> str:
    return f"{encoder.layer} of {encoder.network.name}"


def _as_read(encoder: Encoder) -> Callable[[Tensor], Tensor]:
    return lambda images: encoder(images.to(encoder.device, encoder.dtype))


def _small(images: Tensor) -> Tensor:
    return fit(images, (PIXELS, PIXELS), "stretch")


@torch.no_grad()
def _in_chunks(function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    return torch.cat([function(part) for part in torch.split(batch, CHUNK)])


def _probes(
    questions: Sequence[Question], reader: Reader, truth: Tensor, seen: dict[str, Tensor]
) -> list[ProbeRow]:
    """Of the true codes (the ceiling); of each method's, by probes of the same kind and of the true."""
    own = ORIGINAL if reader.independent else STORED
    rows = []
    for question in questions:
        readings = [(own, own, probe(truth, question))]
        for method, codes in seen.items():
            readings.append((method, method, probe(codes, question)))
            readings.append((own, method, probe(truth, question, codes)))
        rows += [
            ProbeRow(
                question.name,
                question.measure,
                len(question.rows),
                len(question.classes),
                reader,
                learned,
                tested,
                reading,
                question.remark,
            )
            for learned, tested, reading in readings
        ]
    return rows


def shown_of(count: int, most: int) -> list[int]:
    """Evenly spaced positions, ``most`` at most: a choice that looks at no result."""
    if count <= most:
        return list(range(count))
    return [math.floor(index * count / most) for index in range(most)]
