"""Canvases by name, and recipes on other canvases than their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netinvert.canvas import Canvas, Fourier, Pixels
from netinvert.deep_prior import DeepPrior
from netinvert.encoder import Encoder
from netinvert.errors import ConfigError
from netinvert.optimizers import Adam, DecayingAdaGrad, Momentum
from netinvert.phase import Phase
from netinvert.recipes import Recipe
from netinvert.seeds import draw
from netinvert.stages import Stage

PIXEL = 1 / 255
"""The papers measure images in 0..255 around the mean; their pixel canvas keeps that as its unit."""
START_NOISE = 0.05
DEEP_PRIOR_RATE = 0.01


def fourier_canvas(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """A spectrum, of nearly grey noise or of start images."""
    if start is not None:
        return Fourier(start)
    return Fourier.noise(_shape(encoder), seeds, _like(encoder))


def pixel_canvas(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """Pixels in units of [0, 1] without a bound, around the network's grey."""
    if start is None:
        shape = _shape(encoder)
        noise = draw(seeds, lambda source: torch.randn(shape, generator=source, dtype=torch.float32))
        start = around_centre(encoder, START_NOISE / PIXEL * noise)
    return Pixels(start, encoder.centre, size=encoder.size)


def phase_canvas(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """A spectrum of natural magnitude, with random phases or those of start images."""
    return Phase.noise(_shape(encoder), seeds, _like(encoder)) if start is None else Phase.of(start)


def deep_prior_canvas(encoder: Encoder, seeds: Sequence[int], start: Tensor | None) -> Canvas:
    """An untrained network. Raises ConfigError for start images."""
    if start is not None:
        raise ConfigError("the deep-prior canvas cannot start from an image; use another canvas for that")
    return DeepPrior(_shape(encoder), seeds, _like(encoder))


CANVASES: dict[str, Callable[[Encoder, Sequence[int], Tensor | None], Canvas]] = {
    "fourier": fourier_canvas,
    "pixels": pixel_canvas,
    "phase": phase_canvas,
    "deep-prior": deep_prior_canvas,
}


def with_canvas(how: Recipe, encoder: Encoder, canvas: str) -> Recipe:
    """The recipe on another canvas, in units of [0, 1].

    Only for optimisers whose steps do not depend on the canvas's unit (L-BFGS, Adam). The weights of a deep
    prior are moved by Adam, as many steps as the recipe has. Raises ConfigError.
    """
    if canvas not in CANVASES:
        raise ConfigError(f"there is no canvas '{canvas}'; choose from {', '.join(CANVASES)}")
    if how.raw or any(isinstance(stage.optimizer, Momentum | DecayingAdaGrad) for stage in how.stages):
        if canvas == "pixels":
            return how
        raise ConfigError(
            f"the steps of '{how.name}' are made for pixels in 0..255; use another preset with this canvas"
        )
    make = CANVASES[canvas]
    stages = how.stages
    if canvas == "deep-prior":
        stages = (Stage(how.steps, Adam(DEEP_PRIOR_RATE)),)
    return replace(how, canvas=lambda seeds, start: make(encoder, seeds, start), stages=stages)


def around_centre(encoder: Encoder, noise: Tensor) -> Tensor:
    """The network's grey with noise given in 0..255."""
    centre = torch.tensor(encoder.centre, dtype=encoder.dtype, device=encoder.device).view(-1, 1, 1)
    return centre + PIXEL * noise.to(encoder.device, encoder.dtype)


def _shape(encoder: Encoder) -> tuple[int, int, int]:
    return (encoder.preprocessing.channels, *encoder.size)


def _like(encoder: Encoder) -> Tensor:
    return torch.empty(0, dtype=encoder.dtype, device=encoder.device)
