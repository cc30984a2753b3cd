"""Estimates how many tokens a prompt takes, where the provider doesn't count."""

from __future__ import annotations

from collections.abc import Iterable

from marsys.v1 import GenerateRequest, Part

_BYTES_PER_TOKEN = 4
_PER_MESSAGE = 4  # role and separators
_PER_REPLY = 3  # the beginning of the answer
_PER_MEDIA = 765  # an image of 1024 x 1024 at high detail


def estimate_tokens(request: GenerateRequest) -> int:
    """About a token for four bytes of UTF-8 text, four for each message, 765 for each medium."""
    size = 0
    media = 0
    for message in request.messages:
        text, count = _measure(message.parts)
        size += text + len(message.name.encode())
        media += count
    for tool in request.tools:
        texts = (tool.name, tool.description, tool.parameters_json)
        size += sum(len(text.encode()) for text in texts)
    overhead = _PER_MESSAGE * (len(request.messages) + len(request.tools)) + _PER_REPLY
    return -(-size // _BYTES_PER_TOKEN) + media * _PER_MEDIA + overhead


def _measure(parts: Iterable[Part]) -> tuple[int, int]:
    """Bytes of text, and number of media."""
    size = media = 0
    for part in parts:
        kind = part.WhichOneof("content")
        if kind == "media":
            media += 1
        elif kind == "tool_call":
            call = part.tool_call
            size += len(call.name.encode()) + len(call.arguments_json.encode())
        elif kind == "tool_result":
            text, count = _measure(part.tool_result.content)
            size += text
            media += count
        elif kind == "provider":
            size += len(part.provider.payload_json.encode())
        elif kind is not None:
            size += len(getattr(part, kind).text.encode())
    return size, media
