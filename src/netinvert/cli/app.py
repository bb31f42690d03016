"""All commands together, and what becomes of errors and of Ctrl-C."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from netinvert.cli import deepvis
from netinvert.cli.audit import audit
from netinvert.cli.console import Interrupted, note
from netinvert.cli.sweep import ListsCommand, sweep
from netinvert.errors import NetinvertError

BAD_INPUT, INTERRUPTED = 2, 130


class Commands(TyperGroup):
    """Turns errors that users can mend into one line and an exit code; others keep their traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  (typer's own context, whose place has changed)
        """Run the command."""
        try:
            return super().invoke(ctx)
        except NetinvertError as error:
            note(str(error))
            raise typer.Exit(BAD_INPUT) from None
        except Interrupted as stop:
            note(str(stop))
            raise typer.Exit(INTERRUPTED) from None
        except KeyboardInterrupt:
            note("stopped; nothing was written")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="netinvert",
    cls=Commands,
    help="Turn a neural network's code back into an image.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"netinvert {version('netinvert')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


app.command("deepvis")(deepvis.deepvis)
app.command("sweep", cls=ListsCommand)(sweep)
app.command("audit")(audit)


def main() -> None:
    """The entry point of the console script."""
    app()
