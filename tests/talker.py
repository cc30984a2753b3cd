"""A model that does what it is told, for tests of conversations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from marsys.v1 import ErrorReason, FinishReason, GenerateRequest, Message, StreamEvent
from serving.errors import service_error
from serving.event_writer import EventWriter
from serving.generator import Call


class Talker:
    """Does what the last message says, a word at a time.

    "call:ID" calls a tool, "think" thinks, "wait" waits for `release`, "half" waits in the middle
    of a tool call, "overloaded" fails as a provider does, "bug" as nobody expects. A word with a
    comma goes out with the next. A tool's results are said back.
    """

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.asked: list[GenerateRequest] = []
        self.ids: list[str] = []
        self.waiting = asyncio.Event()
        self.stopped = 0
        self.batches = 0

    async def generate(
        self, request: GenerateRequest, call: Call
    ) -> AsyncIterator[Sequence[StreamEvent]]:
        asked = GenerateRequest()
        asked.CopyFrom(request)
        self.asked.append(asked)
        self.ids.append(call.request_id)
        writer = EventWriter()
        writer.start("", request.model, "talker")
        text = None
        reason = FinishReason.FINISH_REASON_STOP
        for word in _words(request.messages[-1]):
            if word.startswith("call:"):
                part = writer.open_tool_call(word.removeprefix("call:"), "t")
                writer.append(part, "{}")
                writer.close(part)
                reason = FinishReason.FINISH_REASON_TOOL_CALLS
            elif word == "half":
                writer.append(writer.open_tool_call("h", "t"), '{"a": ')
            elif word == "think":
                writer.append(writer.open("reasoning"), "Hm.")
            elif word == "overloaded":
                raise service_error(ErrorReason.ERROR_REASON_OVERLOADED, "too many")
            elif word == "bug":
                raise RuntimeError("a secret detail")
            elif word != "wait":
                text = text or writer.open("text")
                writer.append(text, f"{word} ")
            if word.endswith(","):
                continue
            self.batches += 1
            yield writer.take()
            if word in ("wait", "half", "think"):
                await self._wait()
        writer.finish(reason, "")
        yield writer.take()

    async def _wait(self) -> None:
        self.waiting.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        finally:
            self.waiting.clear()


def _words(message: Message) -> list[str]:
    words: list[str] = []
    for part in message.parts:
        if part.HasField("tool_result"):
            words += part.tool_result.content[0].text.text.split()
        else:
            words += part.text.text.split()
    return words
