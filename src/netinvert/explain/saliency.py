"""Saliency: which pixels an answer of a network comes from, by gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.errors import ConfigError, ImageError, LayerError
from netinvert.explain.targets import Target
from netinvert.explain.tokens import attention_map
from netinvert.models.cut import is_map, named_parts, observed
from netinvert.models.private_copy import plain_torch

CROP = 0.875
"""Of an image's sides, of the five crops (224 of 256 pixels, Krizhevsky et al. 2012)."""


@dataclass(frozen=True)
class Saliency:
    """A method, and how it is done: ``samples`` of SmoothGrad's ``noise`` (of each image's range) or of the
    path of integrated gradients; ``layer`` of Grad-CAM (the last map of the size that the last convolution
    gives); ``crops``: the mean over five crops and their mirror images, whose poses are read anew.

    Called with a target and images (N, C, H, W), it gives a value a pixel, (N, H, W), of the images fitted to
    the network's size. "gradient-input", "integrated" and "grad-cam" have signs where the target is
    ``signed`` (Grad-CAM none below 0). Samples share nothing but the noise, which is of the ``seed``.

    gradient: max over colours of its size (Simonyan et al. 2013). gradient-input: times the image less the
    network's grey. smoothgrad: the mean gradient of noisy images (Smilkov et al. 2017). guided: ReLUs pass
    what is above zero both ways (Springenberg et al. 2014). integrated: along the way from the network's grey
    (Sundararajan et al. 2017). grad-cam: of a layer's maps (Selvaraju et al. 2017). rollout and
    attention-gradient: of a transformer's patches (``attention_map``).

    Raises ConfigError: no such method, or numbers that make no sense; when called, ImageError: NaN;
    NetworkError: ReLU-like functions that ``guided`` has no rule for, no attention among tokens; LayerError:
    Grad-CAM's layer has no maps.

    >>> from netinvert.explain.targets import parse_target
    >>> from netinvert.models.registry import load_network
    >>> pose = parse_target(load_network("posenet"), "pose")
    >>> Saliency("smoothgrad", samples=2)(pose, torch.rand(1, 3, 128, 128)).shape
    torch.Size([1, 128, 128])
    """

    method: str = "gradient"
    samples: int = 32
    noise: float = 0.15
    layer: str | None = None
    crops: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"no saliency '{self.method}': there are {', '.join(METHODS)}")
        if int(self.samples) != self.samples or self.samples < 1 or not 0 < self.noise < 10:
            raise ConfigError(
                f"samples are 1, 2, 3, … and noise is above 0, got {self.samples}, {self.noise}"
            )

    def __call__(self, target: Target, images: Tensor, fixed: Tensor | None = None) -> Tensor:
        """(N, H, W) of images (N, C, H, W), about what is ``fixed``, by default what is read of them."""
        encoder = target.encoder
        images = encoder.fit(images.detach().to(encoder.device, encoder.dtype))
        if not bool(images.isfinite().all()):
            raise ImageError("the images hold NaN or infinite values: read them again")
        fixed = target.fixed(images) if fixed is None else fixed
        with plain_torch(), torch.enable_grad():
            method = METHODS[self.method]
            if not self.crops:
                return method(self, target, images, fixed).detach()
            return _over_crops(lambda view, own: method(self, target, view, own), target, images, fixed)


Method = Callable[[Saliency, Target, Tensor, Tensor], Tensor]


def gradients_of(target: Target, images: Tensor, fixed: Tensor) -> Tensor:
    """(K, N, C, H, W): of each of a target's components by the images."""
    seen = images.detach().clone().requires_grad_()
    return _by(target.components(seen, fixed), seen)


def _by(components: Tensor, values: Tensor) -> Tensor:
    last = components.shape[1] - 1
    every = [
        torch.autograd.grad(row.sum(), values, retain_graph=k < last, allow_unused=True)[0]
        for k, row in enumerate(components.unbind(1))
    ]
    if any(one is None for one in every):
        raise LayerError("the target does not depend on Grad-CAM's layer: name another")
    return torch.stack(every)


def _largest(gradients: Tensor) -> Tensor:
    """(K, N, C, H, W) to (N, H, W)."""
    found: Tensor = gradients.norm(dim=0).amax(1)
    return found


def _joined(target: Target, maps: Tensor) -> Tensor:
    """(K, N, H, W) to (N, H, W)."""
    return maps[0] if target.signed else maps.norm(dim=0)


def _grey(target: Target, images: Tensor) -> Tensor:
    return images.new_tensor(target.encoder.centre)[:, None, None]


def _gradient(how: Saliency, target: Target, images: Tensor, fixed: Tensor) -> Tensor:
    return _largest(gradients_of(target, images, fixed))


def _gradient_input(how: Saliency, target: Target, images: Tensor, fixed: Tensor) -> Tensor:
    weighed = gradients_of(target, images, fixed) * (images - _grey(target, images))
    return _joined(target, weighed.sum(2))


def _smoothgrad(how: Saliency, target: Target, images: Tensor, fixed: Tensor) -> Tensor:
    source = torch.Generator().manual_seed(how.seed)
    span = (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))[:, None, None, None]
    found = torch.zeros((), dtype=images.dtype, device=images.device)
    for _ in range(how.samples):
        noise = torch.randn(images.shape[1:], generator=source).to(images)
        found = found + gradients_of(target, images + how.noise * span * noise, fixed)
    return _largest(found / how.samples)


def _guided(how: Saliency, target: Target, images: Tensor, fixed: Tensor) -> Tensor:
    with target.encoder.leaky_relu_gradients(None):
        return _largest(gradients_of(target, images, fixed))


def _integrated(how: Saliency, target: Target, images: Tensor, fixed: Tensor) -> Tensor:
    way = images - _grey(target, images)
    found = torch.zeros((), dtype=images.dtype, device=images.device)
    for k in range(how.samples):
        behind = 1 - (k + 0.5) / how.samples
        found = found + gradients_of(target, images - behind * way, fixed)
    return _joined(target, (found / how.samples * way).sum(2))


def _grad_cam(how: Saliency, target: Target, images: Tensor, fixed: Tensor) -> Tensor:
    kept: list[Tensor] = []

    def keep(part: nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept[:] = [output]
        return output.clone()  # which what comes next may change in place

    with target.encoder.as_given() as module:
        name = how.layer or _last_map(target, module, images[:1])
        parts = named_parts(module)
        if name not in parts:
            raise LayerError(f"{target.encoder.network.name} has no layer '{name}' for Grad-CAM")
        handle = parts[name].register_forward_hook(keep)
        try:
            components = target.components(images.clone().requires_grad_(), fixed)
        finally:
            handle.remove()
    if not kept or not is_map(kept[0], images):
        raise LayerError(f"Grad-CAM needs a layer with maps up to {target.encoder.layer}, not '{name}'")
    weights = _by(components, kept[0]).mean((-2, -1), keepdim=True)
    maps = _joined(target, (weights * kept[0]).sum(2))
    maps = maps.clamp_min(0) if target.signed else maps
    return F.interpolate(maps[:, None], images.shape[-2:], mode="bilinear")[:, 0]


METHODS: dict[str, Method] = {
    "gradient": _gradient,
    "gradient-input": _gradient_input,
    "smoothgrad": _smoothgrad,
    "guided": _guided,
    "integrated": _integrated,
    "grad-cam": _grad_cam,
    "rollout": lambda how, target, images, fixed: attention_map(target, images, fixed, gradient=False),
    "attention-gradient": lambda how, target, images, fixed: attention_map(
        target, images, fixed, gradient=True
    ),
}


def _last_map(target: Target, module: nn.Module, image: Tensor) -> str:
    """The last layer with maps of the size that the last convolution gives."""
    seen: list[tuple[str, torch.Size, bool]] = []

    def see(name: str, part: nn.Module, first: Tensor | None, output: object) -> None:
        if isinstance(output, Tensor) and is_map(output, image):
            seen.append((name, output.shape, isinstance(part, nn.Conv2d)))

    with observed(module, see), torch.no_grad():
        target.encoder(image)
    size = next((shape[-2:] for _, shape, convolves in reversed(seen) if convolves), None)
    if size is None:
        raise LayerError(
            f"{target.encoder.network.name} has no maps by convolution for Grad-CAM: name a layer"
        )
    return next(name for name, shape, _ in reversed(seen) if shape[-2:] == size and name)


def _over_crops(
    method: Callable[[Tensor, Tensor], Tensor], target: Target, images: Tensor, fixed: Tensor
) -> Tensor:
    """The mean over five crops and their mirror images, each pixel over those that show it."""
    size = (images.shape[-2], images.shape[-1])
    height, width = (round(CROP * side) for side in size)
    down, right = size[0] - height, size[1] - width
    total, times = images.new_zeros(len(images), *size), images.new_zeros(size)
    for y, x in ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)):
        crop = F.interpolate(images[..., y : y + height, x : x + width], size, mode="bilinear")
        maps = torch.zeros_like(total)
        for mirrored in (False, True):
            view = crop.flip(-1) if mirrored else crop
            found = method(view, fixed if target.kept else target.fixed(view)).detach()
            maps += found.flip(-1) if mirrored else found
        back = F.interpolate(maps[:, None], (height, width), mode="bilinear")[:, 0]
        total[:, y : y + height, x : x + width] += back
        times[y : y + height, x : x + width] += 2
    return total / times
