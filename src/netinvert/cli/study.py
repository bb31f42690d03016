"""``netinvert study``: the experiments that say what a code keeps, each with tables and pictures."""

from __future__ import annotations

import typer

from netinvert.cli.study_methods import methods

study = typer.Typer(help="Experiments on what codes keep, with tables and pictures.", no_args_is_help=True)
study.command("methods")(methods)
