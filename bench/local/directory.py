"""Where a model lies."""

from __future__ import annotations

from pathlib import Path

from workload import EMBEDDED

from local_inference_service.embedded import ensure_embedded_model
from local_inference_service.progress import quiet


def directory_of(model: str) -> Path:
    """Directory of the embedded model, which is made where it isn't there, or of another."""
    return ensure_embedded_model(quiet) if model == EMBEDDED else Path(model)
