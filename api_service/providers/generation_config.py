"""Generation parameters that are a field of the body: what every wire protocol does alike."""

from __future__ import annotations

from typing import Any

from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, ReasoningEffort

DEFAULT_TEMPERATURE = 0.7
DEFAULT_EFFORT = "low"
DEFAULT_BUDGET = 1024

# Values that change nothing: where a model doesn't take the field, nothing is lost without it.
_NEUTRAL = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1.0,
}

_EFFORTS = {
    ReasoningEffort.REASONING_EFFORT_NONE: "none",
    ReasoningEffort.REASONING_EFFORT_MINIMAL: "minimal",
    ReasoningEffort.REASONING_EFFORT_LOW: "low",
    ReasoningEffort.REASONING_EFFORT_MEDIUM: "medium",
    ReasoningEffort.REASONING_EFFORT_HIGH: "high",
    ReasoningEffort.REASONING_EFFORT_XHIGH: "xhigh",
    ReasoningEffort.REASONING_EFFORT_MAX: "max",
}


def put_fields(
    body: JsonObject,
    request: GenerateRequest,
    upstream: Upstream,
    family: Family,
    refusals: Refusals,
) -> None:
    """Put what the caller set into the body, reasoning apart, under the row's names.

    Args:
        body: where the fields go; for Google that is `generationConfig`.
        request: what the caller wants.
        upstream: whom it goes to.
        family: what the model takes.
        refusals: what to do with what it doesn't take.

    Raises:
        ServiceError: a set parameter can't be honoured.
    """
    fields = upstream.row.fields
    for descriptor, value in request.config.ListFields():
        name = descriptor.name
        if name == "reasoning":
            continue
        why = _why_not(name, value, upstream, family)
        if not why:
            wire = fields[name]
            if name in upstream.refused:
                wire = upstream.row.other_names[name]
            body[wire] = list(value) if name == "stop_sequences" else value
        elif not is_neutral(name, value):
            refusals.refuse(f"config.{name}", why)


def is_neutral(name: str, value: object) -> bool:
    """Whether the value of a field changes nothing, so that leaving it out loses nothing."""
    return name in _NEUTRAL and value == _NEUTRAL[name]


def default_limit(upstream: Upstream, family: Family) -> int | None:
    """`max_tokens` where the caller sets none; None leaves it to the provider."""
    limit = upstream.row.default_max_tokens
    return limit and min(limit, family.max_tokens or limit)


def effort_of(request: GenerateRequest) -> str:
    """The effort that the caller set, such as "low"; empty: none."""
    return _EFFORTS.get(request.config.reasoning.effort, "")


def says(request: GenerateRequest, *names: str) -> bool:
    """Whether the caller puts one of some fields into the body itself (provider_options_json)."""
    return any(name in request.provider_options_json for name in names)


def _why_not(name: str, value: Any, upstream: Upstream, family: Family) -> str:
    """Why a field isn't taken; empty where it is."""
    row = upstream.row
    if name not in row.fields:
        return f"{row.name} does not take it"
    if name in family.refuses:
        return f"{upstream.model} does not take it"
    if name == "stop_sequences" and len(value) > row.max_stops:
        return f"{row.name} takes at most {row.max_stops}"
    return ""
