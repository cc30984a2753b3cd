"""Recognises JSON as it comes, and hands it on as it was written."""

from __future__ import annotations

import json
import re
from enum import Enum, auto

_MAX_DEPTH = 128
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_WORD = re.compile(r"[-+.0-9A-Za-z]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_SPACE = " \t\r\n"
_HEX = frozenset("0123456789abcdefABCDEF")


class _State(Enum):
    VALUE = auto()
    FIRST_ITEM = auto()  # a value, or the end of the array
    FIRST_KEY = auto()  # a key, or the end of the object
    KEY = auto()
    COLON = auto()
    AFTER = auto()  # a value: a comma, or the end of what holds it
    STRING = auto()
    ESCAPE = auto()
    HEX = auto()
    WORD = auto()  # a number, true, false or null


_CLOSES_EMPTY = frozenset({("}", _State.FIRST_KEY), ("]", _State.FIRST_ITEM)})


class JsonScanner:
    """Recognises one JSON value.

    Line breaks and other control characters within a string, which JSON forbids and models write
    now and then, are handed on escaped. Nesting deeper than 128 counts as malformed.

    Args:
        kinds: characters that the value may begin with, such as "{" for an object; empty: any.

    Attributes:
        done: whether the value is whole.
        failed: whether the text is no JSON.
    """

    def __init__(self, kinds: str = "") -> None:
        self.done = False
        self.failed = False
        self._kinds = kinds
        self._state = _State.VALUE
        self._open: list[str] = []  # what will close the objects and arrays that are open
        self._in_key = False
        self._word = ""
        self._hex = 0  # digits still to come

    def scan(self, text: str, at: int) -> tuple[int, str]:
        """Take text from a place on. Returns where the value goes on or ends, and its JSON."""
        begin = at
        pieces: list[str] = []
        while at < len(text) and not self.done and not self.failed:
            if self._state is _State.STRING:
                found = _PLAIN.match(text, at)
                assert found is not None
                at = found.end()
                if at < len(text):
                    char = text[at]
                    if char < " ":
                        pieces += [text[begin:at], json.dumps(char)[1:-1]]
                        begin = at + 1
                    elif char == '"':
                        self._end_string()
                    else:
                        self._state = _State.ESCAPE
                    at += 1
            elif self._state is _State.WORD:
                found = _WORD.match(text, at)
                assert found is not None
                self._word += text[at : found.end()]
                at = found.end()
                if at < len(text):
                    self._end_word()
            elif self._state is _State.ESCAPE or self._state is _State.HEX:
                at += self._escape(text[at])
            else:
                at += self._step(text[at])
        pieces.append(text[begin:at])
        return at, "".join(pieces)

    def end(self) -> None:
        """The text ends: a number or a word at its end is whole."""
        if self._state is _State.WORD and not self.failed:
            self._end_word()

    def _step(self, char: str) -> int:
        """Take a character between the values. Returns 1 if it belongs here, or else 0."""
        state = self._state
        if char in _SPACE:
            return 1
        if char == '"' and state in (_State.FIRST_KEY, _State.KEY):
            self._in_key, self._state = True, _State.STRING
        elif (char == "}" and state is _State.FIRST_KEY) or (
            char == "]" and state is _State.FIRST_ITEM
        ):
            self._close()
        elif char == ":" and state is _State.COLON:
            self._state = _State.VALUE
        elif state is _State.AFTER:
            return self._after(char)
        elif state in (_State.VALUE, _State.FIRST_ITEM):
            return self._begin_value(char)
        else:
            return self._fail()
        return 1

    def _after(self, char: str) -> int:
        if char == self._open[-1]:
            self._close()
        elif char == ",":
            self._state = _State.KEY if self._open[-1] == "}" else _State.VALUE
        else:
            return self._fail()
        return 1

    def _begin_value(self, char: str) -> int:
        if self._kinds and not self._open and char not in self._kinds:
            return self._fail()
        if char in "{[":
            if len(self._open) == _MAX_DEPTH:
                return self._fail()
            self._open.append("}" if char == "{" else "]")
            self._state = _State.FIRST_KEY if char == "{" else _State.FIRST_ITEM
        elif char == '"':
            self._in_key, self._state = False, _State.STRING
        elif char in "-0123456789tfn":
            self._word, self._state = char, _State.WORD
        else:
            return self._fail()
        return 1

    def _escape(self, char: str) -> int:
        if self._state is _State.HEX:
            if char not in _HEX:
                return self._fail()
            self._hex -= 1
            if self._hex == 0:
                self._state = _State.STRING
        elif char == "u":
            self._hex, self._state = 4, _State.HEX
        elif char in '"\\/bfnrt':
            self._state = _State.STRING
        else:
            return self._fail()
        return 1

    def _end_string(self) -> None:
        if self._in_key:
            self._state = _State.COLON
        else:
            self._end_value()

    def _end_word(self) -> None:
        if self._word in ("true", "false", "null") or _NUMBER.fullmatch(self._word):
            self._end_value()
        else:
            self.failed = True

    def _close(self) -> None:
        self._open.pop()
        self._end_value()

    def _end_value(self) -> None:
        self._state = _State.AFTER
        self.done = not self._open

    def _fail(self) -> int:
        self.failed = True
        return 0


def is_json(text: str, kinds: str = "") -> bool:
    """Whether a text is one JSON value.

    Args:
        text: the text, without white space at its end.
        kinds: characters that it may begin with; empty: any.
    """
    scanner = JsonScanner(kinds)
    end, _ = scanner.scan(text, 0)
    scanner.end()
    return scanner.done and end == len(text)


def escaped(text: str) -> str:
    """A text as it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
