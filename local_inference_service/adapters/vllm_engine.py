"""vLLM's asynchronous engine on an event loop of its own; watched, and started again when it dies.

The loop runs in a thread, so that callers on any event loop, or on none, can use one engine, and
the engine's work for each token doesn't hold up a server's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]

from local_inference_service.adapters.vllm_arguments import environment
from local_inference_service.adapters.vllm_reaper import Reaper
from local_inference_service.adapters.vllm_stderr import Stderr
from local_inference_service.progress import LoadError

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0  # seconds between two starts
_STABLE = 60.0  # seconds after which a death is taken for a first one


class EngineDown(Exception):
    """The engine has died or is being started again.

    Attributes:
        retry_after: seconds after which it may answer again.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__("vLLM's engine has died and is started again")
        self.retry_after = retry_after


class EngineClosed(Exception):
    """The engine was closed."""


class VLLMEngine:
    """An engine. It is started by the constructor.

    Args:
        arguments: vLLM's AsyncEngineArgs.
        on_health: called from the engine's thread with EngineDown when it has died, and with None
            when it answers again.

    Raises:
        LoadError: the engine can't be started; the text says why.
    """

    def __init__(self, arguments: Any, on_health: Callable[[EngineDown | None], None]) -> None:
        self._arguments = arguments
        self._on_health = on_health
        self._closing = False
        self._delay = _FIRST_DELAY
        self._start_seconds = 0.0
        self._engine: Any = None
        self._reaper: Reaper | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        try:
            self.call(self._start())
        except BaseException:
            self._stop_loop()
            raise
        self._watching = asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    @property
    def config(self) -> Any:
        """vLLM's VllmConfig."""
        return self._config

    def tokenizer(self) -> Any:
        """The engine's tokenizer, of transformers."""
        return self._tokenizer

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the engine's loop and wait for it, from a thread without a loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def acall(self, work: Coroutine[Any, Any, T]) -> T:
        """The same from another event loop; cancelling it cancels the work."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def render(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """What vLLM makes of a prompt: its tokens, and its images as the model takes them.

        Runs on the engine's loop.

        Raises:
            EngineDown: the engine isn't there.
            Exception: vLLM's own, for a prompt that the model doesn't take.
        """
        engine = self._living()
        (made,) = await engine.renderer.render_cmpl_async([prompt])
        return dict(made)

    def generate(
        self,
        prompt: Any,
        params: Any,
        request_id: str,
        deliver: Callable[[Any], None],
    ) -> Callable[[], None]:
        """Begin a generation. Returns what ends it at once.

        Args:
            prompt: what vLLM takes, or what `render` made of it.
            params: vLLM's SamplingParams.
            request_id: an id of its own.
            deliver: called on the engine's loop with each RequestOutput; or once with the
                exception with which the request ended.
        """
        task: asyncio.Task[None] | None = None
        ended = False

        async def run() -> None:
            try:
                outputs = self._outputs(prompt, params, request_id)
                async with aclosing(outputs):
                    async for output in outputs:
                        deliver(output)
            except Exception as error:
                deliver(error)

        def begin() -> None:
            nonlocal task
            if not ended:
                task = self._loop.create_task(run())

        def end() -> None:
            nonlocal ended
            ended = True
            if task is not None:
                task.cancel()

        self._loop.call_soon_threadsafe(begin)
        return lambda: self._soon(end)

    def close(self) -> None:
        """End what runs and the engine's processes. May be called twice."""
        if self._closing:
            return
        self._closing = True
        self._watching.cancel()
        with suppress(Exception):
            self.call(self._shut_down())
        self._stop_loop()

    async def _outputs(
        self, prompt: Any, params: Any, request_id: str
    ) -> AsyncGenerator[Any, None]:
        from vllm.v1.engine.exceptions import EngineDeadError

        engine = self._living()
        try:
            if "type" not in prompt:
                prompt = await self.render(prompt)
            async with aclosing(engine.generate(prompt, params, request_id)) as outputs:
                async for output in outputs:
                    yield output
        except EngineDeadError:
            raise self._down() from None
        except Exception:
            if engine.errored:
                raise self._down() from None
            raise

    def _living(self) -> Any:
        if self._closing:
            raise EngineClosed
        if self._engine is None or self._engine.errored:
            raise self._down()
        return self._engine

    def _down(self) -> EngineDown:
        return EngineDown(self._delay + self._start_seconds)

    async def _start(self) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        before, begun = _descendants(), self._loop.time()
        with _environment(), Stderr() as said:
            try:
                engine = AsyncLLM.from_engine_args(self._arguments)
            except Exception as error:
                log.info("vLLM's engine can't be started", exc_info=True)
                Reaper(sorted(_descendants() - before)).close()
                raise LoadError(said.cause(error)) from error
        self._reaper = Reaper(sorted(_descendants() - before))
        self._start_seconds = self._loop.time() - begun
        self._engine = engine
        self._config = engine.vllm_config
        self._tokenizer = engine.get_tokenizer()

    async def _watch(self) -> None:
        """Wait until the engine dies, and start it again."""
        while True:
            begun = self._loop.time()
            await asyncio.wait({self._engine.output_handler})
            if self._loop.time() - begun > _STABLE:
                self._delay = _FIRST_DELAY
            log.error("vLLM's engine has died; it is started again in %g s", self._delay)
            self._on_health(self._down())
            await self._shut_down()
            while self._engine is None:
                await asyncio.sleep(self._delay)
                self._delay = min(self._delay * 2, _LONGEST_DELAY)
                try:
                    await self._start()
                except LoadError as error:
                    log.error("vLLM's engine can't be started again: %s", error)
            log.info("vLLM's engine answers again")
            self._on_health(None)

    async def _shut_down(self) -> None:
        engine, self._engine = self._engine, None
        reaper, self._reaper = self._reaper, None
        # They wait for processes: not on the loop, where requests are to be failed meanwhile.
        if engine is not None:
            if engine.output_handler is not None:
                engine.output_handler.cancel()  # it would take the end for a death, and log it
            await asyncio.to_thread(engine.shutdown)
        if reaper is not None:
            await asyncio.to_thread(reaper.close)

    def _soon(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop was closed, and all work with it
            self._loop.call_soon_threadsafe(call)

    def _stop_loop(self) -> None:
        async def cancel_all() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _descendants() -> set[int]:
    """Ids of the processes below this one, but for Python's resource tracker, which stays."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if not any("resource_tracker" in word for word in child.cmdline()):
                found.add(child.pid)
    return found


@contextmanager
def _environment() -> Iterator[None]:
    """The environment that the engine's processes are to get, for as long as they are started."""
    added = environment()
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
