"""OpenAI Responses: what stands in `instructions`, for a provider that takes it there alone."""

from __future__ import annotations

from collections.abc import Sequence

from api_service.providers.table import ProviderRow
from marsys.v1 import Message, Role


def instructions_of(messages: Sequence[Message], row: ProviderRow) -> tuple[str, int]:
    """The instructions of a conversation, and how many messages from its start are in them.

    They are the texts of the system messages that it begins with; where there are none, the row's
    own words, since the provider refuses empty ones.
    """
    texts: list[str] = []
    count = 0
    for message in messages:
        if message.role != Role.ROLE_SYSTEM or not _is_plain(message):
            break
        texts += [part.text.text for part in message.parts]
        count += 1
    words = "\n\n".join(text for text in texts if text.strip())
    return words or row.instructions, count


def _is_plain(message: Message) -> bool:
    """Whether a message holds text and nothing beside it that would be lost."""
    return not message.HasField("name") and all(
        part.HasField("text")
        and not part.HasField("cache_breakpoint")
        and not part.HasField("opaque_state")
        for part in message.parts
    )
