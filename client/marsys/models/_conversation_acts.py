"""What a turn of a conversation wants done, one after the other; whoever does it sends the outcome.

So a turn is written once, for synchronous and for asyncio callers. See TurnStream.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from marsys.models._dialogue import LoopDialogue, SyncDialogue
from marsys.models._functions import Function
from marsys.models._steps import Step
from marsys.models.response import AttributeDict


@dataclass(frozen=True, slots=True)
class Begin:
    """Have a call to speak on. Outcome: whether it is a new one."""

    present: SyncDialogue | LoopDialogue | None


@dataclass(frozen=True, slots=True)
class Read:
    """Read what the service says next. Outcome: ConverseResponse, or None at the end."""


@dataclass(frozen=True, slots=True)
class RunCalls:
    """Run tool calls. Outcome: list of Result; empty where they were stopped."""

    functions: Mapping[str, Function]
    calls: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Cure:
    """Do what can be done about a failed turn. Outcome: whether to try it again."""

    steps: Generator[Step, Any, bool]


Act: TypeAlias = Begin | Read | RunCalls | Cure | AttributeDict
"""An AttributeDict is a chunk for the caller."""
