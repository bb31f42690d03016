"""The layer-by-layer protocol of the two Mahendran & Vedaldi papers, for any network and photographs.

Every layer's codes are inverted with every value of the knob between accuracy and naturalness: λ of the
total variation (CVPR 2015, table 3), the weight C of the code error (IJCV 2016, section 5), or the weight
of our default's prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError
from netinvert.evaluation.evaluate import Reference, shipped_reference
from netinvert.evaluation.metrics import spread
from netinvert.experiments.inversions import Outcome, Scale, Task, histograms_of, mean_and_deviation, outcome
from netinvert.inversion.objectives import Match
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.presets.mahendran15 import CVPR15_DEPTHS, CVPR15_LAMBDA_TV
from netinvert.inversion.priors import TotalVariation
from netinvert.inversion.schedule import Recipe
from netinvert.models.encoder import Encoder
from netinvert.models.layers import list_layers
from netinvert.models.network import Network

Progress = Callable[[str], None]
NO_PRIOR = None
"""The value of the knob that stands for no regulariser at all."""


@dataclass(frozen=True)
class Protocol:
    """A paper's experiment: the knob's name, the values it was set to, and the error that is reported."""

    name: str
    knob: str
    values: tuple[float, ...]
    error: str
    recipe: Callable[[Encoder, float | None], Recipe]


def cvpr15_recipe(encoder: Encoder, value: float | None) -> Recipe:
    """The preset ``cvpr15`` with the λ (of the released code: 1, 10, 100) of its total variation."""
    how = recipe("cvpr15", encoder)
    if value is None:
        return replace(how, priors=())
    own = CVPR15_LAMBDA_TV[sum(encoder.depth > depth for depth in CVPR15_DEPTHS)]
    priors = ((w * value / own if isinstance(term, TotalVariation) else w, term) for w, term in how.priors)
    return replace(how, priors=tuple(priors))


def ijcv16_recipe(encoder: Encoder, value: float | None) -> Recipe:
    """The preset ``ijcv16`` with this C.

    Without a value neither priors, bound nor jitter, and C = 1, as their exp_noregularizer.m.
    """
    how = recipe("ijcv16", encoder)
    if value is not None:
        return replace(how, data_weight=value)
    bare = tuple(replace(stage, jitter=1, projections=()) for stage in how.stages)
    return replace(how, data_weight=1.0, priors=(), stages=bare)


def default_recipe(encoder: Encoder, value: float | None) -> Recipe:
    """Our default with this weight of its total variation."""
    return recipe("default", encoder, "none" if value is None else f"tv-isotropic={value!r}")


PROTOCOLS = {
    one.name: one
    for one in (
        Protocol("cvpr15", "λ", CVPR15_LAMBDA_TV, "cvpr15", cvpr15_recipe),
        Protocol("ijcv16", "C", (1.0, 20.0, 100.0, 300.0), "ijcv16", ijcv16_recipe),
        Protocol("default", "weight", (0.03, 0.3, 3.0), "ijcv16", default_recipe),
    )
}


@dataclass(frozen=True)
class Settings:
    """``values`` of the protocol's knob (None: no regulariser; empty: the paper's, and none);
    ``restarts`` inversions a code, with seeds ``seed``, ``seed + 1``, …; ``batch`` of them at once.

    ``classes``: whether the network's outputs are classes; None finds out.
    """

    protocol: str = "ijcv16"
    values: tuple[float | None, ...] = ()
    restarts: int = 1
    steps: int | None = None
    seed: int = 0
    batch: int = 8
    classes: bool | None = None

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigError(f"there is no protocol '{self.protocol}'; choose from {', '.join(PROTOCOLS)}")
        for name in ("restarts", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1, got {getattr(self, name)}")
        for value in self.values:
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"the values of a protocol are numbers above 0, or none, got {value}")
        if not self.values:
            own = PROTOCOLS[self.protocol].values
            object.__setattr__(self, "values", (*own, NO_PRIOR))

    def label(self, value: float | None) -> str:
        """Of a column: ``λ = 10``."""
        knob = PROTOCOLS[self.protocol].knob
        return "no regulariser" if value is NO_PRIOR else f"{knob} = {value:g}"


@dataclass(frozen=True, eq=False)
class Cell:
    """All inversions of a layer's codes with one value: photographs, and the restarts of one together.

    ``same_class``: whether the network's first class is that of the original. ``spread`` has a value a
    photograph: the mean over pairs of its restarts of their root mean square difference (``distance``) and
    of their ``ssim``.
    """

    layer: str
    code_shape: tuple[int, ...]
    label: str
    steps: int
    outcome: Outcome
    same_class: tuple[bool, ...] | None = None
    spread: dict[str, list[float]] | None = None


@dataclass(frozen=True, eq=False)
class LayerTable:
    """What a run gives: cells by layer, then value."""

    network: str
    names: tuple[str, ...]
    originals: Tensor
    settings: Settings
    reference: str
    cells: tuple[Cell, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """In the order of the table."""
        return tuple(dict.fromkeys(cell.layer for cell in self.cells))

    def row(self, layer: str) -> list[Cell]:
        """The cells of a layer."""
        return [cell for cell in self.cells if cell.layer == layer]


@dataclass(frozen=True, eq=False)
class Photographs:
    """Names, and images (N, C, H, W) at the network's size."""

    names: tuple[str, ...]
    images: Tensor


def run(
    network: Network,
    layers: Sequence[str],
    photographs: Photographs,
    settings: Settings,
    keep: Path,
    progress: Progress = print,
) -> LayerTable:
    """Invert and measure everything; finished inversions in the folder ``keep`` are not made again.

    Raises NetinvertError before the first inversion if a layer, a code or a recipe is not possible.
    """
    protocol = PROTOCOLS[settings.protocol]
    encoders = [Encoder(network, layer) for layer in layers]
    rows = []
    for encoder in encoders:
        codes = _codes(encoder, photographs.images, settings.batch)
        Match(codes)  # refuses codes that cannot be matched
        hows = [_steps(protocol.recipe(encoder, value), settings.steps) for value in settings.values]
        rows.append((encoder, codes, hows))
    readers = _classes(network, settings)
    keep.mkdir(parents=True, exist_ok=True)
    cells = []
    reference = None
    for encoder, codes, hows in rows:
        reference = _reference(encoder, codes)
        work = _Layer(encoder, codes, photographs.images, reference, readers)
        for how, value in zip(hows, settings.values, strict=True):
            cell = work.cell(how, settings, settings.label(value), keep)
            cells.append(cell)
            progress(_line(network.name, cell, protocol.error))
    name = "none" if reference is None else reference.name
    return LayerTable(network.name, photographs.names, photographs.images, settings, name, tuple(cells))


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer's codes, and all that its cells need."""

    encoder: Encoder
    codes: Tensor
    originals: Tensor
    reference: Reference | None
    classes: Encoder | None

    def cell(self, how: Recipe, settings: Settings, label: str, keep: Path) -> Cell:
        restarts = settings.restarts
        seeds = tuple(range(settings.seed, settings.seed + restarts)) * len(self.codes)
        task = Task(self.encoder, how, self.codes.repeat_interleave(restarts, 0), seeds)
        originals = self.originals.repeat_interleave(restarts, 0)
        scale = Scale(originals, histograms_of(originals), self.reference)
        found = outcome(task, scale, settings.batch, lambda digest: keep / f"{digest}.safetensors")
        cell = Cell(self.encoder.layer, self.encoder.code_shape, label, how.steps, found)
        if found.images is None:
            return cell
        grouped = found.images.view(len(self.codes), restarts, *found.images.shape[1:])
        return replace(
            cell,
            same_class=self._same_class(found.images, restarts),
            spread=spread(grouped) if restarts > 1 else None,
        )

    def _same_class(self, images: Tensor, restarts: int) -> tuple[bool, ...] | None:
        if self.classes is None:
            return None
        found, wanted = (
            _codes(self.classes, some.clamp(0, 1), restarts).argmax(1) for some in (images, self.originals)
        )
        return tuple((found == wanted.repeat_interleave(restarts)).tolist())


@torch.no_grad()
def _codes(encoder: Encoder, images: Tensor, batch: int) -> Tensor:
    return torch.cat([encoder(part) for part in torch.split(images.to(encoder.device, encoder.dtype), batch)])


def _steps(how: Recipe, steps: int | None) -> Recipe:
    return how if steps is None else how.with_steps(steps)


def _reference(encoder: Encoder, codes: Tensor) -> Reference | None:
    """The inverted codes themselves, as in the papers; netinvert's photographs where they are too few."""
    if codes.shape[0] < 2 or bool((codes == codes[0]).all()):
        return shipped_reference(encoder)
    return Reference("the inverted photographs themselves", codes)


def _classes(network: Network, settings: Settings) -> Encoder | None:
    """The whole network, if what it gives is a score a class."""
    wanted = has_classes(network) if settings.classes is None else settings.classes
    if not wanted:
        return None
    whole = Encoder(network, "output")
    if len(whole.code_shape) != 1:
        raise CodeError(
            f"{network.name} gives {whole.code_shape}, not one score a class; leave the classes out"
        )
    return whole


def has_classes(network: Network) -> bool:
    """Whether it ends in a linear layer (or a softmax behind one) and reads no poses."""
    if network.read_pose is not None:
        return False
    leaves = {type(part).__name__ for part in network.module.modules() if not any(part.children())}
    last = [info for info in list_layers(network) if info.type in leaves][-1]
    return last.type in ("Linear", "Softmax", "LogSoftmax") and len(last.code_shape) == 1


def _line(network: str, cell: Cell, error: str) -> str:
    found = cell.outcome
    told = found.failure
    if told is None:
        mean = mean_and_deviation(found.measured[error])
        told = f"{error} {'–' if mean is None else f'{mean[0]:.3f}'}, {found.cpu_seconds:.0f} CPU s"
    return f"{network} {cell.layer:10} {cell.label:14} {told}"
