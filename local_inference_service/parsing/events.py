"""What a parser says about a model's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Text:
    """More of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """More of a thought."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A tool call begins.

    Attributes:
        name: the tool.
        id: as the model wrote it; empty if it wrote none.
    """

    name: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of the JSON text of the open call's arguments."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The open call ends.

    Attributes:
        complete: whether its arguments are the JSON text of an object. If not, it was cut off or
            malformed, and must not be run.
    """

    complete: bool


Event: TypeAlias = Text | Reasoning | CallStarted | Arguments | CallEnded
