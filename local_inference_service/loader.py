"""Carries out the plan of a load: fetches, waits for its turn, makes room, reads, warms up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from local_inference_service.adapters.base import LocalProviderAdapter
from local_inference_service.load_steps import ThreadProgress
from local_inference_service.load_thread import LoadThread
from local_inference_service.memory_need import MemoryNeed
from local_inference_service.pool_entry import Entry, LoadPlan
from marsys.v1 import LoadModelResponse, LoadStage

log = logging.getLogger(__name__)

_MOST_FETCHES = 2  # downloads at a time

MakeRoom = Callable[[Entry, MemoryNeed], Awaitable[None]]
"""Sets memory aside for a model, or raises ServiceError."""


class Loader:
    """Loads models, one at a time; downloads go on beside that.

    transformers builds one model at a time only, and what memory is free is known only while
    nothing else is growing.
    """

    def __init__(self) -> None:
        self._fetching = asyncio.Semaphore(_MOST_FETCHES)
        self._reading = asyncio.Lock()

    async def load(self, entry: Entry, make_room: MakeRoom) -> LocalProviderAdapter:
        """The loaded model of an entry, whose steps are told.

        A cancellation stops the load and waits for its thread, unless it comes twice.

        Raises:
            ServiceError: an option is wrong, or there is no room.
            LoadError: the model can't be loaded.
        """
        plan = entry.plan
        progress = ThreadProgress(entry.steps, asyncio.get_running_loop())
        if self._fetching.locked():
            entry.steps.tell(_QUEUED)
        async with self._fetching:
            directory = await LoadThread(lambda: plan.fetch(progress), progress.stop).result()
        if self._reading.locked():
            entry.steps.tell(_QUEUED)
        async with self._reading:
            need = await LoadThread(lambda: plan.estimate(directory), progress.stop).result()
            await make_room(entry, need)
            opened = LoadThread(
                lambda: _open_and_warm_up(plan, directory, need, progress), progress.stop, close
            )
            return await opened.result()


def close(adapter: LocalProviderAdapter) -> None:
    """Release a model's memory, whatever state it is in."""
    try:
        adapter.close()
    except Exception:
        log.exception("closing a model failed")


def _open_and_warm_up(
    plan: LoadPlan, directory: Path, need: MemoryNeed, progress: ThreadProgress
) -> LocalProviderAdapter:
    progress(LoadStage.LOAD_STAGE_LOADING, None, need.stored)
    adapter = plan.open(directory, need, progress)
    try:
        progress(LoadStage.LOAD_STAGE_WARMING_UP, None, None)
        adapter.warm_up()
    except BaseException:
        close(adapter)
        raise
    return adapter


_QUEUED = LoadModelResponse(stage=LoadStage.LOAD_STAGE_QUEUED)
