"""Images of requests: read right from wherever they may come, and from nowhere else."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_parts import (
    BLUE,
    GREEN,
    INVALID,
    NOT_ALLOWED,
    RED,
    UNSUPPORTED,
    WHITE,
    data,
    data_url,
    encoded,
    one,
    png,
    refused,
    uri,
    user,
)
from PIL import Image

from local_inference_service.images import MediaRules, read_images
from marsys.v1 import MediaPart, Message, Part, Role, TextPart
from serving.errors import ServiceError


async def test_images_come_in_the_order_of_the_conversation(tmp_path):
    (tmp_path / "white.png").write_bytes(png(WHITE))
    messages = [
        user("look:", data(png(RED)), "and", data_url(png(GREEN))),
        Message(role=Role.ROLE_ASSISTANT, parts=[Part(text=TextPart(text="I see"))]),
        user(uri((tmp_path / "white.png").as_uri()), "then", data(png(BLUE))),
    ]
    images = await read_images(messages, MediaRules(allow_paths=(tmp_path,)))
    assert [image.getpixel((0, 0)) for image in images] == [RED, GREEN, WHITE, BLUE]


async def test_no_image_is_no_work():
    assert await read_images([user("only text")], MediaRules()) == []


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
async def test_formats(form):
    image = await one(data(encoded(Image.new("RGB", (20, 10), RED), form), f"image/{form.lower()}"))
    assert image.size == (20, 10)
    assert np.abs(np.array(image.getpixel((5, 5))) - RED).max() < 8


def _animated() -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return encoded(image, transparency=1)  # the blue one can't be seen


def _rgba() -> bytes:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    return encoded(image)


def _sixteen_bits() -> bytes:
    return encoded(Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)))


@pytest.mark.parametrize(
    ("content", "left", "right"),
    [
        (_animated(), RED, RED),
        (_palette(), RED, WHITE),
        (_rgba(), RED, WHITE),
        (encoded(Image.new("LA", (2, 1), (0, 0))), WHITE, WHITE),
        (_sixteen_bits(), (0, 0, 0), WHITE),
        (encoded(Image.new("1", (2, 1), 1)), WHITE, WHITE),
        (encoded(Image.new("CMYK", (2, 1), (0, 255, 255, 0)), "TIFF"), RED, RED),
    ],
    ids=["first frame", "palette", "alpha", "grey alpha", "16 bit", "1 bit", "CMYK"],
)
async def test_every_kind_of_pixel_becomes_rgb(content, left, right):
    image = await one(data(content, "image/x-any"))
    assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == (left, right)


async def test_sixteen_bit_greys_keep_their_brightness():
    content = encoded(Image.fromarray(np.array([[0x4000, 0x8000]], dtype=np.uint16)))
    image = await one(data(content))
    assert [image.getpixel((x, 0))[0] for x in (0, 1)] == [0x40, 0x80]


async def test_photographs_stand_upright():
    lying = Image.new("RGB", (20, 10), RED)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    image = await one(data(encoded(lying, "JPEG", exif=exif), "image/jpeg"))
    assert image.size == (10, 20)


def _bomb() -> bytes:
    """A PNG of a few bytes that says it has 60000 x 60000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


@pytest.mark.parametrize(
    ("media", "field", "text"),
    [
        (data(b"no image at all"), "data", "no image"),
        (data(SVG, "image/svg+xml"), "data", "SVG"),
        (data(png()[:40]), "data", ""),
        (data(encoded(Image.effect_noise((64, 64), 90))[:2000]), "data", "broken"),
        (data(_bomb()), "data", "pixels"),
        (data(EPS, "image/x-eps"), "data", "no image"),
        (uri("data:image/png;base64,@@@@"), "uri", "base64"),
        (uri("data:image/png;base64"), "uri", "data: URL"),
        (data_url(b"<html>"), "uri", "no image"),
    ],
)  # fmt: skip
async def test_what_is_no_image_is_refused(media, field, text):
    reason, at, message = await refused(media)
    assert (reason, at) == (INVALID, f"messages[1].parts[1].media.{field}")
    assert text in message


@pytest.mark.parametrize(
    ("media", "field"),
    [
        (data(b"RIFF", "audio/wav"), ""),
        (data(b"....", "video/mp4"), ""),
        (data(b"%PDF-1.7", "application/pdf"), ""),
        (data_url(b"%PDF-1.7", "application/pdf"), ""),
        (uri("https://example.com/film", "video/mp4"), ""),
        (MediaPart(file_id="file-123"), ".file_id"),
    ],
)
async def test_what_is_no_image_by_its_type_is_unsupported(media, field):
    reason, at, _ = await refused(media)
    assert (reason, at) == (UNSUPPORTED, f"messages[1].parts[1].media{field}")


async def test_the_bounds_of_size():
    rules = MediaRules(max_bytes=500, max_pixels=200, max_total_pixels=250, max_images=3)
    small = data(png(size=(10, 10)))
    assert len(await read_images([user(small, small)], rules)) == 2
    for media in (data(png() + bytes(500)), data_url(png() + bytes(500))):
        reason, _, message = await refused(media, rules)
        assert (reason, "500 bytes" in message) == (INVALID, True)
    _, _, message = await refused(data(png(size=(20, 11))), rules)
    assert "20 x 11" in message
    with pytest.raises(ServiceError, match="250 pixels"):
        await read_images([user(small, small, small)], rules)
    with pytest.raises(ServiceError, match=r"messages\[0\]\.parts\[3\]\.media: is one too many"):
        await read_images([user(small, small, small, small)], rules)


@pytest.mark.parametrize(
    "arguments",
    [{"max_bytes": 0}, {"timeout": -1}, {"max_images": 0}, {"allow_urls": ("ftp://x",)}],
)
def test_wrong_rules_name_the_field(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        MediaRules(**arguments)


class TestFiles:
    """Files on the service's machine."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        (tmp_path / "open").mkdir()
        (tmp_path / "open" / "a b.png").write_bytes(png(RED))
        (tmp_path / "secret.png").write_bytes(png(BLUE))
        (tmp_path / "open" / "in.png").symlink_to(tmp_path / "open" / "a b.png")
        (tmp_path / "open" / "out.png").symlink_to(tmp_path / "secret.png")
        (tmp_path / "open" / "dir").symlink_to(tmp_path)
        (tmp_path / "openly.png").write_bytes(png(BLUE))
        (tmp_path / "open" / "loop").symlink_to(tmp_path / "open" / "loop")
        os.mkfifo(tmp_path / "open" / "pipe.png")
        return tmp_path

    async def test_what_lies_below_an_allowed_directory(self, place):
        rules = MediaRules(allow_paths=(place / "open",))
        inside = place / "open" / "a b.png"
        links = place / "open" / "in.png"
        localhost = inside.as_uri().replace("file://", "file://localhost")
        for text in (inside.as_uri(), str(inside), str(links), localhost):
            assert (await one(uri(text), rules)).getpixel((0, 0)) == RED

    @pytest.mark.parametrize(
        "name",
        ["secret.png", "open/../secret.png", "open/out.png", "open/dir/secret.png", "openly.png",
         "nothing.png", "open/%2e%2e/secret.png"],
    )  # fmt: skip
    async def test_what_lies_elsewhere_may_not_be_read(self, place, name):
        rules = MediaRules(allow_paths=(place / "open",))
        for text in (f"{place}/{name}", f"file://{place}/{name}"):
            reason, field, message = await refused(uri(text), rules)
            if "%" in name and not text.startswith("file:"):
                assert reason == INVALID  # a file of that very name, which isn't there
                continue
            assert (reason, field) == (NOT_ALLOWED, "messages[1].parts[1].media.uri")
            assert "allow_image_paths" in message
            assert str(place) not in message

    async def test_nothing_may_be_read_unless_the_operator_says_so(self, place):
        reason, _, _ = await refused(uri(str(place / "open" / "a b.png")))
        assert reason == NOT_ALLOWED

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("open/pipe.png", "plain file"),
            ("/dev/zero", "plain file"),
            ("open", "directory"),
            ("open/none.png", "No such file"),
            ("file://elsewhere/x.png", "another machine"),
            ("a\0b", ""),
        ],
    )
    async def test_what_is_no_file_is_refused_without_waiting(self, place, name, text):
        where = name if name.startswith("file:") else str(place / name)
        reason, _, message = await refused(uri(where), MediaRules(allow_paths=None))
        assert reason in (INVALID, NOT_ALLOWED)
        assert text in message

    async def test_files_are_read_only_as_far_as_is_allowed(self, place):
        (place / "large.png").write_bytes(bytes(2000))
        _, _, message = await refused(
            uri(str(place / "large.png")), MediaRules(allow_paths=None, max_bytes=1000)
        )
        assert "1000 bytes" in message
