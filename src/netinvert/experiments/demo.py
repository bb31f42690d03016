"""The demo: what the code of a 3-D pose network keeps of a chair, layer by layer and prior by prior."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from netinvert.evaluation import page
from netinvert.evaluation.evaluate import Metrics, Pose, evaluate_result, read_poses, shipped_reference
from netinvert.experiments import unseen_chairs
from netinvert.experiments.unseen_chairs import LayerCodes, Views
from netinvert.inversion.invert import invert
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.result import Result
from netinvert.io.assets import chair, photographs
from netinvert.io.files import write_atomic, write_json
from netinvert.io.folders import OutputFolder
from netinvert.io.images import write_png
from netinvert.io.manifest import versions
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network
from netinvert.models.registry import load_network

POSE_NETWORK, IMAGE_NETWORK = "objectron-chair", "mobilenet-v2"
PRIORS = {
    "tv-isotropic": "isotropic total variation",
    "tv-anisotropic": "anisotropic total variation",
    "none": "no prior",
}
PHOTOGRAPH = "chelsea"
SEED = 0
STEPS = 200
"""Fewer than the default, so that the demo ends soon; the pictures change little after them."""

INTRODUCTION = (
    "A neural network turns an image into a code: some thousand numbers at one of its layers. Each "
    "picture below was found from such a code alone. netinvert starts from grey noise and changes it "
    "until the network's code for it matches the given one; it never sees the original. What the "
    "picture shows is what the code keeps; what it lacks, the network has thrown away by then."
)
READING = (
    "How to read it: the code error is how far the reconstruction's code is from the target, relative"
    " to the target's norm (0 is a perfect match); SSIM compares the pictures (1 is the original). A "
    "small code error alone proves little, so the network also reads the pose from its own "
    "reconstructions: the last line says how far, on average, the nine points of the chair's box lie "
    "from those read from the original, in pixels of 224. Early layers keep nearly all of the "
    "picture. Colour goes first, for the pose does not depend on it; the chair's shape stays down to "
    "7×7. After pooling a chair stands where it stood, but its make is free; the 18 numbers of the "
    "output say where the box is, and pictures with a hint of a back and legs give them. A right pose "
    "under a picture that no person would call a chair is no proof: a network can be fooled, and here "
    "the same network judges."
)
PRIOR_NOTE = (
    "A prior says what images look like where the code does not. Isotropic total variation prefers "
    "few and smooth edges in any direction, anisotropic prefers horizontal and vertical ones; without"
    " a prior, grain, patterns and brightness that the network does not see are free to drift."
)

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One inverted code, and what is known of it."""

    network: str
    layer: str
    code_shape: tuple[int, ...]
    prior: str
    result: Result
    figures: Metrics


def run(out: Path, overwrite: bool = False, progress: Progress = print) -> Path:
    """Make the demo's folder: report.html, the pictures, manifest.json. Gives the report's path."""
    with OutputFolder(out, "demo", overwrite) as folder:
        began = time.perf_counter()
        unseen = unseen_chairs.unseen_views()
        layers = unseen_chairs.invert_layers(unseen, STEPS, SEED, progress)
        picture = chair()
        network = load_network(POSE_NETWORK)
        chairs = [
            _invert(network, layer, prior, picture.image, progress)
            for layer in network.layers
            for prior in PRIORS
        ]
        names, images = photographs()
        photograph = images[names.index(PHOTOGRAPH)][None]
        other = load_network(IMAGE_NETWORK)
        cats = [_invert(other, layer, "tv-isotropic", photograph, progress) for layer in other.layers]
        seconds = time.perf_counter() - began
        _save(folder.staging, chairs, cats, {"chair": picture.image, PHOTOGRAPH: photograph})
        _save_unseen(folder.staging, unseen, layers)
        original = read_poses(Encoder(network, "output[keypoints]"), picture.image)
        assert original is not None
        pose = Pose(original.azimuth.item(), original.elevation.item())
        truth = (picture.azimuth, picture.elevation)
        section = unseen_chairs.section(unseen, layers)
        text = _report(chairs, cats, section, (picture.image, photograph), (pose, truth), seconds)
        write_atomic(folder.staging / "report.html", text.encode())
        record = {
            "seconds": seconds,
            "seed": SEED,
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }
        rows = [*_rows([*chairs, *cats]), *_unseen_rows(layers)]
        write_json(folder.staging / "manifest.json", {**record, "reconstructions": rows})
        folder.commit()
    return out / "report.html"


def _invert(network: Network, layer: str, prior: str, image: Tensor, progress: Progress) -> Reconstruction:
    encoder = Encoder(network, layer)
    how = recipe("default", encoder, prior).with_steps(STEPS)
    result = invert(encoder, encoder(image), preset=how, seed=SEED)
    figures = evaluate_result(result, encoder, image, shipped_reference(encoder))
    progress(
        f"{network.name} {layer:10} {prior:14} code error {result.error.item():.3f}  "
        f"SSIM {figures[0].ssim:.2f}  {result.seconds:.1f} s"
    )
    return Reconstruction(network.name, layer, encoder.code_shape, prior, result, figures[0])


def _save(
    folder: Path,
    chairs: Sequence[Reconstruction],
    cats: Sequence[Reconstruction],
    originals: dict[str, Tensor],
) -> None:
    for name, image in originals.items():
        write_png(image, folder / f"{name}.png")
    for item in (*chairs, *cats):
        write_png(item.result.image, folder / f"{_stem(item)}.png")


def _stem(item: Reconstruction) -> str:
    return f"{item.network}-{item.layer}-{item.prior}"


def _rows(items: Sequence[Reconstruction]) -> list[dict[str, object]]:
    return [
        {
            "network": item.network,
            "layer": item.layer,
            "code_shape": item.code_shape,
            "prior": item.prior,
            "image": f"{_stem(item)}.png",
            "seconds": item.result.seconds,
            "steps": item.result.steps,
            **asdict(item.figures),
        }
        for item in items
    ]


def _save_unseen(folder: Path, views: Views, layers: Sequence[LayerCodes]) -> None:
    for k, image in enumerate(views.images, 1):
        write_png(image, folder / f"unseen-chair-{k}.png")
        for one in layers:
            write_png(one.result.image[k - 1], folder / _unseen_name(one, k))


def _unseen_name(one: LayerCodes, chair_number: int) -> str:
    return f"{unseen_chairs.NETWORK}-{one.layer}-chair-{chair_number}.png"


def _unseen_rows(layers: Sequence[LayerCodes]) -> list[dict[str, object]]:
    return [
        {
            "network": unseen_chairs.NETWORK,
            "layer": one.layer,
            "code_shape": one.code_shape,
            "prior": "tv-isotropic",
            "image": _unseen_name(one, k + 1),
            "pose_error_deg": one.own[k].item(),
            "pose_error_as_judged_deg": one.judged[k].item(),
            **asdict(figures),
        }
        for one in layers
        for k, figures in enumerate(one.figures)
    ]


def _report(
    chairs: Sequence[Reconstruction],
    cats: Sequence[Reconstruction],
    unseen: list[str],
    originals: tuple[Tensor, Tensor],
    pose: tuple[Pose, tuple[float, float]],
    seconds: float,
) -> str:
    read, (azimuth, elevation) = pose
    parts = [
        page.paragraph(INTRODUCTION),
        *unseen,
        page.heading("A published pose network, a chair, and three priors"),
        page.paragraph(
            f"`{POSE_NETWORK}` was trained on video frames with known cameras to find the box around a "
            f"chair. The chair was rendered from azimuth {azimuth:.0f}°, elevation {elevation:.0f}°; the "
            f"network reads azimuth {read.azimuth:.0f}°, elevation {read.elevation:.0f}° from it."
        ),
        page.paragraph(READING),
        page.paragraph(PRIOR_NOTE),
    ]
    for layer in dict.fromkeys(item.layer for item in chairs):
        items = [item for item in chairs if item.layer == layer]
        parts.append(page.heading(f"{layer}: {_shape(items[0])}", 3))
        first = page.Figure(originals[0], "original", (_pose_text(read),))
        parts.append(page.figures([first, *(_figure(item, PRIORS[item.prior]) for item in items)]))
    parts += [
        page.heading("All figures"),
        page.table(
            ("layer", "prior", "code error", "SSIM", "PSNR dB", "azimuth off", "keypoints off", "seconds"),
            [_table_row(item) for item in chairs],
        ),
        page.heading("A network that recognises things, and a photograph"),
        page.paragraph(
            f"`{IMAGE_NETWORK}` was trained to tell a thousand kinds of things apart, so it keeps what "
            "tells one animal's fur from another's: its codes hold more of texture and colour than the pose "
            "network's, deep into the network. The last code, pooled over the picture, no longer knows where "
            "things are."
        ),
        page.figures(
            [
                page.Figure(originals[1], "original"),
                *(_figure(item, f"{item.layer}: {_shape(item)}") for item in cats),
            ]
        ),
        page.paragraph(
            f"{len(chairs) + len(cats)} inversions of {STEPS} steps in {seconds:.0f} seconds on "
            f"{torch.get_num_threads()} threads, seed {SEED}. Code error: ‖Φ - Φ0‖ / ‖Φ0‖ (Mahendran & "
            "Vedaldi 2016); the other two errors of the field are in `manifest.json`.",
            quiet=True,
        ),
    ]
    return page.page("What a pose network's code keeps of a chair", parts)


def _shape(item: Reconstruction) -> str:
    return "×".join(map(str, item.code_shape)) + (" numbers" if len(item.code_shape) == 1 else "")


def _pose_text(pose: Pose) -> str:
    return f"azimuth {pose.azimuth:.0f}°, elevation {pose.elevation:.0f}°"


def _figure(item: Reconstruction, title: str) -> page.Figure:
    lines = [f"code error {item.result.error.item():.3f}, SSIM {item.figures.ssim:.2f}"]
    pose = item.figures.pose
    if pose is not None:
        lines.append(_pose_text(pose.reconstruction))
        lines.append(f"keypoints {pose.keypoint_difference:.1f} px off")
    return page.Figure(item.result.image, title, tuple(lines))


def _table_row(item: Reconstruction) -> tuple[str, ...]:
    pose = item.figures.pose
    assert pose is not None
    return (
        f"{item.layer} ({_shape(item)})",
        PRIORS[item.prior],
        f"{item.result.error.item():.3f}",
        f"{item.figures.ssim:.2f}",
        f"{item.figures.psnr:.1f}",
        f"{pose.azimuth_difference:.1f}°",
        f"{pose.keypoint_difference:.1f} px",
        f"{item.result.seconds:.1f}",
    )
