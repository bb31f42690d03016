"""What each layer of a network keeps of images: its codes inverted, layer by layer, on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import CodeError, NetworkError
from netinvert.evaluation import report
from netinvert.evaluation.evaluate import Reference, shipped_reference
from netinvert.evaluation.report import Column, by, code, counted, listed, number
from netinvert.experiments.configs.looks import Look
from netinvert.experiments.configs.studies import StudyLayers
from netinvert.experiments.inputs import image_paths, is_code_file, open_network, sources_of, unique_stems
from netinvert.experiments.inversions import (
    PresetChoice,
    RecipeChoice,
    Reconstructions,
    Targets,
    Wanted,
    invert_all,
)
from netinvert.experiments.runs import PAGE, file_part, invert_command, network_facts, publish, run_facts
from netinvert.inversion.objectives import Match
from netinvert.io.files import Tell
from netinvert.io.images import fit, read_image, write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.encoder import Encoder
from netinvert.models.layers import LayerInfo, list_layers, suggested_layers
from netinvert.models.network import Network

COLUMNS = (
    Column("layer"),
    Column("code", show=by),
    Column("numbers", show=lambda count: f"{count:,}", align="right"),
    Column("stride", "pixels"),
    Column("receptive field", "pixels"),
    Column("code error", digits=3, about="‖Φ − Φ₀‖ / ‖Φ₀‖ (Mahendran & Vedaldi 2016); 0 is a match"),
    Column(
        "floor", digits=3, about="the least code error of images that nobody inverted: a grey one, or others"
    ),
    Column("SSIM", digits=2, about="likeness to the original; 1 is the same"),
    Column("grey SSIM", digits=2, about="that of a grey image: the floor of SSIM"),
    Column("CPU seconds", digits=1),
)
SHORT = ("layer", "code", "code error", "floor", "SSIM", "grey SSIM")
"""The columns that fit a terminal."""
Row = Mapping[str, Any]
"""The figures of a layer, by column."""


def run_look(config: Look, tell: Tell) -> Outcome:
    """Invert the images' codes at every layer, and leave the page. Raises NetinvertError before long work."""
    if is_code_file(config.images):
        raise CodeError(f"{config.images} is a file of codes, of one layer: netinvert invert takes it")
    network = open_network(config, config.device, tell)
    known = {info.name: info for info in list_layers(network)}
    paths = image_paths(config.images, tell)
    names, form = unique_stems(paths), network.preprocessing
    images = torch.cat([fit(read_image(path, form.channels), form.size) for path in paths])
    choice = PresetChoice(config.preset, config.prior, None, config.steps)
    encoders, targets = layer_targets(network, config, images, [choice], tell)
    rows = tuple(range(len(images)))
    wanted = [Wanted(one.layer, choice, rows, (config.seed,) * len(rows)) for one in encoders]
    facts = run_facts(config, {**network_facts(encoders[0]), "targets": targets})
    with RunDir(config.out, facts, config.overwrite) as folder:
        found = {
            encoder.layer: one
            for encoder, one in zip(
                encoders, invert_all(folder, config, targets, wanted, "layers"), strict=True
            )
        }
        figures, entries = [], []
        for encoder, target in zip(encoders, targets, strict=True):
            # What is not in the list, such as the input, has neither a stride nor a receptive field.
            unlisted = LayerInfo(encoder.layer, "", encoder.code_shape, None, None)
            info, one = known.get(encoder.layer, unlisted), found[encoder.layer]
            floors = target.floors(encoder)
            entries.append({**vars(info), "floors": [asdict(low) for low in floors], **one.facts()})
            figures.append(
                {
                    "layer": info.name,
                    "code": info.code_shape,
                    "numbers": prod(info.code_shape),
                    "stride": info.stride,
                    "receptive field": info.receptive_field,
                    "code error": one.mean("ijcv16"),
                    "floor": min(low.code_error for low in floors),
                    "SSIM": one.mean("ssim"),
                    "grey SSIM": floors[0].ssim,
                    "CPU seconds": one.cpu_seconds,
                }
            )
        shown = {f"original-{name}": image for name, image in zip(names, images, strict=True)}
        for layer, one in found.items():
            ends = [f"{name}-{file_part(layer)}" for name in names]
            shown |= {} if one.images is None else dict(zip(ends, one.images, strict=True))
        for name, image in shown.items():
            write_png(image, folder.path(f"images/{name}.png"))
        more = {"names": names, "inputs": sources_of("images", paths), "layers": entries}
        page = look_page(config, network.name, figures, found, dict(zip(names, images, strict=True)))
        text = report.Table.of(figures, [column for column in COLUMNS if column.name in SHORT]).text()
        return publish(folder, config, page, {**network_facts(encoders[0]), **more}, text, PAGE)


def layer_targets(
    network: Network,
    config: Look | StudyLayers,
    images: Tensor,
    choices: Sequence[RecipeChoice],
    tell: Tell,
    reference_of: Callable[[Encoder, Tensor], Reference | None] = lambda encoder, codes: shipped_reference(
        encoder
    ),
) -> tuple[list[Encoder], list[Targets]]:
    """Encoders of the layers that the user has named, else of those that are worth inverting, and the codes
    of images at them; what cannot be inverted is left out unless named.

    Raises LayerError, NetworkError, CodeError, ConfigError for what cannot be inverted by all the choices.
    """
    encoders, targets = [], []
    for layer in config.layers or suggested_layers(network, list_layers(network)):
        try:
            encoder = Encoder(network, layer)
        except NetworkError as error:
            if config.layers:
                raise
            tell(f"left out: {error}")
            continue
        codes = codes_of(encoder, images, config.batch)
        Match(codes)  # refuses codes that cannot be matched
        for choice in choices:
            choice.recipe(encoder)
        encoders.append(encoder)
        targets.append(Targets.of(encoder, codes, images, reference_of(encoder, codes)))
    if not encoders:
        raise NetworkError(f"{network.name} has no layer that can be inverted; see netinvert layers")
    return encoders, targets


@torch.no_grad()
def codes_of(encoder: Encoder, images: Tensor, batch: int) -> Tensor:
    """The codes of images (N, C, H, W), ``batch`` at once."""
    return torch.cat([encoder(part) for part in torch.split(images.to(encoder.device, encoder.dtype), batch)])


# -- the page ------------------------------------------------------------------------------------------


def look_page(
    config: Look,
    network: str,
    rows: Sequence[Row],
    found: Mapping[str, Reconstructions],
    images: Mapping[str, Tensor],
) -> report.Report:
    """The page: for each image all layers, then the figures. ``found`` is by layer, ``images`` by name."""
    known = [row for row in rows if found[row["layer"]].images is not None]
    lead = (
        f"Each layer of {code(network)} makes a code of {listed([code(name) for name in images])}. Here is "
        f"an image for {counted(len(rows), 'layer')}, found from the code alone (preset {config.preset}) "
        "so that the network gives it the same code: what differs from the original, that layer does not "
        "keep, or the optimisation did not find."
    )
    grid = []
    for k, (name, image) in enumerate(images.items()):
        tiles = [report.Tile(image, (f"{by(image.shape)} = {image.numel():,} numbers",), "original")]
        for row in known:
            one, shape = found[row["layer"]], row["code"]
            size = f"{by(shape)} = " * (len(shape) > 1) + f"{row['numbers']:,} numbers"
            made = None if one.images is None else one.images[k]
            tiles.append(report.Tile(made, (size, *one.lines(k, "ijcv16", "ssim")), row["layer"]))
        grid.append(report.GridRow(name, tiles))
    failed = [f"At {code(layer)}: {one.failure}." for layer, one in found.items() if one.failure]
    following: list[report.Part] = []
    if known:
        layer = known[len(known) // 2]["layer"]
        more = invert_command(
            config,
            input=config.images,
            layer=layer,
            out=Path("out/one"),
            prior=config.prior,
            preset="default",
        )
        following = ["## Next", "One layer with more steps, its figures and its losses:", report.Code(more)]
    return report.Report.of(
        f"What {network} keeps, layer by layer",
        lead,
        ["## Layer by layer", report.ImageGrid(grid)] if known else None,
        ["## All figures", _sentence(known)],
        report.Table.of(rows, COLUMNS, name="layers", sortable=len(rows) > 2),
        *failed,
        following,
    )


def _sentence(rows: Sequence[Row]) -> str | None:
    """What the figures say of all layers together."""
    likeness = {row["layer"]: row["SSIM"] for row in rows if row["SSIM"] is not None}
    if len(likeness) < 2:
        return None
    best, worst = (pick(likeness, key=likeness.__getitem__) for pick in (max, min))
    text = (
        f"The image of {code(best)} is most like the original (SSIM {number(likeness[best], 2)}), that of "
        f"{code(worst)} least ({number(likeness[worst], 2)})."
    )
    unmatched = [code(row["layer"]) for row in rows if _at_least(row["code error"], row["floor"])]
    if unmatched:
        text += (
            f" At {listed(unmatched)} the code error is no smaller than that of an image that has nothing "
            "to do with the code: there nothing was found; try more steps or another preset."
        )
    unlike = [code(row["layer"]) for row in rows if _at_least(row["grey SSIM"], row["SSIM"])]
    if unlike:
        text += f" At {listed(unlike)} SSIM is no greater than a grey image's: there it says nothing."
    return text


def _at_least(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one >= other
