"""``netinvert maximise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def maximise(  # noqa: PLR0913  (one parameter an option)
    *,
    network: Annotated[str, typer.Option("--network", "-n", help="A name from 'netinvert networks'.")],
    layer: Annotated[str, typer.Option("--layer", "-l", help="A name from 'netinvert layers NETWORK'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", metavar="DIR")],
    channel: Annotated[
        list[int] | None, typer.Option(help="A channel of a map, or a unit; may be given several times.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="One neuron of each channel: 'centre' or ROW,COLUMN.", metavar="PLACE")
    ] = None,
    of_class: Annotated[
        list[str] | None, typer.Option("--class", help="An ImageNet class by name, or any by number.")
    ] = None,
    direction: Annotated[
        str | None, typer.Option(help="A file of codes: more of these directions.", metavar="FILE")
    ] = None,
    azimuth: Annotated[
        list[float] | None, typer.Option(help="The pose that a pose network is to read, in degrees.")
    ] = None,
    elevation: Annotated[float, typer.Option(help="With --azimuth.")] = 20.0,
    preset: Annotated[
        str, typer.Option(help="default, maco, or the papers' simonyan13, ijcv16, deepvis-1 to deepvis-4.")
    ] = "default",
    prior: Annotated[
        str | None, typer.Option(help="As of 'netinvert invert'.", metavar="NAME[=WEIGHT]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Evaluations instead of the preset's own.")] = None,
    images: Annotated[int, typer.Option(help="Images of each, with seeds SEED, SEED + 1, …")] = 1,
    seed: Annotated[int, typer.Option(help="Of the noise to start from.")] = 0,
    start: Annotated[
        Path | None, typer.Option(help="An image to start from instead of noise.", metavar="IMAGE")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pt file, or 'random'.", metavar="FILE|random")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, …")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="CPU threads; torch's own choice by default.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest instead of a table.")] = False,
) -> None:
    """Find the images that a unit, channel, class, direction or pose output likes most."""
    from netinvert.cli.objective import Wishes
    from netinvert.cli.settings import using_threads
    from netinvert.cli.summary import show_run
    from netinvert.cli.wishing import (
        MaximiseSettings,
        maximising_job,
    )

    settings = MaximiseSettings(
        network=network,
        layer=layer,
        wishes=Wishes(
            tuple(channel or ()), at, tuple(of_class or ()), direction, tuple(azimuth or ()), elevation
        ),
        preset=preset,
        prior=prior,
        steps=steps,
        images=images,
        seed=seed,
        start=None if start is None else str(start),
        weights=weights,
        device=device,
        threads=threads,
    )
    with using_threads(settings.threads):
        done = maximising_job(settings).run(out, overwrite)
    show_run(done, as_json)


def caricature(  # noqa: PLR0913
    *,
    source: Annotated[str, typer.Argument(metavar="INPUT", help="An image, a folder or a quoted glob.")],
    network: Annotated[str, typer.Option("--network", "-n", help="A name from 'netinvert networks'.")],
    layer: Annotated[str, typer.Option("--layer", "-l", help="A name from 'netinvert layers NETWORK'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", metavar="DIR")],
    power: Annotated[float, typer.Option(help="Of the cosine: how much nothing else may grow.")] = 4.0,
    preset: Annotated[str, typer.Option(help="As of 'netinvert maximise'.")] = "default",
    prior: Annotated[
        str | None, typer.Option(help="As of 'netinvert invert'.", metavar="NAME[=WEIGHT]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Evaluations instead of the preset's own.")] = None,
    from_noise: Annotated[bool, typer.Option(help="Start from noise, not from the image.")] = False,
    seed: Annotated[int, typer.Option(help="Of noise and jitter.")] = 0,
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pt file, or 'random'.", metavar="FILE|random")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, …")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="CPU threads; torch's own choice by default.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest instead of a table.")] = False,
) -> None:
    """Exaggerate what a layer sees in images."""
    from netinvert.cli.settings import using_threads
    from netinvert.cli.summary import show_run
    from netinvert.cli.wishing import (
        CaricatureSettings,
        caricature_job,
    )

    settings = CaricatureSettings(
        source, network, layer, power, preset, prior, steps, from_noise, seed, weights, device, threads
    )
    with using_threads(settings.threads):
        done = caricature_job(settings).run(out, overwrite)
    show_run(done, as_json)
