"""Which models are loaded, loading or failed; who uses them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from local_inference_service.adapters.base import LocalProviderAdapter
from local_inference_service.load_options import conflicts
from local_inference_service.progress import LoadError, Progress
from marsys.v1 import (
    ErrorReason,
    LoadModelResponse,
    LoadOptions,
    LoadStage,
    Model,
    ModelCapabilities,
    ModelError,
    ModelState,
)
from serving.errors import ServiceError, service_error

log = logging.getLogger(__name__)

_LOADING_RETRY = 2.0  # seconds

Opener = Callable[[Progress], LocalProviderAdapter]
"""Loads a model; runs in a thread of its own."""


@dataclass(eq=False)
class _Entry:
    """A model that the pool knows."""

    name: str
    options: LoadOptions
    state: ModelState.ValueType = ModelState.MODEL_STATE_LOADING
    adapter: LocalProviderAdapter | None = None
    error: ModelError | None = None
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    listeners: list[asyncio.Queue[LoadModelResponse | None]] = field(default_factory=list)
    last: LoadModelResponse | None = None
    task: asyncio.Task[None] | None = None

    def tell(self, step: LoadModelResponse | None) -> None:
        self.last = step or self.last
        for listener in self.listeners:
            listener.put_nowait(step)

    def described(self) -> Model:
        model = Model(name=self.name, state=self.state, load_options=self.options)
        model.provider = "huggingface"
        if self.error is not None:
            model.error.CopyFrom(self.error)
        if self.adapter is not None:
            model.provider = self.adapter.backend
            model.memory_bytes = self.adapter.memory_bytes
            if self.adapter.context_length is not None:
                model.context_length = self.adapter.context_length
            fields = self.adapter.supported_fields
            capabilities = ModelCapabilities(
                tools="tools" in fields,
                structured_output="output_format.json_schema" in fields,
                supported_fields=sorted(fields),
            )
            model.capabilities.CopyFrom(capabilities)
        return model


class ModelPool:
    """The models of this process. Used from one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def models(self) -> list[Model]:
        """What is loaded, loading, unloading or failed, by name."""
        return [self._entries[name].described() for name in sorted(self._entries)]

    def describe(self, name: str) -> Model:
        """One model.

        Raises:
            ServiceError: it isn't known.
        """
        return self._entry(name, "name").described()

    @contextmanager
    def use(self, name: str) -> Iterator[LocalProviderAdapter]:
        """The adapter of a loaded model; the model isn't dropped meanwhile.

        Raises:
            ServiceError: the model isn't known, loading, unloading or failed.
        """
        entry = self._entry(name, "model")
        if entry.adapter is None or entry.state != ModelState.MODEL_STATE_READY:
            raise _not_ready(entry)
        entry.users += 1
        entry.unused.clear()
        try:
            yield entry.adapter
        finally:
            entry.users -= 1
            if not entry.users:
                entry.unused.set()

    async def load(
        self, name: str, options: LoadOptions, opener: Opener
    ) -> AsyncIterator[LoadModelResponse]:
        """Load a model, or join its loading. The last step is READY.

        The load goes on if the caller leaves.

        Raises:
            ServiceError: it can't be loaded, or is loaded with other options.
        """
        entry = self._entries.get(name)
        if entry is not None and entry.state == ModelState.MODEL_STATE_UNLOADING:
            raise _not_ready(entry)
        if entry is None or entry.state == ModelState.MODEL_STATE_FAILED:
            entry = _Entry(name, options)
            self._entries[name] = entry
            entry.task = asyncio.create_task(self._open(entry, opener))
        elif different := conflicts(options, entry.options):
            raise service_error(
                ErrorReason.ERROR_REASON_CONFLICT,
                f"options.{different[0]}: {name} is loaded with another value; unload it first",
                field=f"options.{different[0]}",
                model=name,
            )
        async for step in _steps(entry):
            yield step

    async def unload(self, name: str, drain_timeout: float | None) -> None:
        """Forget a model, once nobody uses it any more.

        Args:
            name: the model.
            drain_timeout: seconds after which running calls are failed; None waits for them.

        Raises:
            ServiceError: it isn't known or is loading.
        """
        entry = self._entry(name, "model")
        if entry.state in (ModelState.MODEL_STATE_LOADING, ModelState.MODEL_STATE_UNLOADING):
            raise _not_ready(entry)
        adapter = entry.adapter
        if adapter is not None:
            entry.state = ModelState.MODEL_STATE_UNLOADING
            if entry.users:
                try:
                    async with asyncio.timeout(drain_timeout):
                        await entry.unused.wait()
                except TimeoutError:
                    log.warning("unloading %s cancels %d calls", name, entry.users)
                except asyncio.CancelledError:
                    entry.state = ModelState.MODEL_STATE_READY  # the caller changed their mind
                    raise
            await asyncio.to_thread(adapter.close)
        if self._entries.get(name) is entry:
            del self._entries[name]
        log.info("unloaded %s", name)

    async def close(self) -> None:
        """Drop every model, running calls too."""
        for entry in list(self._entries.values()):
            if entry.task is not None:
                entry.task.cancel()
            if entry.adapter is not None:
                await asyncio.to_thread(entry.adapter.close)
        self._entries.clear()

    def _entry(self, name: str, field_name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise service_error(
                ErrorReason.ERROR_REASON_INVALID_MODEL,
                f"{field_name}: no model {name!r} is loaded here",
                field=field_name,
                model=name,
                action="Load it first (LoadModel), or name one that ListModels lists.",
            )
        return entry

    async def _open(self, entry: _Entry, opener: Opener) -> None:
        loop = asyncio.get_running_loop()

        def progress(
            stage: LoadStage.ValueType, completed: int | None, total: int | None, /
        ) -> None:
            step = LoadModelResponse(stage=stage, completed_bytes=completed, total_bytes=total)
            loop.call_soon_threadsafe(entry.tell, step)

        def open_and_warm_up() -> LocalProviderAdapter:
            adapter = opener(progress)
            progress(LoadStage.LOAD_STAGE_WARMING_UP, None, None)
            try:
                adapter.warm_up()
            except BaseException:
                adapter.close()
                raise
            return adapter

        log.info("loading %s", entry.name)
        try:
            entry.adapter = await asyncio.to_thread(open_and_warm_up)
        except Exception as error:
            entry.error = _load_failure(entry.name, error)
            entry.state = ModelState.MODEL_STATE_FAILED
            entry.tell(None)
            return
        entry.state = ModelState.MODEL_STATE_READY
        log.info("loaded %s", entry.name)
        ready = LoadModelResponse(stage=LoadStage.LOAD_STAGE_READY, model=entry.described())
        entry.tell(ready)
        entry.tell(None)


async def _steps(entry: _Entry) -> AsyncIterator[LoadModelResponse]:
    """The steps of a load, from the present one on."""
    if entry.state == ModelState.MODEL_STATE_READY:
        yield LoadModelResponse(stage=LoadStage.LOAD_STAGE_READY, model=entry.described())
        return
    listener: asyncio.Queue[LoadModelResponse | None] = asyncio.Queue()
    if entry.last is not None:
        listener.put_nowait(entry.last)
    entry.listeners.append(listener)
    try:
        while (step := await listener.get()) is not None:
            yield step
    finally:
        entry.listeners.remove(listener)
    if entry.error is not None:
        raise ServiceError(entry.error)


def _not_ready(entry: _Entry) -> ServiceError:
    if entry.state == ModelState.MODEL_STATE_LOADING:
        return service_error(
            ErrorReason.ERROR_REASON_MODEL_LOADING,
            f"{entry.name} is being loaded",
            field="model",
            model=entry.name,
            retry_after=_LOADING_RETRY,
        )
    if entry.state == ModelState.MODEL_STATE_UNLOADING:
        return service_error(
            ErrorReason.ERROR_REASON_MODEL_NOT_LOADED,
            f"{entry.name} is being unloaded",
            field="model",
            model=entry.name,
        )
    return ServiceError(entry.error or _load_failure(entry.name, LoadError("it failed")))


def _load_failure(name: str, error: Exception) -> ModelError:
    if isinstance(error, LoadError):
        text: Any = error
        log.warning("%s can't be loaded: %s", name, error)
    else:
        text = f"unexpected {type(error).__name__}; see the service's log"
        log.error("loading %s failed", name, exc_info=error)
    return service_error(
        ErrorReason.ERROR_REASON_MODEL_LOAD_FAILED,
        f"{name} can't be loaded: {text}",
        field="model",
        model=name,
    ).error
