"""The file of Codex's login: $CODEX_HOME/auth.json."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime

from api_service.oauth.credentials import (
    Credentials,
    Grant,
    JsonObject,
    is_token,
    number_at,
    object_at,
    text_at,
)

_ABOUT_ACCOUNT = "https://api.openai.com/auth"


def read_codex(document: JsonObject, written_at: float) -> Credentials:
    """The login that the file holds.

    Args:
        document: the file's JSON.
        written_at: when it was written, in seconds since the epoch.

    Raises:
        ValueError: it holds none; the text says why.
    """
    tokens = object_at(document, "tokens")
    access_token = text_at(tokens, "access_token")
    if not access_token:
        if text_at(document, "OPENAI_API_KEY"):
            raise ValueError('it holds an API key and no login (provider "openai" takes the key)')
        raise ValueError("it has no tokens.access_token")
    if not is_token(access_token):
        raise ValueError("its tokens.access_token is no token")
    claims = _claims(access_token)
    identity = _claims(text_at(tokens, "id_token"))
    account_id = text_at(tokens, "account_id")
    for source in (identity, claims):
        account_id = account_id or text_at(object_at(source, _ABOUT_ACCOUNT), "chatgpt_account_id")
    expires_at, lifetime = _life(claims, _moment(text_at(document, "last_refresh")))
    return Credentials(
        access_token=access_token,
        refresh_token=text_at(tokens, "refresh_token"),
        expires_at=expires_at,
        lifetime=lifetime,
        account=text_at(identity, "email") or account_id,
        account_id=account_id if is_token(account_id) else "",
    )


def renew_codex(document: JsonObject, grant: Grant, now: float) -> None:
    """Put new tokens into the file's JSON. What else it holds stays."""
    tokens = document.setdefault("tokens", {})
    for name in ("access_token", "refresh_token", "id_token"):
        token = getattr(grant, name)
        if token is not None:
            tokens[name] = token
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
    document["last_refresh"] = moment.replace("+00:00", "Z")


def _life(claims: JsonObject, refreshed_at: float | None) -> tuple[float | None, float | None]:
    """When the token ends by this machine's clock, and how long it lasts in all.

    The token's own times are the provider's clock. Where this machine's runs ahead of that, every
    new token would look old; the moment of the refresh is told by this machine's.
    """
    expires_at, issued_at = number_at(claims, "exp"), number_at(claims, "iat")
    if expires_at is None or issued_at is None:
        return expires_at, None
    lifetime = max(expires_at - issued_at, 0.0)
    if refreshed_at is not None:
        expires_at = max(expires_at, refreshed_at + lifetime)
    return expires_at, lifetime


def _claims(token: str) -> JsonObject:
    """What a JSON web token says (RFC 7519), unverified: it is ours. Empty where it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
