"""Where the images of a request may come from, and how large they may be."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, fields
from pathlib import Path

from serving.base_url import check_allowed_url


@dataclass(frozen=True, slots=True)
class MediaRules:
    """What callers may name and send. Bytes and data: URLs are always taken.

    Attributes:
        allow_paths: directories below which files may be read; None: any file.
        allow_urls: what may be fetched: base URLs, or patterns of them, as serving.base_url has
            them. http only where an entry has it. Only an entry that names a host may lead into a
            private network. None: any public https URL.
        max_bytes: most bytes of an image as it comes.
        max_pixels: most pixels of an image.
        max_total_pixels: most pixels of a request's images together; they take 3 bytes each.
        max_images: most images of a request.
        timeout: seconds that fetching a request's images may take.
        tls: how certificates are verified; None: by the system's authorities.

    Raises:
        ValueError: an entry or a number is wrong.
    """

    allow_paths: tuple[Path, ...] | None = ()
    allow_urls: tuple[str, ...] | None = ()
    max_bytes: int = 20 * 2**20
    max_pixels: int = 50_000_000
    max_total_pixels: int = 200_000_000
    max_images: int = 64
    timeout: float = 20.0
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        for url in self.allow_urls or ():
            try:
                check_allowed_url(url)
            except ValueError as error:
                raise ValueError(f"allow_urls: {url!r} {error}") from None
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not value > 0:
                raise ValueError(f"{field.name} must be above 0, not {value!r}")


OF_THE_PROCESS = MediaRules(allow_paths=None, allow_urls=None)
"""For callers in this process: what they name, they could read themselves."""


class ImageError(Exception):
    """An image can't be had; says why, as it stands after the field's name."""


class NotAllowed(ImageError):
    """The operator has not allowed it; says which setting would."""
