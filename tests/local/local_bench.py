"""A running service with local models, and what it is asked."""

from __future__ import annotations

from typing import Any

import grpc

from local_inference_service.service import LocalApp
from marsys.v1 import GenerateRequest, Message, Part, Role, TextPart
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from marsys.v1.model_service_pb2_grpc import ModelServiceStub
from serving.server import RunningServer


class LocalBench:
    """A running local_inference_service."""

    def __init__(self, app: LocalApp, server: RunningServer, channel: grpc.aio.Channel) -> None:
        self.app = app
        self.server = server
        self.inference: Any = InferenceServiceStub(channel)
        self.models: Any = ModelServiceStub(channel)

    def jobs(self, model: str) -> int:
        """How many requests the model's engine has."""
        with self.app.generator._pool.use(model) as adapter:
            return adapter.jobs


def ask(text: str, model: str = "tiny", **config: Any) -> GenerateRequest:
    message = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text=text))])
    request = GenerateRequest(model=model, messages=[message])
    for name, value in config.items():
        if name == "stop_sequences":
            request.config.stop_sequences.extend(value)
        else:
            setattr(request.config, name, value)
    return request
