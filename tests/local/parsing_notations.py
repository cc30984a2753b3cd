"""Writes answers in the notation of each family, as its chat template does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Notation:
    """How a family writes.

    Attributes:
        prompt: the end of the prompt, where the model may think.
        thought: a thought, as the model writes it after that prompt.
        calls: calls -> their text.
        no_thought: the end of the prompt where the model is not to think.
        mute: texts that a value can't hold, since they end it.
        keyed: whether keys can be any text.
        separator: between a text and the calls.
    """

    calls: Callable[[Sequence[Call]], str]
    prompt: str = "<|assistant|>"
    thought: str | None = "<think>\n{}\n</think>\n\n"
    no_thought: str = "<|assistant|>"
    mute: tuple[str, ...] = ()
    keyed: bool = True
    separator: str = ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _hermes(calls: Sequence[Call]) -> str:
    return "\n".join(
        f'<tool_call>\n{{"name": {_json(name)}, "arguments": {_json(arguments)}}}\n</tool_call>'
        for name, arguments in calls
    )


def _qwen_xml(calls: Sequence[Call]) -> str:
    def one(name: str, arguments: Mapping[str, Any]) -> str:
        values = "".join(
            f"<parameter={key}>\n{_bare(value)}\n</parameter>\n" for key, value in arguments.items()
        )
        return f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>"

    return "\n".join(one(*call) for call in calls)


def _glm(calls: Sequence[Call]) -> str:
    def one(name: str, arguments: Mapping[str, Any]) -> str:
        values = "".join(
            f"<arg_key>{key}</arg_key>\n<arg_value>{_bare(value)}</arg_value>\n"
            for key, value in arguments.items()
        )
        return f"\n<tool_call>{name}\n{values}</tool_call>"

    return "".join(one(*call) for call in calls)


def _llama3(calls: Sequence[Call]) -> str:
    return "; ".join(
        f'{{"name": {_json(name)}, "parameters": {_json(arguments)}}}' for name, arguments in calls
    )


def _llama4(calls: Sequence[Call]) -> str:
    def one(name: str, arguments: Mapping[str, Any]) -> str:
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"

    return f"[{', '.join(one(*call) for call in calls)}]"


def _mistral(calls: Sequence[Call]) -> str:
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{_json(arguments)}" for name, arguments in calls)


def _mistral_list(calls: Sequence[Call]) -> str:
    return "[TOOL_CALLS] " + _json([{"name": n, "arguments": a, "id": "abc"} for n, a in calls])


def _deepseek(calls: Sequence[Call]) -> str:
    inner = "\n".join(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{_json(arguments)}\n```"
        "<｜tool▁call▁end｜>"
        for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{inner}<｜tool▁calls▁end｜>"


def _deepseek_31(calls: Sequence[Call]) -> str:
    inner = "".join(
        f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{_json(arguments)}<｜tool▁call▁end｜>"
        for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{inner}<｜tool▁calls▁end｜>"


def _dsml(section: str, prefix: str) -> Callable[[Sequence[Call]], str]:
    def one(name: str, arguments: Mapping[str, Any]) -> str:
        values = "\n".join(
            f'<{prefix}parameter name="{key}" string="{_json(isinstance(value, str))}">'
            f"{_bare(value)}</{prefix}parameter>"
            for key, value in arguments.items()
        )
        return f'<{prefix}invoke name="{name}">\n{values}\n</{prefix}invoke>\n'

    def write(calls: Sequence[Call]) -> str:
        inner = "".join(one(*call) for call in calls)
        return f"\n\n<{prefix}{section}>\n{inner}</{prefix}{section}>"

    return write


def _gemma(calls: Sequence[Call]) -> str:
    def write(value: Any) -> str:
        if isinstance(value, str):
            return f'<|"|>{value}<|"|>'
        if isinstance(value, dict):
            return "{" + ",".join(f"{key}:{write(one)}" for key, one in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(write, value)) + "]"
        return "None" if value is None else _json(value)  # as the template does within lists

    return "".join(
        f"<|tool_call>call:{name}{write(arguments)}<tool_call|>" for name, arguments in calls
    )


def _gpt_oss(calls: Sequence[Call]) -> str:
    return "<|call|>".join(
        f"<|start|>assistant<|channel|>commentary to=functions.{name} <|constrain|>json"
        f"<|message|>{_json(arguments)}"
        for name, arguments in calls
    )


def _kimi_k2(calls: Sequence[Call]) -> str:
    inner = "".join(
        f"<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>"
        f"{_json(arguments)}<|tool_call_end|>"
        for index, (name, arguments) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{inner}<|tool_calls_section_end|>"


def _kimi_k3(calls: Sequence[Call]) -> str:
    def kind(value: Any) -> str:
        if isinstance(value, bool):
            return "boolean"
        kinds = {str: "string", type(None): "null", dict: "object", list: "array"}
        return kinds.get(type(value), "number")

    def attribute(text: str) -> str:
        return text.replace("&", "&amp;").replace('"', "&quot;")

    def one(index: int, name: str, arguments: Mapping[str, Any]) -> str:
        values = "".join(
            f'<|open|>argument key="{attribute(key)}" type="{kind(value)}"<|sep|>{_bare(value)}'
            "<|close|>argument<|sep|>"
            for key, value in arguments.items()
        )
        return f'<|open|>call tool="{name}" index="{index}"<|sep|>{values}<|close|>call<|sep|>'

    inner = "".join(one(index, *call) for index, call in enumerate(calls, 1))
    return f"<|close|>response<|sep|><|open|>tools<|sep|>{inner}<|close|>tools<|sep|>"


NOTATIONS: Mapping[str, tuple[str, Notation]] = {
    "hermes": ("hermes", Notation(_hermes, separator="\n")),
    "qwen_xml": (
        "qwen_xml",
        Notation(
            _qwen_xml,
            prompt="<think>\n",
            thought="{}\n</think>\n\n",
            mute=("<",),
            keyed=False,
            separator="\n\n",
        ),
    ),
    "glm": (
        "glm",
        Notation(_glm, thought="\n<think>{}</think>\n", mute=("<",), keyed=False),
    ),
    "llama3": ("llama3", Notation(_llama3, thought=None)),
    "llama4": ("llama4", Notation(_llama4, thought=None, keyed=False)),
    "mistral": ("mistral", Notation(_mistral, thought="[THINK]{}[/THINK]")),
    "mistral, old": ("mistral", Notation(_mistral_list, thought=None)),
    "deepseek v3": ("deepseek", Notation(_deepseek)),
    "deepseek v3.1": (
        "deepseek",
        Notation(_deepseek_31, prompt="<think>", thought="{}</think>", no_thought="</think>"),
    ),
    "deepseek v3.2": (
        "dsml",
        Notation(
            _dsml("function_calls", "｜DSML｜"),
            prompt="<think>",
            thought="{}</think>",
            no_thought="</think>",
            mute=("</｜DSML｜parameter>",),
            keyed=False,
        ),
    ),
    "deepseek v4": (
        "dsml",
        Notation(
            _dsml("tool_calls", "｜DSML｜"),
            prompt="<think>",
            thought="{}</think>",
            mute=("</｜DSML｜parameter>",),
            keyed=False,
        ),
    ),
    "deepseek v4.1": (
        "dsml",
        Notation(
            _dsml("calls", "｜DSML｜ "),
            prompt="<think>",
            thought="{}</think>",
            mute=("</｜DSML｜ parameter>",),
            keyed=False,
        ),
    ),
    "gemma": (
        "gemma",
        Notation(_gemma, thought="<|channel>thought\n{}\n<channel|>", mute=('<|"|>',), keyed=False),
    ),
    "gpt_oss": (
        "gpt_oss",
        Notation(
            _gpt_oss,
            prompt="<|start|>assistant",
            no_thought="<|start|>assistant",
            thought="<|channel|>analysis<|message|>{}<|end|>",
        ),
    ),
    "kimi_k2": ("kimi_k2", Notation(_kimi_k2, prompt="<think>", thought="{}</think>")),
    "kimi_k3": (
        "kimi_k3",
        Notation(
            _kimi_k3,
            prompt="<|open|>think<|sep|>",
            thought="{}<|close|>think<|sep|><|open|>response<|sep|>",
            no_thought="<|open|>response<|sep|>",
            mute=("<|close|>argument<|sep|>",),
        ),
    ),
}
