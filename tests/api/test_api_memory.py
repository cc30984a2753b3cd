"""What upstreams send without end does not fill the service's memory. Measured in its process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zlib
from pathlib import Path

import grpc
import pytest
from api_raw_upstream import STREAM, Answer, RawUpstream, chunked, endless, head, raw, whole
from api_upstream import Caller, ask, completion, delta

from marsys.v1 import ErrorReason

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")

MIB = 2**20
LIMIT = 400  # MiB above what the idle service needs; every attack here sends a GiB or has no end


def event(text: str) -> bytes:
    return b"data: %s\n\n" % json.dumps(delta(text)).encode()


def bomb(text: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    piece = text * (MIB // len(text))
    return b"".join(packer.compress(piece) for _ in range(1024)) + packer.flush()


def zipped(kind: str, text: bytes, status: str = "200 OK") -> Answer:
    return raw(whole(bomb(text), kind, "Content-Encoding: gzip", status=status))


JSON_BODY = head("application/json", "Content-Length: 1073741824")
UNSIZED = head("application/json", "Transfer-Encoding: chunked")
ERROR = head("application/json", "Transfer-Encoding: chunked", status="400 Bad")
SWITCH = b"HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
TEXT = b'"' + b"x" * MIB
ATTACKS: dict[str, tuple[Answer, bool]] = {
    "body": (endless(UNSIZED, chunked(TEXT, end=False)), False),
    "sized body": (endless(JSON_BODY, TEXT), False),
    "body to a stream": (endless(UNSIZED, chunked(TEXT, end=False)), True),
    "error body": (endless(ERROR, chunked(TEXT, end=False)), False),
    "one line": (endless(STREAM, chunked(b"x" * MIB, end=False)), True),
    "one event": (endless(STREAM, chunked(b"data: " + b"x" * 1000 + b"\n", end=False)), True),
    "large event": (raw(STREAM, chunked(event("x" * 50 * MIB)), hang=True), True),
    "comments": (endless(STREAM, chunked((b": " + b"x" * 60 + b"\n") * 10_000, end=False)), True),
    "text": (endless(STREAM, chunked(event("x" * MIB), end=False)), True),
    "small texts": (endless(STREAM, chunked(event("word ") * 1000, end=False)), True),
    "headers": (endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n" * 1000), False),
    "status line": (endless(b"HTTP/1.1 200 ", b"x" * MIB), False),
    "another protocol": (endless(SWITCH, TEXT), False),
    "gzip body": (zipped("application/json", b" "), False),
    "gzip error": (zipped("application/json", b"x", "400 Bad"), False),
    "gzip line": (zipped("text/event-stream", b"x"), True),
    "gzip comments": (zipped("text/event-stream", b": x\n"), True),
    "gzip texts": (zipped("text/event-stream", event("word ")), True),
}  # fmt: skip


def peak(pid: int) -> int:
    """Most memory that a process has held so far, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise AssertionError("no VmHWM")


@pytest.mark.slow
async def test_memory_is_bounded(wire: RawUpstream, tmp_path: Path) -> None:
    where = tmp_path / "address"
    environ = {
        **os.environ,
        "MARSYS_API_ADDRESS": "127.0.0.1:0",
        "MARSYS_API_ADDRESS_FILE": str(where),
        "MARSYS_API_PROVIDERS__ACME__BASE_URL": wire.url,
    }
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api_service", env=environ, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        while not (where.exists() and where.read_text()):
            await asyncio.sleep(0.05)
        address = where.read_text().strip()
        sizes = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(address, options=sizes) as channel:
            await attack(Caller(channel, address), wire, service.pid)
    finally:
        service.terminate()
        await service.wait()


async def attack(caller: Caller, wire: RawUpstream, pid: int) -> None:
    wire.script(whole(json.dumps(completion("alive")).encode()))
    await caller.generate(ask("acme/m"))
    before = peak(pid)
    for name, (answer, stream) in ATTACKS.items():
        wire.script(answer)
        policy = {"maxAttempts": 1, "firstTokenTimeout": "20s"}
        error = await caller.failure(ask("acme/m", policy=policy), stream, timeout=120)
        assert error.reason in (
            ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
            ErrorReason.ERROR_REASON_INVALID_REQUEST,
        ), f"{name}: {error}"
        print(f"{name}: {peak(pid) - before} MiB")
        assert peak(pid) - before < LIMIT, name
    wire.script(whole(json.dumps(completion("alive")).encode()))
    assert (await caller.generate(ask("acme/m"))).message.parts[0].text.text == "alive"
