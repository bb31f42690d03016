"""``netinvert views morph``: what a generator draws between two of its objects, to look at, and how it
differs from a mixture of the two images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.readers import PoseReader
from netinvert.evaluation.report import Column, Heading, ImageGrid, Panel, Plot, Series, code
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.configs.views import ViewsMorph
from netinvert.experiments.runs import publish, run_facts
from netinvert.experiments.views.draw import film, opened, telling, there_and_back
from netinvert.experiments.views.evaluate import PAPER_COLOUR, pose_readers
from netinvert.io.cells import Cells
from netinvert.io.files import Tell, write_atomic
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.generator import Generator
from netinvert.scenes.cameras import rotation_from_angles
from netinvert.scenes.dataset_config import RING
from netinvert.training.views.train import view_errors
from netinvert.views.mixtures import line_between
from netinvert.views.truth import on_paper

DRAWN, MIXED, ENDS = "between two, drawn", "between two, their images mixed", "the two themselves, drawn"
QUARTERS = 4
"""Steps of the morphs that are measured: what lies between is measured at 1/4, 1/2 and 3/4."""
SHOWN = 4
"""Pairs on the sheet."""


@dataclass(frozen=True, eq=False)
class MorphedPairs:
    """``pairs`` (P, 2) of a generator's objects, each from a side of its own, ``views`` (P, 2) of azimuth and
    elevation, and what is ``drawn`` along the line between their embeddings, (P, QUARTERS + 1, 4, H, W)."""

    pairs: Tensor
    views: Tensor
    drawn: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, generator: Generator, count: int, seed: int) -> MorphedPairs:
        """So many pairs, drawn by a seed."""
        source, objects = torch.Generator().manual_seed(seed), generator.module.form.identities
        pairs = torch.stack([torch.randperm(objects, generator=source)[:2] for _ in range(count)])
        views = torch.tensor(RING)[torch.randint(len(RING), (count,), generator=source)]
        drawn = []
        for pair, view in zip(pairs, views.tolist(), strict=True):
            first, second = generator.embedded(pair).unbind(0)
            drawn.append(generator.layers(line_between(first, second, QUARTERS), *view))
        return cls(pairs, views, torch.stack(drawn))

    @property
    def mixed(self) -> Tensor:
        """The images of both ends, with their masks, in the same shares as what is drawn."""
        share = torch.linspace(0, 1, QUARTERS + 1)[:, None, None, None]
        return torch.lerp(self.drawn[:, :1], self.drawn[:, -1:], share)

    def answers(self) -> dict[str, Tensor]:
        """By name, what is measured: (P, K, 4, H, W)."""
        return {
            DRAWN: self.drawn[:, 1:-1],
            MIXED: self.mixed[:, 1:-1],
            ENDS: self.drawn[:, [0, -1]],
        }


def half_there(planes: Tensor) -> Tensor:
    """How much of an object is neither there nor not, of planes (N, 4, H, W): 2 m (1 − m) over m of the mask
    m, (N,), which is 0 where each pixel is decided, and 1 where all are one half.

    >>> half_there(torch.full((1, 4, 2, 2), 0.5)).item()
    1.0
    """
    mask = planes[:, 3].flatten(1).double()
    return (2 * mask * (1 - mask)).sum(1) / mask.sum(1).clamp_min(1e-9)


def morph_objects(config: ViewsMorph, tell: Tell) -> Outcome:
    """Draw; leave a sheet, a GIF there and back, and a report with a slider; with ``pairs`` also figures.

    Raises:
        NetworkError: no such generator.
        CodeError: it has no such object.
        MissingExtraError: with ``pairs``, without the extra scenes.
    """
    generator, known = opened(config, config.objects)
    with telling(tell), RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        first, second = generator.embedded(list(config.objects)).unbind(0)
        line = line_between(first, second, config.steps)
        planes = generator.layers(line, config.azimuth, config.elevation)
        images = on_paper(planes)
        write_atomic(run.path("morph.gif"), there_and_back(images))
        shares = [k / config.steps for k in range(config.steps + 1)]
        moving = film(images, config.steps)
        mixed = torch.stack([torch.lerp(planes[0], planes[-1], share) for share in shares])
        answers = {"drawn": planes, "the two images, mixed": mixed}
        steps = (images[1:] - images[:-1]).abs().mean((1, 2, 3))
        plot = Plot(
            [
                Panel(
                    [_distance(name, made, planes, shares) for name, made in answers.items()],
                    x_label="share of the second object",
                    y_label="L1 to the nearer of the two, on the object",
                )
            ],
            name="distances",
        )
        even = (steps.max() / steps.mean().clamp_min(1e-9)).item()
        names = report.listed([str(one) for one in config.objects])
        lead = (
            f"Objects {names} of {code(generator.name)}, and {config.steps - 1} between them. "
            f"The largest step changes {even:.1f} times as much as the mean one."
        )
        tiles = [tile for row in moving.rows for tile in row.tiles]
        sheet = replace(ImageGrid.flow(tiles), name="sheet", size=128)
        parts: list[report.Block] = [
            *_many(config, generator, Cells(run)),
            moving,
            Heading("Beside a mixture of the two images"),
            plot,
            Heading("All"),
            sheet,
        ]
        told = next((one.text() for one in parts if isinstance(one, report.Table)), lead)
        page = report.Report("A morph", parts, lead)
        return publish(run, config, page, {**known, "largest_step": even}, told)


def _distance(name: str, made: Tensor, planes: Tensor, shares: Sequence[float]) -> Series:
    """How far images are from the nearer end."""
    ends = [view_errors(made, end.expand_as(made))["l1_on_object"] for end in (planes[0], planes[-1])]
    return Series(name, list(shares), torch.minimum(*ends), marker="o")


def _many(config: ViewsMorph, generator: Generator, kept: Cells) -> list[report.Block]:
    """Of ``config.pairs`` pairs: are there two ghosts between them, or one object in the pose asked for?"""
    if config.pairs is None:
        return []
    morphed, readers = (
        MorphedPairs.of(generator, config.pairs, config.seed),
        pose_readers(kept, config.learned),
    )
    found = {name: _measured(planes, morphed.views, readers) for name, planes in morphed.answers().items()}
    table = _table(found, readers)
    said = (
        f"{config.pairs} pairs, each from a side of its own, at 1/4, 1/2 and 3/4 of the way. Half there: of "
        "the mask m, 2 m (1 − m) over m: 0 where each pixel is the object's or is not, 1 where all are one "
        "half. Poses: the median error of what readers see, against the view asked for, as if no object had "
        "a symmetry. Intervals are of the bootstrap over pairs."
    )
    rows = {
        f"objects {one} and {other}, {how}": [*on_paper(planes[k])]
        for k, (one, other) in enumerate(morphed.pairs[:SHOWN].tolist())
        for how, planes in (("drawn", morphed.drawn), ("their images mixed", morphed.mixed))
    }
    shares = [f"{k / QUARTERS:.2f}" for k in range(QUARTERS + 1)]
    grid = ImageGrid.of(rows, shares, name="pairs", size=128)
    return [
        Heading("What lies between two"),
        table,
        report.Prose(said, quiet=True),
        grid,
        Heading("One pair"),
    ]


def _measured(planes: Tensor, views: Tensor, readers: Sequence[PoseReader]) -> dict[str, Tensor]:
    """Figures of (P, K, 4, H, W), pair after pair, (P · K,)."""
    each = planes.flatten(0, 1)
    azimuth, elevation = views.repeat_interleave(planes.shape[1], 0).unbind(1)
    rotation = rotation_from_angles(azimuth, elevation, torch.zeros(len(each)))
    symmetry = torch.ones(len(each), dtype=torch.int64)
    images = on_paper(each, PAPER_COLOUR)
    poses = {one.name: one.errors(images, rotation, symmetry) for one in readers}
    return {"half": half_there(each), **poses}


def _table(found: Mapping[str, Mapping[str, Tensor]], readers: Sequence[PoseReader]) -> report.Table:
    """A row what is shown; the first two also against one another, paired."""
    rows: list[list[report.Value]] = []
    for name, values in found.items():
        count = len(values["half"]) // (QUARTERS - 1 if name != ENDS else 2)
        groups = torch.arange(count).repeat_interleave(len(values["half"]) // count)
        less = None if name != DRAWN else difference(values["half"], found[MIXED]["half"], groups)
        medians = [estimate(values[one.name], groups, "median") for one in readers]
        rows.append([name, estimate(values["half"], groups), less, *medians])
    columns = [
        Column("images"),
        Column("half there", digits=2, key="half"),
        Column("less the mixture", digits=2, key="more", about="paired"),
        *(Column(one.name, "°", digits=1) for one in readers),
    ]
    return report.Table(columns, rows, name="between", baselines=[1, 2])
