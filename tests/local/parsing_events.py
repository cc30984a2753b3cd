"""Folds a parser's events, checking that they come in order."""

from __future__ import annotations

from collections.abc import Iterable

from local_inference_service.parsing import (
    Arguments,
    CallEnded,
    CallStarted,
    Context,
    Event,
    Family,
    Reasoning,
    Text,
)


def read(
    family: Family, context: Context, pieces: Iterable[str], cut_off: bool = False
) -> list[Event]:
    """What a family's parser says of a text in pieces; neighbouring events of a kind joined."""
    parser = family.parser(context)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return joined(events + parser.end(cut_off))


def joined(events: Iterable[Event]) -> list[Event]:
    """The same events, with neighbours of a kind as one."""
    whole: list[Event] = []
    is_open = False
    for event in events:
        if isinstance(event, Text | Reasoning | Arguments):
            assert event.text
            assert is_open == isinstance(event, Arguments)
            if whole and type(whole[-1]) is type(event):
                event = type(event)(whole.pop().text + event.text)
        elif isinstance(event, CallStarted):
            assert event.name
            assert not is_open
            is_open = True
        else:
            assert isinstance(event, CallEnded)
            assert is_open
            is_open = False
        whole.append(event)
    assert not is_open
    return whole


def calls(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Name and arguments of each complete call."""
    found: list[tuple[str, str]] = []
    name, arguments = "", ""
    for event in events:
        if isinstance(event, CallStarted):
            name, arguments = event.name, ""
        elif isinstance(event, Arguments):
            arguments += event.text
        elif isinstance(event, CallEnded) and event.complete:
            found.append((name, arguments))
    return found
