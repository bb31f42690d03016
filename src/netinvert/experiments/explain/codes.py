"""``netinvert explain correspond``, ``explain invariance`` and ``explain paths``: how codes move and how they
resemble one another, layer by layer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.report import Column, code, counted
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.configs.explain import ExplainCorrespond, ExplainInvariance, ExplainPaths
from netinvert.experiments.explain.saliency import AskedImages
from netinvert.experiments.held_out_chairs import before_colour
from netinvert.experiments.inputs import open_network
from netinvert.experiments.look import codes_of
from netinvert.experiments.runs import images_known, publish, run_facts
from netinvert.explain.codes import (
    CHANGES,
    correspondence,
    covering_centres,
    invariance,
    path_similarity,
    random_centres,
    with_squares,
)
from netinvert.io.files import Tell, save_tensors
from netinvert.io.images import fit
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.encoder import Encoder
from netinvert.scenes.backgrounds import PAPER
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO

WINDOW = 5
"""By which the image's shorter side is divided."""
PLACES = 8
"""Random places of each chair, of which the mean counts."""
COLUMNS = (
    Column("layer"),
    Column("hidden"),
    Column("chairs"),
    Column("Δ", digits=3, about="the share of signs that differ between two chairs; small: it changes alike"),
    Column("random", digits=3, about="of squares at random places of the same chairs, the paper's control"),
    Column("less random", digits=3, about="Δ less that; below 0: it changes more alike; 95 % over chairs"),
    Column("one place", digits=3, about="of squares at a random place that is the same in all images"),
    Column("less place", digits=3, about="Δ less that; below 0: it is the part, not its place in the image"),
)


IMAGES_MADE, NATURAL, DISORDERED = "made", "natural", "natural, pixels in disorder"
UNITS = {"shift": "down, of the height", "scale": "times", "turn": "degrees"}


# -- correspondence --------------------------------------------------------------------------------------


def chairs_in_pose(config: ExplainCorrespond, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Chairs (N, 3, size, size) from one side before paper, and by part where it is seen (N, size, size).

    Raises MissingExtraError without the extra scenes."""
    plan = DatasetConfig(identities=config.count, views=1, size=size, seed=config.seed)
    source, rgba, parts = plan.source(), [], []
    for identity in range(config.count):
        thing = source.make(plan.object_seed(identity), identity)
        seen = Renderer(thing).image(plan.camera_at(thing.vertices, config.azimuth, config.elevation), STUDIO)
        rgba.append(seen.rgba)
        parts.append({name: seen.parts == 1 + place for place, name in enumerate(thing.parts)})
    pixels = torch.from_numpy(np.stack(rgba)).permute(0, 3, 1, 2).float() / 255
    nothing = np.zeros((size, size), bool)
    names = sorted({name for one in parts for name in one})
    masks = {name: torch.from_numpy(np.stack([one.get(name, nothing) for one in parts])) for name in names}
    return before_colour(pixels, torch.tensor(PAPER).float() / 255), masks


def run_correspond(config: ExplainCorrespond, tell: Tell) -> Outcome:
    """Leave the table and the hidden chairs. Raises NetinvertError before long work."""
    network = open_network(config, config.device, tell)
    encoders = [Encoder(network, layer) for layer in config.layers]
    size = encoders[0].size
    window = config.window or max(1, min(size) // WINDOW)
    if window > min(size):
        raise ConfigError(f"--window is at most the image's side, {min(size)} pixels, got {window}")
    known = images_known(encoders[0], (), ())
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        images, masks = chairs_in_pose(config, max(size))
        images, whole = fit(images, size), torch.stack([*masks.values()]).any(0)
        rows: dict[str, list[dict[str, object]]] = {layer: [] for layer in config.layers}
        lines = []
        for name, mask in masks.items():
            have = mask.flatten(1).sum(1) >= max(4, mask[0].numel() // 1000)
            if have.sum() < 2:
                tell(f"left out: {name}, which fewer than two chairs show")
                continue
            some, centres = images[have], covering_centres(mask[have], window)
            hidden = with_squares(some, centres, window)
            seeds = range(config.seed, config.seed + PLACES)
            common = (whole[have].double().mean(0) >= 0.5)[None]  # pixels of half of the chairs, or more
            centred = [random_centres(whole[have], seed) for seed in seeds]
            centred += [random_centres(common, seed).expand(len(some), -1) for seed in seeds]
            elsewhere = [with_squares(some, each, window) for each in centred]
            lines.append(report.GridRow(name, [report.Tile(one) for one in hidden[:6]]))
            for encoder in encoders:
                bare, *others = (codes_of(encoder, one, config.batch) for one in (some, hidden, *elsewhere))
                own, *chance = (correspondence(bare, one) for one in others)
                random, place = torch.stack(chance).view(2, PLACES, -1).mean(1)
                rows[encoder.layer].append(
                    {
                        "layer": encoder.layer,
                        "hidden": name,
                        "chairs": len(some),
                        "Δ": estimate(own),
                        "random": estimate(random),
                        "less random": difference(own, random),
                        "one place": estimate(place),
                        "less place": difference(own, place),
                    }
                )
        table = report.Table.of([one for some in rows.values() for one in some], COLUMNS, name="parts")
        lead = (
            f"A square of {window} pixels hides a part of chairs in one pose (azimuth {config.azimuth:g}°, "
            f"elevation {config.elevation:g}°) from {code(network.name)}. Δ compares the signs by which the "
            "codes of two chairs change (Zeiler & Fergus 2013, section 4.4): if a layer knows the part, they "
            "change more alike than with squares at random places."
        )
        grid = report.ImageGrid(lines, size=128, name="hidden")
        page = report.Report.of(
            "Parts that correspond", lead, "## By layer", table, "## What is hidden", grid
        )
        return publish(run, config, page, {**known, "window": window}, table.text())


# -- invariance ------------------------------------------------------------------------------------------


def run_invariance(config: ExplainInvariance, tell: Tell) -> Outcome:
    """Leave curves of code errors. Raises NetinvertError before long work."""
    network = open_network(config, config.device, tell)
    encoder = Encoder(network, layers=config.layers)
    images = AskedImages.of(config.images, config.count, config.seed, tell)
    known = images_known(encoder, images.sources, images.names)
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        pixels = images.read(network)
        found = {change: [invariance(encoder, one[None], change) for one in pixels] for change in CHANGES}
        curves = {
            change: {layer: torch.cat([one[layer] for one in every], 1) for layer in config.layers}
            for change, every in found.items()
        }
        panels = [
            report.Panel(
                [report.Series(layer, CHANGES[change], errors.mean(1)) for layer, errors in by.items()],
                change,
                UNITS[change],
                "code error",
            )
            for change, by in curves.items()
        ]
        names = ("layer", "change", "by", "code error")
        rows = [
            dict(zip(names, (layer, change, amount, estimate(errors)), strict=True))
            for change, by in curves.items()
            for layer, each in by.items()
            for amount, errors in zip(CHANGES[change], each, strict=True)
        ]
        save_tensors(
            run.path("errors.safetensors"),
            {f"{change}.{layer}": one for change, by in curves.items() for layer, one in by.items()},
            {},
        )
        columns = [Column("layer"), Column("change"), Column("by"), Column("code error", digits=3)]
        table = report.Table.of(rows, columns, name="errors")
        lead = (
            f"How far the codes of {counted(len(images.names), 'image')} by {code(network.name)} move, as "
            "‖Φ − Φ₀‖ / ‖Φ₀‖, when the images are shifted down (by shares of their height), scaled or turned "
            "(by degrees): 0 is a layer that does not see it."
        )
        page = report.Report.of(
            "What moves codes",
            lead,
            "## Curves",
            report.Plot(panels, name="curves"),
            report.Details("All figures", [table]),
        )
        return publish(
            run,
            config,
            page,
            {**known, "names": images.names, "inputs": images.sources},
            counted(len(rows), "figure"),
        )


# -- paths -----------------------------------------------------------------------------------------------


def run_paths(config: ExplainPaths, tell: Tell) -> Outcome:
    """Leave a table and a plot over the layers. Raises NetinvertError before long work."""
    network = open_network(config, config.device, tell)
    encoder = Encoder(network, layers=config.layers)
    asked, others = (
        AskedImages.of(text, config.count, config.seed, tell) for text in (config.images, config.natural)
    )
    if len(others.names) < 2:
        raise ConfigError("two natural images or more are compared with: give more to --natural")
    known = images_known(encoder, (*asked.sources, *others.sources), (*asked.names, *others.names))
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        images, natural = asked.read(network), others.read(network)
        generator = torch.Generator().manual_seed(config.seed)
        order = torch.randperm(natural[0, 0].numel(), generator=generator)
        disordered = natural.flatten(2)[..., order].reshape(natural.shape)
        kinds = {IMAGES_MADE: images, NATURAL: natural, DISORDERED: disordered}
        found = {name: path_similarity(encoder, some, natural) for name, some in kinds.items()}
        rows = [
            {"layer": layer, "images": name, "similarity": estimate(by[layer])}
            for layer in config.layers
            for name, by in found.items()
        ]
        columns = [Column("layer"), Column("images"), Column("similarity", digits=3)]
        floors = [place for place, row in enumerate(rows) if row["images"] != IMAGES_MADE]
        table = report.Table.of(rows, columns, baselines=floors, name="paths")
        series = [
            report.Series(name, list(config.layers), [float(by[one].mean()) for one in config.layers])
            for name, by in found.items()
        ]
        lead = (
            f"How alike the activations of {counted(len(images), 'image')} and of "
            f"{counted(len(natural), 'natural image')} rank in {code(network.name)}, layer by layer, beside "
            "natural images among themselves (as alike as can be asked) and with their pixels in one "
            "disorder."
        )
        panel = report.Panel(series, "", "layer", "rank correlation")
        page = report.Report.of(
            "Paths through the network", lead, report.Plot([panel], name="curve"), "## Figures", table
        )
        entries = {**known, "names": asked.names, "inputs": (*asked.sources, *others.sources)}
        return publish(run, config, page, entries, table.text())
