"""A privacy audit: what stored codes show of the images that they are of, held against chance."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from netinvert.errors import NetworkError
from netinvert.evaluation.evaluate import Baseline, baselines, shipped_reference
from netinvert.evaluation.metrics import error_cvpr16
from netinvert.evaluation.probes import Question, Reading, probe, question_of
from netinvert.evaluation.retrieval import METRICS, Retrieval, duplicates, retrieve
from netinvert.experiments.audit_inputs import Audited
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.studies import Audit
from netinvert.experiments.inversions import (
    PresetChoice,
    Wanted,
    invert_all,
)
from netinvert.inversion.codes import code_error
from netinvert.io.images import fit
from netinvert.io.rundir import RunDir
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder

STORED, ORIGINAL = "stored codes", "originals"
OPTIMISED, DECODED = "optimised", "decoded"
CHUNK = 16
PIXELS = 32
"""Side of the images that are compared pixel by pixel: layout and colour, not detail."""


@dataclass(frozen=True, eq=False)
class Reconstructed:
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
class AuditReader:
    """Who reads codes of images: ``independent`` if it took no part in making them."""

    name: str
    what: str
    independent: bool


@dataclass(frozen=True)
class Identification:
    """How often the reader finds the right original of a method's reconstructions."""

    method: str
    reader: AuditReader
    found: Retrieval


@dataclass(frozen=True)
class ProbeRow:
    """What a probe read of ``attribute``: from codes of ``learned`` to those of ``tested``."""

    attribute: str
    measure: str
    codes: int
    classes: int
    reader: AuditReader
    learned: str
    tested: str
    reading: Reading
    remark: str = ""


@dataclass(frozen=True, eq=False)
class AuditFindings:
    """All of it. ``rows`` are the sampled codes; ``groups_of_equal`` (how many groups, codes in them);
    ``floors`` what images that nobody inverted score."""

    subject: Audited
    rows: tuple[int, ...]
    groups_of_equal: tuple[int, int]
    reconstructions: tuple[Reconstructed, ...]
    identifications: tuple[Identification, ...]
    probes: tuple[ProbeRow, ...]
    notes: tuple[str, ...]
    floors: Sequence[Baseline]

    @property
    def names(self) -> list[str]:
        """Of the sampled codes."""
        return [self.subject.names[row] for row in self.rows]

    def facts(self) -> dict[str, object]:
        """Every figure but seconds, ready for JSON."""
        return {
            "codes": len(self.subject.codes),
            "reconstructed": self.names,
            "equal_codes": {"groups": self.groups_of_equal[0], "codes": self.groups_of_equal[1]},
            "reconstructions": [
                {
                    "method": one.method,
                    "what": one.what,
                    "code_error_ijcv16": one.code_error,
                    "image_error_cvpr16": one.image_error,
                }
                for one in self.reconstructions
            ],
            "floors": [asdict(one) for one in self.floors],
            "identification": [
                {
                    "images": one.method,
                    "reader": one.reader.name,
                    "independent": one.reader.independent,
                    **asdict(one.found),
                }
                for one in self.identifications
            ],
            "attributes": [asdict(one) for one in self.probes],
            "notes": self.notes,
        }


# -- the audit -----------------------------------------------------------------------------------------


def audit(
    config: Audit, subject: Audited, decoder: Decoder | None, folder: RunDir, tell: Tell
) -> AuditFindings:
    """Reconstruct, re-identify, probe. What is optimised is kept in the run's folder.

    Raises NetworkError (nothing could be made), Interrupted.
    """
    rows = _sampled(len(subject.codes), config)
    questions, notes = _questions(subject, rows, config)
    made: list[Reconstructed] = []
    choice = PresetChoice(config.preset, steps=config.steps)
    how = choice.recipe(subject.encoder)
    wanted = Wanted(subject.encoder.layer, choice, rows, tuple(config.seed + row for row in rows))
    (found,) = invert_all(folder, config, [subject.targets], [wanted], "codes")
    if found.images is not None:
        what = f"optimisation, preset {config.preset}, {how.steps} steps"
        images = found.images.to(subject.encoder.device).clamp(0, 1)
        made.append(_reconstructed(subject, rows, (OPTIMISED, what), images, found.cpu_seconds))
    elif decoder is None:
        raise NetworkError(found.failure or "the optimisation failed")
    else:  # no gradient; a decoder may do without
        notes.append(f"nothing could be optimised: {found.failure}")
    if decoder is not None:
        began = time.process_time()
        images = _in_chunks(decoder, subject.encoder.check_code(subject.codes)[list(rows)])
        seconds = time.process_time() - began
        made.append(_reconstructed(subject, rows, (DECODED, f"decoder {decoder.name}"), images, seconds))
    tell("comparing and probing")
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
    low = baselines(subject.codes, subject.encoder, subject.originals, shipped_reference(subject.encoder))
    return AuditFindings(
        subject, rows, equal, tuple(made), tuple(identifications), tuple(probes), tuple(notes), low
    )


def _sampled(count: int, config: Audit) -> tuple[int, ...]:
    if count <= config.sample:
        return tuple(range(count))
    source = torch.Generator().manual_seed(config.seed)
    return tuple(sorted(torch.randperm(count, generator=source)[: config.sample].tolist()))


def _questions(subject: Audited, rows: Sequence[int], config: Audit) -> tuple[list[Question], list[str]]:
    groups = None if subject.groups is None else subject.groups.of(rows)
    asked = [
        question_of(attribute.of(rows), groups, config.shuffles, config.seed)
        for attribute in subject.attributes
    ]
    if not asked:
        return [], ["No attributes were given, so nothing was probed"]
    return [one for one in asked if isinstance(one, Question)], [
        f"Not probed: {one}" for one in asked if isinstance(one, str)
    ]


def _reconstructed(
    subject: Audited, rows: Sequence[int], method: tuple[str, str], images: Tensor, seconds: float
) -> Reconstructed:
    encoder, chosen = subject.encoder, list(rows)
    target = encoder.check_code(subject.codes)[chosen]
    again = _in_chunks(_as_read(encoder), images)
    error = None
    if subject.originals is not None:
        size = (images.shape[-2], images.shape[-1])
        originals = fit(subject.originals, size).to(images)
        if not bool((originals == originals[0]).all()):
            error = error_cvpr16(images, originals[chosen], originals)
    return Reconstructed(*method, images, code_error(again, target), error, seconds)


def _readers(subject: Audited) -> list[tuple[AuditReader, Callable[[Tensor], Tensor], Tensor]]:
    """Each reader, how it reads images, and its codes (N, ...) of all originals."""
    encoder = subject.encoder
    same = AuditReader(_title(encoder), "the audited network itself: its codes are what was matched", False)
    readers = [(same, _as_read(encoder), encoder.check_code(subject.codes))]
    if subject.originals is None:
        return readers
    if subject.judge is not None:
        judge = _as_read(subject.judge)
        other = AuditReader(_title(subject.judge), "another network, which took no part", True)
        readers.append((other, judge, _in_chunks(judge, subject.originals)))
    pixels = AuditReader("pixels", f"the images themselves at {PIXELS} × {PIXELS}, no network", True)
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
    questions: Sequence[Question], reader: AuditReader, truth: Tensor, seen: Mapping[str, Tensor]
) -> list[ProbeRow]:
    """Of the true codes (the ceiling); of each method's, by probes of the same kind and of the true."""
    own = ORIGINAL if reader.independent else STORED
    rows = []
    for question in questions:
        readings = [(own, own, probe(truth, question))]
        for method, codes in seen.items():
            readings.append((method, method, probe(codes, question)))
            readings.append((own, method, probe(truth, question, codes)))
        asked = (question.name, question.measure, len(question.rows), len(question.classes), reader)
        rows += [ProbeRow(*asked, *reading, question.remark) for reading in readings]
    return rows


def shown_of(count: int, most: int) -> list[int]:
    """Evenly spaced positions, ``most`` at most: a choice that looks at no result."""
    if count <= most:
        return list(range(count))
    return [math.floor(index * count / most) for index in range(most)]
