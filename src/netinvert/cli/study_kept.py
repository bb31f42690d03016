"""``netinvert study kept``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import note, show_json


def kept(  # noqa: PLR0913  (one parameter an option)
    *,
    network: Annotated[str, typer.Option("--network", "-n", help="The network whose codes are looked at.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", metavar="DIR")],
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layers", "--layer", "-l", help="Its layers; several are allowed.", show_default="all"
        ),
    ] = None,
    decoder: Annotated[
        list[str] | None,
        typer.Option(
            help="A decoder of one of the layers, by name or file; several are allowed.", metavar="NAME|FILE"
        ),
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option(
            help="What is to vary, such as hue or azimuth; several are allowed.", show_default="all"
        ),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="The network's weights, if not its own.")] = None,
    chairs: Annotated[int, typer.Option(help="How many fresh chairs each attribute varies on.")] = 200,
    seed: Annotated[int, typer.Option(help="Which chairs, and of what is drawn at random.")] = 404,
    overwrite: Annotated[bool, typer.Option(help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure which attributes of a picture codes keep: colour, position, scale, light, pose, parts.

    Each varies alone, by known amounts. It is read from the codes by linear probes on chairs that these were
    not fitted on and, with decoders, measured in the decoded pictures.
    """
    from netinvert.errors import ConfigError
    from netinvert.experiments.kept.measure import Settings
    from netinvert.experiments.kept.run import run_kept
    from netinvert.experiments.kept.scenes import ATTRIBUTES
    from netinvert.io.files import plain_json
    from netinvert.models.decoder_files import load_decoder
    from netinvert.models.registry import load_network

    loaded = load_network(network, weights)
    wanted = tuple(dict.fromkeys(layers or loaded.layers))
    if not wanted:
        raise ConfigError(f"{network} does not say which layers are worth a look: name some with --layers")
    settings = Settings(chairs, seed, tuple(dict.fromkeys(attributes or ATTRIBUTES)))
    decoders = [load_decoder(name) for name in dict.fromkeys(decoder or ())]
    command = "netinvert " + shlex.join(sys.argv[1:])
    findings = run_kept((loaded, wanted, decoders), settings, out, command, overwrite, note)
    if as_json:
        show_json(plain_json(findings))
    else:
        typer.echo(f"{out / 'kept.md'}: {len(settings.attributes)} attributes at {len(wanted)} layers")
