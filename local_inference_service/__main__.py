"""`python -m local_inference_service`: serve until SIGINT or SIGTERM."""

from __future__ import annotations

import sys

from local_inference_service.settings import LocalSettings
from serving.server import run
from serving.settings import load_settings


def main() -> int:
    settings = load_settings(LocalSettings, sys.argv[1:], "local_inference_service")
    # Only now: a wrong setting or --help needn't wait for PyTorch.
    from local_inference_service.service import LocalApp

    return run(settings, LocalApp(settings))


if __name__ == "__main__":
    sys.exit(main())
