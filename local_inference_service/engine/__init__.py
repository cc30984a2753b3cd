"""Runs a transformers model for many requests at once."""

from local_inference_service.engine._engine import (
    Engine,
    EngineFull,
    EngineStopped,
    is_out_of_memory,
)
from local_inference_service.engine._forward import CannotGenerate
from local_inference_service.engine._row import Job

__all__ = ["CannotGenerate", "Engine", "EngineFull", "EngineStopped", "Job", "is_out_of_memory"]
