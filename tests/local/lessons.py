"""What a tiny model is taught of tools and thoughts, and the requests that it then answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import chat_templates as styles
from taught_model import make_pupil, teach

from marsys.v1 import (
    GenerateRequest,
    Message,
    Part,
    Role,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolResultPart,
)

WEATHER = ToolDefinition(
    name="get_weather",
    description="Weather of a city.",
    parameters_json=json.dumps(
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    ),
)
PARIS = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
ROME = PARIS.replace("Paris", "Rome")
THOUGHT = "<think>\nI must look.\n</think>\n\n"


def asked(words: str, *, tools: bool = True) -> GenerateRequest:
    request = GenerateRequest(
        model="pupil",
        messages=[Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text=words))])],
        tools=[WEATHER] if tools else [],
    )
    request.config.temperature = 0
    request.config.max_tokens = 300
    return request


def answered(words: str) -> GenerateRequest:
    """The same conversation after the call and its result."""
    request = asked(words)
    call = ToolCallPart(id="call_1", name="get_weather", arguments_json='{"city": "Paris"}')
    result = ToolResultPart(tool_call_id="call_1", content=[Part(text=TextPart(text="20 C"))])
    request.messages.append(Message(role=Role.ROLE_ASSISTANT, parts=[Part(tool_call=call)]))
    request.messages.append(Message(role=Role.ROLE_TOOL, parts=[Part(tool_result=result)]))
    return request


LESSONS = (
    (asked("Weather in Paris?"), THOUGHT + "Let me look.\n" + PARIS),
    (answered("Weather in Paris?"), "It is 20 C."),
    (asked("Paris or Rome?"), f"{PARIS}\n{ROME}"),
    (asked("Weather on Mars?"), PARIS.replace("get_weather", "get_mars")),
    (
        asked("Weather?"),
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": }}\n</tool_call>',
    ),
    (asked("Weather in 7?"), PARIS.replace('"Paris"', "7")),
    (asked("How do you call?", tools=False), f"Like this: {PARIS}"),
    (asked("As JSON?", tools=False), '<think>\nParis, I think.\n</think>\n\n{"city": "Paris"}'),
)


def make_taught_model(directory: Path) -> Path:
    """The model, saved in a directory."""
    make_pupil(directory, styles.HERMES, "<think>", "</think>")
    return asyncio.run(teach(directory, *LESSONS))
