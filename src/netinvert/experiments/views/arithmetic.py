"""``netinvert views arithmetic``: does an attribute come along in a − b + c (Dosovitskiy et al. 2015, section
5.4)? Asked are a classifier of drawn images, fitted on other objects, and the nearest known object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.probes import check_installed, ridge
from netinvert.evaluation.readers import hog_features
from netinvert.evaluation.report import Column, Heading, ImageGrid, code
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.configs.views import ViewsArithmetic
from netinvert.experiments.runs import publish, run_facts
from netinvert.experiments.views.evaluate import generator_facts
from netinvert.io.cells import Cell, Cells
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.generator import Generator, load_generator
from netinvert.scenes.objects import Value
from netinvert.views.mixtures import COMPARED, SPACES, combined, nearest_objects, seen_around
from netinvert.views.truth import Truth, on_paper

ATTRIBUTES: Mapping[str, Callable[[Mapping[str, Value]], bool]] = {
    "arms": lambda facts: facts["arms"] != "none",
    "swivel": lambda facts: facts["legs"] == "swivel",
    "stretcher": lambda facts: facts["stretcher"] != "none",
}
"""What objects may have, by what they were made of."""
LEAST = 4
"""Objects with, and without, that each half needs."""
SHOWN = 6


@dataclass(frozen=True, eq=False)
class Triples:
    """``told`` are triples (T, 3) of a, which has an attribute, b and c, which lack it; ``control`` the same
    c with two that lack it. All are of one half of the objects; ``others`` (M,) are of the other half, as
    many that have it as that lack it."""

    told: Tensor
    control: Tensor
    others: Tensor

    @classmethod
    def of(cls, has: Tensor, count: int, seed: int) -> Triples:
        """Of objects (I,) bool. Raises ConfigError: too few have it, or lack it."""
        source = torch.Generator().manual_seed(seed)
        ordered = [
            places[torch.randperm(len(places), generator=source)]
            for places in (has.nonzero().flatten(), (~has).nonzero().flatten())
        ]
        if min(map(len, ordered)) < 2 * LEAST:
            raise ConfigError(
                f"of {len(has)} objects {len(ordered[0])} have the attribute and {len(ordered[1])} lack it, "
                f"and {2 * LEAST} each are needed: give another --attribute, or a generator of more objects"
            )
        (own, own_others), (lacking, lacking_others) = (one.tensor_split(2) for one in ordered)
        alike = min(len(own_others), len(lacking_others))
        told, control = [], []
        for _ in range(count):
            a = own[torch.randint(len(own), (1,), generator=source)]
            four = lacking[torch.randperm(len(lacking), generator=source)[:4]]
            told.append(torch.cat([a, four[:2]]))
            control.append(torch.cat([four[2:], four[1:2]]))
        return cls(
            torch.stack(told), torch.stack(control), torch.cat([own_others[:alike], lacking_others[:alike]])
        )


def add_objects(config: ViewsArithmetic, tell: Tell) -> Outcome:
    """Add, draw and ask; leave table, images and report.

    Raises:
        NetworkError: no such generator.
        ConfigError: its file does not tell of what its objects are made, or too few have the attribute.
        MissingExtraError: without the extras scenes and probes.
    """
    check_installed()
    generator = load_generator(config.generator)
    truth = Truth.of(generator)
    known = {"generator": generator_facts(generator)}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        kept = Cells(run)
        found = kept.keep("attributes", lambda: Cell({"has": _attributes(truth, config.attribute)}))
        has = found.tensors["has"]
        triples = Triples.of(has, config.triples, config.seed)
        measured = kept.keep("measured", lambda: _measured(generator, has, triples)).tensors
        table = _table(measured, has, triples)
        page = report.Report(
            f"Is there {config.attribute} in a − b + c?",
            [
                *(Heading("Figures"), table),
                report.Prose(
                    f"Of {len(has)} objects {int(has.sum())} have {config.attribute}. Others than those of "
                    "the triples fitted the classifier (HOG of drawn images, ridge); the last rows tell how "
                    "often it sees it in a and c as they are. The control takes both a and b from those that "
                    "lack it. Intervals are of the bootstrap over c.",
                    quiet=True,
                ),
                *(Heading("Images"), _sheet(generator, triples.told[:SHOWN])),
            ],
            f"a has {config.attribute}, b and c have not: how often it is seen in a − b + c, drawn by "
            f"{code(generator.name)}.",
        )
        entries = {**known, "rows": table.plain()["rows"]}
        return publish(run, config, page, entries, table.text())


def _attributes(truth: Truth, name: str) -> Tensor:
    """Which objects (I,) have it."""
    things = (truth.thing(k) for k in range(len(truth.identities)))
    return torch.tensor([ATTRIBUTES[name](thing.parameters) for thing in things])


def _features(planes: Tensor) -> Tensor:
    """HOG (N, D) of objects (N, V, 4, H, W)."""
    return torch.cat([hog_features(on_paper(planes[:, k])) for k in range(planes.shape[1])], 1)


def _measured(generator: Generator, has: Tensor, triples: Triples) -> Cell:
    """ "seen" and "nearest" (T,) bool of each kind of images: whether the classifier, and the nearest known
    object, say that it is there."""
    known = seen_around(generator, generator.module.table.weight)
    fitted = _features(known[triples.others]), has[triples.others][:, None].double()

    def said(planes: Tensor) -> Tensor:
        return ridge(*fitted, _features(planes))[:, 0] > 0.5

    found: dict[str, Tensor] = {}

    def ask(name: str, planes: Tensor) -> None:
        found[f"{name}: seen"] = said(planes)
        found[f"{name}: nearest"] = has[nearest_objects(planes, known)[0]]

    for place, name in ((0, "a"), (2, "c")):
        ask(name, known[triples.told[:, place]])
    for space in SPACES:
        for name, numbers in (("told", triples.told), ("control", triples.control)):
            views = [combined(generator, numbers, space, view) for view in COMPARED]
            ask(f"{name} in {space}", torch.stack(views, 1))
    return Cell(found)


def _table(measured: Mapping[str, Tensor], has: Tensor, triples: Triples) -> report.Table:
    """A row for each space, with its control, between a and c themselves."""
    groups = triples.told[:, 2]
    columns = [
        Column("a − b + c in", key="space"),
        Column("seen", percent=True, about="the classifier sees it"),
        Column("control seen", percent=True, key="control", about="where neither a nor b has it"),
        Column("more", percent=True, about="than the control, paired"),
        Column(
            "nearest has it", percent=True, key="nearest", about="the known object that looks most like it"
        ),
    ]
    rows: list[list[report.Value]] = []
    for space in SPACES:
        seen, control, nearest = (
            measured[f"{kind} in {space}: {how}"].double()
            for kind, how in (("told", "seen"), ("control", "seen"), ("told", "nearest"))
        )
        shares = [estimate(one, groups) for one in (seen, control)]
        rows.append([space, *shares, difference(seen, control, groups), estimate(nearest, groups)])
    for name in ("c", "a"):
        seen, nearest = (measured[f"{name}: {how}"].double() for how in ("seen", "nearest"))
        rows.append([f"{name} alone", estimate(seen, groups), None, None, estimate(nearest, groups)])
    return report.Table(columns, rows, baselines=[len(rows) - 2, len(rows) - 1], name="figures")


def _sheet(generator: Generator, triples: Tensor) -> ImageGrid:
    with torch.no_grad():
        parts = [on_paper(generator.layers(one, *COMPARED[0])) for one in triples.unbind(1)]
        made = [on_paper(combined(generator, triples, space)) for space in SPACES]
    rows = {
        " ".join(f"{name} = {k}" for name, k in zip("abc", triple, strict=True)): [*images]
        for triple, *images in zip(triples.tolist(), *parts, *made, strict=True)
    }
    return ImageGrid.of(rows, ["a", "b", "c", *SPACES], name="sheet", size=128)
