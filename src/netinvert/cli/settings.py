"""What ``netinvert invert`` was asked, as data that the manifest keeps and ``rerun`` takes."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import torch

from netinvert.errors import ConfigError
from netinvert.inversion.canvases import CANVASES
from netinvert.inversion.presets.by_name import PRESETS
from netinvert.inversion.prior_spec import parse_prior

COMMAND = "invert"
DECODER = "decoder"
"""The canvas that is a decoder's input."""


@dataclass(frozen=True)
class Settings:
    """The options of ``netinvert invert``, checked as far as they can be without the network."""

    input: str
    network: str
    layer: str
    weights: str | None = None
    preset: str = "default"
    prior: str | None = None
    data_weight: float | None = None
    canvas: str | None = None
    mask: str | None = None
    steps: int | None = None
    restarts: int = 1
    diverse: float | None = None
    seed: int = 0
    start: str | None = None
    decoder: str | None = None
    reference: str | None = None
    batch: int = 8
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(f"there is no preset '{self.preset}'; choose from {', '.join(PRESETS)}")
        if self.prior is not None:
            parse_prior(self.prior)
        if self.canvas is not None and self.canvas not in (*CANVASES, DECODER):
            raise ConfigError(
                f"there is no canvas '{self.canvas}'; choose from {', '.join((*CANVASES, DECODER))}"
            )
        if self.canvas == DECODER and self.decoder is None:
            raise ConfigError("which decoder is the canvas? Give --decoder NAME too")
        if self.decoder is not None and (self.start is not None or self.diverse is not None):
            raise ConfigError("--decoder gives the images to start from; leave out --start and --diverse")
        if self.data_weight is not None and not (math.isfinite(self.data_weight) and self.data_weight > 0):
            raise ConfigError(f"the data weight is a number above 0, got {self.data_weight}")
        for name in ("steps", "restarts", "batch", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} is at least 1, got {value}")
        if self.diverse is not None:
            if not (math.isfinite(self.diverse) and self.diverse >= 0):
                raise ConfigError(f"--diverse is a weight of at least 0, got {self.diverse}")
            if self.restarts < 2:
                raise ConfigError("--diverse needs several images of a code: give --restarts 2 or more")
        if not 0 <= self.seed <= 2**63 - self.restarts:
            raise ConfigError(f"a seed is a whole number from 0 to 2**63 - 1, got {self.seed}")

    def as_command(self) -> dict[str, object]:
        """For the manifest."""
        return {"command": COMMAND, **dataclasses.asdict(self)}

    @classmethod
    def from_command(cls, command: object) -> Settings:
        """From a manifest. Raises ConfigError."""
        if not isinstance(command, Mapping) or command.get("command") != COMMAND:
            raise ConfigError("the manifest is not of a 'netinvert invert' run, so it cannot be repeated")
        given = {str(key): value for key, value in command.items() if key != "command"}
        hints = get_type_hints(cls)
        for name, value in given.items():
            if name not in hints:
                raise ConfigError(
                    f"the manifest has an option '{name}' that this version does not know; update netinvert"
                )
            if not _fits(value, hints[name]):
                raise ConfigError(f"the manifest's option '{name}' cannot be {value!r}; mend it")
        try:
            return cls(**given)
        except TypeError:
            raise ConfigError("the manifest lacks the input, the network or the layer; mend it") from None


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401
    kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, bool):
        return False
    return isinstance(value, kinds) or (float in kinds and isinstance(value, int))


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Within, torch computes with so many CPU threads."""
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
