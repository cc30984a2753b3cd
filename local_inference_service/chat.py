"""Messages -> the form that a model's chat template takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from local_inference_service.image_chat import IMAGE, Content, ImageChat
from marsys.v1 import ErrorReason, Message, Role
from serving.errors import invalid, service_error

_ROLES = {
    Role.ROLE_SYSTEM: "system",
    Role.ROLE_USER: "user",
    Role.ROLE_ASSISTANT: "assistant",
}


def render_prompt(
    tokenizer: Any, messages: Sequence[Message], model: str, images: ImageChat | None = None
) -> str:
    """The prompt of a conversation, by the model's own template.

    A conversation that ends with an assistant's message is continued from there.

    Args:
        tokenizer: a transformers tokenizer, or the processor that holds the template.
        messages: the conversation, checked by serving.validation.
        model: the model's name, for errors.
        images: how the template takes images, each of which leaves one place in the prompt. None:
            the model takes none.

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
            [_turn(message, index, images) for index, message in enumerate(messages)],
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
        )
    except jinja2.TemplateError as error:
        raise invalid("messages", f"the template of {model} says: {error}") from None
    if images is not None:
        count = sum(part.HasField("media") for message in messages for part in message.parts)
        images.check_places(str(prompt), count, model)
    return str(prompt)


def _turn(message: Message, index: int, images: ImageChat | None) -> dict[str, Any]:
    """A message as templates know it. Reasoning of earlier turns is left out, as most want."""
    role = _ROLES.get(message.role)
    if role is None:
        raise _no_form(f"messages[{index}].role", "tool results", images)
    content: Content = []
    for number, part in enumerate(message.parts):
        kind = part.WhichOneof("content")
        field = f"messages[{index}].parts[{number}]"
        if kind in ("text", "refusal"):
            text = part.text.text if kind == "text" else part.refusal.text
            if content and content[-1] != IMAGE:
                text = content.pop()["text"] + text
            if images is not None:
                images.check_text(text, f"{field}.{kind}")
            content.append({"type": "text", "text": text})
        elif kind == "media" and images is not None:
            content.append(IMAGE)
        elif kind != "reasoning":
            raise _no_form(f"{field}.{kind}", f"{kind} parts", images)
    if images is not None:
        return {"role": role, "content": images.content(role, content)}
    return {"role": role, "content": "".join(part["text"] for part in content)}


def _no_form(field: str, what: str, images: ImageChat | None) -> Exception:
    models = "text models" if images is None else "vision-language models"
    return service_error(
        ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER,
        f"{field}: local {models} take no {what}",
        field=field,
        provider="huggingface",
    )
