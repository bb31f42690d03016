"""A machine in the place of people who look at pictures: which of two natural images is shown?

The task is that of Borowski et al. (ICLR 2021): beside pictures that explain a unit, or the picture that was
made of a code, people choose between two natural images. Zimmermann et al. (2024) found that the likeness of
images to a network chooses much as people do. The network here is another than the one that is explained: a
picture made for a network may say something to that network alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.readers import CHUNK, hog_features
from netinvert.io.images import fit
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network
from netinvert.models.registry import load_network

LAYERS = {
    "mobilenet-v2": ("blocks.5", "blocks.12", "blocks.16"),
    "efficientnet-lite0": ("blocks.4", "blocks.10", "blocks.15"),
}
"""The networks that observe, and by which of their layers: at strides of 8, 16 and 32 pixels."""
HOG_OBSERVER = "HOG"


@dataclass(frozen=True, eq=False)
class Observer:
    """``features`` (N, D) of images (N, 3, H, W) in [0, 1], whose products are likenesses, 1 for the same."""

    name: str
    features: Callable[[Tensor], Tensor]

    def likeness(self, images: Tensor, others: Tensor) -> Tensor:
        """Of each image (N, 3, H, W) to each of the others (M, 3, H, W), (N, M)."""
        return self.seen(images) @ self.seen(others).T

    @torch.no_grad()
    def seen(self, images: Tensor) -> Tensor:
        """The features (N, D) of images of any values and number."""
        return torch.cat([self.features(part.clamp(0, 1)) for part in torch.split(images, CHUNK)])


def chosen_share(likeness: Tensor, own: Tensor) -> Tensor:
    """How often the right image is chosen: of pictures' likenesses (N, M) to M natural images, of which
    ``own`` (N,) is the right one, the share (N,) of the others that are less like it; equal ones count half.
    1 is always right, 0.5 chance. Raises ConfigError: there is no other.

    Example:
        >>> chosen_share(torch.tensor([[0.9, 0.2, 0.9, 0.95, 0.1]]), torch.tensor([0])).item()
        0.625
    """
    if likeness.shape[1] < 2:
        raise ConfigError("a choice is between two images or more: give more images")
    right = likeness.gather(1, own[:, None])
    wins = (right > likeness).double() + 0.5 * (right == likeness).double()
    return (wins.sum(1) - 0.5) / (likeness.shape[1] - 1)  # it is as like as itself


def network_observer(explained: Network) -> Observer:
    """A network of LAYERS that is not the one explained: at each place of each layer the angle between the
    two images' features counts, as in LPIPS (Zhang et al. 2018) without its fitted weights.

    Raises MissingExtraError without the extra imagenet."""
    name = next(one for one in LAYERS if one != explained.name)
    encoder: Encoder[dict[str, Tensor], dict[str, tuple[int, ...]]] = Encoder(
        load_network(name), layers=LAYERS[name]
    )

    def features(images: Tensor) -> Tensor:
        codes = encoder(fit(images, encoder.size).to(encoder.dtype))
        shares = [F.normalize(code, dim=1).flatten(1) / code[0, 0].numel() ** 0.5 for code in codes.values()]
        joined: Tensor = torch.cat(shares, 1) / len(shares) ** 0.5
        return joined

    return Observer(name, features)


def observers(explained: Network) -> list[Observer]:
    """The network that observes, and one without a network, by HOG. Raises MissingExtraError."""
    hog = Observer(HOG_OBSERVER, lambda images: F.normalize(hog_features(images), dim=1))
    return [network_observer(explained), hog]
