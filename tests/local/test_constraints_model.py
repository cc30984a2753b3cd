"""500 random schemas against the embedded model: every answer that is complete validates."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from random_schemas import schemas

from local_inference_service.adapters.huggingface_llm import HuggingFaceLLMAdapter
from marsys.stream import Fold
from marsys.v1 import FinishReason, GenerateRequest, GenerateResponse, Message, Part, Role, TextPart
from serving.errors import ServiceError

_COUNT = 500
_AT_ONCE = 16


def _some_schemas() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    @seed(1)
    @settings(
        max_examples=_COUNT,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(schemas())
    def collect(schema: dict[str, Any]) -> None:
        found.append(schema)

    collect()
    return found[:_COUNT]


async def _answer(
    adapter: HuggingFaceLLMAdapter, number: int, schema: dict[str, Any]
) -> GenerateResponse:
    words = f"Give me example number {number} as JSON."
    message = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text=words))])
    request = GenerateRequest(model="m", messages=[message])
    request.config.max_tokens = 64
    request.config.seed = number
    request.config.temperature = 1
    request.output_format.json_schema.schema_json = json.dumps(schema)
    fold = Fold()
    sequence = 0
    async for events in adapter.generate(request, "m"):
        for event in events:
            event.sequence = sequence
            sequence += 1
            fold.add(event)
    return fold.result()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_every_complete_answer_validates(adapter):
    complete = refused = 0
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, schema: dict[str, Any]) -> None:
        nonlocal complete, refused
        async with room:
            try:
                response = await _answer(adapter, number, schema)
            except ServiceError as error:  # a schema without any value, or too intricate
                assert error.error.field.startswith("output_format")
                refused += 1
                return
        if response.finish_reason != FinishReason.FINISH_REASON_STOP:
            return
        complete += 1
        text = "".join(part.text.text for part in response.message.parts)
        jsonschema.validate(json.loads(text), schema)

    some = _some_schemas()
    await asyncio.gather(*(one(number, schema) for number, schema in enumerate(some)))
    assert refused < len(some) / 5
    assert complete > len(some) / 2
