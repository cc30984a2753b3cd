"""A service that answers as it is told, and the pieces of its answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from marsys.rpc.status import to_call_status
from marsys.stream import fold
from marsys.v1 import (
    Attempt,
    ConversationOpened,
    ConverseResponse,
    ErrorReason,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    GenerationFinished,
    GenerationStarted,
    ListModelsResponse,
    LoadModelRequest,
    LoadModelResponse,
    LoadStage,
    Model,
    ModelError,
    ModelState,
    Part,
    PartDelta,
    PartFinished,
    PartStarted,
    ReasoningPart,
    StreamEvent,
    StreamGenerateResponse,
    TextPart,
    ToolCallPart,
    UnloadModelRequest,
    UnloadModelResponse,
    Usage,
    Warning,
)
from marsys.v1.inference_service_pb2_grpc import InferenceServiceServicer
from marsys.v1.model_service_pb2_grpc import ModelServiceServicer

R = FinishReason


def text(words: str) -> Part:
    return Part(text=TextPart(text=words))


def reasoning(words: str) -> Part:
    return Part(reasoning=ReasoningPart(text=words))


def tool_call(name: str, arguments: str, call_id: str = "call_1") -> Part:
    return Part(tool_call=ToolCallPart(id=call_id, name=name, arguments_json=arguments))


def events_of(
    *parts: Part,
    finish: FinishReason.ValueType = R.FINISH_REASON_STOP,
    usage: Usage | None = None,
    warnings: tuple[Warning, ...] = (),
    attempts: tuple[Attempt, ...] = (),
    whole: bool = False,
    **finished: Any,
) -> list[StreamEvent]:
    """The events of an answer; text comes a word at a time unless `whole`."""
    events = []
    for attempt in attempts:
        event = StreamEvent()
        event.attempt_failed.attempt.CopyFrom(attempt)
        events.append(event)
    header = GenerationStarted(
        response_id="resp_1", model="scripted-1", provider="scripted", request_id="req-1"
    )
    header.create_time.FromSeconds(1_700_000_000)
    events.append(StreamEvent(started=header))
    for warning in warnings:
        event = StreamEvent()
        event.warning_raised.warning.CopyFrom(warning)
        events.append(event)
    for index, part in enumerate(parts):
        start = Part()
        kind = part.WhichOneof("content")
        if kind == "tool_call":
            start.tool_call.id, start.tool_call.name = part.tool_call.id, part.tool_call.name
        else:
            getattr(start, kind).SetInParent()
        events.append(StreamEvent(part_started=PartStarted(part_index=index, part=start)))
        if not whole:
            events += [StreamEvent(part_delta=delta) for delta in _deltas(index, part)]
        events.append(StreamEvent(part_finished=PartFinished(part_index=index, part=part)))
    end = GenerationFinished(finish_reason=finish, usage=usage, **finished)
    events.append(StreamEvent(finished=end))
    for sequence, event in enumerate(events):
        event.sequence = sequence
    return events


def _deltas(index: int, part: Part) -> Iterator[PartDelta]:
    kind = part.WhichOneof("content")
    if kind == "text":
        for word in re.findall(r"\S+\s*|\s+", part.text.text):
            yield PartDelta(part_index=index, text=word)
    elif kind == "reasoning":
        yield PartDelta(part_index=index, reasoning=part.reasoning.text)
    elif kind == "tool_call":
        for letter in part.tool_call.arguments_json:
            yield PartDelta(part_index=index, arguments_json=letter)
    elif kind == "refusal":
        yield PartDelta(part_index=index, refusal=part.refusal.text)


@dataclass
class Reply:
    """One scripted answer: events, then an error, or a wait without end."""

    events: list[StreamEvent] = field(default_factory=list)
    error: ModelError | None = None
    hangs: bool = False


class ScriptedService(InferenceServiceServicer, ModelServiceServicer):
    """Answers with `replies`, one a call; the last one is given again and again.

    Attributes:
        address: where it listens.
        requests: what was asked.
        metadata: the metadata of each call.
        loads: what was to be loaded.
        unloads: what was to be unloaded.
        cancelled: how many calls were cancelled while they hung.
    """

    def __init__(self) -> None:
        self.address = ""
        self.replies: list[Reply] = []
        self.requests: list[GenerateRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.loads: list[LoadModelRequest] = []
        self.load_reply: ModelError | str = "loaded-name"
        self.unloads: list[UnloadModelRequest] = []
        self.listed: list[Model] = []
        self.cancelled = 0

    def say(self, *parts: Part, **facts: Any) -> None:
        """Answer a call with these parts."""
        self.replies.append(Reply(events_of(*parts, **facts)))

    def fail(self, error: ModelError, *, after: list[StreamEvent] | None = None) -> None:
        """Fail a call."""
        self.replies.append(Reply(after or [], error))

    def hang(self, *, after: list[StreamEvent] | None = None) -> None:
        """Never end a call."""
        self.replies.append(Reply(after or [], hangs=True))

    async def Generate(self, request: GenerateRequest, context: Any) -> GenerateResponse:
        return fold([event async for event in self._events(request, context)])

    async def StreamGenerate(
        self, request: Any, context: Any
    ) -> AsyncIterator[StreamGenerateResponse]:
        async for event in self._events(request.request, context):
            yield StreamGenerateResponse(events=[event])

    async def Converse(self, requests: Any, context: Any) -> AsyncIterator[ConverseResponse]:
        """Opens a conversation, and says nothing else until it fails, if it shall."""
        yield ConverseResponse(opened=ConversationOpened(conversation_id="c"))
        if not self.replies or self.replies[0].error is None:
            await asyncio.Event().wait()
        await asyncio.sleep(0.5)
        await _abort(context, self.replies[0].error)

    async def _events(self, request: GenerateRequest, context: Any) -> AsyncIterator[StreamEvent]:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        for event in reply.events:
            yield event
        if reply.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if reply.error is not None:
            await _abort(context, reply.error)

    async def LoadModel(
        self, request: LoadModelRequest, context: Any
    ) -> AsyncIterator[LoadModelResponse]:
        self.loads.append(request)
        yield LoadModelResponse(
            stage=LoadStage.LOAD_STAGE_DOWNLOADING, completed_bytes=5, total_bytes=10
        )
        if isinstance(self.load_reply, ModelError):
            await _abort(context, self.load_reply)
        if self.load_reply == "hangs":
            await asyncio.Event().wait()
        ready = Model(name=str(self.load_reply), state=ModelState.MODEL_STATE_READY)
        yield LoadModelResponse(stage=LoadStage.LOAD_STAGE_READY, model=ready)

    async def UnloadModel(self, request: UnloadModelRequest, context: Any) -> UnloadModelResponse:
        self.unloads.append(request)
        if request.model not in {model.name for model in self.listed}:
            error = ModelError(
                reason=ErrorReason.ERROR_REASON_INVALID_MODEL,
                message=f"model: no model {request.model!r} is loaded here",
                model=request.model,
            )
            await _abort(context, error)
        return UnloadModelResponse()

    async def ListModels(self, request: Any, context: Any) -> ListModelsResponse:
        start = int(request.page_token or 0)
        end = start + 1  # one a page: callers must read on
        token = str(end) if end < len(self.listed) else ""
        return ListModelsResponse(models=self.listed[start:end], next_page_token=token)


async def _abort(context: Any, error: ModelError) -> None:
    await context.abort_with_status(to_call_status(error, "req-failed"))


async def check_health(request: bytes, context: Any) -> bytes:
    """grpc.health.v1: SERVING for all of it, NOT_SERVING for a service named "down"."""
    if request == b"":
        return b"\x08\x01"
    if request.endswith(b"down"):
        return b"\x08\x02"
    await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return b""
