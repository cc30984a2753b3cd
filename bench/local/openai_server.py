"""vLLM's own OpenAI server, asked through HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator

import aiohttp
from directory import directory_of
from processes import VLLM_ON_CPU, serving
from workload import Figures, Side, Workload, measure


def openai_server() -> Side:
    """The server of vLLM, without its own limits on what runs at once."""

    def side(work: Workload) -> dict[int, Figures]:
        port = _free_port()
        model = str(directory_of(work.model))
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model,
            "--served-model-name", "bench", "--dtype", work.dtype, "--max-model-len", "2048",
            "--max-num-seqs", str(work.most), "--enforce-eager", "--host", "127.0.0.1",
            "--port", str(port), "--disable-log-stats",
        ]  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        with serving(command, url=f"{url}/health", **VLLM_ON_CPU):
            return asyncio.run(_measure(url, work))

    return side


async def _measure(url: str, work: Workload) -> dict[int, Figures]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(prompt: str) -> AsyncIterator[int]:
            body = {
                "model": "bench",
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": work.tokens,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            said = 0
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                async for line in response.content:
                    if not line.startswith(b"data: {"):
                        continue
                    chunk = json.loads(line[6:])
                    if chunk.get("usage"):
                        yield chunk["usage"]["completion_tokens"]
                    elif chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                        said += 1
                        yield said

        return await measure(ask, work)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
