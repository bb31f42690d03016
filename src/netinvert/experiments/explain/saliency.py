"""``netinvert explain saliency``: which pixels an answer comes from; the maps of an image are a cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError, LayerError, NetworkError
from netinvert.evaluation import report
from netinvert.evaluation.report import Column, code, counted, listed, number
from netinvert.experiments.configs.explain import CHAIRS, Explaining, ExplainSaliency
from netinvert.experiments.held_out_chairs import fresh_chairs
from netinvert.experiments.inputs import Source, image_paths, open_network, sources_of, unique_stems
from netinvert.experiments.runs import publish, run_facts, workers_of
from netinvert.explain.pictures import coloured, overlaid
from netinvert.explain.sanity import EXPLANATIONS, OCCLUSIONS, explaining
from netinvert.explain.targets import Target, parse_target
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell, save_tensors
from netinvert.io.images import fit, read_image
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.network import Network

COLUMNS = (
    Column("image"),
    Column("target"),
    Column("value", digits=3, about="what the network answers; of a distance from what it reads, 0"),
    Column("method"),
    Column("half in", percent=True, about="the least share of all pixels that holds half of the map"),
)


def asked_targets(config: Explaining, network: Network) -> list[Target]:
    """What the options ask of a network. Raises ConfigError, LayerError, CodeError."""
    usual = ("pose",) if network.read_pose is not None else ("class",)
    return [parse_target(network, text) for text in config.targets or usual]


def asked_methods(
    config: Explaining, targets: Sequence[Target], tell: Tell, layer: str | None = None
) -> tuple[str, ...]:
    """The methods by name, tried on a grey image; what has no rule for the network is left out unless named.
    Raises NetworkError, LayerError."""
    found = []
    for name in config.methods or EXPLANATIONS:
        try:
            for target in targets if name not in OCCLUSIONS else ():
                grey = target.encoder.centre
                image = torch.tensor(grey)[None, :, None, None].expand(-1, -1, *target.encoder.size)
                explaining(name, 1, 0, layer)(target, image.to(target.encoder.device), target.fixed(image))
        except (NetworkError, LayerError) as error:
            if config.methods:
                raise
            tell(f"left out: {error}")
        else:
            found.append(name)
    return tuple(found)


@dataclass(frozen=True)
class AskedImages:
    """Images by name, as a config names them: files, or chairs of a seed."""

    names: tuple[str, ...]
    sources: tuple[Source, ...]
    chairs: tuple[int, int] | None = None
    """How many, and their seed."""

    @classmethod
    def of(cls, text: str, count: int, seed: int, tell: Tell) -> AskedImages:
        """Raises ImageError, ConfigError."""
        if text == CHAIRS:
            return cls(tuple(f"chair-{k}" for k in range(1, count + 1)), (), (count, seed))
        paths = image_paths(text, tell)
        return cls(unique_stems(paths), sources_of("images", paths))

    def read(self, network: Network) -> Tensor:
        """(N, C, H, W) of the network's size. Raises ImageError; MissingExtraError: chairs are rendered."""
        form = network.preprocessing
        if self.chairs is None:
            parts = [fit(read_image(one["name"], form.channels), form.size) for one in self.sources]
            return torch.cat(parts)
        if form.channels != 3:
            raise ConfigError(f"chairs are in colour, and {network.name} takes {form.channels} channels")
        return fit(fresh_chairs(*self.chairs, max(form.size)).images, form.size)


@dataclass(frozen=True)
class SaliencyWork:
    """The maps (T, M, H, W) of targets and methods of an image by its number, and the targets' values."""

    config: ExplainSaliency
    images: AskedImages
    methods: tuple[str, ...]

    def open(self) -> Callable[[int, Piece], Cell]:
        """Loads network and images."""
        config = self.config
        network = open_network(config, config.device)
        targets, images = asked_targets(config, network), self.images.read(network)
        methods = [
            explaining(one, config.samples, config.seed, config.cam_layer, config.crops)
            for one in self.methods
        ]

        def make(number: int, piece: Piece) -> Cell:
            image = images[number : number + 1].to(targets[0].encoder.device, targets[0].encoder.dtype)
            rows, values = [], []
            for target in targets:
                with torch.no_grad():
                    values.append(target(image).item())
                fixed = target.fixed(image)
                rows.append(torch.cat([explains(target, image, fixed) for explains in methods]))
            return Cell({"maps": torch.stack(rows).cpu(), "image": image[0].cpu()}, values)

        return make


def run_saliency(config: ExplainSaliency, tell: Tell) -> Outcome:
    """Make the maps, and leave them, their pictures and a page. Raises NetinvertError before long work."""
    network = open_network(config, config.device, tell)
    targets = asked_targets(config, network)
    methods = asked_methods(config, targets, tell, config.cam_layer)
    images = AskedImages.of(config.images, config.count, config.seed, tell)
    known = {"weights_sha256": weights_sha256(network.module), "methods": methods, "inputs": images.sources}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        work = SaliencyWork(config, images, methods)
        cells = run_cells(run, work, range(len(images.names)), workers_of(config), "images")
        rows, lines = [], []
        for name, cell in zip(images.names, cells, strict=True):
            for target, value, maps in zip(targets, cell.facts, cell.tensors["maps"], strict=True):
                found = [
                    {"method": one, "half in": half_in(each)} for one, each in zip(methods, maps, strict=True)
                ]
                rows += [{"image": name, "target": target.name, "value": value, **one} for one in found]
                image = cell.tensors["image"]
                over = overlaid(image.expand(len(maps), -1, -1, -1), maps)
                tiles = [report.Tile(both) for both in torch.cat([coloured(maps), over], -2)]
                tiles = [report.Tile(image, (f"value {number(value, 3)}",)), *tiles]
                lines.append(report.GridRow(f"{name}, {target.name}", tiles))
        maps = torch.stack([cell.tensors["maps"] for cell in cells])
        save_tensors(run.path("maps.safetensors"), {"maps": maps}, {})
        table = report.Table.of(rows, COLUMNS, name="maps")
        grid = report.ImageGrid(lines, size=256, name="saliency", columns=("image", *methods))
        lead = (
            f"{code(network.name)} was asked about {counted(len(images.names), 'image')}: "
            f"{listed([code(one.name) for one in targets])}. Red is where the answer comes from, by each "
            "method; of maps with signs, blue is what speaks against it. Methods disagree: "
            "`netinvert explain sanity` says which of them look at the network at all."
        )
        page = report.Report.of("Where answers come from", lead, "## Maps", grid, "## Figures", table)
        entries = {**known, "names": images.names, "targets": [one.name for one in targets], "maps": rows}
        return publish(run, config, page, entries, table.text())


def half_in(map_: Tensor) -> float | None:
    """The least share of a map's pixels (H, W) that holds half of its size; none of a map that is 0, for
    the target has no gradient there."""
    if not bool((map_ != 0).any()):
        return None
    size = map_.abs().flatten().sort(descending=True).values.double().cumsum(0)
    return ((size < size[-1] / 2).sum().item() + 1) / len(size)
