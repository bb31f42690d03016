"""``netinvert pose read``: the pose of the object in an image, drawn on it, and how sure it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from netinvert.errors import ImageError
from netinvert.evaluation import report
from netinvert.evaluation.evaluate import read_poses
from netinvert.evaluation.report import Column, counted, listed, number
from netinvert.experiments.configs.training import PoseRead
from netinvert.experiments.inputs import image_paths, open_network, sources_of, unique_stems
from netinvert.experiments.runs import publish, run_facts
from netinvert.io.files import Tell, check_readable
from netinvert.io.images import as_images, fit, read_image, to_pil, write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.running import Progress
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network
from netinvert.models.registry import list_networks
from netinvert.scenes.cameras import angles_from_rotation, geodesic_degrees, heading
from netinvert.scenes.poses import NO_FRONT, nearest_rotation
from netinvert.training.pose.evaluation import check_reads_poses

CHANGES = (
    *((1.0, 0.0, 0.0), (1.0, 0.05, 0.0), (1.0, -0.05, 0.0), (1.0, 0.0, 0.05), (1.0, 0.0, -0.05)),
    *((0.94, 0.0, 0.0), (1.06, 0.0, 0.0)),
)
"""Small changes of an image: a scale, and shifts to the side and down as shares of its sides. Each is read as
it is and mirrored."""
SURE, UNSURE = 5.0, 12.0
"""Spreads in degrees: below the first a reading is sure, from the second on unsure (docs say why)."""
SIDE = 384
"""The longer side, in pixels, of the images that are drawn on."""
FRONT, UP, PAPER, INK = "#d1702a", "#1f6fb4", "#ffffff", "#1c1c1e"
HOW = (
    "The network sees the middle square of an image, which the object should fill. The orange arrow is the "
    "object's front, the blue one points up from it; the dial shows the front from above, the camera below."
)
MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
COLUMNS = (
    Column("image"),
    Column("azimuth", "°", 1, about="0 sees the object's front, 90 its left side", key="azimuth"),
    Column("elevation", "°", 1, key="elevation"),
    Column("in-plane", "°", 1, about="how far the image is turned counter-clockwise", key="in_plane"),
    Column(
        "spread",
        "°",
        1,
        about=f"median angle between the pose, a mean of {2 * len(CHANGES)} readings of slightly shifted, "
        "scaled and mirrored copies, and those readings",
        key="spread",
    ),
    Column(
        "reading",
        about=f"sure below a spread of {SURE:.0f}°, unsure from {UNSURE:.0f}° on or at a presence below 0.5",
    ),
    Column("presence", digits=2, about="how sure the network is to see its object at all"),
    Column("confidence", digits=2, about="the network's probability that it is right within 30°"),
    Column(
        "frontless",
        digits=2,
        about=f"the network's probability that the object has no front; from {NO_FRONT} on it counts as such",
    ),
)


@dataclass(frozen=True, eq=False)
class SteadyReading:
    """What is read from an image and small changes of it: the mean ``rotation`` (3, 3), and the ``spread``,
    the median angle in degrees between it and the single readings; the means of ``presence``, ``confidence``
    and ``frontless``, if the network says them."""

    rotation: Tensor
    spread: float
    presence: float | None
    confidence: float | None = None
    frontless: float | None = None

    @property
    def words(self) -> str:
        """How sure the reading is."""
        if self.spread >= UNSURE or (self.presence is not None and self.presence < 0.5):
            return "unsure"
        return "sure" if self.spread < SURE else "fairly sure"


def changed(image: Tensor) -> Tensor:
    """The copies (2 K, C, H, W) of an image (1, C, H, W) that CHANGES makes, then their mirror images."""
    maps = [[[scale, 0.0, 2 * right], [0.0, scale, 2 * down]] for scale, right, down in CHANGES]
    grid = F.affine_grid(image.new_tensor(maps), [len(maps), *image.shape[1:]], align_corners=False)
    many = image.expand(len(maps), -1, -1, -1)
    copies = F.grid_sample(many, grid, padding_mode="border", align_corners=False)
    return torch.cat([copies, copies.flip(-1)])


@torch.no_grad()
def steady_reading(encoder: Encoder, image: Tensor) -> SteadyReading:
    """What the encoder's network reads from an image (1, C, H, W). Raises ConfigError: it reads no poses."""
    check_reads_poses(encoder.network)
    reading = read_poses(encoder, changed(encoder.fit(image)))
    assert reading is not None
    plain, mirrored = reading.rotation.cpu().float().chunk(2)
    # An object and its mirror image have the same front: it is as if the camera alone were mirrored.
    every = torch.cat([plain, MIRROR @ mirrored @ MIRROR])
    mean = nearest_rotation(every.sum(0, keepdim=True))
    says = (reading.presence, reading.confidence, reading.frontless)
    means = (None if one is None else one.mean().item() for one in says)
    return SteadyReading(mean[0], geodesic_degrees(every, mean).median().item(), *means)


def read_poses_of(config: PoseRead, tell: Tell) -> Outcome:
    """Read, draw and save.

    Raises:
        ImageError: no images, or one that cannot be read.
        ConfigError: the network reads no poses.
        NetworkError, MissingExtraError: it cannot be loaded.
    """
    paths = [check_readable(path, ImageError) for path in image_paths(config.input, tell)]
    network = open_network(config, config.device)
    check_reads_poses(network)
    encoder = Encoder(network, network.layers[-1] if network.layers else "output")
    if knows := _knowledge_of(network):
        tell(f"{network.name}: {knows}")
    height, width = (round(side * SIDE / max(encoder.size)) for side in encoder.size)
    stems, sources = unique_stems(paths), sources_of("input", paths)
    known = {"weights_sha256": weights_sha256(network.module)}
    contents = {"names": stems, "inputs": [one["sha256"] for one in sources]}
    rows: list[dict[str, Any]] = []
    tiles: list[report.Tile] = []
    with RunDir(config.out, run_facts(config, {**known, **contents}), config.overwrite) as run:
        with Progress("images", len(paths)) as progress:
            for stem, path in zip(stems, paths, strict=True):
                image = read_image(path, network.preprocessing.channels)
                fitted = encoder.fit(image.to(encoder.device, encoder.dtype))
                reading = steady_reading(encoder, fitted)
                drawn = drawn_pose(to_pil(fit(image, (height, width))), reading.rotation)
                write_png(as_images(drawn), run.path(f"{stem}.png"))
                rows.append({"image": stem, **_row(reading)})
                tiles.append(report.Tile(drawn, _lines(rows[-1]), stem))
                progress.advance(stem)
        columns = [one for one in COLUMNS if (one.key or one.name) in rows[0]]
        table = report.Table.of(rows, columns, name="poses")
        page = _page(network, knows, rows, tiles, table)
        return publish(run, config, page, {**known, "inputs": sources, "poses": rows}, table.text())


def _row(reading: SteadyReading) -> dict[str, Any]:
    angles = (round(one.item(), 2) for one in angles_from_rotation(reading.rotation))
    row: dict[str, Any] = dict(zip(("azimuth", "elevation", "in_plane"), angles, strict=True))
    row["azimuth"] = round(row["azimuth"], 1) % 360
    row |= {"spread": round(reading.spread, 2), "reading": reading.words}
    for name in ("presence", "confidence", "frontless"):
        if (value := getattr(reading, name)) is not None:
            row[name] = round(value, 3)
    return row


def _lines(row: Mapping[str, Any]) -> list[str]:
    elevation, in_plane = (number(row[name], 0) for name in ("elevation", "in_plane"))
    where = f"azimuth {heading(row['azimuth'])}, elevation {elevation}°"
    says = f"{row['reading']}: spread {number(row['spread'], 0)}°"
    return [where, f"in-plane {in_plane}°", says + ", no front" * (row.get("frontless", 0) >= NO_FRONT)]


def _knowledge_of(network: Network) -> str:
    """What the network was trained for, in a sentence; nothing if that is not known."""
    task = next((one.task for one in list_networks() if one.name == network.name), "")
    thing = task.partition(" of ")[2].partition(",")[0]
    return f"it was trained to read {thing}, and reads anything else as if it were one" if thing else ""


def _page(
    network: Network,
    knows: str,
    rows: Sequence[Mapping[str, Any]],
    tiles: Sequence[report.Tile],
    table: report.Table,
) -> report.Report:
    counts = Counter(str(row["reading"]) for row in rows)
    words = [f"{counts[word]} {word}" for word in ("sure", "fairly sure", "unsure") if counts[word]]
    parts = [f"{report.code(network.name)} read {counted(len(rows), 'image')}: {listed(words)}."]
    parts += [f"{knows.capitalize()}."] if knows else []
    grid = report.ImageGrid.flow(tiles, across=4, title=f"Poses read by {network.name}")
    return report.Report.of(
        f"Poses of {counted(len(rows), 'image')}",
        " ".join([*parts, HOW]),
        "## Images",
        replace(grid, name="contact-sheet"),
        "## Figures",
        table,
    )


def drawn_pose(picture: Image.Image, rotation: Tensor) -> Image.Image:
    """An image with the object's front and upward direction as arrows, and a dial of the front from above."""
    width, height = picture.size
    canvas = picture.convert("RGB").resize((2 * width, 2 * height))  # lines are smoothed by the way back
    draw, side = ImageDraw.Draw(canvas), 2 * min(width, height)
    front, up = -rotation[:, 1], rotation[:, 2]
    for direction, colour in ((up, UP), (front, FRONT)):
        tip = (width + 0.36 * side * direction[0].item(), height - 0.36 * side * direction[1].item())
        _arrow(draw, (width, height), tip, colour, side / 50)
    radius, centre = 0.1 * side, (0.12 * side, 2 * height - 0.12 * side)
    box = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
    draw.ellipse(box, PAPER, INK, round(side / 150))
    flat = front[[0, 2]] / front[[0, 2]].norm().clamp_min(1e-6)
    tip = (centre[0] + 0.8 * radius * flat[0].item(), centre[1] + 0.8 * radius * flat[1].item())
    _arrow(draw, centre, tip, FRONT, side / 80)
    return canvas.resize((width, height), Image.Resampling.LANCZOS)


def _arrow(
    draw: ImageDraw.ImageDraw, start: tuple[float, float], tip: tuple[float, float], colour: str, width: float
) -> None:
    """An arrow with a pale rim, to be seen on any ground; its head shrinks with its length."""
    along = torch.tensor(tip) - torch.tensor(start)
    length = along.norm().item()
    unit = along / max(length, 1e-6)
    aside = torch.stack([-unit[1], unit[0]])
    head = min(3.5 * width, length)
    neck = torch.tensor(tip) - head * unit
    for paint, more in ((PAPER, 0.6 * width), (colour, 0.0)):
        draw.line([start, tuple(neck.tolist())], paint, round(width + more))
        corners = [tip, *(neck + sign * 0.55 * head * aside for sign in (1, -1))]
        outline = [tuple(float(value) for value in corner) for corner in corners]
        draw.polygon(outline, paint, paint, round(more) or 1)
