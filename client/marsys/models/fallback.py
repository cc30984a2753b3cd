"""Several models as one: where a model fails, the next one is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, Self

from marsys.agents.exceptions import ModelConfigurationError, ModelError
from marsys.models._attempts import Attempts
from marsys.models._caller import Done, ModelCaller, checked_timeout, in_loop
from marsys.models._fallback_stream import FallbackStream
from marsys.models._interrupts import Uninterrupted
from marsys.models._pending import PendingResponse
from marsys.models._prepared import PreparedCall
from marsys.models.response import HarmonizedResponse


class FallbackModel:
    """Models of which one answers. Made by `model.with_fallback(...)`.

    A model is asked where those before it failed, whatever the reason: a limit, an outage, a
    timeout, a prompt that is too long, a name that its provider doesn't know. No other model is
    asked where an argument can't be sent at all (every model's request is built before the first
    one is asked, so that this shows at once), where something in this process is set up wrongly,
    where the call was cancelled, or where a stream has given content already.

    `timeout=` of a call is the time of all models together; the `timeout` of each model bounds its
    own part of it. So give the models timeouts, if a model that hangs shall leave time for others.

    The answer is the one of the model that gave it, with one more key in its metadata:
    `failed_models`, a list of {"model", "provider", "error_code", "classification",
    "status_code", "message"}, one for each model that failed before; each is logged as a warning,
    too. If all fail, the last error is raised, with the same list in its `context`, and the error
    before it as its `__context__`.

    Args:
        *models: in the order in which to ask them; those of other FallbackModels take their place.

    Attributes:
        models: the models, in that order.
        model_name: the first one's name.

    Raises:
        ModelConfigurationError: there are fewer than two, or one is no API model or local model.
    """

    def __init__(self, *models: ModelCaller | FallbackModel) -> None:
        self.models: tuple[ModelCaller, ...] = tuple(_flat(models))
        if len(models) < 2:
            raise ModelConfigurationError("others: name at least one other model", field="others")
        self.model_name = self.models[0].model_name

    def run(self, messages: Any, **kwargs: Any) -> Any:
        """Ask the models. Arguments, result and errors as for the models' own `run`.

        Inside a running event loop the first model is asked at once, the others when the
        PendingResponse is awaited or read.
        """
        attempts = self._attempts(self._prepared(messages, kwargs), kwargs)
        if not in_loop():
            return attempts.block()
        with Uninterrupted() as starting:
            attempts.start()
            pending = PendingResponse(attempts, attempts.block, attempts.wait)
            starting.stop_by(pending.cancel)
        return pending

    async def arun(self, messages: Any, **kwargs: Any) -> HarmonizedResponse:
        """Ask the models on the running event loop. Arguments and errors as for `run`."""
        return await self._attempts(self._prepared(messages, kwargs), kwargs).wait()

    def stream(self, messages: Any, **kwargs: Any) -> FallbackStream:
        """Ask the models and get the answer as it comes, by `for` or `async for`.

        A model that fails before its first content gives way to the next one; later failures are
        raised. Arguments as for `run`; a wrong one is raised here.
        """
        calls = self._prepared(messages, kwargs)
        return FallbackStream(lambda: self._attempts(calls, kwargs))

    def converse(self, *_: Any, **__: Any) -> NoReturn:
        """Not to be had: a conversation is held by the service of one model.

        Use `converse` of one of `models`. Where a turn fails, `converse(chat.messages)` of another
        model goes on with what was said.

        Raises:
            ModelConfigurationError: always.
        """
        raise ModelConfigurationError(
            "converse: a conversation is held by one model; use models[0].converse(...), and where "
            "a turn fails go on with models[1].converse(chat.messages)",
            field="converse",
        )

    def with_fallback(self, *others: ModelCaller | FallbackModel) -> FallbackModel:
        """The same with further models at the end."""
        return FallbackModel(self, *others)

    def cleanup(self) -> Done:
        """The models' own `cleanup`; may be awaited or not."""
        for model in self.models:
            model.cleanup()
        return Done()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cleanup()

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.models!r}"

    def _prepared(self, messages: Any, kwargs: dict[str, Any]) -> list[PreparedCall]:
        checked_timeout(kwargs.get("timeout"))
        own = {name: value for name, value in kwargs.items() if name != "timeout"}
        calls = []
        for model in self.models:
            try:
                calls.append(model._prepare(messages, dict(own)))
            except ModelError as error:
                error.add_note(f"Found when the call of {model!r} was prepared.")
                raise
        return calls

    def _attempts(self, calls: list[PreparedCall], kwargs: dict[str, Any]) -> Attempts:
        return Attempts(calls, checked_timeout(kwargs.get("timeout")))


def _flat(models: tuple[Any, ...]) -> Iterator[ModelCaller]:
    for model in models:
        if isinstance(model, FallbackModel):
            yield from model.models
        elif isinstance(model, ModelCaller):
            yield model
        else:
            raise ModelConfigurationError(
                f"others: {type(model).__name__} is no BaseAPIModel or BaseLocalModel",
                field="others",
            )
