"""Correction: an image that matches a code, by a decoder and answers of the network alone, without gradients.

The decoder g inverts the network Φ nearly, so what its image's code is off by is what to ask it for less of:
y ← y - β (Φ(g(y)) - Φ₀), from y = Φ₀, as vec2text does for text (Morris et al. 2023).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError, NetinvertError, NetworkError
from netinvert.inversion.objectives import code_error
from netinvert.inversion.result import STATUS, Result
from netinvert.io.running import Progress, deferred_interrupt
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.models.private_copy import as_usable, plain_torch

STEPS = 10
RATE = 0.7
SHRINK = 0.7
"""A sample's rate falls to this share of it when its error has risen. On the chairs of seed 101, growing it
again, going back to the best code, clamping to what a ReLU gives and Anderson's mixing did no better."""
DONE, DIVERGED = STATUS[0], STATUS[3]


@plain_torch()
@torch.no_grad()
def correct(
    network: Encoder | Callable[[Tensor], Tensor],
    code: Tensor,
    decoder: Decoder,
    *,
    steps: int = STEPS,
    rate: float = RATE,
    progress: bool = False,
) -> Result:
    """Images (N, C, *decoder.size) whose codes come near to ``code`` (N, *code_shape) or (*code_shape).

    ``network`` is an encoder, or any function from images (N, C, *decoder.size) in [0, 1] to their codes: a
    black box that only answers. It is asked ``steps`` times, each time for the N images together; the first
    answer is about the decoder's own images. ``rate`` is β at first; each sample lowers its own where its
    error rises. The best image of each sample is kept; a sample is independent of the others.

    A network that fails later than at its first answer, or Ctrl-C, ends it with what was best until then; so
    does an answer that is not finite for the sample it belongs to.

    Raises CodeError: codes of another shape, or of another layer, network or weights than the decoder's;
    ConfigError: no steps, or no rate above 0; NetworkError: the network fails at once, or answers no number.

    >>> from netinvert.models.decoder import load_decoder
    >>> decoder = load_decoder("posenet-fc7")
    >>> encoder = decoder.encoder()
    >>> code = encoder(torch.rand(1, 3, *encoder.size))
    >>> result = correct(lambda images: encoder(images), code, decoder, steps=4)
    >>> result.steps, bool(result.error < result.losses[0].sqrt().squeeze())
    (4, True)
    """
    if steps < 1 or not 0 < rate < float("inf"):
        raise ConfigError(f"correction takes 1 step or more and a rate above 0, got {steps} and {rate}")
    if isinstance(network, Encoder):
        decoder.check_encoder(network)
        decoder = decoder.to(network.device)
    target = decoder.check_code(as_usable(code))
    if not bool(target.flatten(1).any(1).all()):
        raise CodeError("a code of nothing but zeros has no relative error: leave it out")
    return _Correction(network, target, decoder, rate).go(steps, progress)


def corrected(
    network: Encoder | Callable[[Tensor], Tensor], code: Tensor, decoder: Decoder, steps: int = STEPS
) -> Result:
    """As ``correct``, for what keeps nothing that is not whole. Raises KeyboardInterrupt: it was stopped."""
    result = correct(network, code, decoder, steps=steps)
    if result.interrupted:
        raise KeyboardInterrupt
    return result


class _Correction:
    """Where it stands: ``asked`` (N, ...) is decoded next, ``error`` (N,) how far the last image was off."""

    def __init__(
        self, network: Callable[[Tensor], Tensor], target: Tensor, decoder: Decoder, rate: float
    ) -> None:
        self.network, self.target, self.decoder = network, target, decoder
        count = len(target)
        self.asked = target
        self.rate = target.new_full((count, *[1] * (target.ndim - 1)), rate)
        self.error = target.new_full((count,), torch.inf, dtype=torch.float64)
        self.best = self.error.clone()
        self.best_step = torch.zeros(count, dtype=torch.long, device=target.device)
        self.going = torch.ones(count, dtype=torch.bool, device=target.device)
        self.losses: list[Tensor] = []
        self.image = self.code = target  # from the first step on, the best

    def go(self, steps: int, progress: bool) -> Result:
        began = time.perf_counter()
        failed, interrupted = "", False
        with Progress("steps", steps, progress) as shown:
            try:
                with deferred_interrupt() as interrupt:
                    while len(self.losses) < steps and bool(self.going.any()):
                        self._step()
                        shown.update(len(self.losses), f"code error {self.best.mean().item():.3f}")
                        if interrupt.pending:
                            raise KeyboardInterrupt
            except KeyboardInterrupt:
                interrupt.end_if_terminated()
                if not self.losses:
                    raise
                interrupted = True
            except NetinvertError as error:
                if not self.losses:
                    raise
                failed = f"the network failed at answer {len(self.losses) + 1}"
                warnings.warn(f"{failed}: {error}; the best until then is kept", stacklevel=5)
        if bool((self.best >= 1).all()):
            warnings.warn(
                f"no image of {self.decoder.name} has a code nearer than one of nothing but zeros: is it a "
                "decoder of this network, with these weights and this layer?",
                stacklevel=5,
            )
        return Result(
            image=self.image,
            code=self.code,
            target=self.target,
            losses=torch.stack(self.losses)[:, None],
            terms=("code",),
            best_step=self.best_step,
            status=tuple((failed or DONE) if going else DIVERGED for going in self.going.tolist()),
            seconds=time.perf_counter() - began,
            interrupted=interrupted,
        )

    def _step(self) -> None:
        """Ask once, keep what is better, and correct what to decode next."""
        image = self.decoder(self.asked)
        code = self._answer(image)
        error = code_error(code, self.target)
        finite = torch.isfinite(error)
        if not self.losses:
            if not bool(finite.any()):
                raise NetworkError("the network answers no finite numbers for the decoder's images")
            self.image, self.code = image, code
        better = self.going & finite & (error < self.best)
        self.image = torch.where(_beside(better, image), image, self.image)
        self.code = torch.where(_beside(better, code), code, self.code)
        self.best = torch.where(better, error, self.best)
        self.best_step[better] = len(self.losses)
        self.losses.append(torch.where(self.going, error.square(), torch.nan).float())
        self.going &= finite
        rose = _beside(error > self.error, self.rate)
        self.rate = torch.where(rose, SHRINK * self.rate, self.rate)
        self.error = error
        corrected = self.asked - self.rate * (code - self.target)
        # A sample without an answer stays where it is.
        self.asked = torch.where(_beside(self.going, code), corrected, self.asked)

    def _answer(self, image: Tensor) -> Tensor:
        try:
            code = self.network(image)
        except NetinvertError:
            raise
        except Exception as error:  # whatever the user's code raises
            raise NetworkError(f"the network failed for images {tuple(image.shape)}: {error}") from error
        if not isinstance(code, Tensor) or code.shape != self.target.shape:
            got = tuple(code.shape) if isinstance(code, Tensor) else f"a {type(code).__name__}"
            raise CodeError(
                f"the network answers {got} for {len(image)} images, the codes are "
                f"{tuple(self.target.shape)}: give the network, and the layer, that the codes are of"
            )
        return code.detach().to(self.target)


def _beside(which: Tensor, tensor: Tensor) -> Tensor:
    """(N,) in such a shape that it chooses samples of the tensor (N, …)."""
    return which.view(-1, *[1] * (tensor.ndim - 1))
