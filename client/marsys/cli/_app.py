"""The commands of `marsys`, put together."""

from __future__ import annotations

import typer

from marsys import __version__
from marsys.cli.chat import chat
from marsys.cli.health import health
from marsys.cli.load import load, unload
from marsys.cli.models import models
from marsys.cli.oauth import oauth
from marsys.cli.ps import ps
from marsys.cli.serve import serve

app = typer.Typer(
    name="marsys",
    help="One gRPC contract for every language model, remote or local.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes cut options and words on a terminal of 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"marsys {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """One gRPC contract for every language model, remote or local."""


app.command()(chat)
app.command()(models)
app.command()(ps)
app.command()(load)
app.command()(unload)
app.command()(health)
app.add_typer(serve, name="serve")
app.add_typer(oauth, name="oauth", short_help="Manage logins that stand in for API keys.")
