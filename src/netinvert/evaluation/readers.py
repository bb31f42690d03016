"""Readers that take no part in making an image: of poses a held-out network, one by other people, trained on
photographs, and two without any network; of the parts of chairs, place by place, a linear map of the features
of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.cells import Cell, Cells
from netinvert.io.images import fit
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network
from netinvert.models.registry import load_network
from netinvert.models.zoo.descriptors import Hog
from netinvert.models.zoo.pose import read_pose_network
from netinvert.models.zoo.pose_heads import NEAR
from netinvert.scenes.backgrounds import PAPER
from netinvert.scenes.cameras import symmetric_geodesic_degrees
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import image_maker
from netinvert.scenes.fresh import UPRIGHT, rendered_views
from netinvert.scenes.poses import PoseReading, nearest_rotation
from netinvert.scenes.seeds import HOG

CHUNK = 64
SUFFIX = ".safetensors"
RIGHT = NEAR
"""Degrees: a reading that is nearer to the truth counts as right."""
JUDGE = "posenet-judge"
OWN = "own pose"
"""The reader that is the network itself whose codes are inverted."""
FOREIGN = "objectron-chair"
"""Trained by other people on photographs of chairs. Of procedural chairs seen from straight behind it reads
half to four fifths as seen from the front, whatever the crop, the background and the light: it is asked only
about views whose original it reads right (``benchmarks/objectron_chairs.py``)."""
MARGIN = 0.22
"""Of an image's side, repeated from its border on all sides for FOREIGN, whose training crops had as much
around the chair."""
SIDE = 64
"""Pixels that the readers without a network look at."""
NEIGHBOURS = 5
LEARNED = 3000
"""Views that the readers without a network learn from: two of each chair of the seed ``seeds.HOG``."""
LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class PoseReader:
    """Reads poses from images (N, 3, H, W) in [0, 1] of any square size. One that is ``limited`` is asked
    only about views whose original it reads right, for where it cannot read, it tells nothing."""

    name: str
    read: Callable[[Tensor], PoseReading]
    limited: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """The rotations (N, 3, 3), object to camera."""
        return self.read(images).rotation

    def errors(self, images: Tensor, rotation: Tensor, symmetry: Tensor) -> Tensor:
        """Geodesic errors (N,) in degrees; of symmetric objects the least."""
        return symmetric_geodesic_degrees(self(images), rotation, symmetry)

    def asked(self, originals: Tensor, rotation: Tensor, symmetry: Tensor) -> Tensor:
        """About which views (N,) it is asked."""
        if not self.limited:
            return torch.ones(len(originals), dtype=torch.bool)
        return self.errors(originals, rotation, symmetry) < RIGHT


@torch.no_grad()
def read_images(network: Network, images: Tensor) -> PoseReading:
    """What a pose network reads from images (N, 3, H, W) in [0, 1], clipped and fitted to its size.

    Raises ConfigError: it reads no poses."""
    if network.read_pose is None:
        raise ConfigError(f"{network.name} reads no poses: choose a pose network, such as posenet")
    form = network.preprocessing
    mean, std = (torch.tensor(values)[:, None, None] for values in (form.mean, form.std))
    found = []
    for part in torch.split(images, CHUNK):
        seen = fit(part.clamp(0, 1), form.size)
        ordered = seen if form.order == "RGB" else seen.flip(1)
        found.append(network.read_pose(network.module((ordered * form.scale - mean) / std)))
    return PoseReading.joined(found)


def network_reader(name: str, weights: str | None = None) -> PoseReader:
    """A pose network by its name, or a file of ``netinvert pose train``.

    Raises NetworkError: no such network or file; ConfigError: it reads no poses."""
    network = pose_network(name, weights)
    if network.read_pose is None:
        raise ConfigError(f"{network.name} reads no poses: choose a pose network, such as posenet")
    if name == FOREIGN:
        return PoseReader(name, lambda images: read_images(network, with_margin(images)), limited=True)
    shown = "/".join(Path(name).with_suffix("").parts[-2:]) if name.endswith(SUFFIX) else name
    more = "" if weights is None else f" ({Path(weights).name})"
    return PoseReader(f"{shown}{more}", partial(read_images, network))


def pose_network(name: str, weights: str | None = None) -> Network:
    """A network by its name, or of a file of ``netinvert pose train``. Raises NetworkError."""
    if name.endswith(SUFFIX):
        return load_network(read_pose_network(name).topology, name)
    return load_network(name, weights)


def with_margin(images: Tensor) -> Tensor:
    """Images with MARGIN more on all sides, their border repeated."""
    return F.pad(images, (round(MARGIN * images.shape[-1]),) * 4, mode="replicate")


# -- readers without a network ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LearnedViews:
    """``images`` (M, 3, SIDE, SIDE) uint8 of chairs before paper, and their ``rotation`` (M, 3, 3)."""

    images: Tensor
    rotation: Tensor

    @classmethod
    def rendered(cls, count: int = LEARNED) -> LearnedViews:
        """Of chairs that look the same from no two sides. Raises MissingExtraError without the extra scenes;
        ConfigError: fewer than NEIGHBOURS views."""
        plan = DatasetConfig(identities=(count + 1) // 2, views=2, size=SIDE, seed=HOG)
        views = rendered_views(plan).before("paper")
        views = views.only(views.symmetry == 1)
        if len(views.images) < NEIGHBOURS:
            raise ConfigError(f"{count} views are too few to read poses by: give 2 x {NEIGHBOURS} or more")
        return cls((255 * views.images).round().to(torch.uint8), views.rotation)

    @classmethod
    def kept(cls, cells: Cells, count: int) -> LearnedViews:
        """The same, kept in a run."""
        return cls(**cells.keep("learned", lambda: Cell(vars(cls.rendered(count)))).tensors)

    def readers(self) -> list[PoseReader]:
        """The poses of the views that are nearest in HOG and in pixels; and always the mean pose."""
        mean = nearest_rotation(self.rotation.mean(0, keepdim=True))
        always = PoseReader(
            "always the mean pose", lambda images: PoseReading.of_rotations(mean.expand(len(images), 3, 3))
        )
        hog = PoseReader("HOG, nearest views", self._nearest(hog_features, NEIGHBOURS), limited=True)
        return [hog, PoseReader("pixels, nearest view", self._nearest(_pixels, 1)), always]

    def _nearest(
        self, features: Callable[[Tensor], Tensor], neighbours: int
    ) -> Callable[[Tensor], PoseReading]:
        """The mean rotation of the nearest views, nearer ones counting more."""
        known = features(self.images.float() / 255)

        def read(images: Tensor) -> PoseReading:
            distance, place = torch.cdist(features(images), known).topk(neighbours, largest=False)
            nearest = distance[:, :1].clamp_min(1e-6)
            weights = torch.softmax(-20 * (distance / nearest).square(), 1)
            mean = (weights[..., None, None] * self.rotation[place]).sum(1)
            return PoseReading.of_rotations(nearest_rotation(mean))

        return read


def hog_features(images: Tensor) -> Tensor:
    """HOG (N, D) of images (N, 3, H, W) in [0, 1], seen at SIDE pixels (Dalal & Triggs 2005, in the variant
    of Felzenszwalb et al. 2010)."""
    red, green, blue = fit(images.clamp(0, 1), (SIDE, SIDE)).chunk(3, 1)
    grey = 255 * (LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue)
    with torch.no_grad():
        return torch.cat([Hog().eval()(part).flatten(1) for part in torch.split(grey, CHUNK)])


def _pixels(images: Tensor) -> Tensor:
    return fit(images.clamp(0, 1), (SIDE, SIDE)).flatten(1)


def held_out_readers(network: Network, learned: LearnedViews) -> list[PoseReader]:
    """Those that share nothing with a network: its held-out estimator (JUDGE where it names none), the
    foreign reader, and HOG; the network itself is left out.

    Raises NetworkError: a network cannot be loaded."""
    hog, *_ = learned.readers()
    names = (network.held_out_pose_estimator or JUDGE, FOREIGN)
    return [*(network_reader(one) for one in names if one != network.name), hog]


def readers_of(network: Network, learned: LearnedViews) -> list[PoseReader]:
    """``held_out_readers``, and the network itself where it reads poses. Raises NetworkError."""
    found = held_out_readers(network, learned)
    if network.read_pose is not None:
        found.append(PoseReader(OWN, partial(read_images, network)))
    return found


# -- parts of chairs ---------------------------------------------------------------------------------------

BYSTANDERS = {
    "mobilenet-v2": ("blocks.5", "blocks.12", "blocks.16"),
    "efficientnet-lite0": ("blocks.4", "blocks.10", "blocks.15"),
}
"""Networks that look at images made for others, and by which of their layers: at strides of 8, 16 and 32
pixels."""
CELLS = 28
"""Places of a picture, down and right, of which the part is read."""
RIDGE = 1.0
Layered = Encoder[dict[str, Tensor], dict[str, tuple[int, ...]]]


def bystander(explained: Network) -> Layered:
    """The layers of one of BYSTANDERS that is not the network explained. Raises MissingExtraError without the
    extra imagenet."""
    name = next(one for one in BYSTANDERS if one != explained.name)
    found: Layered = Encoder(load_network(name), layers=BYSTANDERS[name])
    return found


@dataclass(frozen=True, eq=False)
class PartMaps:
    """``images`` (N, 3, H, W) in [0, 1] of chairs before paper, and how much of each of CELLS x CELLS places
    is of which part, ``shares`` (N, 1 + P, CELLS, CELLS): the first is what is no chair, the others
    ``names``."""

    images: Tensor
    shares: Tensor
    names: tuple[str, ...]


def part_maps(
    chairs: int, seed: int = HOG, size: int = 128, names: tuple[str, ...] | None = None
) -> PartMaps:
    """So many chairs of a seed, those of ``fresh_chairs``; parts that ``names`` leave out count as no chair.

    Raises MissingExtraError without the extra scenes."""
    plan = DatasetConfig(identities=chairs, views=1, size=size, seed=seed, **UPRIGHT)
    source, found = plan.source(), []
    for identity in range(chairs):
        thing = source.make(plan.object_seed(identity), identity)
        rng = plan.generator(identity, 0)
        camera = plan.camera(thing.vertices, 0, rng)
        seen = image_maker(plan, thing)(camera, plan.light(rng), 0)
        found.append((seen.rgba, seen.parts, tuple(thing.parts)))
    known = names or tuple(sorted({one for *_, parts in found for one in parts}))
    shares = []
    for _, labels, parts in found:
        masks = np.stack([labels == 1 + parts.index(one) if one in parts else labels < 0 for one in known])
        shares.append(part_shares(torch.from_numpy(masks)))
    rgba = torch.from_numpy(np.stack([one for one, *_ in found])).permute(0, 3, 1, 2).float() / 255
    paper = torch.tensor(PAPER).float()[:, None, None] / 255
    return PartMaps(paper + rgba[:, 3:] * (rgba[:, :3] - paper), torch.stack(shares), known)


def part_shares(masks: Tensor) -> Tensor:
    """How much of each of CELLS x CELLS places is no chair, and of each part (P, H, W) bool,
    (1 + P, CELLS, CELLS)."""
    chair = masks.float()
    return F.adaptive_avg_pool2d(torch.cat([1 - chair.sum(0, keepdim=True), chair]), CELLS)


@dataclass(frozen=True, eq=False)
class PartReader:
    """``weights`` (C + 1, 1 + P) of the features of a place; of a part the largest answer counts."""

    encoder: Layered
    weights: Tensor
    names: tuple[str, ...]

    @classmethod
    def fitted(cls, explained: Network, maps: PartMaps) -> PartReader:
        """By ridge regression, on a network that is not the one explained.

        Raises MissingExtraError without the extra imagenet."""
        reader = cls.of_weights(explained, torch.zeros(()), maps.names)
        inner, outer = torch.zeros(()), torch.zeros(())
        for images, shares in zip(
            *(torch.split(each, CHUNK) for each in (maps.images, maps.shares)), strict=True
        ):
            seen = reader._features(images)
            inner = inner + seen.T @ seen
            outer = outer + seen.T @ shares.movedim(1, -1).flatten(0, 2)
        ridge = RIDGE * torch.eye(len(inner))
        return cls(reader.encoder, torch.linalg.solve(inner + ridge, outer), maps.names)

    @classmethod
    def of_weights(cls, explained: Network, weights: Tensor, names: tuple[str, ...]) -> PartReader:
        """One that was fitted. Raises MissingExtraError without the extra imagenet."""
        return cls(bystander(explained), weights, names)

    @torch.no_grad()
    def labels(self, images: Tensor) -> Tensor:
        """The parts (N, CELLS, CELLS), from 1; 0 is no chair."""
        found = [(self._features(part) @ self.weights).argmax(1) for part in torch.split(images, CHUNK)]
        return torch.cat(found).reshape(-1, CELLS, CELLS)

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        """Of all places, (N * CELLS * CELLS, C + 1)."""
        codes = self.encoder(fit(images.clamp(0, 1), self.encoder.size).to(self.encoder.dtype)).values()
        maps = [F.interpolate(F.normalize(one, dim=1), (CELLS, CELLS), mode="bilinear") for one in codes]
        maps.append(torch.ones_like(maps[0][:, :1]))
        return torch.cat(maps, 1).movedim(1, -1).flatten(0, 2)


def part_overlap(found: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of labels (N, H, W), from 1, in the mean over the parts that are there in
    truth, (N,); NaN where none is. Raises ConfigError: shapes differ.

    Example:
        >>> truth = torch.tensor([[[0, 1], [2, 2]]])
        >>> part_overlap(torch.tensor([[[0, 1], [2, 0]]]), truth).item()
        0.75
    """
    return part_overlaps(found, truth, max(1, int(truth.max()))).nanmean(1)


def part_overlaps(found: Tensor, truth: Tensor, parts: int) -> Tensor:
    """The same of each of so many parts, (N, parts); NaN of those that are not there in truth. Raises
    ConfigError: shapes differ.

    Example:
        >>> truth = torch.tensor([[[0, 1], [2, 2]]])
        >>> part_overlaps(torch.tensor([[[0, 1], [2, 0]]]), truth, 3).tolist()
        [[1.0, 0.5, nan]]
    """
    if found.shape != truth.shape:
        raise ConfigError(f"parts are compared place by place, got {found.shape} and {truth.shape}")
    columns = []
    for part in range(1, parts + 1):
        one, own = (labels.flatten(1) == part for labels in (found, truth))
        both, either = (places.sum(1).double() for places in (one & own, one | own))
        columns.append(torch.where(own.any(1), both / either, torch.nan))
    return torch.stack(columns, 1)
