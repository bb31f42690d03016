"""``netinvert views novel``: unseen objects from new sides, by all that can turn them; a cell a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import FOREIGN, JUDGE, RIGHT, PoseReader
from netinvert.evaluation.report import Column, Heading, ImageGrid, Panel, Plot, Prose, Series, code
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.configs.views import OfUnseen, ViewsNovel
from netinvert.experiments.runs import decoder_facts, publish, run_facts, training_of, workers_of
from netinvert.experiments.views.evaluate import RingWork, generator_facts, pose_readers
from netinvert.io.cells import Cell, Cells, Piece
from netinvert.io.files import Tell, write_atomic
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.decoder import load_decoder
from netinvert.models.generator import load_generator
from netinvert.scenes.cameras import rotation_from_angles
from netinvert.scenes.catalogue import LIBRARY, ObjectSource, object_source
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.furniture import read_seats
from netinvert.scenes.objects import Object3D
from netinvert.training.config import TrainingConfig
from netinvert.training.views.encoder_decoder import EncoderDecoder, train_encoder_decoder
from netinvert.training.views.turntables import AZIMUTHS, Turntables, rendered_ring
from netinvert.views.novel import CEILINGS, FLOORS, GROUND, MEAN, METHODS, TRUE, NovelViews, view_measures
from netinvert.views.truth import Truth

ALL = (*CEILINGS, *METHODS, *FLOORS)
SHOWN = 6
TURNS = (1, 2, 4, 8, 15)
MEASURES = (
    Column("L1 on the object", digits=3, key="l1", about="mean absolute error over the object's pixels"),
    Column("SSIM", digits=3, key="ssim", about="where all around the object is as it should be"),
)


@dataclass(frozen=True)
class UnseenKey:
    """A cell: the ring of an unseen object."""

    unseen: int


@dataclass(frozen=True)
class UnseenRings:
    """Renders objects that nothing was trained on, as the generator's own were."""

    config: OfUnseen

    def open(self) -> Callable[[UnseenKey, Piece], Cell]:
        """The plan is the generator's."""
        plan, source = unseen(self.config)

        def make(key: UnseenKey, piece: Piece) -> Cell:
            del piece
            thing = unseen_object(plan, source, key.unseen)
            camera = plan.camera(thing.vertices, 0, plan.generator(0, 0))
            facts = {"symmetry": thing.symmetry, "distance": float(np.linalg.norm(camera.position))}
            return Cell({"planes": rendered_ring(plan, thing)}, facts)

        return make


def unseen(config: OfUnseen) -> tuple[DatasetConfig, ObjectSource]:
    """How unseen objects are shown, and where they come from. Raises ConfigError, MeshError."""
    plan = Truth.of(load_generator(config.generator)).plan
    if config.objects.startswith(LIBRARY):
        source = ObjectSource("furniture", read_seats(config.objects.removeprefix(LIBRARY)))
    else:
        source = object_source(config.objects)
    return replace(plan, seed=config.seed), source


def unseen_object(plan: DatasetConfig, source: ObjectSource, number: int) -> Object3D:
    """One of them."""
    return source.make(plan.object_seed(number), number)


@dataclass(frozen=True)
class NovelWork:
    """What a method makes of all objects, at each turn."""

    config: ViewsNovel
    run: RunDir

    def open(self) -> Callable[[str, Piece], Cell]:
        """The problem is made once a process."""
        problem = cache(partial(novel_problem, self.config, self.run))

        def make(method: str, piece: Piece) -> Cell:
            made = {}
            for k, turn in enumerate(turns_of(self.config)):
                piece.tell(k / len(turns_of(self.config)), f"{method}, {turn} of {AZIMUTHS}")
                made[str(turn)] = (255 * problem().images(method, turn)).round().to(torch.uint8)
            return Cell(made)

        return make


def turns_of(config: ViewsNovel) -> tuple[int, ...]:
    """By how many 31ths of a turn."""
    return config.turns or TURNS


@dataclass(frozen=True)
class TrainingKey:
    """A cell: the encoder-decoder's weights."""

    encoder_decoder: int


@dataclass(frozen=True, eq=False)
class EncoderDecoderWork:
    """Trains an encoder-decoder on known objects."""

    config: OfUnseen
    run: RunDir

    def open(self) -> Callable[[TrainingKey, Piece], Cell]:
        """It is small, and quick where there is a GPU."""
        config = self.config

        def make(key: TrainingKey, piece: Piece) -> Cell:
            plan = TrainingConfig(samples=key.encoder_decoder, batch=32, rate=2e-3, seed=config.seed)
            size, tables = self.size(), known_objects(config, self.run)
            with training_of(piece, config.device) as where:
                network = train_encoder_decoder(plan, tables, where, size, GROUND)
            return Cell(network.cpu().state_dict())

        return make

    def size(self) -> int:
        """Of its images, in pixels."""
        return min(self.config.pixels, load_generator(self.config.generator).module.form.size)

    def trained(self) -> EncoderDecoder:
        """The network; kept in the run."""
        keys = [TrainingKey(self.config.samples)]
        (cell,) = run_cells(self.run, self, keys, workers_of(self.config), "trainings")
        network = EncoderDecoder(self.size())
        network.load_state_dict(dict(cell.tensors))
        return network.eval().requires_grad_(False)


def known_objects(config: OfUnseen, run: RunDir) -> Turntables:
    """The generator's own, from all sides; renders are kept in the run."""
    places = range(min(config.bank, load_generator(config.generator).module.form.identities))
    work = RingWork(config.generator)
    return _joined(run_cells(run, work, places, workers_of(config), "known objects"))


def _joined(cells: Sequence[Cell]) -> Turntables:
    planes, distance = ([one.tensors["planes"] for one in cells], [one.facts["distance"] for one in cells])
    return Turntables.joined(planes, range(len(cells)), distance)


def novel_problem(config: OfUnseen, run: RunDir) -> NovelViews:
    """The objects that are turned, and what turns them; renders and trainings are kept in the run."""
    objects, known = _joined(unseen_cells(config, run)), known_objects(config, run)
    drawn = torch.Generator().manual_seed(config.seed)
    return NovelViews(
        objects,
        torch.randint(AZIMUTHS, (len(objects.planes),), generator=drawn),
        known,
        torch.arange(len(known.planes)),
        load_generator(config.generator),
        load_decoder(config.decoder),
        EncoderDecoderWork(config, run).trained(),
    )


def novel_views(config: ViewsNovel, tell: Tell) -> Outcome:
    """Render, turn, compare; leave table, plot, images and a row a view.

    Raises:
        NetworkError, CodeError: a generator or decoder that cannot be loaded.
        ConfigError, MeshError: no such objects, or a generator that does not tell what it learned.
        MissingExtraError: without the extra scenes.
    """
    generator, decoder = load_generator(config.generator), load_decoder(config.decoder)
    known = {"generator": generator_facts(generator), "decoders": decoder_facts([decoder])}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        problem, kept = novel_problem(config, run), Cells(run)
        readers = pose_readers(kept, config.learned)
        made = run_cells(run, NovelWork(config, run), ALL, workers_of(config), "ways to a new view")
        tell("measuring")
        symmetry = torch.tensor([one.facts["symmetry"] for one in unseen_cells(config, run)])
        found: dict[str, Mapping[str, Tensor]] = {}
        for method, cell in zip(ALL, made, strict=True):
            each = partial(_measured, problem, cell.tensors, turns_of(config), readers, symmetry)
            found[method] = kept.keep(["measured", method], each).tensors
        table = _table(found, readers, len(turns_of(config)))
        by_angle = _by_angle(found, turns_of(config))
        write_atomic(run.path("views.csv"), _rows(found, turns_of(config)).csv().encode())
        page = report.Report(
            "New views of unseen objects",
            _blocks(config, problem, [table, *by_angle], found, made),
            _lead(found),
        )
        entries = {"rows": table.plain()["rows"], "by_angle": [one.plain() for one in by_angle]}
        return publish(run, config, page, {**known, **entries}, table.text())


def unseen_cells(config: OfUnseen, run: RunDir) -> Sequence[Cell]:
    """The rings of the unseen objects, kept in the run."""
    _, source = unseen(config)
    numbers = range(min(config.chairs, source.count or config.chairs))
    keys = [UnseenKey(number) for number in numbers]
    return run_cells(run, UnseenRings(config), keys, workers_of(config), "unseen objects")


def _measured(
    problem: NovelViews,
    images: Mapping[str, Tensor],
    turns: Sequence[int],
    readers: Sequence[PoseReader],
    symmetry: Tensor,
) -> Cell:
    """All figures, (N · T,), object after object within each turn."""
    parts: list[dict[str, Tensor]] = []
    for turn in turns:
        shown, true, target = images[str(turn)].float() / 255, problem.true(turn), problem.target(turn)
        azimuth, elevation = problem.objects.azimuth[target], problem.objects.elevation[target]
        rotation = rotation_from_angles(azimuth, elevation, torch.zeros(len(target)))
        values = view_measures(shown, true, problem.masks(turn))
        for reader in readers:
            errors = reader.errors(shown, rotation, symmetry)
            values[reader.name] = torch.where(reader.asked(true, rotation, symmetry), errors, torch.nan)
        parts.append(values)
    return Cell({name: torch.cat([one[name] for one in parts]).double() for name in parts[0]})


def _table(
    found: Mapping[str, Mapping[str, Tensor]], readers: Sequence[PoseReader], turns: int
) -> report.Table:
    """A row a method; L1 also against the nearest floor, paired."""
    groups = torch.arange(len(found[TRUE]["l1"]) // turns).repeat(turns)
    floor = found[min(FLOORS, key=lambda name: float(found[name]["l1"].mean()))]["l1"]
    rows: list[dict[str, Any]] = []
    for method, values in found.items():
        row: dict[str, Any] = {"method": method}
        row |= {one.key: estimate(values[one.key], groups) for one in MEASURES if one.key}
        row["more"] = difference(values["l1"], floor, groups)
        for reader in readers:
            asked = ~values[reader.name].isnan()
            errors = values[reader.name][asked]
            row[reader.name] = estimate(errors, groups[asked], "median") if len(errors) else None
        rows.append(row)
    columns = [
        Column("method"),
        *MEASURES,
        Column("L1 above the best floor", digits=3, key="more", about="paired"),
        *(Column(one.name, "°", digits=1, about="median error of the pose read") for one in readers),
    ]
    return report.Table.of(rows, columns, baselines=_floors(found), name="figures")


def _by_angle(found: Mapping[str, Mapping[str, Tensor]], turns: Sequence[int]) -> list[report.Table]:
    """A row a method, a column an angle: L1, and what the held-out network reads of the pose."""
    angles = [360 / AZIMUTHS * turn for turn in turns]
    figures: tuple[tuple[str, Literal["mean", "median"], str, int], ...] = (
        ("l1", "mean", "L1 on the object, by the angle turned", 3),
        (JUDGE, "median", f"Error of the pose that {JUDGE} reads (°), by the angle turned", 1),
    )
    tables = []
    for name, statistic, title, digits in figures:
        rows = list[list[report.Value]]()
        for method, values in found.items():
            each = values[name].reshape(len(turns), -1)
            rows.append([method, *(estimate(one, statistic=statistic) for one in each)])
        columns = [Column("method"), *(Column(f"{angle:.0f}°", digits=digits) for angle in angles)]
        tables.append(report.Table(columns, rows, title, _floors(found), name=f"{name}-by-angle"))
    return tables


def _floors(found: Iterable[str]) -> list[int]:
    """Where the baselines are."""
    return [place for place, method in enumerate(found) if method in (*CEILINGS, *FLOORS)]


def _rows(found: Mapping[str, Mapping[str, Tensor]], turns: Sequence[int]) -> report.Table:
    records = []
    for method, values in found.items():
        count = len(values["l1"]) // len(turns)
        for k in range(len(values["l1"])):
            facts = {"method": method, "turn": 360 / AZIMUTHS * turns[k // count], "object": k % count}
            records.append(facts | {name: each[k].item() for name, each in values.items()})
    return report.Table.of(records)


def _lead(found: Mapping[str, Mapping[str, Tensor]]) -> str:
    best = min(METHODS, key=lambda name: float(found[name]["l1"].mean()))
    floor = min(FLOORS, key=lambda name: float(found[name]["l1"].mean()))
    return (
        f"Of what turns an unseen object from one image, “{best}” is nearest to the true view (L1 over the "
        f"object {found[best]['l1'].mean():.3f}); of what needs no network, “{floor}” "
        f"({found[floor]['l1'].mean():.3f})."
    )


def _blocks(
    config: ViewsNovel,
    problem: NovelViews,
    tables: Sequence[report.Table],
    found: Mapping[str, Mapping[str, Tensor]],
    made: Sequence[Cell],
) -> list[report.Block]:
    turns = [360 / AZIMUTHS * turn for turn in turns_of(config)]

    def series(method: str, name: str) -> Series:
        each = found[method][name].reshape(len(turns), -1)
        return Series(method, turns, [float(one.nanmean()) for one in each])

    drawn = (*METHODS, MEAN, FLOORS[2])
    panels = [
        Panel([series(one, "l1") for one in drawn], "", "turned by (°)", "L1 on the object"),
        Panel([series(one, "ssim") for one in drawn], "", "turned by (°)", "SSIM"),
    ]
    middle = str(turns_of(config)[len(turns_of(config)) // 2])
    shown = range(min(SHOWN, len(problem.start)))
    columns = ["given", *ALL]
    rows = {
        f"{k + 1}": [problem.sources[k], *(cell.tensors[middle][k].float() / 255 for cell in made)]
        for k in shown
    }
    title = f"Turned by {360 / AZIMUTHS * int(middle):.0f}°"
    return [
        Heading("Figures"),
        *tables,
        Prose(
            f"Intervals are of the bootstrap over objects. The pose of the given image is known. {FOREIGN} "
            f"and HOG are asked only where they read the true view within {RIGHT:g}°. Codes are those of "
            f"{code(problem.decoder.layer)} of {code(problem.decoder.network)}; directions, operators and "
            f"maps are fitted on {len(problem.places)} known objects from 31 sides, and the "
            f"encoder-decoder on {config.samples:,} pairs of these views, at "
            f"{problem.encoder_decoder.size} pixels.",
            quiet=True,
        ),
        Plot(panels, name="turns"),
        Heading("Images"),
        ImageGrid.of(rows, columns, title, size=128, name="sheet"),
    ]
