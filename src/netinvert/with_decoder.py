"""Both together: a decoder's picture as the start of an optimisation, or its input as the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netinvert.canvas import Canvas
from netinvert.decoders import Decoder
from netinvert.deep_prior import DecoderPrior
from netinvert.encoder import Encoder
from netinvert.errors import ConfigError
from netinvert.images import fit
from netinvert.optimizers import Adam
from netinvert.recipes import Recipe
from netinvert.stages import Stage

RATE, HALVING = 0.03, 50
"""Of Adam, in units of the code's root mean square."""
STEPS = 200


def decoded_start(decoder: Decoder, encoder: Encoder, code: Tensor) -> Tensor:
    """The decoder's pictures (N, C, *encoder.size) of codes, to start an optimisation from.

    Raises CodeError for an encoder that the decoder does not belong to.
    """
    decoder.check_encoder(encoder)
    with torch.no_grad():
        images = decoder(encoder.check_code(code))
    return fit(images, encoder.size).to(encoder.device, encoder.dtype)


def on_decoder(how: Recipe, decoder: Decoder, encoder: Encoder, code: Tensor) -> Recipe:
    """The recipe with the decoder's input as its canvas, starting from the codes (Nguyen et al. 2016).

    The decoder's own pictures are all that can be found, so priors are left out; Adam moves its input, in
    units of the root mean square of each code, for as many steps as the recipe has, ``STEPS`` at most.
    Raises CodeError for an encoder that the decoder does not belong to.
    """
    decoder.check_encoder(encoder)
    start = encoder.check_code(code)
    unit = start.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (start.ndim - 1))
    if not bool((unit > 0).all()):
        raise ConfigError("a code of nothing but zeros gives the decoder's input no scale: leave it out")

    def canvas(seeds: Sequence[int], image: Tensor | None) -> Canvas:
        if image is not None:
            raise ConfigError("a decoder's canvas starts from the code, not from an image")
        return DecoderPrior(lambda offset: decoder(start + unit * offset), torch.zeros_like(start))

    stages = (Stage(min(how.steps, STEPS), Adam(RATE, halving=HALVING)),)
    return replace(how, canvas=canvas, stages=stages, priors=(), prior="none")
