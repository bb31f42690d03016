"""``netinvert pose``: train networks that read 3-D pose, and measure how well they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netinvert.cli.console import note, show_json, show_table
from netinvert.errors import ConfigError

pose = typer.Typer(help="Train pose networks on rendered datasets, and evaluate them.", no_args_is_help=True)


@pose.command("evaluate")
def evaluate(  # noqa: PLR0913  (one parameter an option)
    *,
    network: Annotated[str, typer.Option(help="A network that reads poses.")] = "posenet",
    weights: Annotated[Path | None, typer.Option(help="Weights of your own.", metavar="FILE")] = None,
    identities: Annotated[int, typer.Option(help="How many fresh chairs.")] = 200,
    views: Annotated[int, typer.Option(help="Views of each.")] = 10,
    seed: Annotated[
        int, typer.Option(help="Which chairs; the shipped networks were trained on 0 and 2.")
    ] = 1,
    path_traced: Annotated[
        bool,
        typer.Option("--path-traced", help="Render with Mitsuba, another renderer than the training's."),
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Also write a contact sheet of the views, worst at the end.", metavar="FILE"),
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Also write the figures into --weights and the card beside it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with groups by elevation and kind.")
    ] = False,
) -> None:
    """Render fresh chairs and compare the poses that a network reads with the cameras'."""
    from netinvert.models.registry import load_network
    from netinvert.models.zoo.pose_files import read_pose_network
    from netinvert.training.card import add_test_figures
    from netinvert.training.pose.evaluation import (
        TRAINED_SEEDS,
        evaluation_plan,
        fresh_views,
        full_evaluation,
    )

    if card and weights is None:
        raise ConfigError("--card writes into the file of --weights: give that too")
    loaded = load_network(network, weights)
    plan = evaluation_plan(loaded, identities, views, seed)
    if seed in TRAINED_SEEDS and network.startswith("posenet"):
        note(f"posenet and its judge have seen chairs of the seeds {TRAINED_SEEDS}: {seed} is no fair test")
    test = fresh_views(plan, path_traced)
    figures = full_evaluation(loaded, test, weights)
    if sheet is not None:
        from netinvert.training.pose.evaluation import evaluation_sheet

        evaluation_sheet(loaded, test, sheet)
    if card and weights is not None:
        how = f"--identities {identities} --views {views} --seed {seed}{' --path-traced' * path_traced}"
        command = f"netinvert pose evaluate --network {network} {how}"
        add_test_figures(weights, read_pose_network(weights), command, figures)
    if as_json:
        show_json({"network": network, "plan": plan.to_json(), **figures})
        return
    rows = [(name, f"{value:.3f}") for name, value in figures.items() if isinstance(value, int | float)]
    show_table(("figure", "value"), rows)
