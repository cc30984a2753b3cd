"""A service, with all that our services share, whose model does what it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from loop_thread import LoopThread
from talker import Talker

from marsys.v1 import Role
from marsys.v1.model_service_pb2_grpc import ModelServiceServicer
from serving.server import start_server
from serving.settings import ServerSettings


@dataclass
class TalkingService:
    """A service in a thread of its own."""

    talker: Talker = field(default_factory=Talker)
    address: str = ""
    port: str = "0"

    def __post_init__(self) -> None:
        self.generator = self.talker
        self.model_service = ModelServiceServicer()
        self.oauth_service = None
        self._loop = LoopThread()

    def begin(self) -> TalkingService:
        settings = ServerSettings(address=f"127.0.0.1:{self.port}", token=None)
        self._server = self.do(start_server(settings, self))
        self.address = self._server.address
        return self

    def end(self) -> None:
        if self._loop.runs:
            self.do(self._server.stop(0.1))
            self._loop.end()

    def do(self, work: Any) -> Any:
        return self._loop.do(work)

    def wait(self) -> None:
        """Until the model waits."""
        self.do(asyncio.wait_for(self.talker.waiting.wait(), 20))

    def release(self) -> None:
        self._loop.soon(self.talker.release.set)

    @property
    def asked(self) -> list[str]:
        """What the model was asked with last: roles and words."""
        return [
            f"{Role.Name(message.role).removeprefix('ROLE_').lower()}: "
            + " ".join(
                part.text.text.strip() if part.HasField("text") else str(part.WhichOneof("content"))
                for part in message.parts
            )
            for message in self.talker.asked[-1].messages
        ]

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass
