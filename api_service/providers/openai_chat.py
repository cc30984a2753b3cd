"""OpenAI Chat Completions: the codec. What differs between providers stands in their rows."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from api_service.providers.codec import HttpRequest, Upstream
from api_service.providers.error_body import parse_error
from api_service.providers.error_table import status_error
from api_service.providers.json_text import JsonObject
from api_service.providers.model_list import read_model_list
from api_service.providers.openai_chat_config import put_config
from api_service.providers.openai_chat_decode import ChatDecoder
from api_service.providers.openai_chat_messages import MessageEncoder
from api_service.providers.openai_formats import JSON_HINT, named_schema, speak_of_json
from api_service.providers.openai_functions import CHOICE_MODES, function_of
from api_service.providers.route import API_OPTION
from api_service.providers.unsupported import Refusals
from marsys.v1 import (
    GenerateRequest,
    Model,
    ModelError,
    ToolChoice,
)
from serving.errors import invalid
from serving.event_writer import EventWriter

_JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}
_STREAM_HEADERS: Mapping[str, str] = {**_JSON_HEADERS, "Accept": "text/event-stream"}


class ChatCodec:
    """Codec of the wire protocol "openai_chat"."""

    def encode(
        self, request: GenerateRequest, upstream: Upstream, stream: bool, writer: EventWriter
    ) -> HttpRequest:
        """See Codec.encode."""
        refusals = Refusals(request, upstream, writer)
        messages = MessageEncoder(upstream, refusals).encode(request.messages)
        body: JsonObject = {"model": upstream.model, "messages": messages}
        if stream:
            body["stream"] = True
            if upstream.row.stream_usage and "stream_options" not in upstream.refused:
                body["stream_options"] = {"include_usage": True}
        put_config(body, request, upstream, upstream.family, refusals)
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": function_of(tool, f"tools[{index}]", upstream, refusals),
                }
                for index, tool in enumerate(request.tools)
            ]
            _put_tool_choice(body, request.tool_choice)
        if request.HasField("output_format"):
            _put_format(body, request, upstream, refusals)
        for name, text in request.provider_options_json.items():
            if name == "stream":
                raise invalid('provider_options_json["stream"]', "is for the service to say")
            if name != API_OPTION:
                body[name] = orjson.Fragment(text)
        headers = _STREAM_HEADERS if stream else _JSON_HEADERS
        return HttpRequest("/chat/completions", headers, orjson.dumps(body))

    def decoder(self, upstream: Upstream, writer: EventWriter) -> ChatDecoder:
        """See Codec.decoder."""
        return ChatDecoder(upstream, writer)

    def decode_error(
        self, upstream: Upstream, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> ModelError:
        """See Codec.decode_error."""
        return status_error(upstream, status, headers, parse_error(body), now)

    def decode_models(self, upstream: Upstream, body: bytes) -> list[Model]:
        """See Codec.decode_models."""
        return read_model_list(upstream, body)


def _put_tool_choice(body: JsonObject, choice: ToolChoice) -> None:
    if choice.tool_name:
        body["tool_choice"] = {"type": "function", "function": {"name": choice.tool_name}}
    elif choice.mode in CHOICE_MODES:
        body["tool_choice"] = CHOICE_MODES[choice.mode]
    if choice.HasField("allow_parallel_calls"):
        body["parallel_tool_calls"] = choice.allow_parallel_calls


def _put_format(
    body: JsonObject, request: GenerateRequest, upstream: Upstream, refusals: Refusals
) -> None:
    form = request.output_format
    kind = form.WhichOneof("format")
    if kind == "json_object":
        body["response_format"] = {"type": "json_object"}
        # OpenAI refuses JSON mode where no message speaks of JSON.
        if upstream.row.json_word and not speak_of_json(request.messages):
            body["messages"].append(JSON_HINT)
    elif kind == "json_schema":
        schema = named_schema(form.json_schema, refusals)
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind in ("regex", "grammar", "choice"):
        refusals.refuse(f"output_format.{kind}", f"{upstream.row.name} does not take it")
