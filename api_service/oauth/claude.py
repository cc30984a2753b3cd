"""The file of Claude's login: $CLAUDE_CONFIG_DIR/.credentials.json."""

from __future__ import annotations

from api_service.oauth.credentials import (
    Credentials,
    Grant,
    JsonObject,
    is_token,
    number_at,
    object_at,
    text_at,
)

_LOGIN = "claudeAiOauth"
_USUAL_LIFE = 3600.0  # seconds; assumed where the endpoint doesn't say


def read_claude(document: JsonObject, written_at: float) -> Credentials:
    """The login that the file holds.

    Args:
        document: the file's JSON.
        written_at: when it was written, in seconds since the epoch.

    Raises:
        ValueError: it holds none; the text says why.
    """
    login = object_at(document, _LOGIN)
    access_token = text_at(login, "accessToken")
    if not access_token:
        raise ValueError(f"it has no {_LOGIN}.accessToken")
    if not is_token(access_token):
        raise ValueError(f"its {_LOGIN}.accessToken is no token")
    milliseconds = number_at(login, "expiresAt")
    expires_at = None if milliseconds is None else milliseconds / 1000
    subscription = text_at(login, "subscriptionType")
    return Credentials(
        access_token=access_token,
        refresh_token=text_at(login, "refreshToken"),
        expires_at=expires_at,
        lifetime=None if expires_at is None else max(expires_at - written_at, 0.0),
        account=f"{subscription} subscription" if subscription else "",
    )


def renew_claude(document: JsonObject, grant: Grant, now: float) -> None:
    """Put new tokens into the file's JSON. What else it holds stays."""
    login = document.setdefault(_LOGIN, {})
    if grant.refresh_token is not None:
        login["refreshToken"] = grant.refresh_token
    if grant.access_token is not None:
        login["accessToken"] = grant.access_token
        life = _USUAL_LIFE if grant.expires_in is None else grant.expires_in
        login["expiresAt"] = round((now + life) * 1000)
