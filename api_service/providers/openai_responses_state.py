"""OpenAI Responses: names and forms that encoder and decoder share."""

from __future__ import annotations

from typing import Any

import orjson

from api_service.providers.json_text import JsonObject, dump_json
from marsys.v1 import OpaqueState, Part, ProviderPart

ISSUER = "openai_responses"
"""Name of the wire protocol in opaque state and provider parts."""

ANNOTATION = "annotation"
"""Type of the provider parts that are annotations of the text before them."""

ANNOTATIONS = "annotations"
"""Key of a text's opaque state that holds the annotations; the other keys are of its item."""

# What an answer says about itself or its texts. It has no place among the items that go back.
ABOUT_ANSWER = frozenset({ANNOTATION, "content_filters", "moderation"})

# Keys of items that parts of the contract have words for; the others are a part's opaque state.
MESSAGE_KEYS = frozenset({"type", "role", "content"})
CALL_KEYS = frozenset({"type", "call_id", "name", "arguments"})
IMAGE_KEYS = frozenset({"result"})

# Keys that say nothing where no reasoning item stands before: then the item needs no id.
FORMAL_KEYS = frozenset({"id", "status"})


def state_of(value: Any) -> OpaqueState:
    """The state that holds a JSON value."""
    return OpaqueState(issuer=ISSUER, data=dump_json(value).encode())


def read_state(state: OpaqueState) -> JsonObject | None:
    """The object that a state of ours holds; None where it holds none."""
    try:
        value = orjson.loads(state.data)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def provider_part(kind: str, payload: JsonObject) -> Part:
    """A part that holds something of the wire as it was received."""
    block = ProviderPart(issuer=ISSUER, type=kind, payload_json=dump_json(payload))
    return Part(provider=block)
