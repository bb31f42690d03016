"""``netinvert study priors``: which prior makes the most interpretable images, at equal code error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import ConfigError, NetworkError
from netinvert.evaluation.evaluate import shipped_reference
from netinvert.evaluation.report import ImageGrid, code, counted
from netinvert.evaluation.report.table import plain
from netinvert.experiments.configs.studies import StudyPriors
from netinvert.experiments.explain.top import mosaic
from netinvert.experiments.inputs import open_network
from netinvert.experiments.inversions import Reconstructions, Targets, Wanted, invert_all
from netinvert.experiments.prior_measures import (
    ALIKE,
    NINE,
    Curve,
    Judges,
    NaturalImages,
    baselines_of,
    common_place,
    judges_of,
    natural_codes,
)
from netinvert.experiments.prior_report import SHOWN_PICTURES, PriorStudy, priors_page
from netinvert.experiments.runs import ANSWER, file_part, images_known, network_facts, publish, run_facts
from netinvert.experiments.sweep import NONE, Setting, grid_settings, weights_of
from netinvert.inversion.objectives import Match
from netinvert.io.cells import Cell, Cells
from netinvert.io.files import Tell, write_atomic
from netinvert.io.images import write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.encoder import Encoder

FIVE = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Weights that are tried of a prior, times its own, where the user names none."""
TWO_CANVASES = ("fourier", "pixels")

Judged = tuple[Setting, Reconstructions, Mapping[str, Tensor]]


def curves_of(layer: str, judged: Sequence[Judged], pictures: Tensor) -> list[Curve]:
    """By canvas and prior; each begins with what no prior makes on its canvas. What failed is left out."""
    known = [row for row in judged if row[1].images is not None]
    curves = []
    for prior, canvas in dict.fromkeys((one.prior, one.canvas) for one, *_ in known if one.prior != NONE):
        some = [row for row in known if row[0].canvas == canvas and row[0].prior in (NONE, prior)]
        some.sort(key=lambda row: _weight(row[0]))
        curves.append(
            Curve(
                layer,
                prior,
                str(canvas),
                tuple(_weight(one) for one, *_ in some),
                torch.tensor([_errors(each) for _, each, _ in some], dtype=torch.float64),
                {name: torch.stack([values[name] for *_, values in some]) for name in some[0][2]},
                pictures,
            )
        )
    return curves


def _errors(found: Reconstructions) -> list[float]:
    """The code errors, NaN where they are unknown."""
    return [math.nan if one is None else one for one in found.measured["ijcv16"]]


def _weight(setting: Setting) -> float:
    """0 without a prior; 1 where it is in the prior's name."""
    return 0.0 if setting.prior == NONE else 1.0 if setting.weight is None else setting.weight


def planned_priors(config: StudyPriors, encoder: Encoder, left_out: dict[str, None]) -> list[Setting]:
    """The settings of a layer, checked. Raises NetinvertError."""
    canvases = config.canvases or TWO_CANVASES
    found = grid_settings(weights_of(config, encoder, left_out, FIVE), canvases)
    for one in found:
        one.choice(config).recipe(encoder)  # refuses what cannot go together
    if all(one.prior == NONE for one in found):
        raise ConfigError("no prior is left to compare: name some with --priors")
    return found


def study_priors(config: StudyPriors, tell: Tell) -> Outcome:
    """Invert everything, ask the judges, and leave the page, a row an image, and pictures for people to
    judge.

    Raises NetinvertError before any long work; NetworkError: nothing could be inverted."""
    network = open_network(config, config.device, tell)
    encoders = [Encoder(network, layer) for layer in config.layers]
    left_out: dict[str, None] = {}
    planned = [planned_priors(config, encoder, left_out) for encoder in encoders]
    for text in left_out:
        tell(f"left out: {text}")
    natural = NaturalImages.of(config, encoders[0], tell)
    targets = []
    for encoder in encoders:
        codes = natural_codes(encoder, natural.images)
        Match(codes)  # refuses codes that cannot be matched
        targets.append(Targets.of(encoder, codes, natural.images, shipped_reference(encoder)))
    own = torch.arange(config.count).repeat_interleave(config.restarts)
    known = {**images_known(encoders[0], natural.sources, natural.names), **network_facts(encoders[0])}
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        kept, layers, floors, skipped = Cells(run), dict[str, list[Curve]](), {}, list[str]()
        judges = judges_of(natural, encoders[0], config, kept, tell)
        for name, image in zip(natural.names, natural.images, strict=True):
            write_png(image, run.path(f"images/{name}.png"))
        files = KeptPictures(run, natural, config.restarts, judges.other.tolist())
        for encoder, target, settings in zip(encoders, targets, planned, strict=True):
            layer, nearest = encoder.layer, natural.nearest(encoder)
            tell(f"{layer}: {counted(len(settings), 'setting')}")
            made = invert_all(run, config, [target], _wanted(config, layer, settings, own), "settings")
            judged = list[Judged]()
            for one, found in zip(settings, made, strict=True):
                ask = partial(_measured, judges, found, own)
                judged.append((one, found, kept.keep(["judged", layer, one.options], ask).tensors))
            failed = [
                f"{one.text}, {one.canvas} at {layer}: {found.failure}"
                for one, found, _ in judged
                if found.failure
            ]
            left_out |= dict.fromkeys(failed)
            if not (curves := curves_of(layer, judged, own)):
                skipped.append(
                    f"{code(layer)}: nothing is claimed, for no prior could be tried ({failed[0]})."
                )
                tell(plain(skipped[-1]))
                continue
            layers[layer] = curves
            floors[layer] = baselines_of(judges, nearest, config.seed)
            files.add(layers[layer], judged)
            nine = [mosaic(list(natural.bank[row])) for row in nearest]
            files.add_natural(layer, nine, floors[layer][NINE])
            files.show(layer)
        if not layers:
            raise NetworkError(f"no prior could be tried at any layer: {next(iter(left_out))}")
        study = PriorStudy(config, layers, floors, tuple(skipped), tuple(left_out))
        write_atomic(run.path("images.csv"), study.every_image(natural.names).csv().encode())
        verdicts = {name: [study.verdict(layer, name) for layer in layers] for name in study.measures}
        entries = {
            **known,
            "inputs": natural.sources,
            "left_out": list(left_out),
            "verdicts": verdicts,
            ANSWER: study.answer,
            "shown": files.rows,
        }
        text = "\n".join(plain(one) for one in (*verdicts[study.measures[0]], *skipped))
        return publish(
            run, config, priors_page(study, files.grids), entries, text, ("html", "md", "csv", "png")
        )


def _wanted(config: StudyPriors, layer: str, settings: Sequence[Setting], own: Tensor) -> list[Wanted]:
    seeds = tuple(config.seed + k for k in range(config.restarts)) * config.count
    return [Wanted(layer, one.choice(config), tuple(own.tolist()), seeds) for one in settings]


def _measured(judges: Judges, found: Reconstructions, own: Tensor) -> Cell:
    return Cell({} if found.images is None else judges.measured(found.images, own))


@dataclass(eq=False)
class KeptPictures:
    """The pictures that a run keeps for people: of every curve the one of each code whose code error is
    nearest to the reference's, from the first seed, and natural ones. ``rows`` say of each which file it is,
    and what the observer makes of it; ``grids`` show the first of each layer."""

    run: RunDir
    natural: NaturalImages
    restarts: int
    others: Sequence[int]
    rows: list[dict[str, Any]] = field(default_factory=list)
    grids: list[ImageGrid] = field(default_factory=list)
    columns: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)

    def add(self, curves: Sequence[Curve], judged: Sequence[Judged]) -> None:
        """A layer's."""
        images = {(one.prior, one.canvas, _weight(one)): found.images for one, found, _ in judged}
        level = curves[0].errors[common_place(curves)]
        for curve in curves:
            for k, place in enumerate(curve.nearest(level)[:: self.restarts].tolist()):
                row, weight = k * self.restarts, curve.weights[place]
                prior = curve.prior if weight else NONE
                made = images[(prior, curve.canvas, weight)]
                assert made is not None
                errors = (curve.errors[place, row].item(), level[row].item())
                alike = [curve.values[one][place, row].item() for one in ALIKE]
                self._keep((curve.layer, curve.name), f"{prior}-{curve.canvas}-{weight:.4g}", made[row], k)
                self.rows[-1] |= dict(zip(("code_error", "level", *ALIKE), (*errors, *alike), strict=True))

    def add_natural(self, layer: str, nine: Sequence[Tensor], values: Mapping[str, Tensor]) -> None:
        """Of each code nine natural images as one, (3, h, w)."""
        for k, image in enumerate(nine):
            self._keep((layer, NINE), "natural", image, k)
            self.rows[-1] |= {one: values[one][k].item() for one in ALIKE}

    def _keep(self, column: tuple[str, str], how: str, image: Tensor, k: int) -> None:
        names = self.natural.names
        file = f"images/{file_part(column[0])}-{file_part(how)}-{names[k]}.png"
        write_png(image, self.run.path(file))
        other = names[self.others[k]]
        facts = zip(
            ("layer", "prior", "picture", "other", "file"), (*column, names[k], other, file), strict=True
        )
        self.rows.append(dict(facts))
        self.columns.setdefault(column, []).append(image.clamp(0, 1))

    def show(self, layer: str) -> None:
        """The grid of a layer."""
        own = {name: images for (where, name), images in self.columns.items() if where == layer}
        shown = {"original": list(self.natural.images), **own}
        rows = {
            name: [images[k] for images in shown.values()]
            for k, name in enumerate(self.natural.names[:SHOWN_PICTURES])
        }
        grid = ImageGrid.of(rows, list(shown), layer)
        self.grids.append(replace(grid, size=128, name=f"pictures-{file_part(layer)}"))
