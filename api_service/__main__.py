"""`python -m api_service`: runs the service until it is stopped."""

from __future__ import annotations

import sys

from api_service.service import ApiApp
from api_service.settings import ApiSettings
from serving.server import run
from serving.settings import load_settings


def main() -> int:
    """Run the service. Returns the process's exit status."""
    settings = load_settings(ApiSettings, sys.argv[1:], "api_service")
    try:
        app = ApiApp(settings)
    except ValueError as error:
        print(f"api_service: {error}", file=sys.stderr)
        return 2
    return run(settings, app)


if __name__ == "__main__":
    raise SystemExit(main())
