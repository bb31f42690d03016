"""``netinvert views generate`` and ``turntable``: what a generator draws, to look at."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Heading, ImageGrid, Tile, code
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.configs.views import OfGenerator, ViewsGenerate, ViewsTurntable
from netinvert.experiments.runs import publish, run_facts
from netinvert.experiments.views.evaluate import PAPER_COLOUR, generator_facts, pose_readers
from netinvert.io.cells import Cell, Cells
from netinvert.io.files import Tell, write_atomic
from netinvert.io.images import gif_bytes, write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.generator import TRANSFORMS, Generator, ViewWarning, load_generator, transformation
from netinvert.scenes.cameras import heading, rotation_from_angles
from netinvert.views.mixtures import COMPARED, nearest_objects, random_embeddings, seen_around
from netinvert.views.truth import on_paper

FIRST = 8
"""Objects that are shown where none are named."""


def transform_of(text: str) -> Tensor:
    """The transformation (1, 8) of a text such as "turn=10,zoom=1.2". Raises ConfigError."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise ConfigError(f"a transformation is NAME=NUMBER, several with commas, got '{part}'") from None
    if unknown := found.keys() - TRANSFORMS.keys():
        raise ConfigError(f"no transformation {min(unknown)!r}: there are {', '.join(TRANSFORMS)}")
    return transformation(1, **found)


def opened(config: OfGenerator, objects: Sequence[int]) -> tuple[Generator, dict[str, object]]:
    """The generator, and what is known of it. Raises NetworkError; CodeError: it has no such object."""
    generator = load_generator(config.generator)
    generator.embedded(list(objects))
    return generator, {"generator": generator_facts(generator)}


@contextlib.contextmanager
def telling(tell: Tell) -> Iterator[None]:
    """Within, warnings of views are told, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ViewWarning)
        yield
    for text in dict.fromkeys(str(one.message) for one in caught):
        tell(text)


def generate_views(config: ViewsGenerate, tell: Tell) -> Outcome:
    """Draw; leave a sheet, the images and a report; of new objects also how good they are.

    Raises:
        NetworkError: no such generator.
        CodeError: it has no such object.
        ConfigError: a transformation that does not exist.
        MissingExtraError: with ``random``, without the extra scenes.
    """
    generator = load_generator(config.generator)
    objects = config.objects or tuple(range(min(FIRST, generator.module.form.identities)))
    generator, known = opened(config, objects)
    moves = {text: transform_of(text) for text in config.transforms} or {"": transformation()}
    names = [f"object-{k}" for k in objects]
    who = generator.embedded(list(objects))
    if config.random is not None:
        names = [f"new-{k}" for k in range(config.random)]
        who = random_embeddings(generator, config.random, config.seed)
    azimuths, elevations = config.azimuths or range(30, 390, 60), config.elevations or (20.0,)
    views = [(a, e, text) for e in elevations for text in moves for a in azimuths]
    with telling(tell), RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        drawn = torch.stack([generator.layers(who, a, e, moves[text]) for a, e, text in views], 1)
        rows = {}
        for name, planes in zip(names, drawn, strict=True):
            rows[name] = on_paper(planes)
            for (azimuth, elevation, text), image in zip(views, rows[name], strict=True):
                tail = f"-{text}" if text else ""
                write_png(image, run.path(f"{name}-a{azimuth:g}-e{elevation:g}{tail}.png"))
        columns = [" ".join(filter(None, (f"{heading(a)}, {e:g}° up", text))) for a, e, text in views]
        sheet = ImageGrid.of({k: [*v] for k, v in rows.items()}, columns, name="sheet", size=128)
        good = [] if config.random is None else _new_objects(config, generator, who, Cells(run))
        kind = "new objects" if config.random is not None else "objects"
        lead = f"{code(generator.name)} draws {len(names)} {kind} from {len(views)} views."
        page = report.Report("Views of a generator", [*good, Heading("Images"), sheet], lead)
        told = next((one.text() for one in good if isinstance(one, report.Table)), lead)
        return publish(run, config, page, known, told)


def _new_objects(config: ViewsGenerate, generator: Generator, who: Tensor, kept: Cells) -> list[report.Block]:
    """How the poses of new objects are read, beside those of known ones, and what known one is nearest."""
    readers = pose_readers(kept, config.learned)
    azimuth, elevation = torch.tensor(COMPARED).unbind(1)
    rotation = rotation_from_angles(azimuth, elevation, torch.zeros(len(COMPARED)))

    def measured(planes: Tensor) -> Cell:
        found = {}
        for reader in readers:
            images = on_paper(planes.flatten(0, 1), PAPER_COLOUR)
            turns = rotation.repeat(len(planes), 1, 1)
            errors = reader.errors(images, turns, torch.ones(len(turns), dtype=torch.int64))
            found[reader.name] = errors
        nearest, far = nearest_objects(planes, known, same=planes is known)
        return Cell({**found, "nearest": nearest, "far": far})

    known, new = seen_around(generator, generator.module.table.weight), seen_around(generator, who)
    cells = {
        name: kept.keep([name, "objects"], partial(measured, planes)).tensors
        for name, planes in (("new", new), ("known", known))
    }
    rows: list[list[report.Value]] = []
    for name, found in cells.items():
        groups = torch.arange(len(found["far"])).repeat_interleave(len(COMPARED))
        medians = [estimate(found[one.name], groups, "median") for one in readers]
        rows.append([name, *medians, estimate(found["far"])])
    columns = [Column("objects"), *(Column(one.name, "°", digits=1) for one in readers)]
    far = Column("nearest other", digits=4, key="far", about="mean difference of colours and mask")
    table = report.Table([*columns, far], rows, name="new-objects", baselines=[1])
    nearest = cells["new"]["nearest"].tolist()
    pairs: dict[str, list[Tile | Tensor | None]] = {
        f"new-{k}": [on_paper(new[k])[0], Tile(on_paper(known[near])[0], (f"object {near}",))]
        for k, near in enumerate(nearest[: 2 * FIRST])
    }
    sheet = ImageGrid.of(pairs, ["new", "nearest known"], name="nearest", size=128)
    said = (
        f"Median error of the pose that readers see, against that asked for, in {len(COMPARED)} views, as if "
        "no object had a symmetry; and how far the most similar of the other known objects is."
    )
    return [Heading("Pose, and the nearest known object"), table, report.Prose(said, quiet=True), sheet]


def turn_objects(config: ViewsTurntable, tell: Tell) -> Outcome:
    """Draw; leave a GIF an object and a report that turns them. Raises as :func:`generate_views`."""
    objects = config.objects or (0,)
    generator, known = opened(config, objects)
    with telling(tell), RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        blocks: list[report.Block] = []
        for who in objects:
            images, grid = turntable(generator, who, config.frames, config.elevation)
            write_atomic(run.path(f"object-{who}.gif"), gif_bytes(images))
            blocks.append(grid)
        lead = (
            f"{code(generator.name)} draws objects from {config.frames} azimuths, {config.elevation:g}° up."
        )
        files = [f"object-{who}.gif" for who in objects]
        page = report.Report("Turntables", blocks, lead)
        return publish(run, config, page, {**known, "turntables": files}, f"{lead} {report.listed(files)}")


def turntable(
    generator: Generator, who: int, frames: int, elevation: float = 20.0
) -> tuple[Tensor, ImageGrid]:
    """An object once around: images (frames, 3, H, W), and what turns them on a page."""
    azimuths = torch.arange(frames) * (360 / frames)
    images = on_paper(generator.layers(who, azimuths, elevation))
    tiles = [Tile(one, (heading(a),)) for one, a in zip(images, azimuths.tolist(), strict=True)]
    grid = ImageGrid.flow(tiles, 12, f"Object {who}: drag it, or the slider")
    return images, replace(grid, turns=True, size=2 * images.shape[-1], name=f"object-{who}")


def film(images: Tensor, steps: int, title: str = "") -> ImageGrid:
    """What shows a morph (steps + 1, 3, H, W) on a page, with a slider."""
    tiles = [Tile(one, (f"{k / steps:.2f}",)) for k, one in enumerate(images)]
    grid = ImageGrid.flow(tiles, 12, title)
    return replace(grid, turns=True, size=2 * images.shape[-1], name="film")


def there_and_back(images: Tensor) -> bytes:
    """A morph as a GIF."""
    return gif_bytes(torch.cat([images, images.flip(0)[1:-1]]))
