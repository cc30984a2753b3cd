"""Which fields of a request local text models take; the rest is refused or warned of."""

from __future__ import annotations

from collections.abc import Iterator

from marsys.v1 import GenerateRequest, ToolChoiceMode, UnsupportedPolicy, WarningCode
from serving.errors import invalid, unsupported
from serving.event_writer import EventWriter

TEXT_FIELDS = frozenset(
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
"""Paths of the GenerateRequest fields that local text models take."""


def check_fields(request: GenerateRequest, name: str, writer: EventWriter) -> None:
    """Check the fields that depend on the model.

    Raises:
        ServiceError: a field is not for local models (INVALID_REQUEST), or the model doesn't take
            it and the caller didn't ask for warnings (UNSUPPORTED_PARAMETER).
    """
    if request.HasField("target") and request.target.ListFields():
        raise invalid("target", "names a remote provider; this service runs local models")
    if request.provider_options_json:
        raise invalid("provider_options_json", "is for remote providers; this service runs models")
    for field, what in _untaken(request):
        message = f"{name} takes no {what}"
        if request.on_unsupported != UnsupportedPolicy.UNSUPPORTED_POLICY_WARN:
            raise unsupported(field, message, model=name)
        writer.warn(
            WarningCode.WARNING_CODE_UNSUPPORTED_PARAMETER, field, f"{message}; it was left out"
        )


def _untaken(request: GenerateRequest) -> Iterator[tuple[str, str]]:
    if request.tools:
        yield "tools", "tools"
    choice = request.tool_choice
    if request.HasField("tool_choice") and choice.mode != ToolChoiceMode.TOOL_CHOICE_MODE_NONE:
        yield "tool_choice", "tool choice"
    form = request.output_format.WhichOneof("format")
    if form not in (None, "text"):
        yield f"output_format.{form}", f"output format {form}"
    for knob in ("effort", "budget_tokens"):
        if knob in {field.name for field, _ in request.config.reasoning.ListFields()}:
            yield f"config.reasoning.{knob}", "reasoning settings"
    if request.config.HasField("prompt_cache_key"):
        yield "config.prompt_cache_key", "prompt cache key"
    for index, message in enumerate(request.messages):
        if message.HasField("name"):
            yield f"messages[{index}].name", "names of speakers"
        for number, part in enumerate(message.parts):
            if part.HasField("cache_breakpoint"):
                yield f"messages[{index}].parts[{number}].cache_breakpoint", "cache breakpoints"
