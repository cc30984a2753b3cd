"""Reads Anthropic's model list."""

from __future__ import annotations

from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject, count_of, object_of, read_json, text_of
from marsys.v1 import ErrorReason, Model, ModelState
from serving.errors import service_error

_INPUTS = (("image_input", "image"), ("pdf_input", "document"))


def read_anthropic_models(upstream: Upstream, body: bytes) -> list[Model]:
    """The models of {"data": [{"id": ...}]} that answer; retired ones don't.

    Raises:
        ServiceError: the body is no such list.
    """
    try:
        entries = object_of(read_json(body)).get("data")
    except ValueError:
        entries = None
    if not isinstance(entries, list):
        raise service_error(
            ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
            f"{upstream.row.name} gave no readable model list",
            provider=upstream.row.name,
        )
    return [
        _model(upstream.row.name, entry)
        for entry in map(object_of, entries)
        if text_of(entry.get("id")) and entry.get("lifecycle") != "retired"
    ]


def _model(provider: str, entry: JsonObject) -> Model:
    model = Model(
        name=f"{provider}/{entry['id']}",
        provider=provider,
        state=ModelState.MODEL_STATE_AVAILABLE,
    )
    context, most = count_of(entry.get("max_input_tokens")), count_of(entry.get("max_tokens"))
    if context:
        model.context_length = context
    if most:
        model.max_output_tokens = most
    known = object_of(entry.get("capabilities"))
    schemas, reasons = _supports(known, "structured_outputs"), _supports(known, "thinking")
    if schemas is not None:
        model.capabilities.structured_output = schemas
    if reasons is not None:
        model.capabilities.reasoning = reasons
    model.capabilities.input_modalities.extend(
        ours for theirs, ours in _INPUTS if _supports(known, theirs)
    )
    return model


def _supports(capabilities: JsonObject, name: str) -> bool | None:
    """What is told of a capability; None: nothing."""
    told = object_of(capabilities.get(name)).get("supported")
    return told if isinstance(told, bool) else None
