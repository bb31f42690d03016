"""The experiment of ``kept`` as one folder: page, figures and every number."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from netinvert.evaluation.save_results import versions
from netinvert.experiments.kept.measure import Findings, Settings, checked_decoders, measure_kept
from netinvert.experiments.kept.report import blocks, curves, markdown, sheet
from netinvert.experiments.kept.scenes import render
from netinvert.io.files import write_atomic, write_json
from netinvert.io.folders import OutputFolder
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network, weights_sha256

Progress = Callable[[str], None]
SHOWN = 20
"""Chairs rendered for the sheet, of which the most colourful are shown."""


def run_kept(
    subject: tuple[Network, Sequence[str], Sequence[Decoder]],
    settings: Settings,
    out: Path,
    command: str,
    overwrite: bool = False,
    progress: Progress = lambda _: None,
) -> Findings:
    """Measure and write kept.md, kept.json, kept.png, with decoders kept-sheet.png, and manifest.json.

    ``subject``: the network, its layers, decoders of some of these. Raises as ``measure_kept``, and
    OutputError.
    """
    network, layers, decoders = subject
    facts = {
        "settings": asdict(settings),
        "network": network.name,
        "network_sha256": weights_sha256(network.module),
        "layers": list(layers),
        "decoders": [decoder.name for decoder in decoders],
    }
    identity = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    encoders = {layer: Encoder(network, layer) for layer in layers}
    by_layer = checked_decoders(encoders, decoders)
    with OutputFolder(out, identity, overwrite) as folder:
        began = time.perf_counter()
        findings = measure_kept(network, layers, decoders, settings, progress)
        write_atomic(folder.staging / "kept.md", markdown(findings, command).encode())
        write_atomic(folder.staging / "kept.png", curves(findings))
        if by_layer:
            shown = blocks(render(SHOWN, settings.seed))
            write_atomic(folder.staging / "kept-sheet.png", sheet(shown, encoders, by_layer))
        record = {
            "command": command,
            **facts,
            "seconds": round(time.perf_counter() - began, 1),
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }
        write_json(folder.staging / "kept.json", {**record, "findings": asdict(findings)})
        write_json(folder.staging / "manifest.json", record)
        folder.commit()
    return findings
