"""The method of ``inverted_representation.py`` of utkuozbulak/pytorch-cnn-visualizations, written anew.

With the settings of the script: faint noise in normalised pixels, SGD, the relative squared difference of
the codes times 0.1, α-norm and TV next to nothing. The script's TV compares channels with channels by a slip
of axes; here it compares neighbouring pixels, as its text says. It also writes a picture every five steps,
which is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from peers.case import Case, denormalise, normalise
from peers.recorder import Recorder

STEPS = 201
RATE, MOMENTUM = 1e4, 0.9
DROP, EVERY = 0.1, 40
CODE_WEIGHT, ALPHA_WEIGHT, TV_WEIGHT = 1e-1, 1e-7, 1e-8


def standard(case: Case, recorder: Recorder) -> None:
    """All 201 steps, or as many as the time allows."""
    case.network.module.requires_grad_(True)
    cut = case.part()
    with recorder.watching(denormalise):
        pixels = (0.1 * torch.randn(case.image.shape)).requires_grad_(True)
        optimizer = torch.optim.SGD([pixels], lr=RATE, momentum=MOMENTUM)
        target = cut(normalise(case.image)).detach()
        for step in range(STEPS):
            optimizer.zero_grad()
            difference = (cut(pixels) - target).square().sum() / target.square().sum()
            loss = (
                CODE_WEIGHT * difference + ALPHA_WEIGHT * pixels.pow(6).sum() + TV_WEIGHT * _variation(pixels)
            )
            loss.backward()
            optimizer.step()
            if step % EVERY == 0:
                optimizer.param_groups[0]["lr"] *= DROP
    recorder.last(denormalise(pixels))


def _variation(x: Tensor) -> Tensor:
    down = x[..., :-1, :-1] - x[..., 1:, :-1]
    right = x[..., :-1, :-1] - x[..., :-1, 1:]
    return (down.square() + right.square()).sum()
