"""The server as callers and operators meet it: answers, errors, token, TLS, health, shutdown."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import grpc
import pytest
import trustme
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from marsys.rpc.status import from_rpc_error
from marsys.stream import fold
from marsys.v1 import (
    CountTokensRequest,
    ErrorReason,
    ListProfilesRequest,
    StreamGenerateRequest,
)
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from marsys.v1.oauth_service_pb2_grpc import OAuthServiceStub
from serving.server import AddressError, start_server
from serving.settings import ServerSettings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(bench, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(bench.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def eventually(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_streamed_events_fold_to_the_unary_answer(bench, ask):
    unary = await bench.stub.Generate(ask("good morning all"))
    request = StreamGenerateRequest(request=ask("good morning all"))
    events = [e async for r in bench.stub.StreamGenerate(request) for e in r.events]
    streamed = fold(events)
    for response in (unary, streamed):
        assert re.fullmatch(r"[0-9a-f]{32}", response.request_id)
        response.ClearField("request_id")
        response.ClearField("create_time")
    assert unary == streamed
    assert unary.message.parts[0].text.text == "good morning all "
    assert [event.sequence for event in events] == list(range(len(events)))


async def test_the_caller_chooses_the_request_id(bench, ask):
    answer = await bench.stub.Generate(ask("hi"), metadata=(("x-request-id", "my-id.7"),))
    assert answer.request_id == "my-id.7"
    answer = await bench.stub.Generate(ask("hi"), metadata=(("x-request-id", "no spaces"),))
    assert answer.request_id != "no spaces"


async def test_an_error_carries_its_details(bench, ask):
    request = ask("hi")
    request.config.top_p = 1.5
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.stub.Generate(request, metadata=(("x-request-id", "call-1"),))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = from_rpc_error(caught.value)
    assert error.reason == ErrorReason.ERROR_REASON_INVALID_REQUEST
    assert error.field == "config.top_p"
    found = {}
    for detail in rpc_status.from_call(caught.value).details:
        for kind in ("ErrorInfo", "BadRequest", "RequestInfo"):
            message = getattr(error_details_pb2, kind)()
            if detail.Unpack(message):
                found[kind] = message
    assert found["ErrorInfo"].reason == "INVALID_REQUEST"
    assert found["ErrorInfo"].domain == "marsys.v1"
    assert found["BadRequest"].field_violations[0].field == "config.top_p"
    assert found["RequestInfo"].request_id == "call-1"


async def test_an_unexpected_error_tells_callers_nothing_of_its_text(bench, ask):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.stub.Generate(ask("please fail"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "a secret detail" not in caught.value.details()
    assert (await bench.stub.Generate(ask("go on"))).message.parts[0].text.text == "go on "


async def test_a_generation_without_its_end_is_an_error(bench, ask):
    request = StreamGenerateRequest(request=ask("endless"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [r async for r in bench.stub.StreamGenerate(request)]
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_rpcs_that_are_not_served_say_so(bench):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await OAuthServiceStub(bench.channel).ListProfiles(ListProfilesRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert from_rpc_error(caught.value).reason == ErrorReason.ERROR_REASON_UNIMPLEMENTED


@pytest.mark.parametrize("rpc", ["StreamGenerate", "CountTokens"])
async def test_a_wrapped_request_must_be_there(bench, rpc):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if rpc == "CountTokens":
            await bench.stub.CountTokens(CountTokensRequest())
        else:
            [r async for r in bench.stub.StreamGenerate(StreamGenerateRequest())]
    assert from_rpc_error(caught.value).field == "request"


async def test_fields_are_named_alike_in_every_rpc(bench, ask):
    request = StreamGenerateRequest(request=ask("hi"))
    request.request.config.temperature = -1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [r async for r in bench.stub.StreamGenerate(request)]
    assert from_rpc_error(caught.value).field == "config.temperature"


async def test_a_message_over_the_limit_is_refused_and_the_service_goes_on(bench, ask):
    request = ask("x" * (100 * 1024 * 1024))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.stub.Generate(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert from_rpc_error(caught.value).reason == ErrorReason.ERROR_REASON_REQUEST_TOO_LARGE
    assert (await bench.stub.Generate(ask("still here"))).response_id == "echo-1"


async def test_a_cancelled_call_cancels_the_generation(bench, ask):
    call = bench.stub.StreamGenerate(StreamGenerateRequest(request=ask("wait")))
    await call.read()
    await eventually(lambda: bench.app.generator.waiting == 1)
    call.cancel()
    await eventually(lambda: bench.app.generator.cancelled == 1)
    assert bench.app.generator.waiting == 0


async def test_a_passed_deadline_cancels_the_generation(bench, ask):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.stub.Generate(ask("wait"), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert from_rpc_error(caught.value).reason == ErrorReason.ERROR_REASON_TIMEOUT
    await eventually(lambda: bench.app.generator.cancelled == 1)


async def test_health_is_not_serving_until_the_app_has_started(make_bench, echo_app):
    app = echo_app()
    app.may_start.clear()
    bench = await make_bench(app)
    assert await health(bench) == NOT_SERVING
    assert await health(bench, "marsys.v1.InferenceService") == NOT_SERVING
    app.may_start.set()
    await bench.server.ready()
    assert await health(bench) == SERVING
    assert await health(bench, "marsys.v1.InferenceService") == SERVING


async def test_shutdown_lets_running_calls_end_and_refuses_new_ones(bench, ask):
    await bench.server.ready()
    request = StreamGenerateRequest(request=ask("please wait for me"))
    running = aiter(bench.stub.StreamGenerate(request))
    events = list((await anext(running)).events)
    await eventually(lambda: bench.app.generator.waiting == 1)
    stopping = asyncio.create_task(bench.server.stop(10))
    await asyncio.sleep(0)
    while await health(bench) == SERVING:
        await asyncio.sleep(0.01)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.stub.Generate(ask("hello"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert from_rpc_error(caught.value).reason == ErrorReason.ERROR_REASON_SHUTTING_DOWN
    bench.app.generator.release.set()
    events += [e async for r in running for e in r.events]
    assert events[-1].HasField("finished")
    assert await stopping is True
    assert bench.app.stopped


async def test_shutdown_cancels_what_outlasts_the_grace(bench, ask):
    await bench.server.ready()
    running = aiter(bench.stub.StreamGenerate(StreamGenerateRequest(request=ask("wait"))))
    await anext(running)
    await eventually(lambda: bench.app.generator.waiting == 1)
    assert await bench.server.stop(0.1) is False
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        [r async for r in running]
    await eventually(lambda: bench.app.generator.cancelled == 1)


async def test_a_token_is_asked_for(make_bench, ask):
    bench = await make_bench(token="open-sesame-5531")
    await bench.server.ready()
    right = (("authorization", "Bearer open-sesame-5531"),)
    assert (await bench.stub.Generate(ask("hi"), metadata=right)).response_id == "echo-1"
    for wrong in ((), (("authorization", "Bearer open-sesame-553"),), right + right):
        for call in (
            lambda m: bench.stub.Generate(ask("hi"), metadata=m),
            lambda m: bench.stub.StreamGenerate(
                StreamGenerateRequest(request=ask("hi")), metadata=m
            ).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(wrong)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert from_rpc_error(caught.value).reason == ErrorReason.ERROR_REASON_UNAUTHENTICATED
    assert await health(bench) == SERVING  # probes need no token


async def test_tls_and_client_certificates(make_bench, ask, tmp_path: Path):
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    files = {}
    for name, blobs in {
        "tls_cert_file": issued.cert_chain_pems,
        "tls_key_file": [issued.private_key_pem],
        "tls_client_ca_file": [authority.cert_pem],
    }.items():
        files[name] = tmp_path / name
        files[name].write_bytes(b"".join(blob.bytes() for blob in blobs))
    bench = await make_bench(**files)
    client = authority.issue_cert("client.example")
    with_certificate = grpc.ssl_channel_credentials(
        root_certificates=authority.cert_pem.bytes(),
        private_key=client.private_key_pem.bytes(),
        certificate_chain=client.cert_chain_pems[0].bytes(),
    )
    async with grpc.aio.secure_channel(bench.server.address, with_certificate) as channel:
        answer = await InferenceServiceStub(channel).Generate(ask("hi"))
        assert answer.response_id == "echo-1"
    without = grpc.ssl_channel_credentials(root_certificates=authority.cert_pem.bytes())
    async with grpc.aio.secure_channel(bench.server.address, without) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await InferenceServiceStub(channel).Generate(ask("hi"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_address_in_use_is_an_error(bench, make_bench):
    with pytest.raises(AddressError, match="in use"):
        await make_bench(address=bench.server.address)


async def test_a_unix_socket(make_bench, ask, tmp_path: Path):
    bench = await make_bench(address=f"unix:{tmp_path}/s")
    assert (await bench.stub.Generate(ask("hi"))).response_id == "echo-1"


async def test_the_address_file_tells_the_bound_port(tmp_path: Path, echo_app):
    file = tmp_path / "address"
    settings = ServerSettings(address="127.0.0.1:0", token=None, address_file=file)
    server = await start_server(settings, echo_app())
    assert file.read_text() == server.address
    assert not server.address.endswith(":0")
    await server.stop(0.1)


async def test_nonsense_on_the_wire_leaves_the_service_up(bench, ask):
    raw = bench.channel.unary_unary("/marsys.v1.InferenceService/Generate")
    with pytest.raises(grpc.aio.AioRpcError):
        await raw(b"\xff\xff\xff not a protobuf")
    host, _, port = bench.server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await writer.drain()
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert (await bench.stub.Generate(ask("hi"))).response_id == "echo-1"
