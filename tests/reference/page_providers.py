"""The remote providers that the page's examples call: one small HTTP application.

They answer what the page's prompts call for. A model named "fault-503" is always answered with that
status; `faults` come first, one a request, whatever the model.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

WEATHER = ("get_weather", {"location": "Paris"})
SEARCH = ("search_web", {"query": "Mars rovers"})
SUM = json.dumps({"answer": "4", "confidence": 0.9})
STORY = ("Once ", "upon ", "a time.")
CONTEXT = 4096  # tokens
KEYS = {
    "openrouter": "OPENROUTER_API_KEY",
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GOOGLE_API_KEY",
    "xai": "XAI_API_KEY",
}
"""Provider -> where its users keep their key."""

# What each provider's wire says besides the answer: where the message is in it.
_PATHS = {
    "openrouter": "/openrouter/v1/chat/completions",
    "custom": "/custom/v1/chat/completions",
    "xai": "/xai/v1/chat/completions",
    "openai": "/openai/v1/responses",
    "anthropic": "/anthropic/v1/messages",
    "google": "/google/v1beta/models/{model}",
}


@dataclass(frozen=True)
class Asked:
    """A request that a provider got."""

    provider: str
    model: str
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Fault:
    """An error in a provider's own form."""

    status: int
    message: str = "It is broken."
    code: str = "broken"
    headers: Mapping[str, str] = field(default_factory=dict)


TOO_LONG = Fault(
    400,
    f"This endpoint's maximum context length is {CONTEXT} tokens. However, you requested about 9000"
    " tokens (8000 of text input, 1000 in the output).",
    "context_length_exceeded",
)


@dataclass
class PageProviders:
    """The application.

    Attributes:
        url: where it is served.
        asked: what it was asked, in order.
        faults: what the next requests are answered with, before any answer.
    """

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)

    def forget(self) -> None:
        self.asked.clear()
        self.faults.clear()

    def base_url(self, provider: str) -> str:
        return f"{self.url}/{provider}/v1{'beta' if provider == 'google' else ''}"

    def application(self) -> web.Application:
        app = web.Application()
        for provider, path in _PATHS.items():
            app.router.add_post(path, self._handler(provider))
        return app

    def _handler(self, provider: str) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            named = request.match_info.get("model", "").partition(":")[0]
            model = str(body.get("model") or named)
            self.asked.append(Asked(provider, model, body, request.headers.copy()))
            fault = self.faults.popleft() if self.faults else None
            status = model.rpartition("fault-")[2]
            if fault is None and "fault-" in model:
                fault = Fault(int(status))
            if fault is not None:
                return web.json_response(
                    _error(provider, fault), status=fault.status, headers=fault.headers
                )
            if provider in ("openrouter", "custom", "xai") and body.get("stream"):
                return await _stream(request, model)
            return web.json_response(_ANSWERS.get(provider, _chat)(body, model))

        return handle


def _words(body: Any) -> str:
    """What the user said last, on whichever wire."""
    turns = body.get("messages") or body.get("input") or body.get("contents") or []
    said = [turn for turn in turns if turn.get("role") == "user"]
    return json.dumps(said[-1], ensure_ascii=False) if said else ""


def _text(body: Any) -> str:
    return SUM if "What is 2+2?" in _words(body) else "Hello from here."


def _call(body: Any) -> tuple[str, Any] | None:
    """The function that the model calls: the one that it was given."""
    given = {tool.get("function", tool).get("name") for tool in body.get("tools") or ()}
    results = any(turn.get("role") == "tool" for turn in body.get("messages") or ())
    for call in (WEATHER, SEARCH):
        if call[0] in given and not results:
            return call
    return None


def _chat(body: Any, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": _text(body)}
    call = _call(body)
    if call:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        message["content"] = None
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop"}
    return {
        "id": "gen-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": [choice],
        "usage": {"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500},
    }


async def _stream(request: web.Request, model: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    about = {
        "id": "gen-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": model,
    }
    for piece in (*STORY, None):
        delta = {} if piece is None else {"content": piece}
        choice = {"index": 0, "delta": delta, "finish_reason": None if piece else "stop"}
        line = json.dumps({**about, "choices": [choice]})
        await response.write(f"data: {line}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


def _responses(body: Any, model: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": _text(body), "annotations": []}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "model": model,
        "output": [{**message, "content": content}],
        "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
    }


def _messages(body: Any, model: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": _text(body)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }


def _generate_content(body: Any, model: str) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": _text(body)}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
        "modelVersion": model,
        "responseId": "resp-1",
    }


_ANSWERS = {"openai": _responses, "anthropic": _messages, "google": _generate_content}
_GOOGLE_STATES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}


def _error(provider: str, fault: Fault) -> dict[str, Any]:
    if provider == "anthropic":
        return {"type": "error", "error": {"type": "api_error", "message": fault.message}}
    if provider == "google":
        state = _GOOGLE_STATES.get(fault.status, "INTERNAL")
        return {"error": {"code": fault.status, "message": fault.message, "status": state}}
    code = fault.status if provider == "openrouter" else fault.code
    return {"error": {"message": fault.message, "code": code, "type": "error"}}
