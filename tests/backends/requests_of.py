"""Requests for the tests."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from marsys.v1 import GenerateRequest, GenerateResponse, MediaPart, Message, Part, Role, TextPart


def picture(colour: str, size: tuple[int, int] = (40, 40)) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def part_of(content: str | bytes) -> Part:
    """A text; or, of bytes, an image."""
    if isinstance(content, str):
        return Part(text=TextPart(text=content))
    return Part(media=MediaPart(media_type="image/png", data=content))


def data_url(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def ask(model: str, *contents: str | bytes, **config: Any) -> GenerateRequest:
    """A request with one user message. Greedy, unless `config` says else."""
    message = Message(role=Role.ROLE_USER, parts=[part_of(content) for content in contents])
    request = GenerateRequest(model=model, messages=[message])
    for name, value in ({"temperature": 0} | config).items():
        if name == "stop_sequences":
            request.config.stop_sequences.extend(value)
        else:
            setattr(request.config, name, value)
    return request


def text_of(response: GenerateResponse) -> str:
    return "".join(part.text.text for part in response.message.parts)
