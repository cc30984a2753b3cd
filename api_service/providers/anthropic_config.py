"""Anthropic Messages: generation parameters and output form -> fields of the body."""

from __future__ import annotations

import json

import orjson

from api_service.providers.anthropic_schema import NotEnforceable, enforced_schema
from api_service.providers.anthropic_thinking import Thinking, says_thinking, thinking_of
from api_service.providers.anthropic_tools import is_forced
from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.generation_config import (
    DEFAULT_TEMPERATURE,
    default_limit,
    is_neutral,
    put_fields,
    says,
)
from api_service.providers.json_text import JsonObject
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, JsonSchemaFormat

_JSON_HINT = "Answer with a JSON object and nothing else: no explanation, no Markdown."
_SCHEMA_HINT = f"{_JSON_HINT} It must fit this JSON Schema:\n"
_FALLBACK_LIMIT = 8192
_LEAST_TOP_P = 0.95  # while the model thinks


def put_config(
    body: JsonObject,
    request: GenerateRequest,
    upstream: Upstream,
    family: Family,
    refusals: Refusals,
) -> None:
    """Put what the caller set into the body, and the service's defaults where the model takes them.

    Raises:
        ServiceError: a set parameter can't be honoured.
    """
    forced = is_forced(request.tool_choice)
    thinking = thinking_of(request, upstream, family, forced, refusals)
    put_fields(body, request, upstream, family, refusals)
    if thinking.on and forced:
        refusals.refuse("tool_choice", f"{upstream.model} can't be made to call a tool and think")
        del body["tool_choice"]
    _put_limit(body, request, upstream, family, thinking)
    _check_sampling(body, family, thinking, refusals)
    free = not (thinking.on or says_thinking(request)) and "temperature" not in family.refuses
    given = says(request, "temperature", "top_p") or "top_p" in body
    if free and not given and not request.config.HasField("temperature"):
        body["temperature"] = DEFAULT_TEMPERATURE
    if thinking.thinking:
        body["thinking"] = thinking.thinking
    output: JsonObject = {"effort": thinking.effort} if thinking.effort else {}
    if request.HasField("output_format"):
        _put_format(body, output, request, upstream, family, refusals)
    if output:
        body["output_config"] = output


def _put_limit(
    body: JsonObject,
    request: GenerateRequest,
    upstream: Upstream,
    family: Family,
    thinking: Thinking,
) -> None:
    """`max_tokens`, which is demanded. Thoughts count: a large budget gets its room."""
    if "max_tokens" not in body and not says(request, "max_tokens"):
        limit = default_limit(upstream, family) or _FALLBACK_LIMIT
        body["max_tokens"] = limit + (thinking.budget if thinking.budget >= limit else 0)


def _check_sampling(
    body: JsonObject, family: Family, thinking: Thinking, refusals: Refusals
) -> None:
    if body.get("temperature", 0) > 1:
        body["temperature"] = 1
        refusals.adjust("config.temperature", "1 is sent, which is the most")
    if is_neutral("top_p", body.get("top_p")):
        del body["top_p"]
    if body.get("top_k") == 0:
        del body["top_k"]  # off, as it is without
    if family.one_sampler and "temperature" in body and "top_p" in body:
        refusals.refuse("config.top_p", "it is not taken beside temperature")
        del body["top_p"]
    if thinking.on:
        for name, taken in (("temperature", 1), ("top_p", _LEAST_TOP_P), ("top_k", None)):
            if name in body and (taken is None or body[name] < taken):
                refusals.refuse(f"config.{name}", "it is not taken while the model thinks")
                del body[name]


def _put_format(
    body: JsonObject,
    output: JsonObject,
    request: GenerateRequest,
    upstream: Upstream,
    family: Family,
    refusals: Refusals,
) -> None:
    form = request.output_format
    kind = form.WhichOneof("format")
    if kind == "json_object":
        _hint(body, _JSON_HINT)
    elif kind == "json_schema":
        _put_schema(body, output, form.json_schema, upstream, family, refusals)
    elif kind in ("regex", "grammar", "choice"):
        refusals.refuse(f"output_format.{kind}", f"{upstream.row.name} does not take it")


def _hint(body: JsonObject, hint: str) -> None:
    """Tell the model: Anthropic has no JSON mode."""
    system = body.get("system")
    if isinstance(system, list):
        body["system"] = [*system, {"type": "text", "text": hint}]
    else:
        body["system"] = f"{system}\n\n{hint}" if system else hint


def _put_schema(
    body: JsonObject,
    output: JsonObject,
    form: JsonSchemaFormat,
    upstream: Upstream,
    family: Family,
    refusals: Refusals,
) -> None:
    field = "output_format.json_schema"
    try:
        if not family.schemas:
            raise NotEnforceable(f"{upstream.model} does not take a schema")
        schema, moved = enforced_schema(json.loads(form.schema_json))
    except NotEnforceable as error:
        if form.strict or not form.HasField("strict"):
            refusals.refuse(field, f"the schema can't be enforced: {error}")
        else:
            refusals.adjust(field, f"the model is told the schema, not held to it: {error}")
            _hint(body, _SCHEMA_HINT + form.schema_json)
        return
    if moved:
        refusals.adjust(
            f"{field}.schema_json", f"{', '.join(moved)} can't be enforced and became description"
        )
    for key, text in (("title", form.name), ("description", form.description)):
        if text:
            schema.setdefault(key, text)
    output["format"] = {"type": "json_schema", "schema": orjson.Fragment(json.dumps(schema))}
