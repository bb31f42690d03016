"""A canvas whose spectrum has the magnitude of natural images for good; only its phase is free."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netinvert.canvas import Shifts, colour_matrix, rolled, to_logits
from netinvert.errors import ConfigError
from netinvert.samples import photographs
from netinvert.seeds import draw

SPREAD = 1.0
"""Standard deviation of the values before the sigmoid, which uses most of the range and saturates little."""


class Phase:
    """MACO (Fel et al. 2023): ``image = sigmoid(colour · irfft(magnitude · exp(i phase)))``, standardised.

    ``phase`` (N, C, H, W // 2 + 1) in radians; ``magnitude`` (C, H, W // 2 + 1) from
    :func:`natural_magnitude`. Nothing can be made sharper or louder than natural images are, so no other
    prior is needed.
    """

    def __init__(self, phase: Tensor, magnitude: Tensor, size: tuple[int, int]) -> None:
        self.size = size
        self.phase = nn.Parameter(phase.detach().clone())
        self.magnitude = magnitude
        self.colour = colour_matrix(phase) if phase.shape[1] == 3 else None

    @classmethod
    def noise(cls, shape: tuple[int, int, int], seeds: Sequence[int], like: Tensor) -> Phase:
        """Random phases, one seed a sample; ``shape`` is (C, H, W)."""
        channels, height, width = shape
        columns = width // 2 + 1
        phase = draw(
            seeds,
            lambda source: torch.randn(channels, height, columns, generator=source, dtype=torch.float32),
        )
        magnitude = natural_magnitude(shape).to(like)
        return cls(phase.to(like), magnitude, (height, width))

    @classmethod
    def of(cls, image: Tensor) -> Phase:
        """The phases of images (N, C, H, W) in [0, 1]; the magnitudes are lost."""
        size = (image.shape[-2], image.shape[-1])
        magnitude = natural_magnitude((image.shape[1], *size)).to(image)
        return cls(_phase_of(image), magnitude, size)

    def __call__(self) -> Tensor:
        """Images (N, C, H, W) within (0, 1)."""
        spectrum = torch.polar(self.magnitude.expand_as(self.phase), self.phase)
        values = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        spread, mean = torch.std_mean(values, dim=(1, 2, 3), keepdim=True)
        values = SPREAD * (values - mean) / spread
        if self.colour is not None:
            values = torch.einsum("dc,nchw->ndhw", self.colour, values)
        return torch.sigmoid(values)

    def parameters(self) -> list[nn.Parameter]:
        """The phases."""
        return [self.phase]

    def fixed(self) -> list[Tensor]:
        """Nothing."""
        return []

    def replace(self, image: Tensor) -> None:
        """Take the phases of these images."""
        with torch.no_grad():
            self.phase.copy_(_phase_of(image))

    def set_jitter(self, amount: int) -> None:
        """Nothing to make room for: jitter rolls the image round."""

    def set_detail(self, share: float) -> None:
        """Raises ConfigError for less than all."""
        if share < 1:
            raise ConfigError("the phase canvas has its magnitudes fixed, so it has no coarse stage")

    def window(self, image: Tensor, shifts: Shifts | None) -> Tensor:
        """The image rolled round."""
        return rolled(image, shifts)


def natural_magnitude(shape: tuple[int, int, int]) -> Tensor:
    """How strong each frequency is in photographs, (C, H, W // 2 + 1), from the slope of their spectra.

    For three channels: the mean amplitude of the package's photographs in decorrelated colours, smoothed to
    c / f^s a channel, for so few pictures say more about themselves than about their kind.
    """
    channels, height, width = shape
    down, right = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :]
    frequency = torch.sqrt(down.square() + right.square()).clamp_min(1.0 / max(height, width))
    if channels != 3:
        return (1 / frequency).expand(channels, -1, -1).contiguous()
    _, images = photographs((128, 128))
    spectrum = torch.fft.rfft2(to_logits(images, colour_matrix(images)), norm="ortho").abs().mean(0)
    down, right = torch.fft.fftfreq(128)[:, None], torch.fft.rfftfreq(128)[None, :]
    known = torch.sqrt(down.square() + right.square())
    inside = (known > 0) & (known < 0.5)
    magnitudes = []
    for each in spectrum:
        x, y = known[inside].log(), each[inside].log()
        slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
        magnitudes.append(torch.exp(y.mean() + slope * (frequency.log() - x.mean())))
    magnitude: Tensor = torch.stack(magnitudes) * math.sqrt(height * width) / 128
    return magnitude


def _phase_of(image: Tensor) -> Tensor:
    colour = colour_matrix(image) if image.shape[1] == 3 else None
    phase: Tensor = torch.fft.rfft2(to_logits(image.detach(), colour), norm="ortho").angle()
    return phase
