"""``netinvert study methods``: optimise, decode, or both (Dosovitskiy & Brox 2016, table 3), a cell a method
and layer, beside floors that need no code and readers that took no part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.metrics import error_cvpr16, ssim
from netinvert.evaluation.readers import LearnedViews, PoseReader, readers_of
from netinvert.experiments.configs.studies import POSENET, StudyMethods
from netinvert.experiments.floors import FLOORS, ORIGINAL, BankWork, ViewBank, floor_images, view_bank
from netinvert.experiments.held_out_chairs import FreshChairs, chair_errors, fresh_chairs
from netinvert.experiments.invert import run_told
from netinvert.experiments.method_report import (
    DECODE,
    MEASURES,
    MethodRow,
    methods_report,
    methods_table,
    rows_by_chair,
)
from netinvert.experiments.runs import decoder_facts, publish, run_facts, workers_of
from netinvert.inversion.canvases import decoded_start, on_decoder
from netinvert.inversion.correct import corrected
from netinvert.inversion.invert import prepare
from netinvert.inversion.objectives import code_error
from netinvert.inversion.presets.by_name import DECODED, recipe
from netinvert.io.cells import Cell, Cells, Piece
from netinvert.io.files import Tell, write_atomic
from netinvert.io.images import fit
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.decoder import Decoder, load_autoencoder, load_decoder
from netinvert.models.encoder import Encoder
from netinvert.training.decoder.train import in_chunks

OPTIMISE, CORRECT, BOTH = "optimise", "decode, then correct", "decode, then optimise"
PRIOR, AUTOENCODER = "decoder as prior", "autoencoder"
OPTIMISERS = {OPTIMISE: "default", "optimise (quick)": "quick", "optimise (robust)": "robust"}
"""The presets: no one of them stands for optimisation."""
AT_ONCE = 25
"""Chairs that are inverted together: of 200 together each takes 1.6 times as long, for caches hold less."""
ALL_METHODS = (*OPTIMISERS, DECODE, CORRECT, BOTH, PRIOR, AUTOENCODER)


@dataclass(frozen=True)
class MethodKey:
    """A decoder and an autoencoder by their names or files, and what is done; ``random``: with the decoder's
    network of random weights, whose codes no decoder knows."""

    decoder: str
    autoencoder: str | None
    method: str
    random: bool = False


@dataclass(frozen=True)
class MethodPiece:
    """A cell: what is done, to AT_ONCE chairs from the ``first`` on."""

    way: MethodKey
    first: int


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """The codes of one layer of held-out chairs, and what there is to invert them with."""

    decoder: Decoder | None
    encoder: Encoder
    chairs: FreshChairs
    steps: int | None = None
    autoencoder: tuple[Encoder, Decoder] | None = None

    @cached_property
    def codes(self) -> Tensor:
        """Of the chairs."""
        return in_chunks(self.encoder, self.chairs.images)

    @cached_property
    def start(self) -> Tensor | None:
        """What decode-then-optimise begins with."""
        return None if self.decoder is None else decoded_start(self.decoder, self.encoder, self.codes)

    def part(self, first: int) -> LayerProblem:
        """AT_ONCE chairs from one on."""
        rows = torch.arange(first, min(first + AT_ONCE, len(self.chairs.images)))
        return replace(self, chairs=self.chairs.only(rows))

    def images(self, method: str, piece: Piece, first: int = 0) -> Tensor:
        """What a method makes of the codes, (N, 3, H, W); ``first`` is the seed of the first chair."""
        originals = self.chairs.images
        if method == AUTOENCODER and self.autoencoder is not None:
            return self.autoencoder[1](self.autoencoder[0](originals))
        if method == DECODE and self.decoder is not None:
            return self.decoder(self.codes)
        if method == CORRECT and self.decoder is not None:
            return corrected(self.encoder, self.codes, self.decoder).image
        how = recipe(OPTIMISERS.get(method, DECODED if method == BOTH else "default"), self.encoder)
        if self.steps is not None and method != BOTH:
            how = how.with_steps(self.steps)
        start = self.start if method == BOTH else None
        if method == PRIOR and self.decoder is not None:
            how = on_decoder(how, self.decoder, self.encoder, self.codes)
        ready = prepare(self.encoder, self.codes, how, start)
        return run_told(ready, range(first, first + len(originals)), piece.tell).image

    def measured(
        self, method: str, images: Tensor, readers: Sequence[PoseReader], asked: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """How good a method's images are, chair by chair (N,), by the columns of the table; the code error of
        an autoencoder is in its own codes. A reader that is limited tells nothing (NaN) of a chair that it
        does not read right in the original: ``asked`` are those about which each is (N,)."""
        chairs, coded = self.chairs, self.encoder
        if method == AUTOENCODER and self.autoencoder is not None:
            coded = self.autoencoder[0]
        originals = chairs.images
        images = fit(images, (originals.shape[2], originals.shape[3]))
        target, again = (in_chunks(coded, batch) for batch in (originals, images))
        found = {
            "on_chair": chair_errors(images, originals, chairs.masks),
            "image": error_cvpr16(images, originals, originals),
            "code": code_error(again, target),
            "ssim": ssim(images, originals),
        }
        for reader in readers:
            errors = reader.errors(images, chairs.rotation, chairs.symmetry)
            found[reader.name] = torch.where(asked[reader.name], errors, torch.nan)
        return {name: values.double() for name, values in found.items()}


@dataclass(frozen=True)
class MethodWork:
    """Runs a method on the chairs' codes; all decoders get chairs of one size."""

    config: StudyMethods
    side: int

    def open(self) -> Callable[[MethodPiece, Piece], Cell]:
        """Render the chairs; decoders are loaded as they are needed."""
        problem = problems(self.config, fresh_chairs(self.config.chairs, self.config.seed, self.side))

        def make(key: MethodPiece, piece: Piece) -> Cell:
            way = key.way
            layer = problem(way.decoder, way.autoencoder, way.random).part(key.first)
            _ = layer.codes, layer.start  # not timed
            began = time.process_time()
            images = layer.images(way.method, piece, key.first)
            return Cell({"images": images}, {"seconds": (time.process_time() - began) / len(images)})

        return make


def problems(config: StudyMethods, chairs: FreshChairs) -> Callable[[str, str | None, bool], LayerProblem]:
    """What gives the problem of a decoder, an autoencoder, and whether weights are random; each once."""

    @cache
    def problem(decoder: str, autoencoder: str | None, random: bool) -> LayerProblem:
        loaded = load_decoder(decoder, config.trust)
        if random:
            blind = Encoder(loaded.load_network("random"), loaded.layer)
            return LayerProblem(None, blind, chairs, config.steps)
        along = None if autoencoder is None else load_autoencoder(autoencoder, config.trust)
        return LayerProblem(loaded, loaded.encoder(), chairs, config.steps, along)

    return problem


def study_methods(config: StudyMethods, tell: Tell) -> Outcome:
    """Run every method on every layer; leave table, plot, images and a row a chair.

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
    ways = _ways(decoders, along, config.control)
    pieces = [MethodPiece(way, first) for way in ways for first in range(0, config.chairs, AT_ONCE)]
    known = {
        "decoders": decoder_facts(decoders.values()),
        "autoencoders": decoder_facts(decoder for _, decoder in pairs.values()),
    }
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        kept = Cells(run)
        tell(f"rendering {report.counted(config.learned, 'view')} for the reader without a network")
        learned = LearnedViews.kept(kept, config.learned)
        bank = view_bank(run, BankWork(side, config.bank), workers_of(config))
        cells = run_cells(run, MethodWork(config, side), pieces, workers_of(config), "pieces of methods")
        made: dict[MethodKey, list[Cell]] = {way: [] for way in ways}
        for piece, cell in zip(pieces, cells, strict=True):
            made[piece.way].append(cell)
        chairs = fresh_chairs(config.chairs, config.seed, side)
        problem = problems(config, chairs)
        rows, images, asked = [], dict[str, dict[str, Tensor]](), dict[str, Tensor]()
        for name, random in dict.fromkeys((way.decoder, way.random) for way in ways):
            layer = problem(name, along.get(decoders[name].layer), random)
            title = _title(decoders, name) + " (random weights)" * random
            readers = readers_of(layer.encoder.network, learned)
            found = {
                way.method: _joined(each)
                for way, each in made.items()
                if (way.decoder, way.random) == (name, random)
            }
            floors = _floors(kept, layer, title, bank)
            found |= {method: (each, None) for method, each in floors.items()}
            images[title] = {method: each for method, (each, _) in found.items()}
            tell(f"measuring what was made of {title}")
            limited = tuple(one.name for one in readers if one.limited)
            for one in readers:
                if one.name not in asked:  # of the same chairs at every layer
                    asked[one.name] = one.asked(chairs.images, chairs.rotation, chairs.symmetry)
            for method, (each, seconds) in found.items():
                measure = partial(_measured, layer, method, each, readers, asked)
                values = kept.keep(["measured", title, method], measure).tensors
                ordered = {name: values[name] for name in (*MEASURES, *(one.name for one in readers))}
                rows.append(MethodRow(title, method, ordered, seconds, limited))
        page = methods_report(rows, images, config)
        write_atomic(run.path("chairs.csv"), rows_by_chair(rows, chairs).csv().encode())
        table = methods_table(rows)
        entries = {**known, "rows": table.plain()["rows"], "seconds": [one.seconds for one in rows]}
        return publish(run, config, page, entries, table.text())


def _ways(decoders: Mapping[str, Decoder], autoencoders: Mapping[str, str], control: bool) -> list[MethodKey]:
    """All that is done; ``autoencoders`` by their layers."""
    ways = [
        MethodKey(name, autoencoders.get(decoder.layer), method)
        for name, decoder in decoders.items()
        for method in ALL_METHODS
        if method != AUTOENCODER or decoder.layer in autoencoders
    ]
    if not control:
        return ways
    alone = {(decoder.network, decoder.layer): name for name, decoder in decoders.items()}
    return ways + [
        MethodKey(name, None, method, random=True) for name in alone.values() for method in OPTIMISERS
    ]


def _title(decoders: Mapping[str, Decoder], name: str) -> str:
    """The layer, and the decoder where several decode it."""
    decoder = decoders[name]
    same = [one for one in decoders.values() if one.layer == decoder.layer]
    return decoder.layer if len(same) == 1 else f"{decoder.layer}, {decoder.name}"


def _joined(cells: Sequence[Cell]) -> tuple[Tensor, float | None]:
    """The images (N, 3, H, W) of pieces, and seconds an image."""
    images = [cell.tensors["images"] for cell in cells]
    seconds = sum(len(each) * cell.facts["seconds"] for each, cell in zip(images, cells, strict=True))
    return torch.cat(images), seconds / sum(map(len, images))


def _measured(
    layer: LayerProblem,
    method: str,
    images: Tensor,
    readers: Sequence[PoseReader],
    asked: Mapping[str, Tensor],
) -> Cell:
    return Cell(layer.measured(method, images, readers, asked))


def _floors(kept: Cells, layer: LayerProblem, title: str, bank: ViewBank) -> Mapping[str, Tensor]:
    def make() -> Cell:
        return Cell(floor_images(layer.decoder, layer.encoder, layer.chairs, bank))

    found = kept.keep(["floors", title], make).tensors
    return {name: found[name] for name in (*FLOORS, ORIGINAL) if name in found}
