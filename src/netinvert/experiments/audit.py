"""A privacy audit: what stored codes show of the images that they are of, held against chance."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError, NetworkError
from netinvert.evaluation.attributes import Attribute, read_attributes
from netinvert.evaluation.evaluate import Baseline, baselines, encode_images, shipped_reference
from netinvert.evaluation.metrics import error_cvpr16
from netinvert.evaluation.probes import (
    METRICS,
    Question,
    Reading,
    Retrieval,
    duplicates,
    probe,
    question_of,
    retrieve,
)
from netinvert.experiments.configs.looks import Audit
from netinvert.experiments.inputs import (
    Source,
    image_paths,
    is_code_file,
    on_device,
    open_network,
    read_inputs,
    sources_of,
    unique_stems,
)
from netinvert.experiments.inversions import PresetChoice, Targets, Wanted, invert_all
from netinvert.inversion.correct import corrected
from netinvert.inversion.objectives import Match, code_error
from netinvert.io.files import Tell
from netinvert.io.images import fit, read_image
from netinvert.io.rundir import RunDir
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network

STORED, ORIGINAL = "stored codes", "originals"
OPTIMISED, DECODED, CORRECTED = "optimised", "decoded", "corrected"
CHUNK = 16
PIXELS = 32
"""Side of the images that are compared pixel by pixel: layout and colour, not detail."""


# -- what is audited -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Audited:
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
        if self.groups is not None and None in self.groups.values:
            raise ConfigError(f"the groups '{self.groups.name}' are unknown for some codes: fill them in")
        if self.judge is None:
            return
        if self.originals is None:
            raise ConfigError("a judge reads the originals too: give --images, or leave out --judge-network")
        if self.judge.weights_sha256() == self.encoder.weights_sha256():
            raise ConfigError("a judge that is the audited network is no judge: choose another network")
        if self.judge.preprocessing.channels != self.encoder.preprocessing.channels:
            raise ConfigError(
                f"{self.judge.network.name} takes images of {self.judge.preprocessing.channels} channels, "
                f"the audited network of {self.encoder.preprocessing.channels}: choose another judge"
            )

    @property
    def targets(self) -> Targets:
        """Its codes, to be inverted."""
        originals = None if self.originals is None else self.originals.cpu()
        return Targets(self.encoder.layer, self.encoder.check_code(self.codes).cpu(), originals)


def read_audited(config: Audit, tell: Tell) -> tuple[Audited, list[Source]]:
    """What the options name, checked, and its files. Raises NetinvertError."""
    if not is_code_file(config.codes):
        raise CodeError(
            f"{config.codes} is no file of codes (.npy, .safetensors, .pt): make one with netinvert encode"
        )
    encoder = Encoder(open_network(config, config.device, tell), config.layer)
    inputs = read_inputs(str(config.codes), encoder, tell=tell)
    if inputs.remark is not None:
        tell(inputs.remark)
    sources = list(sources_of("codes", [config.codes]))
    names, originals, judge = inputs.stems, None, None
    if config.images is not None:
        paths = image_paths(config.images, tell)
        names, originals = _originals(paths, encoder, inputs.codes, inputs.stems)
        sources += sources_of("images", paths)
        own = encoder.network.held_out_pose_estimator
        if config.judge_network is not None and config.judge_layer is not None:
            judge = Encoder(on_device(load_network(config.judge_network), config.device), config.judge_layer)
        elif own is not None:  # before its output, which is of few numbers
            judge = Encoder(other := load_network(own), other.layers[-2]).to(encoder.device)
    attributes: list[Attribute] = []
    if config.attributes is not None:
        attributes = read_attributes(config.attributes, names)
        sources += sources_of("attributes", [config.attributes])
    groups = next((one for one in attributes if one.name == config.groups), None)
    if config.groups is not None and groups is None:
        known = ", ".join(one.name for one in attributes)
        raise ConfigError(f"--groups: there is no column '{config.groups}'; there are {known}")
    return Audited(encoder, inputs.codes, names, originals, judge, tuple(attributes), groups), sources


def _originals(
    paths: Sequence[Path], encoder: Encoder, stored: Tensor, names: tuple[str, ...]
) -> tuple[tuple[str, ...], Tensor]:
    """Names and images (N, C, *size) in the order of the codes: by name if the codes have the images' names,
    else in the order of the files' names.

    Raises ImageError; ConfigError if there are more or fewer images than codes, or most are of other codes.
    """
    stems, count = unique_stems(paths), len(names)
    if len(paths) != count:
        raise ConfigError(f"--images has {len(paths)} images for {count} codes: give one a code")
    if set(stems) == set(names):
        paths, stems = [paths[stems.index(stem)] for stem in names], names
    channels = encoder.preprocessing.channels
    images = [encoder.fit(read_image(path, channels).to(encoder.device, encoder.dtype)) for path in paths]
    group, _ = duplicates(stored)
    nearest = torch.cdist(encode_images(encoder, images).flatten(1), stored.flatten(1)).argmin(1)
    wrong = (group[nearest] != group).nonzero().flatten().tolist()
    if len(wrong) > count / 10:
        raise ConfigError(
            f"{len(wrong)} of {count} images, {stems[wrong[0]]} for one, have codes that are nearer to "
            "another code than to their own: name the files so that their order is the codes', check "
            "network and layer, or leave out --images"
        )
    return tuple(stems), torch.cat(images)


# -- what is found -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Reconstructed:
    """Images (n, C, *size) that one method made of the sampled codes; ``code_error`` (n,) is that of
    Mahendran & Vedaldi 2016, ``image_error`` (n,) over pairs of originals (Dosovitskiy & Brox 2016). Seconds
    by the clock of the processor. ``queries``: images that a black box was asked for; None with gradients."""

    method: str
    what: str
    images: Tensor
    code_error: Tensor
    image_error: Tensor | None
    cpu_seconds: float
    queries: int | None = None


@dataclass(frozen=True)
class AuditReader:
    """Who reads codes of images: ``independent`` if it took no part in making them."""

    name: str
    what: str
    independent: bool

    @property
    def label(self) -> str:
        """Of a table."""
        return self.name + ("" if self.independent else " (itself)")


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
            "equal_codes": dict(zip(("groups", "codes"), self.groups_of_equal, strict=True)),
            "reconstructions": [
                {
                    **{name: getattr(one, name) for name in ("method", "what", "queries")},
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
    encoder, count = subject.encoder, len(subject.codes)
    chosen = list(range(count))
    if count > config.sample:
        source = torch.Generator().manual_seed(config.seed)
        chosen = sorted(torch.randperm(count, generator=source)[: config.sample].tolist())
    rows = tuple(chosen)
    groups = None if subject.groups is None else subject.groups.of(rows)
    asked = [question_of(one.of(rows), groups, config.shuffles, config.seed) for one in subject.attributes]
    questions = [one for one in asked if isinstance(one, Question)]
    notes = [f"Not probed: {one}" for one in asked if isinstance(one, str)]
    if not asked:
        notes.append("No attributes were given, so nothing was probed")
    choice = PresetChoice(config.preset, steps=config.steps)
    how = choice.recipe(encoder)
    wanted = Wanted(encoder.layer, choice, rows, tuple(config.seed + row for row in rows))
    (found,) = invert_all(folder, config, [subject.targets], [wanted], "codes")
    made: list[Reconstructed] = []
    if found.images is not None:
        what = f"optimisation, preset {config.preset}, {how.steps} steps"
        images = found.images.to(encoder.device).clamp(0, 1)
        made.append(_reconstructed(subject, chosen, (OPTIMISED, what), images, found.cpu_seconds))
    elif decoder is None:
        raise NetworkError(found.failure or "the optimisation failed")
    else:  # no gradient; a decoder may do without
        notes.append(f"nothing could be optimised: {found.failure}")
    if decoder is not None:
        made += [_decoded(subject, chosen, decoder, steps) for steps in sorted({0, config.correct})]
    tell("comparing and probing")
    identifications: list[Identification] = []
    probes: list[ProbeRow] = []
    for reader, read, gallery in _readers(subject):
        seen = {one.method: _in_chunks(read, one.images) for one in made}
        places = torch.tensor(rows, device=gallery.device)
        identifications += [
            Identification(method, reader, retrieve(some, gallery, places, metric))
            for method, some in seen.items()
            for metric in METRICS
        ]
        # Of the true codes (the ceiling); of each method's, by probes of the same kind and of the true.
        own, truth = ORIGINAL if reader.independent else STORED, gallery[places]
        for question in questions:
            readings = [(own, own, probe(truth, question))]
            for method, some in seen.items():
                readings.append((method, method, probe(some, question)))
                readings.append((own, method, probe(truth, question, some)))
            what_is = (question.name, question.measure, len(question.rows), len(question.classes), reader)
            probes += [ProbeRow(*what_is, *reading, question.remark) for reading in readings]
    sizes = duplicates(subject.codes)[1]
    equal = (int((sizes > 1).sum()), int(sizes[sizes > 1].sum()))
    low = baselines(subject.codes, encoder, subject.originals, shipped_reference(encoder))
    return AuditFindings(
        subject, rows, equal, tuple(made), tuple(identifications), tuple(probes), tuple(notes), low
    )


def _reconstructed(
    subject: Audited, chosen: list[int], method: tuple[str, str], images: Tensor, seconds: float
) -> Reconstructed:
    target = subject.encoder.check_code(subject.codes)[chosen]
    again = _in_chunks(_as_read(subject.encoder), images)
    error = None
    if subject.originals is not None:
        originals = fit(subject.originals, (images.shape[-2], images.shape[-1])).to(images)
        if not bool((originals == originals[0]).all()):
            error = error_cvpr16(images, originals[chosen], originals)
    return Reconstructed(*method, images, code_error(again, target), error, seconds)


def _decoded(subject: Audited, chosen: list[int], decoder: Decoder, steps: int) -> Reconstructed:
    """By a decoder; with ``steps`` corrected by as many answers of the network, as of a black box."""
    began, queries = time.process_time(), 0

    def answers(images: Tensor) -> Tensor:
        nonlocal queries
        queries += len(images)
        return subject.encoder(images)

    def attack(codes: Tensor) -> Tensor:
        return corrected(answers, codes, decoder, steps).image

    images = _in_chunks(attack if steps else decoder, subject.encoder.check_code(subject.codes)[chosen])
    seconds = time.process_time() - began
    method = (DECODED, f"decoder {decoder.name}")
    if steps:
        each = f"{queries / len(chosen):g} answers of the network a code, without gradients"
        method = (CORRECTED, f"decoder {decoder.name}, corrected by {each}")
    return replace(_reconstructed(subject, chosen, method, images, seconds), queries=queries)


def _readers(subject: Audited) -> list[tuple[AuditReader, Callable[[Tensor], Tensor], Tensor]]:
    """Each reader, how it reads images, and its codes (N, ...) of all originals."""
    encoder, judge = subject.encoder, subject.judge
    same = AuditReader(_title(encoder), "the audited network itself: its codes are what was matched", False)
    readers = [(same, _as_read(encoder), encoder.check_code(subject.codes))]
    if judge is not None and subject.originals is not None:
        other = AuditReader(_title(judge), "another network, which took no part", True)
        readers.append((other, _as_read(judge), _in_chunks(_as_read(judge), subject.originals)))
    if subject.originals is not None:
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
