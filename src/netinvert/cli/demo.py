"""``netinvert demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import note, show_json


def demo(
    out: Annotated[Path, typer.Option(help="The folder to write.", metavar="DIR")] = Path("out/demo"),
    overwrite: Annotated[bool, typer.Option(help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Invert codes of a 3-D pose network at several layers and leave a report to look at."""
    from netinvert.experiments.demo import run

    report = run(out, overwrite, note)
    if as_json:
        show_json({"report": str(report)})
    else:
        typer.echo(f"open {report}")
