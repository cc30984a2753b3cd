"""What an engine gives, step by step, for one request."""

from __future__ import annotations

from dataclasses import dataclass

from marsys.v1 import FinishReason


@dataclass(frozen=True, slots=True)
class Output:
    """What one step of a request gave.

    Attributes:
        text: new text; may be empty.
        tokens: tokens generated so far, the end-of-text token included.
        finish: why the request ended; None while it goes on.
        raw_finish: the engine's word for it, such as "eos", "stop" or "length".
        stop_sequence: the stop string that was met.
        cached: tokens of the prompt whose keys and values were there from an earlier request; None
            where the engine keeps none.
        error: why the request failed; it has then ended.
    """

    text: str = ""
    tokens: int = 0
    finish: FinishReason.ValueType | None = None
    raw_finish: str = ""
    stop_sequence: str | None = None
    cached: int | None = None
    error: BaseException | None = None
