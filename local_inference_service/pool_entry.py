"""One model of the pool: its state, who uses it, and how it is described."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from local_inference_service.adapters.base import LocalProviderAdapter
from local_inference_service.load_steps import LoadSteps
from local_inference_service.memory_need import MemoryNeed
from local_inference_service.progress import Progress
from marsys.v1 import Backend, LoadOptions, Model, ModelCapabilities, ModelError, ModelState

BACKEND_NAMES = {
    Backend.BACKEND_UNSPECIFIED: "huggingface",
    Backend.BACKEND_HUGGINGFACE: "huggingface",
    Backend.BACKEND_VLLM: "vllm",
}


@dataclass(frozen=True)
class LoadPlan:
    """What to load and how. The functions run in a thread.

    Attributes:
        name: under which the model is asked for.
        source: what is loaded: a directory's resolved path, or a hub name.
        is_path: whether the source is a directory.
        options: as they were asked for.
        fetch: brings the files onto this machine; gives their directory.
        estimate: checks the files, and tells what memory the model will take.
        open: loads the model.
        pinned: whether the model is dropped only when somebody asks for that.
        allowed: whether it may be loaded where it isn't yet.
    """

    name: str
    source: str
    is_path: bool
    options: LoadOptions
    fetch: Callable[[Progress], Path]
    estimate: Callable[[Path], MemoryNeed]
    open: Callable[[Path, MemoryNeed, Progress], LocalProviderAdapter]
    pinned: bool = False
    allowed: bool = True


@dataclass(eq=False)
class Entry:
    """A model that the pool knows.

    Attributes:
        plan: how it was asked for.
        state: without regard to its engine; see `shown_state`.
        names: under which it answers: its own, and other spellings of its directory.
        adapter: the loaded model.
        need: memory set aside for it, from shortly before it is loaded until it is gone.
        error: why loading failed.
        fault: why its engine can't answer for now.
        users: calls that use it.
        unused: set while there are none.
        unloaders: calls that want it unloaded and wait for that.
        last_used: when its last call ended, in seconds of the monotonic clock.
        settled: set once it is no longer being unloaded.
        steps: of its loading.
        loading: the task that loads it.
        dropping: the task that closes it.
    """

    plan: LoadPlan
    state: ModelState.ValueType = ModelState.MODEL_STATE_LOADING
    names: set[str] = field(default_factory=set)
    adapter: LocalProviderAdapter | None = None
    need: MemoryNeed | None = None
    error: ModelError | None = None
    fault: ModelError | None = None
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    unloaders: int = 0
    last_used: float = field(default_factory=time.monotonic)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    steps: LoadSteps = field(default_factory=LoadSteps)
    loading: asyncio.Task[None] | None = None
    dropping: asyncio.Task[None] | None = None
    _facts: Model = field(default_factory=Model)

    @property
    def name(self) -> str:
        """Its own name."""
        return self.plan.name

    @property
    def shown_state(self) -> ModelState.ValueType:
        """The state that callers see: a model whose engine is dead has failed."""
        if self.fault is not None and self.state == ModelState.MODEL_STATE_READY:
            return ModelState.MODEL_STATE_FAILED
        return self.state

    @property
    def is_loading(self) -> bool:
        """Whether its load goes on, be it to be stopped."""
        return self.loading is not None and not self.loading.done()

    @property
    def idle(self) -> bool:
        """Whether it may be dropped to make room: loaded, unused, and not pinned."""
        ready = self.state == ModelState.MODEL_STATE_READY
        return ready and not self.users and not self.plan.pinned

    def use(self) -> None:
        """A call begins."""
        self.users += 1
        self.unused.clear()

    def release(self) -> None:
        """A call has ended."""
        self.users -= 1
        self.last_used = time.monotonic()
        if not self.users:
            self.unused.set()

    def become_ready(self, adapter: LocalProviderAdapter) -> None:
        """It was loaded. What is told of it is kept, since a closed adapter can't tell."""
        self.adapter = adapter
        self.state = ModelState.MODEL_STATE_READY
        self.last_used = time.monotonic()
        self.unused.set()
        fields = adapter.supported_fields
        self._facts = Model(
            memory_bytes=adapter.memory_bytes,
            context_length=adapter.context_length,
            capabilities=ModelCapabilities(
                tools="tools" in fields,
                structured_output="output_format.json_schema" in fields,
                reasoning=adapter.chat.reasons,
                input_modalities=adapter.input_modalities,
                supported_fields=sorted(fields),
            ),
        )

    def described(self) -> Model:
        """As ModelService shows it."""
        model = Model(
            name=self.name,
            provider=BACKEND_NAMES[self.plan.options.backend],
            state=self.shown_state,
            load_options=self.plan.options,
        )
        model.MergeFrom(self._facts)
        error = self.error or self.fault
        if error is not None and model.state == ModelState.MODEL_STATE_FAILED:
            model.error.CopyFrom(error)
        return model
