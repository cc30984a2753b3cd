"""Model lists: how one is asked for, and what that of an OpenAI-compatible provider says."""

from __future__ import annotations

from api_service.providers.codec import HttpRequest, Upstream
from api_service.providers.json_text import (
    JsonObject,
    count_of,
    list_of,
    object_of,
    read_json,
    text_of,
)
from api_service.providers.table import ProviderRow
from marsys.v1 import ErrorReason, Model, ModelState
from serving.errors import service_error

# What OpenRouter calls a kind of input -> what the contract calls it.
_MODALITIES = {"image": "image", "audio": "audio", "video": "video", "file": "document"}


def models_request(row: ProviderRow) -> HttpRequest:
    """The request for a provider's list."""
    headers = {"anthropic-beta": ",".join(row.betas)} if row.betas else {}
    return HttpRequest(row.models_path, headers, b"", method="GET")


def known_models(row: ProviderRow) -> list[Model]:
    """The models of a provider that has no list. It may have others."""
    state = ModelState.MODEL_STATE_AVAILABLE
    return [
        Model(name=f"{row.name}/{name}", provider=row.name, state=state)
        for name in row.known_models
    ]


def read_model_list(upstream: Upstream, body: bytes) -> list[Model]:
    """The models of a body such as {"data": [{"id": ...}]}; entries without an id are skipped.

    Raises:
        ServiceError: the body is no such list.
    """
    try:
        value = read_json(body)
    except ValueError:
        value = None
    entries = value if isinstance(value, list) else object_of(value).get("data")
    if not isinstance(entries, list):
        raise service_error(
            ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
            f"{upstream.row.name} gave no readable model list",
            provider=upstream.row.name,
        )
    named = (object_of(entry) for entry in entries)
    return [_model(upstream.row.name, entry) for entry in named if text_of(entry.get("id"))]


def _model(provider: str, entry: JsonObject) -> Model:
    model = Model(
        name=f"{provider}/{entry['id']}",
        provider=provider,
        state=ModelState.MODEL_STATE_AVAILABLE,
    )
    top = object_of(entry.get("top_provider"))
    for key in ("context_length", "max_model_len", "context_window", "max_input_tokens"):
        length = count_of(entry.get(key))
        if length:
            model.context_length = length
            break
    most = count_of(top.get("max_completion_tokens")) or count_of(entry.get("max_tokens"))
    if most:
        model.max_output_tokens = most
    inputs = list_of(object_of(entry.get("architecture")).get("input_modalities"))
    model.capabilities.input_modalities.extend(
        _MODALITIES[kind] for kind in inputs if isinstance(kind, str) and kind in _MODALITIES
    )
    parameters = entry.get("supported_parameters")
    if isinstance(parameters, list):
        model.capabilities.tools = "tools" in parameters
        model.capabilities.structured_output = "structured_outputs" in parameters
        model.capabilities.reasoning = "reasoning" in parameters
    return model
