"""Programs that use the client in embedded mode, as processes of their own, and what they start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
USUAL_PORTS = (50051, 50052)
SERVICES = ("api_service", "local_inference_service")


class Provider:
    """A remote provider that speaks OpenAI Chat Completions and says "Hi".

    Attributes:
        url: its base URL.
        keys: the key of each request.
        status: its answers' HTTP status.
        silent: while set, requests are not answered.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.status = 200
        self.silent = threading.Event()
        self.ended = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                provider.keys.append(self.headers.get("authorization", "").removeprefix("Bearer "))
                if provider.silent.is_set():
                    provider.ended.wait(60)
                choice = {
                    "message": {"role": "assistant", "content": "Hi"},
                    "finish_reason": "stop",
                }
                body = json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode()
                self.send_response(provider.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class Programs:
    """Starts Python programs.

    Attributes:
        scratch: their temporary directory.
        environment: theirs.
    """

    def __init__(self, scratch: Path, provider: Provider) -> None:
        self.scratch = scratch
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MARSYS_E")}
        self.environment = {
            **inherited,
            "PYTHONPATH": os.pathsep.join((str(ROOT / "client"), str(ROOT))),
            "TMPDIR": str(scratch),
            "PROVIDER": provider.url,
        }
        self._started: list[subprocess.Popen[str]] = []

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start one; its standard streams are pipes."""
        file = self.scratch / f"program-{len(self._started)}.py"
        file.write_text(PREAMBLE + script)
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", str(file), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | environment,
        )
        self._started.append(process)
        return process

    def run(self, script: str, *arguments: str, **environment: str) -> tuple[str, str]:
        """Run one to its end, which must be a good one. Returns what it wrote."""
        process = self.start(script, *arguments, **environment)
        written, said = process.communicate(timeout=120)
        assert process.returncode == 0, (written, said)
        return written, said

    def services(self) -> list[psutil.Process]:
        """The services that these programs have started and that still run."""
        return [process for process in psutil.process_iter() if self._is_service(process)]

    def left(self) -> list[str]:
        """The directories of process trees that are still there."""
        return [str(path) for path in self.scratch.glob("marsys-*")]

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for service in self.services():
            service.kill()

    def _is_service(self, process: psutil.Process) -> bool:
        try:
            words = process.cmdline()
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and any(name in words for name in SERVICES)
                and any(str(self.scratch) in word for word in words)
            )
        except psutil.Error:
            return False


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(0.05)


PREAMBLE = """
import asyncio, os, sys, threading
from marsys.agents.exceptions import AgentFrameworkError, ModelAPIError
from marsys.models import BaseAPIModel, BaseLocalModel

def make(**arguments):
    return BaseAPIModel(model_name="m", api_key="key", base_url=os.environ["PROVIDER"], **arguments)

def ask():
    return make().run("Hello!")["content"]

def failing(call):
    try:
        call()
    except AgentFrameworkError as error:
        return error
    raise SystemExit("no error")

"""
