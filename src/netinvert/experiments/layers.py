"""The layer-by-layer protocol of the two Mahendran & Vedaldi papers, for any network and images.

Every layer's codes are inverted with every value of the weight between accuracy and naturalness: λ of the
total variation (CVPR 2015, table 3), the weight C of the code error (IJCV 2016, section 5), or the weight
of our default's prior. The page has the papers' tables, a contact sheet, and what went wrong.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.evaluate import Baseline, Reference, shipped_reference
from netinvert.evaluation.metrics import spread
from netinvert.evaluation.report import Column, Estimate, by, code, counted, listed, number
from netinvert.experiments.configs.looks import CHAIRS
from netinvert.experiments.configs.studies import StudyLayers
from netinvert.experiments.inputs import Source, image_paths, open_network, sources_of, unique_stems
from netinvert.experiments.inversions import Reconstructions, Wanted, invert_all, mean_and_deviation
from netinvert.experiments.look import codes_of, layer_targets
from netinvert.experiments.runs import network_facts, publish, run_facts
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.presets.mahendran15 import CVPR15_DEPTHS, CVPR15_LAMBDA_TV
from netinvert.inversion.priors import TotalVariation
from netinvert.inversion.schedule import Recipe
from netinvert.io.assets import photographs, unseen_chairs
from netinvert.io.files import Tell, write_json
from netinvert.io.images import fit, read_image
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.encoder import Encoder
from netinvert.models.layers import list_layers
from netinvert.models.network import Network

FLOORS = {"ijcv16": "code_error", "ssim": "ssim"}
"""What is known of images that nobody inverted, by our names and those of `Baseline`."""


@dataclass(frozen=True)
class Protocol:
    """A paper's experiment: the weight's name, the values it was set to, and the error that is reported."""

    weight: str
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
    "cvpr15": Protocol("λ", CVPR15_LAMBDA_TV, "cvpr15", cvpr15_recipe),
    "ijcv16": Protocol("C", (1.0, 20.0, 100.0, 300.0), "ijcv16", ijcv16_recipe),
    "default": Protocol("weight", (0.03, 0.3, 3.0), "ijcv16", default_recipe),
}


@dataclass(frozen=True)
class ProtocolChoice:
    """A protocol with a value of its weight (None: no regulariser)."""

    protocol: str
    value: float | None
    steps: int | None

    def recipe(self, encoder: Encoder) -> Recipe:
        """For this encoder. Raises NetinvertError."""
        how = PROTOCOLS[self.protocol].recipe(encoder, self.value)
        return how if self.steps is None else how.with_steps(self.steps)

    @property
    def label(self) -> str:
        """Of a column: ``λ = 10``."""
        if self.value is None:
            return "no regulariser"
        return f"{PROTOCOLS[self.protocol].weight} = {self.value:g}"


@dataclass(frozen=True, eq=False)
class ProtocolCell:
    """All inversions of a layer's codes with one value: images, and the restarts of one together.

    ``same_class``: whether the network's first class is that of the original. ``spread`` has a value an
    image: the mean over pairs of its restarts of their root mean square difference (``distance``) and of
    their ``ssim``.
    """

    layer: str
    code_shape: tuple[int, ...]
    label: str
    steps: int
    found: Reconstructions
    same_class: tuple[bool, ...] | None = None
    spread: dict[str, list[float]] | None = None

    def facts(self) -> dict[str, object]:
        """All figures."""
        own = {name: value for name, value in vars(self).items() if name != "found"}
        return {**own, **self.found.facts()}

    def values(self, name: str) -> list[float | None]:
        """Of one of MEASURES, ``same_class``, or ``spread`` and one of its names: of all inversions."""
        first, _, second = name.partition(" ")
        if first == "spread":
            return list((self.spread or {}).get(second, []))
        same = self.same_class or ()
        return [float(one) for one in same] if name == "same_class" else self.found.measured.get(name, [])


@dataclass(frozen=True, eq=False)
class LayerTable:
    """What a run gives: cells by layer, then value; ``floors`` by layer."""

    network: str
    names: tuple[str, ...]
    originals: Tensor
    config: StudyLayers
    reference: str
    cells: tuple[ProtocolCell, ...]
    floors: Mapping[str, Sequence[Baseline]]

    @property
    def rows(self) -> dict[str, list[ProtocolCell]]:
        """The cells of each layer, in the order of the table."""
        layers = dict.fromkeys(cell.layer for cell in self.cells)
        return {layer: [cell for cell in self.cells if cell.layer == layer] for layer in layers}


def values_of(config: StudyLayers) -> tuple[float | None, ...]:
    """Of the protocol's weight; None is no regulariser."""
    if not config.values:
        return (*PROTOCOLS[config.protocol].values, None)
    return tuple(None if text == "none" else float(text) for text in config.values)


def study_images(
    config: StudyLayers, network: Network, tell: Tell
) -> tuple[tuple[str, ...], Tensor, tuple[Source, ...]]:
    """Names, images (N, C, H, W) at the network's size, files."""
    size, channels = network.preprocessing.size, network.preprocessing.channels
    sources: tuple[Source, ...] = ()
    if config.images is None:
        found, images = photographs(size, channels)
        names = tuple(found)
    elif config.images == CHAIRS:
        images = fit(unseen_chairs().images, size)
        names = tuple(f"chair {k + 1}" for k in range(len(images)))
    else:
        paths = image_paths(config.images, tell)[: config.count]
        names, sources = unique_stems(paths), sources_of("images", paths)
        images = torch.cat([fit(read_image(path, channels), size) for path in paths])
    return names[: config.count], images[: config.count], sources


def reference_codes(encoder: Encoder, codes: Tensor) -> Reference | None:
    """The inverted codes themselves, as in the papers; netinvert's photographs where they are too few."""
    if codes.shape[0] < 2 or bool((codes == codes[0]).all()):
        return shipped_reference(encoder)
    return Reference("the inverted images themselves", codes)


def has_classes(network: Network) -> bool:
    """Whether it ends in a linear layer (or a softmax behind one) and reads no poses."""
    if network.read_pose is not None:
        return False
    leaves = {type(part).__name__ for part in network.module.modules() if not any(part.children())}
    last = [info for info in list_layers(network) if info.type in leaves][-1]
    return last.type in ("Linear", "Softmax", "LogSoftmax") and len(last.code_shape) == 1


def run_layers(config: StudyLayers, tell: Tell) -> Outcome:
    """Invert and measure everything, and leave the papers' tables.

    Raises NetinvertError before the first inversion if a layer, a code or a recipe is not possible.
    """
    network = open_network(config, config.device, tell)
    names, images, sources = study_images(config, network, tell)
    if config.show > len(names):
        raise ConfigError(f"--show is from 1 to {len(names)}, the number of images, got {config.show}")
    choices = [ProtocolChoice(config.protocol, value, config.steps) for value in values_of(config)]
    encoders, targets = layer_targets(network, config, images, choices, tell, reference_codes)
    classes = None  # the whole network, if what it gives is a score a class
    if has_classes(network) if config.classes is None else config.classes == "yes":
        classes = Encoder(network, "output")
        if len(classes.code_shape) != 1:
            raise CodeError(
                f"{network.name} gives {classes.code_shape}, not one score a class; leave out --classes"
            )
    count, restarts = len(images), config.restarts
    rows = tuple(row for row in range(count) for _ in range(restarts))
    seeds = tuple(range(config.seed, config.seed + restarts)) * count
    pairs = [(encoder, choice) for encoder in encoders for choice in choices]
    wanted = [Wanted(encoder.layer, choice, rows, seeds) for encoder, choice in pairs]
    facts = run_facts(config, {**network_facts(encoders[0]), "targets": targets})
    with RunDir(config.out, facts, config.overwrite) as folder:
        cells = []
        found = invert_all(folder, config, targets, wanted, "cells")
        for (encoder, choice), one in zip(pairs, found, strict=True):
            same, apart = None, None
            if one.images is not None and classes is not None:
                some = (one.images.clamp(0, 1), images)
                tops, own = (codes_of(classes, each, restarts).argmax(1) for each in some)
                same = tuple((tops == own.repeat_interleave(restarts)).tolist())
            if one.images is not None and restarts > 1:
                apart = spread(one.images.view(count, restarts, *one.images.shape[1:]))
            steps = choice.recipe(encoder).steps
            cells.append(
                ProtocolCell(encoder.layer, encoder.code_shape, choice.label, steps, one, same, apart)
            )
        low = {one.layer: target.floors(one) for one, target in zip(encoders, targets, strict=True)}
        reference = targets[-1].reference
        name = "none" if reference is None else reference.name
        table = LayerTable(network.name, names, images, config, name, tuple(cells), low)
        every = [cell.facts() for cell in cells]
        # What is the same whenever it is made again.
        lasting = [{name: value for name, value in one.items() if name != "cpu_seconds"} for one in every]
        write_json(folder.path("layers.json"), {"images": names, "reference": name, "cells": lasting})
        entries = {
            **network_facts(encoders[0]),
            "names": names,
            "reference": name,
            "inputs": sources,
            "floors": {layer: [asdict(one) for one in some] for layer, some in low.items()},
            "cells": every,
        }
        text = f"{counted(len(encoders), 'layer')}, {counted(len(choices), 'value')}"
        return publish(folder, config, layers_page(table), entries, text, ("html", "md", "png"))


# -- the page ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """A table: one value an image from each cell (``ProtocolCell.values`` of this ``name``), times ``scale``,
    with so many ``digits``. ``best`` picks the one to mark.

    With ``median`` the median (largest) of all inversions, else mean ± deviation over images, each with the
    mean of its restarts: one chair read back to front would outweigh all others in a mean.
    """

    name: str
    title: str
    about: str
    best: Callable[[Iterable[float]], float] | None = None
    scale: float = 100.0
    digits: int = 1
    median: bool = False

    def summary(self, cell: ProtocolCell, count: int) -> Estimate | str | None:
        """What the table shows of a cell of ``count`` images."""
        values = cell.values(self.name)
        if not self.median and (restarts := len(values) // count):
            groups = [values[k : k + restarts] for k in range(0, len(values), restarts)]
            means = [mean_and_deviation(group) for group in groups]
            values = [None if mean is None else mean[0] for mean in means]
        found = mean_and_deviation(values)
        if found is None:
            return None
        if self.median:
            known = [value for value in values if value is not None]
            return f"{number(statistics.median(known), self.digits)} ({number(max(known), self.digits)})"
        return Estimate(found[0] * self.scale, spread=found[1] * self.scale)


_POSE = "degrees from the original's: median (largest) of all inversions"
_DISTANCE = "root mean square difference of two inversions of one code, per cent of the range"
QUANTITIES = (
    Quantity(
        "cvpr15",
        "Code error `cvpr15`",
        "‖Φ − Φ₀‖² over the mean squared distance of all pairs of codes, per cent",
        min,
    ),
    Quantity("ijcv16", "Code error `ijcv16`", "‖Φ − Φ₀‖ / ‖Φ₀‖, per cent", min),
    Quantity(
        "cvpr16",
        "Code error `cvpr16`",
        "‖Φ − Φ₀‖ over the mean distance of distinct pairs of codes, per cent",
        min,
    ),
    Quantity("same_class", "Same first class", "as the original, per cent of the inversions", max, digits=0),
    Quantity(
        "naturalness",
        "Naturalness",
        "intersection of the histograms of gradients' directions, per cent",
        max,
    ),
    Quantity("gradients", "Naturalness, ours", "the same by strength and direction, per cent", max),
    Quantity("ssim", "SSIM", "with the original", max, 1, 3),
    Quantity("pose", "Pose, as the network itself reads it", _POSE, median=True),
    Quantity("held_out_pose", "Pose, as the held-out pose estimator reads it", _POSE, median=True),
    Quantity("spread distance", "Spread", _DISTANCE),
    Quantity("spread ssim", "Spread in SSIM", "SSIM of two inversions of one code", None, 1, 3),
)


def layers_page(table: LayerTable) -> report.Report:
    """Layers × values, mean ± standard deviation over images; the best of the regularised is marked."""
    config, cells, count = table.config, table.cells, len(table.names)
    steps = sorted({cell.steps for cell in cells})
    seconds = sum(cell.found.cpu_seconds for cell in cells)
    lead = (
        f"{counted(count, 'image')} ({listed([code(name) for name in table.names])}), "
        f"{counted(config.restarts, 'inversion')} a code, {listed(list(map(str, steps)), 'or')} steps, "
        f"{seconds:.0f} CPU seconds in all. Mean ± standard deviation (n − 1) over images, each of which "
        "counts with the mean of its inversions; the best of a row among those with a regulariser is marked. "
        f"The pairs of `cvpr15` and `cvpr16` are those of {table.reference}. The last columns are the "
        "floors: what images score that nobody inverted."
    )
    first = PROTOCOLS[config.protocol].error
    tables: list[report.Part] = [
        [f"## {one.title}", _table(table, one)]
        for one in sorted(QUANTITIES, key=lambda one: one.name != first)
        if any(one.summary(cell, count) is not None for cell in cells)
    ]
    remarks = []
    for cell in (one for one in cells if one.found.failure or one.found.diverged):
        diverged = f"{cell.found.diverged} of {config.restarts * count} inversions diverged"
        remarks.append(f"{code(cell.layer)}, {cell.label}: {cell.found.failure or diverged}")
    return report.Report.of(
        f"{table.network}, layer by layer: protocol {config.protocol}",
        lead,
        *tables,
        ["## Images", layers_sheet(table, config.show - 1)],
        ["## What went wrong", report.Points(remarks)] if remarks else None,
    )


def _table(table: LayerTable, quantity: Quantity) -> report.Table:
    choices, floor = values_of(table.config), FLOORS.get(quantity.name, "")
    names = [cell.label for cell in next(iter(table.rows.values()))]
    names += [one.name for one in next(iter(table.floors.values())) if floor]
    columns = [Column("layer"), Column("code", show=by)]
    columns += [Column(name, digits=quantity.digits, align="right") for name in names]
    rows, marked = [], set()
    for place, (layer, cells) in enumerate(table.rows.items()):
        found = [quantity.summary(cell, len(table.names)) for cell in cells]
        pairs = zip(found, choices, strict=True)
        means = {k: one.value for k, (one, value) in enumerate(pairs) if isinstance(one, Estimate) and value}
        if quantity.best is not None and len(means) > 1:
            best = quantity.best(means.values())
            marked |= {(place, 2 + k) for k, mean in means.items() if mean == best}
        lows = [getattr(one, floor) for one in table.floors[layer] if floor]
        values = [*found, *(None if low is None else low * quantity.scale for low in lows)]
        rows.append({"layer": layer, "code": cells[0].code_shape, **dict(zip(names, values, strict=True))})
    return report.Table.of(rows, columns, quantity.about, marked=marked)


def layers_sheet(table: LayerTable, image: int = 0) -> report.ImageGrid:
    """Rows layers, columns values: the first inversion of one image's codes."""
    at, rows = image * table.config.restarts, {}
    for layer, cells in table.rows.items():
        tiles = [report.Tile(table.originals[image])]
        for cell in cells:
            if cell.found.images is None:
                tiles.append(report.Tile(None))
                continue
            error, natural = (number(cell.found.measured[name][at], 2) for name in ("ijcv16", "naturalness"))
            same = "" if cell.same_class is None else f", {'same' if cell.same_class[at] else 'other'} class"
            text = f"error {error}, naturalness {natural}{same}"
            tiles.append(report.Tile(cell.found.images[at], (text,)))
        rows[f"{layer}: {by(cells[0].code_shape)}"] = tiles
    columns = ["original", *dict.fromkeys(cell.label for cell in table.cells)]
    title = f"{table.network}, protocol {table.config.protocol}: {table.names[image]}"
    grid = report.ImageGrid.of(rows, columns, title)
    return replace(grid, name="contact-sheet")
