"""Logs in with a provider's own CLI, into a directory of the profile's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress

from marsys.cli._logins import LocalLogins
from marsys.cli._terminal import dim, fail

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def log_in(logins: LocalLogins, provider: str, name: str) -> str:
    """Run the CLI. Returns the file of the new login; ends with an error where there is none."""
    kind = logins.kinds.get(provider)
    if kind is None:
        fail(f"provider: must be one of {', '.join(logins.kinds)}")
    if any(profile.name == name for profile in logins.list()):
        fail(f"there is a profile {name!r} already", "Take another name, or remove that one first.")
    if not _NAME.fullmatch(name) or set(name) == {"."}:
        fail("name: must be 1 to 64 of [A-Za-z0-9_.-]")
    program = shutil.which(kind.program)
    if program is None:
        fail(f"{kind.program} is not installed", f"Run: {kind.install}")
    directory = logins.directory / name
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    dim(f"{kind.command} for {provider}, into {directory}")
    environ = {**os.environ, kind.home_env: str(directory)}
    status = subprocess.run([program, *kind.arguments], env=environ, check=False).returncode  # noqa: S603
    path = directory / kind.file_name
    if status or not path.is_file():
        with suppress(OSError):
            directory.rmdir()  # only where nothing is in it
        what = f"ended with status {status}" if status else f"left no file at {path}"
        hint = "" if status else "It may keep logins in the system's keyring; have it use files."
        fail(f"`{kind.command}` {what}: nothing was added", hint)
    return str(path)
