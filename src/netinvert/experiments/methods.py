"""``netinvert study methods``: optimise, decode, or both (Dosovitskiy & Brox 2016, table 3), a cell a method
and layer.

Image errors and code errors are distances over the mean distance of two different test images; the pose is
read by a network that took no part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property

from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.evaluate import held_out_estimator
from netinvert.evaluation.metrics import error_cvpr16
from netinvert.evaluation.report import Column, code, counted, number
from netinvert.experiments.configs.studies import POSENET, StudyMethods
from netinvert.experiments.held_out_chairs import FreshChairs, fresh_chairs
from netinvert.experiments.runs import decoder_facts, publish, run_facts, workers_of
from netinvert.inversion.canvases import decoded_start, on_decoder
from netinvert.inversion.correct import correct
from netinvert.inversion.invert import prepare
from netinvert.inversion.objectives import code_error
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import DECODED, recipe
from netinvert.inversion.result import StepInfo
from netinvert.io.cells import Cell, Piece
from netinvert.io.files import Tell
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.decoder import Decoder, load_autoencoder, load_decoder
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.train import image_figures, in_chunks

OPTIMISE, DECODE, CORRECT, BOTH = "optimise", "decode", "decode, then correct", "decode, then optimise"
PRIOR, AUTOENCODER = "decoder as prior", "autoencoder"
ORIGINAL, MEAN, OTHER = "the original", "mean image", "another chair"
METHODS = (OPTIMISE, DECODE, CORRECT, BOTH, PRIOR, AUTOENCODER)
BASELINES = (ORIGINAL, MEAN, OTHER)
"""What needs no code: the ceiling, and two floors."""
DRAWN = {
    OPTIMISE: ("#0072B2", "o"),
    DECODE: ("#D55E00", "s"),
    CORRECT: ("#E69F00", "P"),
    BOTH: ("#009E73", "D"),
    PRIOR: ("#CC79A7", "^"),
    AUTOENCODER: ("#666666", "v"),
}
"""The methods that are plotted, in colours of Okabe & Ito, told apart by most eyes."""
ON_SHEET = 8


@dataclass(frozen=True)
class MethodFigures:
    """How a method does on the codes of one layer; means but for the poses, which are medians in degrees of
    what the held-out pose estimator (``judge``) and the network itself (``own``) read. ``code_error_own`` is
    over the code's own norm."""

    layer: str
    method: str
    image_error: float
    code_error: float
    code_error_own: float
    ssim: float
    judge: float | None
    own: float | None


@dataclass(frozen=True)
class MethodKey:
    """A cell: a decoder and an autoencoder by their names or files, and what is done."""

    decoder: str
    autoencoder: str | None
    method: str


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """The codes of one layer of held-out chairs, and what there is to invert them with."""

    decoder: Decoder
    encoder: Encoder
    chairs: FreshChairs
    steps: int | None = None
    autoencoder: tuple[Encoder, Decoder] | None = None

    @cached_property
    def codes(self) -> Tensor:
        """Of the chairs."""
        return in_chunks(self.encoder, self.chairs.images)

    @cached_property
    def start(self) -> Tensor:
        """What decode-then-optimise begins with."""
        return decoded_start(self.decoder, self.encoder, self.codes)

    def images(self, method: str, piece: Piece | None = None) -> Tensor:
        """What a method makes of the codes, (N, 3, H, W)."""
        originals = self.chairs.images
        mean = originals.mean(0, keepdim=True).expand_as(originals)
        known = {ORIGINAL: originals, MEAN: mean, OTHER: originals.roll(1, 0)}
        if method in known:
            return known[method]
        if method == AUTOENCODER and self.autoencoder is not None:
            return self.autoencoder[1](self.autoencoder[0](originals))
        if method == DECODE:
            return self.decoder(self.codes)
        if method == CORRECT:
            return correct(self.encoder, self.codes, self.decoder).image
        how = recipe(DECODED if method == BOTH else "default", self.encoder)
        if self.steps is not None and method != BOTH:
            how = how.with_steps(self.steps)
        start = self.start if method == BOTH else None
        if method == PRIOR:
            how = on_decoder(how, self.decoder, self.encoder, self.codes)

        def callback(info: StepInfo) -> None:
            if piece is not None:
                piece.tell(info.step / info.steps, f"step {info.step} of {info.steps}")

        run = Run(seed=list(range(len(originals))), callback=callback)
        result = prepare(self.encoder, self.codes, how, start).run(run)
        if result.interrupted:
            raise KeyboardInterrupt
        return result.image

    def figures(self, method: str, images: Tensor) -> MethodFigures:
        """How good a method's images are; an autoencoder's code error is in its own codes."""
        coded = self.encoder
        if method == AUTOENCODER and self.autoencoder is not None:
            coded = self.autoencoder[0]
        target, again = (in_chunks(coded, batch) for batch in (self.chairs.images, images))
        pixels = image_figures(images, self.chairs.images)
        own, judged = (
            self.chairs.pose_errors(reader, images).median().item() if reader else None
            for reader in (self.encoder, held_out_estimator(self.encoder))
        )
        return MethodFigures(
            layer=self.encoder.layer,
            method=method,
            image_error=pixels["image_error"],
            code_error=error_cvpr16(again, target, target).mean().item(),
            code_error_own=code_error(again, target).mean().item(),
            ssim=pixels["ssim"],
            judge=judged,
            own=own,
        )


@dataclass(frozen=True)
class MethodWork:
    """Runs a method on the chairs' codes; all decoders get chairs of one size."""

    config: StudyMethods
    side: int

    def open(self) -> Callable[[MethodKey, Piece], Cell]:
        """Render the chairs; decoders are loaded as they are needed."""
        chairs = fresh_chairs(self.config.chairs, self.config.seed, self.side)

        @cache
        def problem(decoder: str, autoencoder: str | None) -> LayerProblem:
            loaded = load_decoder(decoder, self.config.trust)
            along = None if autoencoder is None else load_autoencoder(autoencoder, self.config.trust)
            return LayerProblem(loaded, loaded.encoder(), chairs, self.config.steps, along)

        def make(key: MethodKey, piece: Piece) -> Cell:
            layer = problem(key.decoder, key.autoencoder)
            _ = layer.codes, layer.start  # not timed
            began = time.perf_counter()
            images = layer.images(key.method, piece)
            seconds = (time.perf_counter() - began) / len(images)
            figures = layer.figures(key.method, images)
            return Cell({"images": images}, {"figures": asdict(figures), "seconds": seconds})

        return make


def study_methods(config: StudyMethods, tell: Tell) -> Outcome:
    """Run every method on every layer; leave table, plot and images.

    Raises:
        NetworkError, CodeError: a decoder that cannot be loaded.
        ConfigError: an autoencoder of no decoder's layer.
        MissingExtraError: without the extra scenes.
    """
    decoders = {name: load_decoder(name, config.trust) for name in config.decoders or POSENET}
    for decoder in decoders.values():
        decoder.encoder()
    pairs = {path: load_autoencoder(path, config.trust) for path in config.autoencoders}
    along = {encoder.layer: path for path, (encoder, _) in pairs.items()}
    missing = sorted(along.keys() - {decoder.layer for decoder in decoders.values()})
    if missing:
        raise ConfigError(
            f"autoencoders of {', '.join(missing)}, but no decoder of these: add it with --decoders"
        )
    side = max(next(iter(decoders.values())).size)
    keys = [
        MethodKey(name, along.get(decoder.layer), method)
        for name, decoder in decoders.items()
        for method in (*METHODS, *BASELINES)
        if method != AUTOENCODER or decoder.layer in along
    ]
    known = {
        "decoders": decoder_facts(decoders.values()),
        "autoencoders": decoder_facts(decoder for _, decoder in pairs.values()),
    }
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        cells = run_cells(run, MethodWork(config, side), keys, workers_of(config), "methods")
        figures = [MethodFigures(**cell.facts["figures"]) for cell in cells]
        seconds = [cell.facts["seconds"] for cell in cells]
        images: dict[str, dict[str, Tensor]] = {}
        for one, cell in zip(figures, cells, strict=True):
            images.setdefault(one.layer, {})[one.method] = cell.tensors["images"]
        report = _report(figures, seconds, images, config)
        entries = {**known, "rows": [asdict(one) for one in figures], "seconds": seconds}
        return publish(run, config, report, entries, _table(figures).text())


# -- report ------------------------------------------------------------------------------------------------


def _report(
    figures: Sequence[MethodFigures],
    seconds: Sequence[float],
    images: Mapping[str, Mapping[str, Tensor]],
    config: StudyMethods,
) -> report.Report:
    layers = {layer: [one for one in figures if one.layer == layer] for layer in images}
    blocks: list[report.Block] = [
        report.Heading("What was found"),
        report.Points([_sentence(each) for each in layers.values()]),
        _crossover(layers),
        report.Heading("All figures"),
        _table(figures),
        report.Heading("Time"),
        report.Points(_times(figures, seconds)),
        report.Heading("Images"),
        _overview(images),
        *(_sheet(layer, made) for layer, made in images.items()),
    ]
    lead = (
        f"Codes of {counted(config.chairs, 'chair')} (seed {config.seed}) that no network has seen, "
        "inverted by every method. Means over the chairs; poses by their median geodesic error."
    )
    return report.Report("Optimise, decode, or both", blocks, lead)


def _sentence(layer: Sequence[MethodFigures]) -> str:
    found = {one.method: one for one in layer}
    methods = [one for one in layer if one.method not in BASELINES]
    image = min(methods, key=lambda one: one.image_error)
    same = min(methods, key=lambda one: one.code_error)
    return (
        f"{code(image.layer)}: the least image error is that of “{image.method}” "
        f"({number(image.image_error, 3)}; the mean image {number(found[MEAN].image_error, 3)}), the least "
        f"code error that of “{same.method}” ({number(same.code_error, 3)}; the mean image "
        f"{number(found[MEAN].code_error, 3)})."
    )


def _table(figures: Sequence[MethodFigures]) -> report.Table:
    columns: list[Column | str] = [
        "layer",
        "method",
        Column("image error", digits=3, key="image_error", about="over the mean distance of two chairs"),
        Column("code error", digits=3, key="code_error", about="over the mean distance of two chairs' codes"),
        Column("own norm", digits=3, key="code_error_own", about="the code error over the code's own norm"),
        Column("SSIM", digits=2, key="ssim"),
        Column("held-out pose", "°", digits=1, key="judge", about="error of the held-out pose estimator"),
        Column("own pose", "°", digits=1, key="own", about="the same, as the inverted network reads it"),
    ]
    floors = [index for index, one in enumerate(figures) if one.method in BASELINES]
    return replace(report.Table.of(figures, columns), baselines=floors, name="methods")


def _times(figures: Sequence[MethodFigures], seconds: Sequence[float]) -> list[str]:
    """Not in the table: they differ from run to run."""
    each: dict[str, list[str]] = {}
    for one, time_of in zip(figures, seconds, strict=True):
        if one.method not in BASELINES:
            took = f"{number(time_of, 1)} s" if time_of >= 1 else f"{number(1000 * time_of, 1)} ms"
            each.setdefault(one.layer, []).append(f"{took} by “{one.method}”")
    return [f"{code(layer)}, an image: {', '.join(times)}." for layer, times in each.items()]


def _crossover(layers: Mapping[str, Sequence[MethodFigures]]) -> report.Plot:
    """Image error and code error of the methods over the layers, side by side."""

    def panel(name: str, title: str) -> report.Panel:
        series = []
        for method, (colour, marker) in DRAWN.items():
            found = [[getattr(one, name) for one in each if one.method == method] for each in layers.values()]
            values = [each[0] if each else None for each in found]
            if any(value is not None for value in values):
                series.append(report.Series(method, list(layers), values, marker=marker, colour=colour))
        floor = [next(getattr(one, name) for one in each if one.method == MEAN) for each in layers.values()]
        series.append(report.Series(MEAN, list(layers), floor, line=":", colour="#999999"))
        label = "distance over the mean distance of pairs"
        return report.Panel(series, title, "layer", label, y_range=(0, None))

    panels = [panel("image_error", "image error"), panel("code_error", "code error")]
    return report.Plot(panels, name="crossover")


def _overview(images: Mapping[str, Mapping[str, Tensor]]) -> report.ImageGrid:
    """The first chair at every layer, by the methods that are plotted."""
    shown = [ORIGINAL, *(method for method in DRAWN if any(method in each for each in images.values()))]
    rows = {layer: [_tile(each, method, 0) for method in shown] for layer, each in images.items()}
    return replace(report.ImageGrid.of(rows, shown, "The first chair"), size=128, name="overview")


def _sheet(layer: str, made: Mapping[str, Tensor]) -> report.ImageGrid:
    """Rows are chairs; columns the original and every method's image."""
    shown = [ORIGINAL, *(method for method in made if method not in BASELINES)]
    count = min(ON_SHEET, len(made[ORIGINAL]))
    rows = {f"chair {k + 1}": [_tile(made, method, k) for method in shown] for k in range(count)}
    return replace(report.ImageGrid.of(rows, shown, layer), size=128, name=layer)


def _tile(made: Mapping[str, Tensor], method: str, k: int) -> Tensor | None:
    return made[method][k].clamp(0, 1) if method in made else None
