"""Models whose notation isn't known: text, and thoughts between <think> tags."""

from __future__ import annotations

from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tagged import THINK, tagged_answer
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import Context, Family
from local_inference_service.parsing.parser import AnswerParser, Parser


def _parser(context: Context) -> Parser:
    answer = tagged_answer(context, [THINK], [], [], _no_call)
    return AnswerParser(answer, Writer(frame="\r\n"))


def _no_call(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    raise AssertionError("a plain answer has no marks of calls")


FAMILY = Family(
    name="plain",
    markers=frozenset({THINK.begin, THINK.end}),
    parser=_parser,
    thought_marks=THINK.marks,
    thinks=THINK.marks,
)
