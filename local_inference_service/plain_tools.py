"""Tools for a model whose chat template has no place for them: written out as plain text.

The form is the one that Hermes models use, so the same parser reads the answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from marsys.v1 import Message, Part, Role, TextPart, ToolCallPart, ToolDefinition, ToolResultPart

_INSTRUCTIONS = """\
You can call functions. They are described here, one JSON object a line:
<tools>
{tools}
</tools>
To call one, write its name and its arguments, a JSON object, within <tool_call> tags and end there:
<tool_call>
{{"name": "...", "arguments": {{...}}}}
</tool_call>
The results come back within <tool_response> tags."""


def write_out(messages: Sequence[Message], tools: Sequence[ToolDefinition]) -> list[Message]:
    """The same conversation as text alone: definitions, calls and results included.

    Args:
        messages: a conversation, checked by serving.validation.
        tools: what the model may call; may be empty.
    """
    written = [_as_text(message) for message in messages]
    if not tools:
        return written
    lines = "\n".join(json.dumps(definition(tool)["function"]) for tool in tools)
    instructions = Part(text=TextPart(text=_INSTRUCTIONS.format(tools=lines)))
    if written[0].role != Role.ROLE_SYSTEM:
        return [Message(role=Role.ROLE_SYSTEM, parts=[instructions]), *written]
    first = Message()
    first.CopyFrom(written[0])
    first.parts.extend([Part(text=TextPart(text="\n\n")), instructions])
    return [first, *written[1:]]


def system_to_user(messages: Sequence[Message]) -> list[Message]:
    """The conversation with its system message at the head of the first user message.

    For templates that know no system messages.
    """
    system, *rest = messages
    first = Message(role=Role.ROLE_USER, parts=system.parts)
    if rest and rest[0].role == Role.ROLE_USER:
        first.parts.append(Part(text=TextPart(text="\n\n")))
        first.parts.extend(rest.pop(0).parts)
    return [first, *rest]


def definition(tool: ToolDefinition) -> dict[str, object]:
    """A tool's definition in OpenAI's form, as chat templates take it."""
    function: dict[str, object] = {"name": tool.name, "description": tool.description}
    empty = '{"type": "object", "properties": {}}'
    function["parameters"] = json.loads(tool.parameters_json or empty)
    return {"type": "function", "function": function}


def result_text(result: ToolResultPart) -> str:
    """What a tool gave back, as text; whether it failed is said in words."""
    text = "".join(part.text.text for part in result.content)
    return f"Error: {text}" if result.is_error else text


def _as_text(message: Message) -> Message:
    if message.role == Role.ROLE_TOOL:
        results = [_of_result(part.tool_result) for part in message.parts]
        return Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text="\n".join(results)))])
    written = Message(role=message.role)
    written.parts.extend(_parts(message))
    return written


def _parts(message: Message) -> Iterator[Part]:
    written = False
    for part in message.parts:
        if part.HasField("tool_call"):
            text = ("\n" if written else "") + _of_call(part.tool_call)
            part = Part(text=TextPart(text=text))
        written = written or part.HasField("text")
        yield part


def _of_call(call: ToolCallPart) -> str:
    name = json.dumps(call.name)
    arguments = call.arguments_json or "{}"
    return f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'


def _of_result(result: ToolResultPart) -> str:
    return f"<tool_response>\n{result_text(result)}\n</tool_response>"
