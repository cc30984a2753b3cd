"""Anthropic Messages: names and forms that encoder and decoder share."""

from __future__ import annotations

import orjson

from api_service.providers.json_text import JsonObject
from marsys.v1 import OpaqueState

ISSUER = "anthropic_messages"
"""Name of the wire protocol in opaque state and provider parts."""

# What an answer says about itself. It has no place in the messages that go back.
ABOUT_ANSWER = frozenset({"container", "context_management", "stop_details"})

# Keys of text and tool_use blocks that go back as they came: they hold encrypted indexes, or say
# who called the tool.
KEPT_KEYS = ("citations", "caller")


def raw_state(text: str) -> OpaqueState | None:
    """A signature, or the data of a redacted block."""
    return OpaqueState(issuer=ISSUER, data=text.encode()) if text else None


def keys_state(keys: JsonObject) -> OpaqueState | None:
    """Keys of a block that go back with it; None where there are none."""
    return OpaqueState(issuer=ISSUER, data=orjson.dumps(keys)) if keys else None
