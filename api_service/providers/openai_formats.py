"""OpenAI: the forms of an answer, alike in Chat Completions and Responses."""

from __future__ import annotations

import json
from collections.abc import Sequence

import orjson

from api_service.providers.json_text import JsonObject
from api_service.providers.strict_schema import NotStrict, strict_schema
from api_service.providers.unsupported import Refusals
from marsys.v1 import JsonSchemaFormat, Message, Role

JSON_HINT: JsonObject = {"role": "system", "content": "Answer with a JSON object."}
"""What is added for JSON mode, which OpenAI refuses where no message speaks of JSON."""


def named_schema(form: JsonSchemaFormat, refusals: Refusals) -> JsonObject:
    """{"name", "strict", "schema", "description"}: a schema in OpenAI's strict form.

    Args:
        form: the schema.
        refusals: what to do where it can't be strict.

    Raises:
        ServiceError: the caller wants it strict, and it can't be.
    """
    wire: JsonObject = {"name": form.name or "response_schema"}
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


def speak_of_json(messages: Sequence[Message]) -> bool:
    """Whether any message that is no tool's holds the word JSON."""
    return any(
        "json" in part.text.text.lower()
        for message in messages
        if message.role != Role.ROLE_TOOL
        for part in message.parts
    )
