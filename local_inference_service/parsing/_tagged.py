"""Answers of text in which marks open thoughts and calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import Context
from local_inference_service.parsing.parser import Answer


@dataclass(frozen=True, slots=True)
class Thought:
    """The marks of a thought."""

    begin: str = "<think>"
    end: str = "</think>"

    @property
    def marks(self) -> tuple[str, str]:
        """Both."""
        return self.begin, self.end


THINK = Thought()


@dataclass(frozen=True, slots=True)
class BareCalls:
    """Calls without a mark before them, where a text might begin.

    Attributes:
        begins: what they begin with.
        read: reads them, or gives back what is none, from what the reader keeps on.
    """

    begins: tuple[str, ...]
    read: Callable[[Reader, Writer], Steps[None]]


def tagged_answer(
    context: Context,
    thoughts: Sequence[Thought],
    calls: Sequence[str | Mark],
    calls_in_thought: Sequence[str | Mark],
    read_call: Callable[[Reader, Writer, str], Steps[None]],
    bare: BareCalls | None = None,
    *,
    always: bool = False,
) -> Answer:
    """Reads an answer.

    A thought may stand at the beginning of the answer and after a call; its marks mean nothing
    elsewhere.

    Args:
        context: of the request.
        thoughts: the marks of thoughts.
        calls: marks that begin a call in the text.
        calls_in_thought: marks that begin a call in a thought, and so end that.
        read_call: reads a call from its mark on, or gives back what is none.
        bare: how calls without a mark are read; None: there are none.
        always: whether the marks of calls mean something where the request has no tools; else they
            are text like any other then.
    """
    if not (context.tools or always):
        calls, calls_in_thought, bare = (), (), None
    prompt_end = context.prompt_end
    in_text = Marks(*calls)
    in_thought = {one: Marks(one.end, *calls_in_thought) for one in thoughts}

    def answer(reader: Reader, writer: Writer) -> Steps[None]:
        thought = _opened(prompt_end, thoughts)
        if thought is not None:
            writer.begin_thought()
        elif prompt_end.rstrip().endswith(tuple(one.end for one in thoughts)):
            writer.end_thought()
        while not reader.ended or (yield from reader.peek()):
            if thought is not None and writer.in_reasoning:
                mark = yield from reader.upto(in_thought[thought], writer.reasoning)
                if mark == thought.end:
                    writer.end_thought()
                    continue
            else:
                if not writer.begun:
                    space = yield from reader.space()
                    thought = yield from _accept(reader, thoughts)
                    if thought is not None:
                        writer.begin_thought()
                        continue
                    if bare is not None and (yield from reader.sees(*bare.begins)):
                        reader.keep(space)
                        yield from bare.read(reader, writer)
                        continue
                    writer.text(space)
                mark = yield from reader.upto(in_text, writer.text)
            if mark:
                yield from read_call(reader, writer, mark)

    return answer


def not_a_call(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    """Give back what was read since a mark that began no call: it is text.

    A mark with nothing after it, where the answer ends, is left out.
    """
    raw = reader.kept()
    if (yield from reader.peek()) or raw.strip() != mark:
        writer.prose(raw)


def _opened(prompt_end: str, thoughts: Sequence[Thought]) -> Thought | None:
    end = prompt_end.rstrip()
    return next((thought for thought in thoughts if end.endswith(thought.begin.rstrip())), None)


def _accept(reader: Reader, thoughts: Sequence[Thought]) -> Steps[Thought | None]:
    """Read the mark that begins a thought, if one comes next."""
    for thought in thoughts:
        if (yield from reader.accept(thought.begin)):
            return thought
    return None
