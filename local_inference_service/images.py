"""The images of a conversation: found, read, checked and decoded."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from PIL import Image

from local_inference_service.image_decoding import decode, open_image
from local_inference_service.image_fetch import fetch
from local_inference_service.image_files import path_of, read_file
from local_inference_service.media_rules import (
    OF_THE_PROCESS,
    ImageError,
    MediaRules,
    NotAllowed,
)
from marsys.v1 import ErrorReason, MediaPart, Message
from serving.errors import invalid, service_error, unsupported

__all__ = ["OF_THE_PROCESS", "MediaRules", "media_parts", "read_images"]

T = TypeVar("T")

_AT_A_TIME = 4  # images of a request whose bytes are held
# Shared by all models, so that many requests at once take no more of the processor than this.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="images")


def media_parts(messages: Sequence[Message]) -> Iterator[tuple[str, MediaPart]]:
    """The media parts of a conversation in order, each with its field's path."""
    for index, message in enumerate(messages):
        for number, part in enumerate(message.parts):
            here = f"messages[{index}].parts[{number}]"
            if part.HasField("media"):
                yield f"{here}.media", part.media
            for place, inner in enumerate(part.tool_result.content):
                if inner.HasField("media"):
                    yield f"{here}.tool_result.content[{place}].media", inner.media


async def read_images(messages: Sequence[Message], rules: MediaRules) -> list[Image.Image]:
    """The images of a conversation, in its order, in RGB and upright.

    Args:
        messages: the conversation.
        rules: where images may come from, and how large they may be.

    Raises:
        ServiceError: one can't be had. The error names its part: INVALID_REQUEST where it is
            broken, too large or can't be reached, NOT_ALLOWED where the operator forbids it,
            UNSUPPORTED_PARAMETER where it is no image.
    """
    parts = list(media_parts(messages))
    if not parts:
        return []
    if len(parts) > rules.max_images:
        field = parts[rules.max_images][0]
        raise invalid(field, f"is one too many: at most {rules.max_images} images are taken")
    for field, media in parts:
        _check_kind(field, media)
    reader = _Reader(rules)
    tasks = [asyncio.ensure_future(reader.read(*part)) for part in parts]
    try:
        return [await task for task in tasks]  # the first in order tells what is wrong
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Reader:
    """Reads the images of one request, within what they may take together."""

    def __init__(self, rules: MediaRules) -> None:
        self._rules = rules
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._deadline = asyncio.get_running_loop().time() + rules.timeout
        self._pixels = rules.max_total_pixels

    async def read(self, field: str, media: MediaPart) -> Image.Image:
        field += ".uri" if media.HasField("uri") else ".data"
        try:
            async with self._turn:
                data = await self._bytes(media)
                image = await _in_thread(open_image, data, self._rules)
                self._count(image)
                return await _in_thread(decode, image)
        except NotAllowed as error:
            raise service_error(
                ErrorReason.ERROR_REASON_NOT_ALLOWED, f"{field}: {error}", field=field
            ) from None
        except ImageError as error:
            raise invalid(field, str(error)) from None

    async def _bytes(self, media: MediaPart) -> bytes:
        if not media.HasField("uri"):
            return self._bounded(media.data)
        uri = media.uri
        scheme = uri[:8].lower()
        if scheme.startswith("data:"):
            return self._bounded(await _in_thread(_data_of_url, uri, self._rules.max_bytes))
        if not scheme.startswith(("https://", "http://")):
            return await _in_thread(_data_of_file, uri, self._rules)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await fetch(uri, self._rules)
        except TimeoutError:
            raise ImageError(f"wasn't there after {self._rules.timeout:g} seconds") from None

    def _bounded(self, data: bytes) -> bytes:
        if len(data) > self._rules.max_bytes:
            raise ImageError(f"has more than {self._rules.max_bytes} bytes")
        return data

    def _count(self, image: Image.Image) -> None:
        self._pixels -= image.width * image.height
        if self._pixels < 0:
            most = self._rules.max_total_pixels
            raise ImageError(f"is too much: all images of a request may have {most} pixels")


def _check_kind(field: str, media: MediaPart) -> None:
    """What says of itself that it is no image is refused before anything is read.

    Raises:
        ServiceError: it is a file of a provider's, or sound, video, a document.
    """
    if media.WhichOneof("source") not in ("data", "uri"):
        raise unsupported(f"{field}.file_id", "names a file at a provider; local models have none")
    kind = media.media_type
    if not kind and media.uri[:5].lower() == "data:":
        kind = media.uri[5:].partition(",")[0].partition(";")[0]
    if kind and not kind.lower().startswith("image/"):
        raise unsupported(field, f"is {kind[:64]}; local models take images only")


def _data_of_url(url: str, most: int) -> bytes:
    head, comma, body = url.partition(",")
    if not comma:
        raise ImageError("is no readable data: URL")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    if len(body) > most * 4 // 3 + 4:
        raise ImageError(f"has more than {most} bytes")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise ImageError("is no readable data: URL: its base64 is broken") from None


def _data_of_file(uri: str, rules: MediaRules) -> bytes:
    return read_file(path_of(uri), rules)


async def _in_thread(work: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work, *args)
