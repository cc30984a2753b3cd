"""OpenAI Chat Completions: generation parameters of the contract -> fields of the body."""

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
    reasoning = reasoning_of(request, upstream, family, refusals)
    family = family.at_effort(reasoning.get("effort", ""), upstream.refused)
    put_fields(body, request, upstream, family, refusals)
    _put_defaults(body, request, upstream, family, reasoning)
    if reasoning:
        if upstream.row.reasoning == "object":
            body["reasoning"] = reasoning
        else:
            body["reasoning_effort"] = reasoning["effort"]


def _put_defaults(
    body: JsonObject,
    request: GenerateRequest,
    upstream: Upstream,
    family: Family,
    reasoning: JsonObject,
) -> None:
    row, config = upstream.row, request.config
    limited = config.HasField("max_tokens") or says(request, "max_tokens", "max_completion_tokens")
    if not limited and (limit := default_limit(upstream, family)) is not None:
        body[row.fields["max_tokens"]] = limit
    # A model that thinks by a budget takes no temperature meanwhile (Claude).
    free = "temperature" not in family.refuses and "max_tokens" not in reasoning
    if free and not config.HasField("temperature"):
        body[row.fields["temperature"]] = DEFAULT_TEMPERATURE
