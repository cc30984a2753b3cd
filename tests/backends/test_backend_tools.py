"""Tools and thoughts of local models: offered by the template, read from what the model writes.

The model was taught what to answer; everything else is real.
"""

from __future__ import annotations

import json

import pytest
from lessons import PARIS, WEATHER, answered, asked
from subjects import Failed

from marsys.models import BaseLocalModel
from marsys.v1 import (
    FinishReason,
    GenerateResponse,
    ReasoningEffort,
    ToolChoiceMode,
    UnsupportedPolicy,
    WarningCode,
)

pytestmark = pytest.mark.model_class("taught")


def shown(response: GenerateResponse) -> list[tuple[str, str]]:
    """The parts, each by its kind and text."""
    parts = []
    for part in response.message.parts:
        kind = part.WhichOneof("content") or ""
        content = getattr(part, kind)
        parts.append((kind, content.arguments_json if kind == "tool_call" else content.text))
    return parts


async def test_thought_text_and_call(subject):
    response = await subject.ask(asked("Weather in Paris?"))
    assert shown(response) == [
        ("reasoning", "I must look."),
        ("text", "Let me look."),
        ("tool_call", '{"city": "Paris"}'),
    ]
    assert response.message.parts[2].tool_call.name == "get_weather"
    assert response.message.parts[2].tool_call.id
    assert response.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS
    usage = response.usage
    assert 0 < usage.reasoning_tokens < usage.output_tokens
    assert abs(usage.reasoning_tokens - len("\nI must look.\n")) <= 3  # a token a byte, and marks


async def test_calls_are_streamed(subject):
    events = [event async for event in subject.stream(asked("Weather in Paris?"))]
    kinds = [event.WhichOneof("event") for event in events]
    begin = next(
        number
        for number, event in enumerate(events)
        if event.part_started.part.HasField("tool_call")
    )
    assert events[begin].part_started.part.tool_call.name == "get_weather"
    deltas = [e.part_delta.arguments_json for e in events[begin:] if e.HasField("part_delta")]
    assert len(deltas) > 5  # as they came
    assert "".join(deltas) == '{"city": "Paris"}'
    assert kinds[-2:] == ["part_finished", "finished"]


async def test_the_answer_after_the_result(subject):
    response = await subject.ask(answered("Weather in Paris?"))
    assert shown(response) == [("text", "It is 20 C.")]
    assert response.finish_reason == FinishReason.FINISH_REASON_STOP


async def test_several_calls_have_ids_of_their_own(subject):
    response = await subject.ask(asked("Paris or Rome?"))
    assert shown(response) == [
        ("tool_call", '{"city": "Paris"}'),
        ("tool_call", '{"city": "Rome"}'),
    ]
    first, second = (part.tool_call.id for part in response.message.parts)
    assert first != second


async def test_one_call_where_the_caller_wants_no_more(subject):
    request = asked("Paris or Rome?")
    request.tool_choice.mode = ToolChoiceMode.TOOL_CHOICE_MODE_AUTO
    request.tool_choice.allow_parallel_calls = False
    response = await subject.ask(request)
    assert shown(response) == [("tool_call", '{"city": "Paris"}')]
    assert response.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS
    both = await subject.ask(asked("Paris or Rome?"))
    assert response.usage.output_tokens < both.usage.output_tokens


async def test_a_call_of_another_tool_is_warned_of(subject):
    response = await subject.ask(asked("Weather on Mars?"))
    assert response.message.parts[0].tool_call.name == "get_mars"
    (warning,) = response.warnings
    assert warning.code == WarningCode.WARNING_CODE_INVALID_OUTPUT
    assert "get_mars" in warning.message


async def test_a_malformed_call_is_no_call(subject):
    response = await subject.ask(asked("Weather?"))
    assert all(part.tool_call.incomplete for part in response.message.parts)
    assert response.finish_reason == FinishReason.FINISH_REASON_ERROR
    assert response.warnings


async def test_a_strict_tool_gets_only_what_it_takes(subject):
    request = asked("Weather in 7?")
    loose = await subject.ask(request)
    assert shown(loose) == [("tool_call", '{"city": 7}')]
    assert not loose.message.parts[0].tool_call.incomplete
    request.tools[0].strict = True
    response = await subject.ask(request)
    assert response.message.parts[0].tool_call.incomplete
    assert "schema" in response.warnings[0].message
    assert response.finish_reason == FinishReason.FINISH_REASON_ERROR


async def test_a_call_that_is_cut_off_is_incomplete(subject):
    request = asked("Weather in Paris?")
    whole = await subject.ask(request)
    request.config.max_tokens = whole.usage.output_tokens - 20
    response = await subject.ask(request)
    assert response.finish_reason == FinishReason.FINISH_REASON_LENGTH
    last = response.message.parts[-1].tool_call
    assert last.incomplete
    assert last.name == "get_weather"


@pytest.mark.parametrize("choice", [None, ToolChoiceMode.TOOL_CHOICE_MODE_NONE])
async def test_without_tools_a_call_is_text(subject, choice):
    request = asked("How do you call?", tools=False)
    if choice is not None:
        request.tools.append(WEATHER)
        request.tool_choice.mode = choice
    response = await subject.ask(request)
    assert shown(response) == [("text", f"Like this: {PARIS}")]


async def test_tools_are_counted(subject):
    with_tools = await subject.count(asked("Weather in Paris?"))
    without = await subject.count(asked("Weather in Paris?", tools=False))
    assert with_tools - without > len(WEATHER.parameters_json)
    response = await subject.ask(asked("Weather in Paris?"))
    assert response.usage.input_tokens == with_tools


async def test_a_thought_ends_with_its_budget(subject):
    request = asked("Weather in Paris?")
    request.config.reasoning.budget_tokens = 6
    response = await subject.ask(request)
    kind, thought = shown(response)[0]
    assert kind == "reasoning"
    assert len(thought) <= 6
    assert "I must look.".startswith(thought)
    assert response.usage.reasoning_tokens <= 6 + 2


@pytest.mark.parametrize("how", ["effort", "budget_tokens"])
async def test_no_reasoning_is_asked_of_the_template(subject, how):
    request = asked("Weather in Paris?")
    none = ReasoningEffort.REASONING_EFFORT_NONE if how == "effort" else 0
    setattr(request.config.reasoning, how, none)
    prompt = await subject.adapter.prompt_of(request, subject.name)
    assert subject.adapter.tokenizer.decode(prompt.ids).endswith("<think>\n\n</think>\n\n")
    response = await subject.ask(request)
    assert "reasoning" not in dict(shown(response))


async def test_an_effort_that_the_model_does_not_take(subject):
    request = asked("Weather in Paris?")
    request.config.reasoning.effort = ReasoningEffort.REASONING_EFFORT_HIGH
    with pytest.raises(Failed) as caught:
        await subject.ask(request)
    assert caught.value.error.field == "config.reasoning.effort"
    request.on_unsupported = UnsupportedPolicy.UNSUPPORTED_POLICY_WARN
    response = await subject.ask(request)
    assert response.warnings[0].field == "config.reasoning.effort"


@pytest.mark.way("grpc")
async def test_a_loop_through_the_service_and_the_client(subject):
    model = BaseLocalModel(subject.name, target=subject.service.server.address, max_tokens=300)
    tool = {
        "type": "function",
        "function": {
            "name": WEATHER.name,
            "description": WEATHER.description,
            "parameters": json.loads(WEATHER.parameters_json),
        },
    }
    messages = [{"role": "user", "content": "Weather in Paris?"}]
    chunks = [chunk async for chunk in model.stream(messages, tools=[tool], temperature=0)]
    kinds = list(dict.fromkeys(chunk["type"] for chunk in chunks))
    assert kinds == ["thinking", "text", "tool_call", "done"]
    response = chunks[-1]["response"]
    (call,) = response.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    messages = [messages[0], {"role": "assistant", "content": "", "tool_calls": [call]}]
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "20 C"})
    last = await model.arun(messages, tools=[tool], temperature=0)
    assert last["content"] == "It is 20 C."
    assert not last.tool_calls
