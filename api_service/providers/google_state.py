"""Google generateContent: names and forms that encoder and decoder share."""

from __future__ import annotations

import hashlib

ISSUER = "google_generate_content"
"""Name of the wire protocol in opaque state and provider parts."""

SIGNATURE = "thoughtSignature"
"""Key of a part under which its signature stands, as base64 text."""

SIGNATURES = "thought_signature"
"""How Upstream.refused names the signatures of the conversation."""

# What an answer says about itself. It has no place in the contents that go back.
ABOUT_ANSWER = frozenset(
    {
        "groundingMetadata", "citationMetadata", "urlContextMetadata", "logprobsResult",
        "continuationToken", "safetyRatings",
    }
)  # fmt: skip

# Base64 of the word with which Google's validation of signatures can be skipped, for tool calls
# that another provider's model made.
NO_SIGNATURE = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="

_MADE = "marsys_call_"


def made_id(seed: str, number: int) -> str:
    """An id for a tool call to which Google gave none.

    Args:
        seed: what tells this answer from others.
        number: number of the call in its answer.
    """
    digest = hashlib.sha256(f"{seed}:{number}".encode()).hexdigest()[:16]
    return f"{_MADE}{digest}_{number}"


def is_made(call_id: str) -> bool:
    """Whether an id is one of `made_id`: Google never saw it, so it isn't sent."""
    return call_id.startswith(_MADE)
