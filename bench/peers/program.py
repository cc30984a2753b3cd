"""Peers that are libraries in the caller's own process: a program makes the calls itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.calls import openai_body
from bench.load import Loaded
from bench.peers.peer import Measured, Setup


@dataclass(frozen=True)
class Program:
    """Runs a program anew for each measurement. It says itself what CPU time its calls took, so
    that its start doesn't count. See Subject.
    """

    command: Sequence[str]
    setup: Setup

    def run(
        self, way: str, stream: bool, concurrency: int, calls: int, connections: int = 1
    ) -> Measured:
        base_url = self.setup.upstream.base_url(way)
        mode = "stream" if stream else "unary"
        done = subprocess.run(
            [*self.command, base_url, mode, str(concurrency), str(calls)],
            input=json.dumps(openai_body("bench-model", stream=False)),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-2000:] or f"status {done.returncode}")
        loaded = Loaded(**json.loads(done.stdout))
        if len(loaded.took) != calls:
            raise RuntimeError(f"{len(loaded.took)} of {calls} calls were made")
        return Measured(loaded.cpu, loaded)


@dataclass(frozen=True)
class ProgramPeer:
    """A peer that is a library; see Peer.

    Attributes:
        installed: makes it ready to run and gives its version.
        command: the program, which takes: base URL, "unary" or "stream", concurrency, calls;
            and the body of a unary call on its standard input.
    """

    key: str
    title: str
    installed: Callable[[Path], str]
    command: Callable[[Setup], Sequence[str]]

    def install(self, installs: Path) -> str:
        return self.installed(installs)

    @contextmanager
    def running(self, setup: Setup) -> Iterator[Program]:
        yield Program(self.command(setup), setup)
