"""Reads Google's model list."""

from __future__ import annotations

from api_service.providers.codec import Upstream
from api_service.providers.json_text import (
    JsonObject,
    count_of,
    list_of,
    object_of,
    read_json,
    text_of,
)
from marsys.v1 import ErrorReason, Model, ModelState
from serving.errors import service_error


def read_google_models(upstream: Upstream, body: bytes) -> list[Model]:
    """The models of {"models": [{"name": "models/..."}]} that generate content.

    Raises:
        ServiceError: the body is no such list.
    """
    try:
        value = read_json(body)
    except ValueError:
        value = None
    entries = object_of(value).get("models", [] if value == {} else None)
    if not isinstance(entries, list):
        raise service_error(
            ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
            f"{upstream.row.name} gave no readable model list",
            provider=upstream.row.name,
        )
    return [
        _model(upstream.row.name, entry)
        for entry in map(object_of, entries)
        if text_of(entry.get("name")) and _generates(entry)
    ]


def _generates(entry: JsonObject) -> bool:
    methods = entry.get("supportedGenerationMethods")
    return methods is None or "generateContent" in list_of(methods)


def _model(provider: str, entry: JsonObject) -> Model:
    model = Model(
        name=f"{provider}/{text_of(entry['name']).removeprefix('models/')}",
        provider=provider,
        state=ModelState.MODEL_STATE_AVAILABLE,
    )
    # No limit that is told is above what a signed 32 bit number holds.
    context, most = count_of(entry.get("inputTokenLimit")), count_of(entry.get("outputTokenLimit"))
    if context:
        model.context_length = context
    if most:
        model.max_output_tokens = most
    if isinstance(entry.get("thinking"), bool):
        model.capabilities.reasoning = entry["thinking"]
    return model
