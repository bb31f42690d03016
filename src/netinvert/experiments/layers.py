"""The layer-by-layer protocol of the two Mahendran & Vedaldi papers, for any network and images.

Every layer's codes are inverted with every value of the weight between accuracy and naturalness: λ of the
total variation (CVPR 2015, table 3), the weight C of the code error (IJCV 2016, section 5), or the weight
of our default's prior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinvert.errors import CodeError
from netinvert.evaluation.evaluate import Baseline, Reference, shipped_reference
from netinvert.evaluation.metrics import spread
from netinvert.experiments.configs.studies import CHAIRS, StudyLayers
from netinvert.experiments.inputs import Source, image_paths, sources_of, unique_stems
from netinvert.experiments.inversions import (
    Reconstructions,
)
from netinvert.experiments.look import codes_of
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.presets.mahendran15 import CVPR15_DEPTHS, CVPR15_LAMBDA_TV
from netinvert.inversion.priors import TotalVariation
from netinvert.inversion.schedule import Recipe
from netinvert.io.assets import photographs, unseen_chairs
from netinvert.io.images import fit, read_image
from netinvert.models.encoder import Encoder
from netinvert.models.layers import list_layers
from netinvert.models.network import Network

NONE = "none"
"""The value that stands for no regulariser at all."""


@dataclass(frozen=True)
class Protocol:
    """A paper's experiment: the weight's name, the values it was set to, and the error that is reported."""

    name: str
    weight: str
    values: tuple[float, ...]
    error: str
    recipe: Callable[[Encoder, float | None], Recipe]


def cvpr15_recipe(encoder: Encoder, value: float | None) -> Recipe:
    """The preset ``cvpr15`` with the λ (of the released code: 1, 10, 100) of its total variation."""
    how = recipe("cvpr15", encoder)
    if value is None:
        return replace(how, priors=())
    own = CVPR15_LAMBDA_TV[sum(encoder.depth > depth for depth in CVPR15_DEPTHS)]
    priors = ((w * value / own if isinstance(term, TotalVariation) else w, term) for w, term in how.priors)
    return replace(how, priors=tuple(priors))


def ijcv16_recipe(encoder: Encoder, value: float | None) -> Recipe:
    """The preset ``ijcv16`` with this C.

    Without a value neither priors, bound nor jitter, and C = 1, as their exp_noregularizer.m.
    """
    how = recipe("ijcv16", encoder)
    if value is not None:
        return replace(how, data_weight=value)
    bare = tuple(replace(stage, jitter=1, projections=()) for stage in how.stages)
    return replace(how, data_weight=1.0, priors=(), stages=bare)


def default_recipe(encoder: Encoder, value: float | None) -> Recipe:
    """Our default with this weight of its total variation."""
    return recipe("default", encoder, "none" if value is None else f"tv-isotropic={value!r}")


PROTOCOLS = {
    one.name: one
    for one in (
        Protocol("cvpr15", "λ", CVPR15_LAMBDA_TV, "cvpr15", cvpr15_recipe),
        Protocol("ijcv16", "C", (1.0, 20.0, 100.0, 300.0), "ijcv16", ijcv16_recipe),
        Protocol("default", "weight", (0.03, 0.3, 3.0), "ijcv16", default_recipe),
    )
}


@dataclass(frozen=True)
class ProtocolChoice:
    """A protocol with a value of its weight (None: no regulariser)."""

    protocol: str
    value: float | None
    steps: int | None

    def recipe(self, encoder: Encoder) -> Recipe:
        """For this encoder. Raises NetinvertError."""
        how = PROTOCOLS[self.protocol].recipe(encoder, self.value)
        return how if self.steps is None else how.with_steps(self.steps)

    @property
    def label(self) -> str:
        """Of a column: ``λ = 10``."""
        if self.value is None:
            return "no regulariser"
        return f"{PROTOCOLS[self.protocol].weight} = {self.value:g}"


@dataclass(frozen=True, eq=False)
class ProtocolCell:
    """All inversions of a layer's codes with one value: images, and the restarts of one together.

    ``same_class``: whether the network's first class is that of the original. ``spread`` has a value an
    image: the mean over pairs of its restarts of their root mean square difference (``distance``) and of
    their ``ssim``.
    """

    layer: str
    code_shape: tuple[int, ...]
    label: str
    steps: int
    found: Reconstructions
    same_class: tuple[bool, ...] | None = None
    spread: dict[str, list[float]] | None = None

    def facts(self) -> dict[str, object]:
        """All figures."""
        return {
            **{name: value for name, value in vars(self).items() if name != "found"},
            **self.found.facts(),
        }


@dataclass(frozen=True, eq=False)
class LayerTable:
    """What a run gives: cells by layer, then value; ``floors`` by layer."""

    network: str
    names: tuple[str, ...]
    originals: Tensor
    config: StudyLayers
    reference: str
    cells: tuple[ProtocolCell, ...]
    floors: Mapping[str, Sequence[Baseline]]

    @property
    def layers(self) -> tuple[str, ...]:
        """In the order of the table."""
        return tuple(dict.fromkeys(cell.layer for cell in self.cells))

    def row(self, layer: str) -> list[ProtocolCell]:
        """The cells of a layer."""
        return [cell for cell in self.cells if cell.layer == layer]


def values_of(config: StudyLayers) -> tuple[float | None, ...]:
    """Of the protocol's weight; None is no regulariser."""
    if not config.values:
        return (*PROTOCOLS[config.protocol].values, None)
    return tuple(None if text == NONE else float(text) for text in config.values)


def study_images(config: StudyLayers, network: Network) -> tuple[tuple[str, ...], Tensor, tuple[Source, ...]]:
    """Names, images (N, C, H, W) at the network's size, files."""
    size, channels = network.preprocessing.size, network.preprocessing.channels
    sources: tuple[Source, ...] = ()
    if config.images is None:
        found, images = photographs(size, channels)
        names = tuple(found)
    elif config.images == CHAIRS:
        images = fit(unseen_chairs().images, size)
        names = tuple(f"chair {k + 1}" for k in range(len(images)))
    else:
        paths = image_paths(config.images)[: config.count]
        names, sources = unique_stems(paths), sources_of("images", paths)
        images = torch.cat([fit(read_image(path, channels), size) for path in paths])
    return names[: config.count], images[: config.count], sources


def with_comparisons(
    cell: ProtocolCell, originals: Tensor, restarts: int, classes: Encoder | None
) -> ProtocolCell:
    """With what is known of all its images together."""
    images = cell.found.images
    if images is None:
        return cell
    if classes is not None:
        found, wanted = (
            codes_of(classes, some.clamp(0, 1), restarts).argmax(1) for some in (images, originals)
        )
        cell = replace(cell, same_class=tuple((found == wanted.repeat_interleave(restarts)).tolist()))
    if restarts > 1:
        cell = replace(cell, spread=spread(images.view(len(originals), restarts, *images.shape[1:])))
    return cell


def reference_codes(encoder: Encoder, codes: Tensor) -> Reference | None:
    """The inverted codes themselves, as in the papers; netinvert's photographs where they are too few."""
    if codes.shape[0] < 2 or bool((codes == codes[0]).all()):
        return shipped_reference(encoder)
    return Reference("the inverted images themselves", codes)


def class_encoder(network: Network, config: StudyLayers) -> Encoder | None:
    """The whole network, if what it gives is a score a class."""
    if not (has_classes(network) if config.classes is None else config.classes == "yes"):
        return None
    whole = Encoder(network, "output")
    if len(whole.code_shape) != 1:
        raise CodeError(
            f"{network.name} gives {whole.code_shape}, not one score a class; leave out --classes"
        )
    return whole


def has_classes(network: Network) -> bool:
    """Whether it ends in a linear layer (or a softmax behind one) and reads no poses."""
    if network.read_pose is not None:
        return False
    leaves = {type(part).__name__ for part in network.module.modules() if not any(part.children())}
    last = [info for info in list_layers(network) if info.type in leaves][-1]
    return last.type in ("Linear", "Softmax", "LogSoftmax") and len(last.code_shape) == 1


def without_seconds(facts: dict[str, object]) -> dict[str, object]:
    """What is the same whenever it is made again."""
    return {name: value for name, value in facts.items() if name != "cpu_seconds"}
