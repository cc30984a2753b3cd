"""Upstreams that break the rules: a typed error that says what was wrong, and the service lives."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import zlib
from pathlib import Path

import pytest
import trustme
from api_raw_upstream import STREAM, Answer, RawUpstream, chunked, endless, head, raw, whole
from api_upstream import DONE, Caller, Serve, ask, completion, delta

from api_service.content_encoding import Inflater
from api_service.providers.sse import MAX_EVENT_BYTES
from api_service.settings import ApiSettings
from marsys.v1 import ErrorReason

ONCE = {"maxAttempts": 1}
MALFORMED = ErrorReason.ERROR_REASON_MALFORMED_RESPONSE
NETWORK = ErrorReason.ERROR_REASON_NETWORK_ERROR

JSON = json.dumps(completion("whole")).encode()
HALF = b"data: %s\n\n" % json.dumps(delta("half")).encode()
REST = b"data: %s\n\n" % json.dumps(delta(finish="stop")).encode() + DONE
CHUNKED = head("application/json", "Transfer-Encoding: chunked")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


async def fails(
    caller: Caller, wire: RawUpstream, answer: Answer | bytes, stream: bool, *words: str
) -> ErrorReason.ValueType:
    """Why the call fails. The next one must succeed."""
    wire.script(answer)
    error = await caller.failure(ask("acme/m", policy=ONCE), stream)
    assert any(word in error.message for word in words), error.message
    assert len(error.message) < 1000
    assert error.provider == "acme"
    wire.script(whole(JSON))
    answered = await caller.either(ask("acme/m"), stream)
    assert answered.message.parts[0].text.text == "whole"
    return error.reason


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "no HTTP"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n", hang=True), "no HTTP"),
        (raw(JSON), "no HTTP"),
        (raw(b"\x15\x03\x01\x00\x02\x02\x28"), "no HTTP"),
        (raw(b"\x00\x00\x12\x04" + bytes(23), hang=True), "no HTTP"),
        (endless(b"HTTP/1.1 200 ", b"O" * 65536), "headers are too large"),
        (endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536), "headers are too large"),
        (endless(b"HTTP/1.1 200 OK\r\n", b"X" * 65536), "headers are too large"),
        (endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000), "headers are too many"),
        (endless(CHUNKED + chunked(JSON), b"X-A: b\r\n" * 1000), "no HTTP"),
        (raw(SWITCH, hang=True), "another protocol"),
        (endless(SWITCH, b"x" * 65536), "another protocol"),
        (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "no content (status 204)"),
        (raw(whole(b"<html>hello</html>", "text/html; charset=utf-8")), "web page"),
        (endless(head("text/html"), b"<p>" * 10_000), "web page"),
        (raw(head("application/json", "Content-Length: -5") + JSON), "no HTTP"),
        (raw(head("application/json", "Content-Length: 5", "Content-Length: 7") + JSON), "no HTTP"),
        (raw(CHUNKED + b"zz\r\nhello\r\n"), "no HTTP"),
        (raw(whole(JSON) + b"trailing garbage"), "no HTTP"),
        (raw(whole(b'{"choices": [')), "no JSON"),
        (raw(whole(b"\xff\xfe\x00")), "no JSON"),
        (raw(whole(b'{"choices": [{"message": {"content": "\xff"}}]}')), "no JSON"),
        (raw(whole(b"[" * 100_000)), "no JSON"),
        (raw(whole(b"")), "no JSON"),
        (raw(whole(b"{}")), "no choices"),
        (raw(head("application/json", "Content-Length: 1000000000") + b" "), "larger than"),
        (endless(CHUNKED, chunked(b" " * 2**20, end=False)), "larger than"),
    ],
)  # fmt: skip
async def test_malformed_answers(
    wire_caller: Caller, wire: RawUpstream, answer: Answer, words: str, stream: bool
) -> None:
    reason = await fails(wire_caller, wire, answer, stream, words, "headers are too many")
    assert reason == MALFORMED


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raw(reset=True), "ECONNRESET"),
        (raw(), "closed the connection before it answered"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-"), "closed the connection before it answered"),
        (raw(head("application/json", "Content-Length: 9000") + JSON), "before the end"),
        (raw(CHUNKED + chunked(JSON, end=False)), "before the end"),
        (raw(CHUNKED + b"1000\r\n" + JSON), "before the end"),
        (raw(CHUNKED + chunked(JSON, end=False), reset=True), "broke the connection"),
    ],
)  # fmt: skip
async def test_broken_connections(
    wire_caller: Caller, wire: RawUpstream, answer: Answer, words: str, stream: bool
) -> None:
    assert await fails(wire_caller, wire, answer, stream, words) == NETWORK


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        # Nothing of these may pass for an answer, though most began as one.
        (raw(STREAM + chunked(HALF, end=False)), "before the end"),
        (raw(STREAM + chunked(HALF)), "ended before its end"),
        (raw(STREAM + chunked(HALF, REST[:30])), "no JSON"),
        (raw(STREAM + chunked(HALF, HALF[:60] + b"\xe2\x82")), "no JSON"),
        (raw(STREAM + chunked(HALF, end=False) + b"5\r\nda"), "before the end"),
        (raw(head("text/event-stream") + HALF), "ended before its end"),
        (raw(head("text/event-stream", "Content-Length: 9000") + HALF), "before the end"),
        (raw(STREAM + chunked(HALF, end=False), reset=True), "broke the connection"),
        (raw(STREAM + chunked(HALF, end=False) + b"zz\r\n"), "no HTTP"),
        (raw(STREAM + chunked()), "ended before its end"),
        (raw(whole(b"", "text/event-stream")), "ended before its end"),
        (raw(STREAM + chunked(b"data: 5\n\n")), "no object"),
        (raw(STREAM + chunked(b"data: \xff\xfe\n\n")), "no JSON"),
        (raw(STREAM + chunked(DONE)), "no usable content"),
    ],
)  # fmt: skip
async def test_truncated_streams(
    wire_caller: Caller, wire: RawUpstream, answer: Answer, words: str
) -> None:
    reason = await fails(wire_caller, wire, answer, True, words, "broke the connection")
    assert reason in (MALFORMED, NETWORK, ErrorReason.ERROR_REASON_EMPTY_COMPLETION)


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(b"x" * 2**20, id="a line without an end"),
        pytest.param(b"x" * 1000 + b"\ndata: ", id="an event of many lines"),
        pytest.param(b"\ndata:" * 10_000, id="an event of many empty lines"),
    ],
)
async def test_endless_events(wire_caller: Caller, wire: RawUpstream, piece: bytes) -> None:
    answer = endless(STREAM + chunked(b"data: ", end=False), chunked(piece, end=False))
    reason = await fails(wire_caller, wire, answer, True, f"larger than {MAX_EVENT_BYTES}")
    assert reason == MALFORMED


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(JSON)),
        ("x-gzip", gzip.compress(JSON)),
        ("deflate", zlib.compress(JSON)),
        ("deflate", zlib.compress(JSON)[2:-4]),  # without zlib's header
        ("identity", JSON),
    ],
)
async def test_compressed_answers_are_taken_though_not_asked_for(
    wire_caller: Caller, wire: RawUpstream, encoding: str, body: bytes, stream: bool
) -> None:
    wire.script(whole(body, "application/json", f"Content-Encoding: {encoding}"))
    answer = await wire_caller.either(ask("acme/m"), stream)
    assert answer.message.parts[0].text.text == "whole"
    assert b"accept-encoding: identity" in wire.requests[0].lower()


async def test_compressed_streams_are_taken(wire_caller: Caller, wire: RawUpstream) -> None:
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(HALF) + packer.flush(zlib.Z_SYNC_FLUSH)]
    pieces.append(packer.compress(REST) + packer.flush())
    top = head("text/event-stream", "Transfer-Encoding: chunked", "Content-Encoding: gzip")
    wire.script(top + chunked(*pieces))
    answer = await wire_caller.either(ask("acme/m"), stream=True)
    assert answer.message.parts[0].text.text == "half"


def bomb(text: bytes) -> bytes:
    """A gigabyte, compressed to a megabyte."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(text * 2**20) for _ in range(1024)) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        ("gzip", gzip.compress(JSON)[:-9], "compressed bytes ended before their end"),
        ("gzip", JSON, "can't be decompressed"),
        ("gzip", gzip.compress(JSON) + JSON, "something follows"),
        ("deflate", b"\xff" * 100, "can't be decompressed"),
        ("br", JSON, "'br', which was not asked for"),
        ("gzip, gzip", gzip.compress(gzip.compress(JSON)), "not asked for"),
        ("gzip", bomb(b" "), "larger than"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_bad_compression(
    wire_caller: Caller, wire: RawUpstream, encoding: str, body: bytes, words: str, stream: bool
) -> None:
    answer = raw(whole(body, "application/json", f"Content-Encoding: {encoding}"))
    assert await fails(wire_caller, wire, answer, stream, words) == MALFORMED


async def test_a_compressed_line_without_an_end(wire_caller: Caller, wire: RawUpstream) -> None:
    answer = raw(whole(bomb(b"x"), "text/event-stream", "Content-Encoding: gzip"))
    assert await fails(wire_caller, wire, answer, True, f"than {MAX_EVENT_BYTES}") == MALFORMED


@pytest.mark.parametrize(
    "answer",
    [
        whole(b'{"error": {"message": "who?"}}', status="401 No"),
        head("application/json", "Content-Length: 9000", status="401 No") + b'{"error": "who?',
        whole(b"<html>who?</html>", "text/html", status="401 No"),
        whole(b"who?" * 10_000_000, "text/plain", status="401 No"),
        whole(b"who?", "text/plain", "Content-Encoding: br", status="401 No"),
        whole(b"\xff\xfe\x00", status="401 No"),
        whole(bomb(b"who?"), "text/plain", "Content-Encoding: gzip", status="401 No"),
    ],
)
async def test_an_errors_status_outlives_its_body(
    wire_caller: Caller, wire: RawUpstream, answer: bytes
) -> None:
    wire.script(answer)
    error = await wire_caller.failure(ask("acme/m"))
    assert error.reason == ErrorReason.ERROR_REASON_AUTHENTICATION_FAILED
    assert error.http_status == 401
    assert len(error.message) < 2000
    assert len(wire.requests) == 1


async def test_an_errors_body_is_not_waited_for_long(
    wire_caller: Caller, wire: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_service.transport._ERROR_WAIT", 0.2)
    top = head("application/json", "Content-Length: 9000", status="401 No")
    wire.script(raw(top + b'{"error":', hang=True))
    error = await wire_caller.failure(ask("acme/m"))
    assert error.http_status == 401
    await asyncio.wait_for(wire.closed.wait(), 5)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("bits", [31, 15])
def test_decompression_does_not_depend_on_where_bytes_are_split(size: int, bits: int) -> None:
    text = JSON * 5000  # larger than one piece
    packer = zlib.compressobj(wbits=bits)
    packed = packer.compress(text) + packer.flush()
    inflater = Inflater("gzip" if bits == 31 else "deflate")
    found = []
    for start in range(0, len(packed), size):
        inflater.feed(packed[start : start + size])
        while piece := inflater.take():
            assert len(piece) <= 2**18
            found.append(piece)
    inflater.end()
    assert b"".join(found) == text


async def test_tls(serve: Serve, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    wire = RawUpstream()
    await wire.start(context)
    wire.script(whole(JSON))
    providers = {
        "acme": {"base_url": wire.url},
        "plain": {"base_url": wire.url.replace("https", "http")},
        "named": {"base_url": wire.url.replace("127.0.0.1", "localhost")},
    }
    distrustful = await serve(providers=providers)
    error = await distrustful.failure(ask("acme/m"))
    assert error.reason == NETWORK
    assert "certificate is not valid" in error.message
    assert not error.retryable
    assert "ca_file" in error.suggested_action
    trusting = await serve(providers=providers, ca_file=tmp_path / "ca.pem")
    assert (await trusting.generate(ask("acme/m"))).message.parts[0].text.text == "whole"
    error = await trusting.failure(ask("named/m"))
    assert "certificate is not valid" in error.message, "it is not for that name"
    error = await trusting.failure(ask("plain/m", policy=ONCE))
    assert error.reason in (NETWORK, MALFORMED)
    await wire.stop()


async def test_plain_text_where_tls_should_be(serve: Serve) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"", status="400 Bad Request"))
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    caller = await serve(providers={"acme": {"base_url": f"https://127.0.0.1:{port}"}})
    error = await caller.failure(ask("acme/m", policy=ONCE))
    assert error.reason == NETWORK
    assert "TLS" in error.message
    server.close()


async def test_a_name_that_does_not_exist(serve: Serve) -> None:
    caller = await serve(providers={"acme": {"base_url": "http://no.such.name.invalid/v1"}})
    error = await caller.failure(ask("acme/m", policy=ONCE))
    assert error.reason == NETWORK
    assert "its name is not known" in error.message


def test_ca_file_must_hold_certificates(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    for path in (tmp_path / "x.pem", tmp_path / "missing.pem"):
        with pytest.raises(ValueError, match="ca_file"):
            ApiSettings(ca_file=path)


async def test_connections_are_kept(wire_caller: Caller, wire: RawUpstream) -> None:
    wire.keep = True
    wire.script(*(whole(JSON), STREAM + chunked(HALF, REST)) * 2)
    for stream in (False, True, False, True):
        await wire_caller.either(ask("acme/m"), stream)
    assert wire.connections == 1
    assert len(wire.requests) == 4


async def test_a_connection_that_went_stale_is_replaced_unseen(
    wire_caller: Caller, wire: RawUpstream
) -> None:
    """A server may close an idle connection in the moment in which the next request is sent."""
    wire.keep = True
    wire.script(whole(JSON), raw(reset=True), whole(JSON))
    await wire_caller.generate(ask("acme/m", policy=ONCE))
    answer = await wire_caller.generate(ask("acme/m", policy=ONCE))
    assert answer.message.parts[0].text.text == "whole"
    assert not answer.attempts
    assert (wire.connections, len(wire.requests)) == (2, 3)


async def test_a_new_connection_that_breaks_is_an_attempt(
    wire_caller: Caller, wire: RawUpstream
) -> None:
    wire.script(raw(reset=True), whole(JSON))
    answer = await wire_caller.generate(ask("acme/m"))
    assert [attempt.reason for attempt in answer.attempts] == ["NETWORK_ERROR"]


async def test_what_nobody_asked_for_answers_nothing(
    wire_caller: Caller, wire: RawUpstream
) -> None:
    """A second answer to one request must not become the next request's."""
    sent = asyncio.Event()

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(JSON))
        await sent.wait()
        writer.write(whole(JSON.replace(b"whole", b"stray")))
        await asyncio.sleep(600)

    wire.script(twice)
    await wire_caller.generate(ask("acme/m"))
    wire.script(whole(JSON.replace(b"whole", b"right")))
    sent.set()
    await asyncio.sleep(0.1)
    answer = await wire_caller.generate(ask("acme/m"))
    assert answer.message.parts[0].text.text == "right"
