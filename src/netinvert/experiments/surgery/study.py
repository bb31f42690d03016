"""``netinvert study surgery``: the part of a code that carries the pose removed, kept alone and swapped; a
cell an edit and a way to reconstruct."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.probes import check_installed
from netinvert.evaluation.readers import LearnedViews, PoseReader, readers_of
from netinvert.experiments.configs.studies import StudySurgery
from netinvert.experiments.floors import A_CHAIR, BankWork, ViewBank, mean_of_pose, view_bank
from netinvert.experiments.held_out_chairs import fresh_chairs
from netinvert.experiments.runs import ANSWER, decoder_facts, publish, run_facts, workers_of
from netinvert.experiments.surgery.measures import (
    CODE,
    DECODE,
    ORIGINAL,
    LayerCodes,
    Patients,
    SurgeryKey,
    keys_of,
    random_keys,
    reconstructed,
)
from netinvert.experiments.surgery.report import SHOWN, surgery_answer, surgery_report
from netinvert.experiments.surgery.subspaces import PoseSubspaces, Subspace, heads_of, pose_targets
from netinvert.experiments.surgery.tables import Operated, registered_edits
from netinvert.io.cells import Cell, Cells, Piece
from netinvert.io.files import Tell, write_atomic
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.decoder import Decoder, load_decoder
from netinvert.models.encoder import Encoder
from netinvert.scenes.cameras import angles_from_rotation
from netinvert.scenes.seeds import STATISTICS


@dataclass(frozen=True)
class SurgeryWork:
    """Edits the codes of the chairs, reconstructs and measures; ``layers`` by decoder, and whether the
    weights are random."""

    config: StudySurgery
    patients: Patients
    layers: Mapping[tuple[str, bool], LayerCodes]
    learned: LearnedViews

    def open(self) -> Callable[[SurgeryKey, Piece], Cell]:
        """Decoders are loaded as they are needed."""
        patients = self.patients

        @cache
        def loaded(name: str, random: bool) -> tuple[Decoder, Encoder]:
            decoder = load_decoder(name, self.config.trust)
            return decoder, encoder_of(decoder, random)

        @cache
        def asked(name: str) -> list[tuple[PoseReader, Tensor]]:
            return patients.asked(readers_of(loaded(name, False)[1].network, self.learned))

        def make(key: SurgeryKey, piece: Piece) -> Cell:
            piece.tell(0, f"{key.subspace} {key.edit}".strip())
            decoder, encoder = loaded(key.decoder, key.random)
            layer = self.layers[key.decoder, key.random]
            if key.method == CODE:
                return Cell(patients.of_codes(layer, key, encoder))
            if key.edit == ORIGINAL:
                images = patients.chairs.images
            else:
                codes = patients.codes(layer, key, encoder)
                way = decoder if key.method == DECODE else None
                images = reconstructed(codes, encoder, way, self.config.steps, piece).clamp(0, 1)
            measured = patients.of_images(images, key, asked(key.decoder))
            return Cell({**measured, "images": images[:SHOWN].clone()})

        return make


def encoder_of(decoder: Decoder, random: bool = False) -> Encoder:
    """Of the decoder's layer, perhaps with random weights. Raises NetworkError, CodeError."""
    return Encoder(decoder.load_network("random"), decoder.layer) if random else decoder.encoder()


def layer_codes(encoder: Encoder, bank: ViewBank, seed: int) -> tuple[LayerCodes, tuple[float, ...]]:
    """The subspaces, found on every other chair of a bank, with the codes of the rest for fresh probes; and
    R² of the rounds of probes."""
    codes, azimuth, elevation = bank.codes(encoder), *angles_from_rotation(bank.rotation)[:2]
    fronted = bank.symmetry == 1
    first = torch.arange(len(codes)) // A_CHAIR % 2 == 0
    fit, rest = fronted & first, fronted & ~first
    found = PoseSubspaces.of(encoder, codes[fit], (azimuth[fit], elevation[fit]), seed)
    targets = pose_targets(azimuth[rest], elevation[rest])
    return LayerCodes(found.subspaces, codes[rest], targets), found.scores


def _stored(layer: LayerCodes, scores: tuple[float, ...]) -> Cell:
    tensors = {"codes": layer.codes, "targets": layer.targets}
    for place, one in enumerate(layer.subspaces.values()):
        tensors |= {f"{place}.{part}": getattr(one, part) for part in ("mean", "into", "out")}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    shares = {name: one.variance(layer.codes) for name, one in layer.subspaces.items()}
    facts = {"names": list(layer.subspaces), "numbers": layer.codes.shape[1]}
    return Cell(tensors, {**facts, "shares": shares, "scores": scores})


def _restored(cell: Cell) -> LayerCodes:
    parts = ("mean", "into", "out")
    found = {
        name: Subspace(name, *(cell.tensors[f"{place}.{part}"] for part in parts))
        for place, name in enumerate(cell.facts["names"])
    }
    return LayerCodes(found, cell.tensors["codes"], cell.tensors["targets"])


def study_surgery(config: StudySurgery, tell: Tell) -> Outcome:
    """Find the parts, edit, reconstruct, measure; leave report, pictures and rows in ``config.out``.

    Raises:
        NetworkError, CodeError: a decoder that cannot be loaded, or whose codes are maps or all pose.
        ConfigError: its network reads no poses by heads; fewer than three chairs have a front.
        MissingExtraError: without the extras scenes and probes.
    """
    check_installed()
    decoders = {name: load_decoder(name, config.trust) for name in config.decoders}
    encoders = {
        (name, random): encoder_of(one, random) for name, one in decoders.items() for random in (False, True)
    }
    for one in encoders.values():
        heads_of(one)
    known = {"decoders": decoder_facts(decoders.values())}
    side = max(next(iter(decoders.values())).size)
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        kept = Cells(run)
        tell(f"rendering {config.learned} views for the reader without a network")
        learned = LearnedViews.kept(kept, config.learned)
        bank = view_bank(run, BankWork(side, config.others, config.seed + STATISTICS), workers_of(config))
        stored = {
            key: kept.keep(["subspaces", *key], partial(_found, one, bank, config.seed))
            for key, one in encoders.items()
        }
        layers = {key: _restored(cell) for key, cell in stored.items()}
        chairs = fresh_chairs(config.chairs, config.seed, side)
        chairs = chairs.only(chairs.symmetry == 1)
        if len(chairs.images) < 3:
            raise ConfigError("fewer than three of the chairs have a front to read a pose by: give more")
        patients = Patients(chairs, mean_of_pose(bank, chairs.rotation))
        keys = []
        for name in decoders:
            keys += keys_of(name, list(layers[name, False].subspaces), config.steps > 0)
            keys += random_keys(name, list(layers[name, True].subspaces))
        work = SurgeryWork(config, patients, layers, learned)
        cells = run_cells(run, work, keys, workers_of(config), "edits")
        readers = readers_of(encoders[config.decoders[0], False].network, learned)
        operated = Operated(
            config,
            dict(zip(keys, cells, strict=True)),
            {key: cell.facts for key, cell in stored.items()},
            {key: {name: one.size for name, one in layer.subspaces.items()} for key, layer in layers.items()},
            tuple(one.name for one in readers),
            tuple(one.name for one in readers if one.limited),
            patients,
        )
        page = surgery_report(operated)
        write_atomic(run.path("chairs.csv"), operated.by_chair().csv().encode())
        entries = {**known, ANSWER: surgery_answer(operated)}
        return publish(run, config, page, entries, registered_edits(operated).text())


def _found(encoder: Encoder, bank: ViewBank, seed: int) -> Cell:
    return _stored(*layer_codes(encoder, bank, seed))
