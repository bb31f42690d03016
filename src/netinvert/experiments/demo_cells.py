"""What the demo inverts, and how: cells of its run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from netinvert.evaluation.evaluate import (
    Reference,
    evaluate_result,
    held_out_estimator,
    read_poses,
    shipped_reference,
)
from netinvert.experiments.invert import Measure, optimised
from netinvert.inversion.invert import prepare
from netinvert.inversion.objectives import code_error
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.presets.fitting import is_vector
from netinvert.inversion.result import Result
from netinvert.io.assets import chair, photographs, unseen_chairs
from netinvert.io.cells import Cell, Piece
from netinvert.models.decoder import load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.registry import list_networks, load_network
from netinvert.scenes.cameras import geodesic_degrees

UNSEEN_NETWORK, CHAIR_NETWORK, PHOTOGRAPH_NETWORK = "posenet", "objectron-chair", "mobilenet-v2"
UNSEEN, CHAIR, PHOTOGRAPH = "unseen-chair", "chair", "chelsea"
UNSEEN_LAYERS = ("relu1", "relu2", "relu4", "pool5", "relu6", "relu7", "fc8")
DECODERS = {"relu6": "posenet-fc6", "relu7": "posenet-fc7", "fc8": "posenet-pose"}
"""Of the fully connected layers, whose inversions average many random views and need more steps."""
MORE_STEPS = 3
PRIORS = ("tv-isotropic", "tv-anisotropic", "none")


@dataclass(frozen=True)
class DemoCode:
    """The code of an original (or of several) at a layer, and the prior to invert it with."""

    network: str
    layer: str
    original: str
    prior: str = PRIORS[0]

    def file(self, number: int) -> str:
        """The name of a reconstruction's image; ``number`` counts from 1."""
        end = f"chair-{number}" if self.original == UNSEEN else self.prior
        return f"{self.network}-{self.layer}-{end}.png"


@dataclass(frozen=True, eq=False)
class Inverted:
    """A code, its reconstructions (N, 3, H, W), and what is known of them.

    ``decoded`` (N, 3, H, W) is what a decoder makes of it. ``facts``: code_shape, steps, seconds, ``metrics``
    of each, ``others``, the code error of other images, and of unseen chairs the pose errors of both readers
    in degrees.
    """

    code: DemoCode
    image: Tensor
    decoded: Tensor | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Of each image."""
        found: list[dict[str, Any]] = self.facts["metrics"]
        return found

    def mean(self, name: str) -> float:
        """Over the images, of their ``ssim`` or code ``error``."""
        return float(
            statistics.mean(
                each["errors"]["ijcv16"] if name == "error" else each[name] for each in self.metrics
            )
        )


@dataclass(frozen=True)
class DemoWork:
    """Work for ``run_cells``: the inversions of codes."""

    steps: int
    seed: int

    def open(self) -> Callable[[DemoCode, Piece], Cell]:
        """What inverts a code; networks are loaded once."""
        load = cache(load_network)
        originals = demo_originals()

        def make(code: DemoCode, piece: Piece) -> Cell:
            encoder, images = Encoder(load(code.network), code.layer), originals[code.original]
            unseen = code.original == UNSEEN
            # Of vectors, the recipe whose images show most, though the default matches the code better.
            preset = "robust" if is_vector(encoder) else "default"
            how = recipe(preset, encoder, None if unseen else code.prior)
            how = how.with_steps(self.steps * (MORE_STEPS if unseen and code.layer in DECODERS else 1))
            target = encoder(images)
            told = Measure(
                f"{code.network} {code.layer}, code error", lambda image: code_error(encoder(image), target)
            )
            made = optimised(prepare(encoder, target, how), (self.seed,) * len(target), piece, told)
            result = Result.from_tensors(made.tensors, made.facts)
            reference = shipped_reference(encoder)
            tensors = {"image": result.image}
            facts: dict[str, Any] = {
                "code_shape": encoder.code_shape,
                "steps": result.steps,
                "seconds": result.seconds,
                "metrics": [asdict(one) for one in evaluate_result(result, encoder, images, reference)],
                "others": _error_of_others(target, reference),
            }
            if unseen:
                facts["pose_errors"] = pose_errors(encoder, result.image)
            if unseen and code.layer in DECODERS:
                tensors["decoded"] = load_decoder(DECODERS[code.layer])(target)
                facts["decoded_pose_errors"] = pose_errors(encoder, tensors["decoded"])
            return Cell(tensors, facts)

        return make


def demo_codes() -> list[DemoCode]:
    """All codes of the demo."""
    chair_layers, photograph_layers = (
        next(card.layers for card in list_networks() if card.name == name)
        for name in (CHAIR_NETWORK, PHOTOGRAPH_NETWORK)
    )
    return [
        *(DemoCode(UNSEEN_NETWORK, layer, UNSEEN) for layer in UNSEEN_LAYERS),
        *(DemoCode(CHAIR_NETWORK, layer, CHAIR, prior) for layer in chair_layers for prior in PRIORS),
        *(DemoCode(PHOTOGRAPH_NETWORK, layer, PHOTOGRAPH) for layer in photograph_layers),
    ]


def demo_originals() -> dict[str, Tensor]:
    """Images (N, 3, H, W) by name."""
    names, images = photographs()
    return {
        UNSEEN: unseen_chairs().images,
        CHAIR: chair().image,
        PHOTOGRAPH: images[names.index(PHOTOGRAPH)][None],
    }


def pose_errors(encoder: Encoder, images: Tensor) -> dict[str, list[float]]:
    """By how many degrees the poses that posenet and the held-out pose estimator read from images of the
    unseen chairs are off."""
    held_out = held_out_estimator(encoder)
    assert held_out is not None
    readings = {"own": read_poses(encoder, images), "held_out": read_poses(held_out, images)}
    rotation = unseen_chairs().rotation
    return {
        name: geodesic_degrees(reading.rotation, rotation).tolist()
        for name, reading in readings.items()
        if reading is not None
    }


def _error_of_others(codes: Tensor, reference: Reference | None) -> float | None:
    """The mean code error of the other codes or, of a single one, of the reference's."""
    others = reference.codes if len(codes) == 1 and reference is not None else codes
    errors = torch.cat([code_error(one[None].expand_as(codes), codes) for one in others])
    return errors[errors > 0].mean().item() if bool((errors > 0).any()) else None
