"""Callers who ask a silent service for a sign of life, as clients behind a balancer do."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import grpc
import pytest
from grpc._cython import cygrpc

from marsys.rpc import channel
from marsys.v1 import StreamGenerateRequest
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from serving import listener


@pytest.mark.parametrize("module", [channel, listener], ids=["client", "server"])
def test_grpc_knows_our_options(module) -> None:
    """It ignores names that it doesn't know."""
    library = Path(cygrpc.__file__).read_bytes()
    options = re.findall(r'\("(grpc\.[a-z0-9_.]+)",', Path(module.__file__).read_text())
    assert len(options) > 4
    assert [name for name in options if name.encode() + b"\0" not in library] == []


@pytest.mark.slow
async def test_a_silent_stream_outlives_its_pings(bench, ask) -> None:
    options = [
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with grpc.aio.insecure_channel(bench.server.address, options=options) as own:
        stub = InferenceServiceStub(own)
        request = StreamGenerateRequest(request=ask("wait now"))
        responses = aiter(stub.StreamGenerate(request))
        events = list((await anext(responses)).events)
        await asyncio.sleep(65)
        bench.app.generator.release.set()
        async for response in responses:
            events += response.events
        assert events[-1].WhichOneof("event") == "finished"
