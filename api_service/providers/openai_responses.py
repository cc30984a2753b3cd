"""OpenAI Responses: the codec."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from api_service.providers.codec import HttpRequest, Upstream
from api_service.providers.error_body import parse_error
from api_service.providers.error_table import status_error
from api_service.providers.json_text import JsonObject, count_of, object_of, read_json
from api_service.providers.model_list import read_model_list
from api_service.providers.openai_responses_config import put_config
from api_service.providers.openai_responses_decode import ResponsesDecoder
from api_service.providers.openai_responses_instructions import instructions_of
from api_service.providers.openai_responses_messages import InputEncoder
from api_service.providers.openai_responses_tools import put_format, put_tools
from api_service.providers.route import API_OPTION
from api_service.providers.unsupported import Refusals
from marsys.v1 import ErrorReason, GenerateRequest, Model, ModelError
from serving.errors import invalid, service_error
from serving.event_writer import EventWriter

_JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}
_STREAM_HEADERS: Mapping[str, str] = {**_JSON_HEADERS, "Accept": "text/event-stream"}
# Fields of the body that provider options add to: objects by their keys, lists by their elements.
_MERGED_OBJECTS = ("reasoning", "text")
_MERGED_LISTS = ("include", "tools")
# What the count of a prompt takes of a request's body.
_COUNTED = (
    "model", "input", "instructions", "previous_response_id", "conversation", "tools",
    "tool_choice", "parallel_tool_calls", "text", "reasoning", "truncation",
)  # fmt: skip


class ResponsesCodec:
    """Codec of the wire protocol "openai_responses".

    Nothing is stored at the provider: the whole conversation goes along each time, the model's
    reasoning encrypted in it. Provider options go to the top of the body as given, with two
    exceptions: the elements of `tools` (such as {"type": "web_search"}) and of `include` stand
    before the service's own; the keys of `reasoning` and `text` go one by one into the service's.
    """

    def encode(
        self, request: GenerateRequest, upstream: Upstream, stream: bool, writer: EventWriter
    ) -> HttpRequest:
        """See Codec.encode."""
        body = _body(request, upstream, writer)
        if stream:
            body["stream"] = True
        headers = _STREAM_HEADERS if stream else _JSON_HEADERS
        return HttpRequest("/responses", headers, orjson.dumps(body))

    def decoder(self, upstream: Upstream, writer: EventWriter) -> ResponsesDecoder:
        """See Codec.decoder."""
        return ResponsesDecoder(upstream, writer)

    def decode_error(
        self, upstream: Upstream, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> ModelError:
        """See Codec.decode_error."""
        return status_error(upstream, status, headers, parse_error(body), now)

    def decode_models(self, upstream: Upstream, body: bytes) -> list[Model]:
        """See Codec.decode_models."""
        return read_model_list(upstream, body)

    def encode_count(
        self, request: GenerateRequest, upstream: Upstream, writer: EventWriter
    ) -> HttpRequest:
        """See TokenCounter.encode_count."""
        body = _body(request, upstream, writer)
        counted = {key: body[key] for key in _COUNTED if key in body}
        return HttpRequest("/responses/input_tokens", _JSON_HEADERS, orjson.dumps(counted))

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


def _body(request: GenerateRequest, upstream: Upstream, writer: EventWriter) -> JsonObject:
    """The body without `stream`."""
    refusals, family = Refusals(request, upstream, writer), upstream.family
    stores = request.provider_options_json.get("store", "false").strip() != "false"
    body: JsonObject = {"model": upstream.model}
    first = 0
    if upstream.row.instructions and "instructions" not in request.provider_options_json:
        body["instructions"], first = instructions_of(request.messages, upstream.row)
    encoder = InputEncoder(upstream, family, refusals, stores)
    body |= {"input": encoder.encode(request.messages, first), "store": False}
    put_config(body, request, upstream, family, refusals)
    put_tools(body, request, upstream, refusals)
    put_format(body, request, upstream, refusals)
    for name, text in request.provider_options_json.items():
        if name == "stream":
            raise invalid('provider_options_json["stream"]', "is for the service to say")
        if name != API_OPTION:  # that one has chosen this codec
            body[name] = _option(body.get(name), name, text)
    return body


def _option(own: object, name: str, text: str) -> object:
    """The value of a field that provider options give; `own` is what the service says there."""
    if name in _MERGED_OBJECTS and isinstance(own, dict):
        given = orjson.loads(text)
        if isinstance(given, dict):
            return own | given
    if name in _MERGED_LISTS and isinstance(own, list):
        given = orjson.loads(text)
        if isinstance(given, list):
            return given + [item for item in own if item not in given]
    return orjson.Fragment(text)
