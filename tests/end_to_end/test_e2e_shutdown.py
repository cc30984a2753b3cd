"""SIGTERM: running streams end, new calls are refused, the exit is clean."""

from __future__ import annotations

import itertools
import signal

import grpc
import pytest
from e2e_services import wait_until
from google.protobuf import json_format

from marsys.rpc.status import from_rpc_error
from marsys.stream import fold
from marsys.v1 import ErrorReason, GenerateRequest, StreamGenerateRequest


def story(model: str, tokens: int) -> GenerateRequest:
    text = {"text": {"text": "Write a very long story about a ship."}}
    body = {
        "model": model,
        "messages": [{"role": "ROLE_USER", "parts": [text]}],
        "config": {"temperature": 0, "max_tokens": tokens},
    }
    return json_format.ParseDict(body, GenerateRequest())


def test_a_running_stream_ends_and_new_calls_are_refused(
    make_service, stubs_of, embedded_directory, embedded_model
):
    service = make_service("local_inference_service").wait_ready()
    stub = stubs_of(service).inference
    running = stub.StreamGenerate(StreamGenerateRequest(request=story(embedded_model, 100)))
    first = next(running)
    service.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not service.healthy())
    with pytest.raises(grpc.RpcError) as caught:
        stub.Generate(story(embedded_model, 5))
    assert from_rpc_error(caught.value).reason == ErrorReason.ERROR_REASON_SHUTTING_DOWN
    events = [e for r in itertools.chain([first], running) for e in r.events]
    assert fold(events).usage.output_tokens == 100
    assert service.process.wait(30) == 0
    assert "Traceback" not in service.log()


def test_what_outlasts_the_grace_is_cancelled(
    make_service, stubs_of, embedded_directory, embedded_model
):
    service = make_service("local_inference_service", "--grace", "0.5").wait_ready()
    stub = stubs_of(service).inference
    running = stub.StreamGenerate(StreamGenerateRequest(request=story(embedded_model, 4000)))
    next(running)
    service.process.send_signal(signal.SIGTERM)
    with pytest.raises(grpc.RpcError):
        list(running)
    assert service.process.wait(30) == 0
    assert "Traceback" not in service.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_service_ends_at_once(make_service, number):
    service = make_service("api_service").wait_ready()
    service.process.send_signal(number)
    assert service.process.wait(10) == 0
    assert "Traceback" not in service.log()


def test_an_address_in_use_is_a_clear_error(make_service, api_service):
    with pytest.raises(AssertionError, match="in use"):
        make_service("api_service", "--address", api_service.address)
