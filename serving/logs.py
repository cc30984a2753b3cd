"""Log lines: with the call's request id, without secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""Id of the call that the present task serves; "-" outside calls."""

_HIDDEN = "[secret]"
# What looks like a credential is hidden even where nobody registered it.
_PATTERNS = re.compile(
    r"(?i)(\bbearer\s+|\bx-(?:goog-)?api-key['\"]?\s*[:=]\s*['\"]?|[?&](?:api_?)?key=)[^\s'\",&]+"
    r"|\b(?:sk|xai|rk|pk)-[A-Za-z0-9_-]{8,}|\bAIza[A-Za-z0-9_-]{20,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # JSON web tokens
)


class Redaction:
    """Hides secrets in text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _PATTERNS.sub(lambda match: (match[1] or "") + _HIDDEN, text)


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00 WARNING api_service.transport [request id] text`."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.get()
        return self._redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, request_id, message, exception."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": request_id.get(),
            "message": self._redact(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def configure_logs(level: str, form: str, secrets: Iterable[str] = ()) -> None:
    """Send all log lines of the process to standard error.

    Args:
        level: least severe level, such as "info".
        form: "text" or "json".
        secrets: strings that must never appear.
    """
    redact = Redaction(secrets)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(redact) if form == "json" else LineFormatter(redact))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These speak of every connection or file at INFO.
    for noisy in ("asyncio", "httpx", "httpcore", "urllib3", "filelock", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
