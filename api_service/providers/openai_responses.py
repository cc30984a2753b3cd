"""OpenAI Responses: the codec."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from api_service.providers.codec import HttpRequest, Upstream
from api_service.providers.error_body import parse_error
from api_service.providers.error_table import status_error
from api_service.providers.json_text import JsonObject
from api_service.providers.model_list import read_model_list
from api_service.providers.openai_responses_config import put_config
from api_service.providers.openai_responses_decode import ResponsesDecoder
from api_service.providers.openai_responses_format import put_format
from api_service.providers.openai_responses_messages import InputEncoder
from api_service.providers.openai_responses_tools import put_tools
from api_service.providers.route import API_OPTION
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, Model, ModelError
from serving.errors import invalid
from serving.event_writer import EventWriter

_JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}
_STREAM_HEADERS: Mapping[str, str] = {**_JSON_HEADERS, "Accept": "text/event-stream"}
# Objects of the body whose keys provider options add to.
_MERGED = ("reasoning", "text")


class ResponsesCodec:
    """Codec of the wire protocol "openai_responses".

    Nothing is stored at the provider: the whole conversation goes along each time, the model's
    reasoning encrypted in it. Provider options go to the top of the body as given, with two
    exceptions: the elements of `tools` (such as {"type": "web_search"}) stand before the request's
    functions; the keys of `reasoning` and `text` go one by one into the service's own.
    """

    def encode(
        self, request: GenerateRequest, upstream: Upstream, stream: bool, writer: EventWriter
    ) -> HttpRequest:
        """See Codec.encode."""
        refusals, family = Refusals(request, upstream, writer), upstream.family
        stores = request.provider_options_json.get("store", "false").strip() != "false"
        items = InputEncoder(upstream, family, refusals, stores).encode(request.messages)
        body: JsonObject = {"model": upstream.model, "input": items, "store": False}
        if stream:
            body["stream"] = True
        put_config(body, request, upstream, family, refusals)
        put_tools(body, request, upstream, refusals)
        put_format(body, request, upstream, refusals)
        for name, text in request.provider_options_json.items():
            _put_option(body, name, text)
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


def _put_option(body: JsonObject, name: str, text: str) -> None:
    if name == API_OPTION:  # has chosen this codec
        return
    if name == "stream":
        raise invalid('provider_options_json["stream"]', "is for the service to say")
    own = body.get(name)
    if name == "tools" and isinstance(own, list):
        given = orjson.loads(text)
        if isinstance(given, list):
            body[name] = [*given, *own]
            return
    if name in _MERGED and isinstance(own, dict):
        given = orjson.loads(text)
        if isinstance(given, dict):
            own |= given
            return
    body[name] = orjson.Fragment(text)
