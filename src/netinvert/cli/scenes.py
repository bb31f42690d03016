"""``netinvert scenes``: datasets of renders with known cameras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import Interrupted, show_json

scenes = typer.Typer(help="Render objects with known cameras, and look at them.", no_args_is_help=True)


@scenes.command("render")
def render(  # noqa: PLR0913  (one parameter an option)
    *,
    out: Annotated[Path, typer.Option(help="The folder to write.", metavar="DIR")],
    objects: Annotated[
        str, typer.Option(help="A category (chairs, cars, mugs, tables), a mesh file, or a folder of them.")
    ] = "chairs",
    identities: Annotated[int, typer.Option("--count", "--identities", help="How many objects.")] = 100,
    views: Annotated[int, typer.Option(help="Views of each; 62 means the protocol chairs62.")] = 20,
    size: Annotated[int, typer.Option("--pixels", "--size", help="Pixels a side.")] = 64,
    seed: Annotated[int, typer.Option(help="Objects, cameras and lights follow from it.")] = 0,
    protocol: Annotated[
        str | None, typer.Option(help="random, or chairs62: 31 azimuths at elevations 20 and 30.")
    ] = None,
    elevation: Annotated[tuple[float, float], typer.Option(help="Lowest and highest, in degrees.")] = (
        -5.0,
        50.0,
    ),
    in_plane: Annotated[float, typer.Option(help="Greatest in-plane rotation, in degrees.")] = 15.0,
    lights: Annotated[str, typer.Option(help="random or studio.")] = "random",
    background: Annotated[
        str,
        typer.Option(
            help="none (transparent), mixed, a kind (plain, gradient, noise, checks, blocks), or a folder."
        ),
    ] = "none",
    occlusion: Annotated[
        float, typer.Option(help="Greatest share of the picture that something hides.")
    ] = 0.0,
    splits: Annotated[
        tuple[float, float, float],
        typer.Option(help="Shares of the identities for training, validation and test."),
    ] = (0.9, 0.05, 0.05),
    workers: Annotated[int | None, typer.Option(help="Processes; one a core if not given.")] = None,
    ray: Annotated[str | None, typer.Option(help="A Ray cluster's address, or local.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Render a dataset as WebDataset shards. The same command again takes up one that was stopped."""
    from netinvert.io.interrupts import Interrupted as Stopped
    from netinvert.io.workers import Workers
    from netinvert.scenes.dataset_config import CHAIRS62, DatasetConfig
    from netinvert.scenes.dataset_writer import render_dataset

    plan = DatasetConfig(
        objects=objects,
        identities=identities,
        views=views,
        size=size,
        seed=seed,
        protocol=protocol or (CHAIRS62 if views == 62 else "random"),
        elevation=elevation,
        in_plane=in_plane,
        lights=lights,
        background=background,
        occlusion=occlusion,
        splits=splits,
    )
    try:
        manifest = render_dataset(plan, out, Workers(workers or os.cpu_count() or 1, ray), "shards")
    except Stopped as stopped:
        raise Interrupted(str(stopped)) from None
    if as_json:
        show_json(manifest)
    else:
        typer.echo(f"{manifest['samples']} samples in {out}, SHA-256 {manifest['sha256'][:16]}…")


@scenes.command("show")
def show(  # noqa: PLR0913  (one parameter an option)
    *,
    dataset: Annotated[Path | None, typer.Argument(help="A rendered dataset.", metavar="[DIR]")] = None,
    out: Annotated[Path, typer.Option(help="The PNG to write.", metavar="FILE")] = Path("scenes.png"),
    objects: Annotated[
        str, typer.Option(help="Without a dataset: a category, a mesh file or a folder.")
    ] = "chairs",
    identities: Annotated[int, typer.Option("--count", "--identities", help="How many objects.")] = 10,
    views: Annotated[int, typer.Option(help="Views of each.")] = 6,
    size: Annotated[int, typer.Option("--pixels", "--size", help="Pixels a side of what is rendered.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of what is rendered.")] = 0,
    split: Annotated[
        str | None,
        typer.Option(
            help="Of a dataset: train, validation or test; validation if there is any, if not given."
        ),
    ] = None,
    parts: Annotated[bool, typer.Option(help="Show parts instead of colours.")] = False,
) -> None:
    """Write a contact sheet: an object a row, a view a column."""
    from netinvert.experiments.dataset_sheet import dataset_sheet, fresh_sheet
    from netinvert.scenes.dataset_config import DatasetConfig

    if dataset is not None:
        dataset_sheet(dataset, split, identities, views, out, parts)
    else:
        plan = DatasetConfig(objects=objects, identities=identities, views=views, size=size, seed=seed)
        fresh_sheet(plan, out, parts)
    typer.echo(str(out))
