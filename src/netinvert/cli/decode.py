"""``netinvert decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def decode(  # noqa: PLR0913  (one parameter an option)
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="An image, a folder of images, a quoted glob, or a code (.npy, .safetensors, .pt).",
        ),
    ],
    decoder: Annotated[str, typer.Option("--decoder", "-d", help="A decoder's name or file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", metavar="DIR")],
    weights: Annotated[
        str | None, typer.Option(help="The network's weights, if not its own.", metavar="FILE")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, …")] = "cpu",
    overwrite: Annotated[bool, typer.Option(help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest instead of a table.")] = False,
) -> None:
    """Turn codes, or the codes of images, into pictures with a trained decoder."""
    from netinvert.cli.decoding import (
        DecodeSettings,
        decode_into,
    )
    from netinvert.cli.summary import show_run

    settings = DecodeSettings(source, decoder, weights, device)
    show_run(decode_into(settings, out, overwrite), as_json)
