"""Horama 0.3.0, nothing patched: its Fourier method. (MaCo needs a spectrum that it downloads.)"""

from __future__ import annotations

from collections.abc import Callable

import horama
import torch
from horama.fourier_fv import fourier_preconditionner, get_fft_scale, init_lucid_buffer
from torch import Tensor

from peers.case import Case, denormalise
from peers.recorder import Recorder

FOREVER = 10**9
RANGE = (-2.5, 2.5)
"""Its range of normalised pictures."""
RATE = 1.0
DECAY = 1.5
WHOLE = (1.0, 1.0)


def standard(case: Case, recorder: Recorder) -> None:
    """``fourier`` with its defaults, but crops as large as the picture, which has the network's size."""
    objective = _objective(case, frozen=False)
    size = case.size
    with recorder.watching(_shown(case)):
        horama.fourier(
            objective,
            total_steps=FOREVER,
            image_size=size,
            model_input_size=size,
            box_size=WHOLE,
            device="cpu",
        )


def plain(case: Case, recorder: Recorder) -> None:
    """Its canvas and optimiser, on the picture itself."""
    objective = _objective(case, frozen=True)
    with recorder.watching(_shown(case)):
        spectrum = init_lucid_buffer(case.size, case.size).requires_grad_(True)
        scale = get_fft_scale(case.size, case.size, DECAY)
        optimizer = torch.optim.NAdam([spectrum], lr=RATE)
        while True:
            optimizer.zero_grad()
            image = fourier_preconditionner(spectrum, scale, RANGE, torch.device("cpu"))
            (-objective(image[None])).backward()
            optimizer.step()


def _objective(case: Case, frozen: bool) -> Callable[[Tensor], Tensor]:
    module = case.module(frozen)
    target = case.code(module)
    found: dict[str, Tensor] = {}
    case.layer_of(module).register_forward_hook(lambda _, __, out: found.update(code=out))

    def objective(images: Tensor) -> Tensor:
        module(images)
        return -(found["code"] - target).square().mean()

    return objective


def _shown(case: Case) -> Callable[[Tensor], Tensor]:
    scale = get_fft_scale(case.size, case.size, DECAY)

    def shown(spectrum: Tensor) -> Tensor:
        with torch.no_grad():
            return denormalise(fourier_preconditionner(spectrum, scale, RANGE, torch.device("cpu")))

    return shown
