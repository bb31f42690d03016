"""``netinvert sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from netinvert.cli.console import Interrupted, note, show_json

LISTS = ("--layers", "--priors", "--weights", "--canvases")


class ListsCommand(TyperCommand):
    """Lets several values follow one option: ``--weights 0.03 0.3`` is ``--weights 0.03 --weights 0.3``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  (typer's own context)
        """Repeat the option before each of its values."""
        spread: list[str] = []
        option: str | None = None
        for arg in args:
            if arg.startswith("-") and not _is_number(arg):
                option = arg if arg in LISTS else None
                if option is None:
                    spread.append(arg)
            else:
                spread += [arg] if option is None else [option, arg]
        return super().parse_args(ctx, spread)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def sweep(  # noqa: PLR0913  (one parameter an option)
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="An image, a folder of images, a quoted glob, or a code (.npy, .safetensors, .pt). "
            "It comes before options that take several values.",
        ),
    ],
    network: Annotated[str, typer.Option("--network", "-n", help="A name from 'netinvert networks'.")],
    layers: Annotated[
        list[str], typer.Option("--layers", "--layer", "-l", help="Of the network; several are allowed.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", metavar="DIR")],
    priors: Annotated[
        list[str] | None, typer.Option(help="Names, as --prior of 'invert' takes them. Default: all.")
    ] = None,
    weights: Annotated[
        list[float] | None, typer.Option(help="Of the priors. Default: 0.1, 1 and 10 times each one's own.")
    ] = None,
    canvases: Annotated[list[str] | None, typer.Option(help="Names. Default: the preset's own.")] = None,
    random: Annotated[
        int | None,
        typer.Option(
            help="So many random settings instead of all; weights between the extremes.", metavar="N"
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="What the rest of the recipe is.")] = "default",
    measure: Annotated[
        str,
        typer.Option(
            help="Of naturalness: gradients (strength and direction), naturalness (the IJCV paper's, "
            "direction alone) or ssim."
        ),
    ] = "gradients",
    weights_file: Annotated[
        str | None,
        typer.Option(
            "--network-weights", help="A .safetensors or .pt file, or 'random'.", metavar="FILE|random"
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Evaluations instead of the preset's own.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random settings and of the noise to start from.")] = 0,
    batch: Annotated[int, typer.Option(help="Images at work at once.")] = 8,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, …")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="CPU threads; torch's own choice by default.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the sweep in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Try priors, weights and canvases on a few codes; leave a page of trade-off curves and pictures.

    Example: netinvert sweep photos/ --network mobilenet-v2 --layer blocks.9 --priors tv-isotropic none
    --weights 0.03 0.3 3 --canvases fourier pixels --out out/sweep. A stopped sweep is taken up again by the
    same command.
    """
    from netinvert.cli.settings import using_threads
    from netinvert.cli.sweep_job import SweepJob
    from netinvert.experiments.sweep import Settings

    settings = Settings(
        priors=tuple(priors or ()),
        weights=tuple(weights or ()),
        canvases=tuple(canvases or ()),
        preset=preset,
        measure=measure,
        draws=random,
        steps=steps,
        seed=seed,
        batch=batch,
    )
    job = SweepJob(source, network, tuple(layers), settings, weights_file, device)
    with using_threads(threads):
        try:
            folder, manifest = job.run(out, overwrite, note)
        except KeyboardInterrupt:
            raise Interrupted("stopped; the same command goes on from here") from None
    if as_json:
        show_json({"folder": str(folder), **manifest})
        return
    for layer, best in manifest["recommended"].items():
        typer.echo(f"{layer}: {best or 'every setting failed'}")
    typer.echo(f"open {folder / 'report.html'}")
