"""local_inference_service, asked through gRPC."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from processes import serving
from workload import EMBEDDED, Figures, Side, Workload, measure

from marsys.v1 import GenerateRequest, Message, Part, Role, StreamGenerateRequest, TextPart
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub


def service(backend: str) -> Side:
    """The service with a backend."""

    def side(work: Workload) -> dict[int, Figures]:
        with tempfile.TemporaryDirectory() as directory:
            address_file = Path(directory) / "address"
            command = [
                sys.executable, "-m", "local_inference_service", "--address", "127.0.0.1:0",
                "--address-file", str(address_file), "--model", work.model, "--backend", backend,
                "--torch-dtype", work.dtype, "--max-model-len", "2048",
                "--max-active", str(work.most),
            ]  # fmt: skip
            with serving(command, address_file):
                address = address_file.read_text().strip()
                return asyncio.run(_measure(address, work))

    return side


async def _measure(address: str, work: Workload) -> dict[int, Figures]:
    async with grpc.aio.insecure_channel(address) as channel:
        await _ready(channel)
        stub: Any = InferenceServiceStub(channel)
        name = work.model if work.model == EMBEDDED else work.model.rstrip("/").rpartition("/")[2]

        async def ask(prompt: str) -> AsyncIterator[int]:
            turn = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text=prompt))])
            request = GenerateRequest(model=name, messages=[turn])
            request.config.max_tokens = work.tokens
            request.config.temperature = 0
            said = 0
            async for response in stub.StreamGenerate(
                StreamGenerateRequest(request=request), wait_for_ready=True
            ):
                for event in response.events:
                    if event.HasField("part_delta"):
                        said += 1
                        yield said
                    elif event.HasField("finished"):
                        yield event.finished.usage.output_tokens

        return await measure(ask, work)


async def _ready(channel: grpc.aio.Channel) -> None:
    """Wait until the model has generated once."""
    request = health_pb2.HealthCheckRequest()
    async with asyncio.timeout(600):
        async for answer in health_pb2_grpc.HealthStub(channel).Watch(request):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
