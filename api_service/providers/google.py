"""Google generateContent: the codec."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from api_service.providers.codec import HttpRequest, Upstream
from api_service.providers.google_config import generation_config
from api_service.providers.google_decode import GoogleDecoder
from api_service.providers.google_errors import google_status_error
from api_service.providers.google_messages import ContentEncoder
from api_service.providers.google_models import read_google_models
from api_service.providers.google_tools import put_tools
from api_service.providers.json_text import JsonObject, count_of, object_of, read_json
from api_service.providers.unsupported import Refusals
from marsys.v1 import ErrorReason, GenerateRequest, Model, ModelError
from serving.errors import service_error
from serving.event_writer import EventWriter

_JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}
_STREAM_HEADERS: Mapping[str, str] = {**_JSON_HEADERS, "Accept": "text/event-stream"}
# Fields of the body that provider options add to instead of replacing them.
_MERGED = ("generationConfig", "toolConfig")
_SNAKE = re.compile(r"_([a-z])")


class GoogleCodec:
    """Codec of the wire protocol "google_generate_content".

    Provider options go to the top of the body as given, with three exceptions: the keys of
    `generationConfig` and `toolConfig` go one by one into the service's own objects, and the
    elements of `tools` (such as {"googleSearch": {}}) stand before the request's functions.
    """

    def encode(
        self, request: GenerateRequest, upstream: Upstream, stream: bool, writer: EventWriter
    ) -> HttpRequest:
        """See Codec.encode."""
        body = _body(request, upstream, writer)
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        headers = _STREAM_HEADERS if stream else _JSON_HEADERS
        return HttpRequest(f"/{_resource(upstream.model)}:{method}", headers, orjson.dumps(body))

    def decoder(self, upstream: Upstream, writer: EventWriter) -> GoogleDecoder:
        """See Codec.decoder."""
        return GoogleDecoder(upstream, writer)

    def decode_error(
        self, upstream: Upstream, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> ModelError:
        """See Codec.decode_error."""
        return google_status_error(upstream, status, headers, body, now)

    def decode_models(self, upstream: Upstream, body: bytes) -> list[Model]:
        """See Codec.decode_models."""
        return read_google_models(upstream, body)

    def encode_count(
        self, request: GenerateRequest, upstream: Upstream, writer: EventWriter
    ) -> HttpRequest:
        """See TokenCounter.encode_count."""
        inner = {"model": _resource(upstream.model), **_body(request, upstream, writer)}
        body = orjson.dumps({"generateContentRequest": inner})
        return HttpRequest(f"/{_resource(upstream.model)}:countTokens", _JSON_HEADERS, body)

    def decode_count(self, upstream: Upstream, body: bytes) -> int:
        """See TokenCounter.decode_count."""
        try:
            count = count_of(object_of(read_json(body)).get("totalTokens"))
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


def _body(request: GenerateRequest, upstream: Upstream, writer: EventWriter) -> JsonObject:
    refusals, family = Refusals(request, upstream, writer), upstream.family
    body: JsonObject = {}
    ContentEncoder(upstream, family, refusals).put(body, request.messages)
    put_tools(body, request, refusals)
    body["generationConfig"] = generation_config(request, upstream, family, refusals)
    for name, text in request.provider_options_json.items():
        _put_option(body, name, text)
    return body


def _put_option(body: JsonObject, name: str, text: str) -> None:
    """Put a field of the caller's own into the body; Google takes both spellings of a name."""
    ours = _camel(name)
    value = json.loads(text)
    if ours in _MERGED and isinstance(value, dict):
        merged = body.setdefault(ours, {})
        for key, item in value.items():
            merged.pop(_camel(key), None)
            merged[key] = _fragment(item)
    elif ours == "tools" and isinstance(value, list):
        body[ours] = [*(_fragment(item) for item in value), *body.get(ours, ())]
    else:
        body.pop(ours, None)
        body[name] = orjson.Fragment(text)


def _fragment(value: Any) -> orjson.Fragment:
    return orjson.Fragment(json.dumps(value))


def _camel(name: str) -> str:
    return _SNAKE.sub(lambda match: match[1].upper(), name)


def _resource(model: str) -> str:
    """The model's resource name, such as models/gemini-2.5-flash, escaped for an address."""
    collection, slash, name = model.partition("/")
    if slash and collection == "tunedModels":
        return f"tunedModels/{quote(name, safe='')}"
    return f"models/{quote(model, safe='')}"
