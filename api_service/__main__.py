"""`python -m api_service`: runs the service until it is stopped."""

from __future__ import annotations

import sys

from api_service.settings import ApiSettings
from serving.settings import load_settings


def main() -> int:
    """Run the service. Returns the process's exit status."""
    arguments = sys.argv[1:]
    settings = load_settings(ApiSettings, arguments, "api_service")
    # Each is imported where it runs: what starts the workers stays small.
    if settings.workers > 1:
        from serving.workers import run_workers

        return run_workers(settings, "api_service", arguments, settings.workers)
    from api_service.service import ApiApp
    from serving.server import run

    try:
        app = ApiApp(settings)
    except ValueError as error:
        print(f"api_service: {error}", file=sys.stderr)
        return 2
    return run(settings, app)


if __name__ == "__main__":
    raise SystemExit(main())
