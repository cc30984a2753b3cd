"""Log lines hold request ids and no secrets."""

from __future__ import annotations

import json
import logging

import pytest

from serving import logs
from serving.logs import JsonFormatter, LineFormatter, Redaction


def line(formatter: logging.Formatter, text: str, error: Exception | None = None) -> str:
    info = (type(error), error, None) if error else None
    record = logging.LogRecord("x", logging.WARNING, "f", 1, text, (), info)
    return formatter.format(record)


@pytest.mark.parametrize("form", [LineFormatter, JsonFormatter])
def test_secrets_are_hidden_and_the_rest_is_kept(form):
    formatter = form(Redaction(["s3cret-value"]))
    logs.request_id.set("req-7")
    text = line(formatter, "key s3cret-value used", ValueError("bad s3cret-value"))
    assert "s3cret-value" not in text
    assert "req-7" in text
    assert "key [secret] used" in text


@pytest.mark.parametrize(
    "text",
    [
        "authorization: Bearer abcdef123456",
        "x-api-key: abcdef123456",
        "{'x-goog-api-key': 'abcdef123456'}",
        "https://host/path?key=abcdef123456&alt=sse",
        "Incorrect API key provided: sk-proj-abcdef123456",
        "xai-abcdef123456",
    ],
)
def test_what_looks_like_a_credential_is_hidden_anyway(text):
    assert "abcdef123456" not in Redaction()(text)


def test_json_lines_are_json():
    record = json.loads(line(JsonFormatter(Redaction()), 'a "quoted" line\nand another'))
    assert record["message"] == 'a "quoted" line\nand another'
    assert record["level"] == "WARNING"
