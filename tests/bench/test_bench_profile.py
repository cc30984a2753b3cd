"""Sums over sampled stacks."""

from __future__ import annotations

from pathlib import Path

from bench.profile import packages, top

_ROOT = Path(__file__).parents[2]
_STACKS = [
    "run (asyncio/runners.py:118);Runner.run (asyncio/runners.py:118) 50",
    f"Runner.run (asyncio/runners.py:118);ask ({_ROOT}/api_service/service.py:7) 10",
    f"Runner.run (asyncio/runners.py:118);ask ({_ROOT}/api_service/service.py:9) 20",
    f"Runner.run (asyncio/runners.py:118);ask ({_ROOT}/api_service/service.py:9);"
    "send (/venv/lib/site-packages/aiohttp/client.py:3) 20",
]


def test_top_adds_lines_of_a_function() -> None:
    head, *lines = top(_STACKS, cpu=200, count=2)
    assert [line.split() for line in lines] == [
        ["50.0%", "100.00", "100.0%", "Runner.run", "asyncio/runners.py"],
        ["30.0%", "60.00", "50.0%", "ask", "api_service/service.py"],
    ]
    assert head.split() == ["own", "µs", "in", "all", "function"]


def test_packages() -> None:
    assert packages(_STACKS) == "uvloop and gRPC, native 50.0%, api_service 30.0%, aiohttp 20.0%"
