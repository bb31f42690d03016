"""``netinvert deepvis``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import Interrupted, note, show_json
from netinvert.errors import ConfigError

SECONDS_BETWEEN_LINES = 10.0
SMALLEST = 16


def deepvis(  # noqa: PLR0913  (one parameter an option)
    *,
    network: Annotated[str, typer.Option("--network", "-n", help="A name from 'netinvert networks'.")],
    layer: Annotated[str, typer.Option("--layer", "-l", help="A name from 'netinvert layers NETWORK'.")],
    channels: Annotated[
        list[int], typer.Option("--channels", "-c", help="What to make images for; more than once for more.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.", metavar="DIR")],
    draws: Annotated[int, typer.Option(help="Random settings of the four regularisers.")] = 300,
    steps: Annotated[int, typer.Option(help="Steps of each draw.")] = 200,
    published_steps: Annotated[
        int | None, typer.Option(help="Steps of the paper's four sets.", show_default="their own 500 to 1000")
    ] = None,
    factor: Annotated[
        float, typer.Option(help="Also run the paper's sets with so many times their learning rates.")
    ] = 30.0,
    size: Annotated[
        int | None, typer.Option(help="Side of the images in pixels.", show_default="the network's")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the settings and of the start noise.")] = 0,
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pt file, or 'random'.", metavar="FILE|random")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, …")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the regularisers of Yosinski et al. 2015 at random, and leave a page to look through.

    Every setting is kept when it is done: the same command goes on where it was stopped.
    """
    from netinvert.cli.loading import load_encoder
    from netinvert.cli.settings import using_threads
    from netinvert.experiments.deepvis import run
    from netinvert.experiments.deepvis_draws import Search

    if size is not None and size < SMALLEST:
        raise ConfigError(f"--size is at least {SMALLEST} pixels, got {size}")
    search = Search(tuple(channels), draws, steps, published_steps, factor, seed)
    encoder = load_encoder(network, layer, weights, device)
    if size is not None:
        from netinvert.models.encoder import Encoder

        encoder = Encoder(encoder.network, layer, size=(size, size))
    try:
        with using_threads(threads):
            report = run(encoder, search, out, overwrite, _lines())
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same command goes on from here") from None
    if as_json:
        show_json({"report": str(report)})
    else:
        typer.echo(f"open {report}")


def _lines() -> Callable[[int, int, float], None]:
    """How far it is, every ten seconds, on stderr."""
    began = said = time.monotonic()
    before: float | None = None  # what an earlier session has done

    def progress(done: int, total: int, share: float) -> None:
        nonlocal said, before
        now = time.monotonic()
        if before is None:
            before = share
        elif share > before and (now - said >= SECONDS_BETWEEN_LINES or done == total):
            said = now
            left = (1 - share) * (now - began) / (share - before)
            note(f"{done} of {total} settings, {left / 60:.0f} min left")

    return progress
