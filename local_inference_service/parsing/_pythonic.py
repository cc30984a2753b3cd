"""Reads values that are written as Python does, and writes them as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from local_inference_service.parsing._json_scanner import escaped, is_json
from local_inference_service.parsing._reader import Reader, Steps

Write: TypeAlias = Callable[[str], object]

_MAX_DEPTH = 64
_WORD = re.compile(r"[-+.\w]*")
_WORDS = {"True": "true", "False": "false", "None": "null"}
_STRING = {'"': re.compile(r'[^"\\]*'), "'": re.compile(r"[^'\\]*")}
_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "\n": "",
}  # fmt: skip
_CODES = {"x": 2, "u": 4, "U": 8}
_HEX = re.compile("[0-9a-fA-F]*")
_OCTAL = re.compile("[0-7]*")


def python_to_json(text: str) -> str | None:
    """The JSON of a Python literal; None if the text is none."""
    reader = Reader()
    reader.feed(text.strip())
    reader.end(cut_off=False)
    pieces: list[str] = []
    if _finished(read_python_value(reader, pieces.append)) and not _finished(reader.peek()):
        return "".join(pieces)
    return None


def read_python_value(reader: Reader, write: Write, depth: int = 0) -> Steps[bool]:
    """Read a literal.

    Args:
        reader: stands before it.
        write: gets its JSON as it comes.
        depth: how many lists and dictionaries it stands in.

    Returns:
        Whether it was whole and well formed.
    """
    char = yield from reader.peek()
    if char and char in "\"'":
        return (yield from _string(reader, write))
    if char and char in "[({" and depth < _MAX_DEPTH:
        yield from reader.take()
        if char == "{":
            return (yield from _dictionary(reader, write, depth))
        return (yield from _list(reader, write, depth, "]" if char == "[" else ")"))
    word = _word_to_json((yield from reader.run(_WORD)))
    write(word)
    return bool(word)


def _list(reader: Reader, write: Write, depth: int, end: str) -> Steps[bool]:
    write("[")
    comma = ""
    while True:
        yield from reader.space()
        if (yield from reader.accept(end)):
            write("]")
            return True
        write(comma)
        comma = ","
        if not (yield from read_python_value(reader, write, depth + 1)):
            return False
        if not (yield from _separated(reader, end)):
            return False


def _dictionary(reader: Reader, write: Write, depth: int) -> Steps[bool]:
    write("{")
    comma = ""
    while True:
        yield from reader.space()
        if (yield from reader.accept("}")):
            write("}")
            return True
        write(comma)
        comma = ","
        char = yield from reader.peek()
        if not char or char not in "\"'" or not (yield from _string(reader, write)):
            return False
        yield from reader.space()
        if not (yield from reader.accept(":")):
            return False
        write(":")
        yield from reader.space()
        if not (yield from read_python_value(reader, write, depth + 1)):
            return False
        if not (yield from _separated(reader, "}")):
            return False


def _separated(reader: Reader, end: str) -> Steps[bool]:
    """Read a comma, unless the end comes."""
    yield from reader.space()
    return (yield from reader.sees(end)) or (yield from reader.accept(","))


def _string(reader: Reader, write: Write) -> Steps[bool]:
    quote = yield from reader.take()
    tripled = yield from _accept_two(reader, quote)
    write('"')
    if tripled == 1:  # of the two quotes one came: the string is empty
        write('"')
        return True
    while True:
        write(escaped((yield from reader.run(_STRING[quote]))))
        char = yield from reader.take()
        if not char:
            return False
        if char == "\\":
            text = yield from _escape(reader)
            if text is None:
                return False
            write(escaped(text))
        elif not tripled or (yield from reader.accept(quote * 2)):
            write('"')
            return True
        else:
            write(escaped(char))


def _accept_two(reader: Reader, quote: str) -> Steps[int]:
    """Read up to two quotes. Returns how many there were."""
    if not (yield from reader.accept(quote)):
        return 0
    return 2 if (yield from reader.accept(quote)) else 1


def _escape(reader: Reader) -> Steps[str | None]:
    """Read what follows a backslash; None if the string can't go on so."""
    char = yield from reader.take()
    if char in _CODES:
        digits = yield from reader.run(_HEX, _CODES[char])
        code = int(digits, 16) if len(digits) == _CODES[char] else 0x110000
        if code >= 0x110000:
            return None
        return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)
    if char and char in "01234567":
        return chr(int(char + (yield from reader.run(_OCTAL, 2)), 8))
    return _ESCAPES.get(char, "\\" + char)


def _word_to_json(word: str) -> str:
    """The JSON of a word or number; empty if it is neither."""
    if word in _WORDS:
        return _WORDS[word]
    if is_json(word, "-0123456789tfn"):
        return word
    try:
        if "." not in word:
            return str(int(word, 0))
        number = float(word)
    except ValueError:
        return ""
    written = repr(number)
    return written if is_json(written) else ""  # not for what is infinite


def _finished(steps: Steps[object]) -> object:
    """What a reader of text that is all there returns."""
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("waits for text after the end")
