"""PoseNet's codes of chairs that it never saw, inverted, and the pose that the reconstructions show.

PoseNet itself reads the poses, and so does its judge, which the reconstructions were not made for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netinvert.evaluation import page
from netinvert.evaluation.evaluate import (
    Metrics,
    evaluate_result,
    held_out_estimator,
    read_poses,
    shipped_reference,
)
from netinvert.inversion.invert import invert
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.result import Result
from netinvert.models.decoder_files import load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network
from netinvert.scenes.backgrounds import composite
from netinvert.scenes.catalogue import object_source
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.lights import STUDIO
from netinvert.scenes.render import Renderer
from netinvert.scenes.rotations import angles_from_rotation, geodesic_degrees

NETWORK = "posenet"
LAYERS = ("relu1", "relu2", "relu4", "pool5", "relu6", "relu7", "fc8")
FULLY_CONNECTED = ("relu6", "relu7", "fc8")
DECODERS = {"relu6": "posenet-fc6", "relu7": "posenet-fc7", "fc8": "posenet-pose"}
PLAN = DatasetConfig(identities=4, views=1, size=64, seed=4, elevation=(10, 35), in_plane=0, lights="studio")
PAPER = (206, 212, 218)
Progress = Callable[[str], None]

INTRODUCTION = (
    "`posenet` has the topology of AlexNet and was trained on nothing but rendered chairs with known "
    "cameras. These four chairs were rendered anew; it has never seen them. A picture made for a network can "
    "fool that network. So a second one, `posenet-judge`, of another architecture, trained on other chairs, "
    "reads the pose of every reconstruction too, and its word counts."
)
READING = (
    "Up to the last pooling the chair is there, and both networks read its pose from the reconstruction. In "
    "the fully connected layers, whose pictures have to hold while view, noise and covers change, back, "
    "seat, arms and foot can still be told: the network also learned to tell whether two views show the same "
    "chair. `fc8`, the pose alone, gives a chair of no make in particular, turned as the original is. Where "
    "`posenet` reads the right pose from a picture and the judge does not, the picture holds the pose in a "
    "form that only `posenet` understands."
)


@dataclass(frozen=True, eq=False)
class Views:
    """Pictures (N, 3, 64, 64) of chairs, and their rotations (N, 3, 3), object to camera."""

    images: Tensor
    rotation: Tensor


@dataclass(frozen=True, eq=False)
class LayerCodes:
    """The inverted codes of one layer. ``own`` and ``judged`` (N,) are the geodesic errors in degrees of the
    poses that posenet and its judge read from the reconstructions, against the cameras; ``decoded``
    (N, 3, 64, 64) what a trained decoder makes of the codes, ``decoded_judged`` (N,) the judge's errors."""

    layer: str
    code_shape: tuple[int, ...]
    result: Result
    figures: list[Metrics]
    own: Tensor
    judged: Tensor
    decoded: Tensor | None = None
    decoded_judged: Tensor | None = None


def unseen_views() -> Views:
    """The chairs of PLAN before plain paper. Raises MissingExtraError without embreex."""
    images, rotations = [], []
    source = object_source(PLAN.objects)
    for identity in range(PLAN.identities):
        thing = source.make(PLAN.object_seed(identity), identity)
        camera = PLAN.camera(thing.vertices, 0, PLAN.generator(identity, 0))
        rgba = Renderer(thing).image(camera, STUDIO).rgba
        paper = np.broadcast_to(np.array(PAPER, np.uint8), (*rgba.shape[:2], 3))
        images.append(composite(rgba, paper))
        rotations.append(camera.rotation)
    pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return Views(pictures, torch.from_numpy(np.stack(rotations)).float())


def invert_layers(views: Views, steps: int, seed: int, progress: Progress) -> list[LayerCodes]:
    """Invert the codes of every layer in LAYERS, all chairs of a layer at once."""
    network = load_network(NETWORK)
    return [_invert(Encoder(network, layer), views, steps, seed, progress) for layer in LAYERS]


def section(views: Views, layers: list[LayerCodes]) -> list[str]:
    """The part of the report on them."""
    angles = angles_from_rotation(views.rotation)
    originals = [
        page.Figure(picture, f"chair {k + 1}", (f"azimuth {a:.0f}°, elevation {e:.0f}°",))
        for k, (picture, a, e) in enumerate(zip(views.images, angles[0], angles[1], strict=True))
    ]
    parts = [
        page.heading("Chairs that the network never saw, and a judge"),
        page.paragraph(INTRODUCTION),
        page.figures(originals),
    ]
    for one in layers:
        size = "×".join(map(str, one.code_shape)) + (" numbers" if len(one.code_shape) == 1 else "")
        parts.append(page.heading(f"{one.layer}: {size}", 3))
        parts.append(page.figures([_figure(one, k) for k in range(len(views.images))]))
        if one.decoded is not None:
            parts.append(
                page.paragraph(f"The same codes by the decoder {DECODERS[one.layer]}, in milliseconds:")
            )
            parts.append(page.figures([_decoded_figure(one, k) for k in range(len(views.images))]))
    parts.append(page.paragraph(READING))
    headings = ("layer", "code error", "SSIM", "posenet reads", "the judge reads")
    parts.append(page.table(headings, [_row(one) for one in layers]))
    parts.append(page.paragraph("Means over the chairs; poses by their median geodesic error.", quiet=True))
    return parts


def _invert(encoder: Encoder, views: Views, steps: int, seed: int, progress: Progress) -> LayerCodes:
    how = recipe("default", encoder)
    if encoder.layer not in FULLY_CONNECTED:  # those average many random views, and need all their steps
        how = how.with_steps(steps)
    result = invert(encoder, encoder(views.images), preset=how, seed=seed)
    figures = evaluate_result(result, encoder, views.images, shipped_reference(encoder))
    other = held_out_estimator(encoder)
    assert other is not None
    own, judged = (_errors(reader, result.image, views.rotation) for reader in (encoder, other))
    progress(
        f"{encoder.network.name} {encoder.layer:6} code error {result.error.mean().item():.3f}  pose error "
        f"{own.median().item():.0f}°, judge {judged.median().item():.0f}°  {result.seconds:.1f} s"
    )
    if encoder.layer not in DECODERS:
        return LayerCodes(encoder.layer, encoder.code_shape, result, figures, own, judged)
    decoded = load_decoder(DECODERS[encoder.layer])(encoder(views.images))
    errors = _errors(other, decoded, views.rotation)
    return LayerCodes(encoder.layer, encoder.code_shape, result, figures, own, judged, decoded, errors)


def _errors(reader: Encoder, images: Tensor, rotation: Tensor) -> Tensor:
    reading = read_poses(reader, images)
    assert reading is not None
    return geodesic_degrees(reading.rotation, rotation)


def _figure(one: LayerCodes, k: int) -> page.Figure:
    lines = (
        f"code error {one.result.error[k].item():.3f}, SSIM {one.figures[k].ssim:.2f}",
        f"pose {one.own[k].item():.0f}° off, judge {one.judged[k].item():.0f}° off",
    )
    return page.Figure(one.result.image[k], f"chair {k + 1}", lines)


def _decoded_figure(one: LayerCodes, k: int) -> page.Figure:
    assert one.decoded is not None
    assert one.decoded_judged is not None
    return page.Figure(one.decoded[k], f"chair {k + 1}", (f"judge {one.decoded_judged[k].item():.0f}° off",))


def _row(one: LayerCodes) -> tuple[str, ...]:
    likeness = sum(each.ssim or 0.0 for each in one.figures) / len(one.figures)
    return (
        one.layer,
        f"{one.result.error.mean().item():.3f}",
        f"{likeness:.2f}",
        f"{one.own.median().item():.1f}° off",
        f"{one.judged.median().item():.1f}° off",
    )
