"""The `marsys` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command; ends the process with its exit status.

    0: done. 1: failed. 2: wrong use. 130: ended by Ctrl-C. A fault of the command itself is told in
    two lines; MARSYS_DEBUG=1 shows its traceback.
    """
    # A terminal or a pipe in another encoding gets "?" for what it can't show.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        from marsys.cli._app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("MARSYS_DEBUG"):
            raise
        print(f"marsys: a fault of this command: {type(error).__name__}: {error}", file=sys.stderr)
        print("        MARSYS_DEBUG=1 shows where; please report it.", file=sys.stderr)
        sys.exit(1)
