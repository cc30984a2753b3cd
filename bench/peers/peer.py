"""What the suite knows of a system that it measures."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.load import Load, Loaded
from bench.upstream import Upstream


@dataclass(frozen=True)
class Setup:
    """What a system is started with.

    Attributes:
        upstream: the fake provider.
        load: the load generator.
        folder: an empty folder of this start's own.
        installs: where peers are installed, each in a folder of its own.
    """

    upstream: Upstream
    load: Load
    folder: Path
    installs: Path


@dataclass(frozen=True)
class Measured:
    """One measurement.

    Attributes:
        cpu: CPU seconds of the system, with all its processes.
        loaded: what its caller saw.
    """

    cpu: float
    loaded: Loaded


class Subject(Protocol):
    """A system that runs."""

    def run(
        self, way: str, stream: bool, concurrency: int, calls: int, connections: int = 1
    ) -> Measured:
        """Let it answer so many calls.

        Raises:
            RuntimeError: it failed, or an answer is not what it should be.
        """
        ...


class Peer(Protocol):
    """A system that can be installed and run.

    Attributes:
        key: its name in JSON, lower case.
        title: its name in tables.
    """

    @property
    def key(self) -> str: ...

    @property
    def title(self) -> str: ...

    def install(self, installs: Path) -> str:
        """Make it ready to run, where it isn't yet. Gives its version in words.

        Raises:
            RuntimeError: that failed; says how.
        """
        ...

    def running(self, setup: Setup) -> AbstractContextManager[Subject]:
        """Start it; it ends with the context.

        Raises:
            RuntimeError: it did not start; says how.
        """
        ...
