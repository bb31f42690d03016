"""``netinvert maximise`` and ``netinvert caricature``; the images of a goal are a cell."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import ConfigError, ImageError
from netinvert.evaluation.evaluate import Attained, Record, encode_images, grey_image
from netinvert.evaluation.save_results import RERUN
from netinvert.experiments.configs.images import CaricatureConfig, Maximise
from netinvert.experiments.explain.top import Patches, mosaic
from netinvert.experiments.inputs import (
    Source,
    image_paths,
    is_code_file,
    names_of,
    open_network,
    read_inputs,
    read_start,
    sources_of,
    unique_stems,
)
from netinvert.experiments.invert import Asked, Batch, ImageWork, Measure, run_images, with_precision_here
from netinvert.explain.top_patches import Tops
from netinvert.inversion.invert import Inversion, in_precision, prepare_maximising
from netinvert.inversion.objectives import Activate, Caricature, PoseTowards, Term, one_layer, term_name
from netinvert.inversion.presets.by_name import maximising_recipe
from netinvert.inversion.presets.yosinski15 import stretched
from netinvert.inversion.schedule import Recipe
from netinvert.inversion.units import class_index, parse_objective
from netinvert.io.assets import photographs
from netinvert.io.codes import read_code
from netinvert.io.files import Tell
from netinvert.io.images import write_png
from netinvert.io.manifest import Outcome
from netinvert.io.pieces import Unit
from netinvert.io.rundir import RunDir
from netinvert.models.encoder import Encoder
from netinvert.models.zoo.mobile import class_names

Asking = Maximise | CaricatureConfig
ABOUT = {
    Activate: "as the network gives it (of a channel, the mean over its positions), beside that of a grey "
    "image and the largest of netinvert's photographs",
    Caricature: "the part of the code in the direction of the original's, which itself has 1, less what is "
    "new",
    PoseTowards: "how far the network's output is from saying the pose: 0 says it exactly",
}
"""What is attained of objectives."""
BESIDE = "the best image beside"
"""The floor of ``--beside``."""


@dataclass(frozen=True, eq=False)
class Goal:
    """What is to be made large: its file's name; the ``original`` (1, C, H, W) that it is of, if any."""

    name: str
    objective: Term
    original: Tensor | None = None


# -- what is asked for ---------------------------------------------------------------------------------


def goals_of(config: Unit, encoder: Encoder) -> list[Goal]:
    """What the options of a unit mean for an encoder. Raises ConfigError, CodeError."""
    if config.direction is not None:
        goals = _directions(encoder, config.direction)
    else:
        goals = [Goal(name, parse_objective(encoder, text)) for name, text in _texts(config, encoder)]
    names = [goal.name for goal in goals]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice} is asked for twice; use --restarts for several images of it")
    return goals


def _texts(config: Unit, encoder: Encoder) -> list[tuple[str, str]]:
    """A file's name and the objective as text."""
    if config.channel and config.at is None:
        return [(f"channel-{k}", f"channel:{k}") for k in config.channel]
    if config.channel:
        if config.at != "centre" and not re.fullmatch(r"\d+(,\d+)*", str(config.at)):
            raise ConfigError(f"--at takes 'centre' or whole numbers, ROW,COLUMN, got '{config.at}'")
        place = "" if config.at == "centre" else f"@{config.at}"
        return [(f"neuron-{k}", f"neuron:{k}{place}") for k in config.channel]
    if config.azimuth:
        return [(f"azimuth-{angle:g}", f"azimuth:{angle!r}@{config.elevation!r}") for angle in config.azimuth]
    if config.classes:
        return [(_class_name(encoder, text), f"class:{text}") for text in config.classes]
    return [(re.sub(r"[^\w.-]+", "-", text).strip("-.")[:60], text) for text in config.objective]


def _class_name(encoder: Encoder, text: str) -> str:
    if text.isdecimal():
        return f"class-{text}"
    return class_names()[class_index(encoder, text)].replace(" ", "-").replace("/", "-")


def _directions(encoder: Encoder, path: Path) -> list[Goal]:
    codes = encoder.check_code(read_code(path).to(encoder.device))
    names = unique_stems([path.with_name(f"{name}.code") for name in names_of(path.stem, len(codes))])
    return [Goal(name, Activate(row[None])) for name, row in zip(names, codes, strict=True)]


# -- how it is done ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Maximiser:
    """Goals, and how an encoder reaches them; ``start`` (1, C, H, W) for all, unless they have their own."""

    config: Asking
    encoder: Encoder
    recipe: Recipe
    goals: Sequence[Goal]
    sources: tuple[Source, ...]
    start: Tensor | None = None
    beside: Patches | None = None

    def prepare(self, batch: Batch) -> tuple[Inversion, Measure]:
        """The images of a goal."""
        goal, start = self.goals[batch.first], self.start
        if isinstance(self.config, CaricatureConfig) and not self.config.from_noise:
            start = goal.original
        told = Measure(term_name(goal.objective), lambda image: self.attained(goal, self.encoder(image)))
        return prepare_maximising(self.encoder, goal.objective, self.recipe, start, len(batch.seeds)), told

    def attained(self, goal: Goal, code: Tensor) -> Tensor:
        """How much of a goal there is in codes (N, ...), (N,): as the network gives it."""
        value = goal.objective(code, code)  # these objectives look at the code alone
        return value if isinstance(goal.objective, PoseTowards) else -value

    def judged(self, record: Record, folder: RunDir) -> tuple[Record, Mapping[str, object]]:
        """With what was attained, the next steps, and images that can be seen."""
        other = "maco" if self.config.preset == "default" else "default"
        changed = dataclasses.replace(
            self.config, preset=other, prior=None, steps=None, out=Path(f"out/{other}"), overwrite=False
        )
        count = len(record.samples) // len(self.goals)
        natural = {} if self.beside is None else {BESIDE: self._natural(self.beside, folder)}
        codes = torch.split(one_layer(record.result.code, "an activation"), count)
        record = dataclasses.replace(
            record,
            attained=_attained(self, codes, natural),
            steps_to_take=((f"Another method, the preset {other}:", changed.command_line()), RERUN),
            what="image" if record.originals is None else "caricature",
        )
        if self.recipe.unnormalised:  # ends where its steps end: often in images that differ little from grey
            images = stretched(record.result.image, self.encoder.centre)
            for sample, image in zip(record.samples, images, strict=True):
                write_png(image, folder.path(f"{sample.name}-stretched.png"))
            record = record.showing(images, "the images are shown stretched to the whole range of pixels")
        return record, {}

    @torch.no_grad()
    def _natural(self, beside: Patches, folder: RunDir) -> list[float]:
        """The most that an image beside has of each goal; leaves a picture of the nine that have most."""
        tops: Tops | None = None
        for numbers, images in beside.batches(self.encoder, 0, len(beside.names), self.config.batch):
            code = self.encoder(images)
            own = Tops.of(torch.stack([self.attained(goal, code) for goal in self.goals], 1), 0)
            own = dataclasses.replace(own, images=torch.tensor(numbers)[own.images])
            tops = own if tops is None else tops.with_later(own)
        assert tops is not None
        for goal, row in zip(self.goals, tops.images.tolist(), strict=True):
            shown = [beside.image(self.encoder, at)[0] for at in row]
            write_png(mosaic(shown), folder.path(f"{goal.name}-natural.png"))
        best: list[float] = tops.values[:, 0].tolist()
        return best


def maximiser(config: Asking, tell: Tell = lambda text: None) -> Maximiser:
    """With what the options name, read and checked. Raises NetinvertError."""
    encoder = Encoder(open_network(config, config.device, tell), config.layer)
    how = maximising_recipe(config.preset, encoder, config.prior)
    how = how if config.steps is None else how.with_steps(config.steps)
    how = in_precision(how, encoder, config.precision)
    if isinstance(config, CaricatureConfig):
        if is_code_file(config.input):
            raise ImageError(f"{config.input} holds a code; a caricature is drawn of an image")
        inputs = read_inputs(config.input, encoder, tell=tell)
        assert inputs.originals is not None
        rows = zip(inputs.stems, torch.split(inputs.codes, 1), torch.split(inputs.originals, 1), strict=True)
        goals = [Goal(stem, Caricature(code, config.power), image) for stem, code, image in rows]
        return Maximiser(config, encoder, how, goals, inputs.sources)
    start = None if config.start is None else read_start(config.start, encoder)
    goals = goals_of(config, encoder)
    named = {"direction": config.direction, "start": config.start}
    sources = tuple(one for option, path in named.items() if path for one in sources_of(option, [path]))
    if config.beside is None:
        return Maximiser(config, encoder, how, goals, sources, start)
    if not isinstance(goals[0].objective, Activate):
        raise ConfigError("--beside compares activations; leave it out with --azimuth")
    beside = Patches(tuple(map(str, image_paths(config.beside, tell))))
    beside.first_usable(encoder)
    sources += sources_of("beside", [Path(name) for name in beside.names])
    return Maximiser(config, encoder, how, goals, sources, start, beside)


def run_maximise(config: Asking, tell: Tell) -> Outcome:
    """Do it. Raises NetinvertError before any long work."""
    job = maximiser(config, tell)
    restarts = config.restarts if isinstance(config, Maximise) else 1
    seeds = tuple(range(config.seed, config.seed + restarts))
    originals = [goal.original for goal in job.goals if goal.original is not None]
    asked = Asked(
        [goal.name for goal in job.goals],
        [Batch(k, seeds) for k in range(len(job.goals))],
        "goals",
        job.sources,
        restarts,
        torch.cat(originals) if originals else None,
        start=job.start,
    )
    taken = with_precision_here(config, job.encoder)
    return run_images(config, ImageWork(partial(maximiser, taken), job), asked, tell)


def _attained(
    how: Maximiser, codes: Sequence[Tensor], natural: Mapping[str, list[float]] | None = None
) -> Attained:
    """What was attained of each goal, and what a grey image and netinvert's photographs have of it."""
    values = [how.attained(goal, code).tolist() for goal, code in zip(how.goals, codes, strict=True)]
    encoder = how.encoder
    with torch.no_grad():
        grey = encoder(grey_image(encoder))
    floors = {"grey image": [how.attained(goal, grey).item() for goal in how.goals]}
    objective = how.goals[0].objective
    if isinstance(objective, Activate) and encoder.preprocessing.channels in (1, 3):
        images = photographs(encoder.size, encoder.preprocessing.channels)[1]
        seen = encode_images(encoder, torch.split(images, 1))
        floors["best photograph"] = [how.attained(goal, seen).max().item() for goal in how.goals]
    floors |= natural or {}
    spread = {name: [value for value in row for _ in codes[0]] for name, row in floors.items()}
    about = next(text for kind, text in ABOUT.items() if isinstance(objective, kind))
    flat = [value for row in values for value in row]
    return Attained(term_name(objective), about, flat, spread, more=not isinstance(objective, PoseTowards))
