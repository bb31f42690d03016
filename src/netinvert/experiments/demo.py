"""The demo: what codes of pose networks keep of chairs, layer by layer and prior by prior; a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.demo import Demo
from netinvert.experiments.demo_cells import (
    PHOTOGRAPH,
    PHOTOGRAPH_NETWORK,
    UNSEEN,
    DemoWork,
    Inverted,
    demo_codes,
    demo_originals,
)
from netinvert.experiments.demo_report import demo_report
from netinvert.io.files import read_json, write_atomic
from netinvert.io.images import write_png
from netinvert.io.manifest import MANIFEST, Outcome, manifest, versions
from netinvert.io.progress import duration
from netinvert.io.rundir import RunDir
from netinvert.io.workers import Workers, run_cells
from netinvert.models.registry import list_networks


def run(config: Demo, tell: Tell) -> Outcome:
    """Invert all codes; leave report.html and the images. A stopped demo is resumed."""
    codes = demo_codes()
    if not _installed(PHOTOGRAPH_NETWORK):
        tell(f"the part with a photograph is left out: {PHOTOGRAPH_NETWORK} needs netinvert[imagenet]")
        codes = [code for code in codes if code.original != PHOTOGRAPH]
    used = {name: versions()[name] for name in ("netinvert", "torch")}
    with RunDir(config.out, {**config.identity(), "codes": codes, "versions": used}, config.overwrite) as run:
        cells = run_cells(
            run,
            DemoWork(config.steps, config.seed),
            codes,
            Workers(config.workers, config.ray, config.threads),
            progress="codes",
        )
        found = [
            Inverted(code, cell.tensors["image"], cell.tensors.get("decoded"), cell.facts)
            for code, cell in zip(codes, cells, strict=True)
        ]
        used_originals = {code.original for code in codes}
        originals = {name: images for name, images in demo_originals().items() if name in used_originals}
        for name, images in originals.items():
            for number, image in enumerate(images, 1):
                write_png(image, run.path(f"{name}-{number}.png" if name == UNSEEN else f"{name}.png"))
        for one in found:
            for number, image in enumerate(one.image, 1):
                write_png(image, run.path(one.code.file(number)))
        report = demo_report(config, found, originals)
        report.save(lambda name, data: write_atomic(run.path(name), data))
        facts = {
            "threads": config.threads or torch.get_num_threads(),
            "seconds": sum(one.facts["seconds"] for one in found),
            "reconstructions": _rows(found),
        }
        run.commit(manifest(config, facts))
    text = f"{len(found)} codes inverted in {duration(facts['seconds'])}"
    return Outcome(read_json(config.out / MANIFEST), text, config.out)


def _installed(name: str) -> bool:
    return next(card.installed for card in list_networks() if card.name == name)


def _rows(found: Sequence[Inverted]) -> list[dict[str, Any]]:
    """What the manifest tells of each image."""
    rows = []
    for one in found:
        shared = {name: one.facts[name] for name in ("code_shape", "steps", "seconds")}
        for index, metrics in enumerate(one.facts["metrics"]):
            row = {**asdict(one.code), "image": one.code.file(index + 1), **shared, **metrics}
            for kind in ("pose_errors", "decoded_pose_errors"):
                if kind in one.facts:
                    row[f"{kind}_deg"] = {name: values[index] for name, values in one.facts[kind].items()}
            rows.append(row)
    return rows
