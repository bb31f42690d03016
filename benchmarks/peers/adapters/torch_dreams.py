"""torch-dreams 4.0.0. Patched at run time: nothing for drift; ``caricature`` gets another loss.

``caricature`` is its way to bring out a picture's own activations. It is the only one that transforms both
pictures alike; its loss is a dot product over the target's norm, for which the mean squared difference
stands in, since a dot product never stops growing. Its image parameter always feeds ImageNet's
normalisation (a custom one is not respected by ``caricature``), so other networks are wrapped.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch_dreams.dreamer
from torch import Tensor, nn
from torch_dreams import AutoImageParam, Dreamer

from peers.case import Case, normalise
from peers.recorder import Recorder

FOREVER = 10**9


class MeanSquared:
    """In place of its CaricatureLoss."""

    def __init__(self, power: float) -> None:
        pass

    def forward(self, layer_outputs: list[Tensor], ideal_layer_outputs: list[Tensor]) -> Tensor:
        """The mean squared difference of the first layer."""
        return (layer_outputs[0] - ideal_layer_outputs[0].detach()).square().mean()


def standard(case: Case, recorder: Recorder) -> None:
    """``caricature`` with its defaults."""
    torch_dreams.dreamer.CaricatureLoss = MeanSquared
    module = case.module(frozen=False)
    dreamer = Dreamer(module, quiet=True, device="cpu")
    with recorder.watching(_shown(case)):
        dreamer.caricature(normalise(case.image), [case.layer_of(module)], iters=FOREVER)


def plain(case: Case, recorder: Recorder) -> None:
    """``render`` with its defaults, transforms off, against the fixed code."""
    module = case.module(frozen=True)
    target = case.code(module)
    dreamer = Dreamer(module, quiet=True, device="cpu")
    dreamer.set_custom_transforms(nn.Identity())

    def difference(outputs: list[Tensor]) -> Tensor:
        return (outputs[0] - target).square().mean()

    with recorder.watching(_shown(case)):
        dreamer.render(
            [case.layer_of(module)], width=case.size, height=case.size, iters=FOREVER, custom_func=difference
        )


def _shown(case: Case) -> Callable[[Tensor], Tensor]:
    image = AutoImageParam(case.size, case.size, "cpu", 0.01)

    def shown(parameter: Tensor) -> Tensor:
        image.param = parameter
        with torch.no_grad():
            return image.postprocess("cpu")

    return shown
