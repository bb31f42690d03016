"""What a job gives to an adapter: the picture, the network in the form that the peer wants, the layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netinvert.models.network import IMAGENET_MEAN, IMAGENET_STD, Network, Preprocessing


@dataclass(frozen=True, eq=False)
class Case:
    """``image`` (1, 3, H, W) in [0, 1] at the network's size."""

    network: Network
    layer: str
    image: Tensor
    seed: int

    @property
    def size(self) -> int:
        """The side of the picture."""
        return self.image.shape[-1]

    def module(self, frozen: bool) -> nn.Module:
        """The network as a plain module that takes pictures normalised as for torchvision's networks.

        As users load it, or with its parameters ``frozen``, which saves their gradients.
        """
        self.network.module.requires_grad_(not frozen)
        return Normalised(self.network.module, self.network.preprocessing)

    def part(self) -> nn.Module:
        """The network up to the layer, for pictures normalised as for torchvision's networks."""
        module = self.network.module
        blocks, dot, number = self.layer.partition(".")
        stem, rest = (getattr(module, name, None) for name in ("stem", "blocks"))
        if blocks != "blocks" or not dot or stem is None or not isinstance(rest, nn.Sequential):
            raise SystemExit(f"only networks of a stem and blocks can be cut here, not at {self.layer}")
        return Normalised(nn.Sequential(stem, *rest[: int(number) + 1]), self.network.preprocessing)

    def code(self, module: nn.Module) -> Tensor:
        """The activations of the layer for the picture, by a hook."""
        found: dict[str, Tensor] = {}
        hook = self.layer_of(module).register_forward_hook(lambda _, __, out: found.update(code=out))
        with torch.no_grad():
            module(normalise(self.image))
        hook.remove()
        return found["code"].detach()

    def layer_of(self, module: nn.Module) -> nn.Module:
        """The layer inside what :meth:`module` gave."""
        return module.get_submodule(f"network.{self.layer}")

    def warm_up(self) -> None:
        """One evaluation with gradient and one step of an optimiser, so that nobody pays for the first.

        The first optimiser of a process makes torch import its compiler, which takes a second.
        """
        probe = torch.rand_like(self.image).requires_grad_(True)
        module = Normalised(self.network.module, self.network.preprocessing)
        out = module(probe)
        first = out if isinstance(out, Tensor) else next(iter(out.values() if isinstance(out, dict) else out))
        (probe.grad,) = torch.autograd.grad(first.square().sum(), probe)
        torch.optim.Adam([probe]).step()


class Normalised(nn.Module):
    """A network behind ImageNet's mean and standard deviation, whatever it wants itself."""

    def __init__(self, network: nn.Module, form: Preprocessing) -> None:
        super().__init__()
        self.network = network
        same = form.scale == 1 and form.mean == IMAGENET_MEAN and form.std == IMAGENET_STD
        self.form = None if same else form

    def forward(self, images: Tensor) -> object:
        """The network's outputs."""
        form = self.form
        if form is None:
            return self.network(images)
        images = denormalise(images)
        if form.mean != (0.0, 0.0, 0.0) or form.std != (1.0, 1.0, 1.0) or form.scale != 1:
            images = (form.scale * images - _column(form.mean)) / _column(form.std)
        return self.network(images)


def normalise(images: Tensor) -> Tensor:
    """From [0, 1] to what torchvision's networks take."""
    return (images - _column(IMAGENET_MEAN)) / _column(IMAGENET_STD)


def denormalise(images: Tensor) -> Tensor:
    """And back."""
    return images * _column(IMAGENET_STD) + _column(IMAGENET_MEAN)


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1)
