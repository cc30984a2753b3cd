"""Bad input gets the same typed error from both services, and they go on serving."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import json_format

from marsys.rpc.status import from_rpc_error
from marsys.v1 import ErrorReason, GenerateRequest, StreamGenerateRequest

USER = {"role": "ROLE_USER", "parts": [{"text": {"text": "hi"}}]}
TOOL_RESULT = {"role": "ROLE_TOOL", "parts": [{"tool_result": {"tool_call_id": "c1"}}]}
PNG_OF_NOTHING = {"media": {"media_type": "image/png", "data": "bm90IGFuIGltYWdl"}}
R = ErrorReason

CASES = {
    "unknown model": ({"model": "no-such-model"}, "model", R.ERROR_REASON_INVALID_MODEL),
    "empty messages": ({"messages": []}, "messages", R.ERROR_REASON_INVALID_REQUEST),
    "wrong order": (
        {"messages": [USER, TOOL_RESULT]},
        "messages[1].parts[0].tool_result.tool_call_id",
        R.ERROR_REASON_INVALID_REQUEST,
    ),
    "NaN": (
        {"config": {"temperature": "NaN"}},
        "config.temperature",
        R.ERROR_REASON_INVALID_REQUEST,
    ),
    "out of range": ({"config": {"top_p": 7}}, "config.top_p", R.ERROR_REASON_INVALID_REQUEST),
    "negative": (
        {"config": {"max_tokens": -3}},
        "config.max_tokens",
        R.ERROR_REASON_INVALID_REQUEST,
    ),
    "malformed schema": (
        {"output_format": {"json_schema": {"schema_json": '{"type": "objec'}}},
        "output_format.json_schema.schema_json",
        R.ERROR_REASON_INVALID_REQUEST,
    ),
    "unreadable image": (
        {"messages": [{"role": "ROLE_USER", "parts": [PNG_OF_NOTHING]}]},
        "messages[0].parts[0].media.data",
        R.ERROR_REASON_INVALID_REQUEST,
    ),
}


@pytest.fixture(params=["local_service", "api_service"])
def service(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input(service, stubs_of, embedded_model, case, streamed):
    fields, field, reason = case
    body = {"model": embedded_model, "messages": [USER], **fields}
    request = json_format.ParseDict(body, GenerateRequest())
    stub = stubs_of(service).inference
    with pytest.raises(grpc.RpcError) as caught:
        if streamed:
            list(stub.StreamGenerate(StreamGenerateRequest(request=request)))
        else:
            stub.Generate(request)
    error = from_rpc_error(caught.value)
    assert error.reason == reason, error
    assert error.field == field
    assert service.healthy()


def test_a_message_of_100_megabytes(service, stubs_of, embedded_model):
    text = {"text": {"text": "x" * 100_000_000}}
    body = {"model": embedded_model, "messages": [{"role": "ROLE_USER", "parts": [text]}]}
    request = json_format.ParseDict(body, GenerateRequest())
    with pytest.raises(grpc.RpcError) as caught:
        stubs_of(service).inference.Generate(request)
    assert from_rpc_error(caught.value).reason == ErrorReason.ERROR_REASON_REQUEST_TOO_LARGE
    assert service.healthy()
