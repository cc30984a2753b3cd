"""Turns what a notation's reader finds into events, without the notation's white space."""

from __future__ import annotations

from local_inference_service.parsing.events import (
    Arguments,
    CallEnded,
    CallStarted,
    Event,
    Reasoning,
    Text,
)


class Writer:
    """Collects the events of one answer.

    Args:
        separators: white space characters that the notation puts between a text and a call. They
            are dropped there.
        frame: likewise, at both ends of a thought and after it.

    Attributes:
        in_reasoning: whether a thought is open.
        begun: whether the answer has a text since its beginning or its last call.
    """

    def __init__(self, separators: str = "", frame: str = "") -> None:
        self.in_reasoning = False
        self.begun = False
        self._separators = separators
        self._frame = frame
        self._events: list[Event] = []
        self._leading = ""  # characters that are dropped for as long as nothing else comes
        self._held: list[str] = []  # white space that is dropped if the text or thought ends here
        self._after_call = False

    def take(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def text(self, text: str) -> None:
        """More of the answer."""
        certain = self._certain(text, self._separators)
        if certain:
            self.begun = True
            self._events.append(Text(certain))

    def begin_thought(self) -> None:
        """A thought begins."""
        self._drop()
        self.in_reasoning = True
        self._leading = self._frame

    def reasoning(self, text: str) -> None:
        """More of the thought."""
        certain = self._certain(text, self._frame)
        if certain:
            self._events.append(Reasoning(certain))

    def prose(self, text: str) -> None:
        """More of what is being written: the thought if one is open, or else the answer."""
        if self.in_reasoning:
            self.reasoning(text)
        else:
            self.text(text)

    def end_thought(self) -> None:
        """The thought ends, if one is open."""
        self._drop()
        self.in_reasoning = False
        self._leading = self._frame

    def start_call(self, name: str, call_id: str = "") -> None:
        """A call begins. A thought that is open ends."""
        if self.in_reasoning:
            self.end_thought()
        self._drop()
        self.begun = False
        self._after_call = True
        self._events.append(CallStarted(name, call_id))

    def arguments(self, text: str) -> None:
        """More of the call's arguments."""
        if text:
            self._events.append(Arguments(text))

    def end_call(self, complete: bool) -> None:
        """The call ends."""
        self._events.append(CallEnded(complete))

    def end(self) -> None:
        """The answer ends. White space at its end is kept, unless a call was the last."""
        held = "".join(self._held)
        self._drop()
        if held and self.in_reasoning:
            self._events.append(Reasoning(held))
        elif held and (self.begun or not self._after_call):
            self._events.append(Text(held))

    def _certain(self, text: str, trailing: str) -> str:
        """Of a text what is shown now: all but white space that may turn out a separator."""
        if self._leading:
            text = text.lstrip(self._leading)
            if not text:
                return ""
            self._leading = ""
        if not trailing:
            return text
        kept = text.rstrip(trailing)
        if not kept:
            self._held.append(text)
            return ""
        if self._held:
            held = "".join(self._held)
            self._held.clear()
            shown = held + kept
        else:
            shown = kept
        if len(kept) < len(text):
            self._held.append(text[len(kept) :])
        return shown

    def _drop(self) -> None:
        self._held.clear()
        self._leading = ""
