"""How an experiment's run begins and ends: what its results depend on, and its report in its directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from netinvert.evaluation.report import Report
from netinvert.io.config import Config, fields_of
from netinvert.io.files import read_json, write_atomic
from netinvert.io.manifest import MANIFEST, Outcome, manifest, versions
from netinvert.io.rundir import RunDir
from netinvert.models.decoder import Decoder
from netinvert.models.network import weights_sha256

ELSEWHERE = ("out", "overwrite", "json", "threads", "workers", "ray")
"""Options that say where and how fast, not what."""


def decoder_facts(decoders: Iterable[Decoder]) -> list[dict[str, str]]:
    """Names of decoders, and what they decode; the hash tells files of the same name apart."""
    return [
        {
            "name": one.name,
            "network": one.network,
            "layer": one.layer,
            "network_sha256": one.network_sha256,
            "sha256": weights_sha256(one.module),
        }
        for one in decoders
    ]


def run_facts(config: Config, known: Mapping[str, Any]) -> dict[str, Any]:
    """All that the results of a run depend on, by which its directory knows it again."""
    used = versions()
    return {
        "command": config.identity(),
        "versions": {name: used[name] for name in ("netinvert", "torch")},
        **known,
    }


def publish(run: RunDir, config: Config, report: Report, entries: Mapping[str, Any], text: str) -> Outcome:
    """Write the report in all forms and the manifest with these entries, and finish the run."""
    left_out = [field.name for field in fields_of(type(config)) if not field.option.identity]
    report = replace(report, command=config.command_line(without=left_out))
    report.save(lambda name, data: write_atomic(run.path(name), data), ("html", "md", "json", "csv", "png"))
    folder = run.commit(manifest(config, {"threads": torch.get_num_threads(), **entries}))
    return Outcome(read_json(folder / MANIFEST), text, run.out)
