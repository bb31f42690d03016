"""``netinvert explain occlusion``: what an answer loses where a square hides the image, which is a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.evaluate import grey_image
from netinvert.evaluation.report import Column, code, counted, number
from netinvert.experiments.configs.explain import ExplainOcclusion
from netinvert.experiments.explain.saliency import AskedImages
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import images_known, publish, run_facts, workers_of
from netinvert.explain.occlusion import Occluder, maps_of
from netinvert.explain.pictures import coloured, overlaid
from netinvert.explain.targets import Target, parse_target
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell, save_tensors
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.encoder import Encoder
from netinvert.models.layers import list_layers
from netinvert.models.network import Network

COLUMNS = (
    Column("image"),
    Column("bare", digits=3, about="the target's value of the whole image; of a distance, 0"),
    Column("least", digits=3, about="its least value behind the square"),
    Column("map", about="the strongest feature map"),
    Column("map left", percent=True, about="the least that the square leaves of it"),
    Column("says", digits=1, about="the likeliest class, or the azimuth in degrees"),
    Column(
        "other answers",
        percent=True,
        about="the share of places where another class is likeliest, or the azimuth is off by more than 10°",
    ),
)
FAR = 10.0
"""Degrees by which another azimuth is another answer."""


def target_of(text: str | None, network: Network) -> Target:
    """What ``--target`` asks. Raises ConfigError, LayerError, CodeError."""
    return parse_target(network, text or ("class" if network.read_pose is None else "pose"))


def last_maps(network: Network) -> str | None:
    """The last layer that gives feature maps; None of a network without."""
    maps = [one for one in list_layers(network) if len(one.code_shape) == 3 and min(one.code_shape[1:]) > 1]
    return maps[-1].name if maps else None


@dataclass(frozen=True)
class OcclusionWork:
    """The three maps of an image by its number."""

    config: ExplainOcclusion
    images: AskedImages
    layer: str | None

    def open(self) -> Callable[[int, Piece], Cell]:
        """Loads network and images."""
        config = self.config
        network = open_network(config, config.device)
        target, images = target_of(config.target, network), self.images.read(network)
        how = Occluder(config.window, config.stride, config.fill, config.batch)

        def make(at: int, piece: Piece) -> Cell:
            found = how(target, images[at : at + 1], self.layer)
            tensors = {"values": found.values, "importance": found.importance, "image": images[at].clone()}
            facts: dict[str, float | int | None] = {"bare": found.bare, "least": found.values.min().item()}
            if found.strengths is not None and found.bare_strength:
                left = found.strengths / found.bare_strength
                tensors |= {"strengths": found.strengths, "lost": found.per_pixel(1 - left)}
                facts |= {"map": found.channel, "map left": left.min().item()}
            if found.answers is not None and found.bare_answer is not None:
                off = ((found.answers - found.bare_answer + 180) % 360 - 180).abs()
                other = off > FAR if network.read_pose is not None else found.answers != found.bare_answer
                tensors |= {"answers": found.answers, "other": found.per_pixel(other.double())}
                facts |= {"says": found.bare_answer, "other answers": other.double().mean().item()}
            return Cell(tensors, facts)

        return make


def run_occlusion(config: ExplainOcclusion, tell: Tell) -> Outcome:
    """Leave the maps, their pictures and a page. Raises NetinvertError before long work."""
    network = open_network(config, config.device, tell)
    target = target_of(config.target, network)
    Occluder(config.window, config.stride, config.fill, config.batch).squares(target.encoder.size)
    layer = config.map_layer or last_maps(network)
    if layer is not None:
        encoder = Encoder(network, layer)
        maps_of(encoder(grey_image(encoder)), layer)
    images = AskedImages.of(config.images, config.count, config.seed, tell)
    known = {**images_known(target.encoder, images.sources, images.names), "layer": layer}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        work = OcclusionWork(config, images, layer)
        cells = run_cells(run, work, range(len(images.names)), workers_of(config), "images")
        rows, lines = [], []
        tensors: dict[str, Tensor] = {}
        for name, cell in zip(images.names, cells, strict=True):
            rows.append({"image": name, **cell.facts})
            image, own = cell.tensors["image"], cell.tensors
            tensors |= {f"{name}.{key}": one for key, one in own.items() if key != "image"}
            tiles = [report.Tile(image, (f"value {number(cell.facts['bare'], 3)}",))]
            for key in ("importance", "lost", "other"):
                map_ = own[key].float()[None] if key in own else None
                tiles.append(report.Tile(None if map_ is None else overlaid(image[None], map_)))
            tiles.append(report.Tile(coloured(own["importance"].float()[None])))
            lines.append(report.GridRow(name, tiles))
        save_tensors(run.path("maps.safetensors"), tensors, {})
        table = report.Table.of(rows, COLUMNS, name="occlusion")
        heads = (
            "image",
            f"{target.name} falls",
            f"the strongest map of {layer} loses",
            "says something else",
            f"{target.name}, alone",
        )
        grid = report.ImageGrid(lines, size=224, name="occlusion", columns=heads)
        lead = (
            f"A square, filled by {config.fill}, slid over {counted(len(images.names), 'image')}; asked was "
            f"{code(target.name)} of {code(network.name)}. Red is where the square changes most: the answer, "
            "the strongest feature map, and what the network says (Zeiler & Fergus 2013, figure 7); blue is "
            "where the answer gains. Each pixel has the mean of the squares that hide it."
        )
        page = report.Report.of("What hidden parts change", lead, "## Maps", grid, "## Figures", table)
        entries = {**known, "names": images.names, "inputs": images.sources, "maps": rows}
        return publish(run, config, page, entries, table.text())
