"""Why a login can't be used."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """What is wrong with a login."""

    MISSING = "missing"
    """Its file isn't there."""
    UNREADABLE = "unreadable"
    """Its file may not be read, or is no file."""
    EXPOSED = "exposed"
    """Others on the machine may read or change its file."""
    MALFORMED = "malformed"
    """Its file is not what the provider's CLI writes."""
    EXPIRED = "expired"
    """Its access token has expired, and there is nothing to refresh it with."""
    REVOKED = "revoked"
    """The provider doesn't take its refresh token any more."""
    UNWRITABLE = "unwritable"
    """A new token could not be kept, so none was asked for."""
    UNAVAILABLE = "unavailable"
    """The provider's token endpoint could not be asked; later it may be."""


class LoginError(Exception):
    """A login can't be used. The text holds no secret.

    Attributes:
        fault: what is wrong.
        action: what to run or do.
    """

    def __init__(self, fault: Fault, message: str, action: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.action = action
