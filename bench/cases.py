"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass

from bench.calls import CHUNKS


@dataclass(frozen=True)
class Case:
    """A way to call a system.

    Attributes:
        key: its name in JSON.
        title: its name in tables.
        way: how the fake provider writes streams.
        stream: whether calls stream.
        concurrency: how many callers.
        connections: over how many connections gRPC callers are spread.
    """

    key: str
    title: str
    way: str
    stream: bool
    concurrency: int
    connections: int = 1

    @property
    def units(self) -> int:
        """By what the CPU time of a call is divided."""
        return CHUNKS if self.stream else 1

    @property
    def unit(self) -> str:
        return "chunk" if self.stream else "call"


UNARY = Case("unary", "unary, 16 at once", "burst", False, 16)
BURST = Case("burst", "burst stream, 16 at once", "burst", True, 16)
SINGLE = Case("single", "burst stream, a chunk a write", "single", True, 16)
PACED = Case("paced", "paced stream, 32 at once", "paced", True, 32)
ALONE = Case("alone", "unary, one at a time", "burst", False, 1)
CROWD = Case("crowd", "unary, 64 at once", "burst", False, 64)
WORKERS = Case("workers", "unary, 64 at once over 32 connections", "burst", False, 64, 32)

CASES = (UNARY, BURST, SINGLE, PACED, ALONE, CROWD)
SHORT_CASES = (UNARY, BURST, PACED, ALONE)
