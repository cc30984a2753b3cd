"""One call, asked of several models one after another, until one answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marsys.agents.exceptions import ModelAPIError, ModelConfigurationError, ModelError
from marsys.models._facts import log
from marsys.models._prepared import PreparedCall
from marsys.models._steps import Clock
from marsys.models.response import HarmonizedResponse


class Attempts:
    """The calls of several models, of which one is under way.

    Args:
        calls: one a model, in the order in which to make them.
        timeout: how long all may take together, in seconds; None: without end.

    Attributes:
        call: the one that is under way.
        clock: its time.
    """

    def __init__(self, calls: Sequence[PreparedCall], timeout: float | None) -> None:
        self._calls = calls
        self._whole = Clock(timeout)
        self._failed: list[tuple[str, ModelError]] = []
        self._started: Any = None
        self._stopped = False
        self.call = calls[0]
        self.clock = Clock(self.call.timeout, within=self._whole)

    def start(self) -> None:
        """Begin the call without waiting."""
        self._started = self.call.start(self.clock)

    def done(self) -> bool:
        """Whether an answer, or the last error, is there."""
        started = self._started
        if not started.done() or started.cancelled():
            return bool(started.done())
        return started.exception() is None or self._last

    def cancel(self) -> bool:
        """Stop: no other model is asked. Returns whether a call was still running."""
        self._stopped = True
        return self._started is not None and bool(self._started.cancel())

    def block(self) -> HarmonizedResponse:
        """Wait for an answer on the calling thread.

        Raises:
            ModelError: no model gave one.
        """
        while True:
            try:
                return self.answered(self.call.block(self.clock, self._started))
            except ModelError as error:
                self.fell(error)

    async def wait(self) -> HarmonizedResponse:
        """The same as `block`, on the running event loop."""
        while True:
            try:
                return self.answered(await self.call.wait(self.clock, self._started))
            except ModelError as error:
                self.fell(error)

    def answered(self, response: HarmonizedResponse) -> HarmonizedResponse:
        """An answer, which now tells of the models that failed before."""
        response["metadata"]["failed_models"] = self._facts()
        return response

    def fell(self, error: ModelError, *, final: bool = False) -> None:
        """The call failed: turn to the next model.

        Args:
            error: how it failed.
            final: whether no other model may be asked, because something of the answer is out.

        Raises:
            ModelError: that error, where no other model is asked. It tells of the earlier ones.
        """
        if final or self._last or self._stopped or self._whole.over or not _may_pass(error):
            self._tell_of_earlier(error)
            raise error
        failed = self.call.model.model_name
        self._failed.append((failed, error))
        self.call = self._calls[len(self._failed)]
        self.clock = Clock(self.call.timeout, within=self._whole)
        log.warning(
            "%s failed, falling back to %s: %s", failed, self.call.model.model_name, error.message
        )
        if self._started is not None:
            self.start()

    @property
    def _last(self) -> bool:
        return self.call is self._calls[-1]

    def _tell_of_earlier(self, error: ModelError) -> None:
        if not self._failed:
            return
        error.context["failed_models"] = self._facts()
        error.__context__ = self._failed[-1][1]
        for model, earlier in self._failed:
            error.add_note(f"Before it, {model} failed: {earlier.message}")

    def _facts(self) -> list[dict[str, Any]]:
        return [_facts_of(model, error) for model, error in self._failed]


def _may_pass(error: ModelError) -> bool:
    """Whether another model may do better."""
    # What is set up wrongly in this process stays so, and a cancelled call is not wanted any more.
    return not isinstance(error, ModelConfigurationError) and (
        not isinstance(error, ModelAPIError) or error.grpc_code != "CANCELLED"
    )


def _facts_of(model: str, error: ModelError) -> dict[str, Any]:
    told = error.to_dict()
    names = ("provider", "error_code", "classification", "status_code", "message")
    return {"model": model, **{name: told.get(name) for name in names}}
