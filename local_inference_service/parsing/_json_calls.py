"""Reads a call that is written as a JSON object: {"name": ..., "arguments": {...}}."""

from __future__ import annotations

import json
from collections.abc import Collection

from local_inference_service.parsing._json_scanner import JsonScanner, is_json
from local_inference_service.parsing._marks import Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._writer import Writer

_ARGUMENTS = ("arguments", "parameters")
_OTHERS = ("type", "id")  # what else an object that is a call may have


class _Call:
    """What is known of the call."""

    def __init__(self, writer: Writer, names: Collection[str] | None) -> None:
        self.started = False
        self.has_arguments = False
        self.bare = names is not None
        self.name = ""
        self.id = ""
        self.early = ""  # arguments that came before the name
        self._writer = writer
        self._names = names

    def may_start(self) -> bool:
        return bool(self.name) and (self._names is None or self.name in self._names)

    def start(self, reader: Reader) -> None:
        reader.kept()
        self.started = True
        self._writer.start_call(self.name, self.id)
        if self.early:
            self._writer.arguments(self.early)


def read_json_call(
    reader: Reader, writer: Writer, names: Collection[str] | None = None
) -> Steps[bool | None]:
    """Read a call, but for its end: the caller has to end it.

    Args:
        reader: stands before the object.
        writer: gets the call's start and its arguments.
        names: the object stands alone, without a mark before it. It is a call if it has arguments
            and one of these names, and nothing that calls don't have.

    Returns:
        Whether the call is complete. False: it is malformed or cut off. None: it is no call, and
        nothing was written.
    """
    call = _Call(writer, names)
    whole = yield from _members(reader, writer, call)
    if whole and not call.started and not call.bare and call.may_start():
        call.start(reader)
    if not call.started:
        return None
    if whole and not call.has_arguments:
        writer.arguments("{}")
    return whole


def read_json_arguments(reader: Reader, writer: Writer, *ends: str) -> Steps[bool]:
    """Read the arguments of the open call.

    Args:
        reader: stands before them; white space may come first.
        writer: gets them.
        *ends: what stands after them. Where it follows at once, the call has no arguments.

    Returns:
        Whether they are an object, whole and well formed.
    """
    yield from reader.space()
    if ends and (yield from reader.sees(*ends)):
        writer.arguments("{}")
        return True
    return (yield from reader.through(JsonScanner("{"), writer.arguments))


def read_broken(reader: Reader, writer: Writer, ends: Marks) -> Steps[str]:
    """Read the rest of a malformed call and end it. Returns the mark that ended it."""
    mark = yield from reader.upto(ends, writer.arguments)
    writer.end_call(False)
    return mark


def _members(reader: Reader, writer: Writer, call: _Call) -> Steps[bool]:
    if not (yield from reader.accept("{")):
        return False
    while True:
        yield from reader.space()
        key = yield from _string(reader)
        yield from reader.space()
        if key is None or not (yield from reader.accept(":")):
            return False
        yield from reader.space()
        if not (yield from _member(reader, writer, call, key)):
            return False
        yield from reader.space()
        if (yield from reader.accept("}")):
            return True
        if not (yield from reader.accept(",")):
            return False


def _member(reader: Reader, writer: Writer, call: _Call, key: str) -> Steps[bool]:
    if key == "name" and not call.name:
        call.name = (yield from _string(reader)) or ""
        if not call.may_start():
            return False
        if call.has_arguments or not call.bare:
            call.start(reader)
        return True
    if key in _ARGUMENTS and not call.has_arguments:
        if call.name and not call.started:
            if not (yield from reader.sees("{")):
                return False
            call.start(reader)
        call.has_arguments = True
        if call.started:
            return (yield from _arguments(reader, writer))
        early: list[str] = []
        whole = yield from reader.through(JsonScanner("{"), early.append)
        call.early = "".join(early)
        return whole
    if call.bare and not call.started and key not in _OTHERS:
        return False
    if key == "id" and (yield from reader.sees('"')):
        call.id = (yield from _string(reader)) or ""
        return True
    return (yield from reader.through(JsonScanner(), lambda _: None))


def _arguments(reader: Reader, writer: Writer) -> Steps[bool]:
    """Read the arguments: an object, or the text of one as a string, or null for none."""
    if (yield from reader.accept("null")):
        writer.arguments("{}")
        return True
    if not (yield from reader.sees('"')):
        return (yield from reader.through(JsonScanner("{"), writer.arguments))
    text = yield from _string(reader)
    if text is None:
        return False
    writer.arguments(text)
    return is_json(text.strip(), "{")


def _string(reader: Reader) -> Steps[str | None]:
    """Read a JSON string; None if it isn't one."""
    pieces: list[str] = []
    if not (yield from reader.through(JsonScanner('"'), pieces.append)):
        return None
    text: str = json.loads("".join(pieces))
    return text.encode("utf-8", "replace").decode()
