"""Control tokens that a text spells out: they must reach the model as text.

A tokenizer turns "<|im_end|>" into the control token wherever it stands, so that a document or a
tool's result could end its own message and speak in another role.
"""

from __future__ import annotations

import re
from typing import Any

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # noncharacters, which no text for interchange has
_HIDDEN = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


class SpelledTokens:
    """Hides spelled-out control tokens from the tokenizer until the template's own are read.

    Hidden are the special tokens, and those that the chat template writes itself.

    Args:
        tokenizer: a transformers tokenizer.
        template: the text of the chat template.
    """

    def __init__(self, tokenizer: Any, template: str = "") -> None:
        self._tokenizer = tokenizer
        added = {
            token.content
            for token in tokenizer.added_tokens_decoder.values()
            if token.special or (token.content in template and not token.content.isspace())
        }
        self._texts = sorted(added, key=len, reverse=True)
        self._numbers = {text: number for number, text in enumerate(self._texts)}
        self._pattern = re.compile("|".join(map(re.escape, self._texts))) if self._texts else None

    def hide(self, text: str) -> str:
        """A caller's text, with a placeholder for each control token that it spells out."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda m: f"{_OPEN}{self._numbers[m[0]]}{_CLOSE}", text)

    def tokenize(self, prompt: str, **options: Any) -> list[int]:
        """Token ids of a prompt; what was hidden comes as text.

        Args:
            prompt: a template's output over hidden texts.
            **options: of the tokenizer's call for the first piece, such as add_special_tokens.
        """
        ids: list[int] = []
        begin = 0
        for match in [*_HIDDEN.finditer(prompt), None]:
            piece = prompt[begin : match.start() if match else None]
            if piece:
                ids += self._tokenizer(piece, **options).input_ids
                options["add_special_tokens"] = False
            if match:
                begin = match.end()
                ids += self._tokenizer(
                    self._texts[int(match[1])], add_special_tokens=False, split_special_tokens=True
                ).input_ids
        return ids
