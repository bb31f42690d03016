"""The page on which the draws of a search are looked through: sorted and filtered in the browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netinvert.errors import MissingExtraError
from netinvert.evaluation.report import (
    Block,
    Heading,
    ImageGrid,
    Prose,
    Report,
    Tile,
    by,
    code,
    counted,
    listed,
    number,
)
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.studies import Deepvis
from netinvert.experiments.deepvis import (
    RANGES,
    DeepvisWork,
    Tried,
    candidates,
    deepvis_encoder,
    tried_facts,
    tried_image,
    unit_directions,
)
from netinvert.experiments.runs import PAGE, network_facts, publish, run_facts, workers_of
from netinvert.inversion.optimizers import ConstantRate, ProgressRate
from netinvert.io.images import write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.encoder import Encoder
from netinvert.models.zoo.mobilenets import class_names

SHOWN = 128
"""The longer side of an image on the page."""
TOP = 8
REGULARISERS = {
    "decay": "decay",
    "blur": "blur",
    "small norm": "small_norm",
    "small contribution": "small_contribution",
}
MEASURES = (
    "Activation: as the network gives it, the mean over the images. Naturalness: the intersection of the "
    "histogram of gradient directions with that of photographs (1: the same; white noise, which has all "
    "directions, comes near). Roughness: 1 less the correlation of neighbouring pixels (white noise: 1). "
    "Spread: the standard deviation around the mean, in 0..255, before the stretching. None of them replaces "
    "looking."
)


def deepvis_page(config: Deepvis, encoder: Encoder, found: Sequence[Tried]) -> Report:
    """The published sets, the best by each measure, all draws."""
    published = [tried for tried in found if tried.candidate.published]
    draws = [tried for tried in found if not tried.candidate.published]
    names = [channel_label(encoder, index) for index in config.channel]
    order = " (in this order, from left to right)" * (len(names) > 1)
    lead = (
        f"Images of {code(encoder.network.name)}, layer {code(encoder.layer)}, that raise {listed(names)}"
        f"{order}, {by(encoder.size)} pixels: {counted(len(draws), 'random setting')} of the four "
        f"regularisers of Yosinski et al. 2015, {counted(config.steps, 'step')} each, and the paper's own "
        "four sets. All images are stretched around the mean, as the authors' code saves them; single ones, "
        "at their full size, are in `images/`, all figures in `manifest.json`."
    )
    blocks: list[Block] = [Prose(MEASURES, quiet=True), Heading("The published sets"), _grid(published)]
    if draws:
        blocks += [
            Heading("Highest activation"),
            _grid(_top(draws, lambda tried: -tried.mean("activation"))),
            Heading("Most natural by the directions of gradients"),
            _grid(_top(draws, lambda tried: -tried.mean("naturalness"))),
            Heading("Smooth, and a high activation"),
            Prose("The smallest sum of the two ranks.", quiet=True),
            _grid(_top(draws, _sum_of_ranks(draws))),
            Heading("All draws"),
            _grid(draws, sortable=True),
            Prose(_ranges(), quiet=True),
        ]
    return Report(f"{counted(len(draws), 'draw')} of four regularisers", blocks, lead)


def channel_label(encoder: Encoder, index: int) -> str:
    """What the channel is, with its name where it is an ImageNet class."""
    if encoder.network.name == "efficientnet-lite0" and encoder.code_shape == (1000,):
        try:
            return f"{class_names()[index]} ({index})"
        except MissingExtraError:
            pass
    return f"channel {index}"


def settings_lines(tried: Tried) -> tuple[str, ...]:
    """The setting in words."""
    settings = tried.candidate.settings
    theta = settings.regularisers
    match settings.optimizer:
        case ProgressRate(desired, _):
            rate = f"progress {desired:g}"
        case ConstantRate(constant):
            rate = f"rate {constant:g}"
        case other:
            rate = repr(other)
    parts = [
        f"decay {theta.decay:g}" if theta.decay else "",
        f"blur {theta.blur:g} every {theta.blur_every}" if theta.blur else "",
        f"small norm {theta.small_norm:g} %" if theta.small_norm else "",
        f"contribution {theta.small_contribution:g} %" if theta.small_contribution else "",
    ]
    return (f"{rate}, {settings.steps} steps", ", ".join(part for part in parts if part) or "no regulariser")


def _grid(found: Sequence[Tried], sortable: bool = False) -> ImageGrid:
    """A tile a setting: the images of all channels side by side, its figures, and the setting."""
    tiles = []
    for tried in found:
        theta = tried.candidate.settings.regularisers
        values = {name: tried.mean(name) for name in ("activation", "naturalness", "roughness", "spread")}
        lines = (
            f"activation {number(values['activation'], 1)}, natural {number(values['naturalness'], 2)}",
            f"rough {number(values['roughness'], 2)}, spread {number(values['spread'], 1)}",
        )
        values |= {name: getattr(theta, key) for name, key in REGULARISERS.items()}
        tiles.append(
            Tile(tried.images / 255, (*settings_lines(tried), *lines), tried.candidate.name, values=values)
        )
    width = len(found[0].images) * SHOWN
    flow = ImageGrid.flow(tiles)
    return ImageGrid(
        flow.rows,
        size=min(width, 3 * SHOWN),
        quality=85,
        longest=2 * width,
        sort=("activation", "naturalness", "-roughness", "spread") if sortable else (),
        filters=tuple(REGULARISERS) if sortable else (),
    )


def _top(items: Sequence[Tried], key: Callable[[Tried], float]) -> list[Tried]:
    return sorted(items, key=key)[:TOP]


def _sum_of_ranks(items: Sequence[Tried]) -> Callable[[Tried], float]:
    high = sorted(items, key=lambda tried: -tried.mean("activation"))
    smooth = sorted(items, key=lambda tried: tried.mean("roughness"))
    return lambda tried: high.index(tried) + smooth.index(tried)


def _ranges() -> str:
    low = {name: f"{values[0]:g} to {values[-1]:g}" for name, values in RANGES.items()}
    often = ", ".join(f"{value:g}" for value in RANGES["blur_every"])
    return (
        f"Each regulariser is in half of the draws: decay {low['decay']} and blur {low['blur']} pixels, even "
        f"in their logarithm, the blur every {often} steps; small norm {low['small_norm']} and small "
        f"contribution {low['small_contribution']} per cent. Steps are as long as to make progress "
        f"{low['desired']} (even in its logarithm) if the activation were linear."
    )


def run_deepvis(config: Deepvis, tell: Tell) -> Outcome:
    """Try everything, and leave the page. Raises NetinvertError before any long work."""

    encoder = deepvis_encoder(config)
    unit_directions(encoder, config.channel)  # refuses channels that are not there
    wanted = candidates(config)
    with RunDir(config.out, run_facts(config, network_facts(encoder)), config.overwrite) as folder:
        cells = run_cells(folder, DeepvisWork(config), wanted, workers_of(config), progress="settings")
        found = [Tried(one, **cell.tensors) for one, cell in zip(wanted, cells, strict=True)]
        for tried in found:
            for index, image in zip(config.channel, tried.images, strict=True):
                write_png(image / 255, folder.path(tried_image(tried, index)))
        entries = {
            **network_facts(encoder),
            "code_shape": encoder.code_shape,
            "image_size": encoder.size,
            "ranges": RANGES,
            "results": [tried_facts(tried, config.channel) for tried in found],
        }
        draws = len(wanted) - sum(one.published for one in wanted)
        text = f"{draws} draws and {len(wanted) - draws} published settings"
        return publish(folder, config, deepvis_page(config, encoder, found), entries, text, PAGE)
