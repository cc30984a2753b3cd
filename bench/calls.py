"""What every system is asked: one short conversation, in the contract's words and in OpenAI's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from bench.load import Call
from marsys.v1 import (
    GenerateRequest,
    GenerationConfig,
    Message,
    Part,
    Role,
    StreamGenerateRequest,
    TextPart,
)

CHUNKS, DELAY_MS = 100, 10  # of a stream; between its chunks where it is paced
WAYS = ("burst", "single", "paced")  # how the fake provider writes streams; see upstream.c

_SYSTEM = "You are a helpful writer."
_USER = "Write a paragraph about a quick brown fox. " * 5
_MAX_TOKENS, _TEMPERATURE = 256, 0.5
_WHOLE = ("The quick", 12)  # what a whole answer of the fake provider holds, and how often
_CHUNK = " token"


def grpc_call(way: str, stream: bool) -> Call:
    """A call of marsys.v1; its model is `WAY/bench-model`."""
    request = GenerateRequest(
        model=f"{way}/bench-model",
        messages=[
            Message(role=role, parts=[Part(text=TextPart(text=text))])
            for role, text in ((Role.ROLE_SYSTEM, _SYSTEM), (Role.ROLE_USER, _USER))
        ],
        config=GenerationConfig(max_tokens=_MAX_TOKENS, temperature=_TEMPERATURE),
    )
    service = "/marsys.v1.InferenceService/"
    if not stream:
        return Call("grpc", f"{service}Generate", request.SerializeToString(), *_WHOLE)
    body = StreamGenerateRequest(request=request).SerializeToString()
    # Every chunk comes as a delta, and once more in the part that is finished.
    return Call("grpc", f"{service}StreamGenerate", body, _CHUNK, 2 * CHUNKS)


def http_call(path: str, model: str, stream: bool, *headers: str) -> Call:
    """A call of OpenAI's Chat Completions."""
    body = json.dumps(openai_body(model, stream), separators=(",", ":")).encode()
    call = Call("http", path, body, *_WHOLE, headers=("Content-Type: application/json", *headers))
    return replace(call, needle=_CHUNK, count=CHUNKS) if stream else call


def openai_body(model: str, stream: bool) -> dict[str, Any]:
    """The body of a Chat Completions request."""
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": _USER},
        ],
        "max_tokens": _MAX_TOKENS,
        "temperature": _TEMPERATURE,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body
