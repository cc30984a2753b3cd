"""The `marsys` command."""

from __future__ import annotations


def main() -> None:
    """Run the command; ends the process with its exit status."""
    from marsys.cli._app import app

    app()
