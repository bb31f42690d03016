"""``netinvert study``: the experiments that say what a code keeps, each with tables and pictures."""

from __future__ import annotations

import typer

from netinvert.cli.study_codes import interpolate, iterate, perturb, random
from netinvert.cli.study_kept import kept
from netinvert.cli.study_methods import methods
from netinvert.cli.sweep import ListsCommand

study = typer.Typer(help="Experiments on what codes keep, with tables and pictures.", no_args_is_help=True)
study.command("methods")(methods)
study.command("perturb")(perturb)
study.command("interpolate")(interpolate)
study.command("random")(random)
study.command("iterate")(iterate)
study.command("kept", cls=ListsCommand)(kept)
