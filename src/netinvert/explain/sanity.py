"""Whether a saliency looks at the network, and whether the pixels that it names matter to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.explain.occlusion import Occluder
from netinvert.explain.saliency import METHODS, Saliency
from netinvert.explain.targets import Target, parse_target
from netinvert.models.cut import observed
from netinvert.models.network import Network
from netinvert.models.private_copy import own_weights, shared_copy
from netinvert.models.sound import unwrapped

Explains = Callable[[Target, Tensor, Tensor], Tensor]
"""Maps (N, H, W) of a target, images (N, C, H, W) and what is fixed of them: a ``Saliency``, say."""
EDGES, RANDOM_MAP = "edges", "random map"
OCCLUSIONS = {"occlusion": "border", "occlusion-grey": "grey"}
"""By what they fill squares with."""
EXPLANATIONS = (*METHODS, *OCCLUSIONS)
"""What ``explaining`` knows that explains something."""
FLOORS = (EDGES, RANDOM_MAP)
"""Maps that no network has a part in."""
SHARES = 16
"""Steps in which pixels are taken away or put in."""
SHIFT = 0.25
"""Added to all pixels."""
BLURRED = 8
"""Squares a side, whose means are what is left of an image where no pixel is put in yet."""


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's ρ (N,) of rows (N, P), ties sharing their mean rank; 0 where a row is constant.

    >>> rank_correlation(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.0, 5.0, 4.0]])).tolist()
    [0.5]
    """
    ranked = [torch.stack([ranks(row) for row in rows]) for rows in (first, second)]
    one, other = (F.normalize(rows - rows.mean(1, keepdim=True), dim=1) for rows in ranked)
    return (one * other).sum(1)


def ranks(row: Tensor) -> Tensor:
    """The ranks (P,) of values (P,) from 1, ties sharing their mean.

    >>> ranks(torch.tensor([5.0, 1.0, 5.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = torch.unique(row, return_inverse=True, return_counts=True)
    found: Tensor = (counts.cumsum(0) - (counts - 1) / 2).double()[place]
    return found


def likeness(first: Tensor, second: Tensor) -> Tensor:
    """The rank correlation (N,) of maps (N, H, W) without their signs."""
    return rank_correlation(first.abs().flatten(1), second.abs().flatten(1))


# -- what a map is held against --------------------------------------------------------------------------


def edge_map(target: Target, images: Tensor, fixed: Tensor) -> Tensor:
    """How steep images are, (N, H, W), by Sobel's filter: what no network has a part in."""
    slope = images.new_tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    kernels = torch.stack([slope, slope.T])[:, None]
    grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    steep: Tensor = F.conv2d(grey, kernels).norm(dim=1)
    return steep


def random_map(seed: int) -> Explains:
    """Another random map each time."""
    source = torch.Generator().manual_seed(seed)

    def draw(target: Target, images: Tensor, fixed: Tensor) -> Tensor:
        return torch.rand(len(images), *images.shape[-2:], generator=source).to(images)

    return draw


def explaining(name: str, samples: int, seed: int, layer: str | None = None, crops: bool = False) -> Explains:
    """A row of a comparison by its name: one of EXPLANATIONS or FLOORS. Raises ConfigError."""
    if name == EDGES:
        return edge_map
    if name in OCCLUSIONS:
        return partial(occlusion_maps, OCCLUSIONS[name])
    return random_map(seed) if name == RANDOM_MAP else Saliency(name, samples, 0.15, layer, crops, seed)


def occlusion_maps(fill: str, target: Target, images: Tensor, fixed: Tensor) -> Tensor:
    """How much the target falls where squares of a quarter of the image's side hide a pixel, (N, H, W)."""
    side = min(images.shape[-2:])
    how = Occluder(max(1, side // 4), max(1, side // 16), fill)
    pairs = zip(torch.split(images, 1), torch.split(fixed, 1), strict=True)
    return torch.stack([how(target, image, fixed=own).importance for image, own in pairs]).to(images)


# -- the checks -------------------------------------------------------------------------------------------


def cascade(network: Network, size: tuple[int, int], seed: int) -> Iterator[tuple[str, Network]]:
    """The network with random weights from the output down: the last layer alone, then one more each time,
    by the name of the last one (Adebayo et al. 2018, section 3). Weights are drawn from a normal distribution
    of their own mean and deviation.

    Raises NetworkError: there are none."""
    source = torch.Generator().manual_seed(seed)
    module = shared_copy(unwrapped(network.module))
    own_weights(module)
    order: dict[str, nn.Module] = {}

    def see(name: str, part: nn.Module, first: Tensor | None, output: object) -> None:
        if any(True for _ in part.parameters(recurse=False)):
            order.setdefault(name, part)

    like = next(module.parameters(), None)
    if like is None:
        raise NetworkError(f"{network.name} has no weights to make random")
    with observed(module, see), torch.no_grad():
        module(torch.zeros(1, network.preprocessing.channels, *size).to(like))
    for name, part in reversed(order.items()):
        for one in part.parameters(recurse=False):
            spread = one.std() if one.numel() > 1 else one.abs().mean()
            one.data = one.mean() + spread * torch.randn(one.shape, generator=source).to(one)
        yield name, replace(network, module=module)


def all_random(network: Network, size: tuple[int, int], seed: int) -> Network:
    """The last of a ``cascade``."""
    (last,) = deque(cascade(network, size, seed), 1)
    return last[1]


def randomised(target: Target, images: Tensor, explains: Explains, seed: int) -> dict[str, Tensor]:
    """How like its own its maps are (N,) when the last layer that the target depends on is random, when the
    upper half of all is, when all are: a saliency that shows the network's reasons forgets them."""
    fixed, encoder = target.fixed(images), target.encoder
    own, value = explains(target, images, fixed), target(images, fixed)
    last = sum(1 for _ in cascade(encoder.network, encoder.size, seed)) - 1
    found: dict[str, Tensor] = {}
    for place, (_, network) in enumerate(cascade(encoder.network, encoder.size, seed)):
        if found and place not in (last // 2, last):
            continue
        other = parse_target(network, target.name)
        if not found and torch.allclose(other(images, fixed), value):
            continue  # a head that this target has nothing to do with
        maps = explains(other, images, fixed if target.kept else other.fixed(images))
        name = "last layer" if not found else "all layers" if place == last else "upper half"
        found[name] = likeness(own, maps)
    for name, before in (("upper half", "last layer"), ("all layers", "upper half")):
        found.setdefault(name, found[before])
    return found


def shifted(target: Target, images: Tensor, explains: Explains) -> Tensor:
    """How like its own its maps are (N,) for images that are all brighter by SHIFT, of a network that takes
    that off again, so that its answers are the same (Kindermans et al. 2017)."""
    encoder, fixed = target.encoder, target.fixed(images)
    offset = encoder.network_input(images[:1] + SHIFT) - encoder.network_input(images[:1])
    module = shared_copy(unwrapped(encoder.network.module))
    module.register_forward_pre_hook(lambda part, inputs: (inputs[0] - offset[..., :1, :1], *inputs[1:]))
    other = parse_target(replace(encoder.network, module=module), target.name)
    return likeness(explains(target, images, fixed), explains(other, images + SHIFT, fixed))


@torch.no_grad()
def deleted(target: Target, images: Tensor, maps: Tensor, insert: bool = False) -> tuple[Tensor, Tensor]:
    """The area (N,) under the target's value as pixels are greyed, those first that maps (N, H, W) say most
    of; with ``insert`` as they are put into a blurred image (Petsiuk et al. 2018). It is a share of the whole
    way from no pixel (0) to all (1), whose length (N,) is its weight in a mean."""
    encoder, fixed = target.encoder, target.fixed(images)
    centre = images.new_tensor(encoder.centre)[:, None, None]
    coarse = F.adaptive_avg_pool2d(images, BLURRED)
    empty = F.interpolate(coarse, images.shape[-2:], mode="bilinear") if insert else centre.expand_as(images)
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(1)
    rank = order.view(-1, 1, *maps.shape[1:]) / order.shape[1]
    values = []
    for step in range(SHARES + 1):
        early = rank < step / SHARES
        values.append(target(torch.where(early == insert, images, empty), fixed))
    curve = torch.stack(values).double()
    none, full = (curve[0], curve[-1]) if insert else (curve[-1], curve[0])
    area = (curve[1:] + curve[:-1]).mean(0) / 2
    way = full - none
    return (area - none) / torch.where(way == 0, torch.ones_like(way), way), way
