"""``netinvert study attributes``: all attributes at all layers of a network, a cell a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.probes import check_installed
from netinvert.experiments.attributes.measure import (
    AttributeReader,
    AttributeScores,
    checked_decoders,
    mean_code_distance,
    score_attribute,
)
from netinvert.experiments.attributes.measures import Agreement
from netinvert.experiments.attributes.report import (
    AttributeFindings,
    attributes_report,
    decoded_blocks,
    probe_table,
)
from netinvert.experiments.attributes.series import (
    ATTRIBUTES,
    AttributeSeries,
    ChairRenders,
    attribute_series,
    render_chairs,
)
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.studies import StudyAttributes
from netinvert.experiments.inputs import open_network
from netinvert.experiments.runs import decoder_facts, publish, run_facts
from netinvert.io.cells import Cell, Cells, Piece
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import Workers, run_cells
from netinvert.models.decoder_files import load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import weights_sha256

ORIGINALS = "the originals"
"""The key of their cell; those of the others are layers."""


@dataclass(frozen=True)
class AttributeWork:
    """Measures a layer, or the originals; ``renders`` are the fields of ``ChairRenders``."""

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

        def make(layer: str, piece: Piece) -> Cell:
            if layer == ORIGINALS:
                return Cell(facts=_of_originals(made, reader, config.seed))
            distance = mean_code_distance(encoders[layer], made)
            scores = {}
            for number, (name, one) in enumerate(made.items()):
                piece.tell(number / len(made), f"{layer}: {ATTRIBUTES[name].label}")
                found = score_attribute(
                    encoders[layer], one, decoders.get(layer), reader, distance, config.seed
                )
                scores[name] = asdict(found)
            return Cell(facts={"distance": distance, "scores": scores})

        return make


def _of_originals(
    made: Mapping[str, AttributeSeries], reader: AttributeReader, seed: int
) -> dict[str, dict[str, Any]]:
    found = {name: reader.of_originals(one, seed) for name, one in made.items()}
    return {
        "agreement": {name: asdict(each) for name, each in found.items() if each is not None},
        "counts": {name: len(one.truth) for name, one in made.items()},
    }


def study_attributes(config: StudyAttributes, tell: Tell) -> Outcome:
    """Measure, and leave report, figures and images in ``config.out``.

    Raises:
        ConfigError: a decoder of a layer that is not among the layers, or two of one layer.
        CodeError: a decoder of another network.
        LayerError: a layer that the network does not have.
        MissingExtraError: without the extras scenes and probes.
    """
    check_installed()
    network = open_network(config)
    layers, attributes = config.layers or network.layers, config.attributes or tuple(ATTRIBUTES)
    if not layers:
        raise ConfigError(
            f"{config.network} does not say which layers are worth a look: name some with --layers"
        )
    full = replace(config, layers=tuple(layers), attributes=tuple(dict.fromkeys(attributes)))
    encoders = {layer: Encoder(network, layer) for layer in layers}
    decoders = checked_decoders(encoders, [load_decoder(name) for name in config.decoders])
    known = {"weights_sha256": weights_sha256(network.module), "decoders": decoder_facts(decoders.values())}
    with RunDir(config.out, run_facts(full, known), config.overwrite) as run:
        tell(f"rendering {config.chairs} chairs")
        renders = Cells(run).keep("renders", lambda: Cell(vars(render_chairs(config.chairs, config.seed))))
        originals, *measured = run_cells(
            run,
            AttributeWork(full, renders.tensors),
            [ORIGINALS, *layers],
            Workers(config.workers, config.ray, config.threads),
            "layers",
        )
        findings = AttributeFindings(
            network.name,
            {layer: _scores(one.facts["scores"]) for layer, one in zip(layers, measured, strict=True)},
            {name: Agreement(**one) for name, one in originals.facts["agreement"].items()},
            {layer: decoder.name for layer, decoder in decoders.items()},
            {layer: one.facts["distance"] for layer, one in zip(layers, measured, strict=True)},
            originals.facts["counts"],
        )
        shown = decoded_blocks(ChairRenders(**renders.tensors), encoders, decoders)
        report = attributes_report(findings, shown, config)
        return publish(run, config, report, {**known, "layers": list(layers)}, probe_table(findings).text())


def _scores(facts: Mapping[str, dict[str, Any]]) -> dict[str, AttributeScores]:
    return {
        name: AttributeScores(**{**one, "decoded": one["decoded"] and Agreement(**one["decoded"])})
        for name, one in facts.items()
    }
