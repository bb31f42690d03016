"""``netinvert study attributes``: what layers keep of attributes, a cell a layer, and of two controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from torch import Tensor, nn

from netinvert.errors import ConfigError, NetworkError
from netinvert.evaluation.probes import check_installed
from netinvert.experiments.attribute_measures import (
    Agreement,
    AttributeReader,
    AttributeScores,
    Encode,
    checked_decoders,
    mean_code_distance,
    score_attribute,
)
from netinvert.experiments.attribute_report import (
    PIXELS,
    RANDOM,
    AttributeFindings,
    attributes_answer,
    attributes_report,
    decoded_grids,
    probe_table,
    scores_by_chair,
)
from netinvert.experiments.attribute_series import (
    ATTRIBUTES,
    SIZE,
    ChairRenders,
    attribute_series,
    render_chairs,
)
from netinvert.experiments.configs.studies import StudyAttributes
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import ANSWER, decoder_facts, publish, run_facts, workers_of
from netinvert.io.cells import Cell, Cells, Piece
from netinvert.io.files import Tell, write_atomic
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.decoder import load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network

ORIGINALS = "the originals"
"""The key of their cell; those of the others are layers and controls."""


@dataclass(frozen=True)
class AttributeWork:
    """Measures a layer, a control or the originals; ``renders`` are the fields of ``ChairRenders``."""

    config: StudyAttributes
    renders: Mapping[str, Tensor]

    def open(self) -> Callable[[str, Piece], Cell]:
        """Load the networks and make the images of all attributes."""
        config = self.config
        network = open_network(config)
        encoders = {layer: Encoder(network, layer) for layer in config.layers}
        decoders = checked_decoders(encoders, [load_decoder(name) for name in config.decoders])
        renders = ChairRenders(**self.renders)
        made = {name: attribute_series(renders, name, config.seed) for name in config.attributes}
        reader = AttributeReader.of(encoders[config.layers[0]], made)

        @cache
        def encode(title: str) -> Encode:
            if title == PIXELS:
                return nn.Flatten()
            if title in encoders:
                return encoders[title]
            blind = open_network(replace(config, weights="random"))
            return Encoder(blind, title.removesuffix(RANDOM))

        def make(layer: str, piece: Piece) -> Cell:
            if layer == ORIGINALS:
                seen = {name: reader.of_originals(one, config.seed) for name, one in made.items()}
                agreement = {name: asdict(each) for name, each in seen.items() if each is not None}
                return Cell(
                    facts={"agreement": agreement, "counts": {k: len(one.truth) for k, one in made.items()}}
                )
            distance = mean_code_distance(encode(layer), made)
            scores = {}
            for place, (name, one) in enumerate(made.items()):
                piece.tell(place / len(made), f"{layer}: {ATTRIBUTES[name].label}")
                found = score_attribute(
                    encode(layer), one, decoders.get(layer), reader, distance, config.seed
                )
                scores[name] = asdict(found)
            return Cell(facts={"distance": distance, "scores": scores})

        return make


def study_attributes(config: StudyAttributes, tell: Tell) -> Outcome:
    """Measure, and leave report, figures and images in ``config.out``.

    Raises:
        ConfigError: a decoder of a layer that is not among the layers, or two of one layer.
        CodeError: a decoder of another network.
        LayerError: a layer that the network does not have.
        MissingExtraError: without the extras scenes and probes.
    """
    check_installed()
    network = open_network(config, tell=tell)
    layers, attributes = config.layers or network.layers, config.attributes or tuple(ATTRIBUTES)
    if not layers:
        raise ConfigError(
            f"{config.network} does not say which layers are worth a look: name some with --layers"
        )
    full = replace(config, layers=tuple(layers), attributes=tuple(dict.fromkeys(attributes)))
    encoders = {layer: Encoder(network, layer) for layer in layers}
    decoders = checked_decoders(encoders, [load_decoder(name) for name in config.decoders])
    known = {"weights_sha256": weights_sha256(network.module), "decoders": decoder_facts(decoders.values())}
    blind = not config.no_controls and _has_random(full, network)
    if not blind and not config.no_controls:
        tell(f"{network.name} cannot be loaded with other random weights: the control is the pixels alone")
    with RunDir(config.out, run_facts(full, known), config.overwrite) as run:
        tell(f"rendering {config.chairs} chairs")
        size = 2 * SIZE if min(network.preprocessing.size) >= 2 * SIZE else SIZE
        renders = Cells(run).keep(
            "renders", lambda: Cell(vars(render_chairs(config.chairs, config.seed, size)))
        )
        work = AttributeWork(full, renders.tensors)
        controls = [*(f"{layer}{RANDOM}" for layer in layers if blind), PIXELS] * (not config.no_controls)
        keys = [ORIGINALS, *layers, *controls]
        originals, *measured = run_cells(run, work, keys, workers_of(config), "layers")
        scores = [_scores(one.facts["scores"]) for one in measured]
        findings = AttributeFindings(
            network.name,
            dict(zip(layers, scores, strict=False)),
            {name: Agreement(**one) for name, one in originals.facts["agreement"].items()},
            {layer: decoder.name for layer, decoder in decoders.items()},
            {layer: one.facts["distance"] for layer, one in zip(layers, measured, strict=False)},
            originals.facts["counts"],
            dict(zip(controls, scores[len(layers) :], strict=True)),
        )
        shown = decoded_grids(ChairRenders(**renders.tensors), encoders, decoders)
        page = attributes_report(findings, shown, config)
        write_atomic(run.path("chairs.csv"), scores_by_chair(findings).csv().encode())
        entries = {**known, "layers": list(layers), ANSWER: attributes_answer(findings)}
        return publish(run, config, page, entries, probe_table(findings).text())


def _has_random(config: StudyAttributes, network: Network) -> bool:
    """Whether there is another network of random weights to compare with."""
    try:
        blind = open_network(replace(config, weights="random"))
    except NetworkError:
        return False
    return weights_sha256(blind.module) != weights_sha256(network.module)


def _scores(facts: Mapping[str, dict[str, Any]]) -> dict[str, AttributeScores]:
    return {
        name: AttributeScores(**{**one, "decoded": one["decoded"] and Agreement(**one["decoded"])})
        for name, one in facts.items()
    }
