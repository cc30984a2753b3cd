"""The parser of event streams."""

from __future__ import annotations

import pytest

from api_service.providers.sse import SseEvent, SseParser, SseTooLarge

STREAM = (
    b"\xef\xbb\xbf: comment\n\ndata: one\n\n"
    b"event: named\r\ndata: two\r\ndata:  lines\r\n\r\n"
    b"id: 7\rretry: 10\rdata:three\r\r"
    b"database: no\ndata\n\n"
    b"event: empty\n\n"
    b'data: {"text": "\xc3\xa9\xf0\x9f\x98\x80"}\n\n'
    b"data: [DONE]"
)
EVENTS = [
    SseEvent(b"", b"one"),
    SseEvent(b"named", b"two\n lines"),
    SseEvent(b"", b"three"),
    SseEvent(b"", b""),
    SseEvent(b"", b'{"text": "\xc3\xa9\xf0\x9f\x98\x80"}'),
    SseEvent(b"", b"[DONE]"),
]


def parse(*chunks: bytes, limit: int = 1000) -> list[SseEvent]:
    parser = SseParser(limit)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.end()


def test_whole_stream() -> None:
    assert parse(STREAM) == EVENTS


def test_split_at_every_byte() -> None:
    for cut in range(len(STREAM)):
        assert parse(STREAM[:cut], STREAM[cut:]) == EVENTS, cut


def test_byte_by_byte_and_empty_chunks() -> None:
    assert parse(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS
    assert parse(b"", STREAM, b"") == EVENTS


@pytest.mark.parametrize(
    "chunks",
    [
        (b"data: " + b"x" * 2000 + b"\n\n",),
        (b"data: " + b"x" * 2000,),
        (b"data: xxxx\n" * 500,),
        tuple(b"x" * 100 for _ in range(11)),
    ],
)
def test_an_event_beyond_the_limit_is_refused(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(SseTooLarge):
        parse(*chunks)


def test_many_events_may_exceed_the_limit_together() -> None:
    assert len(parse(b"data: 0123456789\n\n" * 500)) == 500
