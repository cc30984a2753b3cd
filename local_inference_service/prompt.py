"""A conversation as a model reads it, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from marsys.v1 import ErrorReason
from serving.errors import service_error


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt of one request.

    Attributes:
        ids: token ids, those that stand for images included; at least one.
        inputs: what the backend's model takes beside them, such as pixel values; empty for text.
        processors: change the logits before a token is chosen (transformers' LogitsProcessor).
    """

    ids: list[int]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    processors: Sequence[Any] = ()


def room_for_answer(tokens: int, wanted: int, limit: int | None, name: str, backend: str) -> int:
    """Tokens that may be generated after a prompt.

    Args:
        tokens: of the prompt.
        wanted: most that the caller wants.
        limit: the model's context, prompt and answer together; None where unknown.
        name: the model, for errors.
        backend: the backend, for errors.

    Raises:
        ServiceError: the prompt alone fills the context (TOKEN_LIMIT).
    """
    if limit is None:
        return wanted
    room = limit - tokens
    if room > 0:
        return min(room, wanted)
    error = service_error(
        ErrorReason.ERROR_REASON_TOKEN_LIMIT,
        f"messages: the prompt has {tokens} tokens, and the context of {name} {limit}",
        field="messages",
        model=name,
        provider=backend,
    )
    error.error.token_limit, error.error.token_count = limit, tokens
    raise error
