"""Which fields of a request a local model takes; the rest is refused or warned of."""

from __future__ import annotations

from collections.abc import Iterator

from local_inference_service.chat import Chat
from local_inference_service.constraints import must_call
from marsys.v1 import (
    GenerateRequest,
    ReasoningConfig,
    ReasoningEffort,
    ToolChoiceMode,
    UnsupportedPolicy,
    WarningCode,
)
from serving.errors import invalid, unsupported
from serving.event_writer import EventWriter

_FIELDS = frozenset(
    {
        "messages",
        "config.max_tokens",
        "config.temperature",
        "config.top_p",
        "config.top_k",
        "config.min_p",
        "config.frequency_penalty",
        "config.presence_penalty",
        "config.repetition_penalty",
        "config.seed",
        "config.stop_sequences",
        "output_format.text",
    }
)
_OF_CHATS = frozenset({"tools", "tool_choice"})
_OF_GRAMMARS = frozenset(
    f"output_format.{form}" for form in ("json_object", "json_schema", "regex", "grammar", "choice")
)
_EFFORT = "config.reasoning.effort"
_BUDGET = "config.reasoning.budget_tokens"


def fields_of(chat: Chat) -> frozenset[str]:
    """Paths of the GenerateRequest fields that a model takes."""
    fields = set(_FIELDS)
    if chat.template.exists:
        fields |= _OF_CHATS
    if chat.constrains:
        fields |= _OF_GRAMMARS
    if chat.reasons:
        fields.add(_BUDGET)
    if chat.efforts:
        fields.add(_EFFORT)
    return frozenset(fields)


def check_fields(request: GenerateRequest, name: str, chat: Chat, writer: EventWriter) -> None:
    """Check the fields that depend on the model.

    Args:
        request: a request that passed serving.validation.
        name: the model's name.
        chat: how it holds a conversation.
        writer: told of fields that are left out.

    Raises:
        ServiceError: a field is not for local models (INVALID_REQUEST), or the model doesn't take
            it and the caller didn't ask for warnings (UNSUPPORTED_PARAMETER).
    """
    if request.HasField("target") and request.target.ListFields():
        raise invalid("target", "names a remote provider; this service runs local models")
    if request.provider_options_json:
        raise invalid("provider_options_json", "is for remote providers; this service runs models")
    for field, what in _untaken(request, chat):
        message = f"{name} takes no {what}"
        if request.on_unsupported != UnsupportedPolicy.UNSUPPORTED_POLICY_WARN:
            raise unsupported(field, message, model=name)
        writer.warn(
            WarningCode.WARNING_CODE_UNSUPPORTED_PARAMETER, field, f"{message}; it was left out"
        )


def _untaken(request: GenerateRequest, chat: Chat) -> Iterator[tuple[str, str]]:
    taken = fields_of(chat)
    none = ToolChoiceMode.TOOL_CHOICE_MODE_NONE
    if request.tools and "tools" not in taken:
        yield "tools", "tools"
    chosen = request.HasField("tool_choice") and request.tool_choice.mode != none
    if chosen and not request.tools and "tool_choice" not in taken:
        yield "tool_choice", "tool choice"
    if must_call(request.tool_choice) and not chat.constrains:
        yield "tool_choice", "choice that a tool must be called: its tokenizer is no fast one"
    form = request.output_format.WhichOneof("format")
    if form is not None and f"output_format.{form}" not in taken:
        yield f"output_format.{form}", f"output format {form}"
    yield from _untaken_reasoning(request.config.reasoning, chat)
    if request.config.HasField("prompt_cache_key"):
        yield "config.prompt_cache_key", "prompt cache key"
    for index, message in enumerate(request.messages):
        if message.HasField("name"):
            yield f"messages[{index}].name", "names of speakers"
        for number, part in enumerate(message.parts):
            if part.HasField("cache_breakpoint"):
                yield f"messages[{index}].parts[{number}].cache_breakpoint", "cache breakpoints"
    for index, tool in enumerate(request.tools):
        if tool.HasField("cache_breakpoint"):
            yield f"tools[{index}].cache_breakpoint", "cache breakpoints"


def _untaken_reasoning(reasoning: ReasoningConfig, chat: Chat) -> Iterator[tuple[str, str]]:
    """No reasoning is what every model can give: one that reasons is made to end its thought."""
    effort = reasoning.effort if reasoning.HasField("effort") else None
    none = ReasoningEffort.REASONING_EFFORT_NONE
    if effort is not None and effort != none and effort not in chat.efforts:
        yield _EFFORT, "such reasoning effort"
    if reasoning.budget_tokens and not chat.reasons:
        yield _BUDGET, "reasoning budget"
