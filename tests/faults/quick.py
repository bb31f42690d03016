"""What makes small commands quick in one process: nothing is drawn, loaded or rendered twice, or timed."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from netinvert.evaluation import evaluate
from netinvert.evaluation.report import ImageGrid
from netinvert.experiments import attribute_series, demo_cells, held_out_chairs
from netinvert.experiments.codes import study
from netinvert.experiments.commands import COMMANDS
from netinvert.inversion.result import Checkpoint
from netinvert.io.config import imported
from netinvert.models import decoder, registry
from netinvert.scenes import dataset_reader
from netinvert.training.decoder import train
from netinvert.training.pose import evaluation

DEMO = (("fc8", "tv-isotropic"), ("blocks.7", "none"))
"""Layers and priors of the codes that are left of the demo's."""


def quickened() -> None:
    """This process and its forks; also, checkpoints are always due, and there are no logs for TensorBoard."""
    for command in COMMANDS.values():
        imported(command.run)
    blank = io.BytesIO()
    Image.new("L", (1, 1)).save(blank, "PNG")
    Figure.savefig = lambda self, file, **options: file.write(blank.getvalue())
    ImageGrid.png = lambda self: blank.getvalue()
    ConstrainedLayoutEngine.execute = lambda self, figure: None
    Checkpoint.due = lambda self: True
    # Seconds are in tables, and from there in pages.
    time.perf_counter = time.process_time = lambda: 0.0
    sys.modules["torch.utils.tensorboard"] = None
    torch.set_num_threads(1)
    for made in (
        dataset_reader.background_pool,
        held_out_chairs.fresh_chairs,
        evaluation.fresh_views,
        attribute_series.render_chairs,
        registry.load_network,
        decoder.load_decoder,
    ):
        _replace(made, _kept(made))
    _replace(train.milliseconds, lambda *settings: 0.0)
    _replace(evaluate.held_out_estimator, _kept(evaluate.held_out_estimator, lambda one: one.network.name))
    codes = [one for one in demo_cells.demo_codes() if (one.layer, one.prior) in DEMO]
    _replace(demo_cells.demo_codes, lambda: codes)
    study.MANY = 4


def _kept(make: Callable[..., Any], key: Callable[..., object] = lambda *words: words) -> Callable[..., Any]:
    """The same, made once for each key."""
    found: dict[object, Any] = {}

    def get(*words: Any, **options: Any) -> Any:
        name = (key(*words), tuple(options.items()))
        if name not in found:
            found[name] = make(*words, **options)
        return found[name]

    return get


def _replace(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Under its name in every module that has it."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("netinvert"):
            for name, value in list(vars(module).items()):
                if value is old:
                    setattr(module, name, new)
