"""How a vision-language model's chat template takes images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from marsys.v1 import ErrorReason
from serving.errors import invalid, service_error

Content = list[dict[str, str]]
"""What a message says, in order: {"type": "text", "text": ...} and {"type": "image"}."""

IMAGE = {"type": "image"}

_PROBE = "qzxprobe"
# Names under which configurations and processors keep the tokens that stand for media.
_MEDIA_TOKEN = re.compile(
    r"(?:image|img|video|audio|vision|fake_image|global_image|boi|eoi|boa|eoa)\w*_token(?:_id|_index)?"
)


class ImageChat:
    """Writes messages with images in the form that a template takes.

    Templates differ: most want a list of parts, some a text with the image's token in it. The
    form is found by trying the template, for each role.

    Args:
        processor: the model's transformers processor.
        config: the model's configuration.
    """

    def __init__(self, processor: Any, config: Any) -> None:
        self.template = processor if processor.chat_template else processor.tokenizer
        self._tokens = _media_tokens(processor, config)
        self._image_token: str | None = getattr(processor, "image_token", None)
        self._takes_lists: dict[str, bool] = {}
        if self.template.chat_template:
            for role in ("user", "assistant", "system"):
                self._takes_lists[role] = self._tries_lists(role)

    def content(self, role: str, content: Content) -> Content | str:
        """A message's content in the form that the template takes from a role."""
        if self._takes_lists.get(role, True):
            return content
        return self._as_text(content)

    def content_of(self, role: str, text: str) -> Content | str:
        """The content of a turn that is text alone."""
        return self.content(role, [{"type": "text", "text": text}])

    def check_text(self, text: str, field: str) -> None:
        """A text may hold none of the tokens that stand for images: it would be read as one.

        Args:
            text: what stands between two images.
            field: where it ends.

        Raises:
            ServiceError: it holds one.
        """
        for token in self._tokens:
            if token in text:
                raise invalid(field, f"holds {token!r}, with which the model marks images")

    def check_places(self, prompt: str, images: int, model: str) -> None:
        """The template must have put each image into the prompt.

        Raises:
            ServiceError: it has left some out.
        """
        if not images or not self._tokens:
            return
        if all(prompt.count(token) != images for token in self._tokens):
            raise service_error(
                ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER,
                f"messages: the template of {model} has no place for images where they stand",
                field="messages",
                model=model,
            )

    def _as_text(self, content: Content) -> str:
        image = self._image_token or ""
        return "\n".join(image if part == IMAGE else part["text"] for part in content)

    def _tries_lists(self, role: str) -> bool:
        """Whether a role's content may be a list. Images are put into the user's only."""
        text = {"type": "text", "text": _PROBE}
        plain = self._render(role, [text])
        # A template that takes texts only fails at lists, skips them, or prints them as they are.
        if plain is None or _PROBE not in plain or f"'{_PROBE}'" in plain or f'"{_PROBE}"' in plain:
            return self._render(role, _PROBE) is None
        return (
            role != "user"
            or self._image_token is None
            or self._render(role, [IMAGE, text]) != plain
        )

    def _render(self, role: str, content: Content | str) -> str | None:
        turn = {"role": role, "content": content}
        around = self.content("user", [{"type": "text", "text": "x"}])
        user = {"role": "user", "content": around}
        chat = {"user": [turn], "assistant": [user, turn, user], "system": [turn, user]}[role]
        try:
            return str(self.template.apply_chat_template(chat, tokenize=False))
        except Exception:  # templates are programs: they fail as they like at what they don't take
            return None


def _media_tokens(processor: Any, config: Any) -> Sequence[str]:
    """The texts of all tokens that stand for media, or stand around them."""
    tokenizer = processor.tokenizer
    found: set[str] = set()
    for holder in (config, processor, tokenizer):
        for name in dir(holder):
            if not _MEDIA_TOKEN.fullmatch(name):
                continue
            value = getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                value = tokenizer.convert_ids_to_tokens(value)
            if isinstance(value, str) and value:
                found.add(value)
    return sorted(found)
