"""The answer of a model, in the same form whichever model gave it."""

from __future__ import annotations

import base64
from typing import Any

from marsys.models._facts import attempt_facts, usage_facts, warning_facts
from marsys.models._parts import reasoning_details, view
from marsys.v1 import FinishReason, GenerateResponse

_FINISH_PREFIX = "FINISH_REASON_"


class AttributeDict(dict[str, Any]):
    """A dict whose items can also be read as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name!r}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class HarmonizedResponse(AttributeDict):
    """A model's answer: a dict (json.dumps takes it) that can also be read by attributes.

    Append it to the messages as it is to go on with the conversation.

    Keys:
        role: "assistant".
        content: the text; a refusal's words where there is no text; None where the model only
            calls tools.
        thinking: the text of the model's reasoning; None where it showed none.
        tool_calls: list of {"id", "type": "function", "function": {"name", "arguments"}}, where
            `arguments` is the text of a JSON object.
        usage: known token counts, ints: prompt_tokens, completion_tokens, total_tokens,
            reasoning_tokens (part of completion_tokens), cached_tokens and cache_write_tokens
            (parts of prompt_tokens).
        finish_reason: "stop", "length", "tool_calls", "content_filter", "pause", "interrupted",
            "error" or "other".
        id, model: the provider's id of the response, and the model as it names itself.
        metadata: provider, model, request_id, created (seconds since the epoch), finish_reason,
            raw_finish_reason, stop_sequence, attempts, warnings, usage.
        reasoning_details: opaque entries that replay the answer exactly on the next turn. Empty
            where the other keys suffice.
        refusal: a refusal's words. Only where the model refused.
        images: list of {"type": "image_url", "image_url": {"url"}}. Only where there are any.
        cost: in US dollars. Only where known.
    """

    def __init__(self, *args: Any, **items: Any) -> None:
        super().__init__(*args, **items)
        self.__dict__["_proto"] = GenerateResponse()

    @property
    def proto(self) -> GenerateResponse:
        """The answer as the service gave it."""
        message: GenerateResponse = self.__dict__["_proto"]
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (dict(self), self.proto)

    @property
    def has_tool_calls(self) -> bool:
        """Whether the model wants tools to be called."""
        return bool(self.get("tool_calls"))

    @property
    def has_thinking(self) -> bool:
        """Whether the model showed its reasoning."""
        return bool(self.get("thinking"))


def _restore(items: dict[str, Any], proto: GenerateResponse) -> HarmonizedResponse:
    response = HarmonizedResponse(items)
    response.__dict__["_proto"] = proto
    return response


def harmonize(proto: GenerateResponse) -> HarmonizedResponse:
    """The answer of a service as the Python API gives it."""
    # A call that is incomplete must not be run, and can't go back in the next request.
    parts = [part for part in proto.message.parts if not part.tool_call.incomplete]
    shown = view(parts)
    finish = finish_word(proto.finish_reason)
    usage = AttributeDict(usage_facts(proto.usage))
    metadata = AttributeDict(
        provider=proto.provider,
        model=proto.model,
        request_id=proto.request_id,
        created=proto.create_time.ToNanoseconds() / 1e9 if proto.HasField("create_time") else None,
        finish_reason=finish,
        raw_finish_reason=proto.raw_finish_reason or None,
        stop_sequence=proto.stop_sequence if proto.HasField("stop_sequence") else None,
        attempts=[attempt_facts(attempt) for attempt in proto.attempts],
        warnings=[warning_facts(warning) for warning in proto.warnings],
        usage=usage,
    )
    response = HarmonizedResponse(
        role="assistant",
        content=shown.content,
        thinking=shown.thinking,
        tool_calls=[attribute_call(call) for call in shown.tool_calls],
        usage=usage,
        finish_reason=finish,
        id=proto.response_id,
        model=proto.model,
        metadata=metadata,
        reasoning_details=reasoning_details(parts),
    )
    if shown.refusal is not None:
        response["refusal"] = shown.refusal
    images = [part.media for part in parts if part.HasField("media")]
    if images:
        response["images"] = [image_fact(media) for media in images]
    if proto.HasField("cost"):
        response["cost"] = proto.cost.nano_usd / 1e9
    response.__dict__["_proto"] = proto
    return response


def finish_word(reason: FinishReason.ValueType) -> str:
    """A finish reason in one lower-case word; "other" for one that this version doesn't know."""
    if reason not in FinishReason.values() or not reason:
        return "other"
    return FinishReason.Name(reason).removeprefix(_FINISH_PREFIX).lower()


def attribute_call(call: dict[str, Any]) -> AttributeDict:
    """A tool call whose levels can all be read by attributes."""
    return AttributeDict(call, function=AttributeDict(call["function"]))


def image_fact(media: Any) -> dict[str, Any]:
    """A medium of an answer as an image_url part."""
    url = media.uri
    if media.WhichOneof("source") == "data":
        url = f"data:{media.media_type};base64,{base64.b64encode(media.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
