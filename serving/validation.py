"""Checks a GenerateRequest against what the contract says, whoever answers it.

What depends on a model or a provider is checked where those are known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from marsys.v1 import (
    CallPolicy,
    GenerateRequest,
    GenerationConfig,
    ReasoningEffort,
    ToolChoiceMode,
    UnsupportedPolicy,
)
from serving._json_checks import check_json, check_schema
from serving._message_checks import check_messages, open_calls
from serving.errors import invalid

# Bounds: lowest, whether the lowest itself is allowed, highest.
_RANGES: dict[str, tuple[float, bool, float]] = {
    "max_tokens": (1, True, 2**31 - 1),
    "temperature": (0, True, 2),
    "top_p": (0, False, 1),
    "top_k": (0, True, 2**31 - 1),
    "min_p": (0, True, 1),
    "frequency_penalty": (-2, True, 2),
    "presence_penalty": (-2, True, 2),
    "repetition_penalty": (0, False, 2),
}
# An enum lists its values anew whenever it is asked.
_EFFORTS = frozenset(ReasoningEffort.values())
_UNSUPPORTED_POLICIES = frozenset(UnsupportedPolicy.values())
_MAX_STOPS = 16
_MAX_TOOLS = 512
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SCHEMA_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def validate(request: GenerateRequest) -> None:
    """Check a request.

    Raises:
        ServiceError: a field is wrong (INVALID_ARGUMENT naming it).
    """
    _check_model(request)
    check_messages(request.messages, "messages")
    _check_parameters(request)


def validate_template(request: GenerateRequest) -> dict[str, str]:
    """Check what a conversation begins with: it may have no messages yet.

    Returns:
        The tool calls that its last message leaves unanswered: id -> name.

    Raises:
        ServiceError: a field is wrong (INVALID_ARGUMENT naming it).
    """
    _check_model(request)
    calls = open_calls(request.messages, "messages") if request.messages else {}
    _check_parameters(request)
    return calls


def validate_config(config: GenerationConfig, path: str) -> None:
    """Check how to generate.

    Raises:
        ServiceError: a field is wrong (INVALID_ARGUMENT naming it beneath `path`).
    """
    _check_config(config, path)


def _check_model(request: GenerateRequest) -> None:
    if not request.model.strip():
        raise invalid("model", "must name a model")
    if len(request.model) > 1024:
        raise invalid("model", "must be at most 1024 characters")


def _check_parameters(request: GenerateRequest) -> None:
    if request.HasField("config"):
        _check_config(request.config, "config")
    _check_tools(request)
    _check_output_format(request, "output_format")
    if request.on_unsupported not in _UNSUPPORTED_POLICIES:
        raise invalid("on_unsupported", "is no known policy")
    if request.HasField("policy"):
        _check_policy(request.policy, "policy")
    for name, text in request.provider_options_json.items():
        check_json(f'provider_options_json["{name}"]', text)


def _check_config(config: GenerationConfig, path: str) -> None:
    for descriptor, value in config.ListFields():
        name = descriptor.name
        if name not in _RANGES:
            continue
        low, low_allowed, high = _RANGES[name]
        above = value >= low if low_allowed else value > low
        if not (math.isfinite(value) and above and value <= high):
            bound = f"{low:g}" if low_allowed else f"above {low:g}"
            upper = f" to {high:g}" if high < 2**31 - 1 else " or more"
            raise invalid(f"{path}.{name}", f"must be {bound}{upper}, not {value:g}")
    if len(config.stop_sequences) > _MAX_STOPS:
        raise invalid(f"{path}.stop_sequences", f"at most {_MAX_STOPS} are allowed")
    for index, stop in enumerate(config.stop_sequences):
        if not stop:
            raise invalid(f"{path}.stop_sequences[{index}]", "must not be empty")
    if config.HasField("prompt_cache_key") and not 0 < len(config.prompt_cache_key) <= 64:
        raise invalid(f"{path}.prompt_cache_key", "must be 1 to 64 characters")
    if config.HasField("reasoning"):
        if config.reasoning.effort not in _EFFORTS:
            raise invalid(f"{path}.reasoning.effort", "is no known effort")
        if config.reasoning.budget_tokens < 0:
            raise invalid(f"{path}.reasoning.budget_tokens", "must be 0 or more")


def _check_tools(request: GenerateRequest) -> None:
    if len(request.tools) > _MAX_TOOLS:
        raise invalid("tools", f"at most {_MAX_TOOLS} are allowed")
    names: set[str] = set()
    for index, tool in enumerate(request.tools):
        path = f"tools[{index}]"
        if not _TOOL_NAME.fullmatch(tool.name):
            raise invalid(f"{path}.name", "must be 1 to 128 of [A-Za-z0-9_.-]")
        if tool.name in names:
            raise invalid(f"{path}.name", f"{tool.name!r} stands twice")
        names.add(tool.name)
        if tool.parameters_json:
            check_schema(f"{path}.parameters_json", tool.parameters_json)
    if request.HasField("tool_choice"):
        _check_tool_choice(request, names, "tool_choice")


def _check_tool_choice(request: GenerateRequest, names: Iterable[str], path: str) -> None:
    choice = request.tool_choice
    kind = choice.WhichOneof("choice")
    if kind == "tool_name" and choice.tool_name not in names:
        raise invalid(f"{path}.tool_name", f"no tool is named {choice.tool_name!r}")
    if kind == "mode" and choice.mode not in ToolChoiceMode.values():
        raise invalid(f"{path}.mode", "is no known mode")
    none_needed = kind == "mode" and choice.mode in (
        ToolChoiceMode.TOOL_CHOICE_MODE_NONE,
        ToolChoiceMode.TOOL_CHOICE_MODE_UNSPECIFIED,
    )
    if not request.tools and not none_needed:
        raise invalid(path, "is allowed only with tools")


def _check_output_format(request: GenerateRequest, path: str) -> None:
    if not request.HasField("output_format"):
        return
    form = request.output_format
    kind = form.WhichOneof("format")
    if kind is None:
        raise invalid(path, "must say which format")
    if kind == "json_schema":
        schema = form.json_schema
        check_schema(f"{path}.json_schema.schema_json", schema.schema_json)
        if schema.name and not _SCHEMA_NAME.fullmatch(schema.name):
            raise invalid(f"{path}.json_schema.name", "must be 1 to 64 of [A-Za-z0-9_-]")
    elif kind == "regex" and not form.regex.pattern:
        raise invalid(f"{path}.regex.pattern", "must not be empty")
    elif kind == "grammar" and not form.grammar.lark:
        raise invalid(f"{path}.grammar.lark", "must not be empty")
    elif kind == "choice":
        if not form.choice.choices:
            raise invalid(f"{path}.choice.choices", "at least one is needed")
        if "" in form.choice.choices:
            raise invalid(f"{path}.choice.choices", "none may be empty")


def _check_policy(policy: CallPolicy, path: str) -> None:
    if policy.HasField("max_attempts") and not 1 <= policy.max_attempts <= 10:
        raise invalid(f"{path}.max_attempts", "must be 1 to 10")
    set_fields = {field.name for field, _ in policy.ListFields()}
    for name in ("first_token_timeout", "idle_timeout"):
        if name in set_fields and getattr(policy, name).ToMilliseconds() <= 0:
            raise invalid(f"{path}.{name}", "must be above 0")
