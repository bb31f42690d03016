"""Datasets of renders, and pages that show them: one object a row, one view a column."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netinvert.evaluation.report import GridRow, Heading, ImageGrid, Prose, Report, Table, Tile, code, counted
from netinvert.experiments.configs.training import ScenesRender, ScenesShow
from netinvert.experiments.inputs import Source, sources_of
from netinvert.experiments.runs import publish, run_facts, workers_of
from netinvert.io.files import Tell, write_atomic
from netinvert.io.manifest import Outcome, manifest
from netinvert.io.rundir import RunDir
from netinvert.scenes.backgrounds import composite
from netinvert.scenes.cameras import heading
from netinvert.scenes.dataset_config import SPLITS, DatasetConfig
from netinvert.scenes.dataset_reader import DatasetError, read_shard, shard_paths
from netinvert.scenes.dataset_writer import estimated_bytes, render_dataset
from netinvert.scenes.objects import Object3D
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import STUDIO

Pixels = NDArray[np.uint8]
PAPER = (232, 232, 234)
_COLOURS = "e8e8ea e69f00 56b4e9 009e73 d55e00 cc79a7 0072b2"
PART_COLOURS = np.array([tuple(bytes.fromhex(colour)) for colour in _COLOURS.split()], np.uint8)
"""Nothing, then parts in order, again from the second after the last (Okabe & Ito)."""
SHOWN = 6
"""Objects, and views of each, on a dataset's own page."""


def render_scenes(config: ScenesRender, tell: Tell) -> Outcome:
    """Render what is missing of a dataset. Raises what ``render_dataset`` does, before any long work."""
    plan = config.dataset()

    def finish(run: RunDir) -> dict[str, Any]:
        report = Report(
            f"A dataset of {plan.objects}",
            [
                Prose(f"{plan.identities * plan.views} images of {plan.size}×{plan.size} pixels."),
                _splits(plan),
                Heading("The first objects"),
                ImageGrid(list(dataset_rows(run.out, None, SHOWN, SHOWN, parts=False))),
            ],
            command=config.command_line(without=("out", "workers", "ray", "threads")),
        )
        report.save(lambda name, data: write_atomic(run.path(name), data))
        return manifest(config, {"inputs": inputs} if inputs else {})

    source = plan.source()
    if guess := source.guess:
        tell(guess)
    inputs = sources_of("objects", source.files)
    samples = plan.identities * plan.views
    tell(f"{samples} images, about {estimated_bytes(plan, samples) / 1e6:.0f} MB")
    facts = render_dataset(plan, config.out, workers_of(config), "shards", finish)
    text = f"{facts['samples']} samples in {config.out}, SHA-256 {facts['sha256'][:16]}…"
    return Outcome(facts, text, config.out)


def show_scenes(config: ScenesShow, tell: Tell) -> Outcome:
    """Leave report.html and sheet.png. Raises DatasetError, MissingExtraError, ConfigError."""
    inputs: tuple[Source, ...] = ()
    if config.dataset is None:
        plan = DatasetConfig(
            objects=config.objects,
            up=config.up,
            category=config.category,
            identities=config.count,
            views=config.views,
            size=config.pixels,
            seed=config.seed,
        )
        rows, title, source = fresh_rows(plan, config.parts), config.objects, plan.source()
        if guess := source.guess:
            tell(guess)
        inputs = sources_of("objects", source.files)
    else:
        paths = shard_paths(config.dataset, config.split)
        inputs = sources_of("dataset", paths[: config.count])  # a shard has an object at least
        rows = dataset_rows(config.dataset, config.split, config.count, config.views, config.parts)
        title = str(config.dataset)
    first = next(rows, None)
    if first is None:
        raise DatasetError(f"{config.dataset} has no sample to show: render it again")
    with RunDir(config.out, run_facts(config, {"inputs": inputs}), config.overwrite) as run:
        grid = ImageGrid([first, *rows], [""] * config.views, title, name="sheet")
        lead = "Azimuth and elevation, and in-plane rotations, in degrees."
        entries = {"inputs": inputs, "objects": len(grid.rows)}
        report = Report(f"Objects: {code(title)}", [grid], lead)
        return publish(run, config, report, entries, counted(len(grid.rows), "object"))


def dataset_rows(folder: Path, split: str | None, count: int, views: int, parts: bool) -> Iterator[GridRow]:
    """The first objects and views of a split, of one that there is if None.

    Raises DatasetError: no such dataset or split, or a damaged shard.
    """
    samples = (sample for path in shard_paths(folder, split) for sample in read_shard(path))
    name, tiles, last, made = "", list[Tile](), None, 0
    for sample in samples:
        record = sample["json"]
        if record["identity"] != last and tiles:
            yield GridRow(name, tiles)
            made, tiles = made + 1, []
            if made == count:
                return
        last = record["identity"]
        name = f"{record['category']}, identity {last} (seed {record['seed']})"
        own = record.get("parameters")
        if isinstance(own, dict) and {"name", "creator", "licence"} <= own.keys():
            name = f"{own['name']} by {own['creator']}, {own['licence']}"
        if len(tiles) < views:
            seen = _composed(sample["rgba"]) if "rgba" in sample else np.asarray(sample["rgb"])
            image = coloured_parts(sample["parts"]) if parts else seen
            tiles.append(Tile(image, (_angles(record["azimuth"], record["elevation"], record["in_plane"]),)))
    if tiles:
        yield GridRow(name, tiles)


def fresh_rows(plan: DatasetConfig, parts: bool = False) -> Iterator[GridRow]:
    """The objects of a plan from all around, in studio light, on plain paper.

    Raises ConfigError, MeshError, MissingExtraError.
    """
    source = plan.source()
    for identity in range(min(plan.identities, source.count or plan.identities)):
        thing = source.make(plan.object_seed(identity), identity)
        renderer, tiles = Renderer(thing), []
        for view in range(plan.views):
            camera = plan.camera_at(thing.vertices, (30 + 360 / plan.views * view) % 360, 20)
            rendering = renderer.image(camera, STUDIO)
            image = coloured_parts(rendering.parts) if parts else _composed(rendering.rgba)
            tiles.append(Tile(image, (_angles(camera.azimuth, camera.elevation, camera.in_plane),)))
        yield GridRow(describe(thing), tiles)


def describe(thing: Object3D) -> str:
    """A line on an object: its name, what it is made of, its symmetry."""
    kinds = ", ".join(f"{k} {v}" for k, v in thing.parameters.items() if isinstance(v, str) and v != "none")
    turns = {1: "", 0: "any turn"}.get(thing.symmetry, f"{thing.symmetry} turns")
    return ", ".join(text for text in (thing.name, kinds, f"symmetry: {turns}" if turns else "") if text)


def coloured_parts(parts: Pixels) -> Pixels:
    """An image (H, W, 3) of part ids (H, W)."""
    index = np.where(parts > 0, 1 + (parts.astype(int) - 1) % (len(PART_COLOURS) - 1), 0)
    return np.asarray(PART_COLOURS[index])


def _splits(plan: DatasetConfig) -> Table:
    counts = {
        split: [len(ids) for name, ids in plan.shards().items() if name.startswith(split)] for split in SPLITS
    }
    return Table(
        ["split", "objects", "images", "shards"],
        [(name, sum(of), plan.views * sum(of), len(of)) for name, of in counts.items()],
    )


def _angles(azimuth: float, elevation: float, in_plane: float) -> str:
    text = f"{heading(azimuth)}, {elevation:.0f}°"
    return text if abs(in_plane) < 0.5 else f"{text}, in-plane {in_plane:.0f}°"


def _composed(rgba: Pixels) -> Pixels:
    return composite(rgba, np.broadcast_to(np.array(PAPER, np.uint8), (*rgba.shape[:2], 3)))
