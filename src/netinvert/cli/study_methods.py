"""``netinvert study methods``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import note, show_json


def methods(  # noqa: PLR0913  (one parameter an option)
    *,
    out: Annotated[Path, typer.Option(help="The folder to write.", metavar="DIR")],
    decoders: Annotated[
        list[str] | None,
        typer.Option(
            "--decoder", help="A name or file; more than once for more.", show_default="all of posenet"
        ),
    ] = None,
    autoencoders: Annotated[
        list[Path] | None,
        typer.Option("--autoencoder", help="A file of decoder train --autoencoder, of one of the layers."),
    ] = None,
    chairs: Annotated[int, typer.Option(help="How many chairs that no network has seen.")] = 24,
    steps: Annotated[
        int | None, typer.Option(help="Of plain optimisation.", show_default="the default preset's")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which chairs.")] = 404,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare optimising, decoding, both together and autoencoders, layer by layer."""
    from netinvert.cli.settings import using_threads
    from netinvert.experiments.methods_run import (
        MethodsPlan,
        run,
    )

    plan = MethodsPlan(
        decoders=tuple(decoders) if decoders else MethodsPlan.decoders,
        autoencoders=tuple(map(str, autoencoders or ())),
        chairs=chairs,
        steps=steps,
        seed=seed,
    )
    with using_threads(threads):
        rows = run(plan, out, overwrite, note)
    if as_json:
        show_json(rows)
    else:
        typer.echo(str(out / "methods.md"))
