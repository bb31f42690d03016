"""The demo: what codes of pose networks keep of chairs, layer by layer and prior by prior; a photograph; and
a generator's views.

Every sentence of its page on what was found is made from the figures.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from netinvert.evaluation import report
from netinvert.evaluation.report import Column, Estimate, by, code, counted, listed, number
from netinvert.experiments.configs.looks import Demo
from netinvert.experiments.demo_cells import (
    CHAIR,
    CHAIR_NETWORK,
    DECODERS,
    PHOTOGRAPH,
    PHOTOGRAPH_NETWORK,
    PRIORS,
    UNSEEN,
    UNSEEN_NETWORK,
    DemoWork,
    Inverted,
    demo_codes,
    demo_originals,
    pose_errors,
)
from netinvert.experiments.runs import publish, run_facts, workers_of
from netinvert.experiments.views.draw import film, there_and_back, turntable
from netinvert.io.assets import chair
from netinvert.io.files import Tell, write_atomic
from netinvert.io.images import gif_bytes, write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.running import duration
from netinvert.io.workers import run_cells
from netinvert.models.encoder import Encoder
from netinvert.models.generator import load_generator
from netinvert.models.registry import list_networks, load_network
from netinvert.scenes.cameras import heading
from netinvert.views.mixtures import line_between
from netinvert.views.truth import on_paper

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
GENERATOR, DRAWN, FRAMES, STEPS = "chairs", (0, 1), 24, 12
"""Objects of a generator that are shown, one turned, and what lies between both."""
VIEWS_NOTE = (
    "The other way: a generator draws a chair from its number and the side that it is seen from (Dosovitskiy "
    "et al. 2015); of every other chair it saw only half of the sides. Between two chairs lie others that "
    "nobody made. What the code of an unseen chair gives for views from new sides, `netinvert views novel` "
    "measures."
)
FOOLED = (
    "Where posenet reads the right pose from a reconstruction and the held-out one, which reads the original "
    "right, does not, the image holds the pose, if not by chance, in a form that only posenet understands: "
)
NEXT = (
    "netinvert networks",
    f"netinvert layers {UNSEEN_NETWORK}",
    f"netinvert look photo.jpg --network {UNSEEN_NETWORK} --out out/look",
    f"netinvert invert photo.jpg --network {CHAIR_NETWORK} --layer blocks.7 --out out/photo",
)
"""Commands for the reader's own image, by networks that need no extra."""
UNSEEN_COLUMNS = (
    Column("layer"),
    Column("code error", digits=3, about="mean over the chairs"),
    Column("of other chairs", digits=2, about="the code error that the other chairs themselves would have"),
    Column("SSIM", digits=2),
    Column("posenet off", "°", digits=1, about="median over the chairs (least to greatest)"),
    Column("held-out off", "°", digits=1, about="the same, read by the held-out pose estimator"),
)
CHAIR_COLUMNS = (
    Column("layer"),
    Column("prior"),
    Column("code error", digits=3),
    Column("of other images", digits=2, about="the code error that other images, photographs, would have"),
    Column("SSIM", digits=2),
    Column("PSNR", "dB", digits=1),
    Column("azimuth off", "°", digits=1, about="from the network's reading of the original"),
    Column("keypoints off", "px", digits=1, about="the mean over the nine points of the box, of 224 px"),
)


def run_demo(config: Demo, tell: Tell) -> Outcome:
    """Invert all codes; leave report.html and the images. A stopped demo is resumed."""
    codes = demo_codes()
    if not _installed(PHOTOGRAPH_NETWORK):
        tell(f"the part with a photograph is left out: {PHOTOGRAPH_NETWORK} needs netinvert[imagenet]")
        codes = [code for code in codes if code.original != PHOTOGRAPH]
    with RunDir(config.out, run_facts(config, {"codes": codes}), config.overwrite) as run:
        work = DemoWork(config.steps, config.seed)
        cells = run_cells(run, work, codes, workers_of(config), progress="codes")
        found = [
            Inverted(code, cell.tensors["image"], cell.tensors.get("decoded"), cell.facts)
            for code, cell in zip(codes, cells, strict=True)
        ]
        used = {code.original for code in codes}
        originals = {name: images for name, images in demo_originals().items() if name in used}
        for name, images in originals.items():
            for place, image in enumerate(images, 1):
                write_png(image, run.path(f"{name}-{place}.png" if name == UNSEEN else f"{name}.png"))
        rows = []  # what the manifest tells of each image
        for one in found:
            shared = {name: one.facts[name] for name in ("code_shape", "steps", "seconds")}
            for k, (image, metrics) in enumerate(zip(one.image, one.facts["metrics"], strict=True)):
                write_png(image, run.path(one.code.file(k + 1)))
                row = {**asdict(one.code), "image": one.code.file(k + 1), **shared, **metrics}
                for kind in ("pose_errors", "decoded_pose_errors"):
                    if errors := one.facts.get(kind):
                        row[f"{kind}_deg"] = {name: values[k] for name, values in errors.items()}
                rows.append(row)
        new_views = _new_views(run)
        seconds = sum(one.facts["seconds"] for one in found)
        entries = {"seconds": seconds, "reconstructions": rows}
        text = f"{len(found)} codes inverted in {duration(seconds)}"
        return publish(run, config, demo_report(config, found, originals, new_views), entries, text)


def _installed(name: str) -> bool:
    return next(card.installed for card in list_networks() if card.name == name)


def _new_views(run: RunDir) -> report.Part:
    """A turntable and a morph of a generator, as GIFs too."""
    generator = load_generator(GENERATOR)
    around, turning = turntable(generator, DRAWN[0], FRAMES)
    first, last = generator.embedded(list(DRAWN))
    between = on_paper(generator.layers(line_between(first, last, STEPS), 30.0))
    write_atomic(run.path("turntable.gif"), gif_bytes(around))
    write_atomic(run.path("morph.gif"), there_and_back(between))
    title = f"From object {DRAWN[0]} to object {DRAWN[1]}: drag it, or the slider"
    return ["## From a number to views", VIEWS_NOTE, turning, film(between, STEPS, title)]


def demo_report(
    config: Demo, found: Sequence[Inverted], originals: Mapping[str, Tensor], new_views: report.Part
) -> report.Report:
    """The page; ``new_views`` is its part on a generator."""
    parts = {name: [one for one in found if one.code.original == name] for name in originals}
    left_out: report.Part = [
        f"A part with a photograph was left out: {code(PHOTOGRAPH_NETWORK)} needs an extra:",
        report.Code("pip install 'netinvert[imagenet]'"),
    ]
    seconds = sum(one.facts["seconds"] for one in found)
    foot = (
        f"{counted(len(found), 'code')} inverted in {seconds:.0f} seconds, {config.steps} steps each (more "
        f"for fully connected layers), seed {config.seed}. All figures are in `manifest.json`."
    )
    return report.Report.of(
        "What a pose network's code keeps of a chair",
        LEAD,
        [READING, _unseen(parts[UNSEEN], originals[UNSEEN]), _chair(parts[CHAIR], originals[CHAIR])],
        _photograph(parts[PHOTOGRAPH], originals[PHOTOGRAPH]) if PHOTOGRAPH in parts else left_out,
        new_views,
        "## Your own image",
        "What networks there are, what layers one has, and inversions of an image of yours:",
        [report.Code("\n".join(NEXT)), report.Prose(foot, quiet=True)],
    )


# -- unseen chairs -------------------------------------------------------------------------------------


def _unseen(found: Sequence[Inverted], originals: Tensor) -> report.Part:
    encoder = Encoder(load_network(UNSEEN_NETWORK), found[0].code.layer)
    ceiling, count = pose_errors(encoder, originals), len(originals)
    by_layer = {one.code.layer: one.facts["pose_errors"] for one in found}

    def tiles(images: Tensor, errors: Errors, lines: Sequence[str] = ()) -> list[report.Tile]:
        off = [
            [f"posenet {own:.0f}° off", f"held-out {held_out:.0f}° off"]
            for own, held_out in zip(errors["own"], errors["held_out"], strict=True)
        ]
        return [report.Tile(image, [*lines[k : k + 1], *off[k]]) for k, image in enumerate(images)]

    grid, table = {"originals": tiles(originals, ceiling)}, []
    for one in found:
        errors, layer = one.facts["pose_errors"], one.code.layer
        grid[f"{layer}: {_size(one)}"] = tiles(one.image, errors, [_likeness(each) for each in one.metrics])
        if one.decoded is not None:
            name = f"{layer}, by the decoder {DECODERS[layer]}"
            grid[name] = tiles(one.decoded, one.facts["decoded_pose_errors"])
        table.append(
            (f"{layer} ({_size(one)})", one.mean("error"), one.facts["others"], one.mean("ssim"), errors)
        )
    table.append(("originals", 0.0, None, 1.0, ceiling))
    rows = [
        (*row, *(Estimate(statistics.median(e), min(e), max(e)) for e in (errors["own"], errors["held_out"])))
        for *row, errors in table
    ]
    image_grid = report.ImageGrid.of(grid, [f"chair {k + 1}" for k in range(count)])
    return [
        "## Chairs that the network never saw, and a second reader",
        f"{code(UNSEEN_NETWORK)} has the topology of AlexNet and was trained on nothing but rendered chairs "
        f"with known cameras; these {count} chairs it has never seen. A held-out pose estimator, "
        f"{code(encoder.network.held_out_pose_estimator or '')}, of another architecture and trained on "
        "other chairs, reads the pose of every image too. What both read from the originals is in the first "
        "row.",
        [poses_sentence(ceiling, by_layer), _decoded_sentence(found)],
        replace(image_grid, size=160, name="unseen-chairs"),
        _likeness_sentence(found),
        report.Table(UNSEEN_COLUMNS, rows, "Figures", baselines={len(found)}, name="unseen-chairs-table"),
    ]


def poses_sentence(ceiling: Errors, by_layer: Mapping[str, Errors]) -> str:
    """What the two readers read from reconstructions, compared with the originals."""

    def right(errors: Sequence[float]) -> int:
        return sum(error < RIGHT for error in errors)

    names = {"own": "posenet", "held_out": "the held-out one"}
    wrong = [
        f"{names[reader]} is {value:.0f}° off on chair {k + 1}"
        for reader, values in ceiling.items()
        for k, value in enumerate(values)
        if value >= RIGHT
    ]
    best, counts = right(ceiling["held_out"]), {layer: right(e["held_out"]) for layer, e in by_layer.items()}
    kept = [code(layer) for layer, count in counts.items() if count >= best]
    lost = [f"{code(layer)} ({count})" for layer, count in counts.items() if count < best]
    fooled = [
        f"chair {k + 1} at {code(layer)} ({own:.0f}° and {held_out:.0f}° off)"
        for layer, errors in by_layer.items()
        for k, (own, held_out) in enumerate(zip(errors["own"], errors["held_out"], strict=True))
        if own < RIGHT <= held_out and ceiling["held_out"][k] < RIGHT
    ]
    parts = [
        f"Of the {len(ceiling['own'])} originals posenet reads {counted(right(ceiling['own']), 'pose')} "
        f"right, the held-out pose estimator {best}{f' ({listed(wrong)})' if wrong else ''}."
    ]
    parts += [f"From the reconstructions the held-out one reads as many at {listed(kept)}."] if kept else []
    parts += [f"It reads fewer at {listed(lost)}."] if lost else []
    parts += [f"{FOOLED}{listed(fooled)}."] if fooled else []
    return " ".join(parts)


def _decoded_sentence(found: Sequence[Inverted]) -> str:
    """What the held-out reader reads from what decoders make of the same codes."""
    rows = {
        one.code.layer: one.facts["decoded_pose_errors"]["held_out"]
        for one in found
        if one.decoded is not None
    }
    counts = [f"{sum(error < RIGHT for error in errors)} at {code(layer)}" for layer, errors in rows.items()]
    return f"From what the decoders make of the same codes it reads {listed(counts)}." if counts else ""


# -- one chair and three priors, and a photograph ------------------------------------------------------


def _chair(found: Sequence[Inverted], original: Tensor) -> report.Part:
    truth = chair()
    read = found[0].metrics[0]["pose"]["original"]
    grid: dict[str, list[report.Tile]] = {}
    rows: list[tuple[Any, ...]] = []
    for one in found:
        (metrics,), layer, pose = one.metrics, one.code.layer, one.metrics[0]["pose"]
        off = pose["azimuth_difference"], pose["keypoint_difference"]
        lines = (
            _likeness(metrics, 3),
            _pose(pose["reconstruction"]),
            f"keypoints {number(off[1], 1)} px off",
        )
        grid.setdefault(f"{layer}: {_size(one)}", []).append(report.Tile(one.image[0], lines))
        figures = (metrics["errors"]["ijcv16"], one.facts["others"], metrics["ssim"], metrics["psnr"])
        rows.append((f"{layer} ({_size(one)})", one.code.prior, *figures, *off))
    turned = abs((read["azimuth"] - truth.azimuth + 180) % 360 - 180)
    return [
        "## A published pose network, a chair, and three priors",
        f"{code(CHAIR_NETWORK)} was trained on video frames with known cameras to find the box around a "
        f"chair. The chair was rendered from azimuth {heading(truth.azimuth)}, elevation "
        f"{truth.elevation:.0f}°; the network reads {_pose(read)} from the original, {turned:.0f}° off in "
        "azimuth. Here the network itself reads the poses of its reconstructions, so a right pose under an "
        "image that no person would call a chair is no proof.",
        report.ImageGrid.flow([report.Tile(original[0], [_pose(read)], name="original")]),
        [PRIORS_NOTE, _priors_sentence(found)],
        report.ImageGrid.of(grid, PRIORS, name="priors"),
        report.Table(CHAIR_COLUMNS, rows, "Figures", name="chair-table"),
    ]


def _priors_sentence(found: Sequence[Inverted]) -> str:
    """Which prior does best at how many layers."""
    layers = dict.fromkeys(one.code.layer for one in found)
    wins = {name: dict.fromkeys(PRIORS, 0) for name in ("error", "ssim")}
    for layer in layers:
        of_layer = [one for one in found if one.code.layer == layer]
        wins["error"][min(of_layer, key=lambda one: one.mean("error")).code.prior] += 1
        wins["ssim"][max(of_layer, key=lambda one: one.mean("ssim")).code.prior] += 1
    error, ssim = (
        listed([f"{code(prior)} at {counted(n, 'layer')}" for prior, n in counts.items() if n])
        for counts in wins.values()
    )
    return (
        f"Of {counted(len(layers), 'layer')}, the least code error has {error}; the reconstruction most like "
        f"the original has {ssim}."
    )


def _photograph(found: Sequence[Inverted], original: Tensor) -> report.Part:
    tiles = [
        report.Tile(one.image[0], (_likeness(one.metrics[0], 3),), f"{one.code.layer}: {_size(one)}")
        for one in found
    ]
    return [
        "## A network that recognises things, and a photograph",
        f"{code(PHOTOGRAPH_NETWORK)} was trained to tell a thousand kinds of things apart. Its last code is "
        "pooled over the image: where things are is not in it. " + _likeness_sentence(found),
        report.ImageGrid.flow([report.Tile(original[0], name="original"), *tiles]),
    ]


# -- words ---------------------------------------------------------------------------------------------


def _likeness(metrics: Mapping[str, Any], digits: int = 2) -> str:
    return f"code error {number(metrics['errors']['ijcv16'], digits)}, SSIM {number(metrics['ssim'], 2)}"


def _likeness_sentence(found: Sequence[Inverted]) -> str:
    values = {one.code.layer: one.mean("ssim") for one in found}
    best, least = (pick(values, key=values.__getitem__) for pick in (max, min))
    return (
        f"The reconstructions are most like the originals at {code(best)} (mean SSIM {values[best]:.2f}) and "
        f"least at {code(least)} ({values[least]:.2f})."
    )


def _size(one: Inverted) -> str:
    shape = one.facts["code_shape"]
    return by(shape) + (" numbers" if len(shape) == 1 else "")


def _pose(pose: Mapping[str, float]) -> str:
    return f"azimuth {heading(pose['azimuth'])}, elevation {pose['elevation']:.0f}°"
