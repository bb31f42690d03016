"""``netinvert decoder``: train networks that turn codes into images, and measure how well they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import show_json, show_table
from netinvert.errors import ConfigError

decoder = typer.Typer(help="Train decoders from codes to images, and evaluate them.", no_args_is_help=True)


@decoder.command("evaluate")
def evaluate(  # noqa: PLR0913  (one parameter an option)
    name: Annotated[str, typer.Argument(help="A decoder's name or file.", metavar="DECODER")],
    *,
    images: Annotated[
        Path | None, typer.Option(help="A folder of test images; fresh chairs if not given.", metavar="DIR")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="The network's weights, if not its own.")] = None,
    chairs: Annotated[int, typer.Option(help="How many fresh chairs.")] = 200,
    seed: Annotated[
        int, typer.Option(help="Which chairs; the shipped decoders were trained on those of 0.")
    ] = 404,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet of the first images.", metavar="FILE")
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Also write the figures into the decoder's file and its card.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Decode the codes of images that the decoder never saw, and compare."""
    from netinvert.experiments.decoder_evaluation import (
        evaluate_on_chairs,
        evaluate_on_images,
        evaluation_sheet,
    )
    from netinvert.models.decoder_files import load_decoder
    from netinvert.models.encoder import Encoder
    from netinvert.models.registry import load_network

    if card and not name.endswith(".safetensors"):
        raise ConfigError("--card writes into the decoder's file: give that, not a name")
    loaded = load_decoder(name)
    encoder = Encoder(load_network(loaded.network, weights), loaded.layer)
    if images is not None:
        originals, figures = evaluate_on_images(loaded, encoder, images)
        how = f"--images {images.name}"
    else:
        originals, figures = evaluate_on_chairs(loaded, encoder, chairs, seed)
        how = f"--chairs {chairs} --seed {seed}"
    if sheet is not None:
        evaluation_sheet(loaded, encoder, originals).save(sheet)
    if card:
        from netinvert.models.decoder_files import read_decoder
        from netinvert.training.card import add_test_figures

        command = f"netinvert decoder evaluate {Path(name).name} {how}"
        add_test_figures(Path(name), read_decoder(name), command, figures)
    if as_json:
        show_json({"decoder": name, **figures})
    else:
        show_table(("figure", "value"), [(key, f"{value:.3f}") for key, value in figures.items()])
