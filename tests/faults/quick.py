"""What makes small commands quick in one process: what they load, render or measure is made once."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from netinvert.cli import app
from netinvert.evaluation import evaluate
from netinvert.evaluation.report import ImageGrid, Plot
from netinvert.experiments import attribute_measures, attribute_series, demo_cells, held_out_chairs, methods
from netinvert.experiments.codes import study
from netinvert.experiments.commands import COMMANDS
from netinvert.experiments.views import evaluate as view_evaluation
from netinvert.inversion.result import Checkpoint, Result
from netinvert.io import assets
from netinvert.io.config import imported
from netinvert.io.files import fingerprint
from netinvert.models import decoder, registry
from netinvert.models.encoder import Encoder
from netinvert.scenes import dataset_reader, fresh
from netinvert.training.decoder import train
from netinvert.training.views import turntables

DEMO = (("fc8", "tv-isotropic"), ("blocks.7", "none"))
"""Layers and priors of the codes that are left of the demo's."""


def quickened() -> None:
    """This process and its forks. Also, plots and grids of images are blank, nothing is timed, checkpoints
    are always due, and there are no logs for TensorBoard."""
    for command in COMMANDS.values():
        imported(command.run)
    blank = io.BytesIO()
    Image.new("L", (1, 1)).save(blank, "PNG")
    ImageGrid.png = lambda self: blank.getvalue()
    Plot._drawn = lambda self, kind, narrow: blank.getvalue()
    Checkpoint.due = lambda self: True
    # Seconds are in tables, and from there in pages.
    time.perf_counter = time.process_time = lambda: 0.0
    sys.modules["torch.utils.tensorboard"] = None
    torch.set_num_threads(1)
    for made in (
        dataset_reader.background_pool,
        held_out_chairs.fresh_chairs,
        fresh.rendered_views,
        attribute_series.render_chairs,
        registry.load_network,
        decoder.load_decoder,
        assets.photographs,
    ):
        _replace(made, _kept(made))
    ring = turntables.rendered_ring
    _replace(ring, _kept(ring, lambda plan, thing, views=None: (plan.size, thing.name, str(views))))
    readers = view_evaluation.pose_readers  # the others take a while
    _replace(readers, lambda kept, learned: readers(kept, learned)[:1])
    _replace(app.parse, _kept(app.parse, tuple))
    _replace(train.milliseconds, lambda *settings: 0.0)
    _replace(evaluate.held_out_estimator, _kept(evaluate.held_out_estimator, lambda one: one.network.name))
    score = attribute_measures.score_attribute
    _replace(score, _kept(score, lambda encoder, one, *others: one.name))
    reference = evaluate.shipped_reference
    _replace(reference, _kept(reference, lambda one: (one.network.name, one.layer)))
    _replace(evaluate.evaluate_result, _kept(evaluate.evaluate_result, _evaluated))
    _replace(demo_cells.pose_errors, _kept(demo_cells.pose_errors, lambda one, images: fingerprint(images)))
    for name, experiment in study.EXPERIMENTS.items():
        measure = _kept(experiment.measure, lambda subject, config: (config.command, subject.name))
        study.EXPERIMENTS[name] = replace(experiment, measure=measure)
    made = methods.LayerProblem.images
    methods.LayerProblem.images = _kept(made, lambda problem, method, piece, first: (method, first))
    decoder.Decoder.encoder = _kept(decoder.Decoder.encoder, id)
    Encoder.__init__ = _once_each(Encoder.__init__)
    codes = [one for one in demo_cells.demo_codes() if (one.layer, one.prior) in DEMO]
    _replace(demo_cells.demo_codes, lambda: codes)
    study.MANY = 4


def _evaluated(result: Result, encoder: Encoder, originals: Tensor | None, reference: object) -> object:
    """What decides what an evaluation finds."""
    return encoder.network.name, encoder.layer, fingerprint([result.image, originals]), reference is None


def _kept(make: Callable[..., Any], key: Callable[..., object] = lambda *words: words) -> Callable[..., Any]:
    """The same, made once for each key."""
    found: dict[object, Any] = {}

    def get(*words: Any, **options: Any) -> Any:
        name = (key(*words), tuple(options.items()))
        if name not in found:
            found[name] = make(*words, **options), words  # of which there may be ids in the key
        return found[name][0]

    return get


def _once_each(build: Callable[..., None]) -> Callable[..., None]:
    """An initialiser whose objects share what the first of the same arguments has made."""
    found: dict[object, Any] = {}

    def init(self: Any, network: Any, *words: Any, **options: Any) -> None:
        name = (id(network), repr((words, options)))
        if name not in found:
            build(self, network, *words, **options)
            found[name] = dict(vars(self)), network
        vars(self).update(found[name][0])

    return init


def _replace(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Under its name in every module that has it."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("netinvert"):
            for name, value in list(vars(module).items()):
                if value is old:
                    setattr(module, name, new)
