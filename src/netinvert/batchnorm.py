"""The statistics that a network's BatchNorm layers keep of its training images, as an image prior."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netinvert.encoder import Encoder, unwrapped
from netinvert.errors import ConfigError
from netinvert.tap import Tap


class BatchNormStatistics:
    """How far mean and deviation of every channel are from those of the training images.

    After DeepInversion (Yin et al. 2020, equation 4), but over the positions of one image instead of a batch,
    and in units of the deviations kept: the mean over layers and channels of ((μ - μ̂) / σ̂)² + (σ / σ̂ - 1)².
    Runs the network to the encoder's layer once more, without the folding that takes BatchNorm out.

    Raises ConfigError if no BatchNorm with statistics runs before the encoder's layer.
    """

    name: Literal["batchnorm"] = "batchnorm"

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        module = copy.deepcopy(unwrapped(encoder.network.module)).requires_grad_(False)
        self._tap = Tap(module, encoder.trace.layer)
        probe = torch.full((1, encoder.preprocessing.channels, *encoder.size), 0.5)
        with torch.no_grad():
            found = self._statistics(probe.to(encoder.device, encoder.dtype))
        if not found:
            raise ConfigError(
                f"no BatchNorm runs before layer '{encoder.layer}' of {encoder.network.name} (folded into "
                "the convolutions, perhaps); choose another prior"
            )

    def __call__(self, image: Tensor, code: Tensor) -> Tensor:
        """One value a sample, (N,)."""
        return torch.stack(self._statistics(image)).mean(0)

    def _statistics(self, image: Tensor) -> list[Tensor]:
        """One (N,) a BatchNorm layer."""
        found: list[Tensor] = []

        def observe(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(part, _BatchNorm)
            maps = inputs[0]
            if part.running_mean is None or part.running_var is None or maps.ndim != 4:
                return
            deviation = (part.running_var + part.eps).sqrt()
            spread, mean = torch.var_mean(maps, dim=(2, 3), correction=0)
            off = ((mean - part.running_mean) / deviation).square()
            found.append((off + ((spread + part.eps).sqrt() / deviation - 1).square()).mean(1))

        norms = [part for part in self._tap.module.modules() if isinstance(part, _BatchNorm)]
        handles = [part.register_forward_pre_hook(observe) for part in norms]
        try:
            self._tap(self._encoder.network_input(self._encoder.fit(image)))
        finally:
            for handle in handles:
                handle.remove()
        return found
