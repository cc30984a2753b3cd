"""What a chat template takes is found by trying it; prompts keep everything that was said."""

from __future__ import annotations

import json

import chat_templates as styles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_inference_service.chat_template import ChatTemplate
from local_inference_service.chat_turns import TurnWriter
from local_inference_service.plain_tools import definition, system_to_user, write_out
from local_inference_service.spelled_tokens import SpelledTokens
from marsys.v1 import (
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolResultPart,
)
from serving.errors import ServiceError

WEATHER = ToolDefinition(
    name="get_weather",
    description="Weather of a city.",
    parameters_json='{"type": "object", "properties": {"city": {"type": "string"}}}',
)


def text(words: str) -> Part:
    return Part(text=TextPart(text=words))


def call(call_id: str, city: str) -> Part:
    arguments = json.dumps({"city": city})
    return Part(tool_call=ToolCallPart(id=call_id, name="get_weather", arguments_json=arguments))


def result(call_id: str, words: str, is_error: bool = False) -> Part:
    return Part(
        tool_result=ToolResultPart(tool_call_id=call_id, content=[text(words)], is_error=is_error)
    )


def conversation(said: str = "", thought: str = "") -> list[Message]:
    """A user asks, the model calls two tools, and they answer."""
    parts = [Part(reasoning=ReasoningPart(text=thought))] if thought else []
    parts += [text(said)] if said else []
    return [
        Message(role=Role.ROLE_USER, parts=[text("Paris or Rome?")]),
        Message(
            role=Role.ROLE_ASSISTANT, parts=[*parts, call("call_a", "Paris"), call("b", "Rome")]
        ),
        Message(role=Role.ROLE_TOOL, parts=[result("b", "20 C"), result("call_a", "no", True)]),
    ]


def prompt(style: str, messages: list[Message], tools: bool = True) -> str:
    template = ChatTemplate(styles.tokenizer_with(style))
    turns = TurnWriter(template, None, str).turns(messages)
    return template.render(turns, tools=[definition(WEATHER)] if tools else [])


@pytest.mark.parametrize(
    ("style", "tools", "parallel", "system", "toggle", "efforts"),
    [
        (styles.PLAIN, False, False, True, None, set()),
        (styles.NO_SYSTEM, False, False, False, None, set()),
        (styles.HERMES, True, True, True, "enable_thinking", set()),
        (styles.TEXT_ARGUMENTS, True, True, True, None, set()),
        (styles.SHORT_IDS, True, True, True, None, set()),
        (styles.ONE_CALL, True, False, True, None, set()),
    ],
)
def test_what_a_template_takes(style, tools, parallel, system, toggle, efforts):
    template = ChatTemplate(styles.tokenizer_with(style))
    assert template.exists
    assert template.takes_tools is tools
    assert template.takes_parallel_calls is parallel
    assert template.takes_system is system
    assert template.toggle == toggle
    assert template.efforts == efforts


def test_a_template_with_efforts():
    template = ChatTemplate(styles.tokenizer_with(styles.EFFORT))
    assert {"low", "medium", "high"} <= template.efforts
    assert template.toggle is None


def test_no_template():
    template = ChatTemplate(styles.tokenizer_with(None))
    assert not template.exists
    assert not template.takes_tools


@pytest.mark.parametrize("style", [styles.HERMES, styles.TEXT_ARGUMENTS, styles.SHORT_IDS])
def test_calls_and_results_come_through(style):
    shown = prompt(style, conversation())
    for words in ("get_weather", '{"city": "Paris"}', '{"city": "Rome"}', "20 C", "Error: no"):
        assert words in shown
    assert shown.index("Paris") < shown.index('"Rome"') < shown.index("20 C")


def test_short_ids_name_the_same_call():
    shown = prompt(styles.SHORT_IDS, conversation())
    calls = [piece.split()[0] for piece in shown.split("[")[1:] if "get_weather" in piece]
    answers = [piece[:9] for piece in shown.split(" for ")[1:]]
    assert all(len(short) == 9 and short.isalnum() for short in calls)
    assert answers == calls[::-1]  # the results came in the other order


def test_a_template_of_one_call_a_turn_gets_them_one_by_one():
    shown = prompt(styles.ONE_CALL, conversation("I look."))
    places = [shown.index(words) for words in ("I look.", '"Paris"', "Error: no", '"Rome"', "20 C")]
    assert places == sorted(places)


def test_thoughts_go_to_templates_that_take_them():
    assert "<think>Which?</think>" in prompt(styles.HERMES, conversation("Hm.", "Which?"))
    assert "Which?" not in prompt(styles.SHORT_IDS, conversation("Hm.", "Which?"))


def test_a_template_with_thought_or_text_gets_both_as_a_thought():
    messages = conversation("I look.", "Which?")
    del messages[1].parts[-1]
    del messages[2].parts[0]
    assert "Which?\n\nI look." in prompt(styles.EFFORT, messages)


def test_arguments_that_are_no_object_are_refused():
    messages = conversation()
    messages[1].parts[0].tool_call.arguments_json = "[1]"
    with pytest.raises(ServiceError) as caught:
        prompt(styles.HERMES, messages)
    assert caught.value.error.field == "messages[1].parts[0].tool_call.arguments_json"


def test_tools_are_written_out_where_the_template_has_no_place():
    system = Message(role=Role.ROLE_SYSTEM, parts=[text("Be brief.")])
    written = write_out([system, *conversation("I look.")], [WEATHER])
    shown = prompt(styles.PLAIN, written, tools=False)
    assert shown.startswith("<system>Be brief.\n\nYou can call functions.")
    assert '"name": "get_weather"' in shown
    call_text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    assert "<assistant>I look.\n" + call_text in shown
    assert "<user><tool_response>\n20 C\n</tool_response>\n<tool_response>\nError: no" in shown


def test_a_system_message_goes_to_the_user_where_the_template_has_none():
    written = system_to_user(write_out(conversation(), [WEATHER]))
    shown = prompt(styles.NO_SYSTEM, written, tools=False)
    assert shown.startswith("<user>You can call functions.")
    assert "\n\nParis or Rome?</s>" in shown


CONTROL = ("<|im_start|>", "<|im_end|>")


@given(st.lists(st.sampled_from([*CONTROL, "</s>", "<|im_", "end|>", "a", " é", "\n"]), max_size=9))
def test_control_tokens_that_a_text_spells_out_stay_text(pieces):
    tokenizer = styles.tokenizer_with(styles.PLAIN, *CONTROL)
    spelled = SpelledTokens(tokenizer)
    words = "".join(pieces)
    ids = spelled.tokenize(f"<|im_start|>{spelled.hide(words)}<|im_end|>", add_special_tokens=False)
    start, end = tokenizer.convert_tokens_to_ids(list(CONTROL))
    assert ids[0] == start
    assert ids[-1] == end
    assert not {start, end, tokenizer.eos_token_id} & set(ids[1:-1])
    assert tokenizer.decode(ids[1:-1]) == words
