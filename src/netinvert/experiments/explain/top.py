"""``netinvert explain top``: the patches that drive each unit of a layer most; CHUNK images are a cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from netinvert.errors import ImageError, NetworkError
from netinvert.evaluation import report
from netinvert.evaluation.report import code, counted, number
from netinvert.experiments.configs.explain import ExplainTop
from netinvert.experiments.inputs import image_paths, is_code_file, open_network, sources_of
from netinvert.experiments.runs import images_known, publish, run_facts, workers_of
from netinvert.explain.deconvnet import around_grey, deconvnet
from netinvert.explain.top_patches import (
    TOP,
    Basis,
    FieldOfView,
    Tops,
    field_of_view,
    fit_basis,
    top_responses,
)
from netinvert.inversion.invert import prepare_maximising
from netinvert.inversion.objectives import Activate
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import maximising_recipe
from netinvert.inversion.presets.yosinski15 import stretched
from netinvert.io.cells import Cell, Cells, Piece
from netinvert.io.files import Tell, save_tensors
from netinvert.io.images import read_image
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.encoder import Encoder

CHUNK = 64
"""Images of a cell; and what is lost when a run is stopped."""
SIDE = 72
"""Of a patch as shown: larger fields of view are made smaller."""


@dataclass(frozen=True)
class Patches:
    """The image files of a run, ``names`` their paths. What cannot be read counts as no image."""

    names: tuple[str, ...]

    def batches(
        self, encoder: Encoder, start: int, stop: int, batch: int
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Numbers and images (N, C, H, W) of those that can be read, a batch at a time."""
        numbers: list[int] = []
        images: list[Tensor] = []
        for at in range(start, min(stop, len(self.names))):
            try:
                images.append(self.image(encoder, at))
            except ImageError:
                continue
            numbers.append(at)
            if len(images) == batch:
                yield numbers, torch.cat(images)
                numbers, images = [], []
        if images:
            yield numbers, torch.cat(images)

    def image(self, encoder: Encoder, at: int) -> Tensor:
        """One of them, (1, C, H, W) as the network sees it. Raises ImageError."""
        found = read_image(self.names[at], encoder.preprocessing.channels)
        return encoder.fit(found.to(encoder.device, encoder.dtype))

    def first_usable(self, encoder: Encoder) -> Tensor:
        """The first that can be read. Raises ImageError if none can."""
        last: ImageError | None = None
        for at in range(len(self.names)):
            try:
                return self.image(encoder, at)
            except ImageError as error:
                last = error
        raise ImageError(f"none of {counted(len(self.names), 'image')} can be read, such as: {last}")


@dataclass(frozen=True, eq=False)
class ResponseWork:
    """The largest responses of CHUNK images from the one of this number on."""

    config: ExplainTop
    patches: Patches
    basis: Basis

    def open(self) -> Callable[[int, Piece], Cell]:
        """Loads the network."""
        encoder = Encoder(open_network(self.config, self.config.device), self.config.layer)

        def make(start: int, piece: Piece) -> Cell:
            found = None
            batches = self.patches.batches(encoder, start, start + CHUNK, self.config.batch)
            for numbers, images in batches:
                own = top_responses(encoder, self.basis, [images])
                own = replace(own, images=torch.tensor(numbers)[own.images])
                found = own if found is None else found.with_later(own)
            return Cell() if found is None else Cell(vars(found))

        return make


@dataclass(frozen=True, eq=False)
class UnitWork:
    """What is shown of some units, by their numbers among the directions."""

    config: ExplainTop
    patches: Patches
    basis: Basis
    tops: Tops
    field: FieldOfView
    deconvolved: bool

    def open(self) -> Callable[[tuple[int, ...], Piece], Cell]:
        """Loads the network."""
        config = self.config
        encoder = Encoder(open_network(config, config.device), config.layer)

        def make(units: tuple[int, ...], piece: Piece) -> Cell:
            rows: dict[str, list[Tensor]] = {"natural": [], "deconvolved": []}
            if not self.deconvolved:
                del rows["deconvolved"]
            for unit in units:
                pairs = [self._patch(encoder, unit, rank) for rank in range(self.tops.values.shape[1])]
                for name, one in zip(rows, zip(*pairs, strict=True), strict=False):
                    rows[name].append(mosaic(list(one)))
            if config.steps:
                rows["optimised"] = list(self._optimised(encoder, units, piece))
            stacked = {name: 255 * torch.stack(one) for name, one in rows.items()}
            return Cell({name: one.round().to(torch.uint8).cpu() for name, one in stacked.items()})

        return make

    def _patch(self, encoder: Encoder, unit: int, rank: int) -> tuple[Tensor, Tensor]:
        """What is seen, and what of it the deconvnet finds; grey where the unit is silent."""
        row, column = self.tops.places[unit, rank].tolist()
        image = self.patches.image(encoder, int(self.tops.images[unit, rank]))
        patch = self.field.crop(image[0], row, column)
        if self.tops.values[unit, rank] <= 0:
            return torch.full_like(patch, 0.5), torch.full_like(patch, 0.5)
        if not self.deconvolved:
            return patch, patch
        signal = deconvnet(encoder, image, self.basis.start(unit, row, column))
        return patch, self.field.crop(around_grey(signal)[0], row, column)

    def _optimised(self, encoder: Encoder, units: tuple[int, ...], piece: Piece) -> Tensor:
        """An image for each unit (in the middle of a map), of what it sees there."""
        config = self.config
        wanted = torch.cat([self.basis.wanted(encoder, unit) for unit in units])
        how = maximising_recipe(config.preset, encoder).with_steps(config.steps)
        ready = prepare_maximising(encoder, Activate(wanted), how, None, len(units))
        result = ready.run(Run(seed=[config.seed] * len(units), checkpoint=piece.checkpoint))
        if result.interrupted:
            raise KeyboardInterrupt
        images = stretched(result.image, encoder.centre) if how.unnormalised else result.image
        middle = [side // 2 for side in (*encoder.code_shape[1:], 0, 0)[:2]]
        patches = torch.stack([self.field.crop(image, middle[0], middle[1]) for image in images])
        return F.interpolate(patches, (3 * SIDE, 3 * SIDE), mode="bilinear", antialias=True).clamp(0, 1)


def mosaic(patches: Sequence[Tensor]) -> Tensor:
    """Up to nine patches (C, h, w) as one image (C, 3 * SIDE, 3 * SIDE), row by row."""
    shown = F.interpolate(torch.stack([*patches]), (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 1)
    grey = torch.full_like(shown[:1], 0.5).expand(TOP - len(shown), -1, -1, -1)
    rows = torch.cat([shown, grey]).unflatten(0, (3, 3))  # type: ignore[no-untyped-call]
    return torch.cat([torch.cat([*row], -1) for row in rows], -2)


def run_top(config: ExplainTop, tell: Tell) -> Outcome:
    """Leave a page of the layer, and which images they are. Raises NetinvertError before long work."""
    if is_code_file(config.images):
        raise ImageError(f"{config.images} is a file of codes: name a folder of images")
    encoder = Encoder(open_network(config, config.device, tell), config.layer)
    basis = Basis.of_units(encoder, config.channel)
    if config.steps:
        maximising_recipe(config.preset, encoder)
    paths = image_paths(config.images, tell)
    patches = Patches(tuple(map(str, paths)))
    first = patches.first_usable(encoder)
    try:
        deconvnet(encoder, first)
        refusal = ""
    except NetworkError as error:
        refusal = str(error)
        tell(f"without deconvolutions: {error}")
    sources = sources_of("images", paths)
    known = images_known(encoder, sources, ())
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        if config.directions != "units":
            basis = _fitted_basis(config, encoder, patches, Cells(run))
        work = ResponseWork(config, patches, basis)
        chunks = run_cells(run, work, range(0, len(paths), CHUNK), workers_of(config), "images")
        tops: Tops | None = None
        for cell in chunks:
            if cell.tensors:
                own = Tops(**cell.tensors)
                tops = own if tops is None else tops.with_later(own)
        assert tops is not None
        field = field_of_view(encoder)
        units = UnitWork(config, patches, basis, tops, field, not refusal)
        count = len(basis.directions)
        starts = range(0, count, config.batch)
        groups = [tuple(range(start, min(start + config.batch, count))) for start in starts]
        shown = run_cells(run, units, groups, workers_of(config), "units")
        names = _names(config, count)
        pictures: dict[str, list[Tensor]] = {}
        for cell in shown:
            for name, some in cell.tensors.items():
                pictures.setdefault(name, []).extend(some)
        save_tensors(run.path("top.safetensors"), {**vars(tops), **vars(basis)}, {})
        page = top_page(config, encoder, names, pictures, tops)
        rows = [
            {"unit": name, "values": values, "images": [patches.names[k] for k in numbers], "places": places}
            for name, values, numbers, places in zip(
                names, tops.values.tolist(), tops.images.tolist(), tops.places.tolist(), strict=True
            )
        ]
        entries = {
            **known,
            "inputs": sources,
            "field_of_view": vars(field),
            "units": rows,
            "refusal": refusal,
        }
        text = f"{counted(count, 'unit')} over {counted(len(paths), 'image')}"
        return publish(run, config, page, entries, text, ("html", "png"))


def _fitted_basis(config: ExplainTop, encoder: Encoder, patches: Patches, cells: Cells) -> Basis:
    """Kept as a cell of its own."""

    @torch.no_grad()
    def make() -> Cell:
        batches = patches.batches(encoder, 0, len(patches.names), config.batch)
        codes = (encoder(images) for _, images in batches)
        return Cell(vars(fit_basis(config.directions, config.number, codes, config.seed)))

    kept = cells.keep(["basis"], make).tensors
    return Basis(**{name: one.to(encoder.device) for name, one in kept.items()})


def _names(config: ExplainTop, count: int) -> list[str]:
    if config.directions != "units":
        return [f"{config.directions}-{k}" for k in range(count)]
    return [f"channel {k}" for k in config.channel or range(count)]


def top_page(
    config: ExplainTop,
    encoder: Encoder,
    names: Sequence[str],
    pictures: Mapping[str, Sequence[Tensor]],
    tops: Tops,
) -> report.Report:
    """A row a unit, the strongest response first in each."""
    columns = {
        "natural": "the nine patches it answers most",
        "deconvolved": "what of them it sees (deconvnet)",
        "optimised": "an image optimised for it",
    }
    made = [name for name in columns if name in pictures]
    lines = []
    for k, name in enumerate(names):
        best, least = tops.values[k, 0].item(), tops.values[k, -1].item()
        said = f"{name}: {number(best, 2)} to {number(least, 2)}" if best > 0 else f"{name}: silent"
        lines.append(
            report.GridRow(
                said, [report.Tile(some[k].float() / 255) for some in map(pictures.__getitem__, made)]
            )
        )
    seen = len({*tops.images.flatten().tolist()})
    what = "Units" if config.directions == "units" else f"Directions ({config.directions})"
    lead = (
        f"{what} of {code(config.layer)} of {code(encoder.network.name)}: the patches of "
        f"{code(Path(config.images).name)} that each answers most, one an image, the most first (Zeiler & "
        f"Fergus 2013, figure 2); {counted(seen, 'image')} are seen here. People guess from natural patches "
        "better than from optimised images what a unit answers (Borowski et al. 2021): look at these first."
    )
    grid = report.ImageGrid(
        lines, size=3 * SIDE, quality=85, name="top", columns=[columns[name] for name in made]
    )
    return report.Report.of(f"What drives {config.layer}", lead, "## Units", grid)
