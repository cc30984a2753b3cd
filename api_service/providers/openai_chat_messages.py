"""OpenAI Chat Completions: messages of the contract -> messages of the wire."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import orjson

from api_service.providers.cache_mark import cache_control, cache_point
from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject, list_of, object_of, text_of
from api_service.providers.media_kind import media_address, media_kind
from api_service.providers.unsupported import Refusals
from marsys.v1 import MediaDetail, MediaPart, Message, Part, Role, ToolResultPart
from serving.errors import invalid

ISSUER = "openai_chat"
"""Name of the wire protocol in opaque state and provider parts."""

# Keys of messages and tool calls that some servers put there and want back (Gemini's thought
# signatures).
STATE_KEYS = ("extra_content", "thought_signature")
REASONING_KEYS = ("reasoning", "reasoning_content")
"""Keys of messages that hold the reasoning's text."""
ANNOTATION = "annotation"
"""Type of the provider parts that are annotations other than citations."""

_DETAILS = {
    MediaDetail.MEDIA_DETAIL_AUTO: "auto",
    MediaDetail.MEDIA_DETAIL_LOW: "low",
    MediaDetail.MEDIA_DETAIL_HIGH: "high",
}
_AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
}


class MessageEncoder:
    """Encodes the messages of one request.

    Args:
        upstream: whom they go to.
        refusals: what to do with what it doesn't take.
    """

    def __init__(self, upstream: Upstream, refusals: Refusals) -> None:
        self._row = upstream.row
        self._refusals = refusals
        self._caches = upstream.model.startswith(self._row.cache_models)
        self._points = self._row.cache_points and upstream.family.cache_marks

    def encode(self, messages: Sequence[Message]) -> list[JsonObject]:
        """The messages of the wire, in order.

        Raises:
            ServiceError: content can't be expressed.
        """
        encoded: list[JsonObject] = []
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if message.role == Role.ROLE_TOOL:
                encoded.extend(self._tool_results(message, path))
                continue
            if message.role == Role.ROLE_ASSISTANT:
                item = self._assistant(message, path)
            else:
                role = "system" if message.role == Role.ROLE_SYSTEM else "user"
                item = {"role": role, "content": self._content(message.parts, f"{path}.parts")}
            if message.HasField("name"):
                if self._row.names:
                    item["name"] = message.name
                else:
                    self._refusals.refuse(f"{path}.name", f"{self._row.name} takes no names")
            encoded.append(item)
        return encoded

    def _content(self, parts: Sequence[Part], path: str) -> str | list[JsonObject]:
        """Text and media: a string where it is one plain text, else a list."""
        items = []
        for index, part in enumerate(parts):
            here = f"{path}[{index}]"
            if part.HasField("text"):
                items.append(self._text(part, here))
                continue
            item = self._media(part.media, f"{here}.media")
            self._check_state(part, here)
            if item is not None:
                self._mark(part, here, item)
                items.append(item)
        return _shortest(items)

    def _text(self, part: Part, path: str) -> JsonObject:
        item: JsonObject = {"type": "text", "text": part.text.text}
        self._check_state(part, path)
        self._mark(part, path, item)
        return item

    def _mark(self, part: Part, path: str, item: JsonObject) -> None:
        """Set the cache mark that a part asks for."""
        if not part.HasField("cache_breakpoint"):
            return
        if self._caches:
            mark = part.cache_breakpoint
            item["cache_control"] = cache_control(mark, f"{path}.cache_breakpoint")
        elif self._points:
            mark = part.cache_breakpoint
            item["prompt_cache_breakpoint"] = cache_point(mark, f"{path}.cache_breakpoint")
        else:
            self._refuse_mark(part, path)

    def _media(self, media: MediaPart, path: str) -> JsonObject | None:
        kind = media_kind(media)
        if kind not in self._row.media:
            self._refusals.refuse(path, f"{self._row.name} takes no {kind} content")
            return None
        source = media.WhichOneof("source")
        if source == "file_id":
            if kind != "file":
                raise invalid(f"{path}.file_id", f"{self._row.name} takes no {kind} by file id")
            return {"type": "file", "file": {"file_id": media.file_id}}
        if kind == "image":
            image: JsonObject = {"url": media_address(media)}
            if media.detail in _DETAILS:
                image["detail"] = _DETAILS[media.detail]
            return {"type": "image_url", "image_url": image}
        if kind == "video":
            return {"type": "video_url", "video_url": {"url": media_address(media)}}
        if kind == "audio":
            form = _AUDIO_FORMATS.get(media.media_type)
            if form is None or source != "data":
                raise invalid(path, "sound must be given as bytes of audio/wav or audio/mpeg")
            audio = {"data": base64.b64encode(media.data).decode(), "format": form}
            return {"type": "input_audio", "input_audio": audio}
        if source == "uri" and not media.uri.startswith("data:") and not self._row.file_urls:
            raise invalid(f"{path}.uri", f"{self._row.name} takes documents as bytes only")
        file = {"filename": media.filename or "document", "file_data": media_address(media)}
        return {"type": "file", "file": file}

    def _assistant(self, message: Message, path: str) -> JsonObject:
        item: JsonObject = {"role": "assistant", "content": None}
        texts: list[JsonObject] = []
        calls: list[JsonObject] = []
        details: list[bytes] = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            kind = part.WhichOneof("content")
            if kind == "text":
                texts.append(self._text(part, here))
                continue
            self._refuse_mark(part, here)
            if kind == "tool_call":
                calls.append(self._tool_call(part, here))
            elif kind == "reasoning":
                self._reasoning(part, here, item, texts, details)
            elif kind == "media" and (sound := self._sound(part, here)):
                item["audio"] = sound
            elif kind == "refusal":
                self._refusal(part.refusal.text, item, texts)
            elif kind == "provider":
                self._provider_part(part, here, item)
            else:
                self._refusals.refuse(f"{here}.{kind}", "can't be sent back on this wire protocol")
        if texts:
            item["content"] = _shortest(texts)
        elif not calls and not item.keys() & {"refusal", "audio"}:
            item["content"] = ""
        if calls:
            item["tool_calls"] = calls
        if details:
            item["reasoning_details"] = _joined(details)
            item.pop(self._row.reasoning_key, None)  # the details hold the text already
        return item

    def _tool_call(self, part: Part, path: str) -> JsonObject:
        call = part.tool_call
        function = {"name": call.name, "arguments": call.arguments_json or "{}"}
        item: JsonObject = {"id": call.id, "type": "function", "function": function}
        state = self._state(part, path, STATE_KEYS if self._row.reasoning_key else ())
        if isinstance(state, dict):
            item |= state
        return item

    def _sound(self, part: Part, path: str) -> Any:
        """What the provider wants back of something that it said aloud; None where it never did."""
        state = self._state(part, path, ("audio",) if "audio" in self._row.media else ())
        return state.get("audio") if isinstance(state, dict) else None

    def _reasoning(
        self,
        part: Part,
        path: str,
        item: JsonObject,
        texts: list[JsonObject],
        details: list[bytes],
    ) -> None:
        key = self._row.reasoning_key
        if not key:
            self._refusals.drop(path, f"{self._row.name} takes no reasoning back")
            return
        state = self._state(part, path, (*STATE_KEYS, *REASONING_KEYS, "content"))
        if isinstance(state, list):
            details.append(part.opaque_state.data)
        elif isinstance(state, dict):
            thoughts = list_of(state.pop("content", None))
            words = {name: text_of(state.pop(name)) for name in REASONING_KEYS if name in state}
            item |= state
            if self._row.reasoning_as_it_came and (thoughts or words):
                texts += map(object_of, thoughts)
                for name, text in words.items():
                    item[name] = item.get(name, "") + text
                return
        if part.reasoning.text:
            item[key] = item.get(key, "") + part.reasoning.text

    def _state(self, part: Part, path: str, keys: tuple[str, ...]) -> Any:
        """A part's opaque state where it is ours, as on the wire: a list, or some of `keys`."""
        self._check_state(part, path)
        if not part.HasField("opaque_state") or part.opaque_state.issuer != ISSUER:
            return None
        if not keys:
            self._refusals.drop(f"{path}.opaque_state", f"{self._row.name} takes none back")
            return None
        try:
            state = orjson.loads(part.opaque_state.data)
        except orjson.JSONDecodeError:
            state = None
        if isinstance(state, list):
            return state
        if isinstance(state, dict) and not state.keys() - set(keys):
            return state
        raise invalid(f"{path}.opaque_state.data", "is not what this service gave out")

    def _refusal(self, text: str, item: JsonObject, texts: list[JsonObject]) -> None:
        if self._row.refusals:
            item["refusal"] = item.get("refusal", "") + text
        elif text:  # to others a refusal is what the assistant said
            texts.append({"type": "text", "text": text})

    def _provider_part(self, part: Part, path: str, item: JsonObject) -> None:
        block = part.provider
        if block.issuer != ISSUER:
            raise invalid(
                f"{path}.provider.issuer", f"{block.issuer!r} can't be replayed to {ISSUER}"
            )
        try:
            payload = orjson.loads(block.payload_json)
        except orjson.JSONDecodeError:
            raise invalid(f"{path}.provider.payload_json", "is not JSON") from None
        if block.type == ANNOTATION:
            item.setdefault("annotations", []).append(payload)
        # Other blocks (moderation) tell of an answer; no message of the wire has a place for them.

    def _tool_results(self, message: Message, path: str) -> list[JsonObject]:
        items = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            result = part.tool_result
            self._check_state(part, here)
            self._refuse_mark(part, here)
            content = self._tool_text(result, f"{here}.tool_result")
            items.append({"role": "tool", "tool_call_id": result.tool_call_id, "content": content})
        if message.HasField("name"):
            self._refusals.refuse(f"{path}.name", "tool messages take no speaker's name")
        return items

    def _tool_text(self, result: ToolResultPart, path: str) -> str:
        texts = []
        for index, part in enumerate(result.content):
            here = f"{path}.content[{index}]"
            if part.HasField("text"):
                texts.append(part.text.text)
            else:
                self._refusals.refuse(
                    f"{here}.media", "tool results hold text only on this wire protocol"
                )
            self._check_state(part, here)
            self._refuse_mark(part, here)
        text = "\n".join(texts)
        # The wire has no word for a failed tool; the model must read it.
        return f"Error: {text}" if result.is_error else text

    def _check_state(self, part: Part, path: str) -> None:
        if part.HasField("opaque_state") and part.opaque_state.issuer != ISSUER:
            issuer = part.opaque_state.issuer
            self._refusals.drop(f"{path}.opaque_state", f"it belongs to {issuer!r}")

    def _refuse_mark(self, part: Part, path: str) -> None:
        if part.HasField("cache_breakpoint"):
            self._refusals.refuse(f"{path}.cache_breakpoint", "no cache mark can be set here")


def _shortest(items: list[JsonObject]) -> str | list[JsonObject]:
    """Content as a string where it is one plain text: every server takes that."""
    if len(items) == 1 and items[0].keys() == {"type", "text"}:
        text: str = items[0]["text"]
        return text
    return items


def _joined(details: list[bytes]) -> Any:
    """Reasoning details, byte for byte where they come from one part."""
    if len(details) == 1:
        return orjson.Fragment(details[0])
    return [item for data in details for item in orjson.loads(data)]
