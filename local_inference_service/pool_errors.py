"""What the pool says where a model can't be used or loaded."""

from __future__ import annotations

import logging

from local_inference_service.pool_entry import Entry, LoadPlan
from local_inference_service.progress import LoadError, OutOfMemory
from marsys.v1 import ErrorReason, ModelError, ModelState
from serving.errors import ServiceError, service_error

log = logging.getLogger(__name__)

_RETRY = 2.0  # seconds


def not_known(name: str, field: str) -> ServiceError:
    """NOT_FOUND: no such model."""
    return service_error(
        ErrorReason.ERROR_REASON_INVALID_MODEL,
        f"{field}: no model {name!r} is loaded here",
        field=field,
        model=name,
        action="Load it first (LoadModel), or name one that ListModels lists.",
    )


def not_ready(entry: Entry) -> ServiceError:
    """The model is known, but can't answer now."""
    if entry.state == ModelState.MODEL_STATE_LOADING:
        return service_error(
            ErrorReason.ERROR_REASON_MODEL_LOADING,
            f"{entry.name} is being loaded",
            field="model",
            model=entry.name,
            retry_after=_RETRY,
        )
    if entry.state == ModelState.MODEL_STATE_UNLOADING:
        return service_error(
            ErrorReason.ERROR_REASON_MODEL_NOT_LOADED,
            f"{entry.name} is being unloaded",
            field="model",
            model=entry.name,
            retry_after=_RETRY,
            action="Load it again (LoadModel waits until it is unloaded), or use another model.",
        )
    error = entry.error or entry.fault
    assert error is not None
    return ServiceError(error)


def cut_off(entry: Entry) -> ServiceError:
    """A running call lost its model."""
    return service_error(
        ErrorReason.ERROR_REASON_MODEL_NOT_LOADED,
        f"{entry.name} was unloaded while the call was running",
        field="model",
        model=entry.name,
    )


def stopped(entry: Entry) -> ServiceError:
    """A load was stopped by an unload, or by the end of the service."""
    return service_error(
        ErrorReason.ERROR_REASON_MODEL_NOT_LOADED,
        f"{entry.name} was unloaded while it was being loaded",
        field="model",
        model=entry.name,
    )


def shutting_down() -> ServiceError:
    """The service takes no more loads."""
    return service_error(ErrorReason.ERROR_REASON_SHUTTING_DOWN, "the service is shutting down")


def loading_not_allowed(name: str) -> ServiceError:
    """The operator lets no caller load models."""
    return service_error(
        ErrorReason.ERROR_REASON_NOT_ALLOWED,
        f"model: {name} isn't loaded, and the operator has not allowed callers to load or unload "
        "models (allow_load)",
        field="model",
        model=name,
    )


def too_many_loads(name: str) -> ServiceError:
    """The queue of loads is full."""
    return service_error(
        ErrorReason.ERROR_REASON_OVERLOADED,
        f"{name} can't be loaded now: too many other loads are waiting",
        field="model",
        model=name,
        retry_after=_RETRY,
    )


def other_option(entry: Entry, option: str) -> ServiceError:
    """The model is there, but loaded in another way than this caller wants."""
    return service_error(
        ErrorReason.ERROR_REASON_CONFLICT,
        f"options.{option}: {entry.name} is loaded with another value; unload it first",
        field=f"options.{option}",
        model=entry.name,
    )


def other_source(entry: Entry, plan: LoadPlan) -> ServiceError:
    """The name is taken by a model from another directory."""
    return service_error(
        ErrorReason.ERROR_REASON_CONFLICT,
        f"model: {plan.name} is loaded, but from elsewhere than where it leads now; unload it "
        "first",
        field="model",
        model=entry.name,
    )


def load_failure(name: str, error: Exception) -> ModelError:
    """Why a load failed, for callers; what they can't be told goes to the log."""
    reason = ErrorReason.ERROR_REASON_MODEL_LOAD_FAILED
    if isinstance(error, (LoadError, MemoryError)):
        text = str(error)
        log.warning("%s can't be loaded: %s", name, error)
        if isinstance(error, (OutOfMemory, MemoryError)):
            reason = ErrorReason.ERROR_REASON_OUT_OF_MEMORY
    else:
        text = f"unexpected {type(error).__name__}; see the service's log"
        log.error("loading %s failed", name, exc_info=error)
    return service_error(reason, f"{name} can't be loaded: {text}", field="model", model=name).error
