"""``netinvert views transfer``: what is known of other chairs, from everywhere, helps where little is known
of one (Dosovitskiy et al. 2015, sections 5.1 and 5.2); a training is a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import hog_features
from netinvert.evaluation.report import Column, Heading, ImageGrid, Panel, Plot, Series, counted
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.configs.views import ViewsTransfer
from netinvert.experiments.runs import publish, run_facts, training_of, workers_of
from netinvert.experiments.views.evaluate import LINEAR, MEASURES, NEAREST
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.generator import GeneratorFile
from netinvert.scenes.dataset_config import CHAIRS62, RING, DatasetConfig
from netinvert.training.config import TrainingRun
from netinvert.training.views.train import GeneratorConfig, train_generator, view_errors
from netinvert.training.views.turntables import AZIMUTHS, KnownViews, Turntables
from netinvert.views.truth import RING_AZIMUTH, RING_ELEVATION, interpolated, nearest_view, on_paper

WITH, WITHOUT, CHAIR = "with other chairs", "without", "nearest chair"
METHODS = (WITH, WITHOUT, LINEAR, NEAREST, CHAIR)
KNOWN = (1, 2, 4, 8, 16)
SHOWN = 6


@dataclass(frozen=True)
class TransferKey:
    """A training: how many azimuths of half of the chairs are known, whether at ``both`` elevations, and
    whether the other half is there."""

    azimuths: int
    both: bool = True
    others: bool = True

    @property
    def name(self) -> str:
        """What is known."""
        return counted(self.azimuths, "azimuth") if self.both else "one elevation"


@dataclass(frozen=True)
class TransferWork:
    """Trains generators, and asks for the views that they do not know."""

    config: ViewsTransfer

    def open(self) -> Callable[[TransferKey, Piece], Cell]:
        """Render the chairs."""
        config = self.config
        tables = Turntables.rendered(plan_of(config), range(config.chairs))

        def make(key: TransferKey, piece: Piece) -> Cell:
            with training_of(piece) as where:
                return Cell(_trained(config, key, tables, where))

        return make


def plan_of(config: ViewsTransfer) -> DatasetConfig:
    """The chairs and their views."""
    return DatasetConfig(
        identities=config.chairs,
        views=len(RING),
        size=config.pixels,
        seed=config.seed,
        protocol=CHAIRS62,
        lights="studio",
    )


def _trained(
    config: ViewsTransfer, key: TransferKey, tables: Turntables, run: TrainingRun
) -> dict[str, Tensor]:
    """Errors (N,) "METHOD: MEASURE" of the views that are not known, whose they are, and images of some."""
    known = KnownViews(key.azimuths, key.both).mask(config.chairs)
    learned, numbers = tables, torch.arange(config.chairs)
    if not key.others:
        learned = replace(tables, planes=tables.planes[1::2], identities=tables.identities[1::2])
        numbers = numbers // 2
    plan = GeneratorConfig(
        samples=config.samples,
        batch=config.batch,
        rate=config.rate,
        seed=config.seed,
        known_azimuths=key.azimuths,
    )
    model = train_generator(plan, learned, run, known if key.others else known[1::2])
    generator = GeneratorFile(model.average, {}).generator("a small one")
    errors: dict[str, list[Tensor]] = {}
    shown: dict[str, list[Tensor]] = {}
    for who in range(1, config.chairs, 2):
        views = (~known[who]).nonzero().flatten().tolist()
        true = tables.planes[who, views].float() / 255
        drawn = generator.layers(int(numbers[who]), RING_AZIMUTH[views], RING_ELEVATION[views])
        made = {WITH if key.others else WITHOUT: drawn}
        if key.others:
            made |= _without_network(tables.planes, known[who], who, views)
        for name, planes in made.items():
            for measure, values in view_errors(planes, true).items():
                errors.setdefault(f"{name}: {measure}", []).append(values)
        errors.setdefault("chair", []).append(torch.full((len(views),), who))
        one = len(views) // 3  # some view, the same for all methods
        for name, planes in {"true": true, **made}.items():
            shown.setdefault(f"image: {name}", []).append(on_paper(planes[one : one + 1]))
    return {name: torch.cat(values) for name, values in (errors | shown).items()}


def _without_network(rings: Tensor, known: Tensor, who: int, views: Sequence[int]) -> dict[str, Tensor]:
    """Views (V, 4, H, W) of a chair by its known views, and by the chair that is most like it in these."""
    near = known.nonzero().flatten()
    features = [hog_features(on_paper(rings[k, near].float() / 255)) for k in (who, *range(0, len(rings), 2))]
    far = [(features[0] - other).norm(dim=1).mean() for other in features[1:]]
    return {
        LINEAR: torch.stack([interpolated(rings[who], known, view) for view in views]),
        NEAREST: torch.stack([nearest_view(rings[who], known, view) for view in views]),
        CHAIR: rings[2 * int(torch.stack(far).argmin()), list(views)].float() / 255,
    }


def transfer_views(config: ViewsTransfer, tell: Tell) -> Outcome:
    """Train and compare; leave table, plot, images and report.

    Raises:
        MissingExtraError: without the extra scenes.
        TrainingError: a training whose loss is not finite.
    """
    counts = sorted(set(config.known or KNOWN))
    asked = [*((count, True) for count in counts), (AZIMUTHS, False)]
    keys = [TransferKey(*one, others) for one in asked for others in (True, False)]
    with RunDir(config.out, run_facts(config, {"plan": plan_of(config).to_json()}), config.overwrite) as run:
        tell(f"{len(keys)} trainings of {config.samples:,} images each")
        cells = run_cells(run, TransferWork(config), keys, workers_of(config), "trainings")
        found = {
            key.name: {**own.tensors, **other.tensors}
            for key, own, other in zip(keys[::2], cells[::2], cells[1::2], strict=True)
        }
        table = _table(found)
        rows = table.plain()["rows"]
        most = found[keys[0].name]
        few, alone = (most[f"{name}: l1_on_object"].mean().item() for name in (WITH, WITHOUT))
        page = report.Report(
            "What other chairs teach of one",
            [
                *(Heading("Figures"), table, _plot(found, counts)),
                report.Prose(
                    "Of half of the chairs the views of the first column are known, the errors are of their "
                    "others. The nearest chair is that of the other half whose known views have the nearest "
                    "HOG. Intervals are of the bootstrap over these chairs.",
                    quiet=True,
                ),
                Heading("Images"),
                *(_sheet(name, tensors) for name, tensors in found.items()),
            ],
            f"Where {keys[0].name} of a chair are known, its other views are drawn with an L1 error on the "
            f"chair of {few:.3f} by a generator that knows {config.chairs // 2} others from everywhere, and "
            f"of {alone:.3f} by one that does not.",
        )
        return publish(run, config, page, {"rows": rows}, table.text())


def _table(found: Mapping[str, Mapping[str, Tensor]]) -> report.Table:
    more = Column("L1 above the first", digits=3, key="more", about="paired, with its interval")
    rows: list[list[report.Value]] = []
    baselines = []
    for known, tensors in found.items():
        first = tensors[f"{WITH}: l1_on_object"]
        for name in METHODS:
            values = {one.key: tensors[f"{name}: {one.key}"] for one in MEASURES}
            rows.append([known, name, *(estimate(one, tensors["chair"]) for one in values.values())])
            paired = None if name == WITH else difference(values["l1_on_object"], first, tensors["chair"])
            rows[-1].append(paired)
            baselines += [len(rows) - 1] * (name not in (WITH, WITHOUT))
    columns = [Column("known"), Column("images", key="method"), *MEASURES, more]
    return report.Table(columns, rows, baselines=baselines, name="figures")


def _plot(found: Mapping[str, Mapping[str, Tensor]], counts: Sequence[int]) -> Plot:
    """The error by how many azimuths are known."""
    names = [TransferKey(count).name for count in counts]
    series = [
        Series(name, counts, [found[one][f"{name}: l1_on_object"].mean().item() for one in names], marker="o")
        for name in METHODS
    ]
    y_label = "L1 on the chair, in other views"
    panel = Panel(series, x_label="azimuths known, of 31", y_label=y_label, x_log=True)
    return Plot([panel], name="known")


def _sheet(known: str, tensors: Mapping[str, Tensor]) -> ImageGrid:
    columns = ["true", *METHODS]
    images = [tensors[f"image: {name}"] for name in columns]
    rows = {f"chair {2 * k + 1}": [one[k] for one in images] for k in range(min(SHOWN, len(images[0])))}
    return ImageGrid.of(rows, columns, f"{known} known", name=f"sheet-{known}", size=96)
