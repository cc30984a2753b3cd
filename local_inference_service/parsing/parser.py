"""What reads a model's answer as it comes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.events import Event


class Parser(ABC):
    """Reads one answer. Takes any text without an error.

    The events are the same however the text is split, but for where texts and arguments are.
    """

    @property
    @abstractmethod
    def in_reasoning(self) -> bool:
        """Whether the next character belongs to a thought, as far as is known."""

    @abstractmethod
    def feed(self, text: str) -> list[Event]:
        """Take more of the answer. Returns what is certain now."""

    @abstractmethod
    def end(self, cut_off: bool) -> list[Event]:
        """The answer is whole. Returns what was held back.

        Args:
            cut_off: whether the model was stopped, by max_tokens.
        """


Answer: TypeAlias = Callable[[Reader, Writer], Steps[None]]


class AnswerParser(Parser):
    """A parser that is written down as a generator over the whole answer.

    Args:
        answer: reads the answer and writes its events, until the reader is at the end.
        writer: for the events.
    """

    def __init__(self, answer: Answer, writer: Writer) -> None:
        self._reader = Reader()
        self._writer = writer
        self._steps = answer(self._reader, writer)
        next(self._steps)  # to where it needs text: so that in_reasoning is right from the start

    @property
    def in_reasoning(self) -> bool:
        return self._writer.in_reasoning

    def feed(self, text: str) -> list[Event]:
        if text:
            self._reader.feed(text)
            next(self._steps)
        return self._writer.take()

    def end(self, cut_off: bool) -> list[Event]:
        self._reader.end(cut_off)
        for _ in self._steps:
            raise AssertionError("a parser waits for text after the end")
        self._writer.end()
        return self._writer.take()
