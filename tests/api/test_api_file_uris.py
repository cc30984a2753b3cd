"""file: URLs are for models on the service's machine; api_service never hands them on."""

from __future__ import annotations

import grpc
import pytest
from api_upstream import Caller, Upstream, ask

from marsys.rpc.status import from_rpc_error
from marsys.v1 import CountTokensRequest, GenerateRequest, MediaPart, Part, ToolResultPart


def with_file(nested: bool) -> GenerateRequest:
    request = ask()
    media = MediaPart(media_type="image/png", uri="file:///etc/hostname")
    if nested:
        call = request.messages.add(role="ROLE_ASSISTANT").parts.add().tool_call
        call.id, call.name = "call_1", "look"
        result = ToolResultPart(tool_call_id="call_1", content=[Part(media=media)])
        request.messages.add(role="ROLE_TOOL").parts.add().tool_result.CopyFrom(result)
    else:
        request.messages[0].parts.add().media.CopyFrom(media)
    return request


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("nested", [False, True])
async def test_a_file_is_refused_by_name(
    caller: Caller, upstream: Upstream, nested: bool, stream: bool
) -> None:
    error = await caller.failure(with_file(nested), stream)
    place = "messages[2].parts[0].tool_result.content[0]" if nested else "messages[0].parts[1]"
    assert error.field.removeprefix("request.") == f"{place}.media.uri"
    assert not upstream.seen


async def test_a_file_is_refused_where_tokens_are_counted(
    caller: Caller, upstream: Upstream
) -> None:
    request = with_file(nested=False)
    request.model = "anthropic/claude-sonnet-4-5"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.inference.CountTokens(CountTokensRequest(request=request), timeout=30)
    assert from_rpc_error(caught.value).field.endswith("messages[0].parts[1].media.uri")
    assert not upstream.seen
