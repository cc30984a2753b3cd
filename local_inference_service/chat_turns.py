"""Messages -> the turns that a chat template takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from local_inference_service.chat_template import ChatTemplate, Turn
from local_inference_service.image_chat import IMAGE, Content, ImageChat
from local_inference_service.plain_tools import result_text
from marsys.v1 import ErrorReason, Message, Part, Role, ToolResultPart
from serving.errors import invalid, service_error

_ROLES = {
    Role.ROLE_SYSTEM: "system",
    Role.ROLE_USER: "user",
    Role.ROLE_ASSISTANT: "assistant",
}


class TurnWriter:
    """Writes the turns of conversations for one template.

    Args:
        template: the template.
        images: how it takes images; None: the model takes none.
        hide: applied to every text of the caller.
    """

    def __init__(
        self, template: ChatTemplate, images: ImageChat | None, hide: Callable[[str], str]
    ) -> None:
        self._template = template
        self._images = images
        self._hide = hide

    def turns(self, messages: Sequence[Message]) -> list[Turn]:
        """The turns of a conversation that serving.validation has checked.

        Raises:
            ServiceError: the model can't take a part.
        """
        turns: list[Turn] = []
        names = {
            part.tool_call.id: part.tool_call.name
            for message in messages
            for part in message.parts
            if part.HasField("tool_call")
        }
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if message.role == Role.ROLE_TOOL:
                turns += self._results(message, names, path)
            else:
                turns.append(self._turn(message, path))
        if self._template.takes_parallel_calls:
            return turns
        return list(_one_call_a_turn(turns))

    def _turn(self, message: Message, path: str) -> Turn:
        role = _ROLES[message.role]
        content: Content = []
        calls: list[tuple[str, str, str]] = []
        thought = ""
        for number, part in enumerate(message.parts):
            kind = part.WhichOneof("content")
            field = f"{path}.parts[{number}].{kind}"
            if kind in ("text", "refusal"):
                text = part.text.text if kind == "text" else part.refusal.text
                if content and content[-1] != IMAGE:
                    text = content.pop()["text"] + text
                if self._images is not None:
                    self._images.check_text(text, field)
                content.append({"type": "text", "text": self._hide(text)})
            elif kind == "media" and self._images is not None:
                content.append(IMAGE)
            elif kind == "reasoning":
                thought += part.reasoning.text
            elif kind == "tool_call":
                calls.append(_call(part, field))
            else:
                raise _no_form(field, f"{kind} parts", self._images)
        turn: Turn = {"role": role, "content": self._content(role, content)}
        if calls:
            turn = self._template.calling(turn, calls)
        if thought:
            turn = self._template.thinking(turn, self._hide(thought))
        return turn

    def _content(self, role: str, content: Content) -> Content | str:
        if self._images is not None:
            return self._images.content(role, content)
        return "".join(part["text"] for part in content)

    def _results(self, message: Message, names: Mapping[str, str], path: str) -> Iterator[Turn]:
        for number, part in enumerate(message.parts):
            result = part.tool_result
            _check_result(result, f"{path}.parts[{number}].tool_result", self._images)
            name = result.name or names[result.tool_call_id]
            text = self._hide(result_text(result))
            yield self._template.answering(result.tool_call_id, name, text)


def _call(part: Part, field: str) -> tuple[str, str, str]:
    call = part.tool_call
    arguments = call.arguments_json or "{}"
    try:
        is_object = isinstance(json.loads(arguments), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise invalid(f"{field}.arguments_json", "must be the text of a JSON object")
    return call.id, call.name, arguments


def _check_result(result: ToolResultPart, field: str, images: ImageChat | None) -> None:
    for index, part in enumerate(result.content):
        if part.HasField("media"):
            raise _no_form(f"{field}.content[{index}].media", "media in tool results", images)


def _one_call_a_turn(turns: Sequence[Turn]) -> Iterator[Turn]:
    """For templates that take one call a turn: each is followed by its result."""
    rest = iter(turns)
    for turn in rest:
        calls: list[Any] = turn.get("tool_calls", [])
        if not calls:
            yield turn
        results = {result["tool_call_id"]: result for result in islice(rest, len(calls))}
        for number, call in enumerate(calls):
            said = turn if number == 0 else {"role": turn["role"], "content": ""}
            yield said | {"tool_calls": [call]}
            yield results[call["id"]]


def _no_form(field: str, what: str, images: ImageChat | None) -> Exception:
    models = "text models" if images is None else "vision-language models"
    return service_error(
        ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER,
        f"{field}: local {models} take no {what}",
        field=field,
    )
