"""What a privacy audit is of, and what it found."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netinvert.encoder import Encoder
from netinvert.energy import Match
from netinvert.errors import CodeError, ConfigError
from netinvert.presets import PRESETS
from netinvert.study.attributes import Attribute
from netinvert.study.probes import Reading
from netinvert.study.retrieval import Retrieval, duplicates

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
