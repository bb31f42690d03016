"""``netinvert invert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def invert(  # noqa: PLR0913  (one parameter an option)
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="An image, a folder of images, a quoted glob, or a code (.npy, .safetensors, .pt).",
        ),
    ],
    network: Annotated[str, typer.Option("--network", "-n", help="A name from 'netinvert networks'.")],
    layer: Annotated[str, typer.Option("--layer", "-l", help="A name from 'netinvert layers NETWORK'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", metavar="DIR")],
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pt file, or 'random'.", metavar="FILE|random")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="default, quick, coarse-to-fine, robust, fourier-adam, shallow, "
            "or the papers' cvpr15, cvpr15-shallow and ijcv16."
        ),
    ] = "default",
    prior: Annotated[
        str | None,
        typer.Option(
            help="none, tv-isotropic, tv-anisotropic, tv-quadratic, tv-huber, second-order, batchnorm, or "
            "several with + between, instead of the preset's own.",
            metavar="NAME[=WEIGHT]",
        ),
    ] = None,
    data_weight: Annotated[float | None, typer.Option(help="The weight C of the code error.")] = None,
    canvas: Annotated[
        str | None,
        typer.Option(
            help="fourier, pixels, phase or deep-prior instead of the preset's own; decoder: its input."
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="The part of the code to match: centre=SIDE, channels=A:B or rows=A:B,columns=A:B.",
            metavar="PART",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Evaluations instead of the preset's own.")] = None,
    restarts: Annotated[int, typer.Option(help="Images for each code, with seeds SEED, SEED + 1, …")] = 1,
    diverse: Annotated[
        float | None,
        typer.Option(
            help="With --restarts: images that differ, by this weight (0.1, say).", metavar="WEIGHT"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise to start from.")] = 0,
    start: Annotated[
        Path | None, typer.Option(help="An image to start from instead of noise.", metavar="IMAGE")
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(help="A decoder of this layer (a name or a file), whose pictures to start from."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Images whose codes scale the errors cvpr15 and cvpr16, instead of those of netinvert.",
            metavar="FOLDER",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Images at work at once.")] = 8,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, …")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="CPU threads; torch's own choice by default.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest instead of a table.")] = False,
) -> None:
    """Find images with these codes. A stopped run is taken up again by the same command."""
    from netinvert.cli.job import Job
    from netinvert.cli.settings import (
        Settings,
        using_threads,
    )
    from netinvert.cli.summary import show_run

    settings = Settings(
        input=source,
        network=network,
        layer=layer,
        weights=weights,
        preset=preset,
        prior=prior,
        data_weight=data_weight,
        canvas=canvas,
        mask=mask,
        steps=steps,
        restarts=restarts,
        diverse=diverse,
        seed=seed,
        start=None if start is None else str(start),
        decoder=decoder,
        reference=reference,
        batch=batch,
        device=device,
        threads=threads,
    )
    with using_threads(settings.threads):
        done = Job.prepare(settings).run(out, overwrite)
    show_run(done, as_json)
