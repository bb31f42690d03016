"""The demo's page. Every sentence on what was found is made from the figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from netinvert.evaluation.report import (
    Block,
    Code,
    Column,
    Estimate,
    GridRow,
    Heading,
    ImageGrid,
    Prose,
    Report,
    Table,
    Tile,
    by,
    code,
    counted,
    listed,
    number,
)
from netinvert.experiments.configs.studies import Demo
from netinvert.experiments.demo_cells import (
    CHAIR,
    CHAIR_NETWORK,
    DECODERS,
    PHOTOGRAPH,
    PHOTOGRAPH_NETWORK,
    PRIORS,
    UNSEEN,
    UNSEEN_NETWORK,
    Inverted,
    pose_errors,
)
from netinvert.io.assets import chair
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network

RIGHT = 30.0
"""Degrees: a pose that is less off counts as right, as in the benchmarks of the field."""
Errors = Mapping[str, Sequence[float]]
"""Pose errors in degrees, of posenet (``own``) and of the held-out pose estimator (``held_out``)."""

LEAD = (
    "A neural network turns an image into a code: the numbers at one of its layers. Each image below was "
    "found from such a code alone: netinvert starts from noise and changes it until the network's code for "
    "it matches the given one; it never sees the original. What the image shows is what the code keeps; what "
    "it lacks, the network has thrown away by then."
)
READING = (
    "**Code error** is ‖Φ−Φ₀‖/‖Φ₀‖, how far the reconstruction's code is from the target (0 is a perfect "
    "match); **SSIM** compares the images (1 is the original). A small code error alone proves little: an "
    "image made for a network can fool that network. A pose counts as read right when it is less than "
    f"{RIGHT:.0f}° off."
)
PRIORS_NOTE = (
    "A prior says what images look like where the code does not. Isotropic total variation prefers few and "
    "smooth edges in any direction, anisotropic prefers horizontal and vertical ones; without a prior, "
    "grain, patterns and brightness that the network does not see are free to drift."
)
NEXT = (
    "netinvert networks",
    f"netinvert layers {PHOTOGRAPH_NETWORK}",
    f"netinvert invert photo.jpg --network {PHOTOGRAPH_NETWORK} --layer blocks.9 --out out/photo",
    f"netinvert invert photo.jpg --network {CHAIR_NETWORK} --layer blocks.7 --out out/chair",
)
"""Commands for the reader's own image."""


def demo_report(config: Demo, found: Sequence[Inverted], originals: Mapping[str, Tensor]) -> Report:
    """The page."""
    parts = {name: [one for one in found if one.code.original == name] for name in originals}
    blocks: list[Block] = [Prose(READING), *_unseen(parts[UNSEEN], originals[UNSEEN])]
    blocks += _chair(parts[CHAIR], originals[CHAIR])
    if PHOTOGRAPH in parts:
        blocks += _photograph(parts[PHOTOGRAPH], originals[PHOTOGRAPH])
    else:
        left_out = f"A part with a photograph was left out: {code(PHOTOGRAPH_NETWORK)} needs an extra:"
        blocks += [Prose(left_out), Code("pip install 'netinvert[imagenet]'")]
    blocks += [
        Heading("Your own image"),
        Prose("What networks there are, what layers one has, and inversions of an image of yours:"),
        Code("\n".join(NEXT)),
        Prose(
            f"{counted(len(found), 'code')} inverted in "
            f"{sum(one.facts['seconds'] for one in found):.0f} seconds, {config.steps} steps each (more for "
            f"fully connected layers), seed {config.seed}. All figures are in `manifest.json`.",
            quiet=True,
        ),
    ]
    return Report("What a pose network's code keeps of a chair", blocks, LEAD)


# -- unseen chairs -------------------------------------------------------------------------------------


def _unseen(found: Sequence[Inverted], originals: Tensor) -> list[Block]:
    encoder = Encoder(load_network(UNSEEN_NETWORK), found[0].code.layer)
    ceiling = pose_errors(encoder, originals)
    by_layer = {one.code.layer: one.facts["pose_errors"] for one in found}
    held_out = encoder.network.held_out_pose_estimator or ""
    rows = [_row("originals", [_off(ceiling, k) for k in range(len(originals))], originals)]
    for one in found:
        ssim = [each["ssim"] for each in one.facts["metrics"]]
        texts = [
            [f"code error {number(error, 2)}, SSIM {number(ssim[k], 2)}", *_off(one.facts["pose_errors"], k)]
            for k, error in enumerate(_code_errors(one))
        ]
        rows.append(_row(f"{one.code.layer}: {_size(one)}", texts, one.image))
        if one.decoded is not None:
            texts = [_off(one.facts["decoded_pose_errors"], k) for k in range(len(originals))]
            rows.append(
                _row(f"{one.code.layer}, by the decoder {DECODERS[one.code.layer]}", texts, one.decoded)
            )
    heads = [f"chair {k + 1}" for k in range(len(originals))]
    return [
        Heading("Chairs that the network never saw, and a second reader"),
        Prose(
            f"{code(UNSEEN_NETWORK)} has the topology of AlexNet and was trained on nothing but rendered "
            f"chairs with known cameras; these {len(originals)} chairs it has never seen. A held-out pose "
            f"estimator, {code(held_out)}, of another architecture and trained on other chairs, reads the "
            "pose of every image too. What both read from the originals is in the first row."
        ),
        Prose(poses_sentence(ceiling, by_layer)),
        ImageGrid(rows, heads, "", size=160, name="unseen-chairs"),
        Prose(_likeness_sentence(found)),
        _unseen_table(ceiling, found),
    ]


def poses_sentence(ceiling: Errors, by_layer: Mapping[str, Errors]) -> str:
    """What the two readers read from reconstructions, compared with the originals."""
    total = len(ceiling["own"])
    first = (
        f"Of the {total} originals posenet reads {counted(_right(ceiling['own']), 'pose')} right, the "
        f"held-out pose estimator {_right(ceiling['held_out'])}{_worst(ceiling)}."
    )
    kept = [
        layer
        for layer, errors in by_layer.items()
        if _right(errors["held_out"]) >= _right(ceiling["held_out"])
    ]
    lost = [layer for layer in by_layer if layer not in kept]
    parts = [first]
    if kept:
        parts.append(f"From the reconstructions the held-out one reads as many at {_codes(kept)}.")
    if lost:
        counts = [f"{code(layer)} ({_right(by_layer[layer]['held_out'])})" for layer in lost]
        parts.append(f"It reads fewer at {listed(counts)}.")
    fooled = [
        f"chair {k + 1} at {code(layer)} ({errors['own'][k]:.0f}° and {errors['held_out'][k]:.0f}° off)"
        for layer, errors in by_layer.items()
        for k in range(total)
        if errors["own"][k] < RIGHT <= errors["held_out"][k] and ceiling["held_out"][k] < RIGHT
    ]
    if fooled:
        parts.append(
            "Where posenet reads the right pose from a reconstruction and the held-out one, which reads the "
            "original right, does not, the image holds the pose, if not by chance, in a form that only "
            f"posenet understands: {listed(fooled)}."
        )
    return " ".join(parts)


def _worst(errors: Errors) -> str:
    """Which originals are misread, by whom."""
    names = {"own": "posenet", "held_out": "the held-out one"}
    wrong = [
        f"{names[reader]} is {value:.0f}° off on chair {k + 1}"
        for reader, values in errors.items()
        for k, value in enumerate(values)
        if value >= RIGHT
    ]
    return f" ({listed(wrong)})" if wrong else ""


def _likeness_sentence(found: Sequence[Inverted]) -> str:
    values = {one.code.layer: _mean_ssim(one) for one in found}
    best, least = max(values, key=lambda name: values[name]), min(values, key=lambda name: values[name])
    return (
        f"The reconstructions are most like the originals at {code(best)} (mean SSIM {values[best]:.2f}) and "
        f"least at {code(least)} ({values[least]:.2f})."
    )


def _unseen_table(ceiling: Errors, found: Sequence[Inverted]) -> Table:
    columns: list[Column | str] = [
        "layer",
        Column("code error", digits=3, about="mean over the chairs"),
        Column(
            "of other chairs", digits=2, about="the code error that the other chairs themselves would have"
        ),
        Column("SSIM", digits=2),
        Column("posenet off", "°", digits=1, about="median over the chairs (least to greatest)"),
        Column("held-out off", "°", digits=1, about="the same, read by the held-out pose estimator"),
    ]
    rows = [
        (
            f"{one.code.layer} ({_size(one)})",
            statistics.mean(_code_errors(one)),
            one.facts["others"],
            _mean_ssim(one),
            *_ranges(one.facts["pose_errors"]),
        )
        for one in found
    ]
    rows.append(("originals", 0.0, None, 1.0, *_ranges(ceiling)))
    return Table(columns, rows, "Figures", baselines={len(found)}, name="unseen-chairs-table")


def _ranges(errors: Errors) -> list[Estimate]:
    return [
        Estimate(statistics.median(one), min(one), max(one)) for one in (errors["own"], errors["held_out"])
    ]


def _off(errors: Errors, k: int) -> list[str]:
    return [f"posenet {errors['own'][k]:.0f}° off", f"held-out {errors['held_out'][k]:.0f}° off"]


def _right(errors: Sequence[float]) -> int:
    return sum(error < RIGHT for error in errors)


def _row(name: str, texts: Sequence[Sequence[str]], images: Tensor) -> GridRow:
    return GridRow(name, [Tile(image, lines) for image, lines in zip(images, texts, strict=True)])


# -- one chair and three priors ------------------------------------------------------------------------


def _chair(found: Sequence[Inverted], original: Tensor) -> list[Block]:
    truth = chair()
    read = found[0].facts["metrics"][0]["pose"]["original"]
    layers = list(dict.fromkeys(one.code.layer for one in found))
    rows = [
        GridRow(
            f"{layer}: {_size(of_layer[0])}",
            [Tile(one.image[0], _chair_lines(one.facts["metrics"][0])) for one in of_layer],
        )
        for layer in layers
        for of_layer in [[one for one in found if one.code.layer == layer]]
    ]
    off = abs((read["azimuth"] - truth.azimuth + 180) % 360 - 180)
    return [
        Heading("A published pose network, a chair, and three priors"),
        Prose(
            f"{code(CHAIR_NETWORK)} was trained on video frames with known cameras to find the box around a "
            f"chair. The chair was rendered from azimuth {truth.azimuth:.0f}°, elevation "
            f"{truth.elevation:.0f}°; the network reads {_pose(read)} from the original, {off:.0f}° off in "
            "azimuth. Here the network itself reads the poses of its reconstructions, so a right pose under "
            "an image that no person would call a chair is no proof."
        ),
        ImageGrid.flow([Tile(original[0], [_pose(read)], name="original")]),
        Prose(PRIORS_NOTE),
        Prose(priors_sentence(found)),
        ImageGrid(rows, PRIORS, "", name="priors"),
        _chair_table(found),
    ]


def priors_sentence(found: Sequence[Inverted]) -> str:
    """Which prior does best at how many layers."""
    layers = list(dict.fromkeys(one.code.layer for one in found))
    wins: dict[str, dict[str, int]] = {"error": dict.fromkeys(PRIORS, 0), "ssim": dict.fromkeys(PRIORS, 0)}
    for layer in layers:
        of_layer = [one for one in found if one.code.layer == layer]
        wins["error"][min(of_layer, key=lambda one: _code_errors(one)[0]).code.prior] += 1
        wins["ssim"][max(of_layer, key=_mean_ssim).code.prior] += 1

    def told(counts: Mapping[str, int]) -> str:
        return listed([f"{code(prior)} at {counted(n, 'layer')}" for prior, n in counts.items() if n])

    return (
        f"Of {counted(len(layers), 'layer')}, the least code error has {told(wins['error'])}; the "
        f"reconstruction most like the original has {told(wins['ssim'])}."
    )


def _chair_lines(metrics: Mapping[str, Any]) -> list[str]:
    pose = metrics["pose"]
    return [
        f"code error {number(metrics['errors']['ijcv16'], 3)}, SSIM {number(metrics['ssim'], 2)}",
        _pose(pose["reconstruction"]),
        f"keypoints {number(pose['keypoint_difference'], 1)} px off",
    ]


def _chair_table(found: Sequence[Inverted]) -> Table:
    columns: list[Column | str] = [
        "layer",
        "prior",
        Column("code error", digits=3),
        Column(
            "of other images", digits=2, about="the code error that other images, photographs, would have"
        ),
        Column("SSIM", digits=2),
        Column("PSNR", "dB", digits=1),
        Column("azimuth off", "°", digits=1, about="from the network's reading of the original"),
        Column("keypoints off", "px", digits=1, about="the mean over the nine points of the box, of 224 px"),
    ]
    rows: list[list[Any]] = []
    for one in found:
        (metrics,) = one.facts["metrics"]
        pose = metrics["pose"]
        row = [
            f"{one.code.layer} ({_size(one)})",
            one.code.prior,
            metrics["errors"]["ijcv16"],
            one.facts["others"],
        ]
        row += [metrics["ssim"], metrics["psnr"], pose["azimuth_difference"], pose["keypoint_difference"]]
        rows.append(row)
    return Table(columns, rows, "Figures", name="chair-table")


# -- a photograph --------------------------------------------------------------------------------------


def _photograph(found: Sequence[Inverted], original: Tensor) -> list[Block]:
    tiles = [
        Tile(
            one.image[0],
            (f"code error {_code_errors(one)[0]:.3f}, SSIM {_mean_ssim(one):.2f}",),
            name=f"{one.code.layer}: {_size(one)}",
        )
        for one in found
    ]
    return [
        Heading("A network that recognises things, and a photograph"),
        Prose(
            f"{code(PHOTOGRAPH_NETWORK)} was trained to tell a thousand kinds of things apart. Its last code "
            "is pooled over the image: where things are is not in it. " + _likeness_sentence(found)
        ),
        ImageGrid.flow([Tile(original[0], name="original"), *tiles]),
    ]


# -- words ---------------------------------------------------------------------------------------------


def _size(one: Inverted) -> str:
    shape = one.facts["code_shape"]
    return by(shape) + (" numbers" if len(shape) == 1 else "")


def _code_errors(one: Inverted) -> list[float]:
    return [each["errors"]["ijcv16"] for each in one.facts["metrics"]]


def _mean_ssim(one: Inverted) -> float:
    return float(statistics.mean(each["ssim"] for each in one.facts["metrics"]))


def _codes(names: Sequence[str]) -> str:
    return listed([code(name) for name in names])


def _pose(pose: Mapping[str, float]) -> str:
    return f"azimuth {pose['azimuth']:.0f}°, elevation {pose['elevation']:.0f}°"
