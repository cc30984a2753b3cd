"""Anthropic Messages: the codec."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from api_service.providers.anthropic_config import put_config
from api_service.providers.anthropic_decode import AnthropicDecoder
from api_service.providers.anthropic_messages import TurnEncoder
from api_service.providers.anthropic_models import read_anthropic_models
from api_service.providers.anthropic_tools import put_tools
from api_service.providers.codec import HttpRequest, Upstream
from api_service.providers.error_body import parse_error
from api_service.providers.error_table import status_error
from api_service.providers.json_text import JsonObject, count_of, object_of, read_json
from api_service.providers.unsupported import Refusals
from marsys.v1 import ErrorReason, GenerateRequest, Model, ModelError
from serving.errors import invalid, service_error
from serving.event_writer import EventWriter

_JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}
_STREAM_HEADERS: Mapping[str, str] = {**_JSON_HEADERS, "Accept": "text/event-stream"}
_BETAS = "betas"
# What count_tokens takes of a request's body.
_COUNTED = (
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config",
    "cache_control", "context_management", "mcp_servers",
)  # fmt: skip


class AnthropicCodec:
    """Codec of the wire protocol "anthropic_messages".

    Provider options go to the top of the body as given, with three exceptions: `betas`, an array of
    strings, becomes the header anthropic-beta; the elements of `tools` (such as
    {"type": "web_search_20250305", ...}) stand before the request's functions; the keys of
    `output_config` go one by one into the service's own.
    """

    def encode(
        self, request: GenerateRequest, upstream: Upstream, stream: bool, writer: EventWriter
    ) -> HttpRequest:
        """See Codec.encode."""
        body, betas = _body(request, upstream, writer)
        if stream:
            body["stream"] = True
        headers = _with_betas(_STREAM_HEADERS if stream else _JSON_HEADERS, betas)
        return HttpRequest("/messages", headers, orjson.dumps(body))

    def decoder(self, upstream: Upstream, writer: EventWriter) -> AnthropicDecoder:
        """See Codec.decoder."""
        return AnthropicDecoder(upstream, writer)

    def decode_error(
        self, upstream: Upstream, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> ModelError:
        """See Codec.decode_error."""
        return status_error(upstream, status, headers, parse_error(body), now)

    def decode_models(self, upstream: Upstream, body: bytes) -> list[Model]:
        """See Codec.decode_models."""
        return read_anthropic_models(upstream, body)

    def encode_count(
        self, request: GenerateRequest, upstream: Upstream, writer: EventWriter
    ) -> HttpRequest:
        """See TokenCounter.encode_count."""
        body, betas = _body(request, upstream, writer)
        counted = {key: body[key] for key in _COUNTED if key in body}
        headers = _with_betas(_JSON_HEADERS, betas)
        return HttpRequest("/messages/count_tokens", headers, orjson.dumps(counted))

    def decode_count(self, upstream: Upstream, body: bytes) -> int:
        """See TokenCounter.decode_count."""
        try:
            count = count_of(object_of(read_json(body)).get("input_tokens"))
        except ValueError:
            count = None
        if count is None:
            raise service_error(
                ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
                f"{upstream.row.name} gave no readable count of tokens",
                provider=upstream.row.name,
                model=upstream.model,
            )
        return count


def _body(
    request: GenerateRequest, upstream: Upstream, writer: EventWriter
) -> tuple[JsonObject, list[str]]:
    """The body without `stream`, and the betas that it needs."""
    refusals, family = Refusals(request, upstream, writer), upstream.family
    body: JsonObject = {"model": upstream.model}
    turns = TurnEncoder(upstream, family, refusals)
    turns.put(body, request.messages)
    put_tools(body, request, turns, refusals)
    put_config(body, request, upstream, family, refusals)
    betas = [*upstream.row.betas, *turns.betas]
    for name, text in request.provider_options_json.items():
        if name == _BETAS:
            betas += _names(text)
        else:
            _put_option(body, name, text)
    return body, betas


def _put_option(body: JsonObject, name: str, text: str) -> None:
    if name == "stream":
        raise invalid('provider_options_json["stream"]', "is for the service to say")
    own = body.get(name)
    if name in ("tools", "output_config") and own is not None:
        given = json.loads(text)
        if isinstance(given, list) and isinstance(own, list):
            body[name] = [*map(_as_given, given), *own]
            return
        if isinstance(given, dict) and isinstance(own, dict):
            own |= {key: _as_given(value) for key, value in given.items()}
            return
    body[name] = orjson.Fragment(text)


def _as_given(value: Any) -> orjson.Fragment:
    # Not orjson: it knows no integers of more than 64 bits.
    return orjson.Fragment(json.dumps(value))


def _names(text: str) -> list[str]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid('provider_options_json["betas"]', "must be an array of strings")
    for name in names:
        if not name.isascii() or not name.replace("-", "").isalnum():
            raise invalid('provider_options_json["betas"]', "names are letters, digits and '-'")
    return names


def _with_betas(headers: Mapping[str, str], betas: Iterable[str]) -> Mapping[str, str]:
    names = ",".join(dict.fromkeys(betas))
    return {**headers, "anthropic-beta": names} if names else headers
