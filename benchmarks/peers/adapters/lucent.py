"""lucent (torch-lucent 0.1.8). Patched at run time, all of it drift of its dependencies:

* its ``misc.io`` imports IPython only to show pictures: an empty module stands in;
* ``kornia.get_rotation_matrix2d`` and ``kornia.warp_affine`` have moved to ``kornia.geometry.transform``.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import kornia
import kornia.geometry.transform
import torch
from torch import Tensor

from peers.case import Case
from peers.recorder import Recorder

FOREVER = 10**9
QUIET = {"thresholds": (FOREVER,), "progress": False, "show_image": False}
Canvas = Callable[[], Tensor]


def _patch() -> None:
    display = types.ModuleType("IPython.display")
    package = types.ModuleType("IPython")
    package.display = display  # type: ignore[attr-defined]
    sys.modules.setdefault("IPython", package)
    sys.modules.setdefault("IPython.display", display)
    for name in ("get_rotation_matrix2d", "warp_affine"):
        if not hasattr(kornia, name):
            setattr(kornia, name, getattr(kornia.geometry.transform, name))


_patch()
from lucent.optvis import objectives, param, render  # noqa: E402


def standard(case: Case, recorder: Recorder) -> None:
    """Its standard transforms. The original is stacked under the picture and transformed with it.

    So does its notebook on feature inversion, for transformed pictures have codes of other shapes.
    """
    layer = _name(case)
    objective = objectives.Objective(lambda at: (at(layer)[0] - at(layer)[1]).square().mean())
    canvas: list[Canvas] = []

    def stacked() -> tuple[list[Tensor], Canvas]:
        parameters, image = param.image(case.size)
        canvas.append(image)
        return parameters, lambda: torch.cat([image(), case.image])

    with recorder.watching(lambda _: canvas[0]()):
        render.render_vis(case.module(frozen=False), objective, stacked, **QUIET)


def plain(case: Case, recorder: Recorder) -> None:
    """Transforms off, one picture against the fixed code."""
    layer = _name(case)
    module = case.module(frozen=True)
    target = case.code(module)
    objective = objectives.Objective(lambda at: (at(layer) - target).square().mean())
    canvas: list[Canvas] = []

    def alone() -> tuple[list[Tensor], Canvas]:
        parameters, image = param.image(case.size)
        canvas.append(image)
        return parameters, image

    with recorder.watching(lambda _: canvas[0]()):
        render.render_vis(module, objective, alone, transforms=[], **QUIET)


def _name(case: Case) -> str:
    return "network_" + case.layer.replace(".", "_")
