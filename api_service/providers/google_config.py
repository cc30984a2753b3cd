"""Google generateContent: generation parameters and output form -> `generationConfig`."""

from __future__ import annotations

import json

import orjson

from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.generation_config import (
    DEFAULT_TEMPERATURE,
    default_limit,
    put_fields,
)
from api_service.providers.google_schema import NotConvertible, google_schema, unenforced
from api_service.providers.google_thinking import thinking_config
from api_service.providers.json_text import JsonObject, object_of
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, JsonSchemaFormat, MediaDetail

_INT32 = range(-(2**31), 2**31)
_RESOLUTIONS = {
    MediaDetail.MEDIA_DETAIL_LOW: "MEDIA_RESOLUTION_LOW",
    MediaDetail.MEDIA_DETAIL_HIGH: "MEDIA_RESOLUTION_HIGH",
}


def generation_config(
    request: GenerateRequest, upstream: Upstream, family: Family, refusals: Refusals
) -> JsonObject:
    """What the caller set, and the service's defaults where the model takes them.

    Raises:
        ServiceError: a set parameter can't be honoured.
    """
    config: JsonObject = {}
    thinking = thinking_config(request, upstream, family, refusals)
    put_fields(config, request, upstream, family, refusals)
    _check_fields(config, refusals)
    if thinking:
        config["thinkingConfig"] = thinking
    _put_defaults(config, request, upstream, family)
    _put_resolution(config, request, refusals)
    if request.HasField("output_format"):
        _put_format(config, request, upstream, family, refusals)
    return config


def _check_fields(config: JsonObject, refusals: Refusals) -> None:
    """Values that the contract allows and Google doesn't."""
    if config.get("topK") == 0:
        del config["topK"]
        refusals.adjust("config.top_k", "the model's own is used, since it can't be turned off")
    if config.get("seed", 0) not in _INT32:
        del config["seed"]
        refusals.refuse("config.seed", "Google takes seeds of 32 bits")


def _put_defaults(
    config: JsonObject, request: GenerateRequest, upstream: Upstream, family: Family
) -> None:
    fields, given = upstream.row.fields, request.config
    limit = default_limit(upstream, family)
    thoughts = object_of(config.get("thinkingConfig")).get("thinkingBudget", 0)
    # Thoughts count as output: a budget that would take all of it is the caller's wish.
    if limit is not None and thoughts < limit and not given.HasField("max_tokens"):
        config[fields["max_tokens"]] = limit
    if not given.HasField("temperature") and "temperature" not in family.refuses:
        config[fields["temperature"]] = DEFAULT_TEMPERATURE


def _put_resolution(config: JsonObject, request: GenerateRequest, refusals: Refusals) -> None:
    """The detail of the images; Google takes one for the whole request."""
    wanted = {
        part.media.detail: f"messages[{index}].parts[{number}].media.detail"
        for index, message in enumerate(request.messages)
        for number, part in enumerate(message.parts)
        if part.media.detail in _RESOLUTIONS
    }
    if wanted:
        detail = max(wanted)
        config["mediaResolution"] = _RESOLUTIONS[detail]
        if len(wanted) > 1:
            refusals.adjust(
                wanted[min(wanted)], "high is sent, since Google takes one detail for all images"
            )


def _put_format(
    config: JsonObject,
    request: GenerateRequest,
    upstream: Upstream,
    family: Family,
    refusals: Refusals,
) -> None:
    form = request.output_format
    kind = form.WhichOneof("format")
    if kind in ("regex", "grammar", "choice"):
        refusals.refuse(f"output_format.{kind}", f"{upstream.row.name} does not take it")
    elif kind in ("json_object", "json_schema"):
        if request.tools and not family.json_with_tools:
            refusals.refuse(
                f"output_format.{kind}", f"{upstream.model} does not take it beside tools"
            )
            return
        config["responseMimeType"] = "application/json"
        if kind == "json_schema":
            _put_schema(config, form.json_schema, refusals)


def _put_schema(config: JsonObject, form: JsonSchemaFormat, refusals: Refusals) -> None:
    """`responseSchema`, Google's own form; what that can't say goes as JSON Schema."""
    field = "output_format.json_schema.schema_json"
    schema = json.loads(form.schema_json)
    named = _named(schema, form)
    if form.strict or not form.HasField("strict"):
        try:
            own = google_schema(named)
        except NotConvertible as error:
            refusals.adjust(field, f"it is sent as JSON Schema, since {error}")
            if lost := unenforced(schema):
                refusals.adjust(field, f"Google may not enforce {', '.join(lost)}")
        else:
            config["responseSchema"] = _fragment(own)
            return
    same = named == schema
    config["responseJsonSchema"] = orjson.Fragment(form.schema_json) if same else _fragment(named)


def _named(schema: JsonObject, form: JsonSchemaFormat) -> JsonObject:
    """The schema with the format's name and description, for which Google has no other place."""
    named = dict(schema)
    if form.name:
        named.setdefault("title", form.name)
    if form.description:
        named.setdefault("description", form.description)
    return named


def _fragment(value: JsonObject) -> orjson.Fragment:
    # Not orjson: a schema may hold integers of more than 64 bits.
    return orjson.Fragment(json.dumps(value))
