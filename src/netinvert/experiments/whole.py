"""``netinvert study all``: every study by its own command, and the page that answers the questions."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from netinvert.errors import ConfigError, NetinvertError, OutputError
from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Estimate, ImageGrid, Table, Tile
from netinvert.evaluation.report.table import plain
from netinvert.experiments import commands
from netinvert.experiments.configs.studies import StudyAll, StudyAttributes, StudyFeatures, StudySurgery
from netinvert.experiments.registered import AGREE, ATTRIBUTES, FEATURES, PRIORS, SURGERY
from netinvert.experiments.runs import ANSWER, made_by, publish, run_facts
from netinvert.io.files import Tell, read_json
from netinvert.io.manifest import Outcome
from netinvert.io.pieces import Output, Processes
from netinvert.io.rundir import FinishedError, RunDir
from netinvert.models.decoder import SHIPPED
from netinvert.models.registry import load_network
from netinvert.scenes.seeds import OPENED

WIDE = 720
"""Pixels of a figure on the page."""


@dataclass(frozen=True)
class Study:
    """``question`` is answered by a run of ``plan``; its file ``figure`` shows the answer, its ``tables``
    (a glob of CSV files) prove it. ``quick`` are the options of a smaller one."""

    question: str
    plan: Output
    quick: Mapping[str, Any]
    figure: str
    tables: str

    def config(self, asked: StudyAll, name: str) -> Output:
        """What is run: the plan for this network, in a folder beside the page. Raises NetworkError;
        ConfigError: nothing of this study can be asked of the network."""
        changes = dict[str, Any](self.quick if asked.quick else {})
        if asked.network != PLANNED:
            changes |= self._of(asked.network)
        if isinstance(self.plan, Processes):
            changes |= {"workers": asked.workers, "ray": asked.ray, "threads": asked.threads}
        return replace(self.plan, out=asked.out.with_name(f"{asked.out.name}-{name}"), **changes)

    def _of(self, network: str) -> dict[str, Any]:
        """What is another for another network."""
        if isinstance(self.plan, StudyFeatures):
            return {"networks": (network,)}
        if isinstance(self.plan, StudySurgery):
            decoders = tuple(name for name, (of, _) in SHIPPED.items() if of == network)
            if not decoders:
                raise ConfigError(f"no decoder of {network} ships: give yours to netinvert study surgery")
            return {"decoders": decoders}
        layers = load_network(network).layers
        if not layers:
            raise ConfigError(f"{network} does not say which layers are worth inverting: give the study some")
        pair = {"network": network, "layers": tuple(dict.fromkeys((layers[len(layers) // 2], layers[-1])))}
        return {**pair, "decoders": ()} if isinstance(self.plan, StudyAttributes) else pair


PLANNED = "posenet"
P_VALUES = ("p", "holm")
"""Columns that are told to four digits."""
HEADS = {"says": "hypothesis", "holm": "p, Holm", "rho": "ρ", "count": "objects", "apart": "difference"}
"""What columns are called that have another name in files."""
STUDIES: Mapping[str, Study] = {
    "features": Study(
        "Which features of an image tell an object's orientation?",
        FEATURES,
        {"networks": ("posenet", "objectron-chair"), "chairs": 30, "learned": 300, "seed": OPENED},
        "features.png",
        "registered.csv",
    ),
    "attributes": Study(
        "What do the layers keep of an image?",
        ATTRIBUTES,
        {"decoders": (), "layers": ("relu3", "fc8"), "chairs": 20, "seed": OPENED},
        "curves.png",
        "gains.csv",
    ),
    "agree": Study(
        "Do inversions show these features?",
        AGREE,
        {"layers": ("fc8",), "chairs": 30, "learned": 300, "steps": 40, "seed": OPENED},
        "agreement.png",
        "registered.csv",
    ),
    "surgery": Study(
        "Which part of a code carries the pose?",
        SURGERY,
        {"decoders": ("posenet-fc7",), "chairs": 20, "others": 300, "learned": 300, "seed": OPENED},
        "posenet-fc7-swaps.png",
        "registered.csv",
    ),
    "priors": Study(
        "Which prior makes the most interpretable images?",
        PRIORS,
        {
            **{"layers": ("relu7",), "canvases": ("fourier",), "prior_weights": (0.03, 0.3), "steps": 40},
            **{"count": 20, "bank": 40, "learned": 300, "seed": OPENED},
        },
        "choices.png",
        "equal-error-*.csv",
    ),
}
"""By their names among the options, in the order of the page."""


def study_all(config: StudyAll, tell: Tell) -> Outcome:
    """Run the studies that are not there yet, and leave the page.

    Raises OutputError: a study's folder holds another run. Whatever else a study refuses, such as a network
    that reads no poses, is told on the page, and the others go on.
    """
    names = config.studies or tuple(STUDIES)
    with RunDir(config.out, run_facts(config, {}), config.overwrite) as run:
        found, missing, runs = dict[str, dict[str, Any]](), dict[str, str](), dict[str, Output]()
        for name in names:
            try:
                runs[name] = STUDIES[name].config(config, name)
                tell(f"{name}: {made_by(runs[name])}")
                found[name] = _facts(runs[name], config.overwrite, tell)
            except OutputError:
                raise
            except NetinvertError as error:
                missing[name] = str(error)
                tell(f"{name} could not be measured: {error}")
        if not found:
            raise ConfigError(f"nothing could be measured: {next(iter(missing.values()))}")
        page = answers_page(config, runs, found, missing)
        entries = {
            "answers": {name: one.get(ANSWER) for name, one in found.items()},
            "missing": missing,
            "studies": {name: one["run"]["identity"] for name, one in found.items()},
        }
        said = [f"{STUDIES[name].question}\n{plain(str(one[ANSWER]))}" for name, one in found.items()]
        text = "\n\n".join(said)
        return publish(run, config, page, entries, text)


def _facts(config: Output, overwrite: bool, tell: Tell) -> dict[str, Any]:
    """The manifest of a study, which is made unless it is there; another run in its place may be replaced."""
    try:
        return dict(commands.perform(config, tell).facts)
    except FinishedError:
        return dict(read_json(config.manifest_file))
    except OutputError:
        if not overwrite:
            raise
        return dict(commands.perform(replace(config, overwrite=True), tell).facts)


def answers_page(
    config: StudyAll,
    runs: Mapping[str, Output],
    found: Mapping[str, Mapping[str, Any]],
    missing: Mapping[str, str],
) -> report.Report:
    """Questions, answers and a figure each; then where everything comes from."""
    lead = "\n\n".join(f"**{STUDIES[name].question}** {one[ANSWER]}" for name, one in found.items())
    shown = list[report.Part]()
    for name in found:
        study, folder = STUDIES[name], runs[name].out
        shown += [f"## {study.question}", _figure(folder / study.figure)]
        shown += [_table(path) for path in sorted(folder.glob(study.tables))]
        shown.append(
            f"By {report.code(made_by(runs[name]))}: pictures, all other tables, and a row for every chair "
            f"or image lie in the folder beside this one whose name ends in {report.code('-' + name)}."
        )
    lacking = [f"{STUDIES[name].question} {why}" for name, why in missing.items()]
    return report.Report.of(
        f"What the codes of {config.network} tell of 3-D orientation",
        lead,
        *shown,
        ["## Not measured", report.Points(lacking)] if lacking else None,
    )


def _figure(path: Path) -> ImageGrid | None:
    if not path.is_file():
        return None
    grid = ImageGrid.flow([Tile(Image.open(path), name="")], across=1)
    return replace(grid, size=WIDE, longest=2 * WIDE, name=f"figure-{path.stem}")


def _table(path: Path) -> Table:
    """As it was written: a value that has an interval is beside it in columns of their own."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    heads = [one for one in rows[0] if not one.endswith((" low", " high", " spread"))] if rows else []
    values = [[_value(row, head) for head in heads] for row in rows]
    columns = [
        Column(HEADS.get(head, head), digits=4 if head in P_VALUES else None, key=head) for head in heads
    ]
    return Table(columns, values, path.stem.replace("-", " "), name=path.stem)


def _value(row: Mapping[str, str], head: str) -> report.Value:
    value, *ends = (_number(row.get(name, "")) for name in (head, f"{head} low", f"{head} high"))
    if not isinstance(value, float):
        return value
    low, high = (one if isinstance(one, float) else None for one in ends)
    if low is None:
        return int(value) if row[head].isdigit() else value
    return Estimate(value, low, high)


def _number(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text
