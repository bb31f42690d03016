"""``netinvert pose evaluate``: how well networks read poses of objects never seen, procedural ones or
furniture that people made, beside readers without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.readers import RIGHT, SUFFIX, LearnedViews, PoseReader, network_reader, pose_network
from netinvert.evaluation.report import Column, code, counted, number, percent
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.configs.training import AUTO, STANDING, PoseEvaluate
from netinvert.experiments.evaluations import evaluated
from netinvert.experiments.runs import figures_table, made_by, publish, run_facts
from netinvert.io.cells import Cells
from netinvert.io.files import Tell, sha256_of, write_atomic
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.network import Network
from netinvert.models.zoo.pose import POSE_NETWORKS, read_pose_network
from netinvert.scenes.backgrounds import named_background
from netinvert.scenes.cameras import (
    angles_from_rotation,
    azimuth_difference,
    heading,
    symmetric_geodesic_degrees,
)
from netinvert.scenes.catalogue import LIBRARY, ObjectSource, object_source
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.fresh import UPRIGHT, TestViews, rendered_views
from netinvert.scenes.furniture import FRONTLESS, Furniture, has_word, read_seats
from netinvert.scenes.poses import PoseReading
from netinvert.scenes.seeds import trained_on, trained_on_library
from netinvert.training.pose.evaluation import evaluation_plan, full_evaluation

ALL, PAPER = "all of these", "paper"
SURE = 0.9
"""A reading with this much confidence is called sure."""
BOUNDS = (0.0, 0.5, 0.85, 0.95, 0.99)
"""From which on readings are as sure as one another."""
FLIPPED = 150.0
"""Degrees of azimuth from which on front and back are taken for one another."""
SHOWN, WORST = 48, 16
"""Views in the report from the best read to the worst, and the objects that are read worst."""
COLUMNS = (
    Column("reader"),
    Column("background"),
    Column("objects", key="source"),
    Column("chairs", key="objects", about="but for those of libraries that are called stools and the like"),
    Column("views"),
    Column("median error", "°", digits=1, key="median", about="geodesic, with 95 % intervals over objects"),
    Column("than the first", "°", digits=1, key="more", about="how much that is above the first reader's"),
    Column("within 30°", percent=True, key="within"),
    Column("turned about", percent=True, key="flipped", about="azimuth read 150° or more from the true one"),
    Column(
        "sure",
        percent=True,
        about=f"views that the reader is {SURE:.0%} sure or more to read within 30°",
    ),
    Column("sure and right", percent=True, key="sure_right", about="of these, the share within 30°"),
    Column("no front", percent=True, key="frontless", about="views of objects without one that it tells"),
    Column("no front, wrongly", percent=True, key="frontless_wrong", about="views of other objects"),
)


def evaluate_pose(config: PoseEvaluate, tell: Tell) -> Outcome:
    """Render, read, compare; leave table, images and report in ``config.out``.

    Raises:
        NetworkError: no such network.
        ConfigError: one reads no poses; no such objects or backgrounds.
        MeshError: a furniture library or mesh that cannot be read.
        MissingExtraError: without the extra scenes, or mitsuba for path tracing.
    """
    shown = tuple(f"{LIBRARY}{_short(one)}" if one.startswith(LIBRARY) else one for one in config.objects)
    names = config.networks or ("posenet",)
    command = made_by(replace(config, objects=shown, networks=names, weights=None, card=False))
    return evaluated(config, partial(_evaluate, config, tell), read_pose_network, config.weights, command)


def _evaluate(config: PoseEvaluate, tell: Tell) -> Outcome:
    names = config.networks or ("posenet",)
    networks = {name: pose_network(name, config.weights) for name in names}
    readers = [network_reader(name, config.weights) for name in names]
    if len({one.name for one in readers}) < len(readers):
        raise ConfigError("two files of networks have the same name and folder: rename one of them")
    sources = {_short(name): objects_called(name, config.category) for name in config.objects or ("chairs",)}
    if len(sources) < len(config.objects):
        raise ConfigError("two of --objects have the same name: rename one of the files")
    backgrounds = config.backgrounds or (PAPER if _upright(config) else "mixed",)
    plans = {name: _plan(config, source, networks) for name, source in sources.items()}
    for kind in backgrounds:
        named_background(kind)
    for name, source in sources.items():
        names_in = [one.name for one in source.members if isinstance(one, Furniture)]
        if names_in and all(has_word(one, FRONTLESS) for one in names_in):
            raise ConfigError(f"none of the objects of {name} has a front, by their names: give others")
    warning = _warning(config, sources)
    if warning:
        tell(warning)
    known = {
        "weights_sha256": {name: weights_sha256(one.module) for name, one in networks.items()},
        "plans": {name: plan.to_json() for name, plan in plans.items()},
        "files": {path.name: sha256_of(path) for source in sources.values() for path in source.files},
    }
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        tell(f"rendering {counted(config.learned, 'view')} for the readers without a network")
        readers += [*_random(networks), *LearnedViews.kept(Cells(run), config.learned).readers()]
        read: list[ReadViews] = []
        for name, source in sources.items():
            tell(f"rendering {name}")
            views = rendered_views(plans[name], source)
            for kind in backgrounds:
                seen = views.before(kind)
                found = {one.name: one.read(seen.images) for one in readers}
                read.append(ReadViews(seen, kind, name, found))
        together = [[one for one in read if one.background == kind] for kind in backgrounds]
        whole = [ReadViews.together(parts) for parts in together if len(parts) > 1]
        rows = [row for one in [*whole, *read] for row in one.rows()]
        first = read[0].views
        file = names[0] if names[0].endswith(SUFFIX) else config.weights
        figures = full_evaluation(networks[names[0]], first.only(first.scored), file)
        table = _table(rows, len(networks))
        lead = f"{_lead(rows, readers[0].name)}{f' But {warning}.' * bool(warning)}"
        page = report.Report("How well networks read poses", _blocks(table, read, figures), lead)
        write_atomic(run.path("views.csv"), _view_rows(read).csv().encode())
        entries = {**known, "figures": figures, "rows": table.plain()["rows"]}
        return publish(run, config, page, entries, table.text())


def _random(networks: Mapping[str, Network]) -> list[PoseReader]:
    """The first network with random weights, where it is netinvert's own."""
    first = next(iter(networks.values())).name
    return [network_reader(first, "random")] if first in POSE_NETWORKS else []


def _short(objects: str) -> str:
    return Path(objects.removeprefix(LIBRARY)).name if objects.startswith(LIBRARY) else objects


def objects_called(name: str, category: str | None) -> ObjectSource:
    """The objects of an option; of a library, those of a category, or its seats by their names. Raises
    ConfigError, MeshError."""
    if name.startswith(LIBRARY) and category is None and name != LIBRARY:
        return ObjectSource("furniture", read_seats(name.removeprefix(LIBRARY)))
    return object_source(name, category=category if name.startswith(LIBRARY) else None)


def _upright(config: PoseEvaluate) -> bool:
    by_people = any(one.startswith(LIBRARY) for one in config.objects)
    return config.protocol == STANDING or (config.protocol == AUTO and by_people)


def _plan(config: PoseEvaluate, source: ObjectSource, networks: Mapping[str, Network]) -> DatasetConfig:
    """Of the size of the first network's images."""
    count = min(config.chairs, source.count or config.chairs)
    views = config.views or (8 if _upright(config) else 10)
    traced = config.path_traced
    plans = [evaluation_plan(one, count, views, config.seed, traced) for one in networks.values()]
    objects = plans[0].objects if source.members else source.category
    return replace(plans[0], objects=objects, **(UPRIGHT if _upright(config) else {}))


def _warning(config: PoseEvaluate, sources: Mapping[str, ObjectSource]) -> str:
    files = dict.fromkeys(path.name for one in sources.values() for path in one.files)
    seen = [name for name in files if trained_on_library(name)]
    if any(not one.members for one in sources.values()) and trained_on(config.seed):
        seen.append(f"chairs of seed {config.seed}")
    return f"networks of netinvert may have seen {report.listed(seen)}: this is no fair test" if seen else ""


# -- what is read ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ReadViews:
    """Views of a ``source`` of objects before a ``background``, and what each reader reads."""

    views: TestViews
    background: str
    source: str
    readings: Mapping[str, PoseReading]

    @classmethod
    def together(cls, parts: Sequence[ReadViews]) -> ReadViews:
        """Those of one background as one."""
        names = parts[0].readings
        joined = {name: PoseReading.joined([one.readings[name] for one in parts]) for name in names}
        return cls(TestViews.joined([one.views for one in parts]), parts[0].background, ALL, joined)

    def errors(self, reader: str) -> Tensor:
        """Geodesic errors (N,) in degrees; of symmetric objects the least."""
        views = self.views
        return symmetric_geodesic_degrees(self.readings[reader].rotation, views.rotation, views.symmetry)

    def rows(self) -> list[dict[str, Any]]:
        """Figures by the keys of COLUMNS, a row a reader."""
        scored, frontless = self.views.scored, self.views.frontless
        identity = self.views.identity[scored]
        first = self.errors(next(iter(self.readings)))[scored]
        azimuth = angles_from_rotation(self.views.rotation)[0]
        rows: list[dict[str, Any]] = []
        for name, reading in self.readings.items():
            error = self.errors(name)[scored]
            right = (error < RIGHT).double()
            turned = (azimuth_difference(reading.azimuth, azimuth) > FLIPPED)[scored & ~frontless].double()
            row: dict[str, Any] = {
                "background": self.background,
                "source": self.source,
                "reader": name,
                "objects": len(set(identity.tolist())),
                "views": len(identity),
                "median": estimate(error, identity, "median"),
                "more": difference(error, first, identity, "median") if rows else None,
                "within": estimate(right, identity),
                "flipped": turned.mean().item() if len(turned) else None,
            }
            if reading.confidence is not None:
                sure = reading.confidence[scored] >= SURE
                row["sure"] = sure.double().mean().item()
                row["sure_right"] = estimate(right[sure], identity[sure]) if sure.any() else None
            if reading.without_front is not None:
                said, who = reading.without_front.double(), self.views.identity
                for key, own in (("frontless", frontless), ("frontless_wrong", ~frontless)):
                    row[key] = estimate(said[own], who[own]) if own.any() else None
            rows.append(row)
        return rows

    def calibration(self) -> list[dict[str, Any]]:
        """Of the first reader, how many of the readings that are about as sure are right; nothing of one that
        does not say."""
        name, reading = next(iter(self.readings.items()))
        if reading.confidence is None:
            return []
        scored = self.views.scored
        said, identity = reading.confidence[scored], self.views.identity[scored]
        right = (self.errors(name)[scored] < RIGHT).double()
        level = torch.bucketize(said, torch.tensor(BOUNDS[1:]), right=True)
        return [
            {
                "said": f"{low:.0%} or more" if low else f"below {BOUNDS[1]:.0%}",
                "views": int((own := level == place).sum()),
                "mean": said[own].mean().item(),
                "right": estimate(right[own], identity[own]),
            }
            for place, low in enumerate(BOUNDS)
            if (level == place).any()
        ]

    def objects(self) -> Iterator[tuple[float, int]]:
        """Of each object that is scored, the median error of the first reader, and its worst view."""
        error = self.errors(next(iter(self.readings)))
        for identity in sorted(set(self.views.identity[self.views.scored].tolist())):
            own = (self.views.identity == identity).nonzero().squeeze(1)
            yield error[own].median().item(), int(own[error[own].argmax()])


def _view_rows(read: Sequence[ReadViews]) -> report.Table:
    """A row a view: what it shows, and each reader's error in degrees and confidence."""
    records, columns = [], ["background", "source", "object", "view", "azimuth", "elevation", "no front"]
    for one in read:
        azimuth = angles_from_rotation(one.views.rotation)[0].tolist()
        errors = {name: one.errors(name).tolist() for name in one.readings}
        sure = {name: said.confidence for name, said in one.readings.items() if said.confidence is not None}
        for k, identity in enumerate(one.views.identity.tolist()):
            known = (one.background, one.source, _name(one.views, k), k, azimuth[k])
            record = dict(zip(columns, (*known, one.views.elevation[k].item()), strict=False))
            record |= {"no front": str(bool(one.views.frontless[k])), "identity": identity}
            record |= {f"{name}: error": found[k] for name, found in errors.items()}
            record |= {f"{name}: confidence": value[k].item() for name, value in sure.items()}
            records.append(record)
    return report.Table.of(records)


def _name(views: TestViews, k: int) -> str:
    facts = views.parameters[k]
    return str(facts.get("model") or facts.get("file") or f"object {views.identity[k].item()}")


# -- the report --------------------------------------------------------------------------------------------


def _table(rows: Sequence[Mapping[str, Any]], count: int) -> report.Table:
    """Of all readers; the networks that are asked about are the first ``count`` of each block."""
    known = [one for one in COLUMNS if any(row.get(one.key or one.name) is not None for row in rows)]
    names = list(dict.fromkeys(row["reader"] for row in rows))
    floors = [place for place, row in enumerate(rows) if row["reader"] not in names[:count]]
    return report.Table.of(rows, known, baselines=floors, name="figures")


def _lead(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """Of the first network where most views are."""
    row = max((one for one in rows if one["reader"] == name), key=lambda one: one["views"])
    return (
        f"{code(name)} read {counted(row['views'], 'view')} of {counted(row['objects'], 'object')} "
        f"({row['source']}, background {row['background']}): the median geodesic error is "
        f"{number(row['median'].value, 1)}°, {percent(row['within'].value)} are within 30°."
    )


def _blocks(table: report.Table, read: Sequence[ReadViews], figures: Mapping[str, Any]) -> list[report.Block]:
    first = read[0]
    error, name = first.errors(next(iter(first.readings))), next(iter(first.readings))
    chosen = error.argsort()[first.views.scored[error.argsort()]]
    chosen = chosen[torch.linspace(0, len(chosen) - 1, min(SHOWN, len(chosen))).long()]
    worst = sorted((row for one in read[:1] for row in one.objects()), reverse=True)[:WORST]
    groups = [
        {"group": group, "which": key, **values}
        for group, members in figures["groups"].items()
        for key, values in members.items()
    ]
    by_group: list[Column | str] = [
        "group",
        "which",
        "views",
        Column("median error", "°", digits=1, key="median_geodesic_deg"),
        Column("within 30°", percent=True, key="acc_30"),
    ]
    sure: list[Column | str] = [
        Column("it is sure", key="said"),
        "views",
        Column("in the mean", percent=True, key="mean"),
        Column("right within 30°", percent=True, key="right"),
    ]
    calibration = first.calibration()
    plain = {key: value for key, value in figures.items() if isinstance(value, int | float)}
    said = (
        f"Intervals are of the bootstrap over objects. Of a library, models called by one of the words "
        f"{report.listed(FRONTLESS)} count as having no front and are left out of the errors: this goes by "
        "names, not by what networks read. Readers without a network were fitted on chairs of their own."
    )
    shown = f"{first.source}, background {first.background}"
    return [
        report.Heading("Figures"),
        table,
        report.Prose(said, quiet=True),
        *([report.Heading(f"How sure {name} is, and how often right")] if calibration else []),
        *([report.Table.of(calibration, sure, name="calibration")] if calibration else []),
        report.Heading("The objects that are read worst"),
        replace(_tiles(first, [k for _, k in worst], f"{shown}: each one's worst view"), name="worst"),
        report.Heading("From the best read to the worst"),
        replace(_tiles(first, chosen.tolist(), f"azimuth, azimuth read, error; {shown}"), name="sheet"),
        report.Details(
            f"More of {name}, {shown}",
            [figures_table(plain), report.Table.of(groups, by_group, name="groups")],
        ),
    ]


def _tiles(read: ReadViews, chosen: Sequence[int], title: str) -> report.ImageGrid:
    """Views with what the first reader says, and whose models they are."""
    reader = next(iter(read.readings))
    true, said = angles_from_rotation(read.views.rotation)[0], read.readings[reader].azimuth
    error = read.errors(reader)
    tiles = []
    for k in chosen:
        lines = [f"{heading(true[k].item())} read {heading(said[k].item())}", f"error {error[k]:.0f}°"]
        facts = read.views.parameters[k]
        lines += [str(facts[name]) for name in ("name", "creator", "licence") if name in facts]
        tiles.append(report.Tile(read.views.images[k], tuple(lines)))
    return replace(report.ImageGrid.flow(tiles, across=8, title=title), size=128)
