"""Messages -> the form that a model's chat template takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from marsys.v1 import ErrorReason, Message, Role
from serving.errors import invalid, service_error

_ROLES = {
    Role.ROLE_SYSTEM: "system",
    Role.ROLE_USER: "user",
    Role.ROLE_ASSISTANT: "assistant",
}


def render_prompt(tokenizer: Any, messages: Sequence[Message], model: str) -> str:
    """The prompt of a conversation, by the model's own template.

    A conversation that ends with an assistant's message is continued from there.

    Args:
        tokenizer: a transformers tokenizer.
        messages: the conversation, checked by serving.validation.
        model: the model's name, for errors.

    Raises:
        ServiceError: the template doesn't take the conversation, or there is no template.
    """
    if not tokenizer.chat_template:
        raise service_error(
            ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER,
            f"messages: {model} has no chat template, so it can't hold a conversation",
            field="messages",
            model=model,
            provider="huggingface",
        )
    continued = messages[-1].role == Role.ROLE_ASSISTANT
    try:
        prompt = tokenizer.apply_chat_template(
            [_turn(message, index) for index, message in enumerate(messages)],
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
        )
    except jinja2.TemplateError as error:
        raise invalid("messages", f"the template of {model} says: {error}") from None
    return str(prompt)


def _turn(message: Message, index: int) -> dict[str, str]:
    """A message as templates know it. Reasoning of earlier turns is left out, as most want."""
    role = _ROLES.get(message.role)
    if role is None:
        raise _no_form(f"messages[{index}].role", "tool results")
    texts: list[str] = []
    for number, part in enumerate(message.parts):
        kind = part.WhichOneof("content")
        if kind == "text":
            texts.append(part.text.text)
        elif kind == "refusal":
            texts.append(part.refusal.text)
        elif kind != "reasoning":
            raise _no_form(f"messages[{index}].parts[{number}].{kind}", f"{kind} parts")
    return {"role": role, "content": "".join(texts)}


def _no_form(field: str, what: str) -> Exception:
    return service_error(
        ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER,
        f"{field}: local text models take no {what}",
        field=field,
        provider="huggingface",
    )
