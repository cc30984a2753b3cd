"""OpenAI Responses: the form of the answer -> `text.format`."""

from __future__ import annotations

import json
from collections.abc import Iterable

import orjson

from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject
from api_service.providers.strict_schema import NotStrict, strict_schema
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, JsonSchemaFormat, Message, Role

_JSON_HINT = {"role": "system", "content": "Answer with a JSON object."}


def put_format(
    body: JsonObject, request: GenerateRequest, upstream: Upstream, refusals: Refusals
) -> None:
    """Put the form that the caller wants into the body.

    Raises:
        ServiceError: the provider does not take it.
    """
    if not request.HasField("output_format"):
        return
    form = request.output_format
    kind = form.WhichOneof("format")
    if kind == "json_object":
        body["text"] = {"format": {"type": "json_object"}}
        # OpenAI refuses JSON mode where no input speaks of JSON.
        if upstream.row.json_word and not _speaks_of_json(request.messages):
            body["input"].append(_JSON_HINT)
    elif kind == "json_schema":
        body["text"] = {"format": _schema_format(form.json_schema, refusals)}
    elif kind in ("regex", "grammar", "choice"):
        refusals.refuse(f"output_format.{kind}", f"{upstream.row.name} does not take it")


def _schema_format(form: JsonSchemaFormat, refusals: Refusals) -> JsonObject:
    wire: JsonObject = {"type": "json_schema", "name": form.name or "response_schema"}
    if form.description:
        wire["description"] = form.description
    wire["strict"] = form.strict if form.HasField("strict") else True
    wire["schema"] = orjson.Fragment(form.schema_json)
    if wire["strict"]:
        try:
            wire["schema"] = strict_schema(json.loads(form.schema_json))
        except NotStrict as error:
            field = "output_format.json_schema.strict"
            if form.HasField("strict"):
                refusals.refuse(field, f"the schema can't be strict: {error}")
            else:
                refusals.adjust(field, f"false is sent, since the schema can't be strict: {error}")
            wire["strict"] = False
    return wire


def _speaks_of_json(messages: Iterable[Message]) -> bool:
    return any(
        "json" in part.text.text.lower()
        for message in messages
        if message.role != Role.ROLE_TOOL
        for part in message.parts
    )
