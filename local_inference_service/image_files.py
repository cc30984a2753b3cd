"""Images that lie on this machine, read only where that is allowed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from local_inference_service.media_rules import ImageError, MediaRules, NotAllowed

_FORBIDDEN = "the operator has not allowed files to be read from there (allow_image_paths)"


def path_of(uri: str) -> Path:
    """The path of a file: URI, or a path as it is.

    Raises:
        ImageError: the URI names another machine.
    """
    if uri[:5].lower() != "file:":
        return Path(uri).expanduser()
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise ImageError("names a file on another machine")
    return Path(url2pathname(parts.path))


def read_file(path: Path, rules: MediaRules) -> bytes:
    """The bytes of a file. Blocks.

    Links are followed as far as they stay where reading is allowed. A path that isn't allowed is
    refused in the same words whether it is there or not.

    Raises:
        ImageError: it isn't there, is no plain file, is too large, or may not be read.
    """
    try:
        real = path.resolve()
    except (OSError, ValueError, RuntimeError):  # a null character, a loop of links
        raise NotAllowed(_FORBIDDEN) from None
    _check_place(real, rules)
    # Without waiting for a pipe's other end; and no link that has just been put there.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        file = open(real, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115
    except OSError as error:
        raise ImageError(f"can't be read: {error.strerror}") from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ImageError("is no plain file")
        opened = Path(f"/proc/self/fd/{file.fileno()}")
        if opened.exists():  # Linux: a directory above may have been swapped for a link meanwhile
            _check_place(opened.resolve(), rules)
        data = file.read(rules.max_bytes + 1)
    if len(data) > rules.max_bytes:
        raise ImageError(f"has more than {rules.max_bytes} bytes")
    return data


def _check_place(real: Path, rules: MediaRules) -> None:
    if rules.allow_paths is None:
        return
    if not any(real.is_relative_to(allowed.resolve()) for allowed in rules.allow_paths):
        raise NotAllowed(_FORBIDDEN)
