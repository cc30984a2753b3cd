"""Which of a provider's two wire protocols a request takes."""

from __future__ import annotations

from dataclasses import replace

from api_service.providers.capabilities import family_of
from api_service.providers.generation_config import is_neutral
from api_service.providers.table import ProviderRow
from marsys.v1 import GenerateRequest
from serving.errors import invalid

API_OPTION = "api"
"""Key of provider_options_json by which a caller chooses; it does not go into the body."""

_APIS = {
    '"responses"': "openai_responses",
    '"chat_completions"': "openai_chat",
}


def route(row: ProviderRow, model: str, request: GenerateRequest) -> ProviderRow:
    """The row to use: the given one, unless only its alternate takes what the caller set.

    Raises:
        ServiceError: the caller's own choice (`provider_options_json["api"]`) is no such protocol.
    """
    other = row.alternate
    if other is None:
        return row
    chosen = request.provider_options_json.get(API_OPTION)
    if chosen is not None:
        wire = _APIS.get(chosen.strip())
        if wire is None:
            raise invalid(
                f'provider_options_json["{API_OPTION}"]', f"must be one of {', '.join(_APIS)}"
            )
        return row if row.wire == wire else _alternate(row, other)
    return _alternate(row, other) if _needs(row, other, model, request) else row


def _alternate(row: ProviderRow, other: ProviderRow) -> ProviderRow:
    """The alternate, where and as whom the operator reaches the row."""
    return replace(
        other,
        name=row.name,
        base_url=row.base_url,
        key_env=row.key_env,
        other_key_envs=row.other_key_envs,
        needs_key=row.needs_key,
    )


def _needs(row: ProviderRow, other: ProviderRow, model: str, request: GenerateRequest) -> bool:
    """Whether the alternate takes something set that the row doesn't."""
    refused = family_of(model).refuses
    for descriptor, value in request.config.ListFields():
        name = descriptor.name
        only_other = name not in row.fields and name in other.fields and name not in refused
        if only_other and not is_neutral(name, value):
            return True
    if not row.alternate_options.isdisjoint(request.provider_options_json):
        return True
    more_media = other.media - row.media
    for message in request.messages:
        if other.names and not row.names and message.HasField("name"):
            return True
        for part in message.parts if more_media else ():
            if part.HasField("media") and part.media.media_type.partition("/")[0] in more_media:
                return True
    return False
