"""What each layer of a network keeps of images: its codes inverted, layer by layer, on one page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import CodeError, NetworkError
from netinvert.evaluation.evaluate import Baseline, baselines, shipped_reference
from netinvert.evaluation.report import (
    Block,
    Code,
    Column,
    GridRow,
    Heading,
    ImageGrid,
    Prose,
    Report,
    Table,
    Tile,
    Value,
    by,
    code,
    counted,
    listed,
    number,
)
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.images import Invert
from netinvert.experiments.configs.studies import Look
from netinvert.experiments.inputs import image_paths, is_code_file, open_network, sources_of, unique_stems
from netinvert.experiments.inversions import (
    PresetChoice,
    Reconstructions,
    Targets,
    Wanted,
    invert_all,
)
from netinvert.experiments.runs import PAGE, network_facts, publish, run_facts
from netinvert.inversion.objectives import Match
from netinvert.io.images import fit, read_image, write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.encoder import Encoder
from netinvert.models.layers import LayerInfo, list_layers
from netinvert.models.network import Network
from netinvert.models.suggested import suggested_layers


@dataclass(frozen=True, eq=False)
class LayerView:
    """What was found at a layer: its code, its images, what images that nobody inverted score."""

    info: LayerInfo
    found: Reconstructions
    floors: Sequence[Baseline]

    def facts(self) -> dict[str, object]:
        """All figures."""
        return {**vars(self.info), "floors": [asdict(one) for one in self.floors], **self.found.facts()}


def run_look(config: Look, tell: Tell) -> Outcome:
    """Invert the images' codes at every layer, and leave the page. Raises NetinvertError before long work."""
    if is_code_file(config.images):
        raise CodeError(f"{config.images} is a file of codes, of one layer: netinvert invert takes it")
    network = open_network(config, config.device)
    infos = {info.name: info for info in list_layers(network)}
    paths = image_paths(config.images)
    names = unique_stems(paths)
    form = network.preprocessing
    images = torch.cat([fit(read_image(path, form.channels), form.size) for path in paths])
    choice = PresetChoice(config.preset, config.prior, None, config.steps)
    encoders, targets = [], []
    for encoder in encoders_of(network, config.layers, tell):
        codes = codes_of(encoder, images, config.batch)
        Match(codes)  # refuses codes that cannot be matched
        choice.recipe(encoder)
        encoders.append(encoder)
        targets.append(Targets.of(encoder, codes, images.to(encoder.dtype), shipped_reference(encoder)))
    rows = tuple(range(len(images)))
    wanted = [Wanted(one.layer, choice, rows, (config.seed,) * len(rows)) for one in encoders]
    with RunDir(
        config.out, run_facts(config, {**network_facts(encoders[0]), "targets": targets}), config.overwrite
    ) as folder:
        found = invert_all(folder, config, targets, wanted, "layers")
        views = [
            LayerView(infos.get(encoder.layer) or _info(encoder), one, _floors(encoder, target))
            for encoder, one, target in zip(encoders, found, targets, strict=True)
        ]
        page = look_page(config, network, views, names, images)
        for name, image in zip(names, images, strict=True):
            write_png(image, folder.path(f"images/original-{name}.png"))
        for view in views:
            for name, image in zip(
                names, () if view.found.images is None else view.found.images, strict=False
            ):
                layer = re.sub(r"[^\w.=+-]", "_", view.info.name)
                write_png(image, folder.path(f"images/{name}-{layer}.png"))
        entries = {
            **network_facts(encoders[0]),
            "names": names,
            "inputs": sources_of("images", paths),
            "layers": [view.facts() for view in views],
        }
        return publish(folder, config, page, entries, layer_table(views, short=True).text(), PAGE)


def encoders_of(network: Network, named: Sequence[str], tell: Tell) -> list[Encoder]:
    """Of the layers that the user has named, else of those that are worth inverting; of these, what cannot be
    inverted is left out. Raises LayerError, NetworkError."""
    found = []
    for layer in named or suggested_layers(network, list_layers(network)):
        try:
            found.append(Encoder(network, layer))
        except NetworkError as error:
            if named:
                raise
            tell(f"left out: {error}")
    if not found:
        raise NetworkError(f"{network.name} has no layer that can be inverted; see netinvert layers")
    return found


@torch.no_grad()
def codes_of(encoder: Encoder, images: Tensor, batch: int) -> Tensor:
    """The codes of images (N, C, H, W), ``batch`` at once."""
    return torch.cat([encoder(part) for part in torch.split(images.to(encoder.device, encoder.dtype), batch)])


def _floors(encoder: Encoder, targets: Targets) -> list[Baseline]:
    codes, originals = targets.codes.to(encoder.device), targets.originals
    return baselines(codes, encoder, originals, shipped_reference(encoder))


def _info(encoder: Encoder) -> LayerInfo:
    """Of what is not in the list, such as the input."""
    return LayerInfo(encoder.layer, "", encoder.code_shape, None, None)


# -- the page ------------------------------------------------------------------------------------------


def look_page(
    config: Look, network: Network, views: Sequence[LayerView], names: Sequence[str], images: Tensor
) -> Report:
    """The page: for each image all layers, then the figures."""
    known = [view for view in views if view.found.images is not None]
    size = prod(images.shape[1:])
    lead = (
        f"Each layer of {code(network.name)} makes a code of {listed([code(name) for name in names])}. Here "
        f"is an image for {counted(len(views), 'layer')}, found from the code alone (preset {config.preset}) "
        "so that the network gives it the same code: what differs from the original, that layer does not "
        "keep, or the optimisation did not find."
    )
    blocks: list[Block] = [Heading("Layer by layer"), _grid(known, names, images, size)] if known else []
    blocks += [Heading("All figures"), *(Prose(text) for text in _sentences(known)), layer_table(views)]
    blocks += [
        Prose(f"At {code(view.info.name)}: {view.found.failure}.") for view in views if view.found.failure
    ]
    if known:
        blocks += [Heading("Next"), Prose("One layer with more steps, its figures and its losses:")]
        blocks.append(Code(_command(config, known[len(known) // 2].info.name)))
    return Report(f"What {network.name} keeps, layer by layer", blocks, lead)


def _grid(views: Sequence[LayerView], names: Sequence[str], images: Tensor, size: int) -> ImageGrid:
    rows = []
    for k, name in enumerate(names):
        tiles = [Tile(images[k], (f"{by(images.shape[1:])} = {size:,} numbers",), "original")]
        for view in views:
            assert view.found.images is not None
            shape = view.info.code_shape
            measured = view.found.measured
            lines = (
                f"{by(shape)} = {prod(shape):,} numbers" if len(shape) > 1 else f"{prod(shape):,} numbers",
                f"code error {number(measured['ijcv16'][k], 3)}",
                f"SSIM {number(measured['ssim'][k], 2)}",
            )
            tiles.append(Tile(view.found.images[k], lines, view.info.name))
        rows.append(GridRow(name, tiles))
    return ImageGrid(rows)


def _sentences(views: Sequence[LayerView]) -> list[str]:
    """What the figures say of all layers together."""
    likeness = {view.info.name: value for view in views if (value := view.found.mean("ssim")) is not None}
    if len(likeness) < 2:
        return []
    best, worst = (pick(likeness, key=likeness.__getitem__) for pick in (max, min))
    text = (
        f"The image of {code(best)} is most like the original (SSIM {number(likeness[best], 2)}), that of "
        f"{code(worst)} least ({number(likeness[worst], 2)})."
    )
    low = {view.info.name: (_floor(view), view.floors[0].ssim) for view in views}
    errors = {view.info.name: view.found.mean("ijcv16") for view in views}
    unmatched = [code(name) for name, error in errors.items() if _at_least(error, low[name][0])]
    if unmatched:
        text += (
            f" At {listed(unmatched)} the code error is no smaller than that of an image that has nothing "
            "to do with the code: there nothing was found; try more steps or another preset."
        )
    unlike = [code(name) for name, value in likeness.items() if _at_least(low[name][1], value)]
    if unlike:
        text += f" At {listed(unlike)} SSIM is no greater than a grey image's: there it says nothing."
    return [text]


def _floor(view: LayerView) -> float:
    """The least code error of images that nobody inverted."""
    return min(one.code_error for one in view.floors)


def _at_least(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one >= other


def layer_table(views: Sequence[LayerView], short: bool = False) -> Table:
    """A row a layer; ``short`` fits a terminal."""
    columns: list[Column | str] = [
        "layer",
        Column("code", show=by),
        Column("numbers", show=lambda count: f"{count:,}", align="right"),
        Column("stride", "pixels"),
        Column("receptive field", "pixels"),
        Column("code error", digits=3, about="‖Φ − Φ₀‖ / ‖Φ₀‖ (Mahendran & Vedaldi 2016); 0 is a match"),
        Column(
            "floor",
            digits=3,
            about="the least code error of images that nobody inverted: a grey one, or others",
        ),
        Column("SSIM", digits=2, about="likeness to the original; 1 is the same"),
        Column("grey SSIM", digits=2, about="that of a grey image: the floor of SSIM"),
        Column("CPU seconds", digits=1),
    ]
    rows: list[Sequence[Value]] = []
    for view in views:
        info, found = view.info, view.found
        shape: object = info.code_shape
        extent = (prod(info.code_shape), info.stride, info.receptive_field)
        figures = (
            found.mean("ijcv16"),
            _floor(view),
            found.mean("ssim"),
            view.floors[0].ssim,
            found.cpu_seconds,
        )
        rows.append((info.name, shape, *extent, *figures))  # type: ignore[arg-type]
    if short:
        keep = [0, 1, 5, 6, 7, 8]
        return Table([columns[k] for k in keep], [[row[k] for k in keep] for row in rows])
    return Table(columns, rows, name="layers", sortable=len(rows) > 2)


def _command(config: Look, layer: str) -> str:
    same = ("network", "weights", "size", "mean", "std", "order", "scale", "prior", "seed")
    options = {name: getattr(config, name) for name in same}
    return Invert(input=config.images, layer=layer, out=Path("out/one"), **options).command_line()
