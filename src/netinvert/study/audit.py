"""A privacy audit: what stored codes show of the images that they are of, measured against guessing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from netinvert.decoders import Decoder
from netinvert.encoder import Encoder
from netinvert.errors import NetworkError
from netinvert.images import fit
from netinvert.metrics import error_cvpr16, error_ijcv16
from netinvert.presets import recipe
from netinvert.study.audit_records import (
    DECODED,
    OPTIMISED,
    ORIGINAL,
    STORED,
    Audit,
    Identification,
    ProbeRow,
    Reader,
    Reconstruction,
    Settings,
    Subject,
)
from netinvert.study.inversions import Task, perform
from netinvert.study.probes import Question, probe, question_of
from netinvert.study.retrieval import METRICS, duplicates, retrieve

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
    return Reconstruction(*method, images, error_ijcv16(again, target), error, seconds)


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
