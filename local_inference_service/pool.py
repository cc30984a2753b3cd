"""Which models are loaded, loading or failed; who uses them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

from local_inference_service import pool_errors as errors
from local_inference_service.adapters.base import LocalProviderAdapter
from local_inference_service.load_options import conflicts
from local_inference_service.loader import Loader, close
from local_inference_service.memory_need import MemoryNeed
from local_inference_service.pool_entry import Entry, LoadPlan
from local_inference_service.pool_names import HealthReport, PoolNames
from local_inference_service.room import Limits, plan_room
from marsys.v1 import LoadModelResponse, LoadStage, Model, ModelError, ModelState
from serving.errors import ServiceError

log = logging.getLogger(__name__)

_MOST_LOADS = 32  # at a time, waiting ones included
_STOP_PATIENCE = 10.0  # seconds that a load gets to end when the service stops


class ModelPool:
    """The models of this process. Used from one event loop.

    Args:
        limits: what the models may take together. Default: the machine's memory.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._models = PoolNames()
        self._loader = Loader()
        self._closing = False
        self._reaper: asyncio.Task[None] | None = None

    def models(self) -> list[Model]:
        """What is loaded, loading, unloading or failed, by name."""
        return sorted((entry.described() for entry in self._models), key=lambda model: model.name)

    def describe(self, name: str) -> Model:
        """One model.

        Raises:
            ServiceError: it isn't known.
        """
        return self._models.get(name, "name").described()

    def report_health(self, report: HealthReport) -> None:
        """Tell of each model whether it answers, from now on."""
        self._models.on_health = report
        for entry in self._models:
            self._models.publish(entry)

    @contextmanager
    def use(self, name: str) -> Iterator[LocalProviderAdapter]:
        """The adapter of a loaded model; the model isn't dropped meanwhile.

        Raises:
            ServiceError: the model isn't known, loading, unloading or failed.
        """
        entry = self._models.get(name, "model")
        if entry.adapter is None or entry.shown_state != ModelState.MODEL_STATE_READY:
            raise errors.not_ready(entry)
        entry.use()
        try:
            yield entry.adapter
        except ServiceError:
            raise
        except Exception as error:
            if entry.dropping is None:
                raise
            # The drain's time was over, and the adapter was closed under the call.
            log.debug("a call of %s was cut off: %s", entry.name, error)
            raise errors.cut_off(entry) from None
        finally:
            entry.release()

    async def load(self, plan: LoadPlan) -> AsyncIterator[LoadModelResponse]:
        """Load a model, or join its loading. The last step is READY.

        The load goes on if the caller leaves. A model that is being unloaded is waited for.

        Raises:
            ServiceError: it can't be loaded, or is loaded with other options.
        """
        while True:
            if self._closing:
                raise errors.shutting_down()
            entry = self._models.find(plan)
            if entry is None or entry.state == ModelState.MODEL_STATE_FAILED:
                entry = self._begin(plan)
            elif entry.state == ModelState.MODEL_STATE_UNLOADING:
                yield LoadModelResponse(stage=LoadStage.LOAD_STAGE_QUEUED)
                await entry.settled.wait()
                continue
            elif different := conflicts(plan.options, entry.plan.options):
                raise errors.other_option(entry, different[0])
            elif entry.fault is not None:
                # A dead engine is started again by itself, or by a new load.
                if entry.fault.retryable or not plan.allowed:
                    raise ServiceError(entry.fault)
                await asyncio.shield(self._drop(entry))
                continue
            break
        self._models.add_name(entry, plan.name)
        steps: Any = _watch(entry)
        async with aclosing(steps):
            async for step in steps:
                yield step

    async def unload(self, name: str, drain_timeout: float | None) -> None:
        """Forget a model, once nobody uses it any more. A load is stopped.

        If all who asked for it leave before its last call has ended, the model stays.

        Args:
            name: the model.
            drain_timeout: seconds after which running calls are failed; None waits for them.

        Raises:
            ServiceError: it isn't known.
        """
        entry = self._models.get(name, "model")
        if entry.is_loading:
            assert entry.loading is not None
            self._stop_loading(entry)
            await asyncio.wait({entry.loading})
            return
        if entry.adapter is None:
            self._models.remove(entry)
            return
        self._enter_unloading(entry)
        entry.unloaders += 1
        try:
            async with asyncio.timeout(drain_timeout):
                await entry.unused.wait()
        except TimeoutError:
            if entry.users and entry.dropping is None:
                log.warning("unloading %s cuts off %d calls", entry.name, entry.users)
        except asyncio.CancelledError:
            if entry.unloaders == 1 and entry.dropping is None:
                self._leave_unloading(entry)
            raise
        finally:
            entry.unloaders -= 1
        await asyncio.shield(self._drop(entry))

    async def close(self) -> None:
        """Stop what is loading and drop every model, running calls too."""
        self._closing = True
        if self._reaper is not None:
            self._reaper.cancel()
        loading = [entry for entry in self._models if entry.is_loading]
        for entry in loading:
            self._stop_loading(entry)
        tasks = {entry.loading for entry in loading if entry.loading is not None}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_STOP_PATIENCE)
            for task in late:
                log.warning("%s doesn't end; it is left to itself", task.get_name())
                task.cancel()
            if late:
                await asyncio.wait(late)
        drops = [self._drop(entry) for entry in self._models if entry.adapter is not None]
        if drops:
            await asyncio.wait(drops)
        for entry in self._models:
            self._models.remove(entry)

    def _begin(self, plan: LoadPlan) -> Entry:
        if not plan.allowed:
            raise errors.loading_not_allowed(plan.name)
        if sum(entry.is_loading for entry in self._models) >= _MOST_LOADS:
            raise errors.too_many_loads(plan.name)
        entry = Entry(plan)
        self._models.add(entry)
        entry.loading = asyncio.create_task(self._load(entry), name=f"load {plan.name}")
        entry.loading.add_done_callback(lambda _: self._loading_over(entry))
        if self._limits.idle_unload and self._reaper is None:
            self._reaper = asyncio.create_task(self._drop_idle(self._limits.idle_unload))
        return entry

    async def _load(self, entry: Entry) -> None:
        """Load a model. Ends with its state READY or FAILED, or without it."""
        log.info("loading %s", entry.name)
        try:
            adapter = await self._loader.load(entry, self._make_room)
        except ServiceError as refusal:
            entry.error = refusal.error
            self._models.remove(entry)
            log.info("%s isn't loaded: %s", entry.name, refusal.error.message)
        except Exception as error:
            entry.error = errors.load_failure(entry.name, error)
            entry.state = ModelState.MODEL_STATE_FAILED
            entry.need = None
            self._models.publish(entry)
            self._models.forget_old_failures()
        else:
            loop = asyncio.get_running_loop()
            entry.become_ready(adapter)
            adapter.on_health = lambda fault: _in_loop(loop, self._on_health, entry, fault)
            self._models.publish(entry)
            log.info("loaded %s, for which %s are set aside", entry.name, entry.need)

    def _loading_over(self, entry: Entry) -> None:
        """The task of a load has ended, perhaps before it began."""
        assert entry.loading is not None
        if entry.loading.cancelled():
            entry.error = errors.stopped(entry).error
            self._models.remove(entry)
            log.info("the load of %s was stopped", entry.name)
        entry.steps.end()

    async def _make_room(self, entry: Entry, need: MemoryNeed) -> None:
        """Set memory aside for a model, and drop others for it where the operator wants that.

        Raises:
            ServiceError: there isn't enough, or there are too many models.
        """
        going = [other.dropping for other in self._models if other.dropping is not None]
        if going:
            await asyncio.wait(going)
        others = [other for other in self._models if other is not entry]
        victims = plan_room(self._limits, need, entry.name, others)
        for victim in victims:
            log.info("dropping %s, which is unused, to make room for %s", victim.name, entry.name)
        drops = [self._drop(victim) for victim in victims]
        if drops:
            await asyncio.wait(drops)
        entry.need = need

    def _stop_loading(self, entry: Entry) -> None:
        assert entry.loading is not None
        if entry.state == ModelState.MODEL_STATE_LOADING:
            self._enter_unloading(entry)
            entry.loading.cancel()

    def _enter_unloading(self, entry: Entry) -> None:
        if entry.state != ModelState.MODEL_STATE_UNLOADING:
            entry.state = ModelState.MODEL_STATE_UNLOADING
            entry.settled.clear()
            self._models.publish(entry)

    def _leave_unloading(self, entry: Entry) -> None:
        entry.state = ModelState.MODEL_STATE_READY
        entry.settled.set()
        self._models.publish(entry)

    def _drop(self, entry: Entry) -> asyncio.Task[None]:
        """Close a loaded model and forget it: begun at once, and only once."""
        if entry.dropping is None:
            self._enter_unloading(entry)
            entry.dropping = asyncio.create_task(self._close(entry), name=f"drop {entry.name}")
        return entry.dropping

    async def _close(self, entry: Entry) -> None:
        assert entry.adapter is not None
        try:
            await asyncio.to_thread(close, entry.adapter)
        finally:
            entry.adapter = None
            entry.unused.set()
            self._models.remove(entry)
            log.info("unloaded %s", entry.name)

    def _on_health(self, entry: Entry, fault: ModelError | None) -> None:
        if entry not in self._models or entry.dropping is not None:
            return
        entry.fault = fault
        if fault is None:
            log.info("%s answers again", entry.name)
        else:
            log.warning("%s can't answer: %s", entry.name, fault.message)
        self._models.publish(entry)

    async def _drop_idle(self, after: float) -> None:
        """Drop each model that nobody has used for a while."""
        while True:
            now = time.monotonic()
            idle = [entry for entry in self._models if entry.idle]
            for entry in idle:
                if entry.last_used + after <= now:
                    log.info("dropping %s, which was unused for %g s", entry.name, after)
                    self._drop(entry)
            due = [e.last_used + after for e in idle if e.dropping is None]
            # One that falls idle meanwhile isn't due before that time is over.
            await asyncio.sleep(min([*due, now + after]) - now)


async def _watch(entry: Entry) -> AsyncIterator[LoadModelResponse]:
    """The steps of a load, from the present one on; READY alone where it is loaded."""
    if entry.state != ModelState.MODEL_STATE_READY:
        steps: Any = entry.steps.read()
        async with aclosing(steps):
            async for step in steps:
                yield step
    if entry.error is not None:
        raise ServiceError(entry.error)
    yield LoadModelResponse(stage=LoadStage.LOAD_STAGE_READY, model=entry.described())


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *given: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(call, *given)
