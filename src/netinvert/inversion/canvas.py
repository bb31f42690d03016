"""Where the image lives while it is optimised. Every parameter has the sample as its first dimension."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError
from netinvert.inversion.objectives import AnyEncoder
from netinvert.io.running import draw

Shifts = Sequence[tuple[int, int]]

# Lucid's square root of the colour covariance of natural images (ImageNet); columns from light to hue.
COLOUR_SQRT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
LOGIT_MARGIN = 1e-3
NOISE = 0.01


class Canvas(nn.Module):
    """An image parametrisation: a module whose ``forward()`` gives images (N, C, H, W), N samples at once.

    Its parameters are optimised. The first dimension of each is the sample, so that samples stay independent;
    what is fixed is a buffer, or does not require a gradient. There are defaults for all but ``forward``:
    jitter rolls the image round, there is no coarse stage, and the canvas cannot be set to an image.

    >>> class Tiles(Canvas):
    ...     def __init__(self, count: int) -> None:
    ...         super().__init__()
    ...         self.tiles = nn.Parameter(torch.zeros(count, 3, 4, 4))
    ...     def forward(self) -> Tensor:
    ...         return nn.functional.interpolate(self.tiles.sigmoid(), scale_factor=8)
    >>> Tiles(2)().shape
    torch.Size([2, 3, 32, 32])
    """

    def forward(self) -> Tensor:
        """The whole canvas as images (N, C, H', W')."""
        raise NotImplementedError(f"{type(self).__name__} needs a forward() that gives images (N, C, H, W)")

    def optimised(self) -> list[nn.Parameter]:
        """The parameters that require a gradient; each (N, ...)."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def set_jitter(self, amount: int) -> None:
        """Make room for shifts in ``[0, amount)``; 1 is none. The image in the middle stays."""

    def set_resolution(self, share: float) -> None:
        """Refine only this share of the resolution, in (0, 1]; the parameters are new ones.

        Raises ConfigError.
        """
        if share < 1:
            raise ConfigError(f"the canvas {type(self).__name__} has no coarse stage; choose another canvas")

    def replace(self, image: Tensor) -> None:
        """Show this image (N, C, H', W') instead, in the same parameters. Raises ConfigError."""
        raise ConfigError(
            f"the canvas {type(self).__name__} cannot be set to an image, so it goes with neither "
            "projections nor a start image"
        )

    def view(self, image: Tensor, shifts: Shifts | None) -> Tensor:
        """The network's view (N, C, H, W) of the canvas at these shifts; the middle for None."""
        if shifts is None:
            return image
        return torch.stack([torch.roll(x, shift, (-2, -1)) for x, shift in zip(image, shifts, strict=True)])

    def checked(self) -> Tensor:
        """The image now. Raises ConfigError for what cannot be optimised sample by sample."""
        name = type(self).__name__
        with torch.no_grad():
            image = self()
        if not isinstance(image, Tensor) or image.ndim != 4:
            got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ConfigError(f"forward() of the canvas {name} has to give images (N, C, H, W), got {got}")
        count = image.shape[0]
        for key, parameter in self.named_parameters():
            if parameter.requires_grad and (parameter.ndim == 0 or parameter.shape[0] != count):
                raise ConfigError(
                    f"the canvas {name} gives {count} images, but its parameter '{key}' has the shape "
                    f"{tuple(parameter.shape)}: make the sample its first dimension, ({count}, …), so that "
                    "no sample depends on another; what is not to be optimised is a buffer (register_buffer)"
                )
        if not self.optimised():
            raise ConfigError(f"the canvas {name} has no parameters to optimise; give it an nn.Parameter")
        return image


class Pixels(Canvas):
    """Pixels themselves: ``image = centre + unit * parameter``, unbounded unless projected.

    ``start`` (N, C, H, W) in image units; ``centre`` one number a channel. With ``unit`` = 1/255 the
    parameter is a mean-subtracted image in 0..255, in which the constants of the papers are given.
    ``size`` is the network's view, where ``start`` is larger (room for jitter).
    """

    centre: Tensor

    def __init__(
        self,
        start: Tensor,
        centre: tuple[float, ...],
        unit: float = 1.0,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.size = size or (start.shape[-2], start.shape[-1])
        margin = start.shape[-2] - self.size[0]
        if margin < 0 or start.shape[-1] - self.size[1] != margin:
            raise ConfigError(
                f"a start image of {tuple(start.shape[-2:])} pixels for a view of {self.size} needs the same "
                "margin, 0 or more, in height and width"
            )
        self.unit = unit
        colour = torch.tensor(centre, dtype=start.dtype, device=start.device).view(1, -1, 1, 1)
        self.register_buffer("centre", colour, persistent=False)
        self.parameter = nn.Parameter((start.detach() - self.centre) / unit)
        self._extent = (start.shape[-2], start.shape[-1])

    def forward(self) -> Tensor:
        """Images (N, C, H + margin, W + margin)."""
        return self.centre + self.unit * self._resized(self.parameter, self._extent)

    def replace(self, image: Tensor) -> None:
        """Show this image."""
        with torch.no_grad():
            pixels = (image - self.centre) / self.unit
            self.parameter.copy_(self._resized(pixels, self.parameter.shape[-2:]))

    def set_resolution(self, share: float) -> None:
        """Pixels of a coarser grid, with bilinear interpolation between them."""
        coarse = tuple(
            min(length, max(2, round(share * length))) if share < 1 else length for length in self._extent
        )
        if coarse != tuple(self.parameter.shape[-2:]):
            with torch.no_grad():
                full = self._resized(self.parameter, self._extent)
                self.parameter = nn.Parameter(self._resized(full, coarse).contiguous())

    @staticmethod
    def _resized(pixels: Tensor, size: Sequence[int]) -> Tensor:
        if tuple(pixels.shape[-2:]) == tuple(size):
            return pixels
        return nn.functional.interpolate(pixels, list(size), mode="bilinear", antialias=True)

    def set_jitter(self, amount: int) -> None:
        """Grow (by repeating the border) or crop to ``size + amount - 1``."""
        now = self._extent[0] - self.size[0]
        if now == amount - 1:
            return
        self.set_resolution(1.0)
        self._extent = (self.size[0] + amount - 1, self.size[1] + amount - 1)
        before = (amount - 1) // 2 - now // 2
        after = (amount - 1) - now - before
        grown = nn.functional.pad(self.parameter.detach(), (before, after, before, after), mode="replicate")
        self.parameter = nn.Parameter(grown.contiguous())

    def view(self, image: Tensor, shifts: Shifts | None) -> Tensor:
        """Crops of the canvas."""
        height, width = self.size
        margin = image.shape[-2] - height
        if shifts is None or margin == 0:
            start = margin // 2
            return image[..., start : start + height, start : start + width]
        crops = [x[..., y : y + height, z : z + width] for x, (y, z) in zip(image, shifts, strict=True)]
        return torch.stack(crops)


class Fourier(Canvas):
    """The image's spectrum with a 1/f scale, decorrelated colour and a sigmoid (Olah et al. 2017).

    ``start`` (N, C, H, W) in [0, 1]. Any size, odd too; any channel count (colour is decorrelated for 3).
    Jitter rolls the image round, for a spectrum has no border.
    """

    scale: Tensor
    colour: Tensor | None
    rest: Tensor | None
    """The whole spectrum, where only low frequencies are refined."""

    def __init__(self, start: Tensor, decay: float = 1.0) -> None:
        super().__init__()
        _, channels, height, width = start.shape
        self.size = (height, width)
        like = {"dtype": start.dtype, "device": start.device}
        down = torch.fft.fftfreq(height, **like)[:, None]
        right = torch.fft.rfftfreq(width, **like)[None, :]
        frequency = torch.sqrt(down.square() + right.square()).clamp_min(1.0 / max(height, width))
        self.register_buffer("scale", (0.25 / frequency**decay)[..., None], persistent=False)
        self.register_buffer("colour", colour_matrix(start) if channels == 3 else None, persistent=False)
        self.spectrum = nn.Parameter(self._analyse(start.detach()))
        self.register_buffer("rest", None)
        self._middle = 0

    @classmethod
    def noise(cls, shape: tuple[int, int, int], seeds: Sequence[int], like: Tensor) -> Fourier:
        """A canvas of nearly grey noise, one seed a sample; ``shape`` is (C, H, W)."""
        canvas = cls(torch.full((len(seeds), *shape), 0.5, dtype=like.dtype, device=like.device))
        noise = draw(
            seeds,
            lambda source: torch.randn(canvas.spectrum.shape[1:], generator=source, dtype=torch.float32),
        )
        with torch.no_grad():
            canvas.spectrum.copy_(NOISE * noise)
        return canvas

    @classmethod
    def begin(cls, encoder: AnyEncoder, seeds: Sequence[int], start: Tensor | None) -> Fourier:
        """For an encoder's images: nearly grey noise, or the start images."""
        return cls.noise(image_shape(encoder), seeds, like(encoder)) if start is None else cls(start)

    def _analyse(self, image: Tensor) -> Tensor:
        logits = to_logits(image, self.colour)
        return torch.view_as_real(torch.fft.rfft2(logits, norm="ortho")) / self.scale

    def forward(self) -> Tensor:
        """Images (N, C, H, W) strictly within (0, 1)."""
        spectrum = torch.view_as_complex((self._whole() * self.scale).contiguous())
        # s= keeps odd widths odd.
        logits = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        if self.colour is not None:
            logits = torch.einsum("dc,nchw->ndhw", self.colour, logits)
        return torch.sigmoid(logits)

    def replace(self, image: Tensor) -> None:
        """Show this image (clipped to the sigmoid's range)."""
        with torch.no_grad():
            found = self._analyse(image)
            if self.rest is not None:
                self.rest, found = found, self._low(found, self._reach(self.spectrum))
            self.spectrum.copy_(found)

    def set_jitter(self, amount: int) -> None:
        """No room is needed. Shifts count from their middle, so that the image stays where it is."""
        self._middle = (amount - 1) // 2

    def set_resolution(self, share: float) -> None:
        """Only frequencies up to this share of the highest; the others stay as they are."""
        with torch.no_grad():
            whole = self._whole().clone()
        reach = [max(1, int(share * length / 2)) for length in self.size]
        coarse = share < 1 and min(self.size) > 3
        self.rest = whole if coarse else None
        low = self._low(whole, (reach[0], reach[1])) if coarse else whole
        self.spectrum = nn.Parameter(low.contiguous())

    def _whole(self) -> Tensor:
        """The spectrum with the frequencies that are not refined."""
        if self.rest is None:
            return self.spectrum
        down, right = self._reach(self.spectrum)
        middle = self.rest[:, :, down + 1 : -down]
        beside = torch.cat(
            [self.rest[:, :, : down + 1, right + 1 :], self.rest[:, :, -down:, right + 1 :]], 2
        )
        low = torch.cat([self.spectrum, beside], 3)
        return torch.cat([low[:, :, : down + 1], middle, low[:, :, down + 1 :]], 2)

    @staticmethod
    def _low(whole: Tensor, reach: tuple[int, int]) -> Tensor:
        """Frequencies of at most ``reach`` periods: rows 0 … down, -down … -1, columns 0 … right."""
        down, right = reach
        return torch.cat([whole[:, :, : down + 1, : right + 1], whole[:, :, -down:, : right + 1]], 2)

    @staticmethod
    def _reach(low: Tensor) -> tuple[int, int]:
        return (low.shape[2] - 1) // 2, low.shape[3] - 1

    def view(self, image: Tensor, shifts: Shifts | None) -> Tensor:
        """The image rolled round."""
        if shifts is not None:
            shifts = [(down - self._middle, right - self._middle) for down, right in shifts]
        return super().view(image, shifts)


def image_shape(encoder: AnyEncoder) -> tuple[int, int, int]:
    """(C, H, W) of the images that an encoder takes."""
    return (encoder.preprocessing.channels, *encoder.size)


def like(encoder: AnyEncoder) -> Tensor:
    """A tensor of its kind and on its device."""
    return torch.empty(0, dtype=encoder.dtype, device=encoder.device)


def to_logits(image: Tensor, colour: Tensor | None) -> Tensor:
    """What the sigmoid makes images in [0, 1] of, in decorrelated colours."""
    logits = torch.logit(image.clamp(LOGIT_MARGIN, 1 - LOGIT_MARGIN))
    if colour is not None:
        logits = torch.einsum("dc,nchw->ndhw", torch.linalg.inv(colour), logits)
    return logits


def colour_matrix(like: Tensor) -> Tensor:
    """From decorrelated colours to RGB, columns no longer than 1."""
    root = torch.tensor(COLOUR_SQRT, dtype=like.dtype, device=like.device)
    matrix: Tensor = root / root.norm(dim=0).max()
    return matrix
