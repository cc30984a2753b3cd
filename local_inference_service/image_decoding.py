"""Bytes -> an image as models take it: upright, in RGB, eight bits a channel."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from local_inference_service.media_rules import ImageError, MediaRules

# What is shown on web pages, and TIFF. Pillow's other readers have seen less hostile input, and
# some run other programs.
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF")
_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_HEAD = 1024  # bytes in which an SVG shows what it is


def open_image(data: bytes, rules: MediaRules) -> Image.Image:
    """An image whose size is known and allowed, and whose pixels aren't read yet.

    Raises:
        ImageError: it is no image of a known format, or has too many pixels.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(f"has more than {rules.max_pixels} pixels") from None
    except Exception as error:  # Pillow's readers raise what they like at broken headers
        if b"<svg" in data[:_HEAD].lower():
            raise ImageError("is SVG, which has no pixels; send it as PNG") from error
        raise ImageError(
            "is no image that can be read: PNG, JPEG, WebP, GIF, AVIF, BMP and TIFF can"
        ) from error
    width, height = image.size
    if width * height > rules.max_pixels:
        raise ImageError(f"has {width} x {height} pixels; at most {rules.max_pixels} are taken")
    return image


def decode(image: Image.Image) -> Image.Image:
    """Its pixels. Of an animation, the first frame; where it is transparent, it is white.

    Raises:
        ImageError: it is cut off or broken.
    """
    try:
        image.load()
        return _rgb(_upright(image))
    except ImageError:
        raise
    except Exception as error:  # as above
        raise ImageError(f"is a broken {image.format} image: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data says; broken EXIF data says nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken tag can raise nearly anything; the pixels are good all the same
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:
        values = np.asarray(image)
        if values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
            raise ImageError("has more than 16 bits a channel")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageError("has floating-point pixels, whose range isn't known")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        paper = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(paper, seen).convert("RGB")
    return image.convert("RGB")
