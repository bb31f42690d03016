"""``netinvert decoder``: train networks that turn codes into images, and measure how well they do."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from netinvert.cli.console import Interrupted, note, show_json
from netinvert.errors import ConfigError

decoder = typer.Typer(help="Train decoders from codes to images, and evaluate them.", no_args_is_help=True)


@decoder.command("train")
def train(  # noqa: PLR0913  (one parameter an option)
    *,
    network: Annotated[str, typer.Option(help="The network whose codes are decoded.")],
    layer: Annotated[str, typer.Option(help="Its layer.")],
    data: Annotated[
        str,
        typer.Option(
            help="A dataset of netinvert scenes render, a folder of images, or the word photographs.",
            metavar="DIR",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder for checkpoints, logs and weights.", metavar="DIR")],
    weights: Annotated[str | None, typer.Option(help="The network's weights, if not its own.")] = None,
    name: Annotated[str, typer.Option(help="The name of the decoder's file.")] = "decoder",
    loss: Annotated[
        str,
        typer.Option(
            help="A weighted sum of pixel, feature:LAYER, feature:NETWORK/LAYER, adversarial and lpips, "
            "such as pixel=1+feature:relu3=0.05; deepsim:LAYER has the weights of that paper."
        ),
    ] = "pixel=1",
    size: Annotated[int | None, typer.Option(help="Side of the images, if not the data's own.")] = None,
    widths: Annotated[str, typer.Option(help="small, or paper: as Dosovitskiy & Brox have it.")] = "small",
    upsampling: Annotated[
        str, typer.Option(help="nearest (then a convolution: no checkerboards) or transposed (the paper's).")
    ] = "nearest",
    autoencoder: Annotated[
        bool, typer.Option("--autoencoder", help="Train the encoder along, as a baseline.")
    ] = False,
    start: Annotated[
        str | None, typer.Option(help="A decoder, a name or a file, whose weights to begin with.")
    ] = None,
    cache: Annotated[
        int | None, typer.Option(help="Encode so many images once, beforehand, and train on those.")
    ] = None,
    samples: Annotated[int, typer.Option(help="How many images to train on.")] = 500_000,
    batch: Annotated[int, typer.Option(help="Images a batch.")] = 64,
    seed: Annotated[int, typer.Option(help="Weights, batches and backgrounds follow from it.")] = 0,
    rate: Annotated[float, typer.Option(help="The peak learning rate of AdamW.")] = 1e-3,
    threads: Annotated[
        int | None, typer.Option(help="Threads of torch; torch's own choice if not given.")
    ] = None,
    every: Annotated[
        int, typer.Option(help="Steps between checkpoints, if ten minutes are not less.")
    ] = 1000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that make batches; by default some for a GPU, none for a CPU."),
    ] = None,
    devices: Annotated[int, typer.Option(help="Devices of each machine.")] = 1,
    nodes: Annotated[int, typer.Option(help="Machines.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a decoder. The same command again takes up a training that was stopped.

    While the learning rate is constant (the first 70 %), --samples may be changed when taking it up.
    """
    import torch

    from netinvert.models.encoder import Encoder
    from netinvert.models.registry import load_network
    from netinvert.training.card import export
    from netinvert.training.config import TrainingRun
    from netinvert.training.decoder.evaluation import figures_of
    from netinvert.training.decoder.model import DecoderConfig
    from netinvert.training.decoder.sources import (
        described,
        open_source,
    )
    from netinvert.training.decoder.train import held_out
    from netinvert.training.decoder.train import train as run_training
    from netinvert.training.parallel import is_main_process

    config = DecoderConfig(
        network=network,
        layer=layer,
        loss=loss,
        size=size,
        widths=widths,
        upsampling=upsampling,
        autoencoder=autoencoder,
        start=start,
        samples=samples,
        batch=batch,
        seed=seed,
        rate=rate,
    )
    if cache is not None and autoencoder:
        raise ConfigError("an autoencoder's codes change as it learns: leave out --cache")
    encoder = Encoder(load_network(network, weights), layer)
    source = open_source(data, None if size is None else (size, size), encoder, seed)
    run = TrainingRun(
        out,
        every,
        device=device,
        devices=devices,
        nodes=nodes,
        threads=threads,
        workers=workers,
        tell=note,
    )
    if cache is not None:
        from netinvert.training.decoder.cache import cached

        source = cached(source, encoder, cache, out / "cache", note)
    try:
        model = run_training(config, encoder, source, run)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; the same command goes on with {out}") from None
    if not is_main_process():
        return
    figures, _ = figures_of(model, held_out(source, encoder))
    facts: dict[str, Any] = {
        "command": "netinvert " + shlex.join(sys.argv[1:]),
        "data": described(data),
        "hours": round(model.seconds / 3600, 2),
        "threads": threads or torch.get_num_threads(),
        "figures": {key: round(value, 4) for key, value in figures.items()},
    }
    path = export(out / name, model.file(facts))
    if as_json:
        show_json({"weights": str(path), **facts})
    else:
        typer.echo(f"{path}: image error {figures['image_error']:.3f} on held-out images")
