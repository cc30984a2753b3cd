"""Images of all kinds for requests, and what reading them gives."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from local_inference_service.images import MediaRules, read_images
from marsys.v1 import ErrorReason, MediaPart, Message, Part, Role, TextPart
from serving.errors import ServiceError

INVALID = ErrorReason.ERROR_REASON_INVALID_REQUEST
NOT_ALLOWED = ErrorReason.ERROR_REASON_NOT_ALLOWED
UNSUPPORTED = ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(colour=RED, size=(4, 3)) -> bytes:
    return encoded(Image.new("RGB", size, colour))


def user(*parts: MediaPart | str) -> Message:
    made = [
        Part(text=TextPart(text=part)) if isinstance(part, str) else Part(media=part)
        for part in parts
    ]
    return Message(role=Role.ROLE_USER, parts=made)


def data(content: bytes, kind: str = "image/png") -> MediaPart:
    return MediaPart(media_type=kind, data=content)


def uri(text: str, kind: str = "") -> MediaPart:
    return MediaPart(media_type=kind, uri=text)


def data_url(content: bytes, kind: str = "image/png") -> MediaPart:
    return uri(f"data:{kind};base64,{base64.b64encode(content).decode()}")


async def one(media: MediaPart, rules: MediaRules = MediaRules()) -> Image.Image:  # noqa: B008
    (image,) = await read_images([user(media)], rules)
    assert image.mode == "RGB"
    return image


async def refused(
    media: MediaPart,
    rules: MediaRules = MediaRules(),  # noqa: B008
) -> tuple[ErrorReason.ValueType, str, str]:
    with pytest.raises(ServiceError) as caught:
        await read_images([user("see"), user("this:", media)], rules)
    error = caught.value.error
    assert error.message.startswith(f"{error.field}: ")
    return error.reason, error.field, error.message
