"""OpenAI Responses: generation parameters of the contract -> fields of the body."""

from __future__ import annotations

from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.generation_config import (
    DEFAULT_TEMPERATURE,
    default_limit,
    put_fields,
    says,
)
from api_service.providers.json_text import JsonObject
from api_service.providers.openai_effort import reasoning_of
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest

SUMMARY = "reasoning.summary"
"""How Upstream.refused names summaries of reasoning, which the service itself asks for."""


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
    reasoning = _reasoning(request, upstream, family, refusals)
    family = family.at_effort(reasoning.get("effort", ""), upstream.refused)
    put_fields(body, request, upstream, family, refusals)
    _put_defaults(body, request, upstream, family)
    _raise_limit(body, upstream, refusals)
    if reasoning:
        body["reasoning"] = reasoning
    # Without a store at the provider the reasoning must come along to be given back.
    if family.reasons:
        body["include"] = ["reasoning.encrypted_content"]


def _put_defaults(
    body: JsonObject, request: GenerateRequest, upstream: Upstream, family: Family
) -> None:
    chosen = {descriptor.name for descriptor, _ in request.config.ListFields()} | family.refuses
    for name, value in (
        ("max_tokens", default_limit(upstream, family)),
        ("temperature", DEFAULT_TEMPERATURE),
    ):
        wire = upstream.row.fields.get(name)
        if wire and value is not None and name not in chosen and not says(request, wire):
            body[wire] = value


def _raise_limit(body: JsonObject, upstream: Upstream, refusals: Refusals) -> None:
    least, wire = upstream.row.least_max_tokens, upstream.row.fields.get("max_tokens", "")
    if wire in body and body[wire] < least:
        body[wire] = least
        refusals.adjust("config.max_tokens", f"{least} is sent, which is the least")


def _reasoning(
    request: GenerateRequest, upstream: Upstream, family: Family, refusals: Refusals
) -> JsonObject:
    """The reasoning object: an effort, and that a summary is wanted; may be empty."""
    reasoning = reasoning_of(request, upstream, family, refusals)
    silent = reasoning.get("effort") == "none" or SUMMARY in upstream.refused
    if family.efforts and not silent and not says(request, "reasoning"):
        reasoning["summary"] = "auto"
    return reasoning
