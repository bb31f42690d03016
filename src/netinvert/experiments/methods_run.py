"""The whole experiment of ``study.methods`` as one run into a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from netinvert.errors import ConfigError
from netinvert.evaluation.contact_sheet import png_of
from netinvert.evaluation.save_results import versions
from netinvert.experiments import methods_report as methods_page
from netinvert.experiments.held_out_chairs import SEED, fresh_chairs
from netinvert.experiments.methods import study_layer
from netinvert.io.files import write_atomic, write_json
from netinvert.io.folders import OutputFolder
from netinvert.models.decoder import Decoder
from netinvert.models.decoder_files import load_autoencoder, load_decoder
from netinvert.models.encoder import Encoder

SHOWN = (0,)
"""Chairs of the overview."""


@dataclass(frozen=True)
class MethodsPlan:
    """Which decoders and autoencoders (names or files), on how many chairs of which seed, and the steps of
    plain optimisation (the default preset's if None)."""

    decoders: tuple[str, ...] = ("posenet-conv5", "posenet-fc6", "posenet-fc7", "posenet-pose")
    autoencoders: tuple[str, ...] = ()
    chairs: int = 24
    steps: int | None = None
    seed: int = SEED


def run(
    plan: MethodsPlan, out: Path, overwrite: bool, tell: Callable[[str], None]
) -> list[dict[str, object]]:
    """Write ``methods.json``, ``methods.md``, ``crossover.png``, ``overview.png``, a sheet a layer and
    ``manifest.json``; gives the rows of the table.

    Raises:
        NetworkError, CodeError: a decoder that cannot be loaded, or an autoencoder of no decoder's layer.
        OutputError: the folder cannot be written.
    """
    decoders = [load_decoder(name) for name in plan.decoders]
    along = _autoencoders(plan, decoders)
    settings = asdict(plan)
    with OutputFolder(out, json.dumps(settings, sort_keys=True), overwrite) as folder:
        chairs = fresh_chairs(plan.chairs, plan.seed, max(decoders[0].size))
        studies = [
            study_layer(one, one.encoder(), chairs, along.get(one.layer), plan.steps, tell)
            for one in decoders
        ]
        rows = methods_page.rows(studies)
        write_json(folder.staging / "methods.json", {"plan": settings, "rows": rows})
        write_atomic(folder.staging / "methods.md", (methods_page.markdown(studies) + "\n").encode())
        write_atomic(folder.staging / "crossover.png", methods_page.crossover(studies))
        shown = [index for index in SHOWN if index < plan.chairs]
        overview = methods_page.overview(studies, chairs.images, shown)
        write_atomic(folder.staging / "overview.png", png_of(overview))
        for study in studies:
            sheet = methods_page.sheet(study, chairs.images)
            write_atomic(folder.staging / f"{study.layer}.png", png_of(sheet))
        manifest = {"command": "study methods", "settings": settings, "versions": versions(), "rows": rows}
        write_json(folder.staging / "manifest.json", manifest)
        folder.commit()
    return rows


def _autoencoders(plan: MethodsPlan, decoders: list[Decoder]) -> dict[str, tuple[Encoder, Decoder]]:
    found = {}
    for path in plan.autoencoders:
        encoder, decoder = load_autoencoder(path)
        found[encoder.layer] = (encoder, decoder)
    missing = sorted(found.keys() - {decoder.layer for decoder in decoders})
    if missing:
        raise ConfigError(
            f"autoencoders of {', '.join(missing)}, but no decoder of these: add it by --decoder"
        )
    return found
