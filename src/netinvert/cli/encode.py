"""``netinvert encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import by, note, show_json


def encode(  # noqa: PLR0913  (one parameter an option)
    *,
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="An image, a folder of images, or a quoted glob.")
    ],
    network: Annotated[str, typer.Option("--network", "-n", help="A name from 'netinvert networks'.")],
    layer: Annotated[str, typer.Option("--layer", "-l", help="A name from 'netinvert layers NETWORK'.")],
    out: Annotated[Path, typer.Option(help="The file to write.", metavar="FILE.safetensors|FILE.npy")],
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pt file, or 'random'.", metavar="FILE|random")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, …")] = "cpu",
    overwrite: Annotated[bool, typer.Option(help="Replace the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the codes of images, (N, …), which 'netinvert invert' takes."""
    from netinvert.cli.coding import (
        CodeFile,
        write_codes,
    )
    from netinvert.cli.loading import load_encoder

    file = CodeFile(out, overwrite)
    file.check()
    encoder = load_encoder(network, layer, weights, device)
    names, shape = write_codes(source, encoder, file)
    if as_json:
        show_json({"file": str(out), "network": encoder.network.name, "layer": layer, "shape": shape,
                   "names": names})  # fmt: skip
    else:
        note(f"{len(names)} {'code' if len(names) == 1 else 'codes'} of {by(shape[1:])}")
        typer.echo(str(out))
