"""What API models and local models have in common: building calls, making them, telling of them."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

import grpc

from marsys.agents.exceptions import ModelConfigurationError
from marsys.models._errors import from_call, invalid
from marsys.models._facts import attempt_facts, log_attempt, log_success, log_warning
from marsys.models._interrupts import Uninterrupted
from marsys.models._pending import PendingResponse
from marsys.models._prepared import PreparedCall
from marsys.models._request import OF_CONFIG, check_size
from marsys.models._steps import Clock, Generate, Opened, OpenStream, Step, Steps
from marsys.models._stream import ResponseStream
from marsys.models.response import HarmonizedResponse, harmonize
from marsys.rpc.channel import place_of
from marsys.rpc.connection import Connection
from marsys.v1 import GenerateRequest, GenerateResponse, GenerationConfig, ModelError

if TYPE_CHECKING:
    from marsys.models.converse import Conversation
    from marsys.models.fallback import FallbackModel

_DEFAULT_RETRIES = 3  # CallPolicy.max_attempts' default, less the first attempt


class ModelCaller(ABC):
    """A model behind a service. Objects hold no connection of their own: channels are shared.

    Args:
        model_name: the model.
        connection: where its service is.
        defaults: keyword arguments that hold for every call, unless the call gives others.
        timeout: how long a call may take in all, in seconds; None: without end.
    """

    def __init__(
        self,
        model_name: str,
        connection: Connection,
        defaults: dict[str, Any],
        timeout: float | None,
    ) -> None:
        if not model_name:
            raise ModelConfigurationError("model_name: must be set", field="model_name")
        self.model_name = model_name
        self._connection = connection
        self._defaults = {name: value for name, value in defaults.items() if value is not None}
        self._timeout = checked_timeout(timeout)

    def run(self, messages: Any, **kwargs: Any) -> Any:
        """Ask the model.

        Without a running event loop it blocks and returns the HarmonizedResponse. Inside one it
        starts the call at once and returns a PendingResponse: `await` it, or read it like the
        response, which blocks.

        Args:
            messages: the conversation: dicts with "role" and "content" in OpenAI's form
                (Anthropic's parts are taken too), or a str for one user message. Images may be
                URLs, data: URLs, or paths on this machine.
            tools: tool definitions in OpenAI's or Anthropic's form.
            tool_choice: "auto", "none", "required", or a tool's name.
            parallel_tool_calls: whether several tools may be called in one turn.
            json_mode: whether the answer must be a JSON object.
            response_schema: JSON schema that the answer must fit; wins over `json_mode`.
            images: images to add to the last user message.
            max_tokens, temperature, top_p, top_k, min_p, frequency_penalty, presence_penalty,
                repetition_penalty, seed, stop: how to generate.
            thinking_budget: most tokens of reasoning.
            reasoning_effort: "none", "minimal", "low", "medium", "high", "xhigh" or "max".
            on_unsupported: "reject" (the default) or "warn": what to do with an argument that the
                model does not take.
            timeout: how long the call may take in all, in seconds.
            **kwargs: further arguments. None always means not set.

        Raises:
            ModelAPIError: the request is wrong, or the call failed.
        """
        call = self._prepare(messages, kwargs)
        clock = Clock(call.timeout)
        if not in_loop():
            return call.block(clock)
        with Uninterrupted() as starting:
            started = call.start(clock)
            pending = PendingResponse(
                started, lambda: call.block(clock, started), lambda: call.wait(clock, started)
            )
            starting.stop_by(pending.cancel)
        return pending

    async def arun(self, messages: Any, **kwargs: Any) -> HarmonizedResponse:
        """Ask the model on the running event loop. Arguments and errors as for `run`."""
        call = self._prepare(messages, kwargs)
        return await call.wait(Clock(call.timeout))

    def stream(self, messages: Any, **kwargs: Any) -> ResponseStream:
        """Ask the model and get the answer as it comes, by `for` or `async for`.

        Arguments as for `run`; a wrong one is raised here, a failed call by the iteration.
        """
        call = self._prepare(messages, kwargs)
        return call.stream(lambda: Clock(call.timeout))

    def converse(
        self,
        messages: Any = (),
        *,
        tools: Any = None,
        max_tool_rounds: int = 16,
        **kwargs: Any,
    ) -> Conversation:
        """Hold a conversation: the service remembers it, and only what is new is sent.

        Args:
            messages: what it begins with, such as a system message; a str is that.
            tools: definitions as `run` takes them, and Python functions, whose schema comes from
                their type hints and docstring and which are run when the model calls them.
            max_tool_rounds: most times in one turn that functions are run.
            **kwargs: as for `run`, for every turn; `timeout` is that of a turn.

        Raises:
            ModelAPIError: an argument is wrong. Nothing is sent before the first turn.
        """
        from marsys.models._functions import split_tools
        from marsys.models.converse import Conversation

        if isinstance(messages, str):
            messages = [{"role": "system", "content": messages}]
        functions, definitions = split_tools(tools) if tools is not None else ({}, None)
        timeout = checked_timeout(kwargs.pop("timeout", None))
        given = {name: value for name, value in kwargs.items() if value is not None}
        settings = self._defaults | given | ({"tools": definitions} if definitions else {})
        template = self._request(list(messages), settings)
        check_size(template)
        template.ClearField("messages")

        def configure(changed: dict[str, Any]) -> GenerationConfig:
            for name in changed.keys() - OF_CONFIG:
                raise invalid(name, "can't be changed amid a conversation")
            return self._request([], settings | changed).config

        return Conversation(
            self._connection,
            template,
            list(messages),
            functions,
            configure,
            self._recover,
            self._timeout if timeout is None else timeout,
            max_tool_rounds,
            _max_retries(template),
        )

    def with_fallback(self, *others: ModelCaller | FallbackModel) -> FallbackModel:
        """This model, and others that are asked where it fails, one after another.

            model = BaseAPIModel("openai", "gpt-5").with_fallback(
                BaseAPIModel("anthropic", "claude-opus-4-6"), BaseLocalModel("Qwen/Qwen3-0.6B")
            )

        Args:
            *others: of either kind, in the order in which to ask them.

        Raises:
            ModelConfigurationError: there are no others, or one of them is no such model.
        """
        from marsys.models.fallback import FallbackModel

        return FallbackModel(self, *others)

    def cleanup(self) -> Done:
        """Nothing needs to be released; may be awaited or not."""
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
        return (
            f"{type(self).__name__}({self.model_name!r}, target={str(self._connection.target)!r})"
        )

    @abstractmethod
    def _request(self, messages: Any, settings: dict[str, Any]) -> GenerateRequest:
        """The request for a call."""

    @abstractmethod
    def _recover(
        self, error: grpc.RpcError | ModelError, request: GenerateRequest, tried: set[str]
    ) -> Generator[Step, Any, bool]:
        """Steps after a call, or a turn of a conversation, failed before its first content.

        Args:
            error: how it failed.
            request: what was asked; may be changed.
            tried: what was tried already, in words of its own.

        Returns:
            Whether to make the call again.
        """

    def _prepare(self, messages: Any, kwargs: dict[str, Any]) -> PreparedCall:
        timeout = checked_timeout(kwargs.pop("timeout", None))
        given = {name: value for name, value in kwargs.items() if value is not None}
        request = self._request(messages, self._defaults | given)
        check_size(request)
        timeout = self._timeout if timeout is None else timeout
        return PreparedCall(self, request, timeout, _max_retries(request))

    def _asking(self, request: GenerateRequest, timeout: float | None) -> Steps[GenerateResponse]:
        response: GenerateResponse = yield from self._tried(Generate(request), request, timeout)
        return response

    def _opening(self, request: GenerateRequest, timeout: float | None) -> Steps[Opened]:
        opened: Opened = yield from self._tried(OpenStream(request), request, timeout)
        return opened

    def _tried(
        self, step: Step, request: GenerateRequest, timeout: float | None
    ) -> Generator[Step, Any, Any]:
        """Do a step; after a failure, what can be done about it, and the step again."""
        tried: set[str] = set()
        while True:
            try:
                return (yield step)
            except grpc.RpcError as error:
                failed = error
            try:
                again = yield from self._recover(failed, request, tried)
            except grpc.RpcError as error:
                failed, again = error, False
            if not again:
                failure = from_call(failed, place_of(self._connection), timeout)
                retries = failure.context.get("max_retries", 0)
                for fact in failure.context["attempts"]:
                    if fact["delay"] is not None:
                        log_attempt(fact, retries)
                raise failure from None

    def _told(self, proto: GenerateResponse, request: GenerateRequest) -> HarmonizedResponse:
        """The response, its warnings and failed attempts logged."""
        for attempt in proto.attempts:
            log_attempt(attempt_facts(attempt), _max_retries(request))
        log_success(proto.attempts)
        for warning in proto.warnings:
            log_warning(warning)
        return harmonize(proto)


class Done:
    """An awaitable that is done."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


def in_loop() -> bool:
    """Whether an event loop runs on this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _max_retries(request: GenerateRequest) -> int:
    if request.policy.HasField("max_attempts"):
        return request.policy.max_attempts - 1
    return _DEFAULT_RETRIES


def checked_timeout(timeout: Any) -> float | None:
    """The timeout that a caller gives, in seconds.

    Raises:
        ModelConfigurationError: it is none.
    """
    if timeout is None:
        return None
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not number or not math.isfinite(timeout) or timeout <= 0:
        raise ModelConfigurationError(
            "timeout: must be a number of seconds above 0", field="timeout"
        )
    return float(timeout)
