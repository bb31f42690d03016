"""``netinvert explain locate``: boxes by saliency, and how well they fit; an image is a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, code, counted, number
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.configs.explain import ExplainLocate
from netinvert.experiments.explain.occlusion import target_of
from netinvert.experiments.explain.saliency import AskedImages
from netinvert.experiments.held_out_chairs import fresh_chairs
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import images_known, publish, run_facts, workers_of
from netinvert.explain.locate import Box, box_iou, box_of, locate
from netinvert.explain.occlusion import opencv
from netinvert.explain.pictures import overlaid
from netinvert.explain.saliency import Saliency
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell
from netinvert.io.images import fit
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells

GOOD = 0.5
"""An intersection over union that counts as found (Everingham et al. 2010)."""
COLUMNS = (
    Column("box by"),
    Column("mean IoU", digits=3),
    Column("found", percent=True, about="an IoU above 0.5; 95 % intervals of the bootstrap over chairs"),
)


@dataclass(frozen=True)
class LocateWork:
    """Of an image by its number: the map, the mask and the box."""

    config: ExplainLocate
    images: AskedImages

    def open(self) -> Callable[[int, Piece], Cell]:
        """Loads network and images."""
        config = self.config
        network = open_network(config, config.device)
        target, images = target_of(config.target, network), self.images.read(network)
        method = Saliency(config.method, config.samples, seed=config.seed)

        def make(at: int, piece: Piece) -> Cell:
            map_ = method(target, images[at : at + 1])[0].abs().cpu()
            found = locate(images[at], map_)
            return Cell({"map": map_, "mask": found.mask, "image": images[at].clone()}, list(found.box))

        return make


def run_locate(config: ExplainLocate, tell: Tell) -> Outcome:
    """Leave boxes, pictures and scores. Raises NetinvertError before long work."""
    opencv()
    network = open_network(config, config.device, tell)
    target = target_of(config.target, network)
    images = AskedImages.of(config.images, config.count, config.seed, tell)
    known = images_known(target.encoder, images.sources, images.names)
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        truth = _boxes(images, target.encoder.size)
        cells = run_cells(
            run, LocateWork(config, images), range(len(images.names)), workers_of(config), "images"
        )
        boxes: dict[str, list[Box]] = {config.method: [], "the whole image": [], "its middle half": []}
        lines: list[report.GridRow] = []
        height, width = target.encoder.size
        for name, cell in zip(images.names, cells, strict=True):
            top, left, bottom, right = cell.facts
            boxes[config.method].append((top, left, bottom, right))
            boxes["the whole image"].append((0, 0, height, width))
            boxes["its middle half"].append((height // 4, width // 4, 3 * height // 4, 3 * width // 4))
            image, own = cell.tensors["image"], truth[len(lines)] if truth else None
            said = () if own is None else (f"IoU {number(box_iou(boxes[config.method][-1], own), 2)}",)
            framed = with_box(image, boxes[config.method][-1], (1.0, 0.1, 0.1))
            framed = framed if own is None else with_box(framed, own, (0.1, 0.7, 0.1))
            cut = image * cell.tensors["mask"] + 0.5 * ~cell.tensors["mask"]
            over = overlaid(image[None], cell.tensors["map"][None])
            lines.append(
                report.GridRow(name, [report.Tile(framed, said), report.Tile(over), report.Tile(cut)])
            )
        rows = []
        for name, some in boxes.items() if truth else ():
            scores = torch.tensor([box_iou(one, own) for one, own in zip(some, truth, strict=True)])
            found = estimate((scores > GOOD).double())
            rows.append({"box by": name, "mean IoU": estimate(scores), "found": found})
        columns = ("box (red), known box (green)", config.method, "cut out")
        grid = report.ImageGrid(lines, size=200, name="boxes", columns=columns)
        table = report.Table.of(rows, COLUMNS, name="scores") if rows else None
        lead = (
            f"Boxes around what {code(config.method)} of {code(target.name)} of {code(network.name)} points "
            f"at in {counted(len(images.names), 'image')}: pixels above the map's 95 % quantile seed the "
            "object, those below its 30 % quantile the background, GrabCut divides the rest, and the largest "
            "piece counts (Simonyan et al. 2013)."
        )
        page = report.Report.of(
            "The object, by saliency", lead, "## Scores" if rows else None, table, "## Boxes", grid
        )
        entries = {**known, "names": images.names, "inputs": images.sources, "boxes": boxes, "known": truth}
        text = table.text() if table else counted(len(lines), "box")
        return publish(run, config, page, entries, text, ("html", "png", "csv"))


def _boxes(images: AskedImages, size: tuple[int, int]) -> list[Box]:
    """Of chairs, which are known."""
    if images.chairs is None:
        return []
    masks = fit(fresh_chairs(*images.chairs, max(size)).masks, size)[:, 0] > 0.5
    return [box_of(mask) for mask in masks]


def with_box(image: Tensor, box: Box, colour: tuple[float, float, float]) -> Tensor:
    """An image (3, H, W) with a frame of two pixels inside a box."""
    framed, (top, left, bottom, right) = image.clone(), box
    inside = framed[:, top:bottom, left:right]
    frame = torch.ones(inside.shape[1:], dtype=torch.bool)
    frame[2:-2, 2:-2] = False
    inside[:, frame] = inside.new_tensor(colour)[:, None]
    return framed
