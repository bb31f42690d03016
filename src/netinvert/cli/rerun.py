"""``netinvert rerun``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import note


def rerun(
    manifest: Annotated[Path, typer.Argument(help="The manifest.json of a run, or its folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", metavar="DIR")],
    overwrite: Annotated[bool, typer.Option(help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Repeat a run and say whether it came out the same to the last bit.

    The images are read again if they are as they were; otherwise the codes that the run kept are used.
    """
    from netinvert.cli.repeating import repeat
    from netinvert.cli.summary import show_run

    done, comparison = repeat(manifest, out, overwrite)
    show_run(done, as_json)
    (note if as_json else typer.echo)(comparison.sentence)
