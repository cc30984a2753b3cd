"""The keyword arguments of a call -> GenerateRequest. Only what the user set goes to the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from marsys.models import _media
from marsys.models._errors import invalid
from marsys.models._messages import as_json, to_messages
from marsys.models._tools import to_tool_choice, to_tools
from marsys.rpc.channel import MAX_MESSAGE_BYTES
from marsys.v1 import (
    GenerateRequest,
    GenerationConfig,
    JsonObjectFormat,
    Message,
    Part,
    ReasoningEffort,
    Role,
    UnsupportedPolicy,
)

# Keyword argument -> field of GenerationConfig.
_NUMBERS: dict[str, type[int] | type[float]] = {
    "max_tokens": int,
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "frequency_penalty": float,
    "presence_penalty": float,
    "repetition_penalty": float,
    "seed": int,
}
_POLICIES = {
    "reject": UnsupportedPolicy.UNSUPPORTED_POLICY_REJECT,
    "warn": UnsupportedPolicy.UNSUPPORTED_POLICY_WARN,
}
_SPECIAL = {
    "stop",
    "thinking_budget",
    "reasoning_effort",
    "prompt_cache_key",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "json_mode",
    "response_schema",
    "response_format",
    "images",
    "n",
    "on_unsupported",
}
KNOWN = _SPECIAL | _NUMBERS.keys()
OF_CONFIG = {"stop", "thinking_budget", "reasoning_effort", "prompt_cache_key"} | _NUMBERS.keys()
"""Those that say how to generate: a conversation may change them at every turn."""


def build_request(
    model: str, messages: Any, settings: Mapping[str, Any], *, options_allowed: bool
) -> GenerateRequest:
    """The request for a call.

    Args:
        model: name for GenerateRequest.model.
        messages: the conversation as dicts.
        settings: the call's keyword arguments over the model's defaults; None means not set.
        options_allowed: whether unknown arguments go to the provider as its own options.

    Raises:
        ModelAPIError: an argument can't be read, or is not known where no options are allowed;
            `field` names it.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    request = GenerateRequest(model=model, messages=to_messages(messages))
    try:
        _set_numbers(request.config, given)
        _set_words(request.config, given)
        _set_tools(request, given)
        _set_format(request, given)
    except UnicodeEncodeError:
        raise invalid("request", "holds text that is no valid Unicode") from None
    if not request.config.ListFields():
        request.ClearField("config")
    if "images" in given:
        _add_images(request, given["images"])
    if given.get("n", 1) != 1:
        raise invalid("n", "a call gives one answer; call again for more")
    if "on_unsupported" in given:
        if given["on_unsupported"] not in _POLICIES:
            raise invalid("on_unsupported", "must be reject or warn")
        request.on_unsupported = _POLICIES[given["on_unsupported"]]
    for name in given.keys() - KNOWN:
        if not options_allowed:
            raise invalid(name, "is not a parameter of local models")
        request.provider_options_json[name] = as_json(given[name], name)
    return request


def check_size(request: GenerateRequest) -> None:
    """Refuse a request that the service would not take.

    Raises:
        ModelAPIError: it is over 64 MiB (classification "request_too_large"); `field` names its
            largest piece.
    """
    size = request.ByteSize()
    if size < MAX_MESSAGE_BYTES - 64:  # StreamGenerateRequest adds a few bytes
        return
    largest, path = max(_pieces(request))
    raise invalid(
        path,
        f"the request has {size} bytes, {largest} of them here; at most 64 MiB can be sent",
        classification="request_too_large",
    )


def _pieces(request: GenerateRequest) -> Iterator[tuple[int, str]]:
    for index, message in enumerate(request.messages):
        for number, part in enumerate(message.parts):
            path = f"messages[{index}].parts[{number}]"
            yield part.ByteSize(), f"{path}.{part.WhichOneof('content') or 'content'}"
    for index, tool in enumerate(request.tools):
        yield tool.ByteSize(), f"tools[{index}]"
    yield request.output_format.ByteSize(), "output_format"
    yield sum(map(len, request.provider_options_json.values())), "provider_options_json"


def _set_numbers(config: GenerationConfig, given: Mapping[str, Any]) -> None:
    for name, kind in _NUMBERS.items():
        if name in given:
            _assign(config, name, given[name], name, kind)


def _set_words(config: GenerationConfig, given: Mapping[str, Any]) -> None:
    if "stop" in given:
        stop = [given["stop"]] if isinstance(given["stop"], str) else given["stop"]
        if not isinstance(stop, (list, tuple)) or not all(isinstance(s, str) for s in stop):
            raise invalid("stop", "must be text or a list of texts")
        config.stop_sequences.extend(stop)
    if "thinking_budget" in given:
        budget = given["thinking_budget"]
        _assign(config.reasoning, "budget_tokens", budget, "thinking_budget", int)
    if "reasoning_effort" in given:
        name = f"REASONING_EFFORT_{str(given['reasoning_effort']).upper()}"
        known = {name: number for name, number in ReasoningEffort.items() if number}
        if name not in known:
            words = [word.removeprefix("REASONING_EFFORT_").lower() for word in known]
            raise invalid("reasoning_effort", f"must be one of {', '.join(words)}")
        config.reasoning.effort = known[name]
    if "prompt_cache_key" in given:
        config.prompt_cache_key = str(given["prompt_cache_key"])


def _assign(
    target: Any, attribute: str, value: Any, name: str, kind: type[int] | type[float]
) -> None:
    """Set a number. Ranges and NaN are the service's to judge."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(name, f"must be a number, not {type(value).__name__}")
    if kind is int:
        if value != value or value in (float("inf"), float("-inf")) or value != int(value):
            raise invalid(name, "must be a whole number")
        value = int(value)
    try:
        setattr(target, attribute, value)
    except (ValueError, OverflowError):
        raise invalid(name, "is out of range") from None


def _set_tools(request: GenerateRequest, given: Mapping[str, Any]) -> None:
    if "tools" in given:
        request.tools.extend(to_tools(given["tools"]))
    parallel = given.get("parallel_tool_calls")
    choice = to_tool_choice(
        given.get("tool_choice"), None if parallel is None else bool(parallel), bool(request.tools)
    )
    if choice is not None:
        request.tool_choice.CopyFrom(choice)


def _set_format(request: GenerateRequest, given: Mapping[str, Any]) -> None:
    """response_schema wins over response_format, which wins over json_mode."""
    if "response_schema" in given:
        schema = given["response_schema"]
        if not isinstance(schema, Mapping):
            raise invalid("response_schema", "must be a JSON schema as an object")
        request.output_format.json_schema.schema_json = as_json(schema, "response_schema")
    elif "response_format" in given:
        _set_openai_format(request, given["response_format"])
    elif given.get("json_mode"):
        request.output_format.json_object.CopyFrom(JsonObjectFormat())


def _set_openai_format(request: GenerateRequest, form: Any) -> None:
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "text":
        request.output_format.text.SetInParent()
    elif kind == "json_object":
        request.output_format.json_object.SetInParent()
    elif kind == "json_schema" and isinstance(form.get("json_schema"), Mapping):
        envelope = form["json_schema"]
        schema = request.output_format.json_schema
        schema.schema_json = as_json(envelope.get("schema"), "response_format.json_schema.schema")
        schema.name = envelope.get("name") or ""
        schema.description = envelope.get("description") or ""
        if envelope.get("strict") is not None:
            schema.strict = bool(envelope["strict"])
    else:
        raise invalid("response_format", "must have the type text, json_object or json_schema")


def _add_images(request: GenerateRequest, images: Any) -> None:
    """Append images to the last user message."""
    if not isinstance(images, (list, tuple)):
        images = [images]
    if not images:
        return
    target: Message | None = None
    for message in request.messages:
        if message.role == Role.ROLE_USER:
            target = message
    if target is None:
        raise invalid("images", "there is no user message to add them to")
    for index, entry in enumerate(images):
        path = f"images[{index}]"
        inner = entry.get("image_url", entry) if isinstance(entry, Mapping) else entry
        target.parts.append(Part(media=_media.image_url(inner, path)))
