"""Runs parsers over the fixtures of canitoolcall."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import cache

from canitoolcall import checks
from canitoolcall.fixtures import Fixture, ReferenceModel, load_fixtures
from canitoolcall.pytest_plugin import family_for
from canitoolcall.results import CheckResult, Observation, ParsedToolCall, ParseResult, Status

from local_inference_service.parsing import (
    FAMILIES,
    Arguments,
    CallEnded,
    CallStarted,
    Context,
    Event,
    Family,
    Reasoning,
    Text,
)

_FAMILIES = {
    "deepseek-v3": "deepseek",
    "deepseek-v31": "deepseek_v31",
    "deepseek-v32": "dsml",
    "deepseek-v4": "dsml",
    "deepseek-v41": "dsml",
    "gemma4": "gemma",
    "glm45-newline": "glm",
    "glm47-compact": "glm",
    "glm53-compact": "glm",
    "gpt-oss": "gpt_oss",
    "kimi-k2-thinking": "kimi_k2",
    "kimi-k2-instruct": "kimi_k2",
    "kimi-k3-xtml": "kimi_k3",
    "llama3-json": "llama3",
    "llama4-pythonic": "llama4",
}
_FAMILIES_OF_SLUG = {"mistral": "mistral", "qwen3-hermes": "hermes", "qwen3-xml": "qwen_xml"}


SPLITS = 300  # places at which a text is split in two, at most
_CHECKS = (
    checks.check_expected_match,
    checks.check_expected_error,
    checks.check_stream_equals_nonstream,
    checks.check_no_leakage,
    checks.check_arguments_json,
    checks.check_arguments_schema,
    checks.check_parallel_order,
)


@cache
def fixtures() -> tuple[Fixture, ...]:
    """All that ship with the package."""
    return tuple(load_fixtures())


def family_of(fixture: Fixture) -> Family:
    """Which of our families reads a fixture."""
    name = _FAMILIES_OF_SLUG.get(fixture.family) or _FAMILIES[_reference(fixture).variant]
    return FAMILIES[name]


def read(fixture: Fixture, pieces: Iterable[str]) -> ParseResult:
    """What our parser makes of a fixture whose text comes in some pieces."""
    tools = {
        tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in fixture.tools
    }
    prompt_end = fixture.generation_prompt
    if prompt_end is None:
        prompt_end = _reference(fixture).default_generation_prompt or ""
    parser = family_of(fixture).parser(Context(tools=tools, prompt_end=prompt_end))
    events = [event for piece in pieces for event in parser.feed(piece)]
    events += parser.end(cut_off="truncated" in fixture.tags)
    return as_result(events)


def judge(fixture: Fixture) -> CheckResult:
    """The suite's worst finding on a fixture, whole and in pieces.

    The status is `pass`, or `soft_pass` where only white space differs, or `fail`.
    """
    whole = read(fixture, [fixture.raw_output])
    streams = {}
    for pieces in splits(fixture.raw_output, SPLITS):
        result = read(fixture, pieces)
        if result != whole or len(pieces) > 2:
            streams[f"{len(streams)}"] = result
    seen = Observation(nonstream=whole, streams=streams)
    family = family_for(fixture)
    found = [row for check in _CHECKS for row in check(fixture, family, seen)]
    severity = [Status.PASS, Status.SOFT_PASS, Status.ERROR, Status.FAIL]
    return max(found, key=lambda row: severity.index(row.status))


def as_result(events: Iterable[Event]) -> ParseResult:
    """Events as the suite takes them: an incomplete call is none."""
    text: list[str] = []
    reasoning: list[str] = []
    calls: list[ParsedToolCall] = []
    name, arguments = "", [""]
    for event in events:
        if isinstance(event, Text):
            text.append(event.text)
        elif isinstance(event, Reasoning):
            reasoning.append(event.text)
        elif isinstance(event, CallStarted):
            name, arguments = event.name, []
        elif isinstance(event, Arguments):
            arguments.append(event.text)
        elif isinstance(event, CallEnded) and event.complete:
            calls.append(ParsedToolCall(name, "".join(arguments)))
    return ParseResult(
        content="".join(text) or None,
        reasoning_content="".join(reasoning) or None,
        tool_calls=tuple(calls),
    )


def splits(text: str, most: int) -> Iterator[list[str]]:
    """A text split in two at every place, or at some places of a long one; then by characters."""
    places = range(1, len(text))
    if len(places) > most:
        places = random.Random(len(text)).sample(places, most)
    for place in places:
        yield [text[:place], text[place:]]
    yield list(text)


def _reference(fixture: Fixture) -> ReferenceModel:
    family = family_for(fixture)
    assert family is not None
    return next(one for one in family.reference_models if one.repo == fixture.models[0])
