"""An expression for all names but some."""

from __future__ import annotations

from collections.abc import Iterable


def other_than(names: Iterable[str]) -> str:
    """An expression, in the syntax of Rust's regex crate, that all texts match but those.

    Args:
        names: the texts that don't match; at least one.
    """
    return f"^(?:{_rest(set(names))})$"


def _rest(names: set[str]) -> str:
    heads: dict[str, set[str]] = {}
    for name in names - {""}:
        heads.setdefault(name[0], set()).add(name[1:])
    first = f"[^{''.join(map(_code, heads))}](?s:.*)" if heads else "(?s:.+)"
    more = [f"{_code(head)}(?:{_rest(tails)})" for head, tails in heads.items()]
    empty = [] if "" in names else [""]
    return "|".join([first, *more, *empty])


def _code(character: str) -> str:
    return f"\\x{{{ord(character):x}}}"
