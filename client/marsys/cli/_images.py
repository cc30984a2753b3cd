"""Images that go with a question."""

from __future__ import annotations

from typing import Any

from marsys.models import _media
from marsys.models.response import image_fact


def read_image(source: str) -> dict[str, Any]:
    """An image as a part of a message.

    A file is read at once: what is wrong with it is told before a question is typed, and the
    conversation doesn't change with the file.

    Args:
        source: path or URL.

    Raises:
        ModelAPIError: it can't be read, or is no image.
    """
    return image_fact(_media.image(source, "image"))


def question(text: str, images: list[dict[str, Any]]) -> dict[str, Any]:
    """A user's message."""
    if not images:
        return {"role": "user", "content": text}
    return {"role": "user", "content": [{"type": "text", "text": text}, *images]}
