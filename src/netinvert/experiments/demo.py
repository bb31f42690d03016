"""The demo: what codes of pose networks keep of chairs, layer by layer and prior by prior; a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.studies import Demo
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
from netinvert.experiments.runs import publish, run_facts
from netinvert.io.images import write_png
from netinvert.io.manifest import Outcome
from netinvert.io.progress import duration
from netinvert.io.rundir import RunDir
from netinvert.io.workers import Workers, run_cells
from netinvert.models.registry import list_networks


def run_demo(config: Demo, tell: Tell) -> Outcome:
    """Invert all codes; leave report.html and the images. A stopped demo is resumed."""
    codes = demo_codes()
    if not _installed(PHOTOGRAPH_NETWORK):
        tell(f"the part with a photograph is left out: {PHOTOGRAPH_NETWORK} needs netinvert[imagenet]")
        codes = [code for code in codes if code.original != PHOTOGRAPH]
    with RunDir(config.out, run_facts(config, {"codes": codes}), config.overwrite) as run:
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
        seconds = sum(one.facts["seconds"] for one in found)
        entries = {"seconds": seconds, "reconstructions": _rows(found)}
        text = f"{len(found)} codes inverted in {duration(seconds)}"
        return publish(run, config, demo_report(config, found, originals), entries, text)


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
