"""``netinvert audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import Interrupted, note, show_json


def audit(  # noqa: PLR0913  (one parameter an option)
    *,
    source: Annotated[
        str, typer.Argument(metavar="CODES", help="Stored codes (N, …): .npy, .safetensors or .pt.")
    ],
    network: Annotated[str, typer.Option("--network", "-n", help="Whose codes they are.")],
    layer: Annotated[str, typer.Option("--layer", "-l", help="Of which layer.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", metavar="DIR")] = Path(
        "audit"
    ),
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pt file, or 'random'.", metavar="FILE|random")
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(help="A decoder's name or file; a shipped one that fits is found by itself."),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="The originals, one a code, to measure against: a folder or a quoted glob."),
    ] = None,
    attributes: Annotated[
        Path | None,
        typer.Option(
            help="Attributes to probe for: a column each, a row a code; a column 'name' matches them.",
            metavar="FILE.csv",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            help="A column of it: codes that share a value (a photograph, a person) stay in one fold.",
            metavar="COLUMN",
        ),
    ] = None,
    judge_network: Annotated[
        str | None, typer.Option(help="Another network, to look at the reconstructions; needs --images.")
    ] = None,
    judge_layer: Annotated[str | None, typer.Option(help="Its layer.")] = None,
    preset: Annotated[str, typer.Option(help="As for 'invert'.")] = "default",
    steps: Annotated[int | None, typer.Option(help="Evaluations instead of the preset's own.")] = None,
    sample: Annotated[
        int, typer.Option(help="Of more codes than these, so many drawn by the seed are reconstructed.")
    ] = 64,
    seed: Annotated[int, typer.Option(help="Of the noise to start from, the sample and the shuffles.")] = 0,
    batch: Annotated[int, typer.Option(help="Images at work at once.")] = 8,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, …")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="CPU threads; torch's own choice by default.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the audit in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
) -> None:
    """What do stored codes show? Reconstruct, re-identify, and probe for attributes, against chance.

    Example: netinvert audit codes.npy --network mobilenet-v2 --layer pool --images photos/ --judge-network
    efficientnet-lite0 --judge-layer pool --attributes people.csv --out out/audit. A stopped audit is taken
    up again by the same command.
    """
    from netinvert.cli.audit_job import (
        AuditJob,
        Sources,
    )
    from netinvert.cli.settings import using_threads
    from netinvert.experiments.audit import Settings
    from netinvert.experiments.audit_report import (
        attribute_findings,
        identification_findings,
    )

    settings = Settings(preset=preset, steps=steps, sample=sample, seed=seed, batch=batch)
    sources = Sources(
        codes=source,
        network=network,
        layer=layer,
        weights=weights,
        decoder=decoder,
        images=images,
        attributes=None if attributes is None else str(attributes),
        groups=groups,
        judge_network=judge_network,
        judge_layer=judge_layer,
        device=device,
    )
    with using_threads(threads):
        try:
            folder, found, table = AuditJob(sources, settings).run(out, overwrite, note)
        except KeyboardInterrupt:
            raise Interrupted("stopped; the same command goes on from here") from None
    if as_json:
        show_json({"folder": str(folder), **table})
        return
    for text in (*identification_findings(found), *attribute_findings(found)):
        typer.echo(text)
    typer.echo(f"open {folder / 'report.html'}")
