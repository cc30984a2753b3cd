"""What the parsers do with what models write, beside what canitoolcall's fixtures show."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from parsing_events import calls, joined, read

from local_inference_service import parsing
from local_inference_service.parsing import (
    FAMILIES,
    Arguments,
    CallEnded,
    CallStarted,
    Context,
    Event,
    Reasoning,
    Text,
    detect_family,
)

_TOOLS: dict[str, Any] = {
    "look_up": {"type": "object", "properties": {"text": {"type": "string"}}},
    "add": {
        "type": "object",
        "properties": {
            "x": {"type": "integer"},
            "ratio": {"type": "number"},
            "exact": {"type": "boolean"},
            "note": {"type": ["string", "null"]},
            "any": {},
            "list": {"type": "array"},
            "size": {"$ref": "#/$defs/size"},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "level": {"enum": [1, 2]},
        },
        "$defs": {"size": {"allOf": [{"type": "integer"}]}},
    },
}


def _read(family: str, text: str, prompt_end: str = "", cut_off: bool = False) -> list[Event]:
    return read(FAMILIES[family], Context(_TOOLS, prompt_end), [text], cut_off)


def _call(name: str, arguments: str, complete: bool = True, call_id: str = "") -> list[Event]:
    return [CallStarted(name, call_id), Arguments(arguments), CallEnded(complete)]


def test_arguments_are_given_as_they_come() -> None:
    parser = FAMILIES["hermes"].parser(Context(_TOOLS))
    assert parser.feed("Well") == [Text("Well")]
    assert parser.feed(",\n<tool_c") == [Text(",")]
    assert parser.feed('all>\n{"name": "look_up", "arg') == [CallStarted("look_up")]
    assert parser.feed('uments": {"te') == [Arguments('{"te')]
    assert parser.feed('xt": "a b') == [Arguments('xt": "a b')]
    assert parser.feed('"}}') == [Arguments('"}'), CallEnded(True)]
    assert parser.feed("\n</tool_call>") == []
    assert parser.end(cut_off=False) == []


def test_a_string_between_tags_is_given_as_it_comes() -> None:
    parser = FAMILIES["qwen_xml"].parser(Context(_TOOLS))
    assert parser.feed("<tool_call>\n<function=look_up>\n") == [CallStarted("look_up")]
    assert parser.feed("<parameter=text>\nline 1\n") == [
        Arguments('{"text":'),
        Arguments('"line 1'),
    ]
    assert parser.feed('line "2"') == [Arguments('\\nline \\"2\\"')]
    assert parser.feed("\n</parameter>\n") == []
    assert parser.feed("</function>") == [Arguments('"'), Arguments("}"), CallEnded(True)]


@pytest.mark.parametrize(
    ("family", "prompt_end", "pieces"),
    [
        ("hermes", "", [("<think>", True), ("Hm.", True), ("</think>", False), ("Yes", False)]),
        ("plain", "<think>\n", [("", True), ("Hm.</think>Yes", False)]),
        ("mistral", "", [("[THINK]", True), ("[/THINK]", False)]),
        ("gemma", "", [("<|channel>thought\n", True), ("Hm.\n<channel|>", False)]),
        ("kimi_k3", "<|open|>think<|sep|>", [("", True), ("<|close|>think<|sep|>", False)]),
        (
            "gpt_oss",
            "<|start|>assistant",
            [("<|channel|>analysis<|message|>", True), ("Hm.<|end|><|start|>assistant", False)],
        ),
    ],
)
def test_knows_when_the_model_thinks(
    family: str, prompt_end: str, pieces: list[tuple[str, bool]]
) -> None:
    parser = FAMILIES[family].parser(Context(prompt_end=prompt_end))
    for text, thinks in pieces:
        parser.feed(text)
        assert parser.in_reasoning is thinks


@pytest.mark.parametrize("name", FAMILIES)
def test_marks_of_thoughts_and_answers(name: str) -> None:
    family = FAMILIES[name]
    parser = family.parser(Context())
    events: list[Event] = []
    if family.thought_marks is not None:
        begin, end = family.thought_marks
        events = parser.feed(begin + "Hm")
        assert parser.in_reasoning
        events += parser.feed(end)
        assert not parser.in_reasoning
    before, after = family.answer_marks
    events += parser.feed(f"{before}Yes.{after}") + parser.end(cut_off=False)
    thought = [Reasoning("Hm")] if family.thought_marks else []
    assert joined(events) == [*thought, Text("Yes.")]


def test_tags_of_thoughts_within_a_text_are_text() -> None:
    text = "Models write <think> and </think> around thoughts."
    assert _read("hermes", text) == [Text(text)]


def test_a_thought_may_come_between_calls() -> None:
    call = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    assert _read("hermes", f"{call}\n<think>\nNext.\n</think>\n\n{call}") == [
        *_call("add", "{}"), Reasoning("Next."), *_call("add", "{}"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["hermes", "qwen_xml", "glm", "gemma", "kimi_k2", "dsml"])
def test_a_call_ends_a_thought_that_was_left_open(name: str) -> None:
    text = {
        "hermes": '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>',
        "qwen_xml": "<tool_call>\n<function=add>\n</function>\n</tool_call>",
        "glm": "<tool_call>add\n</tool_call>",
        "gemma": "<|tool_call>call:add{}<tool_call|>",
        "kimi_k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0"
        "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        "dsml": '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="add"/>\n</｜DSML｜tool_calls>',
    }[name]
    prompt = "<|channel>thought\n" if name == "gemma" else "<think>\n"
    call_id = "functions.add:0" if name == "kimi_k2" else ""
    thought = "I write <tool_call> and <tool_call|>"
    assert _read(name, thought + "\n" + text, prompt)[-3:] == _call("add", "{}", call_id=call_id)
    assert [
        event.text.strip()
        for event in _read(name, thought + "\n" + text, prompt)
        if isinstance(event, Reasoning)
    ] == [thought]


def test_a_call_whose_tag_was_left_out() -> None:
    call = '{"name": "add", "arguments": {"x": 1}}'
    assert _read("hermes", call) == _call("add", '{"x": 1}')
    assert _read("hermes", f"<think>\nHm.\n</think>\n\n{call}\n</tool_call>") == [
        Reasoning("Hm."), *_call("add", '{"x": 1}'),
    ]  # fmt: skip
    assert _read("hermes", f"As JSON: {call}") == [Text(f"As JSON: {call}")]
    assert read(FAMILIES["hermes"], Context(), [call]) == [Text(call)]


def test_a_call_in_a_fence_at_the_start_is_a_call() -> None:
    call = '{\n  "name": "add",\n  "arguments": {\n    "x": 1\n  }\n}'
    arguments = '{\n    "x": 1\n  }'
    assert _read("hermes", f"```json\n{call}\n```") == _call("add", arguments)
    assert _read("hermes", f"```json\n{call}\n```\nDone.") == [
        *_call("add", arguments), Text("\nDone."),
    ]  # fmt: skip
    for text in (f"So:\n```json\n{call}\n```", '```json\n{"a": 1}\n```', "```python\nx = 1\n```"):
        assert _read("hermes", text) == [Text(text)]


def test_several_calls_within_one_tag() -> None:
    text = '<tool_call>\n{"name": "add"}\n{"name": "look_up", "arguments": {}}\n</tool_call>'
    assert calls(_read("hermes", text)) == [("add", "{}"), ("look_up", "{}")]


@pytest.mark.parametrize(
    ("written", "arguments", "complete"),
    [
        ("null", "{}", True),
        (r'"{\"x\": 1}"', '{"x": 1}', True),
        ('"not JSON"', "not JSON", False),
        ('{"x": 1e400, "y": 1.50}', '{"x": 1e400, "y": 1.50}', True),
        ('{"x": "a\nb\tc"}', '{"x": "a\\nb\\tc"}', True),  # line breaks that JSON forbids
        ('{"x": 01}', '{"x": 01}}\n', False),
        ("{'x': 1}", "{'x': 1}}\n", False),
        ("[1]", "[1]}\n", False),
        ('{"x": NaN}', '{"x": NaN}}\n', False),
    ],
)  # fmt: skip
def test_arguments_that_are_json(written: str, arguments: str, complete: bool) -> None:
    text = f'<tool_call>\n{{"name": "add", "arguments": {written}}}\n</tool_call>'
    events = _read("hermes", text)
    assert events[0] == CallStarted("add")
    assert events[-1] == CallEnded(complete)
    if complete:
        assert events[1] == Arguments(arguments)
    else:  # what was written is there to be seen
        assert "".join(e.text for e in events if isinstance(e, Arguments)).startswith(arguments[:5])


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("x", "5", 5),
        ("x", "five", "five"),
        ("x", "5.5", "5.5"),
        ("x", " 5 ", 5),
        ("x", "007", "007"),
        ("ratio", "1e-3", 0.001),
        ("ratio", "5", 5),
        ("exact", "True", True),
        ("exact", "false", False),
        ("exact", "yes", "yes"),
        ("note", "null", None),
        ("note", "None", None),
        ("note", "nullable", "nullable"),
        ("note", "5", "5"),
        ("any", "5", 5),
        ("any", "True", "True"),
        ("any", "some text", "some text"),
        ("any", '{"a": [1]}', {"a": [1]}),
        ("list", "['it\\'s', (1, -2.5), {'a': None}]", ["it's", [1, -2.5], {"a": None}]),
        ("list", "[1, 2", "[1, 2"),
        ("size", "12", 12),
        ("either", "12", 12),
        ("either", "twelve", "twelve"),
        ("level", "2", 2),
        ("unknown", "[1, 2]", [1, 2]),
    ],
)
def test_a_bare_value_has_the_type_of_its_schema(key: str, written: str, value: Any) -> None:
    tagged = {
        "qwen_xml": f"<tool_call>\n<function=add>\n<parameter={key}>\n{written}\n</parameter>\n"
        "</function>\n</tool_call>",
        "glm": f"<tool_call>add\n<arg_key>{key}</arg_key>\n<arg_value>{written}</arg_value>\n"
        "</tool_call>",
    }
    for family, text in tagged.items():
        ((name, arguments),) = calls(_read(family, text))
        assert (name, json.loads(arguments)) == ("add", {key: value})


def test_an_argument_given_twice_makes_a_call_malformed() -> None:
    value = "<parameter=x>\n1\n</parameter>\n"
    text = f"<tool_call>\n<function=add>\n{value}{value}</function>\n</tool_call>"
    assert _read("qwen_xml", text)[-1] == CallEnded(False)
    assert _read("gemma", "<|tool_call>call:add{x:1,x:2}<tool_call|>")[-1] == CallEnded(False)
    assert _read("llama4", "[add(x=1, x=2)]") == [Text("[add(x=1, x=2)]")]


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("hermes", "<tool_call>call add, please</tool_call>"),
        ("hermes", '<tool_call>{"function": "add"}</tool_call>'),
        ("qwen_xml", "<tool_call>add(1)</tool_call>"),
        ("qwen_xml", "A <function=add> tag, or <function=nothing>."),
        ("glm", "Put calls in <tool_call> and </tool_call>."),
        ("mistral", "[TOOL_CALLS] no more"),
        ("mistral", '[TOOL_CALLS] [{"arguments": {}}]'),
        ("gemma", "<|tool_call>add{}<tool_call|>"),
        ("llama3", '{"name": "Bob", "parameters": {}}'),
        ("llama3", '{"name": "add", "parameters": 1}'),
        ("llama3", '{"name": "add", "age": 3}'),
        ("llama3", '<|python_tag|>brave_search.call(query="x")'),
        ("llama4", "[1] says so"),
        ("llama4", "[add(x=1), and more]"),
        ("llama4", "[unknown()]"),
        ("gpt_oss", "I just answer."),
        ("plain", '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'),
    ],
)
def test_what_only_looks_like_a_call_is_text(family: str, text: str) -> None:
    assert _read(family, text) == [Text(text)]


def test_json_alone_is_an_answer_where_no_tools_are_offered() -> None:
    text = '{"name": "add", "parameters": {"x": 1}}'
    assert calls(_read("llama3", text)) == [("add", '{"x": 1}')]
    assert read(FAMILIES["llama3"], Context(), [text]) == [Text(text)]


def test_ids_that_models_write() -> None:
    assert _read("mistral", '[TOOL_CALLS]add[CALL_ID]a1b2c3d4e[ARGS]{"x": 1}') == _call(
        "add", '{"x": 1}', call_id="a1b2c3d4e"
    )
    kimi = (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.add:7"
        '<|tool_call_argument_begin|>{"x": 1}<|tool_call_end|><|tool_calls_section_end|>'
    )
    assert _read("kimi_k2", kimi) == _call("add", '{"x": 1}', call_id="functions.add:7")


def test_forms_that_a_family_also_reads() -> None:
    k3 = (
        '<|open|>tools<|sep|><|open|>call tool="add" index="1"<|sep|>'
        '<|open|>json type="object"<|sep|>{"x": 1}<|close|>json<|sep|><|close|>call<|sep|>'
        "<|close|>tools<|sep|>"
    )
    assert _read("kimi_k3", k3) == _call("add", '{"x": 1}')
    assert _read("gemma", '<|tool_call>call:add{"x": 1}<tool_call|>') == _call("add", '{"x":1}')
    assert _read("llama4", '{"name": "add", "parameters": {"x": 1}}') == _call("add", '{"x": 1}')
    assert calls(_read("mistral", '[TOOL_CALLS]add{"x": 1}')) == [("add", '{"x": 1}')]


def test_a_tool_that_is_built_into_a_format_is_an_incomplete_call() -> None:
    text = "<|channel|>commentary to=python <|constrain|>code<|message|>print(1)"
    assert _read("gpt_oss", text) == _call("python", "print(1)", complete=False)


def test_an_answer_that_goes_on_from_a_begun_message() -> None:
    prompt = "<|start|>assistant<|channel|>final<|message|>"
    assert _read("gpt_oss", "Yes.<|return|>", prompt) == [Text("Yes.")]


def test_deep_nesting_is_malformed_and_does_no_harm() -> None:
    for family, text in (
        ("hermes", '<tool_call>{"name": "add", "arguments": {"x": ' + "[" * 100_000),
        ("llama4", "[add(x=" + "[" * 100_000),
        ("gemma", "<|tool_call>call:add{x:" + "{a:" * 50_000),
    ):
        assert calls(_read(family, text)) == []


@pytest.mark.parametrize("family", ["hermes", "llama4", "mistral"])
def test_text_around_calls_is_kept_in_order(family: str) -> None:
    call = {
        "hermes": '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>',
        "llama4": "<|python_start|>[add()]<|python_end|>",
        "mistral": "[TOOL_CALLS]add[ARGS]{}",
    }[family]
    assert _read(family, f"One.{call} Two.{call}") == [
        Text("One."), *_call("add", "{}"), Text(" Two."), *_call("add", "{}"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "name", "thinks"),
    [
        ("<|im_start|>{{ messages }}", "plain", False),
        ("{{ messages }}<think>\n", "plain", True),
        ('{{ tools }}<tool_call>\\n{\\"name\\": <function-name>', "hermes", False),
        ('{{ tools }}<tool_call>\n{"name": </think>', "hermes", True),
        ("<tool_call>\\n<function=example>\\n<parameter=a>", "qwen_xml", False),
        ("<tool_call>name\n<arg_key>k</arg_key></think>", "glm", True),
        ("[AVAILABLE_TOOLS] [TOOL_CALLS]", "mistral", False),
        ("[TOOL_CALLS] [THINK]", "mistral", True),
        ("<｜tool▁calls▁begin｜>function<｜tool▁sep｜>x\n```json</think>", "deepseek", True),
        ("<｜tool▁calls▁begin｜>x<｜tool▁sep｜></think>", "deepseek_v31", True),
        ("<｜DSML｜function_calls></think>", "dsml", True),
        ("<|start|>assistant<|channel|>analysis<|message|>", "gpt_oss", True),
        ('<|tool_call>call:<|"|> <|channel>thought', "gemma", True),
        ("<|tool_calls_section_begin|>", "kimi_k2", False),
        ("{{- '<|open|>' + tag -}} {{ open_tag('think') }}", "kimi_k3", True),
        ('Respond in the format {"name": function name, "parameters": dict', "llama3", False),
        ("<|header_start|>assistant<|header_end|>", "llama4", False),
        # What has the tags, but another notation within them.
        ("<seed:tool_call>\n<function=f>\n<parameter=p>", "plain", False),
        ("Return a list of json objects within <tool_call></tool_call>", "plain", False),
    ],
)
def test_family_of_a_template(template: str, name: str, thinks: bool) -> None:
    family = detect_family(template, [])
    assert family.name == name
    assert (family.thought_marks is not None) is thinks


def test_family_of_a_tokenizer_without_template() -> None:
    assert detect_family(None, ["<s>", "[TOOL_CALLS]", "[ARGS]"]).name == "mistral"
    assert detect_family(None, ["<|channel|>", "<|call|>"]).name == "gpt_oss"
    assert detect_family(None, ["<s>", "</s>"]).name == "plain"
    assert detect_family("{{ messages }}", ["[TOOL_CALLS]"]).name == "plain"


def test_the_parsers_need_nothing_but_the_standard_library() -> None:
    folder = Path(parsing.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                own = name.startswith(parsing.__name__)
                assert own or name.partition(".")[0] in sys.stdlib_module_names, (path, name)
